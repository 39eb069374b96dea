//! The requests that went by, for whoever shows them.
//!
//! Showing must never hold up a visitor: the queue is short, and what does not fit is counted instead.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use http::{Method, StatusCode, Uri};
use ngrnotok_common::hostname::Name;
use ngrnotok_common::protocol::cause::Cause;
use tokio::sync::mpsc;

use crate::local::Explanation;

/// Requests that wait to be shown: 256.
const QUEUE: usize = 256;

/// One request whose answer has begun.
#[derive(Debug, Clone)]
pub struct Seen {
    /// When it came.
    pub at: SystemTime,
    /// Through which tunnel.
    pub name: Name,
    /// Its method.
    pub method: Method,
    /// Its address as the visitor wrote it.
    pub uri: Uri,
    /// What the visitor was answered.
    pub status: StatusCode,
    /// From the request to the head of the answer.
    pub took: Duration,
    /// Why the local app gave no answer, and the particulars; `None` if it did.
    pub trouble: Option<(Cause, String)>,
}

/// Something to show.
#[derive(Debug, Clone)]
pub enum Happening {
    /// A request went by.
    Request(Seen),
    /// A local app refuses or misbehaves in a way that is known.
    Hint(Hint),
}

/// Why a local app refuses or misbehaves, told once.
#[derive(Debug, Clone)]
pub struct Hint {
    /// Through which tunnel it was seen.
    pub name: Name,
    /// What is the matter, and what mends it.
    pub explanation: Explanation,
}

/// The side that sees requests.
#[derive(Debug, Clone)]
pub(crate) struct Witness {
    seen: mpsc::Sender<Happening>,
    missed: Arc<AtomicU64>,
}

/// The side that shows them.
#[derive(Debug)]
pub struct Requests {
    seen: mpsc::Receiver<Happening>,
    missed: Arc<AtomicU64>,
}

pub(crate) fn channel() -> (Witness, Requests) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let missed = Arc::<AtomicU64>::default();
    let witness = Witness {
        seen: sender,
        missed: Arc::clone(&missed),
    };
    let requests = Requests {
        seen: receiver,
        missed,
    };
    (witness, requests)
}

impl Witness {
    /// Notes a request, made only if there is room for it.
    pub(crate) fn note(&self, seen: impl FnOnce() -> Seen) {
        match self.seen.try_reserve() {
            Ok(place) => place.send(Happening::Request(seen())),
            Err(_) => {
                self.missed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Passes a hint on. False if there is no room for it now.
    pub(crate) fn hint(&self, hint: Hint) -> bool {
        self.seen.try_send(Happening::Hint(hint)).is_ok()
    }
}

impl Requests {
    /// What happens next; `None` when the client is gone. Cancel safety: safe.
    pub async fn next(&mut self) -> Option<Happening> {
        self.seen.recv().await
    }

    /// What has happened already.
    pub fn next_now(&mut self) -> Option<Happening> {
        self.seen.try_recv().ok()
    }

    /// How many did not fit since this was last asked.
    pub fn take_missed(&self) -> u64 {
        self.missed.swap(0, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::explain::Kind;

    fn hint() -> Hint {
        let explanation = Explanation {
            kind: Kind::HostRefused,
            what: "it refuses".into(),
            fix: "let it".into(),
        };
        Hint {
            name: "app".parse().unwrap(),
            explanation,
        }
    }

    #[tokio::test]
    async fn a_hint_that_finds_no_room_is_not_taken_for_told() {
        let (witness, mut requests) = channel();
        for _ in 0..QUEUE {
            assert!(witness.hint(hint()));
        }
        assert!(!witness.hint(hint()));
        requests.next().await.unwrap();
        assert!(witness.hint(hint()));
    }
}
