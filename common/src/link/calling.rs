//! The HTTP/2 client role on a connected stream: the server's end of a link, and in the tunnel client
//! the connection to a local app that speaks HTTP/2.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use h2::{Reason, RecvStream};
use http::header::EXPECT;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use thiserror::Error;
use tokio::time::sleep;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::body::{Ahead, LinkBody, PumpError, pump};
use super::io::{Flusher, Gather, Hold, gather};
use super::open::{LinkError, finish_round, in_words};
use super::ping::{Heartbeat, Latency, Pace};
use super::settings::PING_LIMIT;
use super::windows::{Unread, Windows};

/// A connection on which we send requests. As a future it drives the connection and ends with it: `Ok`
/// when the peer closed it in good order.
#[must_use = "a connection moves only while this future is polled"]
pub struct Calling<S: Hold> {
    connection: h2::client::Connection<Gather<S>, Bytes>,
    flusher: Flusher<S>,
    heartbeat: Option<Heartbeat>,
    windows: Windows,
}

impl<S: Hold> Calling<S> {
    /// Writes our preface. `pace` is for peers that are ours: strangers may take PINGs amiss. What they send
    /// and nobody reads counts as `unread`.
    pub async fn open(
        stream: S,
        settings: &Builder,
        pace: Option<Pace>,
        unread: Unread,
    ) -> Result<(Requests, Self), LinkError> {
        let (stream, flusher) = gather(stream);
        let (requests, mut connection) = settings.handshake(stream).await?;
        let pings = connection.ping_pong().expect("taken once");
        let calling = Self {
            connection,
            flusher,
            heartbeat: pace.map(|pace| Heartbeat::new(pings, pace)),
            windows: Windows::new(unread.clone()),
        };
        Ok((Requests { requests, unread }, calling))
    }

    /// The round trip of this connection, if it is measured.
    pub fn latency(&self) -> Option<Latency> {
        self.heartbeat.as_ref().map(Heartbeat::latency)
    }

    /// Asks the peer at once for a sign of life, without waiting for the next regular PING.
    pub fn probe(&mut self) {
        if let Some(heartbeat) = &mut self.heartbeat {
            heartbeat.probe(PING_LIMIT);
        }
    }
}

/// The way to send requests on a connection; clones send on the same one.
#[derive(Debug, Clone)]
pub struct Requests {
    requests: SendRequest<Bytes>,
    unread: Unread,
}

impl Requests {
    /// For a stream that is no exchange of HTTP.
    pub fn raw(&self) -> SendRequest<Bytes> {
        self.requests.clone()
    }

    /// What lies unread on the connection.
    pub fn unread(&self) -> &Unread {
        &self.unread
    }

    /// The body of an answer to a [`raw`](Self::raw) request. `upload` is the rest of the request's, which
    /// ends with it.
    pub fn body(&self, received: RecvStream, upload: Option<AbortOnDropHandle<()>>) -> AnswerBody {
        AnswerBody {
            body: LinkBody::new(received, &self.unread),
            _upload: upload,
        }
    }

    /// How many streams the peer lets be open at once, once its SETTINGS are there.
    pub fn most_streams(&self) -> usize {
        self.requests.current_max_send_streams()
    }

    /// Whether the peer takes extended CONNECT (RFC 8441).
    pub fn carry_upgrades(&self) -> bool {
        self.requests.is_extended_connect_protocol_enabled()
    }
}

impl<S: Hold> Future for Calling<S> {
    type Output = Result<(), LinkError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let round_trip = this.heartbeat.as_ref().and_then(Heartbeat::shortest);
        let announce = |window| this.connection.set_initial_window_size(window);
        let received = this.flusher.received();
        // An app of the user's is let off.
        if !this.windows.announce(received, round_trip, announce) && this.heartbeat.is_some() {
            return Poll::Ready(Err(LinkError::Unacknowledged));
        }
        let connection = Pin::new(&mut this.connection).poll(cx);
        let rest = finish_round(this.heartbeat.as_mut(), &this.flusher, cx);
        match connection {
            Poll::Ready(result) => Poll::Ready(result.map_err(LinkError::from)),
            Poll::Pending => rest.map(Err),
        }
    }
}

/// How long a body is held back for an app that says neither 100 nor anything else: 1 s. Such apps
/// exist, and visitors send anyway after a while (RFC 9110 §10.1.1), curl and Go after this one.
const CONTINUE_LIMIT: Duration = Duration::from_secs(1);

/// Why an exchange has no answer.
#[derive(Debug, Error)]
pub enum ExchangeError<E> {
    /// The body of the request broke off, or is not what its head says.
    #[error("the request's body broke off")]
    Upload(E),
    /// The connection ended, or its far side reset the stream.
    #[error("{}", in_words(.0))]
    Peer(#[from] h2::Error),
}

/// How a peer says that it has not looked at a request, which so may be sent again, whatever its method (RFC 9113
/// §8.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unprocessed {
    /// It has refused this one.
    Stream,
    /// It will look at none that comes later either: the connection ends.
    Connection,
}

impl Unprocessed {
    /// Reads it in the error of a request.
    pub fn of(error: &h2::Error) -> Option<Self> {
        match error.reason() {
            Some(Reason::REFUSED_STREAM) if error.is_remote() => Some(Self::Stream),
            // h2 says so of streams beyond the last one that the GOAWAY names, and of those that it did not
            // even send; the others end as the connection does (RFC 9113 §6.8).
            _ if error.is_go_away() && error.is_remote() => Some(Self::Connection),
            _ => None,
        }
    }
}

/// Sends one request and returns its answer as soon as the head is there. Interim answers that come
/// before go to `interim`; what is left of the upload then goes on as one of `tasks`.
///
/// The body of a request that expects `100-continue` is not asked for before the far side has said so:
/// that is its decision, not ours.
///
/// Cancel safety: dropping the future, or later the body of the answer, resets the stream with CANCEL.
///
/// Not an `async fn`: that would hold the head as long as the answer takes, and every request has one of
/// these.
pub fn exchange<B>(
    requests: &Requests,
    head: Request<()>,
    body: B,
    interim: &mut (dyn FnMut(Response<()>) + Send),
    tasks: &TaskTracker,
) -> impl Future<Output = Result<Response<AnswerBody>, ExchangeError<B::Error>>>
where
    B: Body<Data = Bytes, Error: Send> + Send + 'static,
{
    let bodiless = body.is_end_stream();
    let mut held = expects_continue(&head).then(|| Box::pin(sleep(CONTINUE_LIMIT)));
    let sent = requests.raw().send_request(head, bodiless);
    let sent = sent.map(|(answer, stream)| {
        let upload = (!bodiless).then(|| Box::pin(pump(body, stream, Reason::CANCEL, None)));
        (answer, upload)
    });
    async move {
        let (mut answer, mut upload) = sent?;

        // Most uploads end before the answer begins, so they run right here; what is left of one then gets
        // a task of its own, which dies with the answer's body.
        let answer = poll_fn(|cx| {
            // Asking for the answer itself would skip interim answers that come on another thread just now.
            let answered = loop {
                match answer.poll_informational(cx) {
                    Poll::Ready(Some(head)) => {
                        let head = head?;
                        if head.status() == StatusCode::CONTINUE {
                            held = None;
                        }
                        interim(head);
                    }
                    Poll::Ready(None) => break true,
                    Poll::Pending => break false,
                }
            };
            if let Some(limit) = &mut held
                && limit.as_mut().poll(cx).is_ready()
            {
                held = None;
            }
            if held.is_none()
                && let Some(rest) = &mut upload
                && let Poll::Ready(sent) = rest.as_mut().poll(cx)
            {
                upload = None;
                if let Err(PumpError::Body(error)) = sent {
                    return Poll::Ready(Err(ExchangeError::Upload(error)));
                }
            }
            if !answered {
                return Poll::Pending;
            }
            Pin::new(&mut answer).poll(cx).map_err(ExchangeError::Peer)
        });
        let answer = answer.await?;
        // An app that has answered without asking for the body does not want it.
        let upload = upload.filter(|_| held.is_none()).map(|rest| {
            // Whatever ends it early has already ended one side of the exchange.
            let rest = async { drop(rest.await) };
            AbortOnDropHandle::new(tasks.spawn(rest))
        });
        Ok(answer.map(|stream| AnswerBody {
            body: LinkBody::new(stream, &requests.unread),
            _upload: upload,
        }))
    }
}

fn expects_continue(head: &Request<()>) -> bool {
    head.headers()
        .get(EXPECT)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// The body of an answer, with the rest of the upload if the answer came before its end.
#[derive(Debug)]
pub struct AnswerBody {
    body: LinkBody,
    _upload: Option<AbortOnDropHandle<()>>,
}

impl AnswerBody {
    /// The driver of what is still to come.
    pub fn ahead(&self) -> Ahead {
        self.body.ahead()
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<S: Hold> fmt::Debug for Calling<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calling").finish_non_exhaustive()
    }
}
