//! What a visitor's connection is doing, so that one timer can tell whether to cut it.
//!
//! hyper has a timer for HTTP/1 heads that doubles as its idle limit, and none for anything else. Here
//! the connection's IO and its requests leave notes, and the loop that drives the connection reads
//! them when its only timer fires.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ngrnotok_common::link::body::Ahead;
use ngrnotok_common::socket::Socket;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

/// From the first byte of a request head to its end.
pub(super) const HEAD_LIMIT: Duration = Duration::from_secs(15);

/// A connection without a request.
pub(super) const IDLE_LIMIT: Duration = Duration::from_secs(60);

/// A visitor who takes nothing while bytes wait for it.
pub(super) const STALL_LIMIT: Duration = Duration::from_secs(90);

/// How long and how much of an unwanted upload is read after the answer.
const LINGER_LIMIT: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 1024 * 1024;

/// Notes about one connection; written and read by its own task, so relaxed atomics are enough.
#[derive(Debug)]
pub(super) struct Activity {
    /// All times below are milliseconds after this.
    epoch: Instant,
    open_requests: AtomicU32,
    /// Since when no request is open, or since when a head is being read.
    quiet_since: AtomicU64,
    reading_head: AtomicBool,
    /// Since when the socket takes nothing; 0 while it does.
    stalled_since: AtomicU64,
    /// Since when we have said goodbye and wait for the visitor to stop sending; 0 before.
    lingering_since: AtomicU64,
    /// A request with a body has come, so there may be bytes on their way that nobody wants.
    had_bodies: AtomicBool,
    /// The answer that is being sent, to be received while the visitor is slow.
    ahead: Mutex<Ahead>,
}

/// What the timer of a connection finds.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// Look again then.
    Wait(Instant),
    /// Idle for too long: close it politely.
    Close,
    /// Slow or stalled: drop it.
    Cut,
}

impl Activity {
    /// A connection that has yet to send its first head.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            epoch: Instant::now(),
            open_requests: AtomicU32::new(0),
            quiet_since: AtomicU64::new(0),
            reading_head: AtomicBool::new(true),
            stalled_since: AtomicU64::new(0),
            lingering_since: AtomicU64::new(0),
            had_bodies: AtomicBool::new(false),
            ahead: Mutex::default(),
        })
    }

    /// Notes that a request has a body.
    pub(super) fn body_comes(&self) {
        self.had_bodies.store(true, Relaxed);
    }

    /// Notes which answer is being sent.
    pub(super) fn answers(&self, ahead: Ahead) {
        *self.ahead() = ahead;
    }

    /// Receives what comes of the answer while the visitor is slow.
    pub(super) fn receive_ahead(&self, cx: &mut Context<'_>) {
        self.ahead().poll(cx);
    }

    fn ahead(&self) -> MutexGuard<'_, Ahead> {
        self.ahead.lock().expect("nothing panics under this lock")
    }

    /// Notes that a request has begun; its end is noted when the guard is dropped.
    pub(super) fn open(self: &Arc<Self>) -> OpenRequest {
        self.open_requests.fetch_add(1, Relaxed);
        self.reading_head.store(false, Relaxed);
        OpenRequest(Arc::clone(self))
    }

    fn verdict(&self) -> Verdict {
        let now = Instant::now();
        let after = |since: u64, limit| self.epoch + Duration::from_millis(since) + limit;
        let stalled = self.stalled_since.load(Relaxed);
        let lingering = self.lingering_since.load(Relaxed);
        let quiet = self.quiet_since.load(Relaxed);
        let (until, verdict) = if lingering > 0 {
            (after(lingering, LINGER_LIMIT), Verdict::Cut)
        } else if stalled > 0 {
            (after(stalled, STALL_LIMIT), Verdict::Cut)
        } else if self.open_requests.load(Relaxed) > 0 {
            return Verdict::Wait(now + STALL_LIMIT);
        } else if self.reading_head.load(Relaxed) {
            (after(quiet, HEAD_LIMIT), Verdict::Cut)
        } else {
            (after(quiet, IDLE_LIMIT), Verdict::Close)
        };
        if now < until {
            return Verdict::Wait(until);
        }
        verdict
    }

    /// A deadline that may come before the one the timer was set to: the end of a head that has
    /// begun, or of lingering.
    fn early_deadline(&self) -> Option<Instant> {
        let lingering = self.lingering_since.load(Relaxed);
        let (since, limit) = if lingering > 0 {
            (lingering, LINGER_LIMIT)
        } else if self.reading_head.load(Relaxed) {
            (self.quiet_since.load(Relaxed), HEAD_LIMIT)
        } else {
            return None;
        };
        Some(self.epoch + Duration::from_millis(since) + limit)
    }

    fn bytes_came(&self) {
        if self.open_requests.load(Relaxed) == 0 && !self.reading_head.load(Relaxed) {
            self.quiet_since.store(self.now(), Relaxed);
            self.reading_head.store(true, Relaxed);
        }
    }

    fn wrote(&self, went: bool) {
        let stalled = self.stalled_since.load(Relaxed) > 0;
        if went && stalled {
            self.stalled_since.store(0, Relaxed);
        } else if !went && !stalled {
            self.stalled_since.store(self.now().max(1), Relaxed);
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// What to do with a connection now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Advice {
    /// Take no further requests and close it when the open ones are done.
    Close,
    /// Drop it.
    Cut,
}

/// Watches over one connection: speaks up when it is slow, stalled or idle, or when the server drains.
#[derive(Debug)]
pub(super) struct Patience<'a> {
    activity: &'a Activity,
    timer: Pin<Box<Sleep>>,
    drain: Pin<Box<WaitForCancellationFuture<'a>>>,
    draining: bool,
}

impl<'a> Patience<'a> {
    pub(super) fn new(activity: &'a Activity, drain: &'a CancellationToken) -> Self {
        Self {
            activity,
            timer: Box::pin(sleep(HEAD_LIMIT)),
            drain: Box::pin(drain.cancelled()),
            draining: false,
        }
    }

    /// To be polled after the connection in each round, and again after the connection has followed
    /// the advice.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Advice> {
        if !self.draining && self.drain.as_mut().poll(cx).is_ready() {
            self.draining = true;
            return Poll::Ready(Advice::Close);
        }
        if let Some(deadline) = self.activity.early_deadline()
            && deadline < self.timer.deadline()
        {
            self.timer.as_mut().reset(deadline);
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            match self.activity.verdict() {
                Verdict::Wait(until) => self.timer.as_mut().reset(until),
                Verdict::Cut => return Poll::Ready(Advice::Cut),
                Verdict::Close => {
                    // If it does not close by then, it will be looked at again.
                    self.timer.as_mut().reset(Instant::now() + HEAD_LIMIT);
                    return Poll::Ready(Advice::Close);
                }
            }
        }
        Poll::Pending
    }
}

/// A request that is not answered to its end.
#[derive(Debug)]
pub(super) struct OpenRequest(Arc<Activity>);

impl Drop for OpenRequest {
    fn drop(&mut self) {
        if self.0.open_requests.fetch_sub(1, Relaxed) == 1 {
            self.0.quiet_since.store(self.0.now(), Relaxed);
        }
    }
}

/// A stream that leaves notes.
#[derive(Debug)]
pub(super) struct Watched<S> {
    stream: S,
    activity: Arc<Activity>,
    /// HTTP/2 sends frames between requests (PING, SETTINGS) that begin no head.
    bytes_begin_heads: bool,
    /// Read and thrown away after our goodbye.
    discarded: usize,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, activity: Arc<Activity>, bytes_begin_heads: bool) -> Self {
        Self {
            stream,
            activity,
            bytes_begin_heads,
            discarded: 0,
        }
    }

    fn note<T>(&self, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        self.activity.wrote(written.is_ready());
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = out.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, out);
        if self.bytes_begin_heads && out.filled().len() > before {
            self.activity.bytes_came();
        }
        read
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.note(flushed)
    }

    /// Says goodbye, and if an upload may still be on its way, reads on for a moment: closing a socket
    /// with unread bytes resets the connection, and the visitor would lose the answer (a 413, say)
    /// that it has not read yet (RFC 9112 §9.6).
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.activity.lingering_since.load(Relaxed) == 0 {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            if !this.activity.had_bodies.load(Relaxed) {
                return Poll::Ready(Ok(()));
            }
            let now = this.activity.now().max(1);
            this.activity.lingering_since.store(now, Relaxed);
        }
        let mut scratch = [0; 4096];
        while this.discarded < LINGER_BYTES {
            let mut read = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut this.stream).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                break;
            }
            this.discarded += read.filled().len();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Socket> Socket for Watched<S> {
    fn reset_on_drop(&self) {
        self.stream.reset_on_drop();
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_head_that_never_ends_is_cut_and_idle_connections_are_closed() {
        let activity = Activity::new();
        assert!(matches!(activity.verdict(), Verdict::Wait(_)));
        advance(HEAD_LIMIT).await;
        assert_eq!(activity.verdict(), Verdict::Cut);

        let request = activity.open();
        advance(Duration::from_secs(3600)).await;
        assert!(matches!(activity.verdict(), Verdict::Wait(_)));
        drop(request);
        advance(IDLE_LIMIT - Duration::from_secs(1)).await;
        assert!(matches!(activity.verdict(), Verdict::Wait(_)));
        advance(Duration::from_secs(1)).await;
        assert_eq!(activity.verdict(), Verdict::Close);

        activity.bytes_came();
        assert_eq!(activity.early_deadline(), Some(Instant::now() + HEAD_LIMIT));
    }

    #[tokio::test(start_paused = true)]
    async fn a_visitor_who_takes_nothing_is_cut() {
        let activity = Activity::new();
        let _request = activity.open();
        advance(Duration::from_secs(1)).await;
        activity.wrote(false);
        advance(STALL_LIMIT - Duration::from_secs(1)).await;
        activity.wrote(false);
        assert!(matches!(activity.verdict(), Verdict::Wait(_)));
        advance(Duration::from_secs(1)).await;
        assert_eq!(activity.verdict(), Verdict::Cut);
        activity.wrote(true);
        assert!(matches!(activity.verdict(), Verdict::Wait(_)));
    }
}
