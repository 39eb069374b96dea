//! `/api/status`: how the client stands.

use axum::Json;
use axum::extract::State;
use ngrnotok_common::link::ping::Latency;
use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;

use super::Desk;
use super::shape::{ms, rfc3339};
use crate::connections::Numbers;
use crate::status::{State as Stand, Status};

/// How the client stands.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StatusShape {
    state: StateWord,
    /// Why the link is lost, or the client has given up.
    reason: Option<String>,
    /// When the next try to connect comes.
    retry_in_ms: Option<f64>,
    session: Option<SessionShape>,
    tunnels: Vec<TunnelShape>,
    connections: NumbersShape,
    /// The client's version.
    version: &'static str,
    pid: u32,
    /// Since when the web interface is there, RFC 3339.
    #[schema(format = DateTime)]
    began: String,
    /// Names this start of the client.
    run: String,
    /// Whether exchanges are recorded, and what they take.
    recorder: RecorderShape,
}

/// Where the session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = SessionState)]
#[serde(rename_all = "snake_case")]
enum StateWord {
    Connecting,
    Online,
    Draining,
    Reconnecting,
    Leaving,
    Ended,
}

/// What the server said.
#[derive(Debug, Serialize, ToSchema)]
struct SessionShape {
    id: String,
    account: String,
    server_version: String,
    /// Where the server is, where it says so.
    region: Option<String>,
    /// The round trip of the link.
    latency_ms: Option<f64>,
}

/// What visitors open through the link: a request, a WebSocket.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Connections)]
struct NumbersShape {
    /// So far.
    ttl: u64,
    /// Open now.
    opn: u64,
    /// New ones a second, averaged over 1 minute.
    rt1: f64,
    /// The same over 5 minutes.
    rt5: f64,
    /// Half of them were over within so many seconds.
    p50: f64,
    /// Nine in ten were.
    p90: f64,
}

impl From<Numbers> for NumbersShape {
    fn from(numbers: Numbers) -> Self {
        let Numbers {
            ttl,
            opn,
            rt1,
            rt5,
            p50,
            p90,
        } = numbers;
        Self {
            ttl,
            opn,
            rt1,
            rt5,
            p50,
            p90,
        }
    }
}

/// A tunnel.
#[derive(Debug, Serialize, ToSchema)]
struct TunnelShape {
    name: String,
    /// Where visitors go; null while they cannot.
    url: Option<String>,
    /// Where their requests end.
    target: Option<String>,
    /// Why the server refuses it for the moment.
    refused: Option<String>,
    /// When it is asked for again.
    retry_in_ms: Option<f64>,
}

/// What is recorded.
#[derive(Debug, Serialize, ToSchema)]
struct RecorderShape {
    on: bool,
    /// What the kept exchanges take in memory.
    bytes: usize,
    /// What they may take together.
    total_bytes: Option<usize>,
    /// The number of the newest exchange; 0 if there is none yet.
    newest: u64,
    /// What is kept of each body.
    body_bytes: Option<usize>,
}

impl StatusShape {
    pub(super) fn of(desk: &Desk) -> Self {
        let status = desk.shown.status.borrow().clone();
        let recorder = &desk.shown.recorder;
        let limits = recorder.limits();
        let left = |at: Instant| ms(at.saturating_duration_since(Instant::now()));
        let (state, reason, retry_in_ms) = match &status.state {
            Stand::Connecting => (StateWord::Connecting, None, None),
            Stand::Online => (StateWord::Online, None, None),
            Stand::Draining => (StateWord::Draining, None, None),
            Stand::Leaving => (StateWord::Leaving, None, None),
            Stand::Reconnecting { reason, retry_at } => {
                let reason = Some(reason.clone());
                (StateWord::Reconnecting, reason, Some(left(*retry_at)))
            }
            Stand::Ended { reason } => (StateWord::Ended, Some(reason.clone()), None),
        };
        let latency = |latency: &Latency| latency.last().map(ms);
        Self {
            state,
            reason,
            retry_in_ms,
            session: status.session.as_ref().map(|session| SessionShape {
                id: session.id.to_string(),
                account: session.account.clone(),
                server_version: session.server_version.clone(),
                region: session.region.clone(),
                latency_ms: latency(&session.latency),
            }),
            tunnels: tunnels(&status),
            connections: desk.shown.connections.numbers().into(),
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            began: rfc3339(desk.began),
            run: desk.run.to_string(),
            recorder: RecorderShape {
                on: recorder.is_on(),
                bytes: recorder.size(),
                newest: recorder
                    .newest(None, 1)
                    .first()
                    .map_or(0, |newest| newest.id.0),
                total_bytes: limits.map(|limits| limits.total_bytes),
                body_bytes: limits.map(|limits| limits.body_bytes),
            },
        }
    }
}

fn tunnels(status: &Status) -> Vec<TunnelShape> {
    let online = status.online.iter().map(|tunnel| TunnelShape {
        name: tunnel.name.to_string(),
        url: Some(tunnel.url.clone()),
        target: Some(tunnel.target.clone()),
        refused: None,
        retry_in_ms: None,
    });
    let refused = status.refused.iter().map(|tunnel| TunnelShape {
        name: tunnel.name.to_string(),
        url: None,
        target: None,
        refused: Some(tunnel.reason.clone()),
        retry_in_ms: Some(ms(tunnel
            .retry_at
            .saturating_duration_since(Instant::now()))),
    });
    online.chain(refused).collect()
}

/// How the client stands
#[utoipa::path(get, path = "/api/status", tag = "client", responses((status = 200, body = StatusShape)))]
pub(super) async fn status(State(desk): State<Desk>) -> Json<StatusShape> {
    Json(StatusShape::of(&desk))
}
