//! The two ends of a link: h2 in reversed roles on a connected stream, driven by one task each.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::client::SendRequest;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};

use super::io::{Flusher, Gather, gather};
use super::ping::{Heartbeat, Latency, Pace, Stopped};
use super::serving::Serving;
use super::settings;

/// Why a link ended.
#[derive(Debug, Error)]
pub enum LinkError {
    /// The peer answered no PING within the limit.
    #[error("the other end does not answer any more")]
    Silent,
    /// HTTP/2 ended, by an error of either end or of the socket.
    #[error("the link broke: {0}")]
    Http2(#[from] h2::Error),
    /// The socket failed while sending.
    #[error("the link broke: {0}")]
    Socket(#[from] io::Error),
}

/// The server's end of a link, which is the HTTP/2 client. As a future it drives the link and ends
/// with it: `Ok` when the peer closed it in good order.
#[must_use = "a link moves only while this future is polled"]
pub struct ServerEnd<S: AsyncRead + AsyncWrite + Unpin> {
    connection: h2::client::Connection<Gather<S>, Bytes>,
    flusher: Flusher<S>,
    heartbeat: Heartbeat,
}

/// Opens the server's end on a stream that has been upgraded.
pub async fn server_end<S>(stream: S) -> Result<(SendRequest<Bytes>, ServerEnd<S>), LinkError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (stream, flusher) = gather(stream);
    let (requests, mut connection) = settings::server_end().handshake(stream).await?;
    let heartbeat = Heartbeat::new(connection.ping_pong().expect("taken once"), Pace::LINK);
    let end = ServerEnd {
        connection,
        flusher,
        heartbeat,
    };
    Ok((requests, end))
}

impl<S: AsyncRead + AsyncWrite + Unpin> ServerEnd<S> {
    /// The round trip of this link.
    pub fn latency(&self) -> Latency {
        self.heartbeat.latency()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Future for ServerEnd<S> {
    type Output = Result<(), LinkError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let connection = Pin::new(&mut this.connection).poll(cx);
        let rest = finish_round(&mut this.heartbeat, &this.flusher, cx);
        match connection {
            Poll::Ready(result) => Poll::Ready(result.map_err(LinkError::from)),
            Poll::Pending => rest.map(Err),
        }
    }
}

/// Opens the client's end, which is the HTTP/2 server, on a stream whose upgrade the server has
/// accepted.
pub async fn client_end<S>(stream: S) -> Result<Serving<S>, LinkError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    Serving::open(stream, &settings::client_end(), Pace::LINK).await
}

/// What follows each round of h2: the heartbeat, then one write of all that the round produced.
pub(super) fn finish_round<S: AsyncWrite + Unpin>(
    heartbeat: &mut Heartbeat,
    flusher: &Flusher<S>,
    cx: &mut Context<'_>,
) -> Poll<LinkError> {
    let beat = heartbeat.poll(cx);
    if let Poll::Ready(Err(error)) = flusher.poll(cx) {
        return Poll::Ready(LinkError::Socket(error));
    }
    beat.map(|stopped| match stopped {
        Stopped::Silent => LinkError::Silent,
        Stopped::Closed(error) => LinkError::Http2(error),
    })
}

impl<S: AsyncRead + AsyncWrite + Unpin> std::fmt::Debug for ServerEnd<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerEnd").finish_non_exhaustive()
    }
}
