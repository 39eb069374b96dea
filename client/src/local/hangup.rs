//! An app that answers early and hangs up on the rest of an upload.
//!
//! Writing to it fails at once, while its answer still waits to be read. hyper would give up at the
//! failed write; so that is kept from it, and what reading finds decides: the answer, or that there is
//! none.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use ngrnotok_common::socket::{Socket, poll_write_pieces};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::wire::Wire;

/// Acknowledgements sent ahead of time for one answer: 16, as many as the kernel itself sends at once on a
/// new connection. An answer in more pieces is a long one, and is acknowledged on the way.
const ACKNOWLEDGED: u8 = 16;

/// A connection on which failed writes are silent. The peer has reset it then, so reading ends, too.
pub(super) struct Listening {
    stream: Box<dyn Socket>,
    hung_up: bool,
    /// The last write found no room.
    blocked: bool,
    wire: Arc<Wire>,
    /// What is left of [`ACKNOWLEDGED`].
    acknowledgements: u8,
}

impl Listening {
    pub(super) fn new(stream: Box<dyn Socket>, wire: Arc<Wire>) -> Self {
        Self {
            stream,
            hung_up: false,
            blocked: false,
            wire,
            acknowledgements: 0,
        }
    }

    /// Whether something waits to be written.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked
    }

    pub(super) fn into_inner(self) -> Box<dyn Socket> {
        self.stream
    }

    /// `whole` is what a successful write would have said.
    fn judge<T>(&mut self, written: Poll<io::Result<T>>, whole: T) -> Poll<io::Result<T>> {
        self.blocked = written.is_pending();
        match written {
            Poll::Ready(Err(error)) if is_hangup(&error) => {
                self.hung_up = true;
                Poll::Ready(Ok(whole))
            }
            other => other,
        }
    }
}

fn is_hangup(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
    )
}

impl AsyncRead for Listening {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = out.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, out);
        if read.is_pending() {
            if self.acknowledgements > 0 && self.wire.poll_app_waits(cx).is_ready() {
                self.acknowledgements -= 1;
                self.stream.acknowledge();
            }
        } else if self.wire.heard(&out.filled()[before..]) {
            self.acknowledgements = ACKNOWLEDGED;
        }
        read
    }
}

impl AsyncWrite for Listening {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.hung_up {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        let written = self.judge(written, bytes.len());
        if let Poll::Ready(Ok(n)) = written {
            self.wire.wrote(&bytes[..n]);
        }
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let all = slices.iter().map(|slice| slice.len()).sum();
        if self.hung_up {
            return Poll::Ready(Ok(all));
        }
        let written = poll_write_pieces(Pin::new(&mut self.stream), cx, slices);
        let written = self.judge(written, all);
        if let Poll::Ready(Ok(n)) = written {
            let mut left = n;
            for slice in slices {
                let went = &slice[..left.min(slice.len())];
                self.wire.wrote(went);
                left -= went.len();
            }
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.judge(flushed, ())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
