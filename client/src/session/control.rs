//! The client's part of the control conversation.

use h2::RecvStream;
use http::{Request, Response};
use ngrnotok_common::id::TunnelId;
use ngrnotok_common::link::ping::Latency;
use ngrnotok_common::link::serving::Reply;
use ngrnotok_common::protocol::CONTROL_PATH;
use ngrnotok_common::protocol::control::{
    ClientMessage, Reader, RefusalCode, ServerMessage, Writer,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::SessionError;
use crate::client::Shared;
use crate::status::{OnlineTunnel, SessionStatus, State};

/// Says hello, asks for the names, and reports what the server says. Ends after the goodbye that
/// follows `leave`, or when the server ends the conversation.
pub(super) async fn converse(
    request: Request<RecvStream>,
    reply: Reply,
    client: &Shared,
    latency: Latency,
    leave: &CancellationToken,
) -> Result<(), SessionError> {
    if request.uri().path() != CONTROL_PATH {
        return Err(SessionError::Protocol(
            "sent a request before the control stream",
        ));
    }
    let mut reader = Reader::<ServerMessage>::new(request.into_body());
    let mut writer = Writer::new(reply.begin(Response::new(()), false)?);
    writer
        .send(&ClientMessage::Hello {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            os: format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH),
        })
        .await?;
    // Asked for in the same breath: nothing in the welcome could change what we want.
    for (id, tunnel) in (0..).map(TunnelId).zip(client.tunnels.iter()) {
        writer
            .send(&ClientMessage::Bind {
                id,
                kind: "http".to_owned(),
                name: tunnel.name.to_string(),
            })
            .await?;
    }
    let mut online = Vec::new();
    loop {
        let message = tokio::select! {
            message = reader.next() => message?,
            () = leave.cancelled() => {
                writer.send(&ClientMessage::Bye).await?;
                writer.finish()?;
                return Ok(());
            }
        };
        match message {
            Some(ServerMessage::Welcome {
                session,
                version,
                account,
            }) => client.reporter.welcome(SessionStatus {
                id: session,
                account,
                server_version: version,
                latency: latency.clone(),
            }),
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
                    client.reporter.online(online.clone());
                }
            }
            Some(ServerMessage::Refused { code, message, .. }) => {
                return Err(match code {
                    RefusalCode::NameTaken => SessionError::NameTaken(message),
                    _ => SessionError::TunnelRefused(message),
                });
            }
            Some(ServerMessage::Drain { seconds }) => {
                info!(seconds, "the server is about to stop");
                client.reporter.state(State::Draining);
            }
            Some(other) => warn!(
                ?other,
                "the server said something this version does not know"
            ),
            None => return Ok(()),
        }
    }
}
