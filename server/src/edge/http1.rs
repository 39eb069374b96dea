//! A visitor's connection in HTTP/1.1, spoken by hyper.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tracing::debug;

use super::activity::{Activity, Advice, Patience, Watched};
use super::handle::handle;
use super::serve::Edge;
use super::visitor::Visitor;

/// A head, and what may wait in memory to be written: 64 KiB.
const BUFFER: usize = 64 * 1024;

/// Serves a connection until it ends, idles away, stalls, or has drained.
pub(super) async fn serve<S>(edge: &Arc<Edge>, visitor: Arc<Visitor>, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let activity = Activity::new();
    let io = TokioIo::new(Watched::new(stream, Arc::clone(&activity), true));
    let (notes, shared) = (Arc::clone(&activity), Arc::clone(edge));
    let service = service_fn(move |request: Request<Incoming>| {
        let (edge, visitor, open) = (Arc::clone(&shared), Arc::clone(&visitor), notes.open());
        async move { Ok::<_, Infallible>(handle(&edge, &visitor, request, open).await) }
    });
    // No timer of hyper's: `Patience` watches over heads and idle times, for both versions alike.
    let mut connection = pin!(
        http1::Builder::new()
            .max_buf_size(BUFFER)
            .auto_date_header(false)
            .serve_connection(io, service)
    );
    let mut patience = Patience::new(&activity, &edge.drain);
    let end = std::future::poll_fn(|cx| {
        loop {
            if let Poll::Ready(end) = connection.as_mut().poll(cx) {
                return Poll::Ready(Some(end));
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
        Some(Err(error)) => debug!(%error, "visitor's connection ended"),
        None => debug!("visitor's connection cut: too slow"),
    }
}
