//! Visitors who come at a steady rate, and judge every answer.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use http::Method;
use ngrnotok_tests::visitor::{Via, Visitor};
use ngrnotok_tests::within;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::door::{Door, Outcome, PATIENCE};
use crate::tally::{Failure, Tally};

/// Requests a second of all visitors together.
pub(crate) const RATE: u32 = 200;

/// Visitors of one load who wait for answers at once.
const MOST: usize = 500;

/// How many loads there have been.
static STARTED: AtomicUsize = AtomicUsize::new(0);

/// Load that goes on until it is stopped.
pub(crate) struct Load {
    stop: CancellationToken,
    run: AbortOnDropHandle<()>,
    shared: Arc<Shared>,
    right: watch::Receiver<usize>,
}

struct Shared {
    /// No two loads ask for the same.
    id: usize,
    door: Door,
    names: Vec<String>,
    /// By name and version of HTTP. Those of HTTP/2 stay while they are used.
    idle: Mutex<BTreeMap<(usize, bool), Vec<Idle>>>,
    tally: Mutex<Tally>,
    right: watch::Sender<usize>,
}

/// A connection that could be used.
struct Idle {
    visitor: Visitor,
    since: Instant,
}

impl Load {
    /// Starts requests for these names in turn, so many a second: half of them in HTTP/2, half of them
    /// uploads.
    pub(crate) fn start(door: &Door, names: &[&str], rate: u32) -> Self {
        let (counted, right) = watch::channel(0);
        let shared = Arc::new(Shared {
            id: STARTED.fetch_add(1, Ordering::Relaxed),
            door: door.clone(),
            names: names.iter().map(ToString::to_string).collect(),
            idle: Mutex::default(),
            tally: Mutex::default(),
            right: counted,
        });
        let stop = CancellationToken::new();
        let run = keep_asking(Arc::clone(&shared), rate, stop.clone());
        Self {
            stop,
            run: AbortOnDropHandle::new(TaskTracker::new().spawn(run)),
            shared,
            right,
        }
    }

    /// Waits for so many further right answers.
    pub(crate) async fn gets(&mut self, count: usize) {
        let goal = *self.right.borrow() + count;
        let reached = self.right.wait_for(|right| *right >= goal);
        let reached = within(Duration::from_secs(30), "right answers", reached).await;
        drop(reached.expect("the load lives"));
    }

    /// Lets it go on for a time.
    pub(crate) async fn goes_on(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.gets(1).await;
        }
    }

    /// What has come of it so far.
    pub(crate) fn tally(&self) -> MutexGuard<'_, Tally> {
        self.shared.tally()
    }

    /// Stops it, and waits for the answers that are still to come.
    pub(crate) async fn stop(self) -> Tally {
        self.stop.cancel();
        let ended = within(PATIENCE * 2, "the last answers", self.run).await;
        ended.expect("visitors do not panic");
        std::mem::take(&mut *self.shared.tally())
    }
}

async fn keep_asking(shared: Arc<Shared>, rate: u32, stop: CancellationToken) {
    let mut ticks = interval(Duration::from_secs(1) / rate);
    // A machine that is too slow for the rate has fewer visitors, not ever more of them.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut asking = JoinSet::new();
    for number in 0.. {
        tokio::select! {
            _ = ticks.tick(), if asking.len() < MOST => {}
            Some(asked) = asking.join_next(), if asking.len() >= MOST => {
                asked.expect("visitors do not panic");
                continue;
            }
            () = stop.cancelled() => break,
        }
        asking.spawn(ask(Arc::clone(&shared), number));
        while let Some(asked) = asking.try_join_next() {
            asked.expect("visitors do not panic");
        }
    }
    asking.join_all().await;
}

async fn ask(shared: Arc<Shared>, number: usize) {
    let (which, kind) = (number % shared.names.len(), number / shared.names.len());
    let via = if kind % 2 == 0 {
        Via::Http1
    } else {
        Via::Http2
    };
    let (method, path) = match kind / 2 % 2 {
        0 => (Method::GET, format!("/page/{}/{number}", shared.id)),
        _ => (Method::POST, format!("/upload/{}/{number}", shared.id)),
    };
    let name = &shared.names[which];
    let (began, mut moved) = (Instant::now(), 0);
    let outcome = loop {
        let visitor = match shared.connection(which, via).await {
            Ok(visitor) => visitor,
            Err(error) => break Outcome::Failed(format!("no connection: {:?}", error.kind())),
        };
        match shared.door.ask(&visitor, name, &method, &path).await {
            Outcome::NeverAsked => moved += 1,
            outcome => {
                shared.give_back(which, via, visitor);
                break outcome;
            }
        }
    };
    let mut tally = shared.tally();
    tally.moved += moved;
    tally.slowest = tally.slowest.max(began.elapsed());
    match outcome {
        Outcome::Right => {
            tally.right += 1;
            shared.right.send_replace(tally.right);
        }
        Outcome::Wrong(what) => tally.wrong.push(format!("{method} {path}: {what}")),
        Outcome::Failed(what) => tally.failed.push(Failure {
            asked: began,
            told: Instant::now(),
            what,
        }),
        Outcome::NeverAsked => unreachable!("it is tried again"),
    }
}

impl Shared {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().expect("nothing panics under this lock")
    }

    /// A connection to a name: one that is there, or a new one.
    async fn connection(&self, which: usize, via: Via) -> io::Result<Visitor> {
        if let Some(visitor) = self.take_idle(which, via) {
            return Ok(visitor);
        }
        let visitor = self.door.visit(via, &self.names[which]).await?;
        if via.is_http2() {
            self.give_back(which, via, visitor.clone());
        }
        Ok(visitor)
    }

    fn take_idle(&self, which: usize, via: Via) -> Option<Visitor> {
        let mut idle = self.idle.lock().expect("nothing panics under this lock");
        let idle = idle.get_mut(&(which, via.is_http2()))?;
        idle.retain(|idle| idle.since.elapsed() < self.door.idle && idle.visitor.is_open());
        match via.is_http2() {
            true => idle.last().map(|idle| idle.visitor.clone()),
            false => idle.pop().map(|idle| idle.visitor),
        }
    }

    fn give_back(&self, which: usize, via: Via, visitor: Visitor) {
        let mut idle = self.idle.lock().expect("nothing panics under this lock");
        let idle = idle.entry((which, via.is_http2())).or_default();
        if via.is_http2() {
            // There is one for all, and it has been used just now.
            idle.clear();
        }
        idle.push(Idle {
            visitor,
            since: Instant::now(),
        });
    }
}
