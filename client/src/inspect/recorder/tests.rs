use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, Version};
use ngrnotok_common::protocol::cause::Cause;
use tokio::time::Instant;

use super::*;
use crate::inspect::exchange::{Answer, Captured, Direction, Kind, Origin, Request, Timing};
use crate::inspect::recording::Tap;

const KIB: usize = 1024;

fn small() -> Recorder {
    Recorder::new(Limits {
        total_bytes: 64 * KIB,
        body_bytes: 8 * KIB,
    })
}

fn begin(recorder: &Recorder, path: &str) -> Recording {
    let mut fields = HeaderMap::new();
    fields.insert("x-forwarded-for", HeaderValue::from_static("192.0.2.7"));
    fields.insert("ngrnotok-tunnel", HeaderValue::from_static("0"));
    let uri: Uri = format!("https://app.tunnel.test{path}").parse().unwrap();
    recorder.begin(&Arrival {
        tunnel: &"app".parse().unwrap(),
        at: SystemTime::UNIX_EPOCH,
        began: Instant::now(),
        origin: Origin::Visitor,
        method: &Method::POST,
        uri: &uri,
        version: Version::HTTP_2,
        fields: &fields,
        body: None,
        protocol: None,
        round_trip: Some(Duration::from_millis(9)),
        held: Some(Duration::from_micros(70)),
    })
}

fn tap(recording: &Recording, direction: Direction) -> Tap {
    recording.tap(direction).unwrap()
}

/// A WebSocket that has been agreed to.
fn websocket(recorder: &Recorder) -> Recording {
    let uri = Uri::from_static("https://app.tunnel.test/socket");
    let recording = recorder.begin(&Arrival {
        tunnel: &"app".parse().unwrap(),
        at: SystemTime::UNIX_EPOCH,
        began: Instant::now(),
        origin: Origin::Visitor,
        method: &Method::GET,
        uri: &uri,
        version: Version::HTTP_2,
        fields: &HeaderMap::new(),
        body: None,
        protocol: Some("websocket"),
        round_trip: None,
        held: None,
    });
    recording.switched(&Response::new(()));
    recording
}

/// One exchange with bodies of this length each.
fn exchange(recorder: &Recorder, path: &str, length: usize) -> ExchangeId {
    let recording = begin(recorder, path);
    let id = recording.id().unwrap();
    let body = vec![b'x'; length];
    let asked = tap(&recording, Direction::FromVisitor);
    asked.data(&body);
    asked.ended();
    recording.answered(&Response::new(()), false);
    tap(&recording, Direction::FromApp).data(&body);
    recording.done();
    id
}

#[test]
fn an_exchange_is_recorded_from_end_to_end() {
    let recorder = small();
    let id = exchange(&recorder, "/a?b=c", 3);
    let found = recorder.get(id).unwrap();
    assert_eq!(found.id, ExchangeId(1));
    assert_eq!(found.tunnel.as_str(), "app");
    assert_eq!(found.visitor, Some([192, 0, 2, 7].into()));
    assert_eq!(found.request.method, Method::POST);
    assert_eq!(found.request.uri, "https://app.tunnel.test/a?b=c");
    assert_eq!(found.request.body, Captured::whole("xxx"));
    assert_eq!(found.request.fields.len(), 1, "private fields are left out");
    let answer = found.answer.unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.body, Captured::whole("xxx"));
    assert_eq!(found.state, State::Done);
    assert_eq!(found.timing.round_trip, Some(Duration::from_millis(9)));
    assert_eq!(found.timing.edge, Some(Duration::from_micros(70)));
    let Timing {
        request_ended,
        answered,
        ended,
        ..
    } = found.timing;
    assert!(request_ended.unwrap() <= answered.unwrap());
    assert!(answered.unwrap() <= ended.unwrap());
}

#[test]
fn what_does_not_come_to_its_end_says_how_far_it_came() {
    let recorder = small();
    let recording = begin(&recorder, "/");
    let id = recording.id().unwrap();
    assert_eq!(recorder.get(id).unwrap().state, State::Open);
    drop(recording);
    assert_eq!(recorder.get(id).unwrap().state, State::VisitorLeft);

    let recording = begin(&recorder, "/");
    let id = recording.id().unwrap();
    recording.trouble(Cause::LocalRefused, "nobody listens");
    let trouble = State::Trouble(Cause::LocalRefused, "nobody listens".into());
    assert_eq!(recorder.get(id).unwrap().state, trouble);
    assert_eq!(recorder.get(id).unwrap().answer, None);

    let recording = begin(&recorder, "/");
    let id = recording.id().unwrap();
    recording.answered(&Response::new(()), false);
    tap(&recording, Direction::FromApp).data(b"half");
    recording.broken(&"the app broke off");
    let found = recorder.get(id).unwrap();
    assert_eq!(found.state, State::Broken("the app broke off".into()));
    let body = found.answer.unwrap().body;
    assert_eq!((&body.bytes[..], body.ended), (&b"half"[..], false));
}

#[test]
fn the_oldest_make_room() {
    let recorder = small();
    for n in 1..=100 {
        exchange(&recorder, "/", 3 * KIB);
        assert!(recorder.size() <= 64 * KIB, "after {n}");
    }
    let left = recorder.summaries(None, usize::MAX);
    assert!((7..=10).contains(&left.len()), "{}", left.len());
    assert_eq!(left.last().unwrap().id, ExchangeId(100));
    assert_eq!(recorder.get(ExchangeId(1)), None);
    assert_eq!(recorder.changed_since(0).oldest, left[0].id);
    assert_eq!(
        places(&recorder),
        left.len(),
        "nothing is left of the others"
    );
}

/// How many exchanges have a place, though they may be gone.
fn places(recorder: &Recorder) -> usize {
    recorder.0.as_ref().unwrap().ring().entries.len()
}

#[test]
fn what_goes_on_outlives_what_is_over() {
    let recorder = small();
    let long = begin(&recorder, "/long");
    for _ in 0..100 {
        exchange(&recorder, "/", 3 * KIB);
    }
    let id = long.id().unwrap();
    assert_eq!(recorder.get(id).unwrap().request.uri.path(), "/long");
    assert_eq!(recorder.summaries(None, 1)[0].id, id);
    let changes = recorder.changed_since(0);
    assert_eq!(changes.older, [id], "whoever follows forgets the others");
    assert_eq!(changes.oldest, recorder.summaries(None, 2)[1].id);
    assert_eq!(places(&recorder), recorder.summaries(None, 100).len());
    long.done();
    assert_eq!(recorder.get(id).unwrap().state, State::Done);
    // It is the newest of those that are over, but not the first to be listed.
    exchange(&recorder, "/", 0);
    assert_eq!(recorder.summaries(None, 1)[0].id, id);
    recorder.clear();
    assert_eq!(recorder.size(), 0, "all is accounted for");
}

#[test]
fn words_of_a_visitor_are_counted_wherever_they_lie() {
    let recorder = small();
    let long = "x".repeat(20 * KIB);
    for _ in 0..9 {
        let recording = begin(&recorder, "/");
        recording.trouble(Cause::LocalRefused, &long);
        assert!(recorder.size() <= 64 * KIB);
    }
    assert!(recorder.summaries(None, usize::MAX).len() <= 3);
}

#[test]
fn nothing_is_added_to_what_is_over() {
    let recorder = small();
    let recording = begin(&recorder, "/");
    let id = recording.id().unwrap();
    let late = tap(&recording, Direction::FromVisitor);
    late.data(b"in time");
    recording.done();
    let before = (recorder.get(id), recorder.size());
    late.data(b"too late");
    late.ended();
    assert_eq!((recorder.get(id), recorder.size()), before);
}

#[test]
fn bodies_of_every_length_come_back_as_they_were() {
    let recorder = Recorder::new(Limits::default());
    let lengths = [0, 1, 64 * KIB, 64 * KIB + 1, 1024 * KIB];
    let ids = lengths.map(|length| exchange(&recorder, "/", length));
    for (id, length) in ids.into_iter().zip(lengths) {
        let found = recorder.get(id).unwrap();
        let body = Captured::whole(vec![b'x'; length]);
        assert_eq!(found.request.body, body);
        assert_eq!(found.answer.unwrap().body, body);
    }
}

#[test]
fn many_that_go_on_at_once_have_to_share_too() {
    let recorder = small();
    let all: Vec<_> = (0..100).map(|_| begin(&recorder, "/")).collect();
    let taps: Vec<_> = all
        .iter()
        .map(|recording| tap(recording, Direction::FromVisitor))
        .collect();
    for _ in 0..8 {
        for tap in &taps {
            tap.data(&[0; KIB]);
            assert!(recorder.size() <= 64 * KIB);
        }
    }
    assert!(!recorder.summaries(None, usize::MAX).is_empty());
    drop((taps, all));
    recorder.clear();
    assert_eq!(recorder.size(), 0, "all is accounted for");
}

#[test]
fn ten_gigabytes_pass_within_the_limit() {
    const MIB: usize = KIB * KIB;
    let recorder = Recorder::new(Limits::default());
    // A piece that is already in memory costs nothing to send, so this is all the recorder's own time.
    let piece = Bytes::from(vec![7; 64 * KIB]);
    for _ in 0..1280 {
        let recording = begin(&recorder, "/");
        recording.answered(&Response::new(()), false);
        let answer = tap(&recording, Direction::FromApp);
        for _ in 0..128 {
            answer.data(&piece);
            assert!(recorder.size() <= 64 * MIB);
        }
        recording.done();
    }
    let left = recorder.summaries(None, usize::MAX);
    assert!((60..=64).contains(&left.len()), "{}", left.len());
    assert!(left.iter().all(|one| one.answer_bytes == 8 * MIB as u64));
    let body = recorder.get(left[0].id).unwrap().answer.unwrap().body;
    assert_eq!((body.bytes.len(), body.is_cut()), (MIB, true));
}

#[test]
fn ten_thousand_exchanges_fit() {
    let recorder = Recorder::new(Limits::default());
    for _ in 0..10_000 {
        exchange(&recorder, "/some/path", 100);
    }
    assert_eq!(recorder.summaries(None, usize::MAX).len(), 10_000);
    assert_eq!(recorder.changed_since(0).changed.len(), 10_000);
}

#[test]
fn messages_have_to_share_what_a_body_may_have() {
    let recorder = small();
    let recording = websocket(&recorder);
    let app = tap(&recording, Direction::FromApp);
    for n in 0..2000_u32 {
        let text = format!("{n:0100}");
        app.data(&[&[0x81, 100][..], text.as_bytes()].concat());
        assert!(recorder.size() <= 64 * KIB);
    }
    let found = recorder.get(recording.id().unwrap()).unwrap();
    let newest = found.messages.last().unwrap();
    assert_eq!(newest.payload.bytes, format!("{:0100}", 1999));
    assert_eq!(found.messages.len() as u64 + found.messages_gone, 2000);
    assert!(found.messages.len() > 50);
}

#[test]
fn both_sides_of_grpc_are_heard() {
    let recorder = small();
    let mut fields = HeaderMap::new();
    fields.insert(
        "content-type",
        HeaderValue::from_static("application/grpc+proto"),
    );
    let uri = Uri::from_static("https://app.tunnel.test/some.Service/Method");
    let recording = recorder.begin(&Arrival {
        tunnel: &"app".parse().unwrap(),
        at: SystemTime::UNIX_EPOCH,
        began: Instant::now(),
        origin: Origin::Visitor,
        method: &Method::POST,
        uri: &uri,
        version: Version::HTTP_2,
        fields: &fields,
        body: None,
        protocol: None,
        round_trip: None,
        held: None,
    });
    tap(&recording, Direction::FromVisitor).data(b"\x00\x00\x00\x00\x03ask");
    recording.answered(&Response::new(()), false);
    let answer = tap(&recording, Direction::FromApp);
    answer.data(b"\x00\x00\x00\x00\x02");
    answer.data(b"so");
    answer.trailers(&fields);
    let found = recorder.get(recording.id().unwrap()).unwrap();
    assert_eq!(found.kind, Kind::Grpc);
    let messages = found.messages.iter();
    let messages = messages.map(|message| (message.direction, &message.payload.bytes[..]));
    let wanted = [
        (Direction::FromVisitor, &b"ask"[..]),
        (Direction::FromApp, b"so"),
    ];
    assert_eq!(messages.collect::<Vec<_>>(), wanted);
    assert_eq!(found.answer.unwrap().trailers, Some(fields));
}

#[test]
fn lists_go_both_ways() {
    let recorder = Recorder::new(Limits::default());
    for n in 1..=5 {
        exchange(&recorder, &format!("/{n}"), 0);
    }
    let ids = |all: Vec<Summary>| -> Vec<u64> { all.iter().map(|one| one.id.0).collect() };
    assert_eq!(ids(recorder.summaries(None, 2)), [1, 2]);
    assert_eq!(ids(recorder.summaries(Some(ExchangeId(3)), 9)), [4, 5]);
    assert_eq!(ids(recorder.newest(None, 2)), [5, 4]);
    assert_eq!(ids(recorder.newest(Some(ExchangeId(3)), 9)), [2, 1]);
    assert_eq!(
        recorder.list(Some(ExchangeId(4)), 9)[0].request.uri.path(),
        "/5"
    );
    assert_eq!(
        ids(recorder.summaries(Some(ExchangeId(u64::MAX)), 9)),
        [0; 0]
    );
}

#[tokio::test]
async fn whoever_looks_on_learns_what_is_new() {
    let recorder = Recorder::new(Limits::default());
    exchange(&recorder, "/before", 0);
    let mut revision = recorder.revision();
    let first = recorder.changed_since(0);
    assert_eq!(first.changed.len(), 1);
    assert_eq!(*revision.borrow_and_update(), first.revision);
    assert_eq!(recorder.changed_since(first.revision).changed, []);

    let recording = begin(&recorder, "/open");
    revision.changed().await.unwrap();
    let second = recorder.changed_since(first.revision);
    assert_eq!(second.changed.len(), 1);
    assert_eq!(second.changed[0].state, State::Open);
    recording.done();
    let third = recorder.changed_since(second.revision);
    assert_eq!(third.changed[0].state, State::Done);

    recorder.clear();
    let fourth = recorder.changed_since(third.revision);
    assert!(fourth.revision > third.revision);
    assert_eq!((fourth.changed.len(), fourth.oldest), (0, ExchangeId(3)));
}

#[test]
fn what_was_recorded_elsewhere_gets_a_number_here() {
    let recorder = small();
    let other = small();
    let mut imported = other.get(exchange(&other, "/x", 9 * KIB)).unwrap();
    imported.origin = Origin::Imported;
    imported.request.body = Captured::whole(vec![b'x'; 9 * KIB]);
    exchange(&recorder, "/", 0);
    let id = recorder.insert(imported.clone()).unwrap();
    assert_eq!(id, ExchangeId(2));
    let found = recorder.get(id).unwrap();
    assert_eq!(found.request.uri, imported.request.uri);
    assert_eq!(found.request.body.bytes.len(), 8 * KIB);
    assert!(found.request.body.is_cut());
    assert_eq!(found.origin, Origin::Imported);
    let wanted = Answer {
        body: Captured {
            bytes: Bytes::from(vec![b'x'; 8 * KIB]),
            total: 9 * KIB as u64,
            ended: true,
        },
        ..imported.answer.unwrap()
    };
    assert_eq!(found.answer, Some(wanted));
    let Request { fields, .. } = found.request;
    assert_eq!(fields, imported.request.fields);
}

#[test]
fn off_is_off() {
    let recorder = Recorder::off();
    let recording = begin(&recorder, "/");
    assert!(recording.tap(Direction::FromVisitor).is_none());
    recording.answered(&Response::new(()), false);
    recording.done();
    assert!(!recorder.is_on());
    assert_eq!(recorder.summaries(None, 9), []);
    assert_eq!(recorder.changed_since(0).changed, []);
    recorder.clear();
}
