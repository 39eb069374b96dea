//! Exchanges as they are said in JSON.

use std::time::{Duration, SystemTime};

use data_encoding::BASE64;
use http::{HeaderMap, Version};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::filter::path_of;
use crate::inspect::{
    Captured, Direction, Exchange, Kind, Message, MessageKind, Origin, State, Summary, mask,
};

/// A line of the list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Line {
    /// Larger for later ones; none is used twice.
    pub(super) id: u64,
    /// The tunnel's name.
    tunnel: String,
    /// When it came, RFC 3339.
    #[schema(format = DateTime)]
    at: String,
    /// Who asked, as the server says.
    visitor: Option<String>,
    /// Whence it came.
    #[serde(flatten)]
    origin: OriginShape,
    method: String,
    /// Scheme, host and path as the visitor wrote them.
    url: String,
    /// Path and query.
    path: String,
    /// Of the app's answer.
    status: Option<u16>,
    /// How it stands.
    state: StateWord,
    /// Why it broke off, or got no answer.
    reason: Option<String>,
    /// The code of the page that the visitor saw instead of an answer.
    cause: Option<&'static str>,
    /// What travels in it: `plain`, `events`, `grpc`, `websocket`, or the name of another protocol.
    kind: String,
    /// From the request's arrival to the head of the answer, in milliseconds.
    answered_ms: Option<f64>,
    /// From the request's arrival to the end, in milliseconds.
    duration_ms: Option<f64>,
    request_bytes: u64,
    answer_bytes: u64,
    /// How many messages there were so far.
    messages: u64,
}

/// Whence a request came.
#[derive(Debug, Serialize, ToSchema)]
struct OriginShape {
    origin: &'static str,
    /// The exchange that this one repeats.
    resent_of: Option<u64>,
    /// It repeats it with changes.
    edited: bool,
}

/// How an exchange stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum StateWord {
    /// It goes on.
    Open,
    /// The visitor has all of it.
    Done,
    /// The answer broke off.
    Broken,
    /// The app gave no answer.
    Trouble,
    /// The visitor did not wait.
    VisitorLeft,
}

/// All of an exchange but its bodies.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Whole {
    #[serde(flatten)]
    line: Line,
    request: Half,
    answer: Option<Half>,
    timing: TimingShape,
    message_list: Vec<MessageShape>,
    /// Older messages that there was no room for.
    messages_gone: u64,
    /// Secrets are hidden: ask with `secrets=true` to see them.
    masked: bool,
}

/// A request or an answer.
#[derive(Debug, Serialize, ToSchema)]
struct Half {
    /// `HTTP/1.1` or `HTTP/2.0`.
    version: String,
    fields: Vec<Field>,
    body: BodyShape,
    trailers: Vec<Field>,
}

/// One line of a head.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) value: String,
}

/// What is known of a body. `/api/exchanges/{id}/body` has its bytes.
#[derive(Debug, Serialize, ToSchema)]
struct BodyShape {
    /// How long it was, or is by now.
    bytes: u64,
    /// How much of it was kept.
    kept: u64,
    /// It came to its end.
    ended: bool,
}

/// When what happened, in milliseconds from the request's arrival at this client.
#[derive(Debug, Serialize, ToSchema)]
struct TimingShape {
    request_ended_ms: Option<f64>,
    answered_ms: Option<f64>,
    ended_ms: Option<f64>,
    /// The link's round trip; half of it lies before the arrival.
    round_trip_ms: Option<f64>,
    /// What the server held the request for; null where it does not say.
    edge_ms: Option<f64>,
}

/// One message.
#[derive(Debug, Serialize, ToSchema)]
struct MessageShape {
    at_ms: f64,
    /// `visitor` or `app`.
    from: &'static str,
    /// `text`, `binary`, `ping`, `pong`, `close`, `packed`, `event` or `grpc`.
    kind: &'static str,
    /// What it says, if that is text.
    text: Option<String>,
    /// What it says otherwise, in base64.
    base64: Option<String>,
    bytes: u64,
    kept: u64,
    /// Why a WebSocket was closed.
    code: Option<u16>,
    /// The type of an event.
    event: Option<String>,
    /// The id of an event.
    event_id: Option<String>,
    /// A message of gRPC is packed.
    compressed: bool,
}

impl Line {
    pub(super) fn of(summary: &Summary) -> Self {
        let (origin, resent_of, edited) = match summary.origin {
            Origin::Visitor => ("visitor", None, false),
            Origin::Resent { of, edited } => ("resent", Some(of.0), edited),
            Origin::Imported => ("imported", None, false),
        };
        let (state, reason, cause) = match &summary.state {
            State::Open => (StateWord::Open, None, None),
            State::Done => (StateWord::Done, None, None),
            State::VisitorLeft => (StateWord::VisitorLeft, None, None),
            State::Broken(reason) => (StateWord::Broken, Some(reason.clone()), None),
            State::Trouble(cause, detail) => {
                (StateWord::Trouble, Some(detail.clone()), Some(cause.code()))
            }
        };
        Self {
            id: summary.id.0,
            tunnel: summary.tunnel.to_string(),
            at: rfc3339(summary.at),
            visitor: summary.visitor.map(|visitor| visitor.to_string()),
            origin: OriginShape {
                origin,
                resent_of,
                edited,
            },
            method: summary.method.to_string(),
            path: path_of(&summary.uri).to_owned(),
            url: summary.uri.to_string(),
            status: summary.status.map(|status| status.as_u16()),
            state,
            reason,
            cause,
            kind: kind(&summary.kind).to_owned(),
            answered_ms: summary.timing.answered.map(ms),
            duration_ms: summary.timing.ended.map(ms),
            request_bytes: summary.request_bytes,
            answer_bytes: summary.answer_bytes,
            messages: summary.messages,
        }
    }
}

impl Whole {
    pub(super) fn of(exchange: &Exchange, secrets: bool) -> Self {
        let half =
            |fields: &HeaderMap, version, body: &Captured, trailers: Option<&HeaderMap>| Half {
                version: version_word(version).to_owned(),
                fields: self::fields(fields, secrets),
                body: BodyShape {
                    bytes: body.total,
                    kept: body.bytes.len() as u64,
                    ended: body.ended,
                },
                trailers: trailers
                    .map_or_else(Vec::new, |trailers| self::fields(trailers, secrets)),
            };
        let request = &exchange.request;
        let timing = &exchange.timing;
        Self {
            line: Line::of(&summary(exchange)),
            request: half(
                &request.fields,
                request.version,
                &request.body,
                request.trailers.as_ref(),
            ),
            answer: exchange.answer.as_ref().map(|answer| {
                half(
                    &answer.fields,
                    answer.version,
                    &answer.body,
                    answer.trailers.as_ref(),
                )
            }),
            timing: TimingShape {
                request_ended_ms: timing.request_ended.map(ms),
                answered_ms: timing.answered.map(ms),
                ended_ms: timing.ended.map(ms),
                round_trip_ms: timing.round_trip.map(ms),
                edge_ms: timing.edge.map(ms),
            },
            message_list: exchange.messages.iter().map(message).collect(),
            messages_gone: exchange.messages_gone,
            masked: !secrets,
        }
    }
}

/// What a line shows of an exchange that is at hand.
pub(super) fn summary(exchange: &Exchange) -> Summary {
    let answer = exchange.answer.as_ref();
    Summary {
        id: exchange.id,
        tunnel: exchange.tunnel.clone(),
        at: exchange.at,
        visitor: exchange.visitor,
        origin: exchange.origin,
        method: exchange.request.method.clone(),
        uri: exchange.request.uri.to_string().into(),
        status: answer.map(|answer| answer.status),
        state: exchange.state.clone(),
        timing: exchange.timing,
        kind: exchange.kind.clone(),
        request_bytes: exchange.request.body.total,
        answer_bytes: answer.map_or(0, |answer| answer.body.total),
        messages: exchange.messages.len() as u64 + exchange.messages_gone,
    }
}

pub(super) fn fields(fields: &HeaderMap, secrets: bool) -> Vec<Field> {
    let mut fields = fields.clone();
    if !secrets {
        mask(&mut fields);
    }
    let lines = fields.iter().map(|(name, value)| Field {
        name: name.to_string(),
        value: text(value.as_bytes()),
    });
    lines.collect()
}

/// Fields are text by custom only: what is no UTF-8 is read as Latin-1.
pub(super) fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|&byte| char::from(byte)).collect(),
    }
}

fn message(message: &Message) -> MessageShape {
    let (kind, code, event) = match &message.kind {
        MessageKind::Text => ("text", None, None),
        MessageKind::Binary => ("binary", None, None),
        MessageKind::Ping => ("ping", None, None),
        MessageKind::Pong => ("pong", None, None),
        MessageKind::Packed => ("packed", None, None),
        MessageKind::Close { code } => ("close", *code, None),
        MessageKind::Event { event, id } => ("event", None, Some((event.clone(), id.clone()))),
        MessageKind::Grpc { .. } => ("grpc", None, None),
    };
    let payload = &message.payload;
    let is_text = !matches!(
        message.kind,
        MessageKind::Binary | MessageKind::Packed | MessageKind::Grpc { .. }
    );
    let text = is_text
        .then(|| {
            std::str::from_utf8(&payload.bytes)
                .ok()
                .map(ToOwned::to_owned)
        })
        .flatten();
    let (event, event_id) = event.unzip();
    MessageShape {
        at_ms: ms(message.at),
        from: match message.direction {
            Direction::FromVisitor => "visitor",
            Direction::FromApp => "app",
        },
        kind,
        base64: text.is_none().then(|| BASE64.encode(&payload.bytes)),
        text,
        bytes: payload.total,
        kept: payload.bytes.len() as u64,
        code,
        event,
        event_id,
        compressed: matches!(message.kind, MessageKind::Grpc { compressed: true }),
    }
}

/// Milliseconds, to the microsecond.
pub(super) fn ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

pub(super) fn rfc3339(at: SystemTime) -> String {
    jiff::Timestamp::try_from(at)
        .unwrap_or_default()
        .to_string()
}

pub(super) fn version_word(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_11 => "HTTP/1.1",
        Version::HTTP_3 => "HTTP/3.0",
        _ => "HTTP/2.0",
    }
}

fn kind(kind: &Kind) -> &str {
    match kind {
        Kind::Plain => "plain",
        Kind::Events => "events",
        Kind::Grpc => "grpc",
        Kind::WebSocket => "websocket",
        Kind::Upgraded(protocol) => protocol,
    }
}
