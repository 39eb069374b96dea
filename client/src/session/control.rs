//! The client's part of the control conversation.

use std::time::Duration;

use h2::RecvStream;
use http::{Request, Response};
use ngrnotok_common::id::TunnelId;
use ngrnotok_common::link::ping::Latency;
use ngrnotok_common::link::serving::Reply;
use ngrnotok_common::protocol::CONTROL_PATH;
use ngrnotok_common::protocol::control::{
    ClientMessage, Reader, RefusalCode, ServerMessage, StopCode, Writer,
};
use ngrnotok_common::protocol::resume::ChannelBinding;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::health::Checks;
use super::{FAREWELL, Role, SessionError};
use crate::client::Shared;
use crate::status::{OnlineTunnel, SessionStatus};

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
    let Context {
        client,
        role,
        binding,
        latency,
    } = context;
    if request.uri().path() != CONTROL_PATH {
        return Err(SessionError::Protocol(
            "sent a request before the control stream",
        ));
    }
    let mut generation = client.comeback.generation();
    let mut known = *generation.borrow();
    let resume = client.comeback.claim(&binding, role.joins);
    if role.joins && resume.is_none() {
        return Err(SessionError::NoSession);
    }
    let mut reader = Reader::<ServerMessage>::new(request.into_body());
    let mut writer = Writer::new(reply.begin(Response::new(()), false)?);
    writer
        .send(&ClientMessage::Hello {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            os: format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH),
            resume,
        })
        .await?;
    // Asked for in the same breath: nothing in the welcome could change what we want.
    let wanted = if role.binds { &*client.tunnels } else { &[] };
    for (id, tunnel) in (0..).map(TunnelId).zip(wanted) {
        writer
            .send(&ClientMessage::Bind {
                id,
                kind: "http".to_owned(),
                name: tunnel.name.to_string(),
                pool: tunnel.pool.is_some(),
            })
            .await?;
    }
    let mut checks = role.binds.then(|| Checks::of(&client.tunnels));
    let mut online = Vec::new();
    loop {
        let message = tokio::select! {
            message = reader.next() => message?,
            change = async {
                match &mut checks {
                    Some(checks) => checks.changed().await,
                    None => std::future::pending().await,
                }
            } => {
                writer.send(&change).await?;
                continue;
            }
            () = leave.cancelled() => {
                writer.send(&ClientMessage::Bye).await?;
                break;
            }
            () = role.retire.cancelled() => break,
        };
        match message {
            Some(ServerMessage::Welcome {
                session,
                version,
                account,
                resume,
            }) => {
                if let Some(secret) = resume {
                    client.comeback.learn(session, secret);
                    known += 1;
                }
                let before = client.reporter.session();
                if let Some(old) = &role.replaces
                    && before == Some(session)
                {
                    old.cancel();
                }
                if role.binds {
                    client.reporter.welcome(SessionStatus {
                        id: session,
                        account,
                        server_version: version,
                        latency: latency.clone(),
                    });
                }
                if wanted.is_empty() {
                    role.serves();
                }
            }
            Some(ServerMessage::Bound { id, url }) => {
                let tunnel = usize::try_from(id.0)
                    .ok()
                    .and_then(|place| client.tunnels.get(place))
                    .ok_or(SessionError::Protocol("bound a tunnel we did not ask for"))?;
                online.push(OnlineTunnel {
                    name: tunnel.name.clone(),
                    url,
                    target: tunnel.local.to_string(),
                });
                if online.len() == client.tunnels.len() {
                    role.serves();
                    client.reporter.online(online.clone());
                }
            }
            Some(ServerMessage::Refused { id, code, message }) => {
                let place = usize::try_from(id.0).ok();
                let tunnel = place.and_then(|place| client.tunnels.get(place));
                let tunnel = tunnel.map_or("?", |tunnel| tunnel.name.as_str());
                let refusal = match code {
                    RefusalCode::NameTaken => SessionError::NameTaken(message),
                    RefusalCode::NameForbidden => SessionError::NameForbidden(message),
                    RefusalCode::NameReserved | RefusalCode::NameHeld => {
                        SessionError::NameKept(message)
                    }
                    RefusalCode::DomainUnverified => SessionError::NameForbidden(message),
                    RefusalCode::Unavailable => SessionError::Unavailable(message),
                    _ => SessionError::TunnelRefused(format!("{tunnel}: {message}")),
                };
                if role.is_first_try || refusal.is_permanent() {
                    // This ends the client. The names that it did get are free again at once, for a
                    // next try with other wishes.
                    writer.send(&ClientMessage::Bye).await?;
                    writer.finish()?;
                    client.comeback.forget();
                }
                return Err(refusal);
            }
            Some(ServerMessage::Drain { seconds }) => {
                info!(
                    seconds,
                    "the server wants another link in the place of this one"
                );
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
            Some(other) => warn!(
                ?other,
                "the server said something this version does not know"
            ),
            None => return Ok(Farewell::Theirs),
        }
    }
    writer.finish()?;
    // What the server sends before it knows would be refused after a GOAWAY.
    let _ = timeout(FAREWELL, reader.ended()).await;
    Ok(Farewell::Ours)
}
