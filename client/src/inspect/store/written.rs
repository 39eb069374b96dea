//! An exchange in tables.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version};
use ngrnotok_common::hostname::Name;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::{Deserialize, Serialize};
use tracing::debug;

use crate::inspect::exchange::{
    Answer, Captured, Direction, Exchange, ExchangeId, Kind, Message, MessageKind, Origin, Request,
    State, Timing,
};

/// Bodies lie beside the head, so that they are what they were, and lists can do without them.
pub(super) const TABLES: &str = "
    CREATE TABLE exchanges (
        id INTEGER PRIMARY KEY,
        -- Microseconds since 1970.
        at INTEGER NOT NULL,
        head TEXT NOT NULL,
        request BLOB NOT NULL,
        answer BLOB NOT NULL
    ) STRICT;
    CREATE INDEX exchanges_at ON exchanges (at);
    CREATE TABLE messages (
        exchange INTEGER NOT NULL REFERENCES exchanges (id) ON DELETE CASCADE,
        place INTEGER NOT NULL,
        head TEXT NOT NULL,
        payload BLOB NOT NULL,
        PRIMARY KEY (exchange, place)
    ) STRICT, WITHOUT ROWID;
";

#[derive(Serialize, Deserialize)]
struct Head {
    tunnel: Name,
    visitor: Option<IpAddr>,
    origin: Origin,
    method: String,
    uri: String,
    request: Part,
    status: Option<u16>,
    answer: Part,
    state: State,
    timing: Timing,
    kind: Kind,
    messages_gone: u64,
}

/// What is said in one direction, without its body.
#[derive(Default, Serialize, Deserialize)]
struct Part {
    version: String,
    fields: Vec<(String, String)>,
    trailers: Option<Vec<(String, String)>>,
    total: u64,
    ended: bool,
}

#[derive(Serialize, Deserialize)]
struct MessageHead {
    at: Duration,
    direction: Direction,
    kind: MessageKind,
    total: u64,
}

pub(super) fn micros(at: SystemTime) -> i64 {
    let since = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// Writes an exchange.
pub(super) fn write(connection: &Connection, exchange: &Exchange) -> rusqlite::Result<()> {
    let id = exchange.id.0.cast_signed();
    let (request, answer) = (&exchange.request, exchange.answer.as_ref());
    let head = Head {
        tunnel: exchange.tunnel.clone(),
        visitor: exchange.visitor,
        origin: exchange.origin,
        method: request.method.to_string(),
        uri: request.uri.to_string(),
        request: Part {
            version: format!("{:?}", request.version),
            fields: words(&request.fields),
            trailers: request.trailers.as_ref().map(words),
            total: request.body.total,
            ended: request.body.ended,
        },
        status: answer.map(|answer| answer.status.as_u16()),
        answer: answer.map_or_else(Part::default, |answer| Part {
            version: format!("{:?}", answer.version),
            fields: words(&answer.fields),
            trailers: answer.trailers.as_ref().map(words),
            total: answer.body.total,
            ended: answer.body.ended,
        }),
        state: exchange.state.clone(),
        timing: exchange.timing,
        kind: exchange.kind.clone(),
        messages_gone: exchange.messages_gone,
    };
    let body = answer.map_or(&b""[..], |answer| &answer.body.bytes);
    let mut add = connection.prepare_cached(
        "INSERT OR REPLACE INTO exchanges (id, at, head, request, answer) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    add.execute(params![
        id,
        micros(exchange.at),
        json(&head),
        &request.body.bytes[..],
        body
    ])?;
    let mut add = connection.prepare_cached(
        "INSERT OR REPLACE INTO messages (exchange, place, head, payload) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for (place, message) in (0_i64..).zip(&exchange.messages) {
        let head = MessageHead {
            at: message.at,
            direction: message.direction,
            kind: message.kind.clone(),
            total: message.payload.total,
        };
        add.execute(params![id, place, json(&head), &message.payload.bytes[..]])?;
    }
    Ok(())
}

/// The newest exchanges with up to so many bytes of bodies, oldest first. What cannot be read is left out.
pub(super) fn newest(connection: &Connection, bytes: usize) -> rusqlite::Result<Vec<Exchange>> {
    let mut select = connection
        .prepare("SELECT id, at, head, request, answer FROM exchanges ORDER BY id DESC")?;
    let mut rows = select.query([])?;
    let (mut all, mut size) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        let Some(mut exchange) = read(row)? else {
            debug!(id, "an exchange of the store cannot be read");
            continue;
        };
        exchange.messages = messages(connection, id)?;
        size += exchange.request.body.bytes.len();
        size += exchange
            .answer
            .as_ref()
            .map_or(0, |answer| answer.body.bytes.len());
        // What a head takes, about.
        size += 1024;
        if size > bytes {
            break;
        }
        all.push(exchange);
    }
    all.reverse();
    Ok(all)
}

/// The number of the newest exchange, also of one that cannot be read.
pub(super) fn last(connection: &Connection) -> rusqlite::Result<u64> {
    let last: Option<i64> = connection
        .query_row("SELECT max(id) FROM exchanges", [], |row| row.get(0))
        .optional()?
        .flatten();
    Ok(last.unwrap_or(0).cast_unsigned())
}

fn messages(connection: &Connection, exchange: i64) -> rusqlite::Result<Vec<Message>> {
    let mut select = connection
        .prepare_cached("SELECT head, payload FROM messages WHERE exchange = ?1 ORDER BY place")?;
    let mut rows = select.query([exchange])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        let head: String = row.get(0)?;
        let payload: Vec<u8> = row.get(1)?;
        let Ok(head) = serde_json::from_str::<MessageHead>(&head) else {
            continue;
        };
        all.push(Message {
            at: head.at,
            direction: head.direction,
            kind: head.kind,
            payload: Captured {
                bytes: payload.into(),
                total: head.total,
                ended: true,
            },
        });
    }
    Ok(all)
}

fn read(row: &Row<'_>) -> rusqlite::Result<Option<Exchange>> {
    let (id, at): (i64, i64) = (row.get(0)?, row.get(1)?);
    let head: String = row.get(2)?;
    let (request, answer): (Vec<u8>, Vec<u8>) = (row.get(3)?, row.get(4)?);
    Ok(understood(id, at, &head, request, answer))
}

fn understood(id: i64, at: i64, head: &str, request: Vec<u8>, answer: Vec<u8>) -> Option<Exchange> {
    let head: Head = serde_json::from_str(head).ok()?;
    let body = |bytes: Vec<u8>, part: &Part| Captured {
        bytes: Bytes::from(bytes),
        total: part.total,
        ended: part.ended,
    };
    let answer = match head.status {
        Some(status) => Some(Answer {
            status: StatusCode::from_u16(status).ok()?,
            version: version(&head.answer.version)?,
            fields: fields(&head.answer.fields)?,
            body: body(answer, &head.answer),
            trailers: trailers(head.answer.trailers.as_deref())?,
        }),
        None => None,
    };
    Some(Exchange {
        id: ExchangeId(id.cast_unsigned()),
        tunnel: head.tunnel,
        at: SystemTime::UNIX_EPOCH + Duration::from_micros(at.try_into().ok()?),
        visitor: head.visitor,
        origin: head.origin,
        request: Request {
            method: Method::from_bytes(head.method.as_bytes()).ok()?,
            uri: head.uri.parse::<Uri>().ok()?,
            version: version(&head.request.version)?,
            fields: fields(&head.request.fields)?,
            body: body(request, &head.request),
            trailers: trailers(head.request.trailers.as_deref())?,
        },
        answer,
        state: head.state,
        timing: head.timing,
        kind: head.kind,
        messages: Vec::new(),
        messages_gone: head.messages_gone,
    })
}

fn json(head: &impl Serialize) -> String {
    serde_json::to_string(head).expect("strings and numbers serialise")
}

fn version(word: &str) -> Option<Version> {
    let known = [
        Version::HTTP_09,
        Version::HTTP_10,
        Version::HTTP_11,
        Version::HTTP_2,
        Version::HTTP_3,
    ];
    known
        .into_iter()
        .find(|version| format!("{version:?}") == word)
}

/// Values may be any bytes: each becomes the character with its number, as in ISO 8859-1.
fn words(fields: &HeaderMap) -> Vec<(String, String)> {
    let fields = fields.iter().map(|(name, value)| {
        let value = value.as_bytes().iter().map(|&byte| char::from(byte));
        (name.as_str().to_owned(), value.collect())
    });
    fields.collect()
}

fn fields(words: &[(String, String)]) -> Option<HeaderMap> {
    let mut fields = HeaderMap::new();
    for (name, value) in words {
        let value: Option<Vec<u8>> = value.chars().map(|c| u8::try_from(c).ok()).collect();
        let value = HeaderValue::from_bytes(&value?).ok()?;
        fields.append(HeaderName::from_bytes(name.as_bytes()).ok()?, value);
    }
    Some(fields)
}

/// `None` if there are some that cannot be read.
#[expect(
    clippy::option_option,
    reason = "to have none is as good as to have some"
)]
fn trailers(words: Option<&[(String, String)]>) -> Option<Option<HeaderMap>> {
    match words {
        Some(words) => fields(words).map(Some),
        None => Some(None),
    }
}
