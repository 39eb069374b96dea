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
}

impl Pace {
    /// Both ends of a link.
    pub const LINK: Self = Self {
        every: PING_EVERY,
        limit: PING_LIMIT,
    };
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
    latency: Latency,
}

impl Heartbeat {
    /// The first PING goes out at once, so that there is a latency to show.
    pub(super) fn new(pings: PingPong, pace: Pace) -> Self {
        Self {
            pings,
            pace,
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
            sent: None,
            latency: Latency::default(),
        }
    }

    pub(super) fn latency(&self) -> Latency {
        self.latency.clone()
    }

    /// Never ready while the peer answers.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Stopped> {
        loop {
            if let Some(sent) = self.sent {
                match self.pings.poll_pong(cx) {
                    Poll::Ready(Ok(_)) => {
                        self.latency.set(sent.elapsed());
                        self.sent = None;
                        self.timer.as_mut().reset(Instant::now() + self.pace.every);
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
            self.timer.as_mut().reset(now + self.pace.limit);
        }
    }
}
