//! A local app that speaks HTTP/2: one connection for all requests, and more where the app takes fewer at once
//! than there are.

use std::future::poll_fn;
use std::pin::{Pin, pin};
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
use tokio::time::{sleep, timeout};
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

/// A connection without a request is looked at twice in this time before it is let go: 60 s.
const IDLE_LIMIT: Duration = Duration::from_secs(60);

/// The connections to one app.
#[derive(Debug)]
pub(super) struct Connections {
    target: Target,
    open: Mutex<Open>,
    /// Told whenever a stream ends.
    freed: Arc<Notify>,
    tasks: TaskTracker,
}

#[derive(Debug, Default)]
struct Open {
    connections: Vec<Connection>,
    /// Lets go of those that are idle; there is one while there are connections.
    timer: Option<AbortOnDropHandle<()>>,
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
        self.freed.notify_one();
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
        let place = match dialed {
            Some(stream) => self.place_on(stream).await?,
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
    /// opened by `dialer` if none has room. Of several requests at once, one dials and the others wait.
    ///
    /// When there are as many as there may be and all are full, `is_full` is called and the request waits.
    async fn place(
        self: &Arc<Self>,
        refused: Option<&Weak<()>>,
        dialer: &Dialer,
        is_full: &(dyn Fn(usize) + Send + Sync),
    ) -> Result<Place, Trouble> {
        loop {
            let mut freed = pin!(self.freed.notified());
            // In this order no end of a stream falls between looking and waiting.
            freed.as_mut().enable();
            if let Some(place) = self.place_now(refused, dialer).await? {
                return Ok(place);
            }
            is_full(self.open.lock().await.most_streams());
            freed.await;
        }
    }

    async fn place_now(
        self: &Arc<Self>,
        refused: Option<&Weak<()>>,
        dialer: &Dialer,
    ) -> Result<Option<Place>, Trouble> {
        let mut open = self.open.lock().await;
        let mut at = 0;
        while let Some(connection) = open.connections.get(at) {
            match connection.is_open().await {
                true => at += 1,
                false => drop(open.connections.remove(at)),
            }
        }
        let mut with_room = open.connections.iter_mut().filter(|one| one.has_room());
        let other = |one: &&mut Connection| {
            refused.is_none_or(|refused| refused.as_ptr() != Arc::as_ptr(&one.streams))
        };
        if let Some(connection) = with_room.find(other) {
            return Ok(Some(self.on(connection)));
        }
        if open.connections.len() < MOST {
            match dialer.dial(Offer::Http2).await {
                Ok(dialed) => return Ok(Some(self.add(&mut open, dialed.stream).await?)),
                // It takes no more connections; those that there are go on.
                Err(_) if !open.connections.is_empty() => {}
                Err(trouble) => return Err(trouble),
            }
        }
        let mut with_room = open.connections.iter_mut().filter(|one| one.has_room());
        Ok(with_room.next().map(|connection| self.on(connection)))
    }

    /// A place on a connection that is open already but for HTTP/2.
    async fn place_on(self: &Arc<Self>, stream: Box<dyn Socket>) -> Result<Place, Trouble> {
        let mut open = self.open.lock().await;
        self.add(&mut open, stream).await
    }

    async fn add(
        self: &Arc<Self>,
        open: &mut Open,
        stream: Box<dyn Socket>,
    ) -> Result<Place, Trouble> {
        let requests = self.handshake(stream).await?;
        let mut connection = Connection {
            requests,
            streams: Arc::default(),
            rested: false,
        };
        let place = self.on(&mut connection);
        open.connections.push(connection);
        if open.timer.is_none() {
            let timer = self.tasks.spawn(let_go(Arc::downgrade(self)));
            open.timer = Some(AbortOnDropHandle::new(timer));
        }
        Ok(place)
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
            let rested = std::mem::replace(&mut connection.rested, rests);
            !(rests && rested)
        });
        if open.connections.is_empty() {
            // The next connection brings another timer; this one is at its end.
            open.timer = None;
            return;
        }
    }
}
