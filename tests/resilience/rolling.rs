//! A server that is replaced by the next one: no request is lost.

use std::time::Duration;

use http::{Method, Response};
use hyper::body::Incoming;
use ngrnotok_tests::body::{Pieces, pieces};
use ngrnotok_tests::visitor::{Answer, Via, Visitor};
use ngrnotok_tests::{run_within, soon};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::app::App;
use crate::client::{Client, three};
use crate::door::Door;
use crate::load::{Load, RATE};
use crate::place::{Place, Server};
use crate::{limit, rounds};

/// For how long a server serves before it is replaced: some more than the 2 s after which its clients take it
/// for a good one.
const SERVED: Duration = Duration::from_millis(2500);

/// Restarts the server again and again under load; nothing may fail.
async fn restart_under_load(
    how: &str,
    place: &Place,
    knocks_again: bool,
    replace: impl AsyncFn(&Server) -> Server,
) {
    let mut server = place.open().await;
    let door = match knocks_again {
        true => Door::of(place).knocking_again(),
        false => Door::of(place),
    };
    let (apps, clients) = three(place).await;
    let urls: Vec<_> = clients.iter().map(Client::url).collect();
    let names: Vec<_> = apps.iter().map(|app| app.name.as_str()).collect();
    let mut load = Load::start(&door, &names, RATE);
    let mut ends = JoinSet::new();
    for _ in 0..rounds() {
        load.goes_on(SERVED).await;
        let next = replace(&server).await;
        ends.spawn(std::mem::replace(&mut server, next).ended());
        door.all_answer(&apps).await;
    }
    let tally = load.stop().await;
    println!("{} restarts {how}: {tally}", rounds());
    tally.has_nothing_wrong();
    apps.iter().for_each(App::has_seen_nothing_wrong);
    let first = tally.failed.iter().take(5).collect::<Vec<_>>();
    assert!(first.is_empty(), "{first:?}");
    let codes = soon("the old servers to end", ends.join_all()).await;
    assert!(codes.iter().all(|code| *code == Some(0)), "{codes:?}");
    assert_eq!(clients.iter().map(Client::url).collect::<Vec<_>>(), urls);
}

#[test]
fn servers_that_follow_one_another_on_one_socket_lose_no_request() {
    run_within(limit(Duration::from_secs(10)), async {
        let place = Place::on_one_socket();
        restart_under_load("on one socket", &place, false, async |old| {
            // The old one goes before the next one is ready: meanwhile visitors wait at the socket.
            let next = place.start();
            old.stop().await;
            next.is_up().await;
            next
        })
        .await;
    });
}

#[test]
fn servers_that_follow_one_another_on_one_port_lose_no_request_of_visitors_who_knock_again() {
    run_within(limit(Duration::from_secs(10)), async {
        let place = Place::new();
        restart_under_load("on one port", &place, true, async |old| {
            old.stop().await;
            place.is_free().await;
            place.open().await
        })
        .await;
    });
}

#[test]
fn what_is_open_when_a_server_is_replaced_ends_whole() {
    run_within(limit(Duration::from_secs(10)), async {
        let place = Place::on_one_socket();
        let mut server = place.open().await;
        let mut app = App::start("app").await;
        let _client = Client::start(&place, &app).await;
        let door = Door::of(&place);
        let mut load = Load::start(&door, &["app"], RATE);
        for _ in 0..rounds() {
            load.goes_on(SERVED).await;
            let mut open = Vec::new();
            for via in [Via::Http1, Via::Http2] {
                open.push(Open::begin(&door, via, &mut app).await);
            }
            let next = place.start();
            server.stop().await;
            next.is_up().await;
            let old = std::mem::replace(&mut server, next);
            // New visitors are served by the next one, while all this is open on the old one.
            load.gets(100).await;
            for open in open {
                open.end(&door).await;
            }
            let done = Instant::now();
            assert_eq!(old.ended().await, Some(0));
            println!(
                "streams and uploads were whole, and the old server gone {:.2?} later",
                done.elapsed()
            );
        }
        let tally = load.stop().await;
        println!("{} restarts with open streams: {tally}", rounds());
        tally.has_nothing_wrong();
        assert!(tally.failed.is_empty());
    });
}

/// A stream and an upload that are half done.
struct Open {
    stream: Response<Incoming>,
    events: Pieces,
    upload: Pieces,
    written: AbortOnDropHandle<Result<Answer, hyper::Error>>,
    _visitors: [Visitor; 2],
}

impl Open {
    async fn begin(door: &Door, via: Via, app: &mut App) -> Self {
        let reader = door.visit(via, "app").await.expect("the server is there");
        let stream = reader.begin("/stream").await;
        let events = app.streams.recv().await.expect("the app lives");
        let writer = door.visit(via, "app").await.expect("the server is there");
        let (mut upload, body) = pieces();
        say(&mut upload, "half ").await;
        let request = writer.request("POST", "/slow").body(body);
        let (sending, request) = (writer.clone(), request.expect("a good request"));
        let written = TaskTracker::new().spawn(async move { sending.try_send(request).await });
        app.uploads.recv().await.expect("the app lives");
        Self {
            stream,
            events,
            upload,
            written: AbortOnDropHandle::new(written),
            _visitors: [reader, writer],
        }
    }

    async fn end(mut self, door: &Door) {
        for number in 0..20 {
            say(&mut self.events, &format!("data: {number}\n\n")).await;
        }
        drop(self.events);
        say(&mut self.upload, "and half").await;
        drop(self.upload);
        let stream = soon("the rest of a stream", Answer::collect(self.stream)).await;
        let stream = stream.expect("a whole stream");
        assert_eq!(stream.text().matches("data: ").count(), 20);
        let written = soon("the answer to an upload", self.written).await;
        let written = written.expect("it does not panic").expect("an answer");
        let right = door.right("app", &Method::POST, "/slow", b"half and half");
        assert_eq!(written.text(), right);
    }
}

async fn say(pieces: &mut Pieces, words: &str) {
    let sent = pieces.send_data(words.to_owned().into()).await;
    sent.expect("somebody listens");
}
