//! How many of something may be open.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Counts what is open.
#[derive(Debug, Default)]
pub struct Count(Arc<AtomicU32>);

/// One of those that are open; no longer one when dropped.
#[derive(Debug)]
pub struct Counted(Arc<AtomicU32>);

impl Count {
    /// One more, unless there are `max` already.
    pub fn take(&self, max: Option<NonZeroU32>) -> Option<Counted> {
        let before = self.0.fetch_add(1, Ordering::Relaxed);
        let counted = Counted(Arc::clone(&self.0));
        max.is_none_or(|max| before < max.get()).then_some(counted)
    }

    /// One more in any case.
    pub fn add(&self) -> Counted {
        self.0.fetch_add(1, Ordering::Relaxed);
        Counted(Arc::clone(&self.0))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_are_counted_than_may_be() {
        let (count, two) = (Count::default(), NonZeroU32::new(2));
        let first = count.take(two).unwrap();
        let _second = count.take(two).unwrap();
        assert!(count.take(two).is_none());
        assert!(count.take(None).is_some());
        drop(count.add());
        assert!(count.take(two).is_none());
        drop(first);
        assert!(count.take(two).is_some());
    }
}
