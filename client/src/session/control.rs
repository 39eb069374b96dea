//! The client's part of the control conversation.

use std::time::Duration;

use h2::RecvStream;
use http::{Request, Response};
use ngrnotok_common::link::ping::Latency;
use ngrnotok_common::link::serving::Reply;
use ngrnotok_common::link::settings::OPEN_LIMIT;
use ngrnotok_common::protocol::CONTROL_PATH;
use ngrnotok_common::protocol::control::{ClientMessage, Reader, ServerMessage, StopCode, Writer};
use ngrnotok_common::protocol::resume::ChannelBinding;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::binds::{Binds, Next};
use super::{FAREWELL, Role, SessionError};
use crate::client::Shared;
use crate::status::SessionStatus;

/// What the conversation is about.
pub(super) struct Context<'a> {
    pub(super) client: &'a Shared,
    pub(super) role: &'a Role,
    /// Of this link.
    pub(super) binding: ChannelBinding,
    /// Of this link.
    pub(super) latency: Latency,
}

/// How long the news of our own newer link may take: 5 s.
const NEWS: Duration = Duration::from_secs(5);

/// Who ended the conversation in good order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Farewell {
    /// We leave, or another link has taken the place of this one.
    Ours,
    /// The server does not want to talk any more.
    Theirs,
}

/// Says hello, asks for the names, and reports what the server says. Ends after the goodbye that
/// follows `leave`, when the link is retired, or when the server ends the conversation.
pub(super) async fn converse(
    request: Request<RecvStream>,
    reply: Reply,
    context: Context<'_>,
    leave: &CancellationToken,
) -> Result<Farewell, SessionError> {
    if request.uri().path() != CONTROL_PATH {
        return Err(SessionError::Protocol(
            "sent a request before the control stream",
        ));
    }
    let reader = Reader::new(reply.body(request.into_body()));
    // What the server says while we are busy is taken off the link and counted.
    let ahead = reader.ahead();
    tokio::select! {
        ended = talk(reader, reply, context, leave) => ended,
        never = ahead.drive() => match never {},
    }
}

async fn talk(
    mut reader: Reader<ServerMessage>,
    reply: Reply,
    context: Context<'_>,
    leave: &CancellationToken,
) -> Result<Farewell, SessionError> {
    let Context {
        client,
        role,
        binding,
        latency,
    } = context;
    let mut generation = client.comeback.generation();
    let mut known = *generation.borrow();
    let resume = client.comeback.claim(&binding, role.joins);
    if role.joins && resume.is_none() {
        return Err(SessionError::NoSession);
    }
    let mut writer = Writer::new(reply.begin(Response::new(()), false)?);
    writer
        .send(&ClientMessage::Hello {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            os: format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH),
            resume,
            times: client.recorder.is_on(),
            upgrade_bodies: true,
            visitors: Some(client.tunnels.naming()),
        })
        .await?;
    // Asked for in the same breath: nothing in the welcome could change what we want.
    let mut binds = Binds::of(&client.tunnels);
    let mut changes = client.tunnels.revision();
    if role.binds {
        binds.begin(&mut writer).await?;
    }
    let (mut welcome, mut is_newer) = (false, false);
    loop {
        let message = tokio::select! {
            message = reader.next() => message?,
            () = sleep(OPEN_LIMIT), if !welcome || binds.are_open() => {
                return Err(SessionError::Protocol("did not answer our requests for names"));
            }
            next = binds.next() => {
                match next {
                    Next::Health(health) => writer.send(&health).await?,
                    Next::AskAgain => binds.ask_again(&mut writer).await?,
                }
                continue;
            }
            // A link that is about to be replaced leaves the news to the next one.
            Ok(()) = changes.changed(), if role.binds && !role.wants_another.is_cancelled() => {
                binds.follow(&mut writer).await?;
                if welcome {
                    settle(&mut binds, client, role)?;
                }
                continue;
            }
            () = leave.cancelled() => {
                writer.send(&ClientMessage::Bye).await?;
                writer.finish()?;
                if is_over(&mut reader).await {
                    // Otherwise the server still keeps our names, and we may come back to them.
                    client.comeback.forget();
                }
                return Ok(Farewell::Ours);
            }
            () = role.retire.cancelled() => {
                writer.finish()?;
                is_over(&mut reader).await;
                return Ok(Farewell::Ours);
            }
        };
        match message {
            Some(ServerMessage::Welcome {
                session,
                version,
                account,
                region,
                resume,
            }) => {
                welcome = true;
                if let Some(secret) = resume {
                    client.comeback.learn(session, secret);
                    known += 1;
                } else if let Some(old) = &role.replaces {
                    // It has joined the links of the session, which so is where the old one is. The server
                    // retires an old one by itself when this one has taken the place of all, and if it is
                    // another server, the old one still has visitors there who need that link.
                    old.cancel();
                }
                if role.binds {
                    if let Some(accounts) = &client.accounts {
                        accounts.learn(&account);
                    }
                    client.reporter.welcome(SessionStatus {
                        id: session,
                        account,
                        region,
                        server_version: version,
                        latency: latency.clone(),
                    });
                }
                match role.binds {
                    true => settle(&mut binds, client, role)?,
                    false => role.serves(),
                }
            }
            Some(ServerMessage::Bound { id, url }) => {
                binds.bound(id, url)?;
                settle(&mut binds, client, role)?;
            }
            Some(ServerMessage::Refused { id, code, message }) => {
                if let Err(refusal) = binds.refused(id, code, message, role.is_first_try) {
                    return give_up(refusal, writer, client).await;
                }
                settle(&mut binds, client, role)?;
            }
            Some(ServerMessage::Unbound { id, code, message }) => {
                if let Err(refusal) = binds.unbound(id, code, &message) {
                    return give_up(refusal, writer, client).await;
                }
                settle(&mut binds, client, role)?;
            }
            Some(ServerMessage::Left { visitors }) => client.tunnels.visitors_left(visitors),
            Some(ServerMessage::Drain { seconds }) => {
                // It may say so as often as it likes.
                if !role.wants_another.is_cancelled() {
                    info!(
                        seconds,
                        "the server wants another link in the place of this one"
                    );
                }
                super::wants_another(client, role);
            }
            Some(ServerMessage::Stop { code, message }) => {
                info!(message, "the server stops sending requests on this link");
                return match code {
                    StopCode::NoSession => Err(SessionError::NoSession),
                    StopCode::OverLimit => Err(SessionError::TooManyLinks(message)),
                    StopCode::TokenRevoked | StopCode::TokenExpired | StopCode::TokenChanged => {
                        client.comeback.forget();
                        Err(SessionError::Stopped { code, message })
                    }
                    StopCode::Replaced if !role.wants_another.is_cancelled() => {
                        // A link of ours that came after this one's hello may have heard its welcome first.
                        let newer = generation.wait_for(|generation| *generation > known);
                        match timeout(NEWS, newer).await {
                            Ok(_) => Ok(Farewell::Ours),
                            Err(_) => Err(SessionError::TakenOver),
                        }
                    }
                    _ => Ok(Farewell::Ours),
                };
            }
            Some(_) if is_newer => {}
            Some(_) => {
                is_newer = true;
                warn!("the server said something this version does not know");
            }
            None => return Ok(Farewell::Theirs),
        }
    }
}

/// Says goodbye because of a refusal that ends the client. The names that it did get are free again at once,
/// for a next try with other wishes.
async fn give_up(
    refusal: SessionError,
    mut writer: Writer<ClientMessage>,
    client: &Shared,
) -> Result<Farewell, SessionError> {
    writer.send(&ClientMessage::Bye).await?;
    writer.finish()?;
    client.comeback.forget();
    Err(refusal)
}

/// Tells what visitors can reach, once every name has its answer.
fn settle(binds: &mut Binds<'_>, client: &Shared, role: &Role) -> Result<(), SessionError> {
    if !binds.are_open() {
        let (online, refused) = binds.settle(role.since.get().is_some())?;
        role.serves();
        client.reporter.online(online, refused);
    }
    Ok(())
}

/// Waits for the server to end its side of the conversation: what it sends before it knows of our end would
/// be refused after a GOAWAY. False if it may not have heard us.
async fn is_over(reader: &mut Reader<ServerMessage>) -> bool {
    timeout(FAREWELL, reader.ended()).await.unwrap_or(false)
}
