//! The HTTP/2 server role on a connected stream: the client's end of a link, and at the edge the
//! visitors who speak HTTP/2.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::{Request, Response, StatusCode};
use http_body::Body;

use super::body::{LinkBody, PumpError, pump};
use super::io::{Flusher, Gather, Hold, gather};
use super::open::{LinkError, finish_round};
use super::ping::{Heartbeat, Latency, Pace};
use super::settings::PROBE_LIMIT;
use super::windows::{Unread, UnreadTotal, Windows};

/// A connection on which requests arrive as streams. [`Serving::accept`] drives it.
#[must_use = "a connection moves only while requests are accepted from it"]
pub struct Serving<S: Hold> {
    connection: h2::server::Connection<Gather<S>, Bytes>,
    flusher: Flusher<S>,
    heartbeat: Heartbeat,
    unread: Unread,
    stall_limit: Option<Duration>,
    /// None where the peer is a stranger, who gets what the settings say and nothing more.
    windows: Option<Windows>,
}

/// One request, with the way to answer it.
pub type Incoming = (Request<RecvStream>, Reply);

impl<S: Hold> Serving<S> {
    /// Waits for the peer's preface and announces our settings.
    ///
    /// Cancel safety: dropping the future closes the connection.
    pub async fn open(stream: S, settings: &Builder, pace: Pace) -> Result<Self, LinkError> {
        let (stream, flusher) = gather(stream);
        let mut handshake = settings.handshake(stream);
        // It writes our SETTINGS before it reads; they must leave although nobody drives yet.
        let mut connection = poll_fn(|cx| {
            let result = Pin::new(&mut handshake).poll(cx);
            match flusher.poll(cx) {
                Poll::Ready(Err(error)) => Poll::Ready(Err(LinkError::Socket(error))),
                _ => result.map_err(LinkError::from),
            }
        })
        .await?;
        let pings = connection.ping_pong().expect("taken once");
        Ok(Self {
            connection,
            flusher,
            heartbeat: Heartbeat::new(pings, pace),
            unread: Unread::default(),
            stall_limit: None,
            windows: None,
        })
    }

    /// Resets streams whose answer waits and of which the peer takes nothing for `limit`.
    pub fn with_stall_limit(self, limit: Duration) -> Self {
        Self {
            stall_limit: Some(limit),
            ..self
        }
    }

    /// Lets the windows of streams grow as the connection turns out to be long and fast. What lies unread on
    /// it is part of `together`.
    pub(super) fn growing(self, together: UnreadTotal) -> Self {
        let unread = Unread::within(together);
        Self {
            windows: Some(Windows::new(unread.clone())),
            unread,
            ..self
        }
    }

    /// The round trip of this connection.
    pub fn latency(&self) -> Latency {
        self.heartbeat.latency()
    }

    /// The next request; `None` when the connection has ended in good order. Every other stream of it
    /// moves only while this is awaited, so come back for the next one at once.
    ///
    /// Cancel safety: safe.
    pub async fn accept(&mut self) -> Result<Option<Incoming>, LinkError> {
        poll_fn(|cx| self.poll_accept(cx)).await
    }

    /// See [`Serving::accept`].
    pub fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Incoming>, LinkError>> {
        if let Some(windows) = &mut self.windows {
            let announce = |window| self.connection.set_initial_window_size(window);
            let round_trip = self.heartbeat.shortest();
            if !windows.announce(self.flusher.received(), round_trip, announce) {
                return Poll::Ready(Err(LinkError::Unacknowledged));
            }
        }
        let accepted = self.connection.poll_accept(cx);
        // The round goes on while there are requests; its writes leave together at its end.
        if let Poll::Ready(Some(Ok((request, respond)))) = accepted {
            let reply = Reply::new(respond, self.unread.clone(), self.stall_limit);
            return Poll::Ready(Ok(Some((request, reply))));
        }
        let rest = finish_round(Some(&mut self.heartbeat), &self.flusher, cx);
        match accepted {
            Poll::Ready(ended) => Poll::Ready(ended.transpose().map(|_| None).map_err(Into::into)),
            Poll::Pending => rest.map(Err),
        }
    }

    /// Asks the peer at once for a sign of life, with a short limit; [`Serving::accept`] fails if there
    /// is none.
    pub fn probe(&mut self) {
        self.heartbeat.probe(PROBE_LIMIT);
    }

    /// Tells the peer to send no further requests (GOAWAY); the open ones go on and
    /// [`Serving::accept`] ends after them.
    pub fn drain(&mut self) {
        self.connection.graceful_shutdown();
    }

    /// Ends the connection at once, and says why; open streams break.
    pub fn abort(&mut self, reason: Reason) {
        self.connection.abrupt_shutdown(reason);
    }
}

/// The way to answer one request; clones answer the same one.
#[derive(Clone, Debug)]
pub struct Reply(Arc<Mutex<Replying>>);

#[derive(Debug)]
struct Replying {
    respond: SendResponse<Bytes>,
    unread: Unread,
    stall_limit: Option<Duration>,
    interim_answers_left: u8,
}

/// Interim answers (1xx) passed on for one request: 16. An app that sends thousands would fill the
/// memory of a peer that reads none.
const INTERIM_ANSWERS: u8 = 16;

impl Reply {
    fn new(respond: SendResponse<Bytes>, unread: Unread, stall_limit: Option<Duration>) -> Self {
        Self(Arc::new(Mutex::new(Replying {
            respond,
            unread,
            stall_limit,
            interim_answers_left: INTERIM_ANSWERS,
        })))
    }

    /// The body of the request.
    pub fn body(&self, received: RecvStream) -> LinkBody {
        LinkBody::new(received, &self.lock().unread)
    }

    /// What lies unread on the connection.
    pub fn unread(&self) -> Unread {
        self.lock().unread.clone()
    }

    /// Passes an interim answer on (RFC 9110 §15.2); 101 has no meaning in HTTP/2.
    pub fn interim(&self, head: Response<()>) {
        let mut reply = self.lock();
        if head.status() == StatusCode::SWITCHING_PROTOCOLS || reply.interim_answers_left == 0 {
            return;
        }
        reply.interim_answers_left -= 1;
        // Fails when the peer has left, which the answer itself will notice.
        let _ = reply.respond.send_informational(head);
    }

    /// Sends the final head. What follows goes into the returned stream, unless `ended`.
    pub fn begin(&self, head: Response<()>, ended: bool) -> Result<SendStream<Bytes>, h2::Error> {
        self.lock().respond.send_response(head, ended)
    }

    /// Resets the stream instead of answering.
    pub fn reset(&self, reason: Reason) {
        self.lock().respond.send_reset(reason);
    }

    /// Sends a whole answer. A body that breaks off resets the stream with INTERNAL_ERROR, so that it
    /// never looks like a shorter one.
    ///
    /// The body is borrowed, for it may hold what is wanted afterwards.
    pub async fn send<B>(&self, answer: Response<&mut B>) -> Result<(), PumpError<B::Error>>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let (head, body) = answer.into_parts();
        let ended = body.is_end_stream();
        let stream = self.begin(Response::from_parts(head, ()), ended)?;
        if ended {
            return Ok(());
        }
        let stall_limit = self.lock().stall_limit;
        pump(body, stream, Reason::INTERNAL_ERROR, stall_limit).await
    }

    /// Resolves when the peer has reset the stream before the head was sent, or the connection is gone.
    pub async fn peer_left(&self) {
        let _ = poll_fn(|cx| self.lock().respond.poll_reset(cx)).await;
    }

    fn lock(&self) -> MutexGuard<'_, Replying> {
        self.0
            .lock()
            .expect("nothing panics under this lock but h2 itself")
    }
}

impl<S: Hold> std::fmt::Debug for Serving<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Serving").finish_non_exhaustive()
    }
}
