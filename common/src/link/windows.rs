//! How far a link lets each of its streams run ahead of its reader.
//!
//! One stream moves at most one window a round trip, so a long link needs a large one. A short one needs
//! a small one: whatever is on its way stands in front of the next small answer. So each end measures what
//! its link brings, in bytes a round trip, and announces a multiple of that: four times as much while it
//! brings more and more, to be ahead of a TCP connection that starts slowly and doubles, and half as much
//! again once it does not. When readers are slow and much lies unread, it announces little until they have
//! caught up; that is what bounds memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::settings::{CROWDED_WINDOW, MOST_UNREAD, MOST_WINDOW, STREAM_WINDOW};

/// The rate is looked at when so much has come, and a round trip has gone by: 128 KiB.
const STEP: u64 = 128 * 1024;

/// Windows are multiples of this: 128 KiB.
const GRAIN: u32 = 128 * 1024;

/// A link that has not brought an eighth more for so many looks in a row brings all it can: 3. A window takes
/// a round trip to be seen, and another one to be seen whole.
const SETTLED: u8 = 3;

/// Bytes of one connection that were taken off it and have not been read, by all its streams together;
/// clones count the same ones.
#[derive(Debug, Clone, Default)]
pub struct Unread(Arc<AtomicUsize>);

impl Unread {
    pub(super) fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn take(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// How many there are now.
    pub fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
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
        }
    }

    /// The window to announce, if it is another one than before. So many bytes have come since the
    /// connection began, and its shortest round trip took so long.
    pub(super) fn next(&mut self, received: u64, round_trip: Option<Duration>) -> Option<u32> {
        if received - self.mark.0 >= STEP {
            self.measure(received, round_trip);
        }
        let unread = self.unread.bytes();
        // Between the two limits nothing changes, so that it does not swing.
        self.crowded = unread > MOST_UNREAD || self.crowded && unread > MOST_UNREAD / 2;
        let wanted = match self.crowded {
            true => CROWDED_WINDOW,
            false => self.worth(),
        };
        (wanted != self.announced).then_some(wanted)
    }

    /// The peer was told.
    pub(super) fn announced(&mut self, window: u32) {
        self.announced = window;
    }

    fn measure(&mut self, received: u64, round_trip: Option<Duration>) {
        let Some(round_trip) = round_trip else {
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
    use bytes::Bytes;
    use http::{Request, Response};
    use http_body_util::{BodyExt as _, Empty, Full};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex, split};
    use tokio::sync::mpsc;
    use tokio::task::JoinSet;
    use tokio::time::{advance, sleep_until};
    use tokio_util::task::TaskTracker;

    use super::super::calling::exchange;
    use super::super::open::{client_end, server_end};
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    /// Receives at a rate, in bytes a millisecond, and tells the window at the end.
    async fn after(round_trip: Duration, rate: u64, milliseconds: u64) -> u32 {
        let (mut windows, mut received) = (Windows::new(Unread::default()), 0);
        for _ in 0..milliseconds {
            advance(MILLISECOND).await;
            received += rate;
            if let Some(window) = windows.next(received, Some(round_trip)) {
                windows.announced(window);
            }
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
            if let Some(window) = windows.next(received, Some(50 * MILLISECOND)) {
                windows.announced(window);
            }
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
            if let Some(window) = windows.next(received, Some(TRIP)) {
                windows.announced(window);
            }
            sent *= 2;
        }
        // It brings no more: what was too much is taken back.
        for _ in 0..SETTLED {
            advance(TRIP).await;
            received += u64::from(sent / 2);
            if let Some(window) = windows.next(received, Some(TRIP)) {
                windows.announced(window);
            }
        }
        assert_eq!(windows.announced, sent / 4 * 3);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_round_trip_nothing_is_known() {
        let mut windows = Windows::new(Unread::default());
        for step in 1..100 {
            advance(MILLISECOND).await;
            assert_eq!(windows.next(step * 1_000_000, None), None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn while_much_lies_unread_little_more_may_come() {
        let unread = Unread::default();
        let mut windows = Windows::new(unread.clone());
        unread.add(MOST_UNREAD);
        assert_eq!(windows.next(0, None), None);
        unread.add(1);
        assert_eq!(windows.next(0, None), Some(CROWDED_WINDOW));
        // It is said until the peer was told.
        assert_eq!(windows.next(0, None), Some(CROWDED_WINDOW));
        windows.announced(CROWDED_WINDOW);
        unread.take(MOST_UNREAD / 2);
        assert_eq!(windows.next(0, None), None, "not yet");
        unread.take(1);
        assert_eq!(windows.next(0, None), Some(STREAM_WINDOW));
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
                let (requests, calling) = server_end(far).await.unwrap();
                tasks.spawn(async { drop(calling.await) });
                requests
            },
            client_end(near)
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
