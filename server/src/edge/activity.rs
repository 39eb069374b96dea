//! What a visitor's connection is doing, so that one timer can tell whether to cut it.
//!
//! hyper has a timer for HTTP/1 heads that doubles as its idle limit, and none for anything else. Here
//! the connection's IO ([`watched`](super::watched)) and its requests leave notes, and the loop that drives
//! the connection reads them when its only timer ([`patience`](super::patience)) fires.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{Request, Version};
use http_body::Body;
use ngrnotok_common::link::body::Ahead;
use tokio::time::Instant;

use super::http2::{CONNECTION_WINDOW, STREAM_WINDOW};
use super::resets::EarlyResets;

/// From the first byte of a request head to its end.
pub(super) const HEAD_LIMIT: Duration = Duration::from_secs(15);

/// A connection without a request.
pub(super) const IDLE_LIMIT: Duration = Duration::from_secs(60);

/// A visitor who takes nothing while bytes wait for it, or sends nothing of a body that is wanted; each stream
/// for itself.
pub(super) const STALL_LIMIT: Duration = Duration::from_secs(60);

/// Uploads that can take up the connection's whole window while their readers are busy.
const FILLS_WINDOW: u32 = CONNECTION_WINDOW / STREAM_WINDOW;

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
    early_resets: EarlyResets,
    /// Uploads whose readers are busy.
    uploads_held_up: AtomicU32,
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
pub(super) enum Verdict {
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
            early_resets: EarlyResets::default(),
            uploads_held_up: AtomicU32::new(0),
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

    /// Notes that what comes from now on is not HTTP, and none of it may be thrown away.
    pub(super) fn upgraded(&self) {
        self.had_bodies.store(false, Relaxed);
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

    /// Everything that was written has left.
    pub(super) fn flushed(&self) {
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

    /// Notes that the visitor has taken back a request, which began then.
    pub(super) fn taken_back(&self, began: Instant) {
        self.early_resets.taken_back(began.elapsed(), self.now());
    }

    /// Notes that a request has been answered to its end by an app.
    pub(super) fn answered(&self) {
        self.early_resets.answered();
    }

    /// Whether the visitor makes requests to take them back.
    pub(super) fn takes_back_too_much(&self) -> bool {
        self.early_resets.are_too_many()
    }

    /// Notes that the reader of an upload is busy with what has come, or asks for more.
    pub(super) fn upload_held_up(&self, held_up: bool) {
        match held_up {
            true => self.uploads_held_up.fetch_add(1, Relaxed),
            false => self.uploads_held_up.fetch_sub(1, Relaxed),
        };
    }

    /// Whether uploads whose readers are busy may have left the others no window to send anything.
    pub(super) fn uploads_fill_window(&self) -> bool {
        self.uploads_held_up.load(Relaxed) >= FILLS_WINDOW
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

    /// Whether bytes of a head have come and not yet the whole of it.
    pub(super) fn is_reading_head(&self) -> bool {
        self.reading_head.load(Relaxed)
    }

    /// Whether a request is open.
    pub(super) fn is_busy(&self) -> bool {
        self.open_requests.load(Relaxed) > 0
    }

    /// What is to be done with the connection now.
    pub(super) fn verdict(&self) -> Verdict {
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
    pub(super) fn early_deadline(&self) -> Option<Instant> {
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

    /// Bytes have come in which a head may begin.
    pub(super) fn bytes_came(&self) {
        if self.open_requests.load(Relaxed) == 0 && !self.reading_head.load(Relaxed) {
            self.quiet_since.store(self.now(), Relaxed);
            self.reading_head.store(true, Relaxed);
        }
    }

    /// The socket has taken bytes, or takes none.
    pub(super) fn wrote(&self, went: bool) {
        let stalled = self.stalled_since.load(Relaxed) > 0;
        if went && stalled {
            self.stalled_since.store(0, Relaxed);
        } else if !went && !stalled {
            self.stalled_since.store(self.now().max(1), Relaxed);
        }
    }

    /// Whether we have said goodbye and read on.
    pub(super) fn is_lingering(&self) -> bool {
        self.lingering_since.load(Relaxed) != 0
    }

    /// Whether bytes of an upload may be on their way when the connection ends.
    pub(super) fn had_bodies(&self) -> bool {
        self.had_bodies.load(Relaxed)
    }

    /// We have said goodbye, and read on for a moment.
    pub(super) fn lingers(&self) {
        let now = self.now().max(1);
        self.lingering_since.store(now, Relaxed);
        self.lingering_still.store(now, Relaxed);
    }

    /// Something came meanwhile.
    pub(super) fn lingers_still(&self) {
        self.lingering_still.store(self.now(), Relaxed);
    }

    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// A request that is not answered to its end.
#[derive(Debug)]
pub(super) struct OpenRequest {
    activity: Arc<Activity>,
    began: Instant,
}

impl OpenRequest {
    /// When it came.
    pub(super) fn began(&self) -> Instant {
        self.began
    }

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
