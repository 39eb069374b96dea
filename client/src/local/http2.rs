//! A local app that speaks HTTP/2: one connection for all requests, and more where the app takes fewer at once
//! than there are.

use std::future::poll_fn;
use std::mem;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;

use http::{Request, Response};
use ngrnotok_common::link::calling::{
    AnswerBody, Calling, ExchangeError, Requests, Unprocessed, exchange,
};
use ngrnotok_common::link::open::LinkError;
use ngrnotok_common::link::settings::server_end;
use ngrnotok_common::link::windows::Unread;
use ngrnotok_common::protocol::cause::Cause;
use ngrnotok_common::socket::Socket;
use tokio::sync::{Mutex, Notify};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::dial::{Dialer, Offer};
use super::{RequestBody, Target, Trouble};

/// Connections to one app: 32. With the 100 streams that most apps take at least (RFC 9113 §6.5.2), they carry
/// more than a link can.
pub(super) const MOST: usize = 32;

/// An app says within this time how many streams it takes, or is taken to have no limit: 1 s.
const SETTINGS_LIMIT: Duration = Duration::from_secs(1);

/// As many as it takes before it has said so. No app says this number, which is no 32 bits.
const NOT_SAID: usize = usize::MAX - 1;

/// While there are connections, an app that has not taken another is not asked again for this time: 5 s.
const PAUSE: Duration = Duration::from_secs(5);

/// A request without a place looks for one at least this often: each second.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A connection without a request is looked at twice in this time before it is let go: 60 s.
const IDLE_LIMIT: Duration = Duration::from_secs(60);

/// The connections to one app.
#[derive(Debug)]
pub(super) struct Connections {
    target: Target,
    open: Mutex<Open>,
    /// Whether a request opens a connection: one at a time.
    dialing: AtomicBool,
    /// Told whenever a stream ends, and whenever a dial does.
    freed: Arc<Notify>,
    tasks: TaskTracker,
}

#[derive(Debug, Default)]
struct Open {
    connections: Vec<Connection>,
    /// Lets go of those that are idle; there is one while there are connections.
    timer: Option<AbortOnDropHandle<()>>,
    /// When the app last took no connection, and why.
    failed: Option<(Instant, Trouble)>,
}

#[derive(Debug)]
struct Connection {
    requests: Requests,
    /// Each stream has a clone.
    streams: Arc<()>,
    /// It had no streams when it was looked at last.
    rested: bool,
}

/// A stream's place on a connection.
#[derive(Debug)]
pub struct Place {
    requests: Requests,
    streams: Option<Arc<()>>,
    freed: Arc<Notify>,
}

impl Place {
    /// Gives the place back; what is left tells which connection it was on.
    fn give_back(self) -> Weak<()> {
        self.streams
            .as_ref()
            .map(Arc::downgrade)
            .unwrap_or_default()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.streams = None;
        // One alone might be woken only to be dropped.
        self.freed.notify_waiters();
    }
}

/// What a request finds that looks for a place.
enum Found<'a> {
    Place(Place),
    /// None, and it is this one's turn to dial.
    Turn(Turn<'a>),
    /// None, but another request dials.
    Dialing,
    /// None: so many streams are open, and there will be no other connection for now.
    Full(usize),
}

/// The turn to dial, which ends when this is dropped.
struct Turn<'a>(&'a Connections);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.dialing.store(false, Ordering::Relaxed);
        self.0.freed.notify_waiters();
    }
}

impl Connection {
    async fn is_open(&self) -> bool {
        // A handle that has sent nothing is always ready, unless the connection takes no more requests.
        self.requests.raw().ready().await.is_ok()
    }

    fn has_room(&self) -> bool {
        self.open_streams() < self.requests.most_streams()
    }

    fn open_streams(&self) -> usize {
        Arc::strong_count(&self.streams) - 1
    }
}

impl Open {
    /// A connection with room, other than that of `refused`.
    fn with_room(&mut self, refused: Option<&Weak<()>>) -> Option<&mut Connection> {
        self.connections.iter_mut().find(|one| {
            let is_other =
                refused.is_none_or(|refused| refused.as_ptr() != Arc::as_ptr(&one.streams));
            one.has_room() && is_other
        })
    }

    /// How many streams they carry at once, all together.
    fn most_streams(&self) -> usize {
        let most = self
            .connections
            .iter()
            .map(|one| one.requests.most_streams());
        most.fold(0, usize::saturating_add)
    }
}

impl Connections {
    /// None yet; what drives them will be some of `tasks`.
    pub(super) fn new(target: Target, tasks: TaskTracker) -> Arc<Self> {
        Arc::new(Self {
            target,
            open: Mutex::default(),
            dialing: AtomicBool::default(),
            freed: Arc::default(),
            tasks,
        })
    }

    /// Sends a request on the `dialed` connection if there is one, otherwise on any. One that the app has not
    /// looked at, and says so, goes once more, whatever its method (RFC 9113 §8.7), unless too much of its body
    /// has been sent. Interim answers go to `interim`, and `is_full` hears how many streams there are when all
    /// are taken.
    pub(super) async fn send(
        self: &Arc<Self>,
        request: Request<RequestBody>,
        interim: &mut (dyn FnMut(Response<()>) + Send),
        dialed: Option<Box<dyn Socket>>,
        dialer: &Dialer,
        is_full: &(dyn Fn(usize) + Send + Sync),
    ) -> Result<Response<(AnswerBody, Place)>, Trouble> {
        let (head, body) = request.into_parts();
        let (body, kept) = body.kept();
        let again = head.clone();
        let dialed = match dialed {
            Some(stream) => self.add(stream).await?,
            None => None,
        };
        let place = match dialed {
            Some(place) => place,
            None => self.place(None, dialer, is_full).await?,
        };
        let head = Request::from_parts(head, ());
        let answer = exchange(&place.requests, head, body, interim, &self.tasks).await;
        let error = match answer {
            Ok(answer) => {
                kept.forget();
                return Ok(answer.map(|body| (body, place)));
            }
            Err(error) => error,
        };
        let body = match &error {
            ExchangeError::Peer(error) if Unprocessed::of(error).is_some() => kept.again(),
            _ => None,
        };
        let Some(body) = body else {
            return Err(self.trouble(&error));
        };
        let refused = place.give_back();
        let place = self.place(Some(&refused), dialer, is_full).await?;
        let head = Request::from_parts(again, ());
        let answer = exchange(&place.requests, head, body, interim, &self.tasks).await;
        let answer = answer.map_err(|error| self.trouble(&error))?;
        kept.forget();
        Ok(answer.map(|body| (body, place)))
    }

    /// A place for a request, on a connection other than that of `refused` if there is another. A connection is
    /// opened by `dialer` if none has room. Of several requests at once, one dials and the others wait, for that
    /// or for a place that becomes free.
    ///
    /// When there are as many as there may be and all are full, `is_full` is called and the request waits.
    async fn place(
        self: &Arc<Self>,
        refused: Option<&Weak<()>>,
        dialer: &Dialer,
        is_full: &(dyn Fn(usize) + Send + Sync),
    ) -> Result<Place, Trouble> {
        let mut looked = None;
        let mut is_told = false;
        loop {
            let mut freed = pin!(self.freed.notified());
            // In this order no end of a stream falls between looking and waiting.
            freed.as_mut().enable();
            let since = looked.replace(Instant::now());
            match self.look(refused, since).await? {
                Found::Place(place) => return Ok(place),
                Found::Turn(_turn) => match self.dial(dialer).await? {
                    Some(place) => return Ok(place),
                    None => continue,
                },
                Found::Dialing => {}
                Found::Full(streams) if !is_told => {
                    is_full(streams);
                    is_told = true;
                }
                Found::Full(_) => {}
            }
            // Nobody tells when an app takes more streams than before, or when a pause is over.
            let _ = timeout(LOOK_AGAIN, freed).await;
        }
    }

    /// Looks for a place. A dial that has failed after `since`, when the request looked before, has failed for it
    /// too.
    async fn look(
        &self,
        refused: Option<&Weak<()>>,
        since: Option<Instant>,
    ) -> Result<Found<'_>, Trouble> {
        let mut open = self.open.lock().await;
        let mut at = 0;
        while let Some(connection) = open.connections.get(at) {
            match connection.is_open().await {
                true => at += 1,
                false => drop(open.connections.remove(at)),
            }
        }
        if let Some(connection) = open.with_room(refused) {
            return Ok(Found::Place(self.on(connection)));
        }
        let is_alone = open.connections.is_empty();
        let may_dial = match &open.failed {
            Some((at, trouble)) if is_alone && since.is_some_and(|since| *at >= since) => {
                return Err(trouble.clone());
            }
            Some((at, _)) if !is_alone && at.elapsed() < PAUSE => false,
            _ => open.connections.len() < MOST,
        };
        if may_dial {
            return Ok(match self.dialing.swap(true, Ordering::Relaxed) {
                false => Found::Turn(Turn(self)),
                true => Found::Dialing,
            });
        }
        Ok(match open.with_room(None) {
            Some(connection) => Found::Place(self.on(connection)),
            None => Found::Full(open.most_streams()),
        })
    }

    /// A place on a new connection; `None` if the app takes no more of them but there are others.
    async fn dial(self: &Arc<Self>, dialer: &Dialer) -> Result<Option<Place>, Trouble> {
        match dialer.dial(Offer::Http2).await {
            Ok(dialed) => self.add(dialed.stream).await,
            Err(trouble) => self.without_another(trouble).await,
        }
    }

    /// The same on a connection that is open already but for HTTP/2.
    async fn add(self: &Arc<Self>, stream: Box<dyn Socket>) -> Result<Option<Place>, Trouble> {
        let requests = match self.handshake(stream).await {
            Ok(requests) => requests,
            Err(trouble) => return self.without_another(trouble).await,
        };
        let mut connection = Connection {
            requests,
            streams: Arc::default(),
            rested: false,
        };
        let place = self.on(&mut connection);
        let mut open = self.open.lock().await;
        open.connections.push(connection);
        if open.timer.is_none() {
            let timer = self.tasks.spawn(let_go(Arc::downgrade(self)));
            open.timer = Some(AbortOnDropHandle::new(timer));
        }
        Ok(Some(place))
    }

    /// Notes that the app takes no more connections; those that there are go on.
    async fn without_another(&self, trouble: Trouble) -> Result<Option<Place>, Trouble> {
        let mut open = self.open.lock().await;
        open.failed = Some((Instant::now(), trouble.clone()));
        match open.connections.is_empty() {
            true => Err(trouble),
            false => Ok(None),
        }
    }

    fn on(&self, connection: &mut Connection) -> Place {
        connection.rested = false;
        Place {
            requests: connection.requests.clone(),
            streams: Some(Arc::clone(&connection.streams)),
            freed: Arc::clone(&self.freed),
        }
    }

    async fn handshake(&self, stream: Box<dyn Socket>) -> Result<Requests, Trouble> {
        let mut settings = server_end();
        settings.initial_max_send_streams(NOT_SAID);
        let opened = Calling::open(stream, &settings, None, Unread::default()).await;
        let (requests, mut calling) = opened.map_err(|error| self.closed(&error))?;
        // How many streams it takes is what it says first (RFC 9113 §3.4).
        let said = poll_fn(|cx| match Pin::new(&mut calling).poll(cx) {
            Poll::Ready(ended) => Poll::Ready(Some(ended)),
            Poll::Pending if requests.most_streams() != NOT_SAID => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        });
        match timeout(SETTINGS_LIMIT, said).await {
            Ok(Some(Ok(()))) => return Err(self.closed(&"it closed the connection")),
            Ok(Some(Err(LinkError::Http2(error)))) => return Err(self.trouble(&error.into())),
            Ok(Some(Err(error))) => return Err(self.closed(&error)),
            Ok(None) | Err(_) => {}
        }
        // Ends when the app closes, or with the last request and the handle that is kept.
        self.tasks.spawn(async { drop(calling.await) });
        Ok(requests)
    }

    fn closed(&self, reason: &dyn std::fmt::Display) -> Trouble {
        Trouble::new(Cause::LocalClosed, &self.target, reason)
    }

    fn trouble(&self, error: &ExchangeError<h2::Error>) -> Trouble {
        let cause = match error {
            ExchangeError::Upload(_) => Cause::BadFraming,
            ExchangeError::Peer(error) if error.is_io() || error.is_go_away() => Cause::LocalClosed,
            ExchangeError::Peer(_) => Cause::LocalBadResponse,
        };
        Trouble::new(cause, &self.target, error)
    }
}

/// Lets go of connections that have had no streams for a while, until there are none.
async fn let_go(connections: Weak<Connections>) {
    loop {
        sleep(IDLE_LIMIT).await;
        let Some(connections) = connections.upgrade() else {
            return;
        };
        let mut open = connections.open.lock().await;
        open.connections.retain_mut(|connection| {
            let rests = connection.open_streams() == 0;
            let rested = mem::replace(&mut connection.rested, rests);
            !(rests && rested)
        });
        if open.connections.is_empty() {
            // The next connection brings another timer; this one is at its end.
            open.timer = None;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;

    use super::*;

    /// What becomes of the connections to an app.
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum App {
        /// All are closed.
        Closes,
        /// The first takes one stream, the others are closed.
        TakesOne,
        /// The first takes one stream, the others nothing, and none is closed.
        TakesOneAndKeepsSilent,
    }

    /// An app, connections to it, and news of all of them but one that takes a stream.
    async fn start(
        app: App,
        tasks: &TaskTracker,
    ) -> (Arc<Connections>, Dialer, mpsc::Receiver<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = Target::Http {
            host: "127.0.0.1".to_owned(),
            port: listener.local_addr().unwrap().port(),
        };
        let (came, coming) = mpsc::channel(64);
        tasks.spawn(async move {
            let first = match app {
                App::Closes => None,
                _ => Some(listener.accept().await.unwrap().0),
            };
            let serve = async {
                let Some(first) = first else { return };
                let mut settings = h2::server::Builder::new();
                settings.max_concurrent_streams(1);
                let served = settings.handshake::<_, Bytes>(first).await;
                let mut served = served.unwrap();
                while let Some(Ok(_)) = served.accept().await {}
            };
            let others = async {
                let mut kept = Vec::new();
                while let Ok((stream, _)) = listener.accept().await {
                    came.send(()).await.unwrap();
                    if app == App::TakesOneAndKeepsSilent {
                        kept.push(stream);
                    }
                }
            };
            tokio::join!(serve, others)
        });
        let dialer = Dialer::new(target.clone(), false).unwrap();
        (Connections::new(target, tasks.clone()), dialer, coming)
    }

    #[tokio::test]
    async fn another_connection_that_fails_leaves_the_others_going() {
        let tasks = TaskTracker::new();
        let (connections, dialer, mut coming) = start(App::TakesOne, &tasks).await;
        let full = Notify::new();
        let is_full = |streams: usize| {
            assert_eq!(streams, 1);
            full.notify_one();
        };
        let first = connections.place(None, &dialer, &is_full).await.unwrap();
        let second = connections.place(None, &dialer, &is_full);
        let (second, ()) = tokio::join!(second, async {
            full.notified().await;
            drop(first);
        });
        second.unwrap();
        coming.try_recv().unwrap();
        coming.try_recv().unwrap_err();
    }

    #[tokio::test]
    async fn a_place_that_becomes_free_is_had_while_another_request_dials() {
        let tasks = TaskTracker::new();
        let (connections, dialer, mut coming) = start(App::TakesOneAndKeepsSilent, &tasks).await;
        let is_full = |_: usize| ();
        let first = connections.place(None, &dialer, &is_full).await.unwrap();
        let mut dials = pin!(connections.place(None, &dialer, &is_full));
        tokio::select! {
            biased;
            came = coming.recv() => came.unwrap(),
            _ = &mut dials => panic!("there is no place"),
        }
        let mut waits = pin!(connections.place(None, &dialer, &is_full));
        let waited = poll_fn(|cx| Poll::Ready(waits.as_mut().poll(cx).is_pending()));
        assert!(waited.await);
        drop(first);
        tokio::select! {
            biased;
            place = &mut waits => drop(place.unwrap()),
            _ = &mut dials => panic!("the app has said nothing"),
        }
    }

    #[tokio::test]
    async fn a_dial_that_fails_has_failed_for_all_who_wait_for_it() {
        let tasks = TaskTracker::new();
        let (connections, dialer, mut coming) = start(App::Closes, &tasks).await;
        let is_full = |_: usize| ();
        let place = || connections.place(None, &dialer, &is_full);
        let (first, second, third) = tokio::join!(place(), place(), place());
        for place in [first, second, third] {
            place.unwrap_err();
        }
        coming.try_recv().unwrap();
        coming.try_recv().unwrap_err();
    }
}
