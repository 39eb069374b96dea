//! The server's part of the control conversation: one for each link.

use std::collections::HashMap;

use ngrnotok_common::hostname::Name;
use ngrnotok_common::id::TunnelId;
use ngrnotok_common::protocol::control::{
    ClientMessage, ControlError, Reader, RefusalCode, ServerMessage, StopCode, Writer,
};
use tokio::time::sleep;
use tracing::info;

use super::Gate;
use super::sessions::{BindError, Opened};
use crate::auth::Forbidden;

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

/// Talks with the client on one link until it leaves, breaks off, is replaced, or the server stops.
pub(super) async fn converse(
    gate: &Gate,
    session: &Opened,
    mut reader: Reader<ClientMessage>,
    writer: &mut Writer<ServerMessage>,
) -> Result<End, ControlError> {
    let link = session.link();
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
    loop {
        tokio::select! {
            message = reader.next() => match message? {
                Some(ClientMessage::Bind { id, kind, name, pool }) => {
                    // Whoever has been replaced hears that instead.
                    if let Some(answer) = bind(gate, session, &mut bound, id, &kind, &name, pool) {
                        writer.send(&answer).await?;
                    }
                }
                Some(ClientMessage::Health { id, healthy }) => {
                    if let Some(name) = bound.get(&id) {
                        session.set_healthy(name, healthy);
                    }
                }
                Some(ClientMessage::Bye) => {
                    session.leave();
                    return Ok(End::ClientLeft);
                }
                // A second hello changes nothing; other words are of a newer version.
                Some(_) => {}
                None => return Ok(End::ClientRetired),
            },
            () = &mut drain, if !told_to_leave => {
                told_to_leave = true;
                let seconds = gate.drain_limit.as_secs();
                writer.send(&ServerMessage::Drain { seconds }).await?;
            }
            () = link.retired() => {
                let stop = ServerMessage::Stop {
                    code: StopCode::Replaced,
                    message: "another link of the same client has taken the place of this one".to_owned(),
                };
                writer.send(&stop).await?;
                // What has not left yet would be dropped with the stream, so the client ends it.
                tokio::select! {
                    () = reader.ended() => return Ok(End::Replaced),
                    () = gate.stop.cancelled() => return Ok(End::Stopped),
                }
            }
            () = gate.stop.cancelled() => return Ok(End::Stopped),
        }
    }
}

fn bind(
    gate: &Gate,
    session: &Opened,
    bound: &mut HashMap<TunnelId, Name>,
    id: TunnelId,
    kind: &str,
    name: &str,
    pool: bool,
) -> Option<ServerMessage> {
    let refused = |code, message: String| Some(ServerMessage::Refused { id, code, message });
    if kind != "http" {
        let message = format!("this server has no tunnels of the kind {kind:?}, only http");
        return refused(RefusalCode::KindUnsupported, message);
    }
    let name = match Name::parse(name) {
        Ok(name) => name,
        Err(error) => return refused(RefusalCode::NameInvalid, error.to_string()),
    };
    if bound.values().any(|held| *held == name) {
        let message = format!("this session holds the name {name} already");
        return refused(RefusalCode::NameTaken, message);
    }
    let url = gate.urls.of(&name);
    match session.bind(kind, name.clone(), id, pool) {
        Ok(()) => {
            info!(session = %session.session.session().id(), url, "name bound");
            bound.insert(id, name);
            Some(ServerMessage::Bound { id, url })
        }
        Err(error) => {
            let code = match error {
                BindError::Taken(_) => RefusalCode::NameTaken,
                BindError::TooMany | BindError::Ended => RefusalCode::OverLimit,
                BindError::NobodysPool => RefusalCode::PoolForbidden,
                BindError::Replaced => return None,
                BindError::Forbidden(Forbidden::Name { .. }) => RefusalCode::NameForbidden,
                BindError::Forbidden(Forbidden::Kind { .. }) => RefusalCode::KindForbidden,
                BindError::Forbidden(Forbidden::TooMany(_)) => RefusalCode::OverLimit,
            };
            refused(code, error.to_string())
        }
    }
}
