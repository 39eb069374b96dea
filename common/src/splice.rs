//! Two streams of bytes joined into one: what comes out of either end goes into the other, and so do
//! the ways of ending.
//!
//! A half-close stays a half-close, an abort stays an abort: FIN ⇄ END_STREAM, RST ⇄ RST_STREAM with
//! CONNECT_ERROR (RFC 9113 §8.5). The bytes are never looked at. There is no idle limit: a WebSocket
//! may be silent for days.

use std::future::poll_fn;
use std::io;
use std::mem::take;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use h2::{Reason, RecvStream, SendStream};
use http_body::Body;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use crate::link::body::{LinkBody, let_it_leave};
use crate::link::open::in_words;
use crate::link::windows::{Unread, held_too_much};
use crate::socket::Socket;

/// Read from a socket at a time: 16 KiB, one frame.
const CHUNK: usize = 16 * 1024;

/// One of the two things that are joined.
pub trait End {
    /// How much may be read while the other end takes nothing.
    const READ_AHEAD: usize;

    /// Appends what has arrived; 0 bytes is the end of this direction.
    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut BytesMut) -> Poll<io::Result<usize>>;

    /// Learns that `n` bytes that were read have been written on the other end.
    fn passed_on(&mut self, n: usize);

    /// Takes bytes from the front of `from`.
    fn poll_write(&mut self, cx: &mut Context<'_>, from: &mut BytesMut) -> Poll<io::Result<()>>;

    /// Makes sure that what was written leaves, whether or not more comes.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Ends the writing direction in good order.
    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Ends both directions in a way that nobody can take for good order.
    fn abort(&mut self);
}

/// How long what an end said before it broke may take to reach the other one: 5 s.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Joins two ends until both directions have ended, or one end has broken; then what it said before that
/// is passed on, and both are aborted.
///
/// Cancel safety: dropping the future drops both ends.
pub async fn splice(mut left: impl End, mut right: impl End) -> io::Result<()> {
    let (mut to_right, mut to_left) = (Direction::default(), Direction::default());
    let broken = poll_fn(|cx| {
        let first = to_right.poll(cx, &mut left, &mut right);
        let second = to_left.poll(cx, &mut right, &mut left);
        match (first, second) {
            (Poll::Ready(Err(Broken::Source(error))), _)
            | (_, Poll::Ready(Err(Broken::Sink(error)))) => Poll::Ready(Some((Side::Left, error))),
            (Poll::Ready(Err(Broken::Sink(error))), _)
            | (_, Poll::Ready(Err(Broken::Source(error)))) => {
                Poll::Ready(Some((Side::Right, error)))
            }
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(None),
            _ => Poll::Pending,
        }
    })
    .await;
    let Some((side, error)) = broken else {
        return Ok(());
    };
    // An end that cannot be written to any longer may still have something to read.
    let _ = match side {
        Side::Left => timeout(LAST_WORDS, to_right.rest(&mut left, &mut right)).await,
        Side::Right => timeout(LAST_WORDS, to_left.rest(&mut right, &mut left)).await,
    };
    let_it_leave().await;
    left.abort();
    right.abort();
    Err(error)
}

enum Side {
    Left,
    Right,
}

/// Which end of a direction has broken.
enum Broken {
    Source(io::Error),
    Sink(io::Error),
}

/// One of the two directions.
#[derive(Debug, Default)]
struct Direction {
    waiting: BytesMut,
    source: Source,
    over: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Source {
    #[default]
    Flows,
    Ended,
    Broke,
}

impl Direction {
    /// Ready when the direction has ended, or when an end breaks. It can be polled on after its source has
    /// broken, until what came before has reached the sink.
    fn poll<A: End, B: End>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut A,
        to: &mut B,
    ) -> Poll<Result<(), Broken>> {
        loop {
            if self.over {
                return Poll::Ready(Ok(()));
            }
            let before = self.waiting.len();
            let blocked = before > 0
                && to
                    .poll_write(cx, &mut self.waiting)
                    .map_err(Broken::Sink)?
                    .is_pending();
            from.passed_on(before - self.waiting.len());
            match self.source {
                Source::Ended if self.waiting.is_empty() => {
                    ready!(to.poll_finish(cx)).map_err(Broken::Sink)?;
                    self.over = true;
                    continue;
                }
                Source::Broke if self.waiting.is_empty() => {
                    ready!(to.poll_flush(cx)).map_err(Broken::Sink)?;
                    self.over = true;
                    continue;
                }
                Source::Flows if self.waiting.len() <= A::READ_AHEAD => {}
                _ => return Poll::Pending,
            }
            // Read on even while the other end is blocked: frames that nobody has taken yet count
            // against the whole connection.
            match from.poll_read(cx, &mut self.waiting) {
                Poll::Ready(Ok(0)) => self.source = Source::Ended,
                Poll::Ready(Ok(_)) if blocked => {}
                Poll::Ready(Ok(_)) => continue,
                Poll::Ready(Err(error)) => {
                    self.source = Source::Broke;
                    return Poll::Ready(Err(Broken::Source(error)));
                }
                Poll::Pending => {
                    let _ = to.poll_flush(cx).map_err(Broken::Sink)?;
                    return Poll::Pending;
                }
            }
        }
    }

    /// Passes on what there is still to read of a source that has broken.
    async fn rest<A: End, B: End>(&mut self, from: &mut A, to: &mut B) {
        poll_fn(|cx| {
            loop {
                match self.poll(cx, from, to) {
                    Poll::Ready(Err(Broken::Source(_))) => {}
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await;
    }
}

/// A socket as an end.
#[derive(Debug)]
pub struct SocketEnd<S>(pub S);

impl<S: Socket> End for SocketEnd<S> {
    /// The kernel holds the rest.
    const READ_AHEAD: usize = 0;

    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut BytesMut) -> Poll<io::Result<usize>> {
        into.reserve(CHUNK);
        pin!(self.0.read_buf(into)).poll(cx)
    }

    fn passed_on(&mut self, _: usize) {}

    fn poll_write(&mut self, cx: &mut Context<'_>, from: &mut BytesMut) -> Poll<io::Result<()>> {
        while !from.is_empty() {
            let n = ready!(Pin::new(&mut self.0).poll_write(cx, from))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            from.advance(n);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn abort(&mut self) {
        self.0.reset_on_drop();
    }
}

/// The receiving half of a stream, as bytes.
pub trait Received {
    /// See [`End::READ_AHEAD`].
    const READ_AHEAD: usize;

    /// See [`End::poll_read`].
    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut BytesMut) -> Poll<io::Result<usize>>;

    /// See [`End::passed_on`].
    fn passed_on(&mut self, n: usize);
}

/// All of the receiving half of a stream. What was read and could not be passed on counts as unread.
#[derive(Debug)]
pub struct Receiving {
    stream: RecvStream,
    unread: Unread,
    /// Read and not yet passed on.
    held: usize,
    /// The part of it that was [taken ahead](Self::take_ahead).
    ahead: BytesMut,
}

impl Receiving {
    /// What is held of `stream` is part of `unread`.
    pub fn new(stream: RecvStream, unread: Unread) -> Self {
        Self {
            stream,
            unread,
            held: 0,
            ahead: BytesMut::new(),
        }
    }

    /// Takes what comes off the connection, to be read later, and counts it. Resolves when the stream breaks,
    /// also because it holds too much.
    ///
    /// Cancel safety: safe.
    pub async fn take_ahead(&mut self) -> io::Error {
        poll_fn(|cx| {
            let mut ahead = take(&mut self.ahead);
            let broken = loop {
                match self.poll_take(cx, &mut ahead) {
                    Poll::Ready(Ok(0)) | Poll::Pending => break Poll::Pending,
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(error)) => break Poll::Ready(error),
                }
            };
            self.ahead = ahead;
            broken
        })
        .await
    }

    fn poll_take(&mut self, cx: &mut Context<'_>, into: &mut BytesMut) -> Poll<io::Result<usize>> {
        loop {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(chunk)) if chunk.is_empty() => {}
                Some(Ok(chunk)) => {
                    self.held += chunk.len();
                    self.unread.add(chunk.len());
                    if !self.unread.admits(self.held) {
                        return Poll::Ready(Err(broken(held_too_much())));
                    }
                    into.extend_from_slice(&chunk);
                    return Poll::Ready(Ok(chunk.len()));
                }
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
                None => return Poll::Ready(Ok(0)),
            }
        }
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        self.unread.take(self.held);
    }
}

impl Received for Receiving {
    /// The peer's window bounds it, which is given back only for what has been passed on, and so does what
    /// may lie unread on all its links.
    const READ_AHEAD: usize = usize::MAX;

    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut BytesMut) -> Poll<io::Result<usize>> {
        if self.ahead.is_empty() {
            return self.poll_take(cx, into);
        }
        let ahead = take(&mut self.ahead);
        into.extend_from_slice(&ahead);
        Poll::Ready(Ok(ahead.len()))
    }

    fn passed_on(&mut self, n: usize) {
        if n > 0 {
            self.held -= n;
            self.unread.take(n);
            // Fails only for a stream that is over, whose window nobody needs.
            let _ = self.stream.flow_control().release_capacity(n);
        }
    }
}

/// What is left of a stream whose first bytes were a body.
#[derive(Debug)]
pub struct Remainder {
    /// Came in one frame with the end of the body.
    first: Bytes,
    body: LinkBody,
}

impl Remainder {
    /// `first` comes before the rest of `body`.
    pub fn new(first: Bytes, body: LinkBody) -> Self {
        Self { first, body }
    }
}

impl Received for Remainder {
    /// [`Ahead`](crate::link::body::Ahead) takes the frames off the connection.
    const READ_AHEAD: usize = 0;

    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut BytesMut) -> Poll<io::Result<usize>> {
        let mut chunk = take(&mut self.first);
        while chunk.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => chunk = frame.into_data().unwrap_or_default(),
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
                None => return Poll::Ready(Ok(0)),
            }
        }
        into.extend_from_slice(&chunk);
        Poll::Ready(Ok(chunk.len()))
    }

    /// The body has given its window back already.
    fn passed_on(&mut self, _: usize) {}
}

/// A stream of HTTP/2 as an end, with whatever must live as long as it.
#[derive(Debug)]
pub struct StreamEnd<K = (), R = Receiving> {
    send: SendStream<Bytes>,
    receive: R,
    _kept: K,
}

impl<R: Received> StreamEnd<(), R> {
    /// Both halves of a stream after its heads have been exchanged.
    pub fn new(send: SendStream<Bytes>, receive: R) -> Self {
        Self {
            send,
            receive,
            _kept: (),
        }
    }
}

impl<K, R> StreamEnd<K, R> {
    /// Keeps `more`, too, until the end is dropped.
    pub fn keeping<L>(self, more: L) -> StreamEnd<(K, L), R> {
        StreamEnd {
            send: self.send,
            receive: self.receive,
            _kept: (self._kept, more),
        }
    }
}

impl<K, R: Received> End for StreamEnd<K, R> {
    const READ_AHEAD: usize = R::READ_AHEAD;

    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut BytesMut) -> Poll<io::Result<usize>> {
        self.receive.poll_read(cx, into)
    }

    fn passed_on(&mut self, n: usize) {
        self.receive.passed_on(n);
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, from: &mut BytesMut) -> Poll<io::Result<()>> {
        while !from.is_empty() {
            self.send.reserve_capacity(from.len());
            if self.send.capacity() == 0 {
                match ready!(self.send.poll_capacity(cx)) {
                    Some(Ok(_)) => continue,
                    Some(Err(error)) => return Poll::Ready(Err(broken(error))),
                    None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
                }
            }
            let n = self.send.capacity().min(from.len());
            let chunk = from.split_to(n).freeze();
            self.send.send_data(chunk, false).map_err(broken)?;
        }
        Poll::Ready(Ok(()))
    }

    /// The connection's own task sends; all that is left to do here is to notice that the peer has
    /// reset the stream while it has nothing to say.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.send.poll_reset(cx) {
            Poll::Ready(Ok(reason)) => Poll::Ready(Err(broken(reason.into()))),
            Poll::Ready(Err(error)) => Poll::Ready(Err(broken(error))),
            Poll::Pending => Poll::Ready(Ok(())),
        }
    }

    fn poll_finish(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.send.send_data(Bytes::new(), true).map_err(broken))
    }

    fn abort(&mut self) {
        self.send.send_reset(Reason::CONNECT_ERROR);
    }
}

fn broken(error: h2::Error) -> io::Error {
    if error.is_io() {
        return error
            .into_io()
            .unwrap_or_else(|| io::ErrorKind::BrokenPipe.into());
    }
    io::Error::new(io::ErrorKind::ConnectionReset, in_words(&error))
}
