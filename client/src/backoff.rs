//! How long to wait before the next try.

use std::time::Duration;

/// The first try after a loss comes almost at once: most losses are the server's restart.
const FIRST: Duration = Duration::from_millis(200);

/// No wait is longer.
const LAST: Duration = Duration::from_secs(15);

/// Full jitter: each wait is a random part of a limit that doubles from 0.2 s to 15 s, so that a
/// thousand clients who lost the same server do not come back in the same moment.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    tries: u32,
}

impl Backoff {
    /// The next wait. `random` is uniform in 0..=u32::MAX.
    pub(crate) fn next(&mut self, random: u32) -> Duration {
        let limit = FIRST.saturating_mul(1 << self.tries.min(16)).min(LAST);
        self.tries += 1;
        limit.mul_f64(f64::from(random) / f64::from(u32::MAX))
    }

    /// The wait before the first try after a link that the server wants replaced: all its clients are told
    /// in the same moment.
    pub(crate) fn at_once(random: u32) -> Duration {
        FIRST.mul_f64(f64::from(random) / f64::from(u32::MAX))
    }

    /// After a connection that held.
    pub(crate) fn reset(&mut self) {
        self.tries = 0;
    }
}

/// A random number; the system's source, because a herd must not share a seed.
pub(crate) fn random() -> u32 {
    let mut bytes = [0; 4];
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => u32::from_ne_bytes(bytes),
        // Waiting the longest is the safe guess.
        Err(_) => u32::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit_and_are_random() {
        let mut longest = Backoff::default();
        let limits: Vec<u64> = (0..9)
            .map(|_| u64::try_from(longest.next(u32::MAX).as_millis()).unwrap())
            .collect();
        assert_eq!(
            limits,
            [200, 400, 800, 1600, 3200, 6400, 12_800, 15_000, 15_000]
        );
        let mut backoff = Backoff::default();
        assert_eq!(backoff.next(0), Duration::ZERO);
        backoff.next(0);
        backoff.reset();
        assert_eq!(backoff.next(u32::MAX), FIRST);
    }

    #[test]
    fn tries_never_overflow() {
        let mut backoff = Backoff { tries: 1_000_000 };
        assert_eq!(backoff.next(u32::MAX), LAST);
    }
}
