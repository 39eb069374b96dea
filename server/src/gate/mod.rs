//! The door for tunnel clients, in the order of events: `handshake` asks for the token and turns the
//! roles round, `sessions` finds or makes what the link belongs to,
//! `control` talks with the client until one of them leaves.

mod control;
mod handshake;
mod pace;
mod payer;
mod sessions;

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode};
use ngrnotok_certs::Identities;
use ngrnotok_common::link::body::LinkBody;
use ngrnotok_common::link::calling::Requests;
use ngrnotok_common::link::io::ReadAhead;
use ngrnotok_common::link::open::{LinkError, server_end};
use ngrnotok_common::link::settings::OPEN_LIMIT;
use ngrnotok_common::printable;
use ngrnotok_common::protocol::control::{
    ClientMessage, ControlError, Naming, Reader, Resume, ServerMessage, StopCode, Writer,
};
use ngrnotok_common::protocol::resume::ChannelBinding;
use ngrnotok_common::protocol::{CONTROL_PATH, handshake::Problem};
use rustls::ServerConfig;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{error::Elapsed, timeout};
use tokio_rustls::StartHandshake;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tracing::field::display;
use tracing::{debug, info};

use self::payer::{Log, Payer};
use self::sessions::Unopened;
pub use self::sessions::{Keeping, Sessions};
use crate::auth::{Auth, Stop};
use crate::names::Names;
use crate::session::{Link, ShardId};
use crate::urls::PublicUrls;
use control::End;

/// The door for tunnel clients, one for all shards.
#[derive(Debug)]
pub struct Gate {
    /// Who may come in.
    pub auth: Auth,
    /// Who may have which name.
    pub names: Names,
    /// The sessions that live now.
    pub sessions: Sessions,
    /// TLS 1.3 for links.
    pub tls: Arc<ServerConfig>,
    /// Where this server is, for the clients' users.
    pub region: Option<Box<str>>,
    /// How visitors reach a name.
    pub urls: PublicUrls,
    /// What they are shown there.
    pub identities: Identities,
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
    /// Takes a connection whose ClientHello asks for a link, and serves it to its end. What kind of stream
    /// it is, and how that is tuned, is the business of whoever has accepted it.
    ///
    /// What it takes to open a link has boxes of its own: links are idle for long, and none should hold the
    /// room for that meanwhile.
    pub async fn link<S>(
        self: Arc<Self>,
        here: ShardId,
        hello: Box<StartHandshake<S>>,
        peer: SocketAddr,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        if let Err(error) = self.serve(here, hello, peer).await {
            match &error {
                // The operator wants to see who is turned away; strangers' noise is not for the log.
                GateError::Refused(problem)
                    if problem.code != Problem::TOO_MANY_FAILURES
                        && self.stranger(peer).admits() =>
                {
                    info!(%peer, %error, "link refused");
                }
                _ => debug!(%peer, %error, "link ended"),
            }
        }
    }

    /// What the log may tell of an address before its client is known.
    fn stranger(&self, peer: SocketAddr) -> Log {
        self.sessions.owners().log(Payer::stranger(peer.ip()))
    }

    async fn serve<S>(
        &self,
        here: ShardId,
        hello: Box<StartHandshake<S>>,
        peer: SocketAddr,
    ) -> Result<(), GateError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Greeted {
            mut link,
            requests,
            retired,
            reader,
            mut writer,
            version,
            os,
            resume,
            times,
            upgrade_bodies,
            visitors,
            binding,
            payer,
            admitted,
        } = Box::pin(self.greet(hello, peer)).await?;
        let handshake::Admitted { grant, user_agent } = admitted;
        // As long as there is one of these, HTTP/2 does not close the link by itself.
        let open = requests.clone();
        let handle = Link::new(here, requests, self.most_requests, retired);
        let opened = self
            .sessions
            .open(grant, payer, resume.as_ref(), &binding, handle);
        let mut opened = match opened {
            Ok(opened) => opened,
            Err(unopened) => {
                let stop = ServerMessage::Stop {
                    code: match unopened {
                        Unopened::NoSession => StopCode::NoSession,
                        Unopened::Overtaken => StopCode::Replaced,
                        Unopened::SessionFull | Unopened::TooManyLinks(_) => StopCode::OverLimit,
                    },
                    message: unopened.to_string(),
                };
                writer.send(&stop).await?;
                return self.farewell(link, Some(self.drain_limit), pending()).await;
            }
        };
        let secret = opened.secret.take();
        let session = Arc::clone(&opened.session);
        session.session().tell_times(times);
        session.session().tell_upgrade_bodies(upgrade_bodies);
        session.session().tell_naming(visitors);
        let (id, grant) = (session.session().id(), session.grant());
        let (account, token) = (grant.account(), grant.token().map(display));
        let log = session.log();
        if log.admits() {
            let (agent, version, os) = (
                printable::word(&user_agent),
                printable::word(&version),
                printable::word(&os),
            );
            info!(session = %id, %account, token, %peer, %agent, %version, %os, resumed = opened.resumed, "link open");
        }
        // Nothing of it is needed while the link lives.
        drop((user_agent, version, os, resume));
        let welcome = ServerMessage::Welcome {
            session: id,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            account: account.to_string(),
            region: self.region.as_deref().map(str::to_owned),
            resume: secret,
        };
        let conversation = async {
            writer.send(&welcome).await?;
            drop(welcome);
            control::converse(self, &opened, reader, &mut writer).await
        };
        let ended = tokio::select! {
            ended = conversation => ended,
            stop = grant.ended() => {
                opened.leave();
                drop(opened);
                return stopped(link, writer, stop).await;
            }
        };
        if !matches!(ended, Ok(_) | Err(ControlError::Link(_))) {
            // Whoever breaks the rules once is not waited for.
            opened.leave();
        }
        // No further requests; open ones still finish. Who has said goodbye wants to read that it was heard, and
        // closes the link.
        drop((opened, writer));
        let _open = matches!(ended, Ok(End::ClientLeft)).then_some(open);
        let why = match &ended {
            Ok(why) => why.to_string(),
            // The link itself knows better why it broke.
            Err(ControlError::Link(_)) => match timeout(FAREWELL, &mut link).await {
                Ok(Ok(Err(error))) => error.to_string(),
                _ => "the client closed the link".to_owned(),
            },
            Err(error) => error.to_string(),
        };
        if log.admits() {
            info!(session = %id, why, "link ended");
        }
        match ended {
            // A WebSocket on an old link may go on for days.
            Ok(End::Replaced | End::ClientRetired) => {
                self.farewell(link, None, grant.ended()).await
            }
            Ok(_) => {
                let limit = Some(self.drain_limit);
                self.farewell(link, limit, grant.ended()).await
            }
            Err(_) => Ok(()),
        }
    }

    /// Lets a client in and listens for its hello.
    async fn greet<S>(
        &self,
        hello: Box<StartHandshake<S>>,
        peer: SocketAddr,
    ) -> Result<Greeted, GateError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let opening = async {
            let hello = StartHandshake::from_parts(hello.accepted, ReadAhead::new(hello.io));
            let stream = hello.into_stream(Arc::clone(&self.tls)).await?;
            handshake::admit(stream, peer, &self.auth, &self.stranger(peer)).await
        };
        let (stream, binding, admitted) = tokio::select! {
            opened = timeout(OPEN_LIMIT, opening) => opened??,
            () = self.stop.cancelled() => return Err(GateError::Protocol("came while the server stops")),
        };
        let payer = Payer::of(&admitted.grant, peer.ip());
        let (requests, mut end) =
            server_end(stream, self.sessions.owners().unread.of(&payer)).await?;
        let retired = CancellationToken::new();
        let replaced = retired.clone();
        let link: LinkTask = AbortOnDropHandle::new(self.tasks.spawn(async move {
            tokio::select! {
                ended = &mut end => return ended,
                () = replaced.cancelled() => {}
            }
            // Often because the client knows already that it is dead. What was asked on it is waiting.
            end.probe();
            // By reference, or the task would have room for it twice.
            (&mut end).await
        }));

        let (mut reader, writer) = timeout(OPEN_LIMIT, open_control(&requests)).await??;
        let hello = timeout(OPEN_LIMIT, reader.next()).await??;
        let Some(ClientMessage::Hello {
            version,
            os,
            resume,
            times,
            upgrade_bodies,
            visitors,
        }) = hello
        else {
            return Err(GateError::Protocol("did not say hello"));
        };
        Ok(Greeted {
            link,
            requests,
            retired,
            reader,
            writer,
            version,
            os,
            resume,
            times,
            upgrade_bodies,
            visitors,
            binding,
            payer,
            admitted,
        })
    }

    /// Lets the client end a link on which nothing new comes, for so long, and not longer than its token is
    /// good.
    async fn farewell(
        &self,
        mut link: LinkTask,
        limit: Option<Duration>,
        over: impl Future<Output = Stop>,
    ) -> Result<(), GateError> {
        let limit = async {
            match limit {
                Some(limit) => tokio::time::sleep(limit).await,
                None => pending().await,
            }
        };
        tokio::select! {
            _ = &mut link => {}
            _ = over => {}
            () = self.stop.cancelled() => {
                let _ = timeout(FAREWELL, link).await;
            }
            () = limit => {}
        }
        Ok(())
    }
}

/// A link whose client has been let in and has said hello.
struct Greeted {
    link: LinkTask,
    requests: Requests,
    /// Cancelled when another link has taken the place of this one.
    retired: CancellationToken,
    reader: Reader<ClientMessage>,
    writer: Writer<ServerMessage>,
    version: String,
    os: String,
    resume: Option<Resume>,
    times: bool,
    upgrade_bodies: bool,
    visitors: Option<Naming>,
    binding: ChannelBinding,
    payer: Payer,
    admitted: handshake::Admitted,
}

/// What drives a link; dropping it ends the link.
type LinkTask = AbortOnDropHandle<Result<(), LinkError>>;

/// Tells a client that its session is over, and ends the link with all that is open on it.
async fn stopped(
    link: LinkTask,
    mut writer: Writer<ServerMessage>,
    stop: Stop,
) -> Result<(), GateError> {
    let Stop { code, message } = stop;
    let told = async {
        writer.send(&ServerMessage::Stop { code, message }).await?;
        // A client that obeys closes the link itself.
        let _ = link.await;
        Ok(())
    };
    timeout(LAST_WORDS, told).await.unwrap_or(Ok(()))
}

/// How long a client whose session is over may take to read why: 0.5 s.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How long a link may take to say goodbye on the wire when the server stops.
const FAREWELL: Duration = Duration::from_secs(1);

async fn open_control(
    requests: &Requests,
) -> Result<(Reader<ClientMessage>, Writer<ServerMessage>), GateError> {
    let request = Request::post(format!("https://ngrnotok{CONTROL_PATH}"))
        .body(())
        .expect("a constant request is valid");
    let (answer, stream) = requests.raw().send_request(request, false)?;
    let answer = answer.await?;
    if answer.status() != StatusCode::OK {
        return Err(GateError::Protocol("refused the control stream"));
    }
    let body = LinkBody::new(answer.into_body(), requests.unread());
    Ok((Reader::new(body), Writer::new(stream)))
}
