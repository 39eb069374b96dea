//! Following a command that comes back on another port, as dev servers do whose port somebody has taken.

use std::collections::{BTreeMap, HashSet};
use std::convert::Infallible;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::port::{Found, Search, Wish, opened_by};
use crate::ports::{self, Listener};

/// How often it is seen whether the port is still open: every second. That reads one file.
const LOOK: Duration = Duration::from_secs(1);

/// Sends `targets` where the command listens, whenever it has closed its port and answers on another one. What
/// else was open meanwhile is passed over: it is no app that came back.
///
/// Only ports that the system has told are followed. Cancel safety: safe.
pub(super) async fn follow(
    search: Search<'_>,
    found: Found,
    targets: &watch::Sender<crate::local::Target>,
) -> Infallible {
    let (Wish::Seen, Some(process)) = (search.wish, search.process) else {
        return std::future::pending().await;
    };
    let mut port = found.port;
    loop {
        let mut open = opened_by(process).await;
        if let Some(listener) = open.remove(&port) {
            closed(listener).await;
        }
        let again = search.find(others(&open)).await;
        if again.port != port {
            port = again.port;
            targets.send_replace(again.target);
        }
    }
}

fn others(open: &BTreeMap<u16, Listener>) -> HashSet<u16> {
    open.keys().copied().collect()
}

/// Resolves when a socket listens no more. Whoever has its port then is somebody else.
async fn closed(listener: Listener) {
    let is_open = move || {
        let listeners = ports::listeners().unwrap_or_default();
        listeners
            .iter()
            .any(|other| other.socket == listener.socket)
    };
    while tokio::task::spawn_blocking(is_open).await.unwrap_or(false) {
        sleep(LOOK).await;
    }
}
