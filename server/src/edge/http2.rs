//! A visitor's connection in HTTP/2, spoken by h2 itself: hyper would lose the exact ends of streams
//! and every interim answer.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use h2::RecvStream;
use h2::server::Builder;
use http::header::{HeaderName, UPGRADE};
use http::{Method, Request, Response};
use ngrnotok_common::link::body::{LinkBody, PumpError};
use ngrnotok_common::link::open::in_words;
use ngrnotok_common::link::ping::Pace;
use ngrnotok_common::link::serving::{Reply, Serving};
use ngrnotok_common::socket::Socket;
use ngrnotok_common::splice::{StreamEnd, splice};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tracing::debug;

use super::activity::{Activity, HEAD_LIMIT, OpenRequest};
use super::handle::handle;
use super::patience::{Advice, Patience};
use super::serve::Edge;
use super::upgrade::{Answer, Switched};
use super::visitor::Visitor;
use super::watched::Watched;

/// Requests of one connection at once: 128.
const STREAMS: u32 = 128;

/// What one upload may send ahead: 256 KiB; all of a connection together: 2 MiB. A visitor whose
/// uploads stall holds up only itself.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 2 * 1024 * 1024;

/// A header list: 64 KiB. h2 answers a longer one with 431.
const HEADER_LIST: u32 = 64 * 1024;

/// What one answer may have waiting to be sent: 64 KiB.
const SEND_BUFFER: usize = 64 * 1024;

const WEBSOCKET_ACCEPT: HeaderName = HeaderName::from_static("sec-websocket-accept");

/// A visitor that is gone without a word is noticed within 50 s.
const PACE: Pace = Pace {
    every: Duration::from_secs(30),
    limit: Duration::from_secs(20),
};

/// The limits on strangers stay at h2's own: 20 streams reset before they were looked at, 1024 errors.
fn settings() -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(STREAMS)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEADER_LIST)
        .max_send_buffer_size(SEND_BUFFER)
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
                    match patience.poll(cx) {
                        Poll::Ready(Advice::Close) => connection.drain(),
                        Poll::Ready(Advice::Cut) => return Poll::Ready(Ok(None)),
                        Poll::Pending => return Poll::Pending,
                    }
                }
            });
            match next.await {
                Ok(Some((request, reply))) => {
                    let (edge, visitor, open) =
                        (Arc::clone(edge), Arc::clone(&visitor), activity.open());
                    let tasks = edge.connections.clone();
                    tasks.spawn(exchange(edge, visitor, request, reply, open));
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

/// One request. A visitor who resets the stream drops it wherever it stands.
///
/// Not an `async fn`: that would hold what it is given twice, and every request has one of these.
fn exchange(
    edge: Arc<Edge>,
    visitor: Arc<Visitor>,
    request: Request<RecvStream>,
    reply: Reply,
    open: OpenRequest,
) -> impl Future<Output = ()> {
    let (head, receive) = request.into_parts();
    // What follows a CONNECT is no body.
    let (body, receive) = match head.method == Method::CONNECT {
        true => (LinkBody::none(), Some(receive)),
        false => (reply.body(receive), None),
    };
    let wants_head_only = head.method == Method::HEAD;
    let mut head = Request::from_parts(head, ());
    async move {
        let interim = &mut |head| reply.interim(head);
        let answer = tokio::select! {
            answer = handle(&edge, &visitor, &mut head, body, open, interim) => answer,
            () = reply.peer_left() => return,
        };
        match answer {
            Answer::Ordinary(answer) if wants_head_only => {
                // Our own pages have a body whatever was asked for.
                let _ = reply.begin(answer.map(drop), true);
            }
            Answer::Ordinary(answer) => {
                let (head, mut body) = answer.into_parts();
                let ahead = body.ahead();
                let answer = Response::from_parts(head, &mut body);
                tokio::select! {
                    sent = reply.send(answer) => if let Err(PumpError::Body(error)) = sent {
                        debug!(error = %in_words(&error), "an answer broke off");
                    },
                    never = ahead.drive() => match never {},
                }
            }
            Answer::Switched(Switched { mut head, link }) => {
                // RFC 8441 §5: a 200 without the fields of the HTTP/1.1 handshake.
                head.headers_mut().remove(UPGRADE);
                head.headers_mut().remove(WEBSOCKET_ACCEPT);
                let (Ok(send), Some(receive)) = (reply.begin(head, false), receive) else {
                    return;
                };
                let visitor = StreamEnd::new(send, receive);
                if let Err(error) = splice(visitor, link).await {
                    debug!(%error, "an upgraded stream broke");
                }
            }
        }
    }
}
