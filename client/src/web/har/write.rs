//! Exchanges to HAR.

use std::time::Duration;

use axum::extract::Query;
use data_encoding::BASE64;
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderMap, Uri, Version};
use serde_json::{Value, json};

use crate::inspect::{
    Answer, Captured, Decoded, Direction, Exchange, Kind, Message, MessageKind, Origin, State,
    decoded, mask,
};

/// The most that a packed body is unpacked to: 16 MiB.
const UNPACKED: usize = 16 * 1024 * 1024;

/// By how much all bodies of an archive may grow when they are unpacked: 256 MiB. A visitor can have many sent that
/// are a thousand times larger unpacked.
const GROWTH: usize = 256 * 1024 * 1024;

/// Writes an archive of these exchanges. Without `secrets`, what is secret is hidden, and stays so.
pub fn export(exchanges: impl Iterator<Item = Exchange>, secrets: bool) -> Vec<u8> {
    export_within(GROWTH, exchanges, secrets)
}

/// The same, with room for bodies to grow.
pub(super) fn export_within(
    mut room: usize,
    exchanges: impl Iterator<Item = Exchange>,
    secrets: bool,
) -> Vec<u8> {
    let creator = json!({ "name": "ngrnotok", "version": env!("CARGO_PKG_VERSION") });
    let mut text = format!("{{\"log\":{{\"version\":\"1.2\",\"creator\":{creator},\"entries\":[");
    for (place, mut exchange) in exchanges.enumerate() {
        if !secrets {
            hide(&mut exchange);
        }
        if place > 0 {
            text.push(',');
        }
        // One at a time: all of them as values would be several times as large.
        text.push_str(&entry(&exchange, &mut room).to_string());
    }
    text.push_str("]}}");
    text.into_bytes()
}

fn hide(exchange: &mut Exchange) {
    mask(&mut exchange.request.fields);
    exchange.request.trailers.as_mut().map(mask);
    if let Some(answer) = &mut exchange.answer {
        mask(&mut answer.fields);
        answer.trailers.as_mut().map(mask);
    }
}

fn entry(exchange: &Exchange, room: &mut usize) -> Value {
    let answer = exchange.answer.as_ref();
    let unpacked = answer.map(|answer| unpacked(answer, room));
    let timing = &exchange.timing;
    let ended = timing.ended.unwrap_or_default();
    let answered = timing.answered.unwrap_or(ended);
    // An app may answer before it has read everything.
    let sent = timing.request_ended.unwrap_or_default().min(answered);
    let mut entry = json!({
        "startedDateTime": jiff::Timestamp::try_from(exchange.at).unwrap_or_default().to_string(),
        "time": ms(ended.max(answered)),
        "request": request(exchange),
        "response": response(exchange, unpacked.as_ref()),
        "cache": {},
        "timings": {
            "blocked": -1, "dns": -1, "connect": -1, "ssl": -1,
            "send": ms(sent),
            "wait": ms(answered - sent),
            "receive": ms(ended.saturating_sub(answered)),
        },
        "_ngrnotok": particulars(exchange, unpacked.as_ref()),
    });
    let messages: Vec<Value> = exchange
        .messages
        .iter()
        .map(|message| self::message(exchange, message))
        .collect();
    if exchange.kind == Kind::WebSocket {
        entry["_resourceType"] = json!("websocket");
        entry["_webSocketMessages"] = json!(messages);
    } else if !messages.is_empty() {
        entry["_ngrnotok"]["messages"] = json!(messages);
    }
    entry
}

fn request(exchange: &Exchange) -> Value {
    let request = &exchange.request;
    let mut value = json!({
        "method": request.method.as_str(),
        "url": request.uri.to_string(),
        "httpVersion": version(request.version),
        "cookies": [],
        "headers": fields(&request.fields),
        "queryString": query(&request.uri),
        "headersSize": -1,
        "bodySize": request.body.total,
    });
    let body = &request.body;
    if body.total > 0 {
        let (text, encoding) = text(&body.bytes);
        let mut data = json!({ "mimeType": kind_of(&request.fields), "text": text });
        if let Some(encoding) = encoding {
            data["_encoding"] = json!(encoding);
        }
        if let Some(comment) = cut(body) {
            data["comment"] = json!(comment);
        }
        value["postData"] = data;
    }
    value
}

/// The body of an answer as HAR wants to see it. Where there is no room left it is unpacked to its packed size.
fn unpacked(answer: &Answer, room: &mut usize) -> Decoded {
    let packed = &answer.body.bytes;
    let limit = UNPACKED.min(*room).max(packed.len());
    let unpacked = decoded(packed, &answer.fields, limit);
    *room = room.saturating_sub(unpacked.bytes.len().saturating_sub(packed.len()));
    unpacked
}

fn response(exchange: &Exchange, unpacked: Option<&Decoded>) -> Value {
    let (Some(answer), Some(unpacked)) = (&exchange.answer, unpacked) else {
        // As browsers write a request that got nothing.
        return json!({
            "status": 0, "statusText": "", "httpVersion": "", "cookies": [], "headers": [],
            "content": { "size": 0, "mimeType": "x-unknown" },
            "redirectURL": "", "headersSize": -1, "bodySize": -1,
            "_error": trouble(exchange),
        });
    };
    let location = answer.fields.get(LOCATION);
    json!({
        "status": answer.status.as_u16(),
        "statusText": answer.status.canonical_reason().unwrap_or_default(),
        "httpVersion": version(answer.version),
        "cookies": [],
        "headers": fields(&answer.fields),
        "content": content(answer, unpacked),
        "redirectURL": location.and_then(|to| to.to_str().ok()).unwrap_or_default(),
        "headersSize": -1,
        "bodySize": answer.body.total,
    })
}

fn trouble(exchange: &Exchange) -> String {
    match &exchange.state {
        State::Trouble(cause, detail) => format!("{}: {detail}", cause.code()),
        State::Broken(reason) => reason.clone(),
        _ => String::new(),
    }
}

fn content(answer: &Answer, unpacked: &Decoded) -> Value {
    let (text, encoding) = text(&unpacked.bytes);
    let mut content = json!({
        "size": unpacked.bytes.len(),
        "mimeType": kind_of(&answer.fields),
        "text": text,
    });
    if let Some(encoding) = encoding {
        content["encoding"] = json!(encoding);
    }
    let only = unpacked.cut && !answer.body.is_cut();
    let only = only.then(|| format!("cut: unpacked as far as {} bytes", unpacked.bytes.len()));
    let comments = [cut(&answer.body), only, unpacked.trouble.clone()];
    let comments: Vec<String> = comments.into_iter().flatten().collect();
    if !comments.is_empty() {
        content["comment"] = json!(comments.join("; "));
    }
    content
}

fn cut(body: &Captured) -> Option<String> {
    body.is_cut().then(|| {
        format!(
            "cut: the first {} of {} bytes",
            body.bytes.len(),
            body.total
        )
    })
}

fn text(bytes: &[u8]) -> (String, Option<&'static str>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (text.to_owned(), None),
        Err(_) => (BASE64.encode(bytes), Some("base64")),
    }
}

fn kind_of(fields: &HeaderMap) -> String {
    let kind = fields.get(CONTENT_TYPE);
    let kind = kind.map(|kind| String::from_utf8_lossy(kind.as_bytes()).into_owned());
    kind.unwrap_or_else(|| "x-unknown".to_owned())
}

fn fields(fields: &HeaderMap) -> Value {
    let lines = fields.iter().map(|(name, value)| {
        let bytes = value.as_bytes();
        match std::str::from_utf8(bytes) {
            Ok(text) => json!({ "name": name.as_str(), "value": text }),
            Err(_) => json!({
                "name": name.as_str(),
                "value": bytes.iter().map(|&byte| char::from(byte)).collect::<String>(),
                "_base64": BASE64.encode(bytes),
            }),
        }
    });
    lines.collect()
}

fn query(uri: &Uri) -> Value {
    let pairs = Query::<Vec<(String, String)>>::try_from_uri(uri);
    let pairs = pairs.map(|Query(pairs)| pairs).unwrap_or_default();
    let pairs = pairs
        .into_iter()
        .map(|(name, value)| json!({ "name": name, "value": value }));
    pairs.collect()
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_11 => "HTTP/1.1",
        Version::HTTP_3 => "h3",
        _ => "h2",
    }
}

/// What HAR has no place for.
fn particulars(exchange: &Exchange, unpacked: Option<&Decoded>) -> Value {
    let timing = &exchange.timing;
    let nanos = |time: Option<Duration>| time.map(|time| time.as_nanos() as u64);
    let (state, cause, reason) = match &exchange.state {
        State::Open => ("open", None, None),
        State::Done => ("done", None, None),
        State::VisitorLeft => ("visitor_left", None, None),
        State::Broken(reason) => ("broken", None, Some(reason)),
        State::Trouble(cause, detail) => ("trouble", Some(cause.code()), Some(detail)),
    };
    let body = |body: &Captured, trailers: Option<&HeaderMap>| {
        json!({
            "total": body.total,
            "ended": body.ended,
            "trailers": trailers.map(fields),
        })
    };
    let answer = exchange.answer.as_ref().map(|answer| {
        let mut value = body(&answer.body, answer.trailers.as_ref());
        if unpacked.is_some_and(|unpacked| unpacked.bytes != answer.body.bytes) {
            value["packed"] = json!(BASE64.encode(&answer.body.bytes));
        }
        value
    });
    let (origin, of, edited) = match exchange.origin {
        Origin::Visitor => ("visitor", None, false),
        Origin::Resent { of, edited } => ("resent", Some(of), edited),
        Origin::Imported => ("imported", None, false),
    };
    json!({
        "id": exchange.id,
        "tunnel": exchange.tunnel.as_str(),
        "visitor": exchange.visitor,
        "origin": origin,
        "resent_of": of,
        "edited": edited,
        "state": state,
        "cause": cause,
        "reason": reason,
        "kind": match &exchange.kind {
            Kind::Plain => "plain",
            Kind::Events => "events",
            Kind::Grpc => "grpc",
            Kind::WebSocket => "websocket",
            Kind::Upgraded(protocol) => protocol,
        },
        "request": body(&exchange.request.body, exchange.request.trailers.as_ref()),
        "answer": answer,
        "nanoseconds": {
            "request_ended": nanos(timing.request_ended),
            "answered": nanos(timing.answered),
            "ended": nanos(timing.ended),
            "round_trip": nanos(timing.round_trip),
            "edge": nanos(timing.edge),
        },
        "messages_gone": exchange.messages_gone,
    })
}

/// A message as Chrome writes those of a WebSocket, with more for those of other kinds.
fn message(exchange: &Exchange, message: &Message) -> Value {
    let at = exchange.at + message.at;
    let at = at.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let payload = &message.payload;
    let (opcode, particulars) = match &message.kind {
        MessageKind::Text => (1, json!({})),
        MessageKind::Binary => (2, json!({})),
        MessageKind::Close { code } => (8, json!({ "code": code })),
        MessageKind::Ping => (9, json!({})),
        MessageKind::Pong => (10, json!({})),
        MessageKind::Packed => (-3, json!({})),
        MessageKind::Event { event, id } => (-1, json!({ "event": event, "id": id })),
        MessageKind::Grpc { compressed } => (-2, json!({ "compressed": compressed })),
    };
    let text = match opcode {
        1 | -1 => std::str::from_utf8(&payload.bytes).ok(),
        _ => None,
    };
    let mut value = json!({
        // Seen from the browser.
        "type": match message.direction {
            Direction::FromVisitor => "send",
            Direction::FromApp => "receive",
        },
        "time": at.as_secs_f64(),
        "opcode": opcode,
        "data": text.map_or_else(|| BASE64.encode(&payload.bytes), ToOwned::to_owned),
        "_at": message.at.as_nanos() as u64,
        "_total": payload.total,
        "_ended": payload.ended,
        "_base64": text.is_none(),
    });
    if particulars.as_object().is_some_and(|some| !some.is_empty()) {
        value["_particulars"] = particulars;
    }
    value
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
