//! HAR to exchanges: our own archives, those of browsers and of other tools.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use data_encoding::BASE64;
use http::header::CONTENT_ENCODING;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version};
use ngrnotok_common::hostname::Name;
use ngrnotok_common::protocol::cause::Cause;
use serde::Deserialize;

use super::HarError;
use crate::inspect::{
    Answer, Captured, Direction, Exchange, ExchangeId, Kind, Message, MessageKind, Origin, Request,
    State, Timing,
};

/// Reads an archive. Its exchanges have no numbers yet; a recorder gives them when it takes them.
pub fn import(archive: &[u8]) -> Result<Vec<Exchange>, HarError> {
    // Some write a byte order mark.
    let archive = archive.strip_prefix(b"\xef\xbb\xbf").unwrap_or(archive);
    let archive: Archive = serde_json::from_slice(archive)?;
    let entries = archive.log.entries.into_iter().enumerate();
    let exchanges = entries
        .map(|(place, entry)| exchange(&entry).map_err(|what| HarError::Entry { place, what }));
    exchanges.collect()
}

#[derive(Deserialize)]
struct Archive {
    log: Log,
}

#[derive(Deserialize)]
struct Log {
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    started_date_time: String,
    request: Asked,
    response: Answered,
    #[serde(default)]
    timings: Timings,
    #[serde(default, rename = "_webSocketMessages")]
    messages: Vec<Said>,
    #[serde(rename = "_ngrnotok")]
    ours: Option<Particulars>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    method: String,
    url: String,
    http_version: String,
    headers: Vec<Field>,
    post_data: Option<PostData>,
}

#[derive(Deserialize)]
struct PostData {
    #[serde(default)]
    text: String,
    #[serde(rename = "_encoding")]
    encoding: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answered {
    status: u16,
    http_version: String,
    headers: Vec<Field>,
    content: Content,
    #[serde(rename = "_error")]
    error: Option<String>,
}

#[derive(Deserialize)]
struct Content {
    #[serde(default)]
    text: String,
    encoding: Option<String>,
}

#[derive(Deserialize)]
struct Field {
    name: String,
    value: String,
    #[serde(rename = "_base64")]
    base64: Option<String>,
}

/// In milliseconds; -1 where there is none.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Timings {
    send: f64,
    wait: f64,
    receive: f64,
}

#[derive(Deserialize)]
struct Said {
    #[serde(rename = "type")]
    direction: String,
    #[serde(default)]
    time: f64,
    opcode: i32,
    data: String,
    #[serde(rename = "_at")]
    at: Option<u64>,
    #[serde(rename = "_total")]
    total: Option<u64>,
    #[serde(rename = "_ended")]
    ended: Option<bool>,
    #[serde(rename = "_base64")]
    base64: Option<bool>,
    #[serde(default, rename = "_particulars")]
    particulars: MessageParticulars,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct MessageParticulars {
    code: Option<u16>,
    event: String,
    id: String,
    compressed: bool,
}

#[derive(Deserialize)]
struct Particulars {
    tunnel: String,
    visitor: Option<std::net::IpAddr>,
    state: String,
    cause: Option<String>,
    reason: Option<String>,
    kind: String,
    request: BodyParticulars,
    answer: Option<BodyParticulars>,
    nanoseconds: Nanoseconds,
    #[serde(default)]
    messages: Vec<Said>,
    #[serde(default)]
    messages_gone: u64,
}

#[derive(Deserialize)]
struct BodyParticulars {
    total: u64,
    ended: bool,
    trailers: Option<Vec<Field>>,
    packed: Option<String>,
}

#[derive(Deserialize)]
struct Nanoseconds {
    request_ended: Option<u64>,
    answered: Option<u64>,
    ended: Option<u64>,
    round_trip: Option<u64>,
    edge: Option<u64>,
}

fn exchange(entry: &Entry) -> Result<Exchange, String> {
    let Entry {
        request,
        response,
        ours,
        ..
    } = entry;
    let at: jiff::Timestamp = entry
        .started_date_time
        .parse()
        .map_err(|_| format!("no time: {:?}", entry.started_date_time))?;
    let at = SystemTime::from(at);
    let method = Method::from_bytes(request.method.as_bytes())
        .map_err(|_| format!("no method: {:?}", request.method))?;
    let uri: Uri = without_fragment(&request.url)
        .parse()
        .map_err(|_| format!("no address: {:?}", request.url))?;
    let body = match &request.post_data {
        Some(data) => unpack(&data.text, data.encoding.as_deref())?,
        None => Bytes::new(),
    };
    let answer = match response.status {
        0 => None,
        _ => Some(answer(response, ours.as_ref())?),
    };
    let tunnel = match ours {
        Some(ours) => ours.tunnel.parse().ok(),
        None => None,
    };
    let kind = kind(entry, answer.as_ref());
    let said = match ours {
        Some(ours) if kind != Kind::WebSocket => &ours.messages,
        _ => &entry.messages,
    };
    let messages: Result<_, String> = said.iter().map(|said| message(said, at)).collect();
    let request_ours = ours.as_ref().map(|ours| &ours.request);
    Ok(Exchange {
        id: ExchangeId::default(),
        tunnel: tunnel.unwrap_or_else(imported),
        at,
        visitor: ours.as_ref().and_then(|ours| ours.visitor),
        origin: Origin::Imported,
        request: Request {
            method,
            uri,
            version: version(&request.http_version),
            fields: fields(&request.headers)?,
            trailers: trailers(request_ours)?,
            body: captured(body, request_ours),
        },
        state: state(response, ours.as_ref()),
        answer,
        timing: timing(entry),
        kind,
        messages: messages?,
        messages_gone: ours.as_ref().map_or(0, |ours| ours.messages_gone),
    })
}

/// The tunnel of what went through none.
fn imported() -> Name {
    "imported".parse().expect("a good name")
}

/// Browsers write it, and it never leaves them.
fn without_fragment(url: &str) -> &str {
    url.split('#').next().unwrap_or_default()
}

fn answer(response: &Answered, ours: Option<&Particulars>) -> Result<Answer, String> {
    let ours = ours.and_then(|ours| ours.answer.as_ref());
    let mut fields = fields(&response.headers)?;
    let packed = ours.and_then(|ours| ours.packed.as_deref());
    let body = match packed {
        Some(packed) => unpack(packed, Some("base64"))?,
        None => unpack(&response.content.text, response.content.encoding.as_deref())?,
    };
    if ours.is_none() {
        // Others write it unpacked and leave the field as it was.
        fields.remove(CONTENT_ENCODING);
    }
    Ok(Answer {
        status: StatusCode::from_u16(response.status)
            .map_err(|_| format!("no status: {}", response.status))?,
        version: version(&response.http_version),
        fields,
        body: captured(body, ours),
        trailers: trailers(ours)?,
    })
}

fn captured(bytes: Bytes, ours: Option<&BodyParticulars>) -> Captured {
    match ours {
        Some(ours) => Captured {
            total: ours.total.max(bytes.len() as u64),
            ended: ours.ended,
            bytes,
        },
        None => Captured::whole(bytes),
    }
}

fn trailers(ours: Option<&BodyParticulars>) -> Result<Option<HeaderMap>, String> {
    let trailers = ours.and_then(|ours| ours.trailers.as_ref());
    trailers.map(|trailers| fields(trailers)).transpose()
}

fn unpack(text: &str, encoding: Option<&str>) -> Result<Bytes, String> {
    match encoding {
        Some("base64") => BASE64
            .decode(text.as_bytes())
            .map(Bytes::from)
            .map_err(|_| "a body that is no base64, though it says so".to_owned()),
        _ => Ok(Bytes::copy_from_slice(text.as_bytes())),
    }
}

fn fields(lines: &[Field]) -> Result<HeaderMap, String> {
    let mut fields = HeaderMap::new();
    // Browsers list what HTTP/2 says instead of the first line, too.
    for line in lines.iter().filter(|line| !line.name.starts_with(':')) {
        let odd = || format!("a field that cannot be one: {:?}", line.name);
        let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(|_| odd())?;
        let bytes = match &line.base64 {
            Some(packed) => unpack(packed, Some("base64"))?,
            None => Bytes::copy_from_slice(line.value.as_bytes()),
        };
        let value = HeaderValue::from_maybe_shared(bytes).map_err(|_| odd())?;
        fields.append(name, value);
    }
    Ok(fields)
}

fn version(word: &str) -> Version {
    match word.to_ascii_lowercase().as_str() {
        "http/0.9" => Version::HTTP_09,
        "http/1.0" => Version::HTTP_10,
        "h2" | "http/2" | "http/2.0" => Version::HTTP_2,
        "h3" | "http/3" | "http/3.0" => Version::HTTP_3,
        _ => Version::HTTP_11,
    }
}

fn state(response: &Answered, ours: Option<&Particulars>) -> State {
    let Some(ours) = ours else {
        return match (&response.error, response.status) {
            (Some(error), 0) => State::Broken(error.clone()),
            (None, 0) => State::Broken("no answer".to_owned()),
            _ => State::Done,
        };
    };
    let reason = || ours.reason.clone().unwrap_or_default();
    let cause = ours.cause.as_ref();
    let cause = cause.and_then(|code| Cause::from_code(code.as_bytes()));
    match (ours.state.as_str(), cause) {
        ("open", _) => State::Open,
        ("done", _) => State::Done,
        ("visitor_left", _) => State::VisitorLeft,
        ("trouble", Some(cause)) => State::Trouble(cause, reason()),
        _ => State::Broken(reason()),
    }
}

fn kind(entry: &Entry, answer: Option<&Answer>) -> Kind {
    let Some(ours) = &entry.ours else {
        let events = answer.is_some_and(|answer| {
            let kind = answer.fields.get(http::header::CONTENT_TYPE);
            kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
        });
        return match entry.messages.is_empty() {
            false => Kind::WebSocket,
            true if events => Kind::Events,
            true => Kind::Plain,
        };
    };
    match ours.kind.as_str() {
        "plain" => Kind::Plain,
        "events" => Kind::Events,
        "grpc" => Kind::Grpc,
        "websocket" => Kind::WebSocket,
        other => Kind::Upgraded(other.to_owned()),
    }
}

fn timing(entry: &Entry) -> Timing {
    if let Some(Particulars { nanoseconds, .. }) = &entry.ours {
        let time = |nanos: Option<u64>| nanos.map(Duration::from_nanos);
        return Timing {
            request_ended: time(nanoseconds.request_ended),
            answered: time(nanoseconds.answered),
            ended: time(nanoseconds.ended),
            round_trip: time(nanoseconds.round_trip),
            edge: time(nanoseconds.edge),
        };
    }
    let Timings {
        send,
        wait,
        receive,
    } = entry.timings;
    // No time is so long that it has no sum; odd numbers are none.
    let time = |ms: f64| Duration::try_from_secs_f64(ms.clamp(0.0, 1e12) / 1e3).unwrap_or_default();
    let sent = time(send);
    let answered = sent + time(wait);
    Timing {
        request_ended: Some(sent),
        answered: (entry.response.status != 0).then_some(answered),
        ended: Some(answered + time(receive)),
        round_trip: None,
        edge: None,
    }
}

fn message(said: &Said, began: SystemTime) -> Result<Message, String> {
    let particulars = &said.particulars;
    let kind = match said.opcode {
        1 => MessageKind::Text,
        8 => MessageKind::Close {
            code: particulars.code,
        },
        9 => MessageKind::Ping,
        10 => MessageKind::Pong,
        -1 => MessageKind::Event {
            event: particulars.event.clone(),
            id: particulars.id.clone(),
        },
        -3 => MessageKind::Packed,
        -2 => MessageKind::Grpc {
            compressed: particulars.compressed,
        },
        _ => MessageKind::Binary,
    };
    // Chrome packs what is no text.
    let packed = said.base64.unwrap_or(said.opcode != 1);
    let bytes = unpack(&said.data, packed.then_some("base64"))?;
    let at = match said.at {
        Some(nanos) => Duration::from_nanos(nanos),
        None => {
            let began = began.duration_since(std::time::UNIX_EPOCH);
            let time = Duration::try_from_secs_f64(said.time).unwrap_or_default();
            time.saturating_sub(began.unwrap_or_default())
        }
    };
    Ok(Message {
        at,
        direction: match said.direction.as_str() {
            "send" => Direction::FromVisitor,
            _ => Direction::FromApp,
        },
        kind,
        payload: Captured {
            total: said.total.unwrap_or(bytes.len() as u64),
            ended: said.ended.unwrap_or(true),
            bytes,
        },
    })
}
