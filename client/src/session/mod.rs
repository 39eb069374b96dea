//! The client's part on an open link: it answers the control stream and hands every other stream to
//! `dispatch`.

mod control;
mod health;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use ngrnotok_common::link::open::{LinkError, client_end};
use ngrnotok_common::link::settings::OPEN_LIMIT;
use ngrnotok_common::protocol::control::ControlError;
use ngrnotok_common::protocol::resume::ChannelBinding;
use thiserror::Error;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::client::Shared;
use crate::connect::LinkStream;
use crate::dispatch::dispatch;

/// What open requests have to finish when the user stops the client: 10 s.
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
    /// The control stream broke.
    #[error("{0}")]
    Control(#[from] ControlError),
    /// The server did something else than the protocol says.
    #[error("the server {0}")]
    Protocol(&'static str),
    /// Another live session holds the name.
    #[error("{0}")]
    NameTaken(String),
    /// The server does not want this tunnel.
    #[error("{0}")]
    TunnelRefused(String),
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
        matches!(self, Self::TunnelRefused(_) | Self::TakenOver)
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
    /// Cancelled when another one has replaced it.
    pub(crate) retire: CancellationToken,
}

/// Serves on an open link until it ends, or until it is to end and open requests are done: `leave` is
/// cancelled, or the link is retired.
pub(crate) async fn serve(
    stream: LinkStream,
    client: &Shared,
    role: &Role,
    leave: &CancellationToken,
) -> Result<(), SessionError> {
    let binding = ChannelBinding::of(stream.get_ref().get_ref().1)
        .ok_or(SessionError::Protocol("did not finish TLS"))?;
    let silent = |_| SessionError::Protocol("did not open the control stream");
    let mut link = timeout(OPEN_LIMIT, client_end(stream))
        .await
        .map_err(silent)??;
    let (request, reply) = timeout(OPEN_LIMIT, link.accept())
        .await
        .map_err(silent)??
        .ok_or(SessionError::Protocol("closed the link before it was up"))?;
    let latency = link.latency();
    let _up = client.link_is_up();
    let context = control::Context {
        client,
        role,
        binding,
        latency,
    };
    let mut control = pin!(control::converse(request, reply, context, leave));
    let mut talking = true;
    let mut limit = pin!(sleep_until(Instant::now() + LEAVE_LIMIT));
    let mut leaving = false;
    loop {
        tokio::select! {
            // Requests first: there is a bounded number of them, and the rest is rare.
            biased;
            incoming = link.accept() => match incoming? {
                Some((request, reply)) => {
                    let tunnels = Arc::clone(&client.tunnels);
                    let witness = client.witness.clone();
                    client.tasks.spawn(dispatch(tunnels, witness, request, reply));
                }
                None => return Ok(()),
            },
            // It ends when the server ends it, or after our goodbye.
            ended = &mut control, if talking => {
                talking = false;
                match ended {
                    Ok(()) => link.drain(),
                    // The link itself knows better why it broke.
                    Err(SessionError::Control(ControlError::Link(_)) | SessionError::Link(_)) => {}
                    Err(refusal @ (SessionError::NameTaken(_) | SessionError::TunnelRefused(_))) => {
                        // Our goodbye, if there is one, has to go out.
                        link.drain();
                        let end = async { while let Ok(Some(_)) = link.accept().await {} };
                        let _ = timeout(FAREWELL, end).await;
                        return Err(refusal);
                    }
                    Err(error) => return Err(error),
                }
            }
            () = leave.cancelled(), if !leaving => {
                leaving = true;
                limit.as_mut().reset(Instant::now() + LEAVE_LIMIT);
            }
            () = &mut limit, if leaving => {
                debug!("open requests are cut off at the limit");
                link.abort();
                return Ok(());
            }
        }
    }
}
