//! What is known of one request and its answer.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri, Version};
use ngrnotok_common::hostname::Name;
use ngrnotok_common::protocol::cause::Cause;
use serde::{Deserialize, Serialize};

/// Names one exchange of a recorder. A later one has a larger number, and none is used twice.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct ExchangeId(pub u64);

impl fmt::Display for ExchangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for ExchangeId {
    type Err = std::num::ParseIntError;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        word.parse().map(Self)
    }
}

/// A request with its answer, as far as both have come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// Its number; given by the recorder.
    pub id: ExchangeId,
    /// The tunnel that it went through.
    pub tunnel: Name,
    /// When the request came.
    pub at: SystemTime,
    /// Who asked, as the server says; `None` if it does not.
    pub visitor: Option<IpAddr>,
    /// Whence the request came.
    pub origin: Origin,
    /// What was asked.
    pub request: Request,
    /// What the app answered; `None` before it has, and if it never did.
    pub answer: Option<Answer>,
    /// How it stands.
    pub state: State,
    /// When what happened.
    pub timing: Timing,
    /// What travels in it.
    pub kind: Kind,
    /// The messages within it, if it has any: the newest.
    pub messages: Vec<Message>,
    /// Older messages that there was no room for.
    pub messages_gone: u64,
}

/// Whence a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// From a visitor.
    #[default]
    Visitor,
    /// From whoever looked at another exchange and had it sent again.
    Resent {
        /// The exchange that it repeats.
        of: ExchangeId,
        /// It is not the same request any more.
        edited: bool,
    },
    /// From a file.
    Imported,
}

/// What was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Scheme, host and path as the visitor wrote them.
    pub uri: Uri,
    /// The version of HTTP in which it came to this client, which is that of the link: 2.
    pub version: Version,
    /// The fields as they came to this client; what only client and server say to each other is left out.
    pub fields: HeaderMap,
    /// The body.
    pub body: Captured,
    /// The fields after the body.
    pub trailers: Option<HeaderMap>,
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The version of HTTP that the answer left this client in.
    pub version: Version,
    /// The fields as the visitor's server got them.
    pub fields: HeaderMap,
    /// The body.
    pub body: Captured,
    /// The fields after the body.
    pub trailers: Option<HeaderMap>,
}

/// The part of a body, or of a message, that was kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Captured {
    /// Its beginning.
    pub bytes: Bytes,
    /// How long it was, or is by now.
    pub total: u64,
    /// It came to its end.
    pub ended: bool,
}

impl Captured {
    /// All of something.
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self {
            total: bytes.len() as u64,
            bytes,
            ended: true,
        }
    }

    /// Whether there was more than was kept.
    pub fn is_cut(&self) -> bool {
        self.total > self.bytes.len() as u64
    }
}

/// How an exchange stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It goes on.
    #[default]
    Open,
    /// The visitor has the whole answer, or an upgraded connection has been closed.
    Done,
    /// The answer broke off. Why, one line.
    Broken(String),
    /// The local app gave no answer. Why, and the particulars.
    Trouble(#[serde(with = "code")] Cause, String),
    /// The visitor did not wait for the end.
    VisitorLeft,
}

/// When what happened, counted from the request's arrival at this client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Timing {
    /// The request's body had ended.
    pub request_ended: Option<Duration>,
    /// The head of the app's answer was here.
    pub answered: Option<Duration>,
    /// It was over.
    pub ended: Option<Duration>,
    /// The round trip of the link at that time; half of it lies before the request's arrival.
    pub round_trip: Option<Duration>,
    /// What the server held the request for before it sent it on, where it says so.
    pub edge: Option<Duration>,
}

/// What travels in an exchange.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A request and its answer.
    #[default]
    Plain,
    /// Server-sent events.
    Events,
    /// gRPC.
    Grpc,
    /// A WebSocket.
    WebSocket,
    /// Another protocol, of which only the bytes are counted.
    Upgraded(String),
}

/// One message within an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// When it was here whole, counted from the request's arrival.
    pub at: Duration,
    /// Who said it.
    pub direction: Direction,
    /// What it is.
    pub kind: MessageKind,
    /// What it says: unpacked, where the WebSocket packs its messages.
    pub payload: Captured,
}

/// Who says something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The visitor.
    FromVisitor,
    /// The local app.
    FromApp,
}

/// What a message is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageKind {
    /// A WebSocket's text.
    Text,
    /// A WebSocket's bytes.
    Binary,
    /// A WebSocket's ping.
    Ping,
    /// A WebSocket's pong.
    Pong,
    /// A WebSocket's goodbye; its reason is the payload.
    Close {
        /// The code, where one was given.
        code: Option<u16>,
    },
    /// A WebSocket's message that cannot be unpacked: it, or one before it, is too large or broken.
    Packed,
    /// A server-sent event; its data is the payload.
    Event {
        /// Its type, `message` if it has none of its own.
        event: String,
        /// The last id that the stream has given.
        id: String,
    },
    /// A message of gRPC.
    Grpc {
        /// The payload is packed in the way that `grpc-encoding` names.
        compressed: bool,
    },
}

/// A cause by its code.
mod code {
    use ngrnotok_common::protocol::cause::Cause;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(cause: &Cause, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(cause.code())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Cause, D::Error> {
        let code = String::deserialize(from)?;
        Cause::from_code(code.as_bytes()).ok_or_else(|| serde::de::Error::custom("unknown cause"))
    }
}
