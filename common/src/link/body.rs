//! Bytes between the streams of a link and HTTP bodies, under back-pressure both ways.
//!
//! [`LinkBody`] is what arrives: it gives window back only as its reader takes bytes, so a slow
//! reader holds back the sender of its own stream and nobody else. [`Ahead`] meanwhile takes the frames
//! themselves off the connection. [`pump`] is what leaves: it asks
//! the body for bytes only when the last ones were accepted by the stream.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::{Reason, RecvStream, SendStream};
use http_body::{Body, Frame, SizeHint};
use thiserror::Error;
use tokio::time::timeout;

use super::windows::{Unread, held_too_much};
use crate::headers::strip_trailers;
use crate::stall::StallTimer;

/// The body of a message that arrives as a stream of HTTP/2.
///
/// Dropping it before its end resets the stream with CANCEL, once the sending half is gone too.
pub struct LinkBody(Option<Arc<Mutex<Receiving>>>);

/// Takes frames off the connection while the body's reader is busy; see [`Ahead::drive`].
///
/// It does not keep the body: when that is dropped, there is nothing left to do.
#[derive(Clone, Default)]
pub struct Ahead(Weak<Mutex<Receiving>>);

/// The lock is uncontended but for a reader and a driver on two tasks of one thread.
struct Receiving {
    stream: RecvStream,
    /// Taken off the connection, not yet read: at most the stream's window, which is given back only
    /// as the reader takes bytes.
    ahead: Backlog,
    /// Counts `ahead` together with that of the other streams.
    unread: Unread,
    data_ended: bool,
    broken: Option<h2::Error>,
    /// It was holding too much. What still comes is thrown away, and no window given back for it.
    discards: bool,
    /// The reader has asked for more and will be woken by h2 itself.
    reader_waits: bool,
    /// Whom to wake when bytes come while the reader is busy.
    driver: Option<Waker>,
}

/// Read from what was taken ahead at a time: 16 KiB, one frame.
const CHUNK: usize = 16 * 1024;

/// Frames in the order in which they came.
#[derive(Default)]
struct Backlog {
    frames: VecDeque<Bytes>,
    /// What came after them in small frames. Those are copied together, for each keeps the whole buffer
    /// alive into which it was read.
    small: BytesMut,
    len: usize,
}

impl Backlog {
    fn push(&mut self, frame: Bytes) {
        self.len += frame.len();
        if frame.len() < CHUNK / 2 {
            return self.small.extend_from_slice(&frame);
        }
        if !self.small.is_empty() {
            self.frames.push_back(self.small.split().freeze());
        }
        self.frames.push_back(frame);
    }

    fn pop(&mut self) -> Option<Bytes> {
        let chunk = match self.frames.front_mut() {
            Some(first) if first.len() > CHUNK => first.split_to(CHUNK),
            Some(_) => self.frames.pop_front()?,
            None if self.small.is_empty() => return None,
            None => self.small.split_to(self.small.len().min(CHUNK)).freeze(),
        };
        self.len -= chunk.len();
        Some(chunk)
    }
}

impl LinkBody {
    /// Wraps the receiving half of a stream. What is taken off the connection before its reader wants it
    /// counts as `unread`.
    pub fn new(stream: RecvStream, unread: &Unread) -> Self {
        if stream.is_end_stream() {
            return Self::none();
        }
        Self(Some(Arc::new(Mutex::new(Receiving {
            stream,
            ahead: Backlog::default(),
            unread: unread.clone(),
            data_ended: false,
            broken: None,
            discards: false,
            reader_waits: false,
            driver: None,
        }))))
    }

    /// No body.
    pub fn none() -> Self {
        Self(None)
    }

    /// Waits for the first bytes of the body, or its end, and hands out nothing.
    pub async fn begins(&self) {
        let Some(receiving) = &self.0 else {
            return;
        };
        poll_fn(|cx| {
            let mut receiving = lock(receiving);
            receiving.take_ahead(cx);
            let begun = receiving.ahead.len > 0 || receiving.data_ended;
            match begun || receiving.broken.is_some() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    }

    /// The driver of this body.
    pub fn ahead(&self) -> Ahead {
        Ahead(self.0.as_ref().map_or_else(Weak::new, Arc::downgrade))
    }

    /// What will be left of this body when its reader is gone.
    pub fn rest(&self) -> Rest {
        Rest(self.0.clone())
    }
}

/// What is left of a body that nobody reads any more. As long as it is kept, the stream is not reset.
#[derive(Clone)]
pub struct Rest(Option<Arc<Mutex<Receiving>>>);

impl Rest {
    /// Throws away what still comes, without giving window back, until the body ends, breaks, or has brought
    /// more than `most` bytes, and for at most `limit`.
    ///
    /// A rest that is malformed has its stream reset by h2 meanwhile, also after the answer (RFC 9113 §8.1.1).
    pub async fn discard(self, mut most: usize, limit: Duration) {
        let Some(receiving) = self.0 else {
            return;
        };
        let end = poll_fn(|cx| lock(&receiving).poll_discard(cx, &mut most));
        let _ = timeout(limit, end).await;
    }
}

impl Ahead {
    /// Never resolves. While it is polled, a reader that is held up by its own far side does not leave
    /// frames lying in the connection: h2 ends a whole connection when too many small ones do.
    pub async fn drive(self) -> Infallible {
        poll_fn(|cx| {
            self.poll(cx);
            Poll::Pending
        })
        .await
    }

    /// One round of [`Ahead::drive`], for tasks that are polled by hand.
    pub fn poll(&self, cx: &mut Context<'_>) {
        let Some(receiving) = self.0.upgrade() else {
            return;
        };
        let mut receiving = lock(&receiving);
        match &mut receiving.driver {
            Some(driver) => driver.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        if !receiving.reader_waits {
            receiving.take_ahead(cx);
        }
    }
}

impl Receiving {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if let Some(chunk) = self.ahead.pop() {
            self.unread.take(chunk.len());
            return Poll::Ready(Some(self.hand_out(chunk)));
        }
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        while !self.data_ended {
            match self.stream.poll_data(cx) {
                Poll::Ready(Some(Ok(chunk))) if chunk.is_empty() => {}
                Poll::Ready(Some(Ok(chunk))) => {
                    let frame = self.hand_out(chunk);
                    self.reader_waits = false;
                    // From here on what comes is the driver's to notice, until the reader is back.
                    if let Some(driver) = self.driver.take() {
                        self.take_ahead(&mut Context::from_waker(&driver));
                        self.driver = Some(driver);
                    }
                    return Poll::Ready(Some(frame));
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(None) => self.data_ended = true,
                Poll::Pending => {
                    self.reader_waits = true;
                    return Poll::Pending;
                }
            }
        }
        match self.stream.poll_trailers(cx) {
            Poll::Ready(trailers) => Poll::Ready(
                trailers
                    .map(|fields| fields.map(Frame::trailers))
                    .transpose(),
            ),
            Poll::Pending => {
                self.reader_waits = true;
                Poll::Pending
            }
        }
    }

    fn poll_discard(&mut self, cx: &mut Context<'_>, most: &mut usize) -> Poll<()> {
        while !self.data_ended {
            let Some(Ok(chunk)) = ready!(self.stream.poll_data(cx)) else {
                return Poll::Ready(());
            };
            let Some(left) = most.checked_sub(chunk.len()) else {
                return Poll::Ready(());
            };
            *most = left;
        }
        Poll::Ready(())
    }

    /// What the reader takes is on its way, because it has a bounded buffer of its own.
    fn hand_out(&mut self, chunk: Bytes) -> Result<Frame<Bytes>, h2::Error> {
        self.stream.flow_control().release_capacity(chunk.len())?;
        Ok(Frame::data(chunk))
    }

    fn take_ahead(&mut self, cx: &mut Context<'_>) {
        while !self.data_ended && (self.broken.is_none() || self.discards) {
            match self.stream.poll_data(cx) {
                Poll::Ready(Some(Ok(_))) if self.discards => {}
                Poll::Ready(Some(Ok(chunk))) => {
                    self.unread.add(chunk.len());
                    self.ahead.push(chunk);
                    if !self.unread.admits(self.ahead.len) {
                        self.discard();
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    self.discards = false;
                    self.broken = Some(error);
                }
                Poll::Ready(None) => self.data_ended = true,
                Poll::Pending => return,
            }
        }
    }

    /// Gives the memory back at once. The stream is reset as soon as the reader, who is slow, has seen that
    /// it is broken.
    fn discard(&mut self) {
        self.unread.take(self.ahead.len);
        self.ahead = Backlog::default();
        self.broken = Some(held_too_much());
        self.discards = true;
    }

    fn is_end_stream(&self) -> bool {
        self.ahead.len == 0 && self.broken.is_none() && self.stream.is_end_stream()
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        self.unread.take(self.ahead.len);
    }
}

impl Body for LinkBody {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        match &self.0 {
            Some(receiving) => lock(receiving).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0
            .as_ref()
            .is_none_or(|receiving| lock(receiving).is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_end_stream() {
            return SizeHint::with_exact(0);
        }
        SizeHint::default()
    }
}

fn lock(receiving: &Mutex<Receiving>) -> MutexGuard<'_, Receiving> {
    receiving
        .lock()
        .expect("nothing panics under this lock but h2 itself")
}

impl fmt::Debug for LinkBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkBody").finish_non_exhaustive()
    }
}

impl fmt::Debug for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rest").finish_non_exhaustive()
    }
}

impl fmt::Debug for Ahead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ahead").finish_non_exhaustive()
    }
}

/// Why a body did not arrive whole on the other side of a stream.
#[derive(Debug, Error)]
pub enum PumpError<E> {
    /// The body itself broke off. The stream has been reset, so the peer sees an abort and never a
    /// shorter body.
    #[error("the body broke off")]
    Body(#[source] E),
    /// The peer wants no more of it, has taken nothing of it for too long, or the link is gone.
    #[error("the stream was closed by the peer")]
    Stream(#[from] h2::Error),
}

/// Sends a whole body, trailers included, into a stream.
///
/// If the body fails, the stream is reset with `on_failure`. If bytes wait and the peer takes none of them
/// for `stall_limit`, it is reset with CANCEL. Cancel safety: dropping the future drops
/// the stream, which resets it with CANCEL.
pub async fn pump<B>(
    body: B,
    mut stream: SendStream<Bytes>,
    on_failure: Reason,
    stall_limit: Option<Duration>,
) -> Result<(), PumpError<B::Error>>
where
    B: Body<Data = Bytes>,
{
    let mut body = pin!(body);
    let mut stall = stall_limit.map(StallTimer::new);
    loop {
        let next = poll_fn(|cx| {
            // A peer that gave up must be noticed while the body has nothing to say.
            if let Poll::Ready(reset) = stream.poll_reset(cx) {
                return Poll::Ready(Err(reset.map_or_else(|error| error, h2::Error::from)));
            }
            body.as_mut().poll_frame(cx).map(Ok)
        });
        let frame = match next.await? {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                let_it_leave().await;
                stream.send_reset(on_failure);
                return Err(PumpError::Body(error));
            }
            None => return Ok(stream.send_data(Bytes::new(), true)?),
        };
        match frame.into_data() {
            // h2 ends a connection after a hundred empty frames that end nothing.
            Ok(chunk) if chunk.is_empty() => {}
            Ok(chunk) => {
                let last = body.is_end_stream();
                send_or_stall(&mut stream, chunk, last, &mut stall).await?;
                if last {
                    return Ok(());
                }
            }
            Err(frame) => {
                if let Ok(mut trailers) = frame.into_trailers() {
                    strip_trailers(&mut trailers);
                    return Ok(stream.send_trailers(trailers)?);
                }
            }
        }
    }
}

/// Lets the task of the connection send what was given to a stream: a reset takes along all that still
/// waits before it. What the peer's window holds back is lost; h2 does not tell when it has left.
pub(crate) async fn let_it_leave() {
    // The connection's task, its socket, and once more for what became writable meanwhile.
    for _ in 0..4 {
        tokio::task::yield_now().await;
    }
}

/// Sends one chunk as the peer's window allows.
pub async fn send_chunk(
    stream: &mut SendStream<Bytes>,
    chunk: Bytes,
    last: bool,
) -> Result<(), h2::Error> {
    send_or_stall(stream, chunk, last, &mut None).await
}

/// The same, until the peer has kept its window shut for too long.
async fn send_or_stall(
    stream: &mut SendStream<Bytes>,
    mut chunk: Bytes,
    last: bool,
    stall: &mut Option<StallTimer>,
) -> Result<(), h2::Error> {
    while !chunk.is_empty() {
        stream.reserve_capacity(chunk.len());
        // `poll_capacity` speaks only of what was added, so what is there already is asked first.
        if stream.capacity() == 0 {
            poll_fn(|cx| poll_capacity(stream, stall, cx)).await?;
        }
        let part = chunk.split_to(stream.capacity().min(chunk.len()));
        if !part.is_empty() {
            stream.send_data(part, last && chunk.is_empty())?;
        }
    }
    Ok(())
}

/// Waits for the peer's window to open.
fn poll_capacity(
    stream: &mut SendStream<Bytes>,
    stall: &mut Option<StallTimer>,
    cx: &mut Context<'_>,
) -> Poll<Result<(), h2::Error>> {
    match (stream.poll_capacity(cx), stall) {
        (Poll::Pending, None) => Poll::Pending,
        (Poll::Pending, Some(stall)) => {
            ready!(stall.poll(cx));
            stream.send_reset(Reason::CANCEL);
            Poll::Ready(Err(Reason::CANCEL.into()))
        }
        (Poll::Ready(granted), stall) => {
            if let Some(stall) = stall {
                stall.progress();
            }
            let granted = granted.unwrap_or_else(|| Err(Reason::STREAM_CLOSED.into()));
            Poll::Ready(granted.map(drop))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_keeps_the_order_and_hands_out_one_frame_at_a_time() {
        let mut backlog = Backlog::default();
        let mut given = Vec::new();
        for (size, byte) in [5, 9_000, CHUNK, 7, 40_000, 3, 4, 8_191]
            .into_iter()
            .zip(1..)
        {
            let frame = vec![byte; size];
            given.extend_from_slice(&frame);
            backlog.push(frame.into());
        }
        let mut taken = Vec::new();
        while let Some(chunk) = backlog.pop() {
            assert!(chunk.len() <= CHUNK && !chunk.is_empty());
            taken.extend_from_slice(&chunk);
            assert_eq!(backlog.len, given.len() - taken.len());
        }
        assert_eq!(taken, given);
    }
}
