//! An app sees its visitor leave as if there were no tunnel: its connection ends, and soon.

mod app;

use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use ngrnotok::local::Protocol;
use ngrnotok_tests::sockets::dial;
use ngrnotok_tests::strict::{break_off, halves};
use ngrnotok_tests::tasks::Tasks;
use ngrnotok_tests::visitor::Via;
use ngrnotok_tests::world::World;
use ngrnotok_tests::{run, soon};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::stage::join;

/// When a visitor leaves; also the first word of the path, by which the app knows what to do.
const MOMENTS: [&str; 5] = [
    "before-the-answer",
    "during-the-answer",
    "during-a-flood",
    "during-the-upload",
    "during-both",
];

/// What else an HTTP/1.1 visitor has sent by then (RFC 9112 §9.3.2).
const BEHIND: [(&str, usize); 3] = [
    ("nothing", 0),
    ("one more request", 1),
    ("20 KB of requests", 250),
];

/// How it leaves: RST or not, and in HTTP/2 the stream alone or the connection.
const WAYS: [bool; 2] = [false, true];

/// Far more than the 0.2 s in which an app should see it.
const LIMIT: Duration = Duration::from_secs(2);

const ROUNDS: usize = 5;

/// Nobody waits for more than so many that are missed.
const ENOUGH: usize = 6;

/// What an app tells of one request, which is known by its path.
#[derive(Debug)]
enum Event {
    /// It stands where its visitor will leave.
    Ready(String),
    Ended(String, Instant),
}

fn floods(moment: &str) -> bool {
    moment.contains("flood")
}

fn begins(moment: &str) -> bool {
    moment.contains("answer") && moment.contains("during") || moment.contains("both")
}

fn uploads(moment: &str) -> bool {
    moment.contains("upload") || moment.contains("both")
}

#[test]
fn an_app_of_http1_sees_visitors_of_http1_leave() {
    run(measure([Via::Http1, Via::PlainHttp1], false));
}

#[test]
fn an_app_of_http1_sees_visitors_of_http2_leave() {
    run(measure([Via::Http2, Via::PlainHttp2], false));
}

#[test]
fn an_app_of_http2_sees_visitors_of_http1_leave() {
    run(measure([Via::Http1, Via::PlainHttp1], true));
}

#[test]
fn an_app_of_http2_sees_visitors_of_http2_leave() {
    run(measure([Via::Http2, Via::PlainHttp2], true));
}

async fn measure(visitors: [Via; 2], http2_app: bool) {
    let (events, mut seen) = mpsc::channel(1024);
    let (address, _app) = app::app(http2_app, events).await;
    let world = World::plan().start().await;
    let protocol = if http2_app {
        Protocol::H2c
    } else {
        Protocol::Http1
    };
    let _client = join(&world, "app", address, protocol).await;
    let (mut took, mut missed, mut number) = (Vec::new(), Vec::new(), 0);
    'kinds: for (via, moment, (behind, requests), breaks) in kinds(visitors) {
        for _ in 0..ROUNDS {
            number += 1;
            let path = format!("/{moment}/{number}");
            let (left, kept) = match via.is_http2() {
                true => leave_http2(&world, via, &path, breaks, &mut seen).await,
                false => leave_http1(&world, via, &path, requests, breaks, &mut seen).await,
            };
            let end = timeout(LIMIT, ended(&path, &mut seen)).await;
            drop(kept);
            let Ok(at) = end else {
                let way = if breaks { "RST" } else { "FIN" };
                missed.push(format!("{via:?}, {moment}, {behind} behind, by {way}"));
                if missed.len() == ENOUGH {
                    break 'kinds;
                }
                break;
            };
            took.push(at - left);
        }
    }
    took.sort();
    let (median, most) = (took[took.len() / 2], took[took.len() - 1]);
    println!(
        "{visitors:?} to {protocol:?}: {number} departures, seen after {median:.1?} (median), {most:.1?} (most)"
    );
    assert!(
        missed.is_empty(),
        "not seen within {LIMIT:?}:\n{}",
        missed.join("\n")
    );
}

fn kinds(visitors: [Via; 2]) -> Vec<(Via, &'static str, (&'static str, usize), bool)> {
    let mut kinds = Vec::new();
    for via in visitors {
        for moment in MOMENTS {
            // Bytes behind an upload would be its own.
            let alone = via.is_http2() || uploads(moment);
            let behind = if alone { &BEHIND[..1] } else { &BEHIND };
            for behind in behind {
                kinds.extend(WAYS.map(|breaks| (via, moment, *behind, breaks)));
            }
        }
    }
    kinds
}

async fn ready(path: &str, seen: &mut mpsc::Receiver<Event>) {
    let wanted = async {
        while let Some(event) = seen.recv().await {
            if matches!(&event, Event::Ready(ready) if ready == path) {
                return;
            }
        }
    };
    soon(path, wanted).await;
}

async fn ended(path: &str, seen: &mut mpsc::Receiver<Event>) -> Instant {
    loop {
        if let Some(Event::Ended(ended, at)) = seen.recv().await
            && ended == path
        {
            return at;
        }
    }
}

/// A connection of which only a stream has ended.
type Kept = Option<(Tasks, SendRequest<Bytes>)>;

async fn leave_http1(
    world: &World,
    via: Via,
    path: &str,
    behind: usize,
    breaks: bool,
    seen: &mut mpsc::Receiver<Event>,
) -> (Instant, Kept) {
    let (mut reader, mut writer) = halves(dial(world, via, "app").await);
    let authority = world.authority(via, "app");
    let next = format!(
        "GET /next HTTP/1.1\r\nHost: {authority}\r\nX-Some: {:>30}\r\n\r\n",
        "thing"
    );
    let asked = match uploads(path) {
        true => format!(
            "POST {path} HTTP/1.1\r\nHost: {authority}\r\nContent-Length: 1000000\r\n\r\nbegun"
        ),
        false => format!(
            "GET {path} HTTP/1.1\r\nHost: {authority}\r\n\r\n{}",
            next.repeat(behind)
        ),
    };
    let _ = writer.say(asked).await;
    ready(path, seen).await;
    if begins(path) || floods(path) {
        // It leaves while it reads.
        let _ = soon(path, reader.head()).await;
    }
    let left = Instant::now();
    match breaks {
        true => break_off(reader, writer),
        false => drop((reader, writer)),
    }
    (left, None)
}

async fn leave_http2(
    world: &World,
    via: Via,
    path: &str,
    breaks: bool,
    seen: &mut mpsc::Receiver<Event>,
) -> (Instant, Kept) {
    let socket = dial(world, via, "app").await;
    let (requests, connection) = h2::client::handshake(socket).await.expect("HTTP/2");
    let tasks = Tasks::default();
    tasks.spawn(async { drop(connection.await) });
    let mut requests: SendRequest<Bytes> = requests;
    let uri = format!("http://{}{path}", world.authority(via, "app"));
    let uploads = uploads(path);
    let method = if uploads { "POST" } else { "GET" };
    let request = Request::builder()
        .method(method)
        .uri(uri)
        .body(())
        .expect("a good request");
    let (mut answer, mut upload) = requests.send_request(request, !uploads).expect("a stream");
    if uploads {
        upload
            .send_data(Bytes::from_static(b"begun"), false)
            .expect("a window");
    }
    ready(path, seen).await;
    let mut body = None;
    if begins(path) || floods(path) {
        body = Some(soon(path, &mut answer).await.expect("an answer"));
    }
    let left = Instant::now();
    if breaks {
        // The stream alone; the connection stays until the app has seen it.
        drop((answer, upload, body));
        return (left, Some((tasks, requests)));
    }
    (left, None)
}
