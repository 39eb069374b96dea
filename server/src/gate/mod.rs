//! The door for tunnel clients, in the order of events: `handshake` asks for the token and turns the
//! roles round, `control` talks with the client until one of them leaves.

mod control;
mod handshake;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Request, StatusCode};
use ngrnotok_common::hostname::Name;
use ngrnotok_common::id::SessionId;
use ngrnotok_common::link::io::{ReadAhead, tune};
use ngrnotok_common::link::open::{LinkError, server_end};
use ngrnotok_common::link::settings::OPEN_LIMIT;
use ngrnotok_common::protocol::control::{
    ClientMessage, ControlError, Reader, ServerMessage, Writer,
};
use ngrnotok_common::protocol::{CONTROL_PATH, handshake::Problem};
use rustls::ServerConfig;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::{error::Elapsed, timeout};
use tokio_rustls::StartHandshake;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tracing::{debug, info};

use crate::auth::Auth;
use crate::registry::Registry;
use crate::session::{Session, ShardId};

/// The door for tunnel clients, one for all shards.
#[derive(Debug)]
pub struct Gate {
    /// Who may come in.
    pub auth: Auth,
    /// Where names are claimed.
    pub registry: Registry,
    /// TLS 1.3 for links.
    pub tls: Arc<ServerConfig>,
    /// How visitors reach a name.
    pub urls: PublicUrls,
    /// Links and what runs on them.
    pub tasks: TaskTracker,
    /// Cancelled when clients should leave.
    pub drain: CancellationToken,
    /// How long they are told they have.
    pub drain_limit: Duration,
    /// Cancelled when they must.
    pub stop: CancellationToken,
}

/// How visitors reach a name: `https://NAME.tunnel.example.com:8443`.
#[derive(Debug, Clone)]
pub struct PublicUrls {
    /// `http` or `https`.
    pub scheme: &'static str,
    /// What stands behind the name.
    pub domain: Arc<str>,
    /// Shown unless it is the scheme's own.
    pub port: u16,
}

impl PublicUrls {
    fn of(&self, name: &Name) -> String {
        let Self {
            scheme,
            domain,
            port,
        } = self;
        match (*scheme, *port) {
            ("https", 443) | ("http", 80) => format!("{scheme}://{name}.{domain}"),
            _ => format!("{scheme}://{name}.{domain}:{port}"),
        }
    }
}

/// Why a client did not get as far as a session, or why its session ended.
#[derive(Debug, Error)]
pub enum GateError {
    /// The socket or TLS failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The client was too slow.
    #[error("the client took longer than {} s", OPEN_LIMIT.as_secs())]
    Slow(#[from] Elapsed),
    /// The client was refused.
    #[error("refused: {}", .0.title)]
    Refused(Problem),
    /// The first request was not HTTP, or the connection broke.
    #[error("{0}")]
    Http(#[from] hyper::Error),
    /// The link ended.
    #[error("{0}")]
    Link(#[from] LinkError),
    /// The control stream ended.
    #[error("{0}")]
    Control(#[from] ControlError),
    /// The control stream did not begin as it should.
    #[error("the client {0}")]
    Protocol(&'static str),
}

impl From<h2::Error> for GateError {
    fn from(error: h2::Error) -> Self {
        Self::Link(error.into())
    }
}

impl Gate {
    /// Takes a connection whose ClientHello asks for a link, and serves it to its end.
    pub async fn link(
        self: Arc<Self>,
        here: ShardId,
        hello: StartHandshake<TcpStream>,
        peer: SocketAddr,
    ) {
        if let Err(error) = self.serve(here, hello, peer).await {
            match &error {
                // The operator wants to see who is turned away; strangers' noise is not for the log.
                GateError::Refused(_) => info!(%peer, %error, "link refused"),
                _ => debug!(%peer, %error, "link ended"),
            }
        }
    }

    async fn serve(
        &self,
        here: ShardId,
        hello: StartHandshake<TcpStream>,
        peer: SocketAddr,
    ) -> Result<(), GateError> {
        tune(&hello.io)?;
        let opening = async {
            let hello = StartHandshake::from_parts(hello.accepted, ReadAhead::new(hello.io));
            let stream = hello.into_stream(Arc::clone(&self.tls)).await?;
            handshake::admit(stream, &self.auth).await
        };
        let (stream, admitted) = tokio::select! {
            opened = timeout(OPEN_LIMIT, opening) => opened??,
            () = self.stop.cancelled() => return Err(GateError::Protocol("came while the server stops")),
        };
        let (requests, end) = server_end(stream).await?;
        let mut link = AbortOnDropHandle::new(self.tasks.spawn(end));

        let id = SessionId::random();
        let account = admitted.account.name;
        let (mut reader, mut writer) = timeout(OPEN_LIMIT, open_control(&requests)).await??;
        let hello = timeout(OPEN_LIMIT, reader.next()).await??;
        let Some(ClientMessage::Hello { version, os }) = hello else {
            return Err(GateError::Protocol("did not say hello"));
        };
        writer
            .send(&ServerMessage::Welcome {
                session: id,
                version: env!("CARGO_PKG_VERSION").to_owned(),
                account: account.to_string(),
            })
            .await?;
        info!(session = %id, %account, %peer, agent = admitted.user_agent, version, os, "session started");

        let session = Session::new(id, here, requests, self.tasks.clone());
        let ended = control::converse(self, session, reader, writer).await;
        match &ended {
            Ok(why) => info!(session = %id, why, "session ended"),
            Err(ControlError::Link(_)) => {
                // The link itself knows better why it broke.
                let why = timeout(FAREWELL, &mut link).await;
                let why = match why {
                    Ok(Ok(Err(error))) => error.to_string(),
                    _ => "the client closed the link".to_owned(),
                };
                info!(session = %id, why, "session ended");
            }
            Err(error) => info!(session = %id, %error, "session ended"),
        }
        // Names are released; streams that are open still finish.
        if ended.is_ok() {
            tokio::select! {
                _ = &mut link => {}
                () = self.stop.cancelled() => {
                    let _ = timeout(FAREWELL, link).await;
                }
                () = tokio::time::sleep(self.drain_limit) => {}
            }
        }
        Ok(())
    }
}

/// How long a link may take to say goodbye on the wire when the server stops.
const FAREWELL: Duration = Duration::from_secs(1);

async fn open_control(
    requests: &SendRequest<Bytes>,
) -> Result<(Reader<ClientMessage>, Writer<ServerMessage>), GateError> {
    let request = Request::post(format!("https://ngrnotok{CONTROL_PATH}"))
        .body(())
        .expect("a constant request is valid");
    let (answer, stream) = requests.clone().send_request(request, false)?;
    let answer = answer.await?;
    if answer.status() != StatusCode::OK {
        return Err(GateError::Protocol("refused the control stream"));
    }
    Ok((Reader::new(answer.into_body()), Writer::new(stream)))
}

impl fmt::Display for PublicUrls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://*.{}:{}", self.scheme, self.domain, self.port)
    }
}
