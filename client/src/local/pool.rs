//! Connections to the local app that can be used again.
//!
//! A connection that has carried nothing but requests without a body serves all visitors in turn: nothing that
//! one says is left on it for the next. One to which the app may have tied something, the rest of a body that it
//! has not read or a login, serves on for its visitor's connection alone, and ends with that.
//!
//! Last in, first out: the warmest connection is taken, and the ones that a burst left over age at the
//! bottom.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use ngrnotok_common::id::VisitorId;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::connection::{Connection, Owner};

/// Who shares connections to the local app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sharing {
    /// All visitors, as long as nothing is tied to a connection.
    #[default]
    Auto,
    /// All visitors, whatever the app ties to a connection.
    Shared,
    /// The requests of one visitor's connection.
    PerVisitor,
    /// Nobody: each request has a connection of its own.
    None,
}

/// Idle connections kept: 256, a few kilobytes each.
const KEPT: usize = 256;

/// Idle time after which a connection is let go: 4 s, less than the 5 s after which many servers close
/// them (Node.js, Gunicorn, uvicorn), so that few requests meet one that is just closing.
const IDLE_LIMIT: Duration = Duration::from_secs(4);

/// The same for one that is a visitor's own and may hold its login: 60 s, as long as the visitor's connection
/// may be idle. It usually ends with that.
const OWN_IDLE_LIMIT: Duration = Duration::from_secs(60);

/// A request that has waited so long for an answer on a connection of its own may wait for an app that
/// serves one connection at a time: 0.2 s, and again after a quarter of its waiting time, at most 2 s.
const FIRST_LOOK: Duration = Duration::from_millis(200);
const LAST_LOOK: Duration = Duration::from_secs(2);

/// What is let go for it has been idle for so long: 0.1 s. A connection in steady use is not.
const AT_REST: Duration = Duration::from_millis(100);

/// The same for a visitor's own, in the middle of whose login it may be: 1 s.
const OWN_AT_REST: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Pool {
    sharing: Sharing,
    idle: Mutex<Idle>,
    tasks: TaskTracker,
}

/// Idle connections, the newest last.
#[derive(Debug, Default)]
struct Idle {
    shared: Vec<(Connection, Instant)>,
    /// Those of all visitors in one list: few visitors have any.
    own: Vec<(VisitorId, Connection, Instant)>,
    /// Lets go of what ages; there is one while there are connections.
    timer: Option<AbortOnDropHandle<()>>,
}

impl Pool {
    /// An empty pool, whose timer is one of `tasks`.
    pub(super) fn new(sharing: Sharing, tasks: TaskTracker) -> Arc<Self> {
        Arc::new(Self {
            sharing,
            idle: Mutex::default(),
            tasks,
        })
    }

    /// Who shares its connections.
    pub(super) fn sharing(&self) -> Sharing {
        self.sharing
    }

    /// A connection that is ready for the next request of a visitor, if there is one. A request that is not
    /// `repeatable` gets none that the app may be closing just now because nobody uses it, but its visitor's
    /// own.
    pub(super) fn take(&self, visitor: Option<VisitorId>, repeatable: bool) -> Option<Connection> {
        let shared = match self.sharing {
            Sharing::Auto => repeatable,
            Sharing::Shared => true,
            Sharing::PerVisitor => false,
            Sharing::None => return None,
        };
        let mut idle = self.lock();
        if let Some(visitor) = visitor {
            while let Some(at) = idle.own.iter().rposition(|(of, ..)| *of == visitor) {
                let (_, connection, _) = idle.own.remove(at);
                if connection.is_ready() {
                    return Some(connection);
                }
            }
        }
        while shared && let Some((connection, _)) = idle.shared.pop() {
            if connection.is_ready() {
                return Some(connection);
            }
            // Closed by the app, or stuck with an upload that nobody reads: dropping it ends it.
        }
        None
    }

    /// Keeps a connection whose exchange is over.
    pub(super) fn put(self: &Arc<Self>, connection: Connection) {
        if connection.is_closed() || self.sharing == Sharing::None {
            return;
        }
        let mut idle = self.lock();
        let now = Instant::now();
        match connection.owner {
            Owner::Nobody => return,
            Owner::Everybody => idle.shared.push((connection, now)),
            Owner::Visitor(visitor) => idle.own.push((visitor, connection, now)),
        }
        if idle.shared.len() + idle.own.len() > KEPT {
            idle.drop_one();
        }
        if idle.timer.is_none() {
            let timer = self.tasks.spawn(age(Arc::downgrade(self)));
            idle.timer = Some(AbortOnDropHandle::new(timer));
        }
    }

    /// Waits for an exchange on a connection of its own. An app that serves one connection at a time, or
    /// as many as it has threads, may be busy with idle ones, so those are let go while the answer does not
    /// come.
    ///
    /// Cancel safety: that of the exchange.
    pub(super) async fn make_room_for<T>(&self, exchange: impl Future<Output = T>) -> T {
        let mut exchange = pin!(exchange);
        let began = Instant::now();
        loop {
            let pause = (began.elapsed() / 4).clamp(FIRST_LOOK, LAST_LOOK);
            tokio::select! {
                biased;
                done = &mut exchange => return done,
                () = sleep(pause) => self.lock().let_go(AT_REST, OWN_AT_REST),
            }
        }
    }

    /// Visitors' connections are over, and with them those that are their own.
    pub(super) fn visitors_left(&self, visitors: &HashSet<VisitorId>) {
        self.lock().own.retain(|(of, ..)| !visitors.contains(of));
    }

    fn lock(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().expect("nothing panics under this lock")
    }
}

impl Idle {
    /// Lets go of connections that have been idle for so long, and of visitors' own for so long.
    fn let_go(&mut self, limit: Duration, own_limit: Duration) {
        let now = Instant::now();
        let shared = &mut self.shared;
        shared.drain(..shared.partition_point(|(_, since)| now - *since >= limit));
        let own = &mut self.own;
        own.drain(..own.partition_point(|(.., since)| now - *since >= own_limit));
    }

    /// Makes room for one more. However many visitors there are, half of the room is for those that all share.
    fn drop_one(&mut self) {
        match self.own.len() > KEPT / 2 || self.shared.is_empty() {
            true => drop(self.own.remove(0)),
            false => drop(self.shared.remove(0)),
        }
    }

    /// When the next one is to be let go.
    fn next_end(&self) -> Option<Instant> {
        let shared = self.shared.first().map(|(_, since)| *since + IDLE_LIMIT);
        let own = self.own.first();
        let own = own.map(|(.., since)| *since + OWN_IDLE_LIMIT);
        shared.into_iter().chain(own).min()
    }
}

/// Lets go of connections as they age, until there are none.
async fn age(pool: Weak<Pool>) {
    loop {
        let next = {
            let Some(pool) = pool.upgrade() else { return };
            let mut idle = pool.lock();
            idle.let_go(IDLE_LIMIT, OWN_IDLE_LIMIT);
            match idle.next_end() {
                Some(next) => next,
                None => {
                    // The next connection brings another timer; this one is at its end.
                    idle.timer = None;
                    return;
                }
            }
        };
        sleep_until(next).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{DuplexStream, duplex};

    use super::*;

    /// Keeps so many more connections, and gives the app's ends of them.
    async fn put(pool: &Arc<Pool>, count: usize, owner: impl Fn() -> Owner) -> Vec<DuplexStream> {
        let mut apps = Vec::new();
        for _ in 0..count {
            let (near, app) = duplex(1024);
            let opened = Connection::open(Box::new(near), &pool.tasks).await;
            let mut connection = opened.unwrap();
            connection.owner = owner();
            pool.put(connection);
            apps.push(app);
        }
        apps
    }

    fn kept(pool: &Pool) -> (usize, usize) {
        let idle = pool.lock();
        (idle.shared.len(), idle.own.len())
    }

    #[tokio::test(start_paused = true)]
    async fn visitors_own_connections_leave_half_of_the_room_to_those_of_all() {
        let pool = Pool::new(Sharing::Auto, TaskTracker::new());
        let own = || Owner::Visitor(VisitorId::random());
        let everybody = || Owner::Everybody;
        let _apps = put(&pool, KEPT, own).await;
        assert_eq!(kept(&pool), (0, KEPT), "nobody else wants it");
        let oldest = pool.lock().own[0].0;

        let _more = put(&pool, KEPT, everybody).await;
        assert_eq!(kept(&pool), (KEPT / 2, KEPT / 2));
        assert!(pool.lock().own.iter().all(|(of, ..)| *of != oldest));

        let _again = put(&pool, KEPT, own).await;
        assert_eq!(kept(&pool), (KEPT / 2, KEPT / 2));
    }
}
