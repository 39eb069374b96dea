use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, COOKIE};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use ngrnotok_common::protocol::cause::Cause;
use serde_json::{Value, json};

use super::*;
use crate::inspect::{
    Answer, Captured, Direction, Exchange, ExchangeId, Kind, Message, MessageKind, Origin, Request,
    State, Timing,
};

fn exchange() -> Exchange {
    let mut fields = HeaderMap::new();
    fields.insert(COOKIE, HeaderValue::from_static("session=secret"));
    fields.append("x-odd", HeaderValue::from_bytes(b"\xff\x80").unwrap());
    fields.append("x-odd", HeaderValue::from_static("two"));
    Exchange {
        id: ExchangeId(7),
        tunnel: "app".parse().unwrap(),
        at: SystemTime::UNIX_EPOCH + Duration::new(1_800_000_000, 123_456_789),
        visitor: Some("192.0.2.7".parse().unwrap()),
        origin: Origin::Imported,
        request: Request {
            method: Method::POST,
            uri: "https://app.test/a%20b?c=d&e=f%26".parse().unwrap(),
            version: Version::HTTP_2,
            fields,
            body: Captured::whole("sku=otter"),
            trailers: None,
        },
        answer: Some(Answer {
            status: StatusCode::CREATED,
            version: Version::HTTP_11,
            fields: HeaderMap::new(),
            body: Captured::whole("{\"id\": 1}"),
            trailers: Some(HeaderMap::from_iter([(
                "grpc-status".parse().unwrap(),
                HeaderValue::from_static("0"),
            )])),
        }),
        state: State::Done,
        timing: Timing {
            request_ended: Some(Duration::from_nanos(1_234_567)),
            answered: Some(Duration::from_micros(9_876)),
            ended: Some(Duration::from_nanos(10_000_001)),
            round_trip: Some(Duration::from_micros(321)),
            edge: None,
        },
        kind: Kind::Plain,
        messages: Vec::new(),
        messages_gone: 0,
    }
}

/// Each in its way hard to write down.
fn exchanges() -> Vec<Exchange> {
    let plain = exchange();
    let mut binary = exchange();
    binary.request.body = Captured::whole(&b"\x00\xff\xfe"[..]);
    let mut cut = exchange();
    cut.request.body.total = 5000;
    cut.state = State::VisitorLeft;
    let mut packed = exchange();
    if let Some(answer) = &mut packed.answer {
        answer
            .fields
            .insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        answer
            .fields
            .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        // "an otter", as gzip packs it.
        let bytes = data_encoding::HEXLOWER
            .decode(b"1f8b08000000000002034bcc53c82f29492d02005ef8cec608000000");
        answer.body = Captured::whole(bytes.unwrap());
    }
    let mut trouble = exchange();
    trouble.answer = None;
    trouble.state = State::Trouble(Cause::LocalRefused, "localhost:3000: refused".into());
    trouble.timing = Timing::default();
    let mut broken = exchange();
    broken.state = State::Broken("it broke off".into());
    let mut socket = exchange();
    socket.kind = Kind::WebSocket;
    socket.messages_gone = 3;
    socket.messages = said([
        MessageKind::Text,
        MessageKind::Binary,
        MessageKind::Ping,
        MessageKind::Pong,
        MessageKind::Packed,
        MessageKind::Close { code: Some(1000) },
        MessageKind::Close { code: None },
    ]);
    let mut events = exchange();
    events.kind = Kind::Events;
    let (event, id) = ("tick".to_owned(), "4".to_owned());
    events.messages = said([MessageKind::Event { event, id }]);
    let mut grpc = exchange();
    grpc.kind = Kind::Grpc;
    grpc.messages = said([MessageKind::Grpc { compressed: true }]);
    let mut other = exchange();
    other.kind = Kind::Upgraded("tcp".into());
    vec![
        plain, binary, cut, packed, trouble, broken, socket, events, grpc, other,
    ]
}

fn said(kinds: impl IntoIterator<Item = MessageKind>) -> Vec<Message> {
    let messages = kinds.into_iter().map(|kind| Message {
        at: Duration::from_nanos(5_000_003),
        direction: Direction::FromVisitor,
        payload: match kind {
            MessageKind::Text | MessageKind::Event { .. } => Captured::whole("hello"),
            _ => Captured {
                bytes: Bytes::from_static(b"\x00\xffhello"),
                total: 90,
                ended: false,
            },
        },
        kind,
    });
    messages.collect()
}

fn entries(archive: &[u8]) -> Vec<Value> {
    let archive: Value = serde_json::from_slice(archive).unwrap();
    assert_eq!(archive["log"]["version"], "1.2");
    archive["log"]["entries"].as_array().unwrap().clone()
}

#[test]
fn what_is_written_is_read_again() {
    let archive = export(exchanges().into_iter(), true);
    let read = import(&archive).unwrap().exchanges;
    assert_eq!(read.len(), exchanges().len());
    for (read, mut written) in read.into_iter().zip(exchanges()) {
        // The recorder that takes it gives it another.
        written.id = ExchangeId::default();
        assert_eq!(read, written);
    }
    assert_eq!(export(exchanges().into_iter(), true), archive);
}

#[test]
fn secrets_are_written_only_for_who_asks() {
    let hidden = export(exchanges().into_iter(), false);
    assert!(!String::from_utf8_lossy(&hidden).contains("session=secret"));
    let read = import(&hidden).unwrap().exchanges;
    assert_eq!(read[0].request.fields[COOKIE], crate::inspect::MASK);
    let shown = export(exchanges().into_iter(), true);
    assert!(String::from_utf8_lossy(&shown).contains("session=secret"));
}

#[test]
fn bodies_are_text_where_they_can_be_and_say_when_they_were_cut() {
    let entries = entries(&export(exchanges().into_iter(), false));
    let [plain, binary, cut, packed, trouble, ..] = &entries[..] else {
        panic!("{entries:?}");
    };
    assert_eq!(plain["request"]["postData"]["text"], "sku=otter");
    assert_eq!(binary["request"]["postData"]["_encoding"], "base64");
    assert_eq!(binary["request"]["postData"]["text"], "AP/+");
    let comment = &cut["request"]["postData"]["comment"];
    assert_eq!(comment, "cut: the first 9 of 5000 bytes");
    assert_eq!(packed["response"]["content"]["text"], "an otter");
    assert_eq!(packed["response"]["content"]["size"], 8);
    assert_eq!(packed["response"]["bodySize"], 28);
    assert_eq!(trouble["response"]["status"], 0);
    assert_eq!(
        trouble["response"]["_error"],
        "local_refused: localhost:3000: refused"
    );
    assert_eq!(
        plain["request"]["queryString"],
        json!([{ "name": "c", "value": "d" }, { "name": "e", "value": "f&" }])
    );
}

#[test]
fn packed_bodies_grow_only_so_far_and_are_read_again_as_they_were() {
    use std::io::Write as _;
    let size = 1024 * 1024;
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    bomb.write_all(&vec![b'0'; size]).unwrap();
    let bomb = bomb.finish().unwrap();
    let mut packed = exchange();
    packed.id = ExchangeId::default();
    let answer = packed.answer.as_mut().unwrap();
    let gzip = HeaderValue::from_static("gzip");
    answer.fields.insert(CONTENT_ENCODING, gzip);
    answer.body = Captured::whole(bomb);
    let archive = write::export_within(2 * size, vec![packed.clone(); 9].into_iter(), true);
    assert!(archive.len() < 3 * size, "{}", archive.len());
    let sizes = entries(&archive);
    let sizes = sizes
        .iter()
        .map(|entry| entry["response"]["content"]["size"].as_u64());
    assert_eq!(sizes.filter(|one| *one == Some(size as u64)).count(), 2);
    for read in import(&archive).unwrap().exchanges {
        assert_eq!(read, packed);
    }
}

#[test]
fn times_add_up() {
    for entry in entries(&export(exchanges().into_iter(), false)) {
        let timings = &entry["timings"];
        let parts = ["send", "wait", "receive"].map(|part| timings[part].as_f64().unwrap());
        assert!(parts.iter().all(|part| *part >= 0.0), "{timings}");
        let sum: f64 = parts.iter().sum();
        assert!(
            (sum - entry["time"].as_f64().unwrap()).abs() < 1e-6,
            "{entry}"
        );
    }
}

#[test]
fn messages_are_written_as_chrome_does() {
    let entries = entries(&export(exchanges().into_iter(), false));
    let socket = entries
        .iter()
        .find(|entry| entry["_resourceType"] == "websocket");
    let messages = socket.unwrap()["_webSocketMessages"].as_array().unwrap();
    assert_eq!(messages[0]["type"], "send");
    assert_eq!(messages[0]["opcode"], 1);
    assert_eq!(messages[0]["data"], "hello");
    assert_eq!(messages[1]["opcode"], 2);
    assert_eq!(messages[1]["data"], "AP9oZWxsbw==");
    let time = messages[0]["time"].as_f64().unwrap();
    assert!((time - 1_800_000_000.128_456_8).abs() < 1e-5, "{time}");
}

/// What Chrome writes, shortened.
#[test]
fn archives_of_browsers_are_read() {
    let archive = json!({ "log": {
        "version": "1.2", "creator": { "name": "WebInspector", "version": "537.36" }, "pages": [],
        "entries": [{
            "_connectionId": "1", "_resourceType": "websocket",
            "_webSocketMessages": [
                { "type": "send", "time": 1_767_323_045.7, "opcode": 1, "data": "hi" },
                { "type": "receive", "time": 1_767_323_045.8, "opcode": 2, "data": "AP8=" },
            ],
            "startedDateTime": "2026-01-02T03:04:05.678Z", "time": 40.5,
            "request": {
                "method": "GET", "url": "wss://app.test/socket#top", "httpVersion": "http/2.0",
                "headers": [
                    { "name": ":authority", "value": "app.test" },
                    { "name": "Accept-Encoding", "value": "gzip, br" },
                ],
                "queryString": [], "cookies": [], "headersSize": -1, "bodySize": 0,
            },
            "response": {
                "status": 200, "statusText": "", "httpVersion": "http/2.0",
                "headers": [{ "name": "Content-Encoding", "value": "br" }],
                "cookies": [], "redirectURL": "", "headersSize": -1, "bodySize": -1,
                "content": { "size": 3, "mimeType": "text/plain", "text": "YWJj", "encoding": "base64" },
            },
            "cache": {}, "serverIPAddress": "192.0.2.1",
            "timings": { "blocked": 3, "dns": -1, "ssl": -1, "connect": -1, "send": 0.5, "wait": 30, "receive": 10 },
        }],
    }});
    let read = import(archive.to_string().as_bytes())
        .unwrap()
        .exchanges
        .remove(0);
    assert_eq!(read.tunnel.as_str(), "imported");
    assert_eq!(read.request.uri, "wss://app.test/socket");
    assert_eq!(read.request.version, Version::HTTP_2);
    assert_eq!(read.request.fields.len(), 1);
    let answer = read.answer.unwrap();
    assert_eq!(answer.body, Captured::whole("abc"));
    assert!(answer.fields.is_empty(), "it is not packed any more");
    assert_eq!(read.timing.answered, Some(Duration::from_micros(30_500)));
    assert_eq!(read.timing.ended, Some(Duration::from_micros(40_500)));
    assert_eq!(read.kind, Kind::WebSocket);
    assert_eq!(read.messages[0].kind, MessageKind::Text);
    assert_eq!(read.messages[1].direction, Direction::FromApp);
    assert_eq!(&read.messages[1].payload.bytes[..], b"\x00\xff");
    assert_eq!(read.messages[0].at.as_millis(), 22);
}

/// What browsers and other tools write.
fn foreign(change: impl FnOnce(&mut Value)) -> Value {
    let mut entry = json!({
        "startedDateTime": "2026-01-02T03:04:05.678Z",
        "request": {
            "method": "GET", "url": "http://app.test/a", "httpVersion": "HTTP/1.1", "headers": [],
        },
        "response": {
            "status": 200, "httpVersion": "HTTP/1.1", "headers": [],
            "content": { "size": 0, "mimeType": "text/plain" },
        },
        "timings": { "send": 0, "wait": 1, "receive": 0 },
    });
    change(&mut entry);
    entry
}

fn imported(entries: impl Into<Value>) -> Import {
    let archive = json!({ "log": { "entries": entries.into() } });
    import(archive.to_string().as_bytes()).unwrap()
}

/// The exchange of one entry.
fn read(change: impl FnOnce(&mut Value)) -> Exchange {
    let mut import = imported(vec![foreign(change)]);
    assert_eq!(import.left_out, []);
    import.exchanges.remove(0)
}

#[test]
fn what_is_no_archive_is_refused() {
    assert!(import(b"{}").unwrap_err().to_string().contains("no HAR"));
    assert!(import(b"").is_err());
}

#[test]
fn an_entry_that_cannot_be_read_keeps_no_other_out() {
    for (part, name, value) in [
        ("request", "url", json!("not an address")),
        ("request", "url", json!("blob:http://app.test/4cb8")),
        ("request", "url", json!("data:text/plain,x")),
        ("request", "url", json!("app.test:80")),
        ("request", "url", json!("/a")),
        ("request", "method", json!("G ET")),
        (
            "request",
            "headers",
            json!([{ "name": "a b", "value": "" }]),
        ),
        ("response", "status", json!(7)),
        ("response", "status", json!("200")),
    ] {
        let odd = foreign(|entry| entry[part][name] = value.clone());
        let import = imported(vec![foreign(|_| {}), odd, foreign(|_| {})]);
        assert_eq!(import.exchanges.len(), 2, "{value}");
        assert_eq!(import.left_out_count, 1, "{value}");
        assert_eq!(import.left_out[0].entry, 1);
        let reason = &import.left_out[0].reason;
        assert!(!reason.is_empty() && reason.len() < 200, "{reason}");
    }
}

#[test]
fn reasons_are_listed_within_bounds() {
    let long = "x".repeat(10_000);
    let odd = foreign(|entry| entry["request"]["url"] = json!(long));
    let import = imported(vec![odd; LeftOut::LISTED + 5]);
    assert_eq!(import.left_out_count, LeftOut::LISTED + 5);
    assert_eq!(import.left_out.len(), LeftOut::LISTED);
    assert!(import.left_out[0].reason.len() < 200);
}

#[test]
fn a_request_without_an_answer_is_a_broken_one() {
    let failed = read(|entry| {
        entry["response"] = json!({ "status": -1, "_failureText": "net::ERR_ABORTED" });
    });
    assert_eq!(failed.answer, None);
    assert_eq!(failed.state, State::Broken("net::ERR_ABORTED".into()));
    assert_eq!(failed.timing.answered, None);
    let blocked = read(|entry| drop(entry.as_object_mut().unwrap().remove("response")));
    assert_eq!(blocked.state, State::Broken("no answer".into()));
}

#[test]
fn what_tools_leave_out_is_made_up_for() {
    let untimed = read(|entry| {
        entry["timings"] = json!({ "send": null, "wait": null, "receive": null });
        entry["startedDateTime"] = json!("2026-01-02T03:04:05.678");
        entry["response"]["content"] = json!(null);
    });
    assert_eq!(untimed.at, read(|_| {}).at, "no zone is UTC");
    assert_eq!(untimed.timing.answered, Some(Duration::ZERO));
}

#[test]
fn fields_that_were_joined_are_told_apart() {
    let cookies = json!([{ "name": "Set-Cookie", "value": "a=1\nb=2\r\nc=3" }]);
    let answer = read(|entry| entry["response"]["headers"] = cookies).answer;
    let fields = answer.unwrap().fields;
    let cookies: Vec<_> = fields.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=1", "b=2", "c=3"]);
}

#[test]
fn a_password_in_an_address_is_no_part_of_its_host() {
    let url = json!("https://alice:secret@app.test/a?b=c@d");
    let read = read(|entry| entry["request"]["url"] = url);
    assert_eq!(read.request.uri, "https://app.test/a?b=c@d");
}
