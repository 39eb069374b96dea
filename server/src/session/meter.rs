//! Rates, measured without a lock.
//!
//! A token bucket written as one number (GCRA): the moment at which everything that was let in so far
//! will have been paid for. While that moment lies in the past, the bucket is full.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Counts things against so many in a period. Those who share a meter share what it allows.
#[derive(Debug)]
pub(super) struct Meter {
    /// So many in one period; 0: as many as come.
    rate: AtomicU32,
    period: Duration,
    /// How far ahead of its time a thing may come: the depth of the bucket.
    ahead: Duration,
    began: Instant,
    /// Nanoseconds after `began`.
    paid_at: AtomicU64,
}

impl Meter {
    /// A meter that allows everything until it has a rate.
    pub(super) fn new(period: Duration, ahead: Duration) -> Self {
        Self {
            rate: AtomicU32::new(0),
            period,
            ahead,
            began: Instant::now(),
            paid_at: AtomicU64::new(0),
        }
    }

    /// Allows so many in one period from now on; 0: as many as come.
    pub(super) fn set(&self, rate: u32) {
        self.rate.store(rate, Ordering::Relaxed);
    }

    /// How many it allows in one period; 0: as many as come.
    pub(super) fn rate(&self) -> u32 {
        self.rate.load(Ordering::Relaxed)
    }

    /// Lets one in, if it may come now. Who is turned away does not count.
    pub(super) fn take(&self) -> bool {
        let Some(cost) = self.cost(1) else {
            return true;
        };
        let (now, ahead) = (self.now(), nanos(self.ahead));
        self.paid_at
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |paid_at| {
                let paid_at = paid_at.max(now).saturating_add(cost);
                (paid_at <= now + ahead).then_some(paid_at)
            })
            .is_ok()
    }

    /// Counts `n` that come in any case, and says when their turn is; `None`: now.
    pub(super) fn charge(&self, n: usize) -> Option<Instant> {
        let cost = self.cost(n as u64)?;
        let (now, ahead) = (self.now(), nanos(self.ahead));
        let paid_at = self
            .paid_at
            .update(Ordering::Relaxed, Ordering::Relaxed, |paid_at| {
                paid_at.max(now).saturating_add(cost)
            });
        // What those before have left unpaid; the bill for these `n` is for those behind.
        (paid_at > now + ahead).then(|| self.began + Duration::from_nanos(paid_at - ahead))
    }

    fn cost(&self, n: u64) -> Option<u64> {
        nanos(self.period)
            .saturating_mul(n)
            .checked_div(self.rate().into())
    }

    fn now(&self) -> u64 {
        nanos(self.began.elapsed())
    }
}

/// Enough for 584 years.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_minute_has_what_it_has_and_then_one_at_a_time() {
        let meter = Meter::new(MINUTE, MINUTE);
        meter.set(6);
        for _ in 0..6 {
            assert!(meter.take());
        }
        assert!(!meter.take());
        advance(Duration::from_millis(9990)).await;
        // Who is turned away pays nothing.
        assert!(!meter.take());
        advance(Duration::from_millis(10)).await;
        assert!(meter.take());
        assert!(!meter.take());

        advance(Duration::from_secs(3600)).await;
        for _ in 0..6 {
            assert!(meter.take());
        }
        assert!(!meter.take());
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_come_in_turn_at_the_rate() {
        let meter = Meter::new(SECOND, Duration::from_millis(250));
        meter.set(1000);
        let began = Instant::now();
        // A quarter of a second ahead is free.
        assert_eq!(meter.charge(250), None);
        assert_eq!(meter.charge(500), None);
        // The next two wait for what is before them, not for themselves.
        let after = |ms| Some(began + Duration::from_millis(ms));
        assert_eq!(meter.charge(1000), after(500));
        assert_eq!(meter.charge(1), after(1500));

        advance(Duration::from_secs(60)).await;
        assert_eq!(meter.charge(1), None);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_rate_nothing_is_counted() {
        let meter = Meter::new(MINUTE, MINUTE);
        for _ in 0..1000 {
            assert!(meter.take());
            assert_eq!(meter.charge(usize::MAX), None);
        }
        meter.set(1);
        assert!(meter.take());
        assert!(!meter.take());
        meter.set(0);
        assert!(meter.take());
    }

    #[test]
    fn many_threads_get_no_more_than_there_is() {
        let meter = Meter::new(MINUTE, MINUTE);
        meter.set(100);
        let taken: usize = std::thread::scope(|scope| {
            let takers: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..1000).filter(|_| meter.take()).count()))
                .collect();
            takers.into_iter().map(|taker| taker.join().unwrap()).sum()
        });
        // One more for each 0.6 s that the threads took.
        assert!((100..105).contains(&taken), "{taken}");
    }
}
