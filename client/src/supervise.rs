//! Keeping a session: connect, serve, and when a link is lost or wants to be replaced, again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, info};

use crate::backoff::{Backoff, random};
use crate::client::{ClientError, Shared};
use crate::connect::ConnectError;
use crate::session::{self, Role, SessionError};
use crate::status::State;

/// A link that held this long was a good one: the next loss starts with short waits again.
const GOOD_LINK: Duration = Duration::from_secs(30);

/// How long a further link waits for the first one to open a session: 5 s, and then it looks again.
const SESSION_WAIT: Duration = Duration::from_secs(5);

/// Serves until `shutdown` resolves. Ends with an error when trying again cannot help, or when the
/// very first try fails: somebody is watching then and can mend it.
pub(crate) async fn run(
    client: &Arc<Shared>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ClientError> {
    let leave = CancellationToken::new();
    let mut places = JoinSet::new();
    for place in 0..client.links.get() {
        let keeper = Keeper {
            client: Arc::clone(client),
            is_first: place == 0,
            leave: leave.clone(),
            finishing: JoinSet::new(),
        };
        places.spawn(keeper.keep());
    }
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            Some(ended) = places.join_next() => {
                // A place ends by itself only when nothing can be done.
                if let Ok(Err(error)) = ended {
                    return Err(error);
                }
                if places.is_empty() {
                    client.comeback.forget();
                    return Ok(());
                }
            }
            () = &mut shutdown, if !leave.is_cancelled() => {
                client.reporter.state(State::Leaving);
                leave.cancel();
            }
        }
    }
}

/// Keeps one link up. The first one opens the session, further ones join it.
struct Keeper {
    client: Arc<Shared>,
    is_first: bool,
    leave: CancellationToken,
    /// Links that have been replaced and finish what is open on them.
    finishing: JoinSet<()>,
}

impl Keeper {
    async fn keep(mut self) -> Result<(), ClientError> {
        let mut backoff = Backoff::default();
        let mut was_online = false;
        let mut replaced: Option<CancellationToken> = None;
        let mut nothing_to_join = false;
        let mut session = self.client.comeback.generation();
        loop {
            if !self.is_first && !self.is_there(&mut session, nothing_to_join).await {
                return self.finish().await;
            }
            let began = Instant::now();
            // A first link that is lost while others live comes back to them.
            let comes_back = self.client.links_up() > 0 && replaced.is_none();
            let role = Role {
                joins: !self.is_first || comes_back && !nothing_to_join,
                binds: self.is_first,
                is_first_try: !was_online,
                replaces: replaced.take(),
                wants_another: CancellationToken::new(),
                retire: CancellationToken::new(),
            };
            let link =
                connect_and_serve(Arc::clone(&self.client), role.clone(), self.leave.clone());
            let mut link = AbortOnDropHandle::new(self.client.tasks.spawn(link));
            let ended = tokio::select! {
                ended = &mut link => ended,
                () = role.wants_another.cancelled() => {
                    // Make before break: this one goes on until the next one is up, and longer.
                    self.finishing.spawn(async move { drop(link.await) });
                    replaced = Some(role.retire);
                    sleep(Backoff::at_once(random())).await;
                    continue;
                }
            };
            let ended =
                ended.unwrap_or_else(|_| Err(SessionError::Protocol("made us panic").into()));
            if self.leave.is_cancelled() {
                return self.finish().await;
            }
            was_online |= self.client.reporter.is_online();
            nothing_to_join = matches!(ended, Err(Lost::Session(SessionError::NoSession)));
            let reason = match ended {
                Ok(()) => "the server closed the link".to_owned(),
                Err(lost) => {
                    info!(error = %lost, "no link");
                    if lost.is_permanent() || !was_online {
                        return Err(lost.into());
                    }
                    lost.to_string()
                }
            };
            if began.elapsed() > GOOD_LINK {
                backoff.reset();
            }
            let retry_in = backoff.next(random());
            if self.client.links_up() == 0 {
                let reporter = &self.client.reporter;
                reporter.lost(State::Reconnecting { reason, retry_in });
            }
            tokio::select! {
                () = sleep(retry_in) => {}
                () = self.leave.cancelled() => return self.finish().await,
            }
        }
    }

    /// Waits for a session to join, and for a newer one if the last was gone; false when the client
    /// leaves instead.
    async fn is_there(&self, session: &mut watch::Receiver<u64>, last_was_gone: bool) -> bool {
        let known = if last_was_gone { *session.borrow() } else { 0 };
        let newer = session.wait_for(|generation| *generation > known);
        tokio::select! {
            // If none comes it may be the old one that lives again.
            _ = timeout(SESSION_WAIT, newer) => true,
            () = self.leave.cancelled() => false,
        }
    }

    /// The end that the user wanted, once everything is done.
    async fn finish(mut self) -> Result<(), ClientError> {
        while self.finishing.join_next().await.is_some() {}
        Ok(())
    }
}

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
enum Lost {
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
}

impl From<Lost> for ClientError {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::Connect(ConnectError::Refused(problem)) => Self::Refused(problem),
            Lost::Connect(error) => Self::Unreachable(error),
            Lost::Session(SessionError::NameTaken(message)) => Self::NameTaken(message),
            Lost::Session(SessionError::TunnelRefused(message)) => Self::TunnelRefused(message),
            Lost::Session(SessionError::TakenOver) => Self::TakenOver,
            Lost::Session(error) => Self::Session(error),
        }
    }
}

async fn connect_and_serve(
    client: Arc<Shared>,
    role: Role,
    leave: CancellationToken,
) -> Result<(), Lost> {
    let stream = tokio::select! {
        stream = client.connector.connect(client.token.as_ref()) => stream?,
        () = leave.cancelled() => return Ok(()),
    };
    debug!("link open");
    Ok(session::serve(stream, &client, &role, &leave).await?)
}
