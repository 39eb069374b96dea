//! What came of the requests of visitors.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

/// What came of the requests.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) right: usize,
    pub(crate) wrong: Vec<String>,
    pub(crate) failed: Vec<Failure>,
    /// The longest that anybody has waited for anything.
    pub(crate) slowest: Duration,
    /// Requests that had to look for another connection before they were asked.
    pub(crate) moved: usize,
}

/// A request that got no answer from its app.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) asked: Instant,
    pub(crate) told: Instant,
    pub(crate) what: String,
}

impl Tally {
    /// Nobody ever got the answer to another request, or a part of one that looked whole.
    pub(crate) fn has_nothing_wrong(&self) {
        assert_eq!(self.wrong, Vec::<String>::new(), "{self}");
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut kinds = BTreeMap::<&str, usize>::new();
        for failure in &self.failed {
            *kinds.entry(&failure.what).or_default() += 1;
        }
        let (right, wrong) = (self.right, self.wrong.len());
        let (failed, moved) = (self.failed.len(), self.moved);
        let slowest = self.slowest;
        write!(
            f,
            "{right} right, {wrong} wrong, {failed} failed {kinds:?}, {moved} moved, slowest {slowest:.2?}"
        )
    }
}
