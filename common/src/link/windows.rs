//! How far a link lets each of its streams run ahead of its reader.
//!
//! One stream moves at most one window a round trip, so a long link needs a large one. A short one needs
//! a small one: whatever is on its way stands in front of the next small answer. So each end measures what
//! its link brings, in bytes a round trip, and announces a multiple of that: four times as much while it
//! brings more and more, to be ahead of a TCP connection that starts slowly and doubles, and half as much
//! again once it does not. When readers are slow and much lies unread, it announces little until they have
//! caught up.
//!
//! That bounds what a peer makes us hold which does as it is told. What bounds it for one which does not:
//! the window of the connection, a limit on the time until SETTINGS are acknowledged, and [`UnreadTotal`],
//! over which streams are reset.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::settings::{
    CROWDED_WINDOW, MOST_ROUND_TRIP, MOST_UNREAD, MOST_UNREAD_TOGETHER, MOST_WINDOW,
    SETTINGS_LIMIT, STREAM_WINDOW,
};

/// The rate is looked at when so much has come, and a round trip has gone by: 128 KiB.
const STEP: u64 = 128 * 1024;

/// Windows are multiples of this: 128 KiB.
const GRAIN: u32 = 128 * 1024;

/// A link that has not brought an eighth more for so many looks in a row brings all it can: 3. A window takes
/// a round trip to be seen, and another one to be seen whole.
const SETTLED: u8 = 3;

/// Bytes that lie unread on all links of one account, or of one client; clones count the same ones.
#[derive(Debug, Clone)]
pub struct UnreadTotal(Arc<Total>);

#[derive(Debug)]
struct Total {
    bytes: AtomicUsize,
    /// From here on streams are reset, see [`MOST_UNREAD_TOGETHER`].
    most: usize,
}

impl Default for UnreadTotal {
    fn default() -> Self {
        Self::up_to(MOST_UNREAD_TOGETHER)
    }
}

impl UnreadTotal {
    fn up_to(most: usize) -> Self {
        Self(Arc::new(Total {
            bytes: AtomicUsize::new(0),
            most,
        }))
    }

    /// Whether others count here, too.
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    fn bytes(&self) -> usize {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// What one stream may hold now; `None`: its window says it.
    fn share(&self) -> Option<usize> {
        let over = self.bytes().checked_sub(self.0.most + 1)?;
        let left = self.0.most.saturating_sub(over);
        // Both factors are far below 2³²; on small machines the product is not.
        let share = left as u64 * u64::from(CROWDED_WINDOW) / self.0.most as u64;
        Some(usize::try_from(share).unwrap_or(usize::MAX))
    }
}

/// Bytes of one connection that were taken off it and have not been read, by all its streams together;
/// clones count the same ones.
#[derive(Debug, Clone, Default)]
pub struct Unread {
    connection: Arc<AtomicUsize>,
    /// None where the peer is a stranger with small windows, or a local app.
    total: Option<UnreadTotal>,
}

impl Unread {
    pub(super) fn within(total: UnreadTotal) -> Self {
        Self {
            connection: Arc::default(),
            total: Some(total),
        }
    }

    pub(crate) fn add(&self, bytes: usize) {
        self.connection.fetch_add(bytes, Ordering::Relaxed);
        if let Some(total) = &self.total {
            total.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    pub(crate) fn take(&self, bytes: usize) {
        self.connection.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(total) = &self.total {
            total.0.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    /// Whether a stream that has just taken more off the connection may go on holding so much. If not, it is
    /// to be reset: its reader is slow, and others are held up by what it keeps.
    pub(crate) fn admits(&self, held: usize) -> bool {
        let share = self.total.as_ref().and_then(UnreadTotal::share);
        share.is_none_or(|share| held <= share)
    }

    /// Whether more lies unread than the part of what may before windows shrink, on this connection or on
    /// all of them together.
    fn is_over(&self, parts: usize) -> bool {
        let connection = self.connection.load(Ordering::Relaxed);
        let together = |total: &UnreadTotal| total.bytes() > total.0.most / 2 / parts;
        connection > MOST_UNREAD / parts || self.total.as_ref().is_some_and(together)
    }
}

/// The error of a stream that was holding more than it may.
pub(crate) fn held_too_much() -> h2::Error {
    h2::Reason::ENHANCE_YOUR_CALM.into()
}

/// What one end of a link announces as the window of its streams.
#[derive(Debug)]
pub(super) struct Windows {
    /// What the peer was told last.
    announced: u32,
    /// The most that came in a round trip, in bytes.
    most: u64,
    /// Looks in a row that did not see an eighth more, up to [`SETTLED`].
    steady: u8,
    unread: Unread,
    crowded: bool,
    /// The last look at the rate: how much had come by when.
    mark: (u64, Instant),
    /// When it is looked at whether the peer has acknowledged what it was told.
    check: Option<Instant>,
}

impl Windows {
    /// Those of a connection that begins, with [`STREAM_WINDOW`].
    pub(super) fn new(unread: Unread) -> Self {
        Self {
            announced: STREAM_WINDOW,
            most: 0,
            steady: 0,
            unread,
            crowded: false,
            mark: (0, Instant::now()),
            check: Some(Instant::now() + SETTINGS_LIMIT),
        }
    }

    /// Announces by `send` the window that is wanted now, if it is another one than before. So many bytes
    /// have come since the connection began, and its shortest round trip took so long. False if the peer has
    /// not acknowledged within [`SETTINGS_LIMIT`] what it was told.
    pub(super) fn announce(
        &mut self,
        received: u64,
        round_trip: Option<Duration>,
        send: impl FnOnce(u32) -> Result<(), h2::Error>,
    ) -> bool {
        let wanted = self.wanted(received, round_trip);
        let is_due = self.check.is_some_and(|due| due <= Instant::now());
        if !is_due && wanted == self.announced {
            return true;
        }
        // h2 tells of no acknowledgement, but has one change on its way at a time: it takes another one, be it
        // the same window once more, when the last one was acknowledged.
        if send(wanted).is_err() {
            // Also what was said once more, only to see whether it is taken, has to be acknowledged in time.
            self.check
                .get_or_insert_with(|| Instant::now() + SETTINGS_LIMIT);
            return !is_due;
        }
        let is_new = wanted != self.announced;
        self.check = is_new.then(|| Instant::now() + SETTINGS_LIMIT);
        self.announced = wanted;
        true
    }

    fn wanted(&mut self, received: u64, round_trip: Option<Duration>) -> u32 {
        if received - self.mark.0 >= STEP {
            self.measure(received, round_trip);
        }
        // Between the two limits nothing changes, so that it does not swing.
        self.crowded = self.unread.is_over(1) || self.crowded && self.unread.is_over(2);
        match self.crowded {
            true => CROWDED_WINDOW,
            false => self.worth(),
        }
    }

    fn measure(&mut self, received: u64, round_trip: Option<Duration>) {
        let Some(round_trip) = round_trip.map(|trip| trip.min(MOST_ROUND_TRIP)) else {
            return;
        };
        let (now, (before, since)) = (Instant::now(), self.mark);
        // What comes at once after a pause says nothing of the link.
        if now - since < round_trip {
            return;
        }
        self.mark = (received, now);
        // A microsecond is less than any clock here tells apart.
        let took = (now - since).as_micros().max(1);
        let each_trip = u128::from(received - before) * round_trip.as_micros() / took;
        let each_trip = u64::try_from(each_trip).unwrap_or(u64::MAX);
        self.steady = match each_trip > self.most.saturating_add(self.most / 8) {
            true => 0,
            false => (self.steady + 1).min(SETTLED),
        };
        // A link that is slower for a while keeps what it has: it is the same link.
        self.most = self.most.max(each_trip);
    }

    /// The window that the link is worth.
    fn worth(&self) -> u32 {
        let wanted = match self.steady < SETTLED {
            true => self.most.saturating_mul(4),
            // What the window itself holds back is never seen to come; and while TCP sends again what was lost,
            // what follows is under way as well.
            false => self.most.saturating_add(self.most / 2),
        };
        let wanted = u32::try_from(wanted).unwrap_or(u32::MAX).min(MOST_WINDOW);
        // In steps, because each change costs the peer a walk over its streams.
        wanted.next_multiple_of(GRAIN).max(STREAM_WINDOW)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use bytes::{Bytes, BytesMut};
    use http::{Request, Response};
    use http_body_util::{BodyExt as _, Empty, Full};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex, split};
    use tokio::sync::mpsc;
    use tokio::task::JoinSet;
    use tokio::time::{advance, sleep_until};
    use tokio_util::task::TaskTracker;

    use super::super::calling::exchange;
    use super::super::open::{client_end, server_end};
    use super::super::serving::Incoming;
    use super::*;
    use crate::splice::{Received as _, Receiving};

    const MILLISECOND: Duration = Duration::from_millis(1);

    /// Receives at a rate, in bytes a millisecond, and tells the window at the end.
    async fn after(round_trip: Duration, rate: u64, milliseconds: u64) -> u32 {
        let (mut windows, mut received) = (Windows::new(Unread::default()), 0);
        for _ in 0..milliseconds {
            advance(MILLISECOND).await;
            received += rate;
            assert!(windows.announce(received, Some(round_trip), |_| Ok(())));
        }
        windows.announced
    }

    #[tokio::test(start_paused = true)]
    async fn a_window_grows_with_rate_and_round_trip() {
        // 1 GB/s with 0.1 ms: 100 kB are on their way.
        assert_eq!(
            after(MILLISECOND / 10, 1_000_000, 1000).await,
            STREAM_WINDOW
        );
        // 12.5 MB/s with 50 ms: 625 kB, and half of that.
        assert_eq!(after(50 * MILLISECOND, 12_500, 1000).await, 1024 * 1024);
        // 90 MB/s with 50 ms: 4.5 MB.
        assert_eq!(after(50 * MILLISECOND, 90_000, 1000).await, 52 * GRAIN);
        assert_eq!(after(1000 * MILLISECOND, 125_000, 1000).await, MOST_WINDOW);
        // A trickle needs nothing.
        assert_eq!(after(50 * MILLISECOND, 100, 10_000).await, STREAM_WINDOW);
    }

    #[tokio::test(start_paused = true)]
    async fn a_window_that_holds_its_stream_back_grows() {
        let (mut windows, mut received) = (Windows::new(Unread::default()), 0);
        for _ in 0..50 * 20 {
            advance(MILLISECOND).await;
            received += u64::from(windows.announced) / 50;
            windows.announce(received, Some(50 * MILLISECOND), |_| Ok(()));
        }
        assert_eq!(windows.announced, MOST_WINDOW);
    }

    #[tokio::test(start_paused = true)]
    async fn a_window_is_ahead_of_a_connection_that_doubles() {
        const TRIP: Duration = Duration::from_millis(50);
        let mut windows = Windows::new(Unread::default());
        let (mut received, mut sent) = (0, 64 * 1024);
        while sent < MOST_WINDOW / 4 {
            // The window is what was said a round trip ago.
            let window = windows.announced;
            assert!(sent <= window, "{sent} of {window}");
            advance(TRIP).await;
            received += u64::from(sent);
            windows.announce(received, Some(TRIP), |_| Ok(()));
            sent *= 2;
        }
        // It brings no more: what was too much is taken back.
        for _ in 0..SETTLED {
            advance(TRIP).await;
            received += u64::from(sent / 2);
            windows.announce(received, Some(TRIP), |_| Ok(()));
        }
        assert_eq!(windows.announced, sent / 4 * 3);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_round_trip_nothing_is_known() {
        let mut windows = Windows::new(Unread::default());
        for step in 1..100 {
            advance(MILLISECOND).await;
            windows.announce(step * 1_000_000, None, |window| panic!("{window}"));
        }
    }

    /// What is announced now by windows to which nothing more has come; `None`: nothing.
    fn said(windows: &mut Windows, is_acknowledged: bool) -> Option<u32> {
        let mut said = None;
        let pending = || Err(held_too_much());
        windows.announce(0, None, |window| {
            said = Some(window);
            if is_acknowledged { Ok(()) } else { pending() }
        });
        said
    }

    #[tokio::test(start_paused = true)]
    async fn while_much_lies_unread_little_more_may_come() {
        let unread = Unread::default();
        let mut windows = Windows::new(unread.clone());
        unread.add(MOST_UNREAD);
        assert_eq!(said(&mut windows, true), None);
        unread.add(1);
        // It is said until the peer can be told.
        assert_eq!(said(&mut windows, false), Some(CROWDED_WINDOW));
        assert_eq!(said(&mut windows, true), Some(CROWDED_WINDOW));
        unread.take(MOST_UNREAD / 2);
        assert_eq!(said(&mut windows, true), None, "not yet");
        unread.take(1);
        assert_eq!(said(&mut windows, true), Some(STREAM_WINDOW));
    }

    #[tokio::test(start_paused = true)]
    async fn links_of_one_account_have_less_when_others_of_it_hold_much() {
        let total = UnreadTotal::default();
        let (full, other) = (Unread::within(total.clone()), Unread::within(total));
        let mut windows = Windows::new(other);
        full.add(MOST_UNREAD_TOGETHER / 2 + 1);
        assert_eq!(said(&mut windows, true), Some(CROWDED_WINDOW));
        full.take(MOST_UNREAD_TOGETHER / 4 + 1);
        assert_eq!(said(&mut windows, true), Some(STREAM_WINDOW));
    }

    #[test]
    fn what_a_stream_may_hold_falls_to_nothing() {
        const MOST: usize = 1 << 20;
        let unread = Unread::within(UnreadTotal::up_to(MOST));
        unread.add(MOST);
        assert!(unread.admits(usize::MAX));
        for (more, share) in [
            (1, CROWDED_WINDOW),
            (MOST / 2, CROWDED_WINDOW / 2),
            (MOST / 2, 0),
        ] {
            unread.add(more);
            let share = share as usize;
            assert!(unread.admits(share.saturating_sub(1)), "{share}");
            assert!(!unread.admits(share + 1), "{share}");
        }
        unread.add(10 * MOST);
        assert!(unread.admits(0) && !unread.admits(1));
        unread.take(11 * MOST + 1);
        assert!(unread.admits(usize::MAX));
    }

    /// What a client answers to a request: [`SIZE`] bytes, or as much of them as is taken.
    async fn answer(incoming: Incoming) {
        let mut body = Full::new(Bytes::from(vec![0; SIZE]));
        let _ = incoming.1.send(Response::new(&mut body)).await;
    }

    const SIZE: usize = 512 * 1024;

    #[tokio::test(start_paused = true)]
    async fn a_stream_whose_reader_is_slow_is_reset_when_too_much_lies_unread_elsewhere() {
        const MOST: usize = 1 << 20;
        let together = UnreadTotal::up_to(MOST);
        let (near, far) = duplex(1 << 16);
        let mut tasks = JoinSet::new();
        let (requests, client) = tokio::join!(
            async {
                let opened = server_end(far, together.clone()).await;
                let (requests, calling) = opened.unwrap();
                tasks.spawn(async { drop(calling.await) });
                requests
            },
            client_end(near, UnreadTotal::default())
        );
        let mut client = client.unwrap();
        tasks.spawn(async move {
            let mut answers = JoinSet::new();
            while let Ok(Some(incoming)) = client.accept().await {
                answers.spawn(answer(incoming));
            }
        });
        let elsewhere = Unread::within(together.clone());
        elsewhere.add(MOST / 2 * 3);
        let ask = async || {
            let request = Request::get("https://app.test/").body(()).unwrap();
            let (answer, _) = requests.raw().send_request(request, true).unwrap();
            requests.body(answer.await.unwrap().into_body(), None)
        };

        let slow = ask().await;
        let ahead = slow.ahead();
        tasks.spawn(async { match ahead.drive().await {} });
        let quick = ask().await.collect().await.unwrap().to_bytes();
        assert_eq!(quick.len(), SIZE);
        // Until nothing happens any more.
        tokio::time::sleep(MILLISECOND).await;
        assert_eq!(together.bytes(), MOST / 2 * 3, "its memory is given back");
        let broken = slow.collect().await.unwrap_err();
        assert_eq!(broken.reason(), Some(h2::Reason::ENHANCE_YOUR_CALM));

        elsewhere.take(MOST / 2 * 3);
        let slow = ask().await;
        tokio::time::sleep(MILLISECOND).await;
        assert_eq!(slow.collect().await.unwrap().to_bytes().len(), SIZE);
        assert_eq!(together.bytes(), 0);

        // Of a stream of another protocol that nobody reads yet, too, every byte counts.
        let request = Request::get("https://app.test/").body(()).unwrap();
        let (answer, _) = requests.raw().send_request(request, true).unwrap();
        let received = answer.await.unwrap().into_body();
        let mut switched = Receiving::new(received, requests.unread().clone());
        tokio::select! {
            error = switched.take_ahead() => panic!("{error}"),
            () = tokio::time::sleep(MILLISECOND) => {}
        }
        let held = together.bytes();
        assert!(held > 0);
        let mut read = BytesMut::new();
        let n = poll_fn(|cx| switched.poll_read(cx, &mut read)).await;
        assert_eq!((n.unwrap(), read.len()), (held, held));
        switched.passed_on(held);
        assert_eq!(together.bytes(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn late_answers_to_pings_do_not_make_a_link_longer() {
        let window = after(MOST_ROUND_TRIP * 4, 1000, 20_000).await;
        assert_eq!(window, after(MOST_ROUND_TRIP, 1000, 20_000).await);
        // 1 MB/s for 1 s, and half of that.
        assert_eq!(window, 12 * GRAIN);
    }

    #[tokio::test(start_paused = true)]
    async fn settings_that_are_not_acknowledged_in_time_end_it() {
        let (unread, pending) = (Unread::default(), |_| Err(held_too_much()));
        let mut windows = Windows::new(unread.clone());
        unread.add(MOST_UNREAD + 1);
        assert!(windows.announce(0, None, pending), "it has time");
        advance(SETTINGS_LIMIT).await;
        assert!(!windows.announce(0, None, pending));
        // The last moment is early enough; what was announced by then has its own time.
        assert!(windows.announce(0, None, |_| Ok(())));
        advance(SETTINGS_LIMIT - MILLISECOND).await;
        assert_eq!(said(&mut windows, true), None);
        advance(MILLISECOND).await;
        assert_eq!(said(&mut windows, true), Some(CROWDED_WINDOW), "once more");
        advance(SETTINGS_LIMIT * 2).await;
        assert_eq!(said(&mut windows, true), None, "and not for ever");
        // What was said once more has to be acknowledged, too.
        unread.take(MOST_UNREAD + 1);
        assert!(windows.announce(0, None, pending), "it has time");
        advance(SETTINGS_LIMIT).await;
        assert!(!windows.announce(0, None, pending));
    }

    /// A pipe on which every byte is under way for so long.
    fn pipe(tasks: &mut JoinSet<()>, delay: Duration) -> (DuplexStream, DuplexStream) {
        let [(near, near_end), (far, far_end)] = [(); 2].map(|()| duplex(1 << 20));
        let (from_near, to_near) = split(near_end);
        let (from_far, to_far) = split(far_end);
        for (mut from, mut to) in [(from_near, to_far), (from_far, to_near)] {
            let (send, mut under_way) = mpsc::channel::<(Instant, Vec<u8>)>(1 << 16);
            tasks.spawn(async move {
                let mut bytes = vec![0; 1 << 14];
                while let Ok(n @ 1..) = from.read(&mut bytes).await {
                    let due = (Instant::now() + delay, bytes[..n].to_vec());
                    send.send(due).await.expect("the other half runs");
                }
            });
            tasks.spawn(async move {
                while let Some((due, bytes)) = under_way.recv().await {
                    sleep_until(due).await;
                    to.write_all(&bytes).await.expect("both ends live");
                }
            });
        }
        (near, far)
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_link_carries_more_than_its_first_window_a_round_trip() {
        const SIZE: usize = 16 << 20;
        let mut tasks = JoinSet::new();
        let (near, far) = pipe(&mut tasks, 25 * MILLISECOND);
        let (opened, client) = tokio::join!(
            async {
                let (requests, calling) = server_end(far, UnreadTotal::default()).await.unwrap();
                tasks.spawn(async { drop(calling.await) });
                requests
            },
            client_end(near, UnreadTotal::default())
        );
        let mut client = client.unwrap();
        let answering = async {
            let (_, reply) = client.accept().await.unwrap().expect("a request");
            let mut body = Full::new(Bytes::from(vec![0; SIZE]));
            let sending = async move { reply.send(Response::new(&mut body)).await };
            tokio::join!(sending, client.accept()).0
        };
        let began = Instant::now();
        let visiting = async {
            let request = Request::get("https://app.test/").body(()).unwrap();
            let (uploads, no_body) = (TaskTracker::new(), Empty::<Bytes>::new());
            let answer = exchange(&opened, request, no_body, &mut |_| {}, &uploads).await;
            let body = answer.unwrap().into_body().collect().await.unwrap();
            assert_eq!(body.to_bytes().len(), SIZE);
        };
        tokio::select! {
            () = visiting => {}
            answered = answering => panic!("{answered:?}"),
        }
        let trips = began.elapsed().as_millis() / 50;
        assert!(
            trips < 10,
            "{trips} round trips; with the first window they would be 64"
        );
    }
}
