//! Noticing that the other end is gone.
//!
//! TCP alone does not: after a sleep, a lost NAT entry or a pulled cable both ends believe in the
//! connection for minutes. So each end sends HTTP/2 PINGs, idle or not, and measures the round trip
//! on the way.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep};

use super::settings::{PING_EVERY, PING_LIMIT};

/// The last measured round trip of a link; cheap to clone and to read from any thread.
#[derive(Debug, Clone, Default)]
pub struct Latency(Arc<AtomicU64>);

impl Latency {
    /// The last round trip, `None` before the first PING was answered.
    pub fn last(&self) -> Option<Duration> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            micros => Some(Duration::from_micros(micros)),
        }
    }

    fn set(&self, round_trip: Duration) {
        let micros = u64::try_from(round_trip.as_micros()).unwrap_or(u64::MAX);
        self.0.store(micros.max(1), Ordering::Relaxed);
    }
}

/// How often PINGs go out and how long an answer may take.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// From an answer to the next PING.
    pub every: Duration,
    /// From a PING to its answer.
    pub limit: Duration,
    /// PINGs that follow one another at once when the connection is new, for whoever wants to know its round
    /// trip. With none of them the first PING waits for its time.
    pub at_once: u32,
}

/// 3 PINGs at once: the first answer comes late because much else happens then, and whoever wants to know the
/// length of the link should not wait for the next.
const LINK_AT_ONCE: u32 = 3;

impl Pace {
    /// Both ends of a link.
    pub const LINK: Self = Self {
        every: PING_EVERY,
        limit: PING_LIMIT,
        at_once: LINK_AT_ONCE,
    };
}

impl Pace {
    /// How long the next PING waits after so many answers.
    fn rest(self, answers: u32) -> Duration {
        match answers < self.at_once {
            true => Duration::ZERO,
            false => self.every,
        }
    }
}

/// Why the heartbeat stopped.
#[derive(Debug)]
pub(super) enum Stopped {
    /// No answer within the limit.
    Silent,
    /// The connection is over anyway.
    Closed(h2::Error),
}

/// Sends PINGs and waits for their answers, as part of the task that drives the connection.
#[derive(Debug)]
pub(super) struct Heartbeat {
    pings: PingPong,
    pace: Pace,
    /// When a PING is out: its answer is due. Otherwise: the next PING is.
    timer: Pin<Box<Sleep>>,
    sent: Option<Instant>,
    /// What the next PING has to be answered, if not as long as usual.
    probing: Option<Duration>,
    latency: Latency,
    answers: u32,
    shortest: Option<Duration>,
}

impl Heartbeat {
    pub(super) fn new(pings: PingPong, pace: Pace) -> Self {
        Self {
            pings,
            pace,
            timer: Box::pin(tokio::time::sleep(pace.rest(0))),
            sent: None,
            probing: None,
            latency: Latency::default(),
            answers: 0,
            shortest: None,
        }
    }

    /// The shortest round trip so far: what the link takes when nothing waits on it.
    pub(super) fn shortest(&self) -> Option<Duration> {
        self.shortest
    }

    pub(super) fn latency(&self) -> Latency {
        self.latency.clone()
    }

    /// Asks at once whether the peer is still there, and gives it so long to answer.
    pub(super) fn probe(&mut self, limit: Duration) {
        let now = Instant::now();
        let due = now + limit;
        if self.sent.is_none() {
            self.probing = Some(limit);
            self.timer.as_mut().reset(now);
        } else if due < self.timer.deadline() {
            // There is one PING at a time, so the one that is out has to answer for it.
            self.timer.as_mut().reset(due);
        }
    }

    /// Never ready while the peer answers.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Stopped> {
        loop {
            if let Some(sent) = self.sent {
                match self.pings.poll_pong(cx) {
                    Poll::Ready(Ok(_)) => {
                        let now = Instant::now();
                        let round_trip = now - sent;
                        self.latency.set(round_trip);
                        self.shortest = Some(self.shortest.unwrap_or(round_trip).min(round_trip));
                        self.sent = None;
                        self.answers = self.answers.saturating_add(1);
                        let rest = self.pace.rest(self.answers);
                        self.timer.as_mut().reset(now + rest);
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Stopped::Closed(error)),
                    Poll::Pending => {
                        ready!(self.timer.as_mut().poll(cx));
                        return Poll::Ready(Stopped::Silent);
                    }
                }
            }
            ready!(self.timer.as_mut().poll(cx));
            if let Err(error) = self.pings.send_ping(Ping::opaque()) {
                return Poll::Ready(Stopped::Closed(error));
            }
            let now = Instant::now();
            self.sent = Some(now);
            let limit = self.probing.take().unwrap_or(self.pace.limit);
            self.timer.as_mut().reset(now + limit);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::DuplexStream;
    use tokio::time::{sleep, timeout};

    use super::super::calling::{Calling, Requests};
    use super::super::open::{LinkError, client_end, server_end};
    use super::super::serving::Serving;
    use super::super::windows::UnreadTotal;
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Both ends of a link on which nobody says anything, and the handle that keeps it open.
    async fn link() -> (Serving<DuplexStream>, Calling<DuplexStream>, Requests) {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let (requests, mut server) = server_end(far, UnreadTotal::default()).await.unwrap();
        let client = tokio::select! {
            client = client_end(near, UnreadTotal::default()) => client.unwrap(),
            ended = &mut server => panic!("{ended:?}"),
        };
        (client, server, requests)
    }

    /// Lets time go by while the client works, and the server too if it `lives`.
    async fn pass(
        client: &mut Serving<DuplexStream>,
        server: &mut Calling<DuplexStream>,
        lives: bool,
        time: Duration,
    ) -> Option<LinkError> {
        tokio::select! {
            ended = client.accept() => Some(ended.expect_err("nobody closed it")),
            ended = server, if lives => panic!("{ended:?}"),
            () = sleep(time) => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_noticed_within_8_s_and_by_a_probe_within_2() {
        for (probed, earliest, latest) in [(false, 4, 8), (true, 2, 2)] {
            // Wherever the heartbeat stands.
            for quarter in 0..32 {
                let (mut client, mut server, _open) = link().await;
                let alive = SECOND * quarter / 4 + Duration::from_millis(1);
                assert!(pass(&mut client, &mut server, true, alive).await.is_none());
                if probed {
                    client.probe();
                }
                let silent = Instant::now();
                let found = pass(&mut client, &mut server, false, SECOND * 60).await;
                assert!(matches!(found, Some(LinkError::Silent)), "{found:?}");
                let took = silent.elapsed().as_secs_f64().round();
                let due = f64::from(earliest)..=f64::from(latest);
                assert!(due.contains(&took), "{took} s after {alive:?}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_server_s_end_can_be_asked_as_well() {
        for probed in [false, true] {
            let (mut client, mut server, _open) = link().await;
            assert!(pass(&mut client, &mut server, true, SECOND).await.is_none());
            if probed {
                server.probe();
            }
            let silent = Instant::now();
            let ended = server.await;
            assert!(matches!(ended, Err(LinkError::Silent)), "{ended:?}");
            let due = if probed { 4 } else { 7 };
            assert_eq!(silent.elapsed().as_secs(), due);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_of_a_link_that_lives_changes_nothing() {
        let (mut client, mut server, _open) = link().await;
        for _ in 0..50 {
            client.probe();
            let found = pass(&mut client, &mut server, true, SECOND / 3).await;
            assert!(found.is_none(), "{found:?}");
        }
        // The answer to a PING after a probe has the usual time again.
        let found = pass(&mut client, &mut server, true, SECOND * 5).await;
        assert!(found.is_none(), "{found:?}");
        let ended = timeout(SECOND * 3, client.accept()).await;
        assert!(ended.is_err(), "{ended:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_shortens_the_time_of_the_ping_that_is_out() {
        let (mut client, mut server, _open) = link().await;
        assert!(pass(&mut client, &mut server, true, SECOND).await.is_none());
        // A PING goes out 4 s after the last answer, and stays without one.
        let silent = pass(&mut client, &mut server, false, SECOND * 4).await;
        assert!(silent.is_none(), "{silent:?}");
        client.probe();
        let asked = Instant::now();
        let found = pass(&mut client, &mut server, false, SECOND * 60).await;
        assert!(matches!(found, Some(LinkError::Silent)), "{found:?}");
        assert_eq!(asked.elapsed().as_secs(), 2);
    }
}
