//! A visitor's connection in HTTP/1.1, spoken by hyper.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use ngrnotok_common::protocol::cause::Cause;
use ngrnotok_common::protocol::stream;
use ngrnotok_common::rewound::Rewound;
use ngrnotok_common::socket::Socket;
use ngrnotok_common::splice::{SocketEnd, splice};
use tokio::sync::OwnedSemaphorePermit;
use tracing::debug;

use super::activity::{Activity, OpenRequest};
use super::handle::handle;
use super::last_words::LastWords;
use super::patience::{Advice, Patience};
use super::refusal::Refusing;
use super::respond::EdgeBody;
use super::serve::Edge;
use super::upgrade::{Answer, Switched};
use super::upload::Upload;
use super::visitor::Visitor;
use super::visitor_end::VisitorEnd;
use super::watched::Watched;

/// A head, and what may wait in memory to be written: 64 KiB.
const BUFFER: usize = 64 * 1024;

/// Fields of a head: 1000. hyper answers more with 431.
const FIELDS: usize = 1000;

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
    let (stream, lookout) = Watched::new(stream, Arc::clone(&activity), true, permit);
    let io = TokioIo::new(Refusing::new(stream, Arc::clone(&activity)));
    let (notes, shared) = (Arc::clone(&activity), Arc::clone(edge));
    let service = service_fn(move |request: Request<Incoming>| {
        let (edge, visitor) = (Arc::clone(&shared), Arc::clone(&visitor));
        let (notes, open) = (Arc::clone(&notes), notes.open());
        notes.request(&request);
        let (head, body) = request.into_parts();
        let mut head = Request::from_parts(head, ());
        let body = Upload::new(&head, body, &notes);
        let answering = body.answering();
        // hyper keeps room for this as long as the connection lives, so the head is in it only once.
        async move {
            let answer = answer::<S>(&edge, &visitor, &mut head, body, open).await;
            answering.begun();
            notes.answers(answer.body().ahead());
            if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
                notes.upgraded();
            }
            Ok::<_, Infallible>(answer.map(|body| LastWords::new(body, notes)))
        }
    });
    async move {
        // No timer of hyper's: `Patience` watches over heads and idle times, for both versions alike.
        let mut connection = pin!(
            http1::Builder::new()
                .max_buf_size(BUFFER)
                .max_headers(FIELDS)
                // Small devices look for `Content-Length` letter by letter, though names have no case.
                .title_case_headers(true)
                .auto_date_header(false)
                .serve_connection(io, service)
                .with_upgrades()
        );
        let mut patience = Patience::new(&activity, &edge.drain, edge.idle_drain);
        let end = std::future::poll_fn(|cx| {
            loop {
                if let Poll::Ready(end) = connection.as_mut().poll(cx) {
                    return Poll::Ready(Some(end));
                }
                activity.receive_ahead(cx);
                if lookout.poll_left(cx).is_ready() {
                    return Poll::Ready(None);
                }
                match patience.poll(cx) {
                    Poll::Ready(Advice::Close) => connection.as_mut().graceful_shutdown(),
                    Poll::Ready(Advice::Cut) => return Poll::Ready(None),
                    Poll::Pending => return Poll::Pending,
                }
            }
        });
        match end.await {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                if activity.ends_with_connection() {
                    lookout.reset_on_drop();
                }
                debug!(%error, "visitor's connection ended");
            }
            None => debug!("visitor's connection cut: gone or too slow"),
        }
    }
}

/// Answers one request. After an agreed upgrade hyper gives the connection back, and a task of its own
/// joins it with the local app's end.
async fn answer<S: Socket>(
    edge: &Edge,
    visitor: &Visitor,
    head: &mut Request<()>,
    body: Upload<Incoming>,
    open: OpenRequest,
) -> Response<EdgeBody> {
    let upgrade = head
        .headers()
        .contains_key(UPGRADE)
        .then(|| hyper::upgrade::on(&mut *head));
    // hyper says 100 by itself when the body is first asked for, and cannot say any other 1xx.
    let interim = &mut |_| {};
    let answer = handle(edge, visitor, head, body, open, interim).await;
    match (answer, upgrade) {
        (Answer::Ordinary(mut answer), _) => {
            if says(&answer, Cause::BadFraming) || says(&answer, Cause::RequestTimeout) {
                // What follows could be anything, also in the eyes of the next hop.
                let close = HeaderValue::from_static("close");
                answer.headers_mut().insert(CONNECTION, close);
            }
            if answer.status().canonical_reason().is_none() {
                // The local app's own words stand; hyper would say `<none>` where there are none.
                let phrase = answer.extensions_mut();
                phrase.get_or_insert_with(|| ReasonPhrase::from_static(b""));
            }
            answer
        }
        (Answer::Switched(switched), Some(upgrade)) => {
            let Switched { mut head, link } = switched;
            edge.connections.spawn(async {
                let Ok(upgraded) = upgrade.await else {
                    return;
                };
                let parts = upgraded
                    .downcast::<TokioIo<Refusing<Watched<S>>>>()
                    .expect("the connection is the one we put in");
                let socket = Rewound::new(parts.read_buf, parts.io.into_inner().into_inner());
                let visitor = VisitorEnd::new(SocketEnd(socket));
                if let Err(error) = splice(visitor, link).await {
                    debug!(%error, "an upgraded connection broke");
                }
            });
            *head.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            head.headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("upgrade"));
            head.map(|()| EdgeBody::empty())
        }
        (Answer::Switched(_), None) => unreachable!("only a request with Upgrade switches"),
    }
}

fn says(answer: &Response<EdgeBody>, cause: Cause) -> bool {
    answer
        .headers()
        .get(stream::CAUSE)
        .is_some_and(|code| code.as_bytes() == cause.code().as_bytes())
}
