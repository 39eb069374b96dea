//! Visitors who come at a steady rate, and judge every answer.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use h2::Reason;
use http::Method;
use ngrnotok_certs::tls::client_config;
use ngrnotok_tests::body::{empty, full};
use ngrnotok_tests::sockets::try_dial;
use ngrnotok_tests::visitor::{Answer, Via, Visitor};
use ngrnotok_tests::world::DOMAIN;
use ngrnotok_tests::{soon, within};
use rustls::ClientConfig;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::app::{App, answer, upload};
use crate::place::Place;

/// Requests a second of all visitors together.
pub(crate) const RATE: u32 = 200;

/// No visitor waits longer for anything; long after the server has given up.
const PATIENCE: Duration = Duration::from_secs(25);

/// A connection that has been idle for so long is not used again, as with most programs.
const IDLE: Duration = Duration::from_secs(1);

/// How many loads there have been.
static STARTED: AtomicUsize = AtomicUsize::new(0);

/// Where visitors come in.
#[derive(Clone)]
pub(crate) struct Door {
    address: SocketAddr,
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
    /// Visitors who find nobody knock again for a while.
    pub(crate) knocks_again: bool,
}

impl Door {
    pub(crate) fn of(place: &Place) -> Self {
        let config = |via: Via| client_config(place.trust(), &[via.alpn()]).expect("an authority");
        Self {
            address: place.address,
            http1: config(Via::Http1),
            http2: config(Via::Http2),
            knocks_again: false,
        }
    }

    /// The host of a name as visitors write it.
    fn authority(&self, name: &str) -> String {
        format!("{name}.{DOMAIN}:{}", self.address.port())
    }

    /// A new visitor of a name.
    pub(crate) async fn visit(&self, via: Via, name: &str) -> io::Result<Visitor> {
        let config = match via.is_http2() {
            true => Arc::clone(&self.http2),
            false => Arc::clone(&self.http1),
        };
        let host = format!("{name}.{DOMAIN}");
        let stream = loop {
            match try_dial(self.address, Some(Arc::clone(&config)), &host).await {
                Err(_) if self.knocks_again => sleep(Duration::from_millis(10)).await,
                dialed => break dialed?,
            }
        };
        let opened = Visitor::try_on(stream, via, self.authority(name)).await;
        opened.map_err(io::Error::other)
    }

    /// Waits until all these tunnels answer; tells how long that has taken.
    pub(crate) async fn all_answer(&self, apps: &[App]) -> Duration {
        let began = Instant::now();
        let mut returns = JoinSet::new();
        for app in apps {
            let (door, name) = (self.clone(), app.name.clone());
            returns.spawn(async move { door.answers(&name).await });
        }
        returns.join_all().await;
        began.elapsed()
    }

    /// Waits until a tunnel answers.
    pub(crate) async fn answers(&self, name: &str) {
        soon("a tunnel to answer", async {
            loop {
                if let Ok(visitor) = self.visit(Via::Http2, name).await
                    && let Outcome::Right = self.ask(&visitor, name, &Method::GET, "/").await
                {
                    return;
                }
                sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }

    /// Sends one request and judges the answer.
    async fn ask(&self, visitor: &Visitor, name: &str, method: &Method, path: &str) -> Outcome {
        let sent = match *method {
            Method::POST => upload(path),
            _ => String::new(),
        };
        let request = visitor.request(method.as_str(), path);
        let request = request.body(match sent.is_empty() {
            true => empty(),
            false => full(sent.clone()),
        });
        let asked = visitor.try_send(request.expect("a good request"));
        let got = match timeout(PATIENCE, asked).await {
            Ok(Ok(got)) => got,
            // Any program opens another connection then.
            Ok(Err(error)) if was_never_asked(&error) => return Outcome::NeverAsked,
            Ok(Err(error)) => return Outcome::Failed(format!("broke off: {error:?}")),
            Err(_) => return Outcome::Failed("no answer".into()),
        };
        judge(&got, &self.right(name, method, path, sent.as_bytes()))
    }

    /// The right answer to a request.
    pub(crate) fn right(&self, name: &str, method: &Method, path: &str, body: &[u8]) -> String {
        answer(name, method, &self.authority(name), path, body)
    }
}

enum Outcome {
    Right,
    /// The connection was over before.
    NeverAsked,
    Failed(String),
    Wrong(String),
}

/// Whether a request has not left, or came after the goodbye of the server (RFC 9113 §6.8).
fn was_never_asked(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref());
    let goodbye = |error: &h2::Error| {
        error.is_go_away() && error.is_remote() && error.reason() == Some(Reason::NO_ERROR)
    };
    error.is_canceled() || error.is_closed() || cause.is_some_and(goodbye)
}

fn judge(got: &Answer, right: &str) -> Outcome {
    if got.status.is_success() {
        return match got.body == right {
            true => Outcome::Right,
            false => Outcome::Wrong(format!("{got:?} and not {right:?}")),
        };
    }
    match got.headers.get("ngrnotok-cause") {
        Some(cause) => {
            let cause = cause.to_str().unwrap_or_default();
            Outcome::Failed(format!("{} {cause}", got.status.as_u16()))
        }
        None => Outcome::Wrong(format!("{got:?}, which nobody of ours has said")),
    }
}

/// What came of the requests.
#[derive(Default)]
pub(crate) struct Tally {
    right: usize,
    wrong: Vec<String>,
    pub(crate) failed: Vec<Failure>,
    /// The longest that anybody has waited for anything.
    pub(crate) slowest: Duration,
    /// Requests that had to look for another connection before they were asked.
    moved: usize,
}

/// A request that got no answer from its app.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) asked: Instant,
    pub(crate) told: Instant,
    pub(crate) what: String,
}

impl Tally {
    /// Nobody ever got the answer to another request, or a part of one that looked whole.
    pub(crate) fn has_nothing_wrong(&self) {
        assert_eq!(self.wrong, Vec::<String>::new(), "{self}");
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut kinds = BTreeMap::<&str, usize>::new();
        for failure in &self.failed {
            *kinds.entry(&failure.what).or_default() += 1;
        }
        let (right, wrong) = (self.right, self.wrong.len());
        let (failed, moved) = (self.failed.len(), self.moved);
        let slowest = self.slowest;
        write!(
            f,
            "{right} right, {wrong} wrong, {failed} failed {kinds:?}, {moved} moved, slowest {slowest:.2?}"
        )
    }
}

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
    pub(crate) async fn goes_on(&mut self, count: usize) {
        let goal = *self.right.borrow() + count;
        let limit = Duration::from_secs(30);
        let goal = self.right.wait_for(|right| *right >= goal);
        let reached = within(limit, "right answers", goal).await;
        drop(reached.expect("the load lives"));
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
    let mut asking = JoinSet::new();
    for number in 0.. {
        tokio::select! {
            _ = ticks.tick() => {}
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
        idle.retain(|idle| idle.since.elapsed() < IDLE && idle.visitor.is_open());
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
