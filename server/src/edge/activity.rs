//! What a visitor's connection is doing, so that one timer can tell whether to cut it.
//!
//! hyper has a timer for HTTP/1 heads that doubles as its idle limit, and none for anything else. Here
//! the connection's IO and its requests leave notes, and the loop that drives the connection reads
//! them when its only timer fires.

use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::BytesMut;
use http::{Request, Version};
use http_body::Body;
use ngrnotok_common::link::body::Ahead;
use ngrnotok_common::link::io::Hold;
use ngrnotok_common::socket::{Socket, poll_write_pieces};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

/// From the first byte of a request head to its end.
pub(super) const HEAD_LIMIT: Duration = Duration::from_secs(15);

/// A connection without a request.
pub(super) const IDLE_LIMIT: Duration = Duration::from_secs(60);

/// A visitor who takes nothing while bytes wait for it.
pub(super) const STALL_LIMIT: Duration = Duration::from_secs(90);

/// How long an unwanted upload is read and thrown away after the answer while nothing of it comes.
const LINGER_PAUSE: Duration = Duration::from_secs(5);

/// And how long in all.
const LINGER_LIMIT: Duration = Duration::from_secs(30);

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
    /// The latest time at which something came meanwhile.
    lingering_still: AtomicU64,
    /// The answer ends where the connection does (HTTP/1.0), so a break must not look like an end.
    ends_with_connection: AtomicBool,
    /// A request with a body has come, so there may be bytes on their way that nobody wants.
    had_bodies: AtomicBool,
    /// The answer that is being sent, to be received while the visitor is slow.
    ahead: Mutex<Ahead>,
    /// An answer has broken off and waits until what came before the break has left.
    breaking: AtomicBool,
    /// Whom to wake then; `None` once it has left.
    breaks: Mutex<Option<Waker>>,
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
            lingering_still: AtomicU64::new(0),
            ends_with_connection: AtomicBool::new(false),
            had_bodies: AtomicBool::new(false),
            ahead: Mutex::default(),
            breaking: AtomicBool::new(false),
            breaks: Mutex::default(),
        })
    }

    /// Notes what matters of a request for the end of its connection.
    pub(super) fn request<B: Body>(&self, request: &Request<B>) {
        if !request.body().is_end_stream() {
            self.had_bodies.store(true, Relaxed);
        }
        if request.version() == Version::HTTP_10 {
            self.ends_with_connection.store(true, Relaxed);
        }
    }

    /// Whether only the end of the connection tells the visitor that an answer is whole.
    pub(super) fn ends_with_connection(&self) -> bool {
        self.ends_with_connection.load(Relaxed)
    }

    /// Notes which answer is being sent.
    pub(super) fn answers(&self, ahead: Ahead) {
        *self.ahead() = ahead;
    }

    /// Receives what comes of the answer while the visitor is slow.
    pub(super) fn receive_ahead(&self, cx: &mut Context<'_>) {
        self.ahead().poll(cx);
    }

    /// Ready when everything has been flushed that was written before the first call.
    pub(super) fn poll_all_left(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut breaks = self.breaks();
        if self.breaking.swap(true, Relaxed) && breaks.is_none() {
            return Poll::Ready(());
        }
        *breaks = Some(cx.waker().clone());
        Poll::Pending
    }

    fn flushed(&self) {
        if self.breaking.load(Relaxed)
            && let Some(waker) = self.breaks().take()
        {
            waker.wake();
        }
    }

    fn breaks(&self) -> MutexGuard<'_, Option<Waker>> {
        self.breaks.lock().expect("nothing panics under this lock")
    }

    fn ahead(&self) -> MutexGuard<'_, Ahead> {
        self.ahead.lock().expect("nothing panics under this lock")
    }

    /// Notes that a request has begun; its end is noted when the guard is dropped.
    pub(super) fn open(self: &Arc<Self>) -> OpenRequest {
        self.open_requests.fetch_add(1, Relaxed);
        self.reading_head.store(false, Relaxed);
        OpenRequest {
            activity: Arc::clone(self),
            began: Instant::now(),
        }
    }

    fn is_busy(&self) -> bool {
        self.open_requests.load(Relaxed) > 0
    }

    fn verdict(&self) -> Verdict {
        let now = Instant::now();
        let after = |since: u64, limit| self.epoch + Duration::from_millis(since) + limit;
        let stalled = self.stalled_since.load(Relaxed);
        let quiet = self.quiet_since.load(Relaxed);
        let (until, verdict) = if let Some(until) = self.lingers_until() {
            (until, Verdict::Cut)
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
        if let Some(until) = self.lingers_until() {
            return Some(until);
        }
        let quiet = Duration::from_millis(self.quiet_since.load(Relaxed));
        let reading = self.reading_head.load(Relaxed);
        reading.then(|| self.epoch + quiet + HEAD_LIMIT)
    }

    /// The end of lingering, as far as it is known now.
    fn lingers_until(&self) -> Option<Instant> {
        let since = self.lingering_since.load(Relaxed);
        if since == 0 {
            return None;
        }
        let still = self.lingering_still.load(Relaxed);
        let since_the_last = Duration::from_millis(still) + LINGER_PAUSE;
        let since_the_first = Duration::from_millis(since) + LINGER_LIMIT;
        Some(self.epoch + since_the_last.min(since_the_first))
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
    /// How long an idle connection may still come up with a request once the server drains.
    idle_drain: Duration,
    draining: Drain,
}

#[derive(Debug, Clone, Copy)]
enum Drain {
    NotYet,
    /// At the latest then the connection is told.
    Until(Instant),
    Told,
}

impl<'a> Patience<'a> {
    pub(super) fn new(
        activity: &'a Activity,
        drain: &'a CancellationToken,
        idle_drain: Duration,
    ) -> Self {
        Self {
            activity,
            timer: Box::pin(sleep(HEAD_LIMIT)),
            drain: Box::pin(drain.cancelled()),
            idle_drain,
            draining: Drain::NotYet,
        }
    }

    /// To be polled after the connection in each round, and again after the connection has followed
    /// the advice.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Advice> {
        if matches!(self.draining, Drain::NotYet) && self.drain.as_mut().poll(cx).is_ready() {
            let until = Instant::now() + self.idle_drain;
            self.draining = Drain::Until(until);
            if until < self.timer.deadline() {
                self.timer.as_mut().reset(until);
            }
        }
        if let Drain::Until(until) = self.draining
            && (self.activity.is_busy() || until <= Instant::now())
        {
            self.draining = Drain::Told;
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
pub(super) struct OpenRequest {
    activity: Arc<Activity>,
    began: Instant,
}

impl OpenRequest {
    /// How long it has been here.
    pub(super) fn held(&self) -> Duration {
        self.began.elapsed()
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        let activity = &self.activity;
        if activity.open_requests.fetch_sub(1, Relaxed) == 1 {
            activity.quiet_since.store(activity.now(), Relaxed);
        }
    }
}

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
}

/// How far the lookout reads in search of the visitor's end.
const LOOK_AHEAD: usize = 64 * 1024;

impl<S> Watched<S> {
    pub(super) fn new(
        stream: S,
        activity: Arc<Activity>,
        bytes_begin_heads: bool,
    ) -> (Self, Lookout<S>) {
        let watching = Arc::new(Mutex::new(Watching {
            stream,
            activity,
            bytes_begin_heads,
            owner_waits: false,
            ahead: BytesMut::new(),
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
        if this.owner_waits || this.activity.open_requests.load(Relaxed) == 0 {
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
        if self.activity.lingering_since.load(Relaxed) == 0 {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            if !self.activity.had_bodies.load(Relaxed) {
                return Poll::Ready(Ok(()));
            }
            let now = self.activity.now().max(1);
            self.activity.lingering_since.store(now, Relaxed);
            self.activity.lingering_still.store(now, Relaxed);
        }
        let mut scratch = [0; 8192];
        loop {
            let mut read = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            let now = self.activity.now();
            self.activity.lingering_still.store(now, Relaxed);
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
