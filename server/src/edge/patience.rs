//! The one timer of a visitor's connection.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

use super::activity::{Activity, HEAD_LIMIT, Verdict};

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
