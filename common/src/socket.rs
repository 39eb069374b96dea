//! Streams that end in a socket, whatever lies on top.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncWrite, DuplexStream};
use tokio::net::TcpStream;
use tracing::debug;

use crate::link::io::{Hold, ReadAhead};
use crate::rewound::Rewound;

/// A stream that ends in a socket and can leave without a goodbye.
pub trait Socket: Hold + Send + 'static {
    /// From now on dropping the stream resets the connection (RST) instead of closing it in good order,
    /// so that the peer cannot take what it has for the whole.
    fn reset_on_drop(&self);

    /// Acknowledges at once what has come, where the system lets us say so. It would wait for a moment, 40 ms
    /// on Linux, for something to send along.
    fn acknowledge(&self) {}
}

/// Takes note that an option of a socket could not be set. What it improves goes on without it.
pub fn optional(option: &str, set: io::Result<()>) {
    if let Err(error) = set {
        debug!(option, %error, "a socket does without an option");
    }
}

/// Pieces that are shorter together are copied before they are written: 2 KiB.
const JOINED: usize = 2 * 1024;

/// Writes the pieces of a message. Short ones leave as one, because a system call that gathers costs more
/// than the copy.
pub fn poll_write_pieces<S: AsyncWrite>(
    stream: Pin<&mut S>,
    cx: &mut Context<'_>,
    pieces: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    if let [only] = pieces {
        return stream.poll_write(cx, only);
    }
    let total = pieces.iter().map(|piece| piece.len()).sum();
    if total > JOINED {
        return stream.poll_write_vectored(cx, pieces);
    }
    let mut joined = [0; JOINED];
    let mut rest = &mut joined[..];
    for piece in pieces {
        let (place, behind) = rest.split_at_mut(piece.len());
        place.copy_from_slice(piece);
        rest = behind;
    }
    stream.poll_write(cx, &joined[..total])
}

impl Hold for TcpStream {}

impl Socket for TcpStream {
    fn reset_on_drop(&self) {
        // If it fails, the socket is dead already.
        let _ = self.set_zero_linger();
    }

    #[cfg(any(target_os = "android", target_os = "linux"))]
    fn acknowledge(&self) {
        // If it fails, the acknowledgement is late.
        let _ = socket2::SockRef::from(self).set_tcp_quickack(true);
    }
}

/// A pipe in memory has no reset either.
impl Socket for DuplexStream {
    fn reset_on_drop(&self) {}
}

#[cfg(unix)]
impl Hold for tokio::net::UnixStream {}

#[cfg(unix)]
impl Socket for tokio::net::UnixStream {
    /// There is no reset on Unix sockets; a peer that has not read everything gets one by itself.
    fn reset_on_drop(&self) {}
}

impl<S: Hold> Hold for Rewound<S> {
    fn hold(&mut self, pieces: &[IoSlice<'_>]) -> Option<io::Result<usize>> {
        self.get_mut().hold(pieces)
    }
}

impl<S: Socket> Socket for Rewound<S> {
    fn reset_on_drop(&self) {
        self.get_ref().reset_on_drop();
    }

    fn acknowledge(&self) {
        self.get_ref().acknowledge();
    }
}

impl<S: Hold> Hold for ReadAhead<S> {}

impl<S: Socket> Socket for ReadAhead<S> {
    fn reset_on_drop(&self) {
        self.get_ref().reset_on_drop();
    }

    fn acknowledge(&self) {
        self.get_ref().acknowledge();
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

    fn acknowledge(&self) {
        self.get_ref().0.acknowledge();
    }
}

impl Hold for Box<dyn Socket> {
    fn hold(&mut self, pieces: &[IoSlice<'_>]) -> Option<io::Result<usize>> {
        (**self).hold(pieces)
    }
}

impl Socket for Box<dyn Socket> {
    fn reset_on_drop(&self) {
        (**self).reset_on_drop();
    }

    fn acknowledge(&self) {
        (**self).acknowledge();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn pieces_keep_their_order_whether_they_are_joined_or_not() {
        for sizes in [
            vec![5],
            vec![3, 0, 4],
            vec![1024, 1024],
            vec![1024, 1025],
            vec![0, 70_000],
        ] {
            let (mut near, mut far) = tokio::io::duplex(1 << 20);
            let pieces: Vec<Vec<u8>> = (1..).zip(&sizes).map(|(n, size)| vec![n; *size]).collect();
            let slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
            let went = poll_fn(|cx| poll_write_pieces(Pin::new(&mut near), cx, &slices));
            let went = went.await.unwrap();
            drop(near);
            let mut came = Vec::new();
            far.read_to_end(&mut came).await.unwrap();
            assert_eq!(came, pieces.concat()[..went], "{sizes:?}");
            assert!(went > 0);
        }
    }
}
