//! The server's part of the control conversation: one actor for each session. Dropping it releases
//! every name the session holds.

use ngrnotok_common::hostname::Name;
use ngrnotok_common::id::TunnelId;
use ngrnotok_common::protocol::control::{
    ClientMessage, ControlError, Reader, RefusalCode, ServerMessage, Writer,
};
use tracing::info;

use super::Gate;
use crate::registry::{Claim, Route};
use crate::session::Session;

/// Tunnels of one session: 64.
const MAX_TUNNELS: usize = 64;

/// Talks with the client until it leaves, breaks off, or the server stops. Names are held exactly as
/// long as this runs.
pub(super) async fn converse(
    gate: &Gate,
    session: Session,
    mut reader: Reader<ClientMessage>,
    mut writer: Writer<ServerMessage>,
) -> Result<&'static str, ControlError> {
    let mut claims: Vec<Claim> = Vec::new();
    let mut told_to_leave = false;
    loop {
        tokio::select! {
            message = reader.next() => match message? {
                Some(ClientMessage::Bind { id, kind, name }) => {
                    let answer = bind(gate, &session, &mut claims, id, &kind, &name);
                    writer.send(&answer).await?;
                }
                Some(ClientMessage::Bye) => return Ok("the client left"),
                // A second hello changes nothing; other words are of a newer version.
                Some(_) => {}
                None => return Ok("the client ended the control stream"),
            },
            () = gate.drain.cancelled(), if !told_to_leave => {
                told_to_leave = true;
                let seconds = gate.drain_limit.as_secs();
                writer.send(&ServerMessage::Drain { seconds }).await?;
            }
            () = gate.stop.cancelled() => return Ok("the server stops"),
        }
    }
}

fn bind(
    gate: &Gate,
    session: &Session,
    claims: &mut Vec<Claim>,
    id: TunnelId,
    kind: &str,
    name: &str,
) -> ServerMessage {
    let refused = |code, message: String| ServerMessage::Refused { id, code, message };
    if kind != "http" {
        let message = format!("this server has no tunnels of the kind {kind:?}, only http");
        return refused(RefusalCode::KindUnsupported, message);
    }
    if claims.len() >= MAX_TUNNELS {
        let message = format!("a session has at most {MAX_TUNNELS} tunnels");
        return refused(RefusalCode::OverLimit, message);
    }
    let name = match Name::parse(name) {
        Ok(name) => name,
        Err(error) => return refused(RefusalCode::NameInvalid, error.to_string()),
    };
    let url = gate.urls.of(&name);
    let route = Route {
        session: session.clone(),
        tunnel: id,
    };
    match gate.registry.claim(name, route) {
        Ok(claim) => {
            info!(session = %session.id(), url, "name bound");
            claims.push(claim);
            ServerMessage::Bound { id, url }
        }
        Err(taken) => refused(RefusalCode::NameTaken, taken.to_string()),
    }
}
