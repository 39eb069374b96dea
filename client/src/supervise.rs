//! Keeping a session: connect, serve, and when the link is lost, again.

use std::pin::pin;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::backoff::{Backoff, random};
use crate::client::{ClientError, Shared};
use crate::connect::ConnectError;
use crate::session::{self, SessionError};
use crate::status::State;

/// A link that held this long was a good one: the next loss starts with short waits again.
const GOOD_LINK: std::time::Duration = std::time::Duration::from_secs(30);

/// Serves until `shutdown` resolves. Ends with an error when trying again cannot help, or when the
/// very first try fails: somebody is watching then and can mend it.
pub(crate) async fn run(
    client: &Shared,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ClientError> {
    let mut shutdown = pin!(shutdown);
    let leave = CancellationToken::new();
    let mut backoff = Backoff::default();
    let mut was_online = false;
    loop {
        let began = Instant::now();
        let mut session = pin!(connect_and_serve(client, &leave));
        let ended = tokio::select! {
            ended = &mut session => ended,
            () = &mut shutdown => {
                client.reporter.state(State::Leaving);
                leave.cancel();
                session.await
            }
        };
        was_online |= client.reporter.is_online();
        if leave.is_cancelled() {
            return Ok(());
        }
        let reason = match ended {
            Ok(()) => "the server closed the link".to_owned(),
            Err(lost) => {
                info!(error = %lost, "no session");
                let reason = lost.to_string();
                if lost.is_permanent() || !was_online {
                    return Err(lost.into());
                }
                reason
            }
        };
        if began.elapsed() > GOOD_LINK {
            backoff.reset();
        }
        let retry_in = backoff.next(random());
        client
            .reporter
            .lost(State::Reconnecting { reason, retry_in });
        tokio::select! {
            () = sleep(retry_in) => {}
            () = &mut shutdown => return Ok(()),
        }
    }
}

/// Why there is no session.
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
            Lost::Session(error) => Self::Session(error),
        }
    }
}

async fn connect_and_serve(client: &Shared, leave: &CancellationToken) -> Result<(), Lost> {
    let stream = tokio::select! {
        stream = client.connector.connect(client.token.as_ref()) => stream?,
        () = leave.cancelled() => return Ok(()),
    };
    debug!("link open");
    Ok(session::serve(stream, client, leave).await?)
}
