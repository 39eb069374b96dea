//! Whose account a client goes to, for what all clients of one owner have in common: the memory that their
//! links may take, and the lines of the log that may tell of them.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ngrnotok_common::link::windows::UnreadTotal;
use ngrnotok_common::prefix::Prefix;
use tokio::time::Instant;
use tracing::warn;

use crate::auth::Grant;

/// Who answers for a client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Payer {
    /// The account of its token.
    Account(Arc<str>),
    /// Its address, if it has no token: strangers have nothing else in common.
    Address(Prefix),
}

impl Payer {
    pub(super) fn of(grant: &Grant, address: IpAddr) -> Self {
        match grant.is_nobody() {
            true => Self::stranger(address),
            false => Self::Account(Arc::clone(grant.account())),
        }
    }

    pub(super) fn stranger(address: IpAddr) -> Self {
        Self::Address(Prefix::of(address))
    }
}

impl fmt::Display for Payer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(account) => write!(f, "{account}"),
            Self::Address(prefix) => write!(f, "{prefix}"),
        }
    }
}

/// What the clients of each payer have in common; clones see the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Owners {
    pub(super) unread: Arc<UnreadTotals>,
    lines: Arc<LogLines>,
}

impl Owners {
    /// What the log may tell of a payer.
    pub(super) fn log(&self, payer: Payer) -> Log {
        Log {
            lines: Arc::clone(&self.lines),
            payer,
        }
    }
}

/// What the log may tell of one payer.
#[derive(Debug)]
pub(super) struct Log {
    lines: Arc<LogLines>,
    payer: Payer,
}

impl Log {
    /// Whether another line may be written. If not, it has been said that some are left out.
    pub(super) fn admits(&self) -> bool {
        self.lines.admits(&self.payer)
    }
}

/// What the links of each payer hold unread.
#[derive(Debug, Default)]
pub(super) struct UnreadTotals(Mutex<Totals>);

#[derive(Debug, Default)]
struct Totals {
    by_payer: HashMap<Payer, UnreadTotal>,
    /// With so many it is time to look for those that nobody needs any more.
    crowd: usize,
}

impl UnreadTotals {
    /// That of a payer, the same for all links that it has at a time.
    pub(super) fn of(&self, payer: &Payer) -> UnreadTotal {
        let mut totals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if totals.by_payer.len() > totals.crowd {
            totals.by_payer.retain(|_, total| total.is_shared());
            totals.crowd = totals.by_payer.len() * 2 + 64;
        }
        totals.by_payer.entry(payer.clone()).or_default().clone()
    }
}

/// Lines of the log about one payer that may come at once: 512, enough for what a client with 64 tunnels does
/// on several links.
const LINES: u32 = 512;

/// One more may come after this time.
const ANOTHER_LINE: Duration = Duration::from_secs(1);

/// Payers that are remembered, some 150 bytes each. Of more the oldest is forgotten.
const PAYERS: usize = 4096;

/// Keeps one client, or many of one owner, from filling the log.
#[derive(Debug, Default)]
struct LogLines(Mutex<Lines>);

#[derive(Debug, Default)]
struct Lines {
    by_payer: HashMap<Payer, Written>,
    oldest: VecDeque<Payer>,
}

/// Lines as time: each costs [`ANOTHER_LINE`], and they may run ahead by [`LINES`] of it.
#[derive(Debug)]
struct Written {
    until: Instant,
    left_out: u64,
}

impl LogLines {
    /// The first line that may not be written is told, and the number of them when there is room again.
    fn admits(&self, payer: &Payer) -> bool {
        let now = Instant::now();
        let mut lines = self.lock();
        let written = lines.written(payer, now);
        if written.until > now + ANOTHER_LINE * (LINES - 1) {
            written.left_out += 1;
            if written.left_out == 1 {
                warn!(%payer, "too many lines about one account or address; more of them are left out");
            }
            return false;
        }
        written.until = written.until.max(now) + ANOTHER_LINE;
        match std::mem::take(&mut written.left_out) {
            0 => {}
            lines => warn!(%payer, lines, "lines about one account or address were left out"),
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    fn written(&mut self, payer: &Payer, now: Instant) -> &mut Written {
        if !self.by_payer.contains_key(payer) {
            if self.oldest.len() >= PAYERS
                && let Some(oldest) = self.oldest.pop_front()
            {
                self.by_payer.remove(&oldest);
            }
            self.oldest.push_back(payer.clone());
        }
        let none = Written {
            until: now,
            left_out: 0,
        };
        self.by_payer.entry(payer.clone()).or_insert(none)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn stranger(address: &str) -> Payer {
        Payer::stranger(address.parse().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_payer_has_some_lines_at_once_and_then_one_a_second() {
        let (lines, here) = (LogLines::default(), stranger("192.0.2.1"));
        for _ in 0..LINES {
            assert!(lines.admits(&here));
        }
        for _ in 0..3 {
            assert!(!lines.admits(&here));
            assert!(lines.admits(&stranger("192.0.2.2")), "others have theirs");
        }
        advance(ANOTHER_LINE).await;
        assert!(lines.admits(&here));
        assert!(!lines.admits(&here));
        advance(ANOTHER_LINE * LINES * 10).await;
        for _ in 0..LINES {
            assert!(lines.admits(&here));
        }
        assert!(!lines.admits(&here));
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_addresses_takes_no_memory() {
        let (lines, totals) = (LogLines::default(), UnreadTotals::default());
        let kept = totals.of(&stranger("192.0.2.1"));
        for n in 0..3 * PAYERS as u32 {
            let payer = Payer::stranger(IpAddr::V4(n.into()));
            assert!(lines.admits(&payer));
            drop(totals.of(&payer));
        }
        assert_eq!(lines.lock().by_payer.len(), PAYERS);
        assert!(totals.0.lock().unwrap().by_payer.len() < 256);
        let again = totals.of(&stranger("192.0.2.1"));
        assert!(again.is_shared());
        drop(kept);
    }
}
