//! Noticing that this computer has slept.
//!
//! While it sleeps, connections die on the other side of them, and the timers of this process stand
//! still. So on waking up everything looks as before for as long as timers need; but the wall clock
//! shows that time has gone by.

use std::convert::Infallible;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::sleep;

/// How often the clock is looked at. Coarse, because every look wakes an idle process.
const TICK: Duration = Duration::from_secs(2);

/// What is taken for a sleep. Less is a busy machine or a clock that was set right.
const NAP: Duration = Duration::from_secs(5);

/// The sleeps of this computer, for all who wait for something.
#[derive(Debug, Default)]
pub(crate) struct Sleeps {
    /// How long it has slept since the program began.
    total: watch::Sender<Duration>,
}

/// The sleeps from a moment on.
#[derive(Debug)]
pub(crate) struct Later {
    total: watch::Receiver<Duration>,
    known: Duration,
}

impl Sleeps {
    /// Looks at the wall clock for as long as it is polled, and tells everybody.
    pub(crate) async fn notice(&self, wall: impl Fn() -> SystemTime) -> Infallible {
        loop {
            let away = slept(&wall).await;
            self.tell(away);
        }
    }

    pub(crate) fn tell(&self, away: Duration) {
        self.total.send_modify(|total| *total += away);
    }

    /// Those after this call.
    pub(crate) fn later(&self) -> Later {
        let mut total = self.total.subscribe();
        let known = *total.borrow_and_update();
        Later { total, known }
    }
}

impl Later {
    /// Resolves when this computer has slept, and tells for how long. Cancel safety: safe.
    pub(crate) async fn next(&mut self) -> Duration {
        if self.total.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        let total = *self.total.borrow_and_update();
        let away = total.saturating_sub(self.known);
        self.known = total;
        away
    }
}

/// Resolves when this computer has slept, and tells for how long. A wall clock that was set forward
/// looks the same, and asking the server once too often does no harm.
async fn slept(wall: &impl Fn() -> SystemTime) -> Duration {
    loop {
        let before = wall();
        sleep(TICK).await;
        // A clock that was set back says nothing.
        let passed = wall().duration_since(before).unwrap_or_default();
        let away = passed.saturating_sub(TICK);
        if away >= NAP {
            return away;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::time::{Instant, timeout};

    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    #[tokio::test(start_paused = true)]
    async fn a_sleep_is_noticed_at_the_next_look() {
        let (start, away) = (Instant::now(), Cell::new(Duration::ZERO));
        let wall = || SystemTime::UNIX_EPOCH + HOUR + start.elapsed() + away.get();
        for _ in 0..3 {
            let awake = timeout(HOUR, slept(&wall)).await;
            assert!(awake.is_err(), "time that simply goes by is no sleep");
            away.set(away.get() + Duration::from_secs(4));
            let corrected = timeout(HOUR, slept(&wall)).await;
            assert!(corrected.is_err(), "nor is a correction of the clock");

            let wake_up = Instant::now();
            let sleep = async {
                sleep(Duration::from_millis(700)).await;
                away.set(away.get() + HOUR);
            };
            let (noticed, ()) = tokio::join!(slept(&wall), sleep);
            assert_eq!(noticed, HOUR);
            assert!(wake_up.elapsed() <= TICK);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_set_back_is_no_sleep() {
        let (start, back) = (Instant::now(), Cell::new(Duration::ZERO));
        let wall = || SystemTime::UNIX_EPOCH + 9 * HOUR + start.elapsed() - back.get();
        let set_back = async {
            sleep(Duration::from_secs(3)).await;
            back.set(HOUR);
        };
        let looked = timeout(HOUR, slept(&wall));
        let (noticed, ()) = tokio::join!(looked, set_back);
        assert!(noticed.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn everybody_is_told_once() {
        let (start, away) = (Instant::now(), Cell::new(Duration::ZERO));
        let wall = || SystemTime::UNIX_EPOCH + start.elapsed() + away.get();
        let sleeps = Sleeps::default();
        let (mut one, mut other) = (sleeps.later(), sleeps.later());
        let told = async {
            for nights in 1..4 {
                sleep(NAP).await;
                away.set(8 * HOUR * nights);
                assert_eq!(one.next().await, 8 * HOUR);
            }
            // Who has not asked meanwhile is told of all at once.
            assert_eq!(other.next().await, 24 * HOUR);
            let again = timeout(HOUR, sleeps.later().next()).await;
            assert!(again.is_err(), "what was before the question is no news");
        };
        tokio::select! {
            () = told => {}
            never = sleeps.notice(wall) => match never {},
        }
    }
}
