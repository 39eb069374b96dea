//! How much goes through the tunnels: the numbers of a panel's `Connections`.
//!
//! The client does not see the visitors' own connections, which end at the server, but what they open
//! through the link. So a *connection* here is one stream of the link: a request with its answer, a WebSocket
//! or another upgrade, each from its first byte to its last. In all else the numbers mean what they mean to
//! ngrok, whose definitions are those of go-metrics:
//!
//! - rates are moving averages that weigh the past exponentially, over 1 and over 5 minutes, and take in what
//!   has come every 5 s;
//! - durations are those of connections that have ended, in a reservoir of 1028 that forgets exponentially
//!   (α = 0.015 a second), so that the last few minutes count most.
//!
//! A request pays for this with two counters and, at its end, an attempt at a lock that is free. There is no
//! timer: whoever comes or looks first after a tick does what the tick would have done.

mod rates;
mod reservoir;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tokio::time::Instant;

use self::rates::Rates;
use self::reservoir::Reservoir;

/// Counts connections; cheap to clone.
#[derive(Debug, Clone)]
pub struct Connections(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    since: Instant,
    begun: AtomicU64,
    ended: AtomicU64,
    /// Ticks that the rates have taken in. Behind them, so that a request sees without a lock whether there
    /// is a new one.
    ticks: AtomicU64,
    rates: Mutex<Rates>,
    durations: Mutex<Reservoir>,
}

/// The numbers at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Numbers {
    /// Connections so far.
    pub ttl: u64,
    /// Connections open now.
    pub opn: u64,
    /// New connections a second, averaged over 1 minute.
    pub rt1: f64,
    /// New connections a second, averaged over 5 minutes.
    pub rt5: f64,
    /// Half of the connections were over within so many seconds.
    pub p50: f64,
    /// Nine in ten were.
    pub p90: f64,
}

impl Connections {
    /// Nothing has come.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Inner {
            since: Instant::now(),
            begun: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            ticks: AtomicU64::new(0),
            rates: Mutex::default(),
            durations: Mutex::default(),
        }))
    }

    /// Counts one that has just begun, as open until the answer is dropped.
    pub(crate) fn begin(&self, began: Instant) -> Open {
        // What came before this belongs to the ticks before this.
        self.catch_up(began);
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        Open {
            connections: self.clone(),
            began,
        }
    }

    /// The numbers now.
    pub fn numbers(&self) -> Numbers {
        self.catch_up(Instant::now());
        // In this order: one that comes and goes meanwhile must not end before it has begun.
        let ended = self.0.ended.load(Ordering::Relaxed);
        let ttl = self.0.begun.load(Ordering::Relaxed);
        let rates = self.0.rates.lock();
        let [rt1, rt5] = rates.unwrap_or_else(PoisonError::into_inner).rates();
        let durations = self.0.durations.lock();
        let durations = durations.unwrap_or_else(PoisonError::into_inner).sorted();
        Numbers {
            ttl,
            opn: ttl.saturating_sub(ended),
            rt1,
            rt5,
            p50: reservoir::percentile(&durations, 0.5),
            p90: reservoir::percentile(&durations, 0.9),
        }
    }

    /// Does what the ticks up to now would have done.
    fn catch_up(&self, now: Instant) {
        let due = (now - self.0.since).as_secs() / rates::TICK.as_secs();
        if due <= self.0.ticks.load(Ordering::Relaxed) {
            return;
        }
        let rates = self.0.rates.lock();
        let mut rates = rates.unwrap_or_else(PoisonError::into_inner);
        let before = self.0.ticks.load(Ordering::Relaxed);
        if due > before {
            rates.tick(self.0.begun.load(Ordering::Relaxed), due - before);
            self.0.ticks.store(due, Ordering::Relaxed);
        }
    }

    fn ended(&self, began: Instant) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        // Whoever looks at the durations now does without this one.
        if let Ok(mut durations) = self.0.durations.try_lock() {
            durations.take(now - self.0.since, now - began);
        }
    }
}

/// A connection that is open.
#[derive(Debug)]
pub(crate) struct Open {
    connections: Connections,
    began: Instant,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.connections.ended(self.began);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::sleep;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn what_is_open_is_counted_until_it_is_over() {
        let connections = Connections::new();
        let first = connections.begin(Instant::now());
        let second = connections.begin(Instant::now());
        sleep(SECOND).await;
        drop(first);
        let numbers = connections.numbers();
        assert_eq!((numbers.ttl, numbers.opn), (2, 1));
        sleep(SECOND * 2).await;
        drop(second);
        let numbers = connections.numbers();
        assert_eq!((numbers.ttl, numbers.opn), (2, 0));
        // Of 1 s and 3 s: the place of the median lies half way between, that of 0.9 beyond the last.
        assert_eq!((numbers.p50, numbers.p90), (2.0, 3.0));
    }

    /// The recursion of an average, spelled out: the first tick sets it, each further one moves it.
    fn average(counts: &[u32], minutes: f64) -> f64 {
        let alpha = 1.0 - (-5.0 / 60.0 / minutes).exp();
        let mut ticks = counts.iter().map(|count| f64::from(*count) / 5.0);
        let first = ticks.next().unwrap_or_default();
        ticks.fold(first, |rate, now| rate + alpha * (now - rate))
    }

    #[tokio::test(start_paused = true)]
    async fn rates_are_those_of_a_known_series_however_seldom_somebody_looks() {
        // Connections in each 5 s, with silences longer than one.
        let series = [3, 0, 0, 7, 1, 0, 12, 5, 0, 0, 0, 0, 0, 2, 30, 0];
        for looks in [false, true] {
            let connections = Connections::new();
            for (tick, count) in series.into_iter().enumerate() {
                for _ in 0..count {
                    sleep(Duration::from_millis(100)).await;
                    drop(connections.begin(Instant::now()));
                }
                let end = connections.0.since + rates::TICK * u32::try_from(tick + 1).unwrap();
                tokio::time::sleep_until(end).await;
                if looks {
                    let numbers = connections.numbers();
                    let so_far = &series[..=tick];
                    assert!((numbers.rt1 - average(so_far, 1.0)).abs() < 1e-9, "{tick}");
                    assert!((numbers.rt5 - average(so_far, 5.0)).abs() < 1e-9, "{tick}");
                }
            }
            let numbers = connections.numbers();
            assert!((numbers.rt1 - average(&series, 1.0)).abs() < 1e-9);
            assert!((numbers.rt5 - average(&series, 5.0)).abs() < 1e-9);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_goes_back_to_nothing_when_nobody_comes() {
        let connections = Connections::new();
        for _ in 0..50 {
            drop(connections.begin(Instant::now()));
        }
        assert_eq!(connections.numbers().rt1, 0.0, "before the first tick");
        sleep(SECOND * 5).await;
        assert_eq!(connections.numbers().rt1, 10.0);
        // In the minute of the average it falls to the e-th part.
        sleep(SECOND * 60).await;
        let expected = 10.0 / std::f64::consts::E;
        assert!((connections.numbers().rt1 - expected).abs() < 1e-9);
        sleep(SECOND * 3600 * 24 * 365).await;
        assert!(connections.numbers().rt5 < 1e-9);
    }
}
