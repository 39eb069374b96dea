//! Logging in: a token is asked for and tried before it is kept.

use std::io::{self, IsTerminal as _, Read as _};

use ngrnotok_common::secret::Secret;
use ngrnotok_common::shutdown;
use thiserror::Error;

use crate::client::{Client, ClientError, Config};
use crate::config::{ConfigError, check_token};
use crate::connect::Connector;
use crate::session::SessionError;
use crate::settings::ServerAddress;
use crate::status::{SessionStatus, State, Status};

/// Longest token that is read: 16 KiB, more than a server takes.
const LIMIT: u64 = 16 * 1024;

/// Why there is no token, or none that is good.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoginError {
    /// It could not be asked for.
    #[error("failed to read the token: {0}")]
    Ask(#[from] io::Error),
    /// What came is none.
    #[error("{0}")]
    Token(#[from] ConfigError),
    /// The user has thought better of it.
    #[error("interrupted; nothing is stored")]
    Interrupted,
    /// The server said neither yes nor no.
    #[error("not logged in: {0}; try again")]
    Lost(String),
    /// The server does not take it, or is not there.
    #[error("not logged in: {0}")]
    Client(#[from] ClientError),
}

/// Asks for a token: on the terminal without showing it, or from standard input if that is none. It
/// blocks, and is for when nothing else runs.
pub fn ask(server: &ServerAddress) -> Result<Secret, LoginError> {
    let mut text = String::new();
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        stdin.lock().take(LIMIT).read_to_string(&mut text)?;
        return Ok(check_token(Secret::new(text), "on standard input")?);
    }
    // With a handler in place, Ctrl-C ends the question and not the process, so that the terminal shows
    // again what is typed.
    #[cfg(unix)]
    let _handled = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?;
    match rpassword::prompt_password(format!("Token for {server} (not shown): ")) {
        Ok(typed) => Ok(check_token(Secret::new(typed), "that was typed")?),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(LoginError::Interrupted),
        Err(error) => Err(error.into()),
    }
}

/// Opens a session with this token and leaves at once. Returns what the server said of it, above all whose
/// token it is; `None` if that cannot be told, because all the links that the token may have are in use. It
/// is good all the same.
pub async fn try_out(
    connector: Connector,
    token: Option<Secret>,
) -> Result<Option<SessionStatus>, LoginError> {
    let client = Client::new(Config::new(connector, token, Vec::new()))?;
    let mut status = client.status();
    let mut outcome = Err(LoginError::Interrupted);
    let known = async {
        let known = |status: &Status| match (&status.session, &status.state) {
            (Some(session), _) => Some(Ok(session.clone())),
            (None, State::Reconnecting { reason, .. }) => Some(Err(reason.clone())),
            _ => None,
        };
        if let Ok(status) = status.wait_for(|status| known(status).is_some()).await {
            let told = known(&status).expect("it is what was waited for");
            outcome = told.map_err(LoginError::Lost);
        }
    };
    tokio::select! {
        ended = client.run(known) => match ended {
            Err(ClientError::Session(SessionError::TooManyLinks(_))) => return Ok(None),
            ended => ended?,
        },
        () = shutdown::signal() => return Err(LoginError::Interrupted),
    }
    outcome.map(Some)
}
