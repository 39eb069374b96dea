//! The visitors whose connections a tunnel client knows by name, and which of them are over.

use std::sync::atomic::{AtomicU8, Ordering};

use ngrnotok_common::id::VisitorId;
use ngrnotok_common::protocol::control::Naming;
use tokio::sync::{Mutex, mpsc};

/// News that wait to be told: 1024. What does not fit is not told; the client's own timers do without.
const QUEUE: usize = 1024;

/// News told at a time: 64.
const AT_ONCE: usize = 64;

#[derive(Debug)]
pub(super) struct Visitors {
    naming: AtomicU8,
    left: mpsc::Sender<VisitorId>,
    /// Any link of the session may tell the news.
    news: Mutex<mpsc::Receiver<VisitorId>>,
}

const NONE: u8 = 0;
const BOUND: u8 = 1;
const ALL: u8 = 2;

impl Default for Visitors {
    fn default() -> Self {
        let (left, news) = mpsc::channel(QUEUE);
        Self {
            naming: AtomicU8::new(NONE),
            left,
            news: Mutex::new(news),
        }
    }
}

impl Visitors {
    /// Which visitors the client wants to know by name.
    pub(super) fn naming(&self) -> Option<Naming> {
        match self.naming.load(Ordering::Relaxed) {
            BOUND => Some(Naming::Bound),
            ALL => Some(Naming::All),
            _ => None,
        }
    }

    pub(super) fn set_naming(&self, naming: Option<Naming>) {
        let naming = match naming {
            None => NONE,
            Some(Naming::Bound) => BOUND,
            Some(Naming::All) => ALL,
        };
        self.naming.store(naming, Ordering::Relaxed);
    }

    pub(super) fn left(&self, visitor: VisitorId) {
        let _ = self.left.try_send(visitor);
    }

    /// The next ones that have left. Cancel safety: safe.
    pub(super) async fn next_left(&self) -> Vec<VisitorId> {
        let mut visitors = Vec::new();
        let mut news = self.news.lock().await;
        news.recv_many(&mut visitors, AT_ONCE).await;
        visitors
    }
}
