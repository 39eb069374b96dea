//! What follows from the end of a link: another try and when, or the end of the client.

use std::time::Duration;

use crate::backoff::Backoff;
use crate::client::ClientError;
use crate::connect::ConnectError;
use crate::session::SessionError;

/// A link that served this long was a good one: the next loss starts with short waits again, however long the
/// ones before it were and however often the server has ended. Not after no time at all, for a server that
/// takes every link and lets it go again does that in good order, too.
const GOOD_LINK: Duration = Duration::from_secs(2);

/// What came of the tries so far.
#[derive(Debug)]
pub(crate) struct Course {
    backoff: Backoff,
    /// Failures are for us to mend, and not for somebody who watches the first try.
    under_way: bool,
}

/// The time to the next try.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pause {
    pub(crate) whole: Duration,
    /// The part of it that the server asked for.
    pub(crate) asked: Duration,
}

impl Course {
    /// Only the first link's first try is watched.
    pub(crate) fn new(is_first: bool) -> Self {
        Self {
            backoff: Backoff::default(),
            under_way: !is_first,
        }
    }

    /// Whether a failure is for us to mend.
    pub(crate) fn is_under_way(&self) -> bool {
        self.under_way
    }

    /// What follows from the end of a link that served for so long: a pause, or the end.
    pub(crate) fn after(
        &mut self,
        ended: Result<(), Lost>,
        served: Option<Duration>,
        random: u32,
    ) -> Result<Pause, ClientError> {
        self.under_way |= served.is_some();
        let asked = match ended {
            Ok(()) => Duration::ZERO,
            Err(lost) if lost.is_permanent() || !self.under_way => return Err(lost.into()),
            Err(lost) => lost.asks_for(),
        };
        if served.is_some_and(|served| served >= GOOD_LINK) {
            self.backoff.reset();
        }
        let whole = self.backoff.next(random, asked);
        Ok(Pause { whole, asked })
    }

    /// After a sleep the network may be another one, and what failed before it says nothing.
    pub(crate) fn woke(&mut self) {
        self.backoff.reset();
    }
}

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Lost {
    #[error("{0}")]
    Connect(#[from] ConnectError),
    #[error("{0}")]
    Session(#[from] SessionError),
}

impl Lost {
    fn is_permanent(&self) -> bool {
        match self {
            Self::Connect(error) => error.is_permanent(),
            Self::Session(error) => error.is_permanent(),
        }
    }

    /// The time that the server wants to be left alone for.
    fn asks_for(&self) -> Duration {
        match self {
            Self::Connect(ConnectError::Refused { retry_after, .. }) => *retry_after,
            _ => Duration::ZERO,
        }
    }
}

impl From<Lost> for ClientError {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::Connect(ConnectError::Refused { problem, .. }) => Self::Refused(problem),
            Lost::Connect(error) => Self::Unreachable(error),
            Lost::Session(SessionError::NameTaken(message) | SessionError::NameKept(message)) => {
                Self::NameTaken(message)
            }
            Lost::Session(SessionError::NameForbidden(message)) => Self::NameForbidden(message),
            Lost::Session(SessionError::TunnelRefused(message)) => Self::TunnelRefused(message),
            Lost::Session(SessionError::Stopped { code, message }) => {
                Self::Stopped { code, message }
            }
            Lost::Session(SessionError::TakenOver) => Self::TakenOver,
            Lost::Session(error) => Self::Session(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use http::StatusCode;
    use ngrnotok_common::link::open::LinkError;
    use ngrnotok_common::protocol::handshake::Problem;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn broke() -> Result<(), Lost> {
        Err(SessionError::Link(LinkError::Silent).into())
    }

    fn unreachable() -> Result<(), Lost> {
        let source = io::ErrorKind::ConnectionRefused.into();
        let server = "tunnel.test:443".to_owned();
        Err(ConnectError::Dial { server, source }.into())
    }

    fn refused(status: u16, code: &str, retry_after: Duration) -> Result<(), Lost> {
        let status = StatusCode::from_u16(status).unwrap();
        let problem = Problem::new(status, code, "no");
        let refused = ConnectError::Refused {
            problem,
            retry_after,
        };
        Err(refused.into())
    }

    /// The longest pauses after links that end so, each of which has served for so long.
    fn pauses<const N: usize>(
        course: &mut Course,
        end: fn() -> Result<(), Lost>,
        served: Option<Duration>,
    ) -> [u128; N] {
        std::array::from_fn(|_| {
            let pause = course.after(end(), served, u32::MAX).unwrap();
            pause.whole.as_millis()
        })
    }

    /// A course with a good session behind it.
    fn well_begun() -> Course {
        let mut course = Course::new(true);
        course.after(broke(), Some(GOOD_LINK), 0).unwrap();
        course.backoff.reset();
        course
    }

    const GROWING: [u128; 8] = [200, 400, 800, 1600, 3200, 6400, 12_800, 15_000];

    #[test]
    fn a_server_that_takes_every_link_and_loses_it_is_not_hammered() {
        // Not even if it does so in good order.
        for end in [broke, || Ok(())] {
            for held in [Duration::ZERO, SECOND] {
                let mut course = Course::new(true);
                assert_eq!(pauses(&mut course, end, Some(held)), GROWING, "{held:?}");
            }
        }
    }

    #[test]
    fn after_a_link_that_held_the_next_try_is_prompt() {
        let mut course = well_begun();
        // Twenty crashes of a server that is soon back.
        for _ in 0..20 {
            pauses::<2>(&mut course, unreachable, None);
            assert_eq!(pauses(&mut course, broke, Some(SECOND * 2)), [200]);
        }
        // However long it was away before, and whether or not it says when it goes.
        for end in [broke, || Ok(())] {
            pauses::<8>(&mut course, unreachable, None);
            assert_eq!(pauses(&mut course, end, Some(SECOND * 2)), [200; 3]);
        }
    }

    #[test]
    fn tries_without_a_session_never_make_the_next_one_sooner() {
        // However long each of them takes, as with a firewall that swallows everything.
        let mut course = well_begun();
        assert_eq!(pauses(&mut course, unreachable, None), GROWING);
    }

    #[test]
    fn a_server_that_asks_for_time_gets_it() {
        for status in [429, 503] {
            let mut course = well_begun();
            let asked = SECOND * 60;
            for random in [0, u32::MAX / 2, u32::MAX] {
                let end = refused(status, Problem::UNAVAILABLE, asked);
                let pause = course.after(end, None, random).unwrap();
                assert_eq!(pause.asked, asked);
                assert!((asked..=asked * 5 / 4).contains(&pause.whole), "{pause:?}");
            }
        }
    }

    #[test]
    fn what_waiting_cannot_change_ends_the_client() {
        for (status, code) in [
            (401, Problem::TOKEN_MISSING),
            (403, Problem::TOKEN_REFUSED),
            (426, Problem::VERSION),
        ] {
            let end = refused(status, code, Duration::ZERO);
            let ended = well_begun().after(end, None, 0).unwrap_err();
            assert!(matches!(ended, ClientError::Refused(_)), "{ended:?}");
        }
        let end = Err(SessionError::TunnelRefused("no".into()).into());
        let ended = well_begun().after(end, Some(SECOND), 0).unwrap_err();
        assert!(matches!(ended, ClientError::TunnelRefused(_)), "{ended:?}");
        // A name may be our own from before the loss.
        let end = Err(SessionError::NameTaken("taken".into()).into());
        well_begun().after(end, None, 0).unwrap();
        // Between us and a server that restarts there may be others with an opinion.
        for status in [403, 404, 502, 503, 504] {
            let end = refused(status, Problem::UNKNOWN, Duration::ZERO);
            well_begun().after(end, None, 0).unwrap();
        }
    }

    #[test]
    fn the_first_try_is_for_somebody_who_watches() {
        let ended = Course::new(true).after(unreachable(), None, 0);
        assert!(matches!(ended, Err(ClientError::Unreachable(_))));
        let busy = refused(503, Problem::UNAVAILABLE, SECOND);
        let ended = Course::new(true).after(busy, None, 0);
        assert!(matches!(ended, Err(ClientError::Refused(_))));
        // Once it has been online, everything is worth another try.
        Course::new(true).after(broke(), Some(SECOND), 0).unwrap();
    }
}
