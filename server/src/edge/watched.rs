//! A visitor's stream that leaves notes of what happens on it.

use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use ngrnotok_common::link::io::Hold;
use ngrnotok_common::socket::{Socket, poll_write_pieces};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;

use super::activity::Activity;

/// A stream that leaves notes. hyper or h2 owns it; a [`Lookout`] shares it.
#[derive(Debug)]
pub(super) struct Watched<S>(Arc<Mutex<Watching<S>>>);

/// The other handle to a watched stream, for the loop that drives the connection.
#[derive(Debug)]
pub(super) struct Lookout<S>(Arc<Mutex<Watching<S>>>);

/// Shared by two handles in one task, so the lock is never contended.
#[derive(Debug)]
struct Watching<S> {
    stream: S,
    activity: Arc<Activity>,
    /// HTTP/2 sends frames between requests (PING, SETTINGS) that begin no head.
    bytes_begin_heads: bool,
    /// The owner has asked for bytes and will be woken when they come.
    owner_waits: bool,
    /// Read by the lookout, for the owner.
    ahead: BytesMut,
    /// The socket's place among the connections of the server. Here, because the socket goes on after an
    /// upgrade when the connection that it was has ended.
    _permit: OwnedSemaphorePermit,
}

/// How far the lookout reads in search of the visitor's end.
const LOOK_AHEAD: usize = 64 * 1024;

impl<S> Watched<S> {
    pub(super) fn new(
        stream: S,
        activity: Arc<Activity>,
        bytes_begin_heads: bool,
        permit: OwnedSemaphorePermit,
    ) -> (Self, Lookout<S>) {
        let watching = Arc::new(Mutex::new(Watching {
            stream,
            activity,
            bytes_begin_heads,
            owner_waits: false,
            ahead: BytesMut::new(),
            _permit: permit,
        }));
        (Self(Arc::clone(&watching)), Lookout(watching))
    }
}

impl<S: AsyncRead + Unpin> Lookout<S> {
    /// Ready when the visitor has left in the middle of a request.
    ///
    /// hyper notices by itself while it reads. It does not read when it has pipelined bytes already, or
    /// more of an upload than the local app takes, so then we do.
    pub(super) fn poll_left(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut watching = lock(&self.0);
        let this = &mut *watching;
        if this.owner_waits || !this.activity.is_busy() {
            return Poll::Pending;
        }
        while this.ahead.len() < LOOK_AHEAD {
            match ready!(pin!(this.stream.read_buf(&mut this.ahead)).poll(cx)) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(_) => {}
            }
        }
        Poll::Pending
    }
}

impl<S: Socket> Lookout<S> {
    /// From now on the end of the connection is a reset.
    pub(super) fn reset_on_drop(&self) {
        lock(&self.0).stream.reset_on_drop();
    }
}

impl<S> Watching<S> {
    fn note<T>(&self, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        self.activity.wrote(written.is_ready());
        written
    }
}

impl<S: AsyncRead + Unpin> Watching<S> {
    fn poll_read(&mut self, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = out.filled().len();
        let read = if self.ahead.is_empty() {
            Pin::new(&mut self.stream).poll_read(cx, out)
        } else {
            let n = self.ahead.len().min(out.remaining());
            out.put_slice(&self.ahead.split_to(n));
            Poll::Ready(Ok(()))
        };
        self.owner_waits = read.is_pending();
        if self.bytes_begin_heads && out.filled().len() > before {
            self.activity.bytes_came();
        }
        read
    }

    /// Says goodbye, and if an upload may still be on its way, reads on for a moment: closing a socket
    /// with unread bytes resets the connection, and the visitor would lose the answer (a 413, say)
    /// that it has not read yet (RFC 9112 §9.6).
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        S: AsyncWrite,
    {
        if !self.activity.is_lingering() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            if !self.activity.had_bodies() {
                return Poll::Ready(Ok(()));
            }
            self.activity.lingers();
        }
        let mut scratch = [0; 8192];
        loop {
            let mut read = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.activity.lingers_still();
        }
    }
}

fn lock<S>(watching: &Mutex<Watching<S>>) -> MutexGuard<'_, Watching<S>> {
    watching
        .lock()
        .expect("a panic under this lock ends the task that owns both handles")
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        lock(&self.0).poll_read(cx, out)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut watching = lock(&self.0);
        let written = Pin::new(&mut watching.stream).poll_write(cx, bytes);
        watching.note(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut watching = lock(&self.0);
        let written = poll_write_pieces(Pin::new(&mut watching.stream), cx, slices);
        watching.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        lock(&self.0).stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut watching = lock(&self.0);
        let flushed = Pin::new(&mut watching.stream).poll_flush(cx);
        if flushed.is_ready() {
            watching.activity.flushed();
        }
        watching.note(flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        lock(&self.0).poll_shutdown(cx)
    }
}

impl<S: Socket> Hold for Watched<S> {
    fn hold(&mut self, pieces: &[IoSlice<'_>]) -> Option<io::Result<usize>> {
        lock(&self.0).stream.hold(pieces)
    }
}

impl<S: Socket> Socket for Watched<S> {
    fn reset_on_drop(&self) {
        lock(&self.0).stream.reset_on_drop();
    }
}
