//! Connections to the local app that can be used again.
//!
//! Last in, first out: the warmest connection is taken, and the ones that a burst left over age at the
//! bottom.

use std::sync::Mutex;
use std::time::Duration;

use hyper::client::conn::http1::SendRequest;
use tokio::time::Instant;

use super::RequestBody;

/// Idle connections kept: 256, a few kilobytes each.
const KEPT: usize = 256;

/// Idle time after which a connection is let go.
const IDLE_LIMIT: Duration = Duration::from_secs(60);

/// No app closes a connection that was idle for less than this: 0.5 s.
const FRESH: Duration = Duration::from_millis(500);

/// A connection to the local app.
pub(super) type Connection = SendRequest<RequestBody>;

#[derive(Debug, Default)]
pub(super) struct Pool {
    /// Newest last.
    idle: Mutex<Vec<(Connection, Instant)>>,
}

impl Pool {
    /// A connection that is ready for the next request, if there is one, and whether it has been idle
    /// for so long that the app may be closing it just now.
    pub(super) fn take(&self) -> Option<(Connection, bool)> {
        let mut idle = self.lock();
        while let Some((connection, since)) = idle.pop() {
            if connection.is_ready() {
                return Some((connection, since.elapsed() > FRESH));
            }
            // Closed by the app, or stuck with an upload that nobody reads: dropping it ends it.
        }
        None
    }

    /// Keeps a connection whose exchange is over.
    pub(super) fn put(&self, connection: Connection) {
        if connection.is_closed() {
            return;
        }
        let now = Instant::now();
        let mut idle = self.lock();
        let aged = idle
            .iter()
            .take_while(|(_, since)| now - *since > IDLE_LIMIT)
            .count();
        let surplus = (idle.len() + 1).saturating_sub(KEPT);
        idle.drain(..aged.max(surplus));
        idle.push((connection, now));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(Connection, Instant)>> {
        self.idle.lock().expect("nothing panics under this lock")
    }
}
