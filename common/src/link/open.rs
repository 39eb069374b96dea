//! The two ends of a link: h2 in reversed roles on a connected stream, driven by one task each.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::client::SendRequest;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::Request;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};

use super::io::{Flusher, Gather, gather};
use super::ping::{Heartbeat, Latency, Stopped};
use super::settings;

/// Why a link ended.
#[derive(Debug, Error)]
pub enum LinkError {
    /// The peer answered no PING within the limit.
    #[error("the other end has been silent for {} s", settings::PING_LIMIT.as_secs())]
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
    let heartbeat = Heartbeat::new(connection.ping_pong().expect("taken once"));
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

/// The client's end of a link, which is the HTTP/2 server. [`ClientEnd::accept`] drives the link.
#[must_use = "a link moves only while requests are accepted from it"]
pub struct ClientEnd<S: AsyncRead + AsyncWrite + Unpin> {
    connection: h2::server::Connection<Gather<S>, Bytes>,
    flusher: Flusher<S>,
    heartbeat: Heartbeat,
}

/// One request from the server, with the way to answer it.
pub type Incoming = (Request<RecvStream>, SendResponse<Bytes>);

/// Opens the client's end on a stream whose upgrade the server has accepted.
pub async fn client_end<S>(stream: S) -> Result<ClientEnd<S>, LinkError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (stream, flusher) = gather(stream);
    let mut handshake = settings::client_end().handshake(stream);
    // The handshake writes our SETTINGS before it reads; they must leave although nobody drives yet.
    let mut connection = std::future::poll_fn(|cx| {
        let result = Pin::new(&mut handshake).poll(cx);
        match flusher.poll(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(LinkError::Socket(error))),
            _ => result.map_err(LinkError::from),
        }
    })
    .await?;
    let heartbeat = Heartbeat::new(connection.ping_pong().expect("taken once"));
    Ok(ClientEnd {
        connection,
        flusher,
        heartbeat,
    })
}

impl<S: AsyncRead + AsyncWrite + Unpin> ClientEnd<S> {
    /// The round trip of this link.
    pub fn latency(&self) -> Latency {
        self.heartbeat.latency()
    }

    /// The next request; `None` when the link has ended in good order. Every other stream of the link
    /// moves only while this is awaited.
    ///
    /// Cancel safety: safe.
    pub async fn accept(&mut self) -> Result<Option<Incoming>, LinkError> {
        std::future::poll_fn(|cx| self.poll_accept(cx)).await
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Incoming>, LinkError>> {
        let accepted = self.connection.poll_accept(cx);
        let rest = finish_round(&mut self.heartbeat, &self.flusher, cx);
        match accepted {
            Poll::Ready(accepted) => Poll::Ready(accepted.transpose().map_err(LinkError::from)),
            Poll::Pending => rest.map(Err),
        }
    }

    /// Tells the server to send no further requests (GOAWAY); the open ones go on and
    /// [`ClientEnd::accept`] ends after them.
    pub fn drain(&mut self) {
        self.connection.graceful_shutdown();
    }

    /// Ends the link at once; open streams break.
    pub fn abort(&mut self) {
        self.connection.abrupt_shutdown(Reason::CANCEL);
    }
}

/// What follows each round of h2: the heartbeat, then one write of all that the round produced.
fn finish_round<S: AsyncWrite + Unpin>(
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

impl<S: AsyncRead + AsyncWrite + Unpin> std::fmt::Debug for ClientEnd<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientEnd").finish_non_exhaustive()
    }
}
