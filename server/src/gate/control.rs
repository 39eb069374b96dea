//! The server's part of the control conversation: one for each link.

use std::collections::HashMap;
use std::fmt;

use ngrnotok_common::hostname::{InvalidName, Name};
use ngrnotok_common::id::TunnelId;
use ngrnotok_common::printable;
use ngrnotok_common::protocol::control::{
    ClientMessage, ControlError, Reader, RefusalCode, ServerMessage, StopCode, Writer,
};
use thiserror::Error;
use tokio::time::sleep;
use tracing::{error, info, warn};

use super::Gate;
use super::pace::PacedReader;
use super::sessions::{BindError, Lost, Opened};
use crate::auth::Forbidden;
use crate::names::NameRefused;
use crate::urls::Scheme;

/// Why the conversation on a link is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The client said goodbye.
    ClientLeft,
    /// The client wants nothing more of this link; it has another one.
    ClientRetired,
    /// Another link has taken the place of this one.
    Replaced,
    /// The server stops.
    Stopped,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClientLeft => "the client left",
            Self::ClientRetired => "the client has another link",
            Self::Replaced => "another link has taken its place",
            Self::Stopped => "the server stops",
        })
    }
}

/// Talks with the client on one link until it leaves, breaks off, is replaced, or the server stops.
pub(super) async fn converse(
    gate: &Gate,
    session: &Opened,
    reader: Reader<ClientMessage>,
    writer: &mut Writer<ServerMessage>,
) -> Result<End, ControlError> {
    // What a client says while we answer it is taken off the link and counted.
    let ahead = reader.ahead();
    let mut reader = PacedReader::new(reader);
    let ended = tokio::select! {
        ended = talk(gate, session, &mut reader, writer) => ended,
        never = ahead.drive() => match never {},
    };
    // Its goodbye may wait behind what we were still answering when it left.
    if let Err(ControlError::Link(_)) = ended {
        while let Ok(Some(message)) = reader.unpaced().next().await {
            if message == ClientMessage::Bye {
                session.leave();
                return Ok(End::ClientLeft);
            }
        }
    }
    ended
}

async fn talk(
    gate: &Gate,
    session: &Opened,
    reader: &mut PacedReader,
    writer: &mut Writer<ServerMessage>,
) -> Result<End, ControlError> {
    let link = session.link();
    let left = session.session.session();
    let mut bound = HashMap::new();
    let mut told_to_leave = false;
    let drain = async {
        tokio::select! {
            () = gate.drain.cancelled() => {}
            () = link.worn() => {}
            () = sleep(gate.oldest_link) => {}
        }
    };
    tokio::pin!(drain);
    let mut told_to_slow_down = false;
    loop {
        if reader.was_slowed && !told_to_slow_down {
            told_to_slow_down = true;
            if session.log().admits() {
                warn!(session = %session.id(), "the client says too much; it is listened to more slowly");
            }
        }
        tokio::select! {
            message = reader.next() => match message? {
                Some(ClientMessage::Bind { id, .. }) if bound.contains_key(&id) => {
                    return Err(ControlError::Forbidden("asked for two names with one id"));
                }
                Some(ClientMessage::Bind { id, kind, name, pool }) => {
                    let wanted = Wanted { id, kind, pool };
                    // Boxed, because what a name may need, DNS too, is large, and it is asked once.
                    let answer = Box::pin(bind(gate, session, &mut bound, wanted, &name));
                    if let Some(answer) = answer.await {
                        writer.send(&answer).await?;
                    }
                }
                Some(ClientMessage::Health { id, healthy }) => {
                    if let Some(name) = bound.get(&id) {
                        session.set_healthy(name, healthy);
                    }
                }
                Some(ClientMessage::Unbind { id }) => {
                    if let Some(name) = bound.remove(&id) {
                        if session.log().admits() {
                            info!(session = %session.id(), %name, "name given back");
                        }
                        session.keep(|held| *held != name);
                    }
                }
                Some(ClientMessage::Release) => {
                    session.keep(|held| bound.values().any(|name| name == held));
                }
                Some(ClientMessage::Bye) => {
                    session.leave();
                    return Ok(End::ClientLeft);
                }
                // A second hello changes nothing; other words are of a newer version.
                Some(_) => {}
                None => return Ok(End::ClientRetired),
            },
            (id, lost) = session.loses(&bound) => {
                bound.remove(&id);
                let Lost { code, message } = lost;
                writer.send(&ServerMessage::Unbound { id, code, message }).await?;
            }
            () = &mut drain, if !told_to_leave => {
                told_to_leave = true;
                let seconds = gate.drain_limit.as_secs();
                writer.send(&ServerMessage::Drain { seconds }).await?;
            }
            visitors = left.next_left() => {
                writer.send(&ServerMessage::Left { visitors }).await?;
            }
            () = link.retired() => {
                let stop = ServerMessage::Stop {
                    code: StopCode::Replaced,
                    message: "another link of the same client has taken the place of this one".to_owned(),
                };
                writer.send(&stop).await?;
                // What has not left yet would be dropped with the stream, so the client ends it.
                tokio::select! {
                    _ = reader.unpaced().ended() => return Ok(End::Replaced),
                    () = gate.stop.cancelled() => return Ok(End::Stopped),
                }
            }
            () = gate.stop.cancelled() => return Ok(End::Stopped),
        }
    }
}

/// A tunnel that a client asks for.
struct Wanted {
    id: TunnelId,
    kind: String,
    pool: bool,
}

/// The answer to a client that asks for a name; none to one whose link has been replaced meanwhile.
async fn bind(
    gate: &Gate,
    session: &Opened,
    bound: &mut HashMap<TunnelId, Name>,
    wanted: Wanted,
    name: &str,
) -> Option<ServerMessage> {
    let id = wanted.id;
    let refused = |code, message: String| Some(ServerMessage::Refused { id, code, message });
    if wanted.kind != "http" {
        let kind = printable::word(&wanted.kind);
        let message = format!("this server has no tunnels of the kind {kind}, only http");
        return refused(RefusalCode::KindUnsupported, message);
    }
    let name = match parse(name, &gate.urls.domain) {
        Ok(name) => name,
        Err(error) => return refused(RefusalCode::NameInvalid, error.to_string()),
    };
    if bound.values().any(|held| *held == name) {
        let message = format!("this session holds the name {name} already");
        return refused(RefusalCode::NameTaken, message);
    }
    let url = gate.urls.of(&name);
    match claim(gate, session, wanted, &name).await {
        Ok(()) => {
            if session.log().admits() {
                info!(session = %session.id(), url, "name bound");
            }
            if gate.urls.scheme == Scheme::Https
                && !gate.urls.tls_by_proxy
                && name.is_host()
                && !gate.identities.covers(name.as_str())
                && session.log().admits()
            {
                warn!(%name, "no certificate is good for this host, so visitors are warned; give one with --cert and --key");
            }
            bound.insert(id, name);
            Some(ServerMessage::Bound { id, url })
        }
        Err(refusal) => {
            if let Refusal::Name(NameRefused::Unavailable(error)) = &refusal {
                if session.log().admits() {
                    error!(
                        error = error as &dyn std::error::Error,
                        "names cannot be looked up"
                    );
                }
            } else if session.log().admits() {
                info!(session = %session.id(), %name, %refusal, "name refused");
            }
            refused(refusal.code()?, refusal.to_string())
        }
    }
}

/// A host under the server's own domain is what its label is called.
fn parse(word: &str, domain: &str) -> Result<Name, InvalidName> {
    let name = Name::parse(word)?;
    if name.as_str() == domain {
        return Err(InvalidName::Dots);
    }
    let label = name.as_str().strip_suffix(domain);
    match label.and_then(|label| label.strip_suffix('.')) {
        Some(label) => Name::label(label),
        None => Ok(name),
    }
}

async fn claim(
    gate: &Gate,
    session: &Opened,
    Wanted { id, kind, pool }: Wanted,
    name: &Name,
) -> Result<(), Refusal> {
    if session.renew(name, id, pool)? {
        return Ok(());
    }
    // In this order nobody has a name held for him that he may not have, and nobody serves one that he
    // does not get.
    let bound = session.may_claim(&kind, name, pool)?;
    let hold = gate.names.take(session.session.grant(), name).await?;
    Ok(session.claim(name.clone(), id, pool, (bound, hold))?)
}

/// Why a client does not get a name.
#[derive(Debug, Error)]
enum Refusal {
    #[error("{0}")]
    Bind(#[from] BindError),
    #[error("{0}")]
    Name(#[from] NameRefused),
}

impl Refusal {
    /// What the client is told; nothing if it hears from its other link.
    fn code(&self) -> Option<RefusalCode> {
        Some(match self {
            Self::Bind(BindError::Taken(_)) => RefusalCode::NameTaken,
            Self::Bind(BindError::TooMany | BindError::Ended) => RefusalCode::OverLimit,
            Self::Bind(BindError::NobodysPool) => RefusalCode::PoolForbidden,
            // Whoever has been replaced hears that instead.
            Self::Bind(BindError::Replaced) => return None,
            Self::Bind(BindError::Forbidden(forbidden)) => match forbidden {
                Forbidden::Name { .. } => RefusalCode::NameForbidden,
                Forbidden::Kind { .. } => RefusalCode::KindForbidden,
                Forbidden::TooMany(_) => RefusalCode::OverLimit,
            },
            Self::Name(refused) => refused.code(),
        })
    }
}
