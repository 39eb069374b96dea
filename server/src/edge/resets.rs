//! Requests that their visitor takes back: by rate, not by burst.
//!
//! Whoever leaves a page cancels all that is still loading. Whoever asks and cancels on and on makes an app
//! work for nobody, and each step may be too small to be seen (CVE-2023-44487). So what counts is a level that
//! falls with time and with every request that is answered.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A request that is taken back within 1 s was hardly meant.
const EARLY: Duration = Duration::from_secs(1);

/// So many of them may come at once on one connection: 500, several pages with a hundred pictures each. Making
/// an app work for nobody takes thousands.
pub(super) const EARLY_RESETS: u32 = 500;

/// One of them is forgiven after so many milliseconds, so five a second.
const FORGIVEN_EVERY: u64 = 200;

/// The requests of one connection that were taken back early and are not forgiven yet. Written and read on one
/// thread.
#[derive(Debug, Default)]
pub(super) struct EarlyResets {
    level: AtomicU32,
    /// When the last one was forgiven, in milliseconds.
    forgiven_at: AtomicU64,
}

impl EarlyResets {
    /// Counts a request that was taken back after so long; `now` is in milliseconds.
    pub(super) fn taken_back(&self, held: Duration, now: u64) {
        if held > EARLY {
            return self.answered();
        }
        let before = self.forgiven_at.load(Relaxed);
        let forgiven = now.saturating_sub(before) / FORGIVEN_EVERY;
        self.forgiven_at
            .store(before + forgiven * FORGIVEN_EVERY, Relaxed);
        let forgiven = u32::try_from(forgiven).unwrap_or(u32::MAX);
        let level = self.level.load(Relaxed).saturating_sub(forgiven);
        self.level.store(level.saturating_add(1), Relaxed);
    }

    /// A request has had an app's answer, or was taken back when it had its time: one of the others is forgiven.
    pub(super) fn answered(&self) {
        let level = self.level.load(Relaxed);
        self.level.store(level.saturating_sub(1), Relaxed);
    }

    /// Whether it is time to end the connection.
    pub(super) fn are_too_many(&self) -> bool {
        self.level.load(Relaxed) > EARLY_RESETS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_ONCE: Duration = Duration::ZERO;

    #[test]
    fn a_burst_is_forgiven_in_time_and_half_may_be_taken_back() {
        let resets = EarlyResets::default();
        for _ in 0..EARLY_RESETS {
            resets.taken_back(AT_ONCE, 0);
        }
        assert!(!resets.are_too_many());
        resets.taken_back(AT_ONCE, 0);
        assert!(resets.are_too_many());

        let later = u64::from(EARLY_RESETS) * FORGIVEN_EVERY;
        for _ in 0..EARLY_RESETS - 1 {
            resets.taken_back(AT_ONCE, later);
        }
        assert!(!resets.are_too_many());
        for _ in 0..10_000 {
            resets.taken_back(AT_ONCE, later);
            resets.answered();
            assert!(!resets.are_too_many());
        }
        for _ in 0..10_000 {
            resets.taken_back(EARLY * 2, later);
        }
        assert!(!resets.are_too_many());
    }
}
