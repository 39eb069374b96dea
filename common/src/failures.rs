//! Counting wrong tokens and passwords by the address they come from.
//!
//! A token is 256 random bits: nobody guesses it, at any speed. So the count is not what keeps strangers
//! out. It keeps a program that tries on and on with a wrong token from filling the log, tells it in
//! words to stop (429), and makes each try cost its sender time and a connection.
//!
//! A right token always gets in. Many people may share an address, behind NAT or on one machine, and
//! whoever sends wrong tokens from there must not lock the others out. But then the answer must not be
//! quicker for those who are right, or senders could hang up early on all that is slow. So the wait
//! comes before the token is looked at: from an address that has failed too often, everybody waits the
//! same second, the right and the wrong.
//!
//! A password is chosen by a person and can be guessed. From an address with too many failures none is looked
//! at any more until the minute is over, the right one neither.

use std::cmp::Ordering;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::prefix::Prefix;

/// Failures of one address within [`WINDOW`] that are answered like the first.
const FREE: u32 = 10;

/// From the first failure on.
const WINDOW: Duration = Duration::from_secs(60);

/// Addresses that are remembered, about 100 bytes each. Whoever has more of them at hand makes us forget
/// the oldest, and could have used the next one anyway.
const ADDRESSES: usize = 4096;

/// What everybody waits who comes from an address with too many failures.
pub const WAIT: Duration = Duration::from_secs(1);

/// Failures by address.
#[derive(Debug, Default)]
pub struct Failures {
    by_address: HashMap<Prefix, Failed>,
    /// In the order of their first failure, so that the oldest are in front.
    oldest: VecDeque<(Instant, Prefix)>,
}

#[derive(Clone, Copy, Debug)]
struct Failed {
    times: u32,
    since: Instant,
}

/// What a failure means for its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A failure like others.
    Failed,
    /// The last of those that are answered like the first.
    LastFree,
    /// One too many; the address starts anew after this.
    TooMany(Duration),
}

impl Failures {
    /// Whether an address has failed so often that whoever comes from it must wait.
    pub fn must_wait(&mut self, address: IpAddr) -> bool {
        self.shut_out(address).is_some()
    }

    /// How long an address that has failed too often is still remembered for it; `None`: it has not.
    pub fn shut_out(&mut self, address: IpAddr) -> Option<Duration> {
        let now = Instant::now();
        self.forget(now);
        let failed = self.by_address.get(&Prefix::of(address));
        let failed = failed.filter(|failed| failed.times >= FREE)?;
        Some((failed.since + WINDOW).duration_since(now))
    }

    /// Takes down a failure.
    pub fn note(&mut self, address: IpAddr) -> Verdict {
        let now = Instant::now();
        self.forget(now);
        let prefix = Prefix::of(address);
        if !self.by_address.contains_key(&prefix) {
            if self.oldest.len() >= ADDRESSES {
                self.forget_oldest();
            }
            self.oldest.push_back((now, prefix));
        }
        let first = Failed {
            times: 0,
            since: now,
        };
        let failed = self.by_address.entry(prefix).or_insert(first);
        failed.times = failed.times.saturating_add(1);
        match failed.times.cmp(&FREE) {
            Ordering::Less => Verdict::Failed,
            Ordering::Equal => Verdict::LastFree,
            Ordering::Greater => Verdict::TooMany((failed.since + WINDOW).duration_since(now)),
        }
    }

    fn forget(&mut self, now: Instant) {
        while let Some((since, _)) = self.oldest.front()
            && *since + WINDOW <= now
        {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, prefix)) = self.oldest.pop_front() {
            self.by_address.remove(&prefix);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn the_eleventh_failure_of_a_minute_is_one_too_many() {
        let (mut failures, here) = (Failures::default(), address("192.0.2.1"));
        for _ in 0..9 {
            assert!(!failures.must_wait(here));
            assert_eq!(failures.note(here), Verdict::Failed);
            advance(Duration::from_secs(1)).await;
        }
        assert_eq!(failures.note(here), Verdict::LastFree);
        for _ in 0..3 {
            assert!(failures.must_wait(here));
            let left = Duration::from_secs(51);
            assert_eq!(failures.shut_out(here), Some(left));
            assert_eq!(failures.note(here), Verdict::TooMany(left));
        }
        assert!(!failures.must_wait(address("192.0.2.2")));
        assert_eq!(failures.note(address("192.0.2.2")), Verdict::Failed);

        advance(Duration::from_secs(51)).await;
        assert!(!failures.must_wait(here));
        assert_eq!(failures.note(here), Verdict::Failed);
    }

    #[tokio::test(start_paused = true)]
    async fn one_host_is_one_address() {
        let mut failures = Failures::default();
        for n in 0..10 {
            failures.note(address(&format!("2001:db8:0:1::{n}")));
        }
        assert!(failures.must_wait(address("2001:db8:0:1:ffff::1")));
        assert!(!failures.must_wait(address("2001:db8:0:2::1")));
        for _ in 0..10 {
            failures.note(address("::ffff:192.0.2.1"));
        }
        assert!(failures.must_wait(address("192.0.2.1")));
        assert!(!failures.must_wait(address("192.0.2.2")));
        assert!(!failures.must_wait(address("::1")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_addresses_takes_no_memory() {
        let mut failures = Failures::default();
        for n in 0..3 * ADDRESSES as u32 {
            failures.note(IpAddr::V4(n.into()));
            assert!(failures.by_address.len() <= ADDRESSES);
            assert_eq!(failures.by_address.len(), failures.oldest.len());
        }
        // The newest are remembered.
        let newest = IpAddr::V4((3 * ADDRESSES as u32 - 1).into());
        for _ in 0..9 {
            failures.note(newest);
        }
        assert!(failures.must_wait(newest));
        advance(WINDOW).await;
        assert!(!failures.must_wait(newest));
        assert_eq!(failures.by_address.len(), 0);
    }
}
