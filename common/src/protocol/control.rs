//! The conversation on the control stream: one JSON object a line, both ways.
//!
//! The server opens the stream right behind the 101, so its first bytes and the client's `hello`
//! cross on the wire. Messages and fields that a reader does not know are ignored; that is how the
//! protocol grows.

use std::future::poll_fn;
use std::marker::PhantomData;

use bytes::Bytes;
use h2::SendStream;
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::task::coop::consume_budget;

use super::resume::Proof;
use super::words;
use crate::id::{SessionId, TunnelId, VisitorId};
use crate::link::body::{Ahead, LinkBody, send_chunk};
use crate::printable::cut;
use crate::secret::Secret;
use crate::splitter::Splitter;

/// Longest line, newline included: 64 KiB.
pub const MAX_LINE: usize = 64 * 1024;

/// What the client says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ClientMessage {
    /// First of all, once. The server answers `welcome`.
    Hello {
        /// Version of the client program.
        version: String,
        /// Operating system and architecture, `linux-x86_64`.
        os: String,
        /// Which session this link is for; without it, for a new one that the server names.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resume: Option<Resume>,
        /// The client wants to know of each request how long the server has held it, see
        /// [`HELD`](super::stream::HELD).
        #[serde(default, skip_serializing_if = "is_false")]
        times: bool,
        /// The client carries upgrades whose request has a body, see
        /// [`BODY_LENGTH`](super::stream::BODY_LENGTH).
        #[serde(default, skip_serializing_if = "is_false")]
        upgrade_bodies: bool,
        /// Which visitors' connections the client wants to know by name, see
        /// [`VISITOR`](super::stream::VISITOR), and be told of when they are over, by `left`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        visitors: Option<Naming>,
    },
    /// Asks for a public name. The server answers `bound` or `refused` with the same id.
    Bind {
        /// Chosen by the client, unique in its session.
        id: TunnelId,
        /// What travels: `http`.
        kind: String,
        /// The wanted name, one DNS label, or a whole host name that the account has proved to be its own.
        name: String,
        /// Other sessions of the same account may serve the name, too, if they say so.
        #[serde(default, skip_serializing_if = "is_false")]
        pool: bool,
    },
    /// Whether the local app behind a tunnel is well. Visitors of a shared name go to others while it is
    /// not.
    Health {
        /// The id of the `bind`.
        id: TunnelId,
        /// It answers.
        healthy: bool,
    },
    /// Gives a name back while the session goes on: it is free for others, and nothing new comes for it. Open
    /// requests go on. There is no answer, but that to a `bind` which is still to come.
    Unbind {
        /// The id of a `bind` on this link.
        id: TunnelId,
    },
    /// Gives back all names of the session that are not bound on this link: those of an earlier one that are
    /// not wanted any more.
    Release,
    /// The client leaves. The server sends it nothing new and lets open streams finish.
    Bye,
    /// A message of a newer version.
    #[serde(other)]
    Unknown,
}

/// What the server says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ServerMessage {
    /// Answer to `hello`.
    Welcome {
        /// The session's id, for logs on both sides.
        session: SessionId,
        /// Version of the server program.
        #[serde(deserialize_with = "words::word::<_, 64>")]
        version: String,
        /// Whose token it was; `anonymous` without one.
        #[serde(deserialize_with = "words::word::<_, 64>")]
        account: String,
        /// Where the server is, in its operator's word: `fra1`. Most say nothing.
        #[serde(
            default,
            skip_serializing_if = "Option::is_none",
            deserialize_with = "words::optional_word::<_, 32>"
        )]
        region: Option<String>,
        /// The secret with which the client can come back to the session, see
        /// [`resume`](super::resume). A link that joins gets none: the last one stays good.
        #[serde(default, skip_serializing_if = "Option::is_none", with = "said_secret")]
        resume: Option<Secret>,
    },
    /// Answer to `bind`: visitors can come from now on.
    Bound {
        /// The id of the `bind`.
        id: TunnelId,
        /// Where visitors go, `https://NAME.tunnel.example.com`.
        #[serde(deserialize_with = "words::web_url")]
        url: String,
    },
    /// Answer to `bind`: no.
    Refused {
        /// The id of the `bind`.
        id: TunnelId,
        /// Why, for programs.
        code: RefusalCode,
        /// Why, and what to do, for people.
        #[serde(with = "words::message")]
        message: String,
    },
    /// The server takes a name back that was `bound`: the account may not have it any more. No new requests
    /// come for it; open ones go on.
    Unbound {
        /// The id of the `bind`.
        id: TunnelId,
        /// Why, for programs.
        code: RefusalCode,
        /// Why, and what to do, for people.
        #[serde(with = "words::message")]
        message: String,
    },
    /// The server is about to stop, or wants this link replaced: the client opens another one now.
    /// This one ends when its open streams are done, or after `seconds`.
    Drain {
        /// Time left for open streams.
        seconds: u64,
    },
    /// Connections of visitors are over that the client knows by name.
    Left {
        /// Which.
        visitors: Vec<VisitorId>,
    },
    /// The server sends no further requests on this link, and says why. Open ones go on; the client
    /// closes the link after them.
    Stop {
        /// Why, for programs.
        code: StopCode,
        /// Why, and what to do, for people.
        #[serde(with = "words::message")]
        message: String,
    },
    /// A message of a newer version.
    #[serde(other)]
    Unknown,
}

/// Which visitors' connections the server names to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Naming {
    /// Every one.
    All,
    /// Those to which the local app may have tied something; also a word of a newer version.
    #[serde(other)]
    Bound,
}

/// A client's claim to a session that it had before, or to one that it has begun and does not know of: its
/// `welcome` may have been lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resume {
    /// The session of an earlier `welcome`, or an id of the client's own making.
    pub session: SessionId,
    /// That the client has the secret of that `welcome`, or the one that it has made for the id.
    pub proof: Proof,
    /// The key of the proof. If there is no such session a new one is opened under this id, to which the
    /// secret leads from the beginning.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "said_secret")]
    pub key: Option<Secret>,
    /// Counts the client's claims to take the place of links. One that arrives after a newer one was overtaken
    /// on the way, and counts no longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<u64>,
    /// The link joins those that the session has. Without it, it takes their place.
    #[serde(default, skip_serializing_if = "is_false")]
    pub join: bool,
}

/// A secret is written down only where it is said on purpose.
mod said_secret {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::secret::Secret;

    pub(super) fn serialize<S: Serializer>(
        secret: &Option<Secret>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        secret.as_ref().map(Secret::expose).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Secret>, D::Error> {
        Ok(Option::<String>::deserialize(from)?.map(Secret::new))
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

/// Why the server stops sending requests on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StopCode {
    /// Another link has taken the place of this one.
    Replaced,
    /// A link that wanted to join a session found none.
    NoSession,
    /// The token, or the session, has as many links as it may.
    OverLimit,
    /// The token was revoked, and with it the session.
    TokenRevoked,
    /// The token's time is over, and with it the session.
    TokenExpired,
    /// The token no longer allows what the session does.
    TokenChanged,
    /// A code of a newer version.
    #[serde(other)]
    Other,
}

/// Why a `bind` was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RefusalCode {
    /// Another live session holds the name.
    NameTaken,
    /// The name is neither a DNS label nor a host name.
    NameInvalid,
    /// The token is not for this name, or the name would be taken for the operator's own.
    NameForbidden,
    /// The operator keeps the name for another account.
    NameReserved,
    /// Another account has used the name a short while ago.
    NameHeld,
    /// The account has not proved that the host is its own, or can no longer.
    DomainUnverified,
    /// The server does not offer this kind of tunnel.
    KindUnsupported,
    /// The token is not for this kind of tunnel.
    KindForbidden,
    /// The session, or its token, has as many tunnels as it may.
    OverLimit,
    /// Names are shared within an account, and this client has none.
    PoolForbidden,
    /// The server cannot look up names or domains now.
    Unavailable,
    /// A code of a newer version.
    #[serde(other)]
    Other,
}

/// Why the control stream could not go on.
#[derive(Debug, Error)]
pub enum ControlError {
    /// The link broke.
    #[error("the control stream broke")]
    Link(#[from] h2::Error),
    /// A line is longer than [`MAX_LINE`].
    #[error("the peer sent a control line of more than {MAX_LINE} bytes")]
    LineTooLong,
    /// A line is not a message.
    #[error(
        "the peer sent a control line that is not a message: {}",
        cut(&.0.to_string(), 200)
    )]
    Malformed(#[from] serde_json::Error),
    /// A message that may not be said now.
    #[error("the peer {0}")]
    Forbidden(&'static str),
}

/// Reads messages of type `M` from one direction of the control stream.
#[derive(Debug)]
pub struct Reader<M> {
    body: LinkBody,
    lines: Splitter,
    messages: PhantomData<fn() -> M>,
}

impl<M: DeserializeOwned> Reader<M> {
    /// Reads from `body`.
    pub fn new(body: LinkBody) -> Self {
        Self {
            body,
            lines: Splitter::new(b"\n"),
            messages: PhantomData,
        }
    }

    /// The driver of what is still to come, for whoever does other things between two messages.
    pub fn ahead(&self) -> Ahead {
        self.body.ahead()
    }

    /// The next message; `None` when the peer has ended its direction.
    ///
    /// Cancel safety: safe, what has been read stays in the buffer.
    pub async fn next(&mut self) -> Result<Option<M>, ControlError> {
        loop {
            // Lines may come by the byte, or have nothing in them: others of this thread want their turn.
            consume_budget().await;
            if let Some(line) = self.lines.next_part() {
                if line.len() >= MAX_LINE {
                    return Err(ControlError::LineTooLong);
                }
                if line.trim_ascii().is_empty() {
                    continue;
                }
                return Ok(Some(serde_json::from_slice(&line)?));
            }
            if self.lines.len() >= MAX_LINE {
                return Err(ControlError::LineTooLong);
            }
            let Some(frame) = self.body.frame().await.transpose()? else {
                return Ok(None);
            };
            // Trailers say nothing here.
            if let Some(chunk) = frame.data_ref() {
                self.lines.push(chunk);
            }
        }
    }
}

impl<M> Reader<M> {
    /// Resolves when the peer has ended its direction, in whichever way; what it still says is not read.
    /// False if the link broke and the peer may not have heard us.
    ///
    /// Cancel safety: safe.
    pub async fn ended(&mut self) -> bool {
        loop {
            match self.body.frame().await {
                Some(Ok(_)) => {}
                Some(Err(error)) => return error.is_reset(),
                None => return true,
            }
        }
    }
}

/// Writes messages of type `M` to one direction of the control stream.
#[derive(Debug)]
pub struct Writer<M> {
    stream: SendStream<Bytes>,
    messages: PhantomData<fn(M)>,
}

impl<M: Serialize> Writer<M> {
    /// Writes to `stream`.
    pub fn new(stream: SendStream<Bytes>) -> Self {
        Self {
            stream,
            messages: PhantomData,
        }
    }

    /// Sends one message; waits while the peer takes none.
    pub async fn send(&mut self, message: &M) -> Result<(), ControlError> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        send_chunk(&mut self.stream, Bytes::from(line), false).await?;
        Ok(())
    }

    /// Ends this direction: nothing more will be said.
    pub fn finish(mut self) -> Result<(), ControlError> {
        Ok(self.stream.send_data(Bytes::new(), true)?)
    }

    /// Resolves when the peer has reset the stream or the link has ended.
    pub async fn closed(&mut self) {
        let _ = poll_fn(|cx| self.stream.poll_reset(cx)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_read_as_documented() {
        let bind = ClientMessage::Bind {
            id: TunnelId(1),
            kind: "http".into(),
            name: "calm-otter".into(),
            pool: false,
        };
        let line = r#"{"t":"bind","id":1,"kind":"http","name":"calm-otter"}"#;
        assert_eq!(serde_json::to_string(&bind).unwrap(), line);
        assert_eq!(serde_json::from_str::<ClientMessage>(line).unwrap(), bind);
        // A server of before there were regions.
        let welcome = r#"{"t":"welcome","session":"cbf04a22-7fd5-4502-820f-cdb790525f3c","version":"0.1.0","account":"ann"}"#;
        let read = serde_json::from_str::<ServerMessage>(welcome).unwrap();
        assert!(matches!(read, ServerMessage::Welcome { region: None, .. }));
        assert_eq!(serde_json::to_string(&read).unwrap(), welcome);
        let refused = r#"{"t":"refused","id":1,"code":"name_taken","message":"…"}"#;
        assert!(matches!(
            serde_json::from_str(refused).unwrap(),
            ServerMessage::Refused {
                code: RefusalCode::NameTaken,
                ..
            }
        ));
        let stop = r#"{"t":"stop","code":"token_revoked","message":"…"}"#;
        assert!(matches!(
            serde_json::from_str(stop).unwrap(),
            ServerMessage::Stop {
                code: StopCode::TokenRevoked,
                ..
            }
        ));
    }

    #[test]
    fn words_of_a_hostile_server_are_refused_at_the_door() {
        let welcome = |field: &str, value: &str| {
            let mut message = serde_json::json!({
                "t": "welcome", "session": "cbf04a22-7fd5-4502-820f-cdb790525f3c",
                "version": "0.1.0", "account": "ann", "region": "fra1",
            });
            message[field] = value.into();
            serde_json::from_value::<ServerMessage>(message)
        };
        for field in ["version", "account", "region"] {
            welcome(field, "née").unwrap();
            for odd in ["\x1b]0;owned\x07", "a\nb", "\u{202e}", &"x".repeat(65)] {
                welcome(field, odd).unwrap_err();
            }
        }
        let bound = |url: &str| {
            let message = serde_json::json!({"t": "bound", "id": 1, "url": url});
            serde_json::from_value::<ServerMessage>(message)
        };
        for url in [
            "https://a.test",
            "http://a.localhost:8080",
            "https://a.test:8443/",
        ] {
            bound(url).unwrap();
        }
        for url in [
            "file:///etc/passwd",
            "vscode://a.test",
            "javascript:alert(1)",
            "https:///path",
            "https://a.test\n",
            "https://ann@a.test",
            "a.test",
            "",
        ] {
            bound(url).unwrap_err();
        }
        let stop = |message: &str| {
            let message = serde_json::json!({"t": "stop", "code": "replaced", "message": message});
            serde_json::from_value::<ServerMessage>(message)
        };
        stop(&"é".repeat(1000)).unwrap();
        stop(&"é".repeat(1001)).unwrap_err();
        stop("\x1b[2J").unwrap_err();
    }

    #[test]
    fn our_own_messages_are_short_enough_to_be_read() {
        for message in ["\0".repeat(60_000), "𝕏".repeat(60_000), "why".to_owned()] {
            let refused = ServerMessage::Refused {
                id: TunnelId(1),
                code: RefusalCode::NameForbidden,
                message,
            };
            let line = serde_json::to_vec(&refused).unwrap();
            assert!(line.len() < MAX_LINE, "{}", line.len());
            let read = serde_json::from_slice::<ServerMessage>(&line);
            if let ServerMessage::Refused { message, .. } = &refused
                && message == "why"
            {
                assert_eq!(read.unwrap(), refused);
            }
        }
    }

    /// Names of the fields of a message, of those within fields, too.
    fn names_within(message: &serde_json::Value) -> Vec<String> {
        let fields = message.as_object().into_iter().flatten();
        let names =
            fields.flat_map(|(name, value)| [vec![name.clone()], names_within(value)].concat());
        names.collect()
    }

    #[test]
    fn every_field_stands_in_the_table_of_its_message() {
        let hex = "0".repeat(64);
        let session = || SessionId::random();
        let (id, text) = (TunnelId(1), || "text".to_owned());
        let said_by_clients = [
            ClientMessage::Hello {
                version: text(),
                os: text(),
                resume: Some(Resume {
                    session: session(),
                    proof: serde_json::from_value(hex.clone().into()).unwrap(),
                    key: Some(Secret::new(&*hex)),
                    turn: Some(1),
                    join: true,
                }),
                times: true,
                upgrade_bodies: true,
                visitors: Some(Naming::All),
            },
            ClientMessage::Bind {
                id,
                kind: text(),
                name: text(),
                pool: true,
            },
            ClientMessage::Health { id, healthy: true },
            ClientMessage::Unbind { id },
            ClientMessage::Release,
            ClientMessage::Bye,
        ];
        let code = RefusalCode::NameTaken;
        let said_by_servers = [
            ServerMessage::Welcome {
                session: session(),
                version: text(),
                account: text(),
                region: Some(text()),
                resume: Some(Secret::new(&*hex)),
            },
            ServerMessage::Bound { id, url: text() },
            ServerMessage::Refused {
                id,
                code,
                message: text(),
            },
            ServerMessage::Unbound {
                id,
                code,
                message: text(),
            },
            ServerMessage::Drain { seconds: 1 },
            ServerMessage::Left {
                visitors: Vec::new(),
            },
            ServerMessage::Stop {
                code: StopCode::Replaced,
                message: text(),
            },
        ];
        let clients = said_by_clients.iter().map(serde_json::to_value);
        let servers = said_by_servers.iter().map(serde_json::to_value);
        for message in clients.chain(servers).map(Result::unwrap) {
            let row = format!("| `{}` |", message["t"].as_str().unwrap());
            let mut rows = include_str!("../../PROTOCOL.md").lines();
            let row = rows.find(|line| line.starts_with(&row)).expect(&row);
            for field in names_within(&message).iter().filter(|field| *field != "t") {
                assert!(row.contains(&format!("`{field}`")), "{field} in {row}");
            }
        }
    }

    #[test]
    fn what_is_not_known_is_ignored() {
        let message = serde_json::from_str::<ClientMessage>(r#"{"t":"sing","key":"d"}"#).unwrap();
        assert_eq!(message, ClientMessage::Unknown);
        let message =
            serde_json::from_str::<ClientMessage>(r#"{"t":"bye","reason":"night"}"#).unwrap();
        assert_eq!(message, ClientMessage::Bye);
        let code = serde_json::from_str::<RefusalCode>(r#""tired""#).unwrap();
        assert_eq!(code, RefusalCode::Other);
        let code = serde_json::from_str::<StopCode>(r#""tired""#).unwrap();
        assert_eq!(code, StopCode::Other);
    }
}
