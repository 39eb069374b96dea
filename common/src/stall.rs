//! A deadline for a peer that makes no progress.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// A timer that runs while something waits for its peer, and starts anew with each step that the peer makes.
///
/// It costs nothing before the first wait. Progress does not move the timer: when it fires, the current wait
/// tells whether it is time, so a stream that moves fast costs a clock read for each wait and nothing more.
#[derive(Debug)]
pub struct StallTimer {
    limit: Duration,
    waiting_since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl StallTimer {
    /// A timer for waits of at most `limit`.
    pub fn new(limit: Duration) -> Self {
        Self {
            limit,
            waiting_since: None,
            timer: None,
        }
    }

    /// The peer has moved: the next wait has the whole limit.
    pub fn progress(&mut self) {
        self.waiting_since = None;
    }

    /// Ready when the current wait has lasted for the limit. To be polled whenever what is awaited is pending.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        let deadline = since + self.limit;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        loop {
            ready!(timer.as_mut().poll(cx));
            if timer.deadline() >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::time::{advance, timeout};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);
    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn only_a_wait_without_progress_comes_to_its_end() {
        let mut stall = StallTimer::new(LIMIT);
        for _ in 0..5 {
            let wait = timeout(LIMIT - SECOND, poll_fn(|cx| stall.poll(cx)));
            assert!(wait.await.is_err(), "there was progress");
            stall.progress();
            // Nobody waits meanwhile.
            advance(LIMIT * 10).await;
        }
        let began = Instant::now();
        poll_fn(|cx| stall.poll(cx)).await;
        assert_eq!(began.elapsed(), LIMIT);
    }
}
