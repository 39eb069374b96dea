//! The door for tunnel clients, in the order of events: `handshake` asks for the token and turns the
//! roles round, `sessions` finds or makes what the link belongs to,
//! `control` talks with the client until one of them leaves.

mod control;
mod handshake;
mod sessions;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Request, StatusCode};
use ngrnotok_common::hostname::Name;
use ngrnotok_common::link::io::{ReadAhead, tune};
use ngrnotok_common::link::open::{LinkError, server_end};
use ngrnotok_common::link::settings::OPEN_LIMIT;
use ngrnotok_common::protocol::control::{
    ClientMessage, ControlError, Reader, ServerMessage, StopCode, Writer,
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

pub use self::sessions::Sessions;
use crate::auth::Auth;
use crate::session::{Link, ShardId};
use control::End;

/// The door for tunnel clients, one for all shards.
#[derive(Debug)]
pub struct Gate {
    /// Who may come in.
    pub auth: Auth,
    /// The sessions that live now.
    pub sessions: Sessions,
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
    /// A link that has carried so many requests is to be replaced.
    pub most_requests: u32,
    /// A link of this age is to be replaced.
    pub oldest_link: Duration,
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
        let (stream, binding, admitted) = tokio::select! {
            opened = timeout(OPEN_LIMIT, opening) => opened??,
            () = self.stop.cancelled() => return Err(GateError::Protocol("came while the server stops")),
        };
        let (requests, end) = server_end(stream).await?;
        let mut link: LinkTask = AbortOnDropHandle::new(self.tasks.spawn(end));

        let (mut reader, mut writer) = timeout(OPEN_LIMIT, open_control(&requests)).await??;
        let hello = timeout(OPEN_LIMIT, reader.next()).await??;
        let Some(ClientMessage::Hello {
            version,
            os,
            resume,
        }) = hello
        else {
            return Err(GateError::Protocol("did not say hello"));
        };
        let account = Arc::clone(&admitted.account.name);
        let handle = Link::new(here, requests, self.most_requests);
        let opened = self
            .sessions
            .open(admitted.account, resume.as_ref(), &binding, handle);
        let Ok(opened) = opened else {
            let stop = ServerMessage::Stop {
                code: StopCode::NoSession,
                message: "there is no such session to join".to_owned(),
            };
            writer.send(&stop).await?;
            return self.farewell(link, Some(self.drain_limit)).await;
        };
        let session = opened.session;
        let id = session.session().id();
        info!(session = %id, %account, %peer, agent = admitted.user_agent, version, os, resumed = opened.resumed, "link open");
        let welcome = ServerMessage::Welcome {
            session: id,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            account: account.to_string(),
            resume: opened.secret,
        };
        let ended = async {
            writer.send(&welcome).await?;
            control::converse(self, &session, opened.link.link(), reader, writer).await
        }
        .await;
        // No further requests; open ones still finish.
        drop(opened.link);
        match &ended {
            Ok(why) => info!(session = %id, ?why, "link ended"),
            Err(ControlError::Link(_)) => {
                // The link itself knows better why it broke.
                let why = timeout(FAREWELL, &mut link).await;
                let why = match why {
                    Ok(Ok(Err(error))) => error.to_string(),
                    _ => "the client closed the link".to_owned(),
                };
                info!(session = %id, why, "link ended");
            }
            Err(error) => {
                // Whoever breaks the rules once is not waited for.
                session.leave();
                info!(session = %id, %error, "link ended");
            }
        }
        match ended {
            // A WebSocket on an old link may go on for days.
            Ok(End::Replaced | End::ClientRetired) => self.farewell(link, None).await,
            Ok(_) => self.farewell(link, Some(self.drain_limit)).await,
            Err(_) => Ok(()),
        }
    }

    /// Lets the client end a link on which nothing new comes, for so long.
    async fn farewell(&self, mut link: LinkTask, limit: Option<Duration>) -> Result<(), GateError> {
        let limit = async {
            match limit {
                Some(limit) => tokio::time::sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = &mut link => {}
            () = self.stop.cancelled() => {
                let _ = timeout(FAREWELL, link).await;
            }
            () = limit => {}
        }
        Ok(())
    }
}

/// What drives a link; dropping it ends the link.
type LinkTask = AbortOnDropHandle<Result<(), LinkError>>;

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
