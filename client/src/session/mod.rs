//! The client's part on an open link: it answers the control stream and hands every other stream to
//! `dispatch`.

mod binds;
mod control;
mod health;

use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ngrnotok_common::link::io::Hold;
use ngrnotok_common::link::open::{LinkError, client_end};
use ngrnotok_common::link::settings::OPEN_LIMIT;
use ngrnotok_common::protocol::control::{ControlError, StopCode};
use ngrnotok_common::protocol::resume::ChannelBinding;
use thiserror::Error;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use self::control::Farewell;
use crate::client::Shared;
use crate::dispatch::dispatch;

/// What open requests have to finish when the session is over: 10 s.
pub(crate) const LEAVE_LIMIT: Duration = Duration::from_secs(10);

/// What the rest has, once the link is closed: 1 s.
pub(crate) const FAREWELL: Duration = Duration::from_secs(1);

/// Why a session ended.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The link broke.
    #[error("{0}")]
    Link(#[from] LinkError),
    /// The connection ended, and nobody had said that it would.
    #[error("the connection to the server broke off")]
    BrokenOff,
    /// The control stream broke.
    #[error("{0}")]
    Control(#[from] ControlError),
    /// The server did something else than the protocol says.
    #[error("the server {0}")]
    Protocol(&'static str),
    /// Another live session holds the name.
    #[error("{0}")]
    NameTaken(String),
    /// Our token is not for this name.
    #[error("{0}")]
    NameForbidden(String),
    /// The name is kept for another account.
    #[error("{0}")]
    NameKept(String),
    /// The server does not want this tunnel.
    #[error("{0}")]
    TunnelRefused(String),
    /// The server cannot say now whether it wants this tunnel.
    #[error("{0}")]
    Unavailable(String),
    /// Our token has as many links as it may.
    #[error("{0}")]
    TooManyLinks(String),
    /// The server has ended the session for good.
    #[error("the server has ended the session: {message}")]
    Stopped {
        /// Why.
        code: StopCode,
        /// Why, and what to do, in the server's words.
        message: String,
    },
    /// The session that this link was to join is gone.
    #[error("the server has no session to join")]
    NoSession,
    /// Another client has proved to be the owner of our session.
    #[error("another client has taken this session over")]
    TakenOver,
}

impl SessionError {
    /// Whether trying again cannot help. A name that is taken now may be our own from before a loss.
    pub(crate) fn is_permanent(&self) -> bool {
        matches!(
            self,
            Self::NameForbidden(_)
                | Self::NameKept(_)
                | Self::TunnelRefused(_)
                | Self::Stopped { .. }
                | Self::TakenOver
        )
    }
}

impl From<h2::Error> for SessionError {
    fn from(error: h2::Error) -> Self {
        Self::Link(error.into())
    }
}

/// What one link is for.
#[derive(Debug, Clone)]
pub(crate) struct Role {
    /// It joins the links that the session has; otherwise it takes their place, or opens a session.
    pub(crate) joins: bool,
    /// It asks for the names.
    pub(crate) binds: bool,
    /// No tunnel was ever online: a refusal ends the client.
    pub(crate) is_first_try: bool,
    /// Retires the link that this one is to replace.
    pub(crate) replaces: Option<CancellationToken>,
    /// Cancelled by this link when the server wants it replaced.
    pub(crate) wants_another: CancellationToken,
    /// Cancelled when another one has replaced it, or there is no room for both.
    pub(crate) retire: CancellationToken,
    /// Since when requests can come on it.
    pub(crate) since: Arc<OnceLock<Instant>>,
}

impl Role {
    /// From now on requests can come.
    fn serves(&self) {
        // The second time is a server that says everything twice.
        let _ = self.since.set(Instant::now());
    }
}

/// The server lets this link go, as it may say more than once. The news is that of the link that asks for
/// the names; what becomes of the others is seen by nobody.
fn wants_another(client: &Shared, role: &Role) {
    if role.binds && !role.wants_another.is_cancelled() {
        client.reporter.draining();
    }
    role.wants_another.cancel();
}

/// Serves on an open link until it ends, or until it is to end and open requests are done: `leave` is
/// cancelled, or the link is retired. `binding` is that of the TLS connection beneath.
pub(crate) async fn serve(
    stream: impl Hold,
    binding: ChannelBinding,
    client: &Arc<Shared>,
    role: &Role,
    leave: &CancellationToken,
) -> Result<(), SessionError> {
    let silent = |_| SessionError::Protocol("did not open the control stream");
    let mut link = timeout(OPEN_LIMIT, client_end(stream, client.unread.clone()))
        .await
        .map_err(silent)??;
    let (request, reply) = timeout(OPEN_LIMIT, link.accept())
        .await
        .map_err(silent)??
        .ok_or(SessionError::Protocol("closed the link before it was up"))?;
    let latency = link.latency();
    let round_trip = latency.clone();
    let _up = client.link_is_up();
    let context = control::Context {
        client,
        role,
        binding,
        latency,
    };
    let mut control = pin!(control::converse(request, reply, context, leave));
    let (mut talking, mut over) = (true, false);
    // For open requests to finish, once they have to.
    let mut limit = pin!(sleep_until(Instant::now()));
    let mut closing = false;
    let mut sleeps = client.sleeps.later();
    loop {
        tokio::select! {
            // Requests first: there is a bounded number of them, and the rest is rare.
            biased;
            incoming = link.accept() => match incoming {
                Ok(Some((request, reply))) => {
                    client.tasks.spawn(dispatch(client, request, reply, round_trip.last()));
                }
                // Any end of the connection is a good one to HTTP/2; the conversation knows better.
                Ok(None) if talking => {
                    let farewell = farewell(control.await)?;
                    return farewell.map(drop).ok_or(SessionError::BrokenOff);
                }
                // How a link ends after its conversation is no news.
                _ if over => return Ok(()),
                Ok(None) => return Err(SessionError::BrokenOff),
                Err(error) => return Err(error.into()),
            },
            ended = &mut control, if talking => {
                talking = false;
                if let Err(
                    SessionError::NameTaken(_)
                    | SessionError::NameForbidden(_)
                    | SessionError::NameKept(_)
                    | SessionError::TunnelRefused(_)
                    | SessionError::Unavailable(_),
                ) = ended
                {
                    // Our goodbye, if there is one, has to go out.
                    link.drain();
                    let end = async { while let Ok(Some(_)) = link.accept().await {} };
                    let _ = timeout(FAREWELL, end).await;
                }
                let farewell = farewell(ended)?;
                over = farewell.is_some();
                link.drain();
                // What is open finishes. A server that forgets to close the link does not keep us here.
                if farewell == Some(Farewell::Theirs) {
                    wants_another(client, role);
                    closing = true;
                    limit.as_mut().reset(Instant::now() + LEAVE_LIMIT);
                }
            }
            () = leave.cancelled(), if !closing => {
                closing = true;
                limit.as_mut().reset(Instant::now() + LEAVE_LIMIT);
            }
            () = &mut limit, if closing => {
                debug!("open requests are cut off at the limit");
                link.abort(h2::Reason::CANCEL);
                return Ok(());
            }
            away = sleeps.next() => {
                info!(?away, "this computer has slept; asking whether the server is still there");
                link.probe();
            }
        }
    }
}

/// Who said goodbye; `None` if the link has broken, which knows better why.
fn farewell(ended: Result<Farewell, SessionError>) -> Result<Option<Farewell>, SessionError> {
    match ended {
        Ok(farewell) => Ok(Some(farewell)),
        Err(SessionError::Control(ControlError::Link(error))) => {
            Ok(error.is_reset().then_some(Farewell::Theirs))
        }
        Err(SessionError::Link(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
