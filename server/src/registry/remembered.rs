//! Names that were served by the server before this one. Their clients are on their way here.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

/// Names that nobody has claimed yet, as long as their clients may still come.
#[derive(Debug, Default)]
pub(super) struct Remembered(Mutex<Option<Names>>);

#[derive(Debug)]
struct Names {
    names: HashSet<Box<str>>,
    until: Instant,
}

impl Remembered {
    pub(super) fn set(&self, names: HashSet<Box<str>>, until: Instant) {
        *self.lock() = Some(Names { names, until });
    }

    /// Until when the client of a name may come; `None` if no client of it is expected.
    pub(super) fn until(&self, name: &str) -> Option<Instant> {
        let mut remembered = self.lock();
        if remembered.as_ref()?.until <= Instant::now() {
            *remembered = None;
        }
        let remembered = remembered.as_ref()?;
        let is_expected = remembered.names.contains(name);
        is_expected.then_some(remembered.until)
    }

    /// Its client is there. What becomes of the name from now on is seen here.
    pub(super) fn forget(&self, name: &str) {
        if let Some(remembered) = &mut *self.lock() {
            remembered.names.remove(name);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Names>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
