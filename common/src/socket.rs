//! Streams that end in a socket, whatever lies on top.

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::link::io::ReadAhead;
use crate::rewound::Rewound;

/// A stream that ends in a socket and can leave without a goodbye.
pub trait Socket: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// From now on dropping the stream resets the connection (RST) instead of closing it in good order,
    /// so that the peer cannot take what it has for the whole.
    fn reset_on_drop(&self);
}

impl Socket for TcpStream {
    fn reset_on_drop(&self) {
        // If it fails, the socket is dead already.
        let _ = self.set_zero_linger();
    }
}

#[cfg(unix)]
impl Socket for tokio::net::UnixStream {
    /// There is no reset on Unix sockets; a peer that has not read everything gets one by itself.
    fn reset_on_drop(&self) {}
}

impl<S: Socket> Socket for Rewound<S> {
    fn reset_on_drop(&self) {
        self.get_ref().reset_on_drop();
    }
}

impl<S: Socket> Socket for ReadAhead<S> {
    fn reset_on_drop(&self) {
        self.get_ref().reset_on_drop();
    }
}

/// TLS adds its own sign: no close_notify comes before the end.
impl<S: Socket> Socket for tokio_rustls::server::TlsStream<S> {
    fn reset_on_drop(&self) {
        self.get_ref().0.reset_on_drop();
    }
}

impl<S: Socket> Socket for tokio_rustls::client::TlsStream<S> {
    fn reset_on_drop(&self) {
        self.get_ref().0.reset_on_drop();
    }
}

impl Socket for Box<dyn Socket> {
    fn reset_on_drop(&self) {
        (**self).reset_on_drop();
    }
}
