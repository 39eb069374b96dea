//! What state the client is in: one value that lines, panel and API all watch.

use std::time::Duration;

use ngrnotok_common::hostname::Name;
use ngrnotok_common::id::SessionId;
use ngrnotok_common::link::ping::Latency;
use tokio::sync::watch;

/// The client's state as a whole.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// Where the session stands.
    pub state: State,
    /// What is known of the session while there is one.
    pub session: Option<SessionStatus>,
    /// The tunnels that visitors can reach now.
    pub online: Vec<OnlineTunnel>,
}

/// Where the session stands. A closed list: whatever shows it can show all of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum State {
    /// On the way to the server for the first time.
    #[default]
    Connecting,
    /// Visitors can come.
    Online,
    /// The server asked its clients to leave; open requests go on.
    Draining,
    /// The link is lost; the next try comes after `retry_in`.
    Reconnecting {
        /// Why, one line.
        reason: String,
        /// The wait before the next try.
        retry_in: Duration,
    },
    /// Told to stop; open requests finish.
    Leaving,
}

/// What the server said of the session.
#[derive(Debug, Clone)]
pub struct SessionStatus {
    /// The id, for the server's log.
    pub id: SessionId,
    /// On whose behalf.
    pub account: String,
    /// The server's version.
    pub server_version: String,
    /// The round trip of the link.
    pub latency: Latency,
}

/// A tunnel that visitors can reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnlineTunnel {
    /// Its name.
    pub name: Name,
    /// Where visitors go.
    pub url: String,
    /// Where their requests end, `http://localhost:3000`.
    pub target: String,
}

/// The writing side; the receivers see the newest state and may miss what lay between.
#[derive(Debug, Clone)]
pub(crate) struct Reporter(watch::Sender<Status>);

impl Reporter {
    pub(crate) fn new() -> (Self, watch::Receiver<Status>) {
        let (sender, receiver) = watch::channel(Status::default());
        (Self(sender), receiver)
    }

    pub(crate) fn state(&self, state: State) {
        self.0.send_modify(|status| status.state = state);
    }

    pub(crate) fn welcome(&self, session: SessionStatus) {
        self.0.send_modify(|status| status.session = Some(session));
    }

    pub(crate) fn online(&self, tunnels: Vec<OnlineTunnel>) {
        self.0.send_modify(|status| {
            status.state = State::Online;
            status.online = tunnels;
        });
    }

    /// The link is gone, and with it everything that was said on it.
    pub(crate) fn lost(&self, state: State) {
        self.0.send_modify(|status| {
            *status = Status {
                state,
                ..Status::default()
            };
        });
    }

    pub(crate) fn session(&self) -> Option<SessionId> {
        self.0.borrow().session.as_ref().map(|session| session.id)
    }

    pub(crate) fn is_online(&self) -> bool {
        !self.0.borrow().online.is_empty()
    }
}
