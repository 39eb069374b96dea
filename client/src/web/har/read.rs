//! HAR to exchanges: our own archives, those of browsers and of other tools.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use data_encoding::BASE64;
use http::header::CONTENT_ENCODING;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version};
use ngrnotok_common::hostname::Name;
use ngrnotok_common::protocol::cause::Cause;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::HarError;
use crate::inspect::{
    Answer, Captured, Direction, Exchange, ExchangeId, Kind, Message, MessageKind, Origin, Request,
    State, Timing,
};

/// What an archive holds.
#[derive(Debug, Default)]
pub struct Import {
    /// The exchanges. They have no numbers yet; a recorder gives them when it takes them.
    pub exchanges: Vec<Exchange>,
    /// The first entries that make no exchange, [`LeftOut::LISTED`] at most.
    pub left_out: Vec<LeftOut>,
    /// How many entries make no exchange.
    pub left_out_count: usize,
}

/// An entry that makes no exchange.
#[derive(Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Its place among the entries, counted from 0.
    pub entry: usize,
    /// Why it was left out.
    pub reason: String,
}

impl LeftOut {
    /// So many are listed: 100.
    pub const LISTED: usize = 100;
}

/// Reads an archive, entry by entry: one that makes no exchange keeps no other out.
pub fn import(archive: &[u8]) -> Result<Import, HarError> {
    // Some write a byte order mark.
    let archive = archive.strip_prefix(b"\xef\xbb\xbf").unwrap_or(archive);
    let archive: Archive<'_> = serde_json::from_slice(archive)?;
    let mut import = Import::default();
    for (place, entry) in archive.log.entries.into_iter().enumerate() {
        let read = serde_json::from_str::<Entry>(entry.get())
            .map_err(|error| error.to_string())
            .and_then(|entry| exchange(&entry));
        match read {
            Ok(exchange) => import.exchanges.push(exchange),
            Err(reason) => {
                import.left_out_count += 1;
                if import.left_out.len() < LeftOut::LISTED {
                    let entry = place;
                    import.left_out.push(LeftOut { entry, reason });
                }
            }
        }
    }
    Ok(import)
}

#[derive(Deserialize)]
struct Archive<'a> {
    #[serde(borrow)]
    log: Log<'a>,
}

#[derive(Deserialize)]
struct Log<'a> {
    #[serde(borrow)]
    entries: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    started_date_time: String,
    request: Asked,
    #[serde(default, deserialize_with = "or_default")]
    response: Answered,
    #[serde(default, deserialize_with = "or_default")]
    timings: Timings,
    #[serde(
        default,
        deserialize_with = "or_default",
        rename = "_webSocketMessages"
    )]
    messages: Vec<Said>,
    #[serde(rename = "_ngrnotok")]
    ours: Option<Particulars>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    method: String,
    url: String,
    #[serde(default, deserialize_with = "or_default")]
    http_version: String,
    #[serde(default, deserialize_with = "or_default")]
    headers: Vec<Field>,
    post_data: Option<PostData>,
}

#[derive(Deserialize)]
struct PostData {
    #[serde(default, deserialize_with = "or_default")]
    text: String,
    #[serde(rename = "_encoding")]
    encoding: Option<String>,
}

/// No answer is one with the status 0, or -1 as Playwright writes it.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Answered {
    status: i32,
    #[serde(deserialize_with = "or_default")]
    http_version: String,
    #[serde(deserialize_with = "or_default")]
    headers: Vec<Field>,
    #[serde(deserialize_with = "or_default")]
    content: Content,
    /// Chrome's word on why there is no answer.
    #[serde(rename = "_error")]
    error: Option<String>,
    /// Playwright's.
    #[serde(rename = "_failureText")]
    failure: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Content {
    #[serde(deserialize_with = "or_default")]
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

/// In milliseconds; -1 or null where there is none.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Timings {
    #[serde(deserialize_with = "or_default")]
    send: f64,
    #[serde(deserialize_with = "or_default")]
    wait: f64,
    #[serde(deserialize_with = "or_default")]
    receive: f64,
}

/// Some tools write null for what they do not know.
fn or_default<'de, T, D>(from: D) -> Result<T, D::Error>
where
    T: Deserialize<'de> + Default,
    D: Deserializer<'de>,
{
    Option::deserialize(from).map(Option::unwrap_or_default)
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
    let at = time(&entry.started_date_time)?;
    let method = Method::from_bytes(request.method.as_bytes())
        .map_err(|_| odd("the method", &request.method))?;
    let uri = address(&request.url)?;
    let body = match &request.post_data {
        Some(data) => unpack(&data.text, data.encoding.as_deref())?,
        None => Bytes::new(),
    };
    let answer = match response.status {
        ..=0 => None,
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

/// Quotes what cannot be used, as far as a line has room for it.
fn odd(what: &str, text: &str) -> String {
    match text.char_indices().nth(64) {
        Some((end, _)) => format!("{what} cannot be used: {:?}…", &text[..end]),
        None => format!("{what} cannot be used: {text:?}"),
    }
}

/// Tools that leave the zone out mean UTC.
fn time(text: &str) -> Result<SystemTime, String> {
    let in_utc = || {
        let civil: jiff::civil::DateTime = text.parse().ok()?;
        Some(civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    };
    let at = text.parse::<jiff::Timestamp>().ok().or_else(in_utc);
    at.map(SystemTime::from)
        .ok_or_else(|| odd("the time", text))
}

/// The address of a request. Browsers also write the fragment, and the user and password before the host; none
/// of these travels in a request.
fn address(url: &str) -> Result<Uri, String> {
    let refused = || {
        odd(
            "the address, which must begin with http:// or https:// and a host,",
            url,
        )
    };
    let without_fragment = url.split('#').next().unwrap_or_default();
    let uri: Uri = without_fragment.parse().map_err(|_| refused())?;
    let mut parts = uri.into_parts();
    let is_http = parts
        .scheme
        .as_ref()
        .is_some_and(|scheme| ["http", "https", "ws", "wss"].contains(&scheme.as_str()));
    let host = parts.authority.as_ref().filter(|_| is_http);
    let host = host.ok_or_else(refused)?.as_str();
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    parts.authority = Some(host.parse().map_err(|_| refused())?);
    Uri::from_parts(parts).map_err(|_| refused())
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
        status: u16::try_from(response.status)
            .ok()
            .and_then(|status| StatusCode::from_u16(status).ok())
            .ok_or_else(|| odd("the status", &response.status.to_string()))?,
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
        let odd = || odd("the field", &line.name);
        let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(|_| odd())?;
        let bytes = match &line.base64 {
            Some(packed) => unpack(packed, Some("base64"))?,
            None => Bytes::copy_from_slice(line.value.as_bytes()),
        };
        // Chrome and Playwright join fields of the same name with a line end.
        for value in bytes.split(|&byte| byte == b'\n') {
            let value = value.strip_suffix(b"\r").unwrap_or(value);
            let value = HeaderValue::from_bytes(value).map_err(|_| odd())?;
            fields.append(&name, value);
        }
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
        let error = response.error.as_ref().or(response.failure.as_ref());
        return match (error, response.status) {
            (Some(error), ..=0) => State::Broken(error.clone()),
            (None, ..=0) => State::Broken("no answer".to_owned()),
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
        answered: (entry.response.status > 0).then_some(answered),
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
