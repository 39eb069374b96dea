//! A visitor's connection in HTTP/2, spoken by h2 itself: hyper would lose the exact ends of streams
//! and every interim answer.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use h2::server::Builder;
use h2::{Reason, RecvStream};
use http::header::{CONTENT_LENGTH, HeaderName, UPGRADE};
use http::{Method, Request, Response};
use http_body::Body as _;
use ngrnotok_common::link::body::{LinkBody, PumpError};
use ngrnotok_common::link::open::in_words;
use ngrnotok_common::link::ping::Pace;
use ngrnotok_common::link::serving::{Reply, Serving};
use ngrnotok_common::socket::Socket;
use ngrnotok_common::splice::{Receiving, StreamEnd, splice};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout};
use tracing::debug;

use super::activity::{Activity, HEAD_LIMIT, STALL_LIMIT};
use super::handle::handle;
use super::patience::{Advice, Patience};
use super::resets::EARLY_RESETS;
use super::serve::Edge;
use super::upgrade::{Answer, Switched};
use super::upload::Upload;
use super::visitor::Visitor;
use super::visitor_end::VisitorEnd;
use super::watched::Watched;

/// Requests of one connection at once: 128.
const STREAMS: u32 = 128;

/// What one upload may send ahead: 256 KiB; all of a connection together: 2 MiB. A visitor whose
/// uploads stall holds up only itself.
pub(super) const STREAM_WINDOW: u32 = 256 * 1024;
pub(super) const CONNECTION_WINDOW: u32 = 2 * 1024 * 1024;

/// A header list: 64 KiB. h2 answers a longer one with 431.
const HEADER_LIST: u32 = 64 * 1024;

/// What one answer may have waiting to be sent: 64 KiB.
const SEND_BUFFER: usize = 64 * 1024;

const WEBSOCKET_ACCEPT: HeaderName = HeaderName::from_static("sec-websocket-accept");

/// The wait for the first frame behind the head of a request that rarely has a body: 50 ms. A frame that only
/// ends the stream then means no body; after the wait an HTTP/1.1 app is told that a body comes.
const FIRST_FRAME: Duration = Duration::from_millis(50);

/// A visitor that is gone without a word is noticed within 50 s.
const PACE: Pace = Pace {
    every: Duration::from_secs(30),
    limit: Duration::from_secs(20),
    // Nobody asks for a stranger's round trip.
    at_once: 0,
};

/// What is still read of a request after its answer: 64 KiB within 0.1 s. So much may have been on its way,
/// and whoever sends more is told to stop (RFC 9113 §8.1).
const REST: usize = 64 * 1024;
const REST_LIMIT: Duration = Duration::from_millis(100);

/// The limit on errors of strangers stays at h2's own: 1024 in the life of a connection.
fn settings() -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(STREAMS)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEADER_LIST)
        .max_send_buffer_size(SEND_BUFFER)
        // h2's 20 end the connection of whoever leaves a page with many pictures. Those that come and go within
        // one read are counted here, all of them in `Activity`.
        .max_pending_accept_reset_streams(EARLY_RESETS as usize)
        // Browsers open WebSockets on the connection they have (RFC 8441).
        .enable_connect_protocol();
    builder
}

/// Serves a connection until it ends, idles away, stalls, or has drained.
///
/// Not an `async fn`: that would hold the place of the stream when it has long been moved.
pub(super) fn serve<S>(
    edge: &Arc<Edge>,
    visitor: Arc<Visitor>,
    stream: S,
    permit: OwnedSemaphorePermit,
) -> impl Future<Output = ()>
where
    S: Socket,
{
    let activity = Activity::new();
    // HTTP/2 sends frames between requests that begin no head.
    let (stream, _) = Watched::new(stream, Arc::clone(&activity), false, permit);
    async move {
        let opening = async {
            let opened = Serving::open(stream, &settings(), PACE).await;
            let opened = opened.map(|opened| opened.with_stall_limit(STALL_LIMIT));
            opened.map_err(io::Error::other)
        };
        let opening = Box::pin(edge.opens(Instant::now() + HEAD_LIMIT, opening));
        let connection = match opening.await {
            Ok(connection) => connection,
            Err(error) => {
                debug!(%error, "visitor's connection ended before it was up");
                return;
            }
        };
        let mut connection = pin!(connection);
        let mut patience = Patience::new(&activity, &edge.drain, Duration::ZERO);
        loop {
            let next = std::future::poll_fn(|cx| {
                loop {
                    if let Poll::Ready(next) = connection.as_mut().poll_accept(cx) {
                        return Poll::Ready(next);
                    }
                    if activity.takes_back_too_much() {
                        connection.abort(Reason::ENHANCE_YOUR_CALM);
                        // Says so to the visitor, if its socket takes it.
                        let _ = connection.poll_accept(cx);
                        return Poll::Ready(Ok(None));
                    }
                    match patience.poll(cx) {
                        Poll::Ready(Advice::Close) => connection.drain(),
                        Poll::Ready(Advice::Cut) => return Poll::Ready(Ok(None)),
                        Poll::Pending => return Poll::Pending,
                    }
                }
            });
            match next.await {
                Ok(Some((request, reply))) if is_malformed(&request) => {
                    reply.reset(Reason::PROTOCOL_ERROR);
                    activity.taken_back(Instant::now());
                }
                Ok(Some((request, reply))) => {
                    let (edge, visitor, notes) = (
                        Arc::clone(edge),
                        Arc::clone(&visitor),
                        Arc::clone(&activity),
                    );
                    let tasks = edge.connections.clone();
                    tasks.spawn(exchange(edge, visitor, request, reply, notes));
                }
                Ok(None) => return,
                Err(error) => {
                    debug!(%error, "visitor's connection ended");
                    return;
                }
            }
        }
    }
}

/// What RFC 9113 §8.3.1 says of `:path` and `:scheme`, and h2 does not ask for. Where there is no
/// `:authority`, h2 keeps no scheme.
fn is_malformed<B>(request: &Request<B>) -> bool {
    let uri = request.uri();
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let asterisk = path == "*" && request.method() == Method::OPTIONS;
    let scheme = uri.scheme_str().unwrap_or("http");
    !path.starts_with('/') && !asterisk || !matches!(scheme, "http" | "https")
}

/// Whether a request has no body in all likelihood, although it has not ended with its head: some visitors end
/// it with an empty DATA frame that follows.
fn may_be_bodiless(head: &Request<()>) -> bool {
    let method = head.method();
    let rarely_has_body = method.is_safe() || *method == Method::DELETE;
    rarely_has_body && !head.headers().contains_key(CONTENT_LENGTH)
}

/// One request. A visitor who resets the stream drops it wherever it stands.
///
/// Not an `async fn`: that would hold what it is given twice, and every request has one of these.
fn exchange(
    edge: Arc<Edge>,
    visitor: Arc<Visitor>,
    request: Request<RecvStream>,
    reply: Reply,
    notes: Arc<Activity>,
) -> impl Future<Output = ()> {
    let (head, receive) = request.into_parts();
    // What follows a CONNECT is no body.
    let (body, receive) = match head.method == Method::CONNECT {
        true => (LinkBody::none(), Some(receive)),
        false => (reply.body(receive), None),
    };
    let wants_head_only = head.method == Method::HEAD;
    let mut head = Request::from_parts(head, ());
    let rest = body.rest();
    let open = notes.open();
    let began = open.began();
    async move {
        if may_be_bodiless(&head) && !body.is_end_stream() {
            // Boxed, so that the ordinary request's future stays small.
            let _ = Box::pin(timeout(FIRST_FRAME, body.begins())).await;
        }
        let body = Upload::new(&head, body, &notes);
        let answering = body.answering();
        let interim = &mut |head| reply.interim(head);
        let answer = tokio::select! {
            // First of all, so that a request that was taken back at once reaches nobody.
            biased;
            () = reply.peer_left() => return notes.taken_back(began),
            answer = handle(&edge, &visitor, &mut head, body, open, interim) => answer,
        };
        answering.begun();
        let is_carried = answer.is_carried();
        match answer {
            Answer::Ordinary(answer) if wants_head_only => {
                // Our own pages have a body whatever was asked for.
                let _ = reply.begin(answer.map(drop), true);
            }
            Answer::Ordinary(answer) => {
                let (head, mut body) = answer.into_parts();
                let ahead = body.ahead();
                let answer = Response::from_parts(head, &mut body);
                let sent = tokio::select! {
                    sent = reply.send(answer) => sent,
                    never = ahead.drive() => match never {},
                };
                match sent {
                    Ok(()) => {}
                    Err(PumpError::Stream(_)) => return notes.taken_back(began),
                    Err(PumpError::Body(error)) => {
                        debug!(error = %in_words(&error), "an answer broke off");
                    }
                }
            }
            Answer::Switched(switched) => {
                // Boxed, so that the ordinary request's future stays small.
                Box::pin(join(&reply, switched, receive)).await;
            }
        }
        // Refusals of our own cost nothing, so anybody could pay with them for what costs an app its work.
        if is_carried {
            notes.answered();
        }
        rest.discard(REST, REST_LIMIT).await;
    }
}

/// Joins the stream of an upgraded request with the local app's end.
async fn join(reply: &Reply, switched: Switched, receive: Option<RecvStream>) {
    let Switched { mut head, link } = switched;
    // RFC 8441 §5: a 200 without the fields of the HTTP/1.1 handshake.
    head.headers_mut().remove(UPGRADE);
    head.headers_mut().remove(WEBSOCKET_ACCEPT);
    let (Ok(send), Some(receive)) = (reply.begin(head, false), receive) else {
        return;
    };
    let receive = Receiving::new(receive, reply.unread());
    let visitor = VisitorEnd::new(StreamEnd::new(send, receive));
    if let Err(error) = splice(visitor, link).await {
        debug!(%error, "an upgraded stream broke");
    }
}
