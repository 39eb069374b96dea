//! Whoever is silent, slow or too large is shown the door, at the documented time.

use std::future::pending;
use std::num::NonZeroUsize;
use std::pin::pin;
use std::time::Duration;

use ngrnotok_tests::body::empty;
use ngrnotok_tests::origin::{Origin, any_port};
use ngrnotok_tests::raw_link::{RawClient, dial};
use ngrnotok_tests::visitor::Via;
use ngrnotok_tests::wire::Wire;
use ngrnotok_tests::world::World;
use ngrnotok_tests::{run, soon, within};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::upgrades::{echo, upgraded};

/// From the first byte to the last of what comes before a request: 10 s.
const OPENING: u64 = 10;

/// For a head: 15 s.
const HEAD: u64 = 15;

/// Checks that something ends when its time is over, and not before.
async fn ends_after(seconds: u64, what: &str, end: impl Future) {
    let began = Instant::now();
    within(Duration::from_secs(seconds + 2), what, end).await;
    let took = began.elapsed();
    assert!(
        took > Duration::from_millis(seconds * 1000 - 500),
        "{what} ended after {took:?}"
    );
}

/// Says `start` on a connection and then nothing more.
async fn stalls(mut wire: Wire, start: &str, seconds: u64) {
    wire.say(start).await;
    ends_after(
        seconds,
        &format!("a connection that stalls after {start:?}"),
        wire.rest(),
    )
    .await;
}

/// Half of a ClientHello: the head of a record, and not all that it announces.
const HALF_A_HELLO: &str = "\x16\x03\x01\x01\x00\x01\x00\x00\x7c\x03\x03";

#[test]
fn whoever_keeps_the_server_waiting_is_cut_in_time() {
    run(async {
        let gate = |config: &mut ngrnotok_server::Config| {
            config.tunnel = vec![any_port()];
            config.drain_limit = Duration::from_secs(30);
        };
        let plan = World::plan().server(gate);
        let world = plan
            .client("quick", &Origin::saying("quick").await)
            .start()
            .await;
        let (https, http, tunnel) = (
            world.door(Via::Http1),
            world.door(Via::PlainHttp1),
            world.gate(),
        );
        let tcp = async |address| Wire::new(TcpStream::connect(address).await.unwrap());
        let half_a_head = "GET / HTTP/1.1\r\nHost: quick.tunnel.test\r\nX-Half: ";

        let silent = async {
            tokio::join!(
                stalls(tcp(https).await, "", OPENING),
                stalls(tcp(http).await, "", OPENING),
                stalls(tcp(tunnel).await, "", OPENING),
                stalls(tcp(https).await, HALF_A_HELLO, OPENING),
                stalls(tcp(tunnel).await, HALF_A_HELLO, OPENING),
                stalls(tcp(http).await, "PRI * HTTP/2.0\r\n\r\nS", OPENING),
                stalls(tcp(http).await, half_a_head, OPENING),
            )
        };
        let slow = async {
            let mut second = world.wire(Via::PlainHttp1, "quick").await;
            second
                .say("GET / HTTP/1.1\r\nHost: quick.tunnel.test\r\n\r\n")
                .await;
            assert_eq!(second.answer().await.text(), "quick");
            tokio::join!(
                stalls(world.wire(Via::Http1, "quick").await, "", HEAD),
                stalls(world.wire(Via::Http1, "quick").await, half_a_head, HEAD),
                stalls(world.wire(Via::Http2, "quick").await, "", HEAD),
                stalls(second, half_a_head, HEAD),
            )
        };
        let links = async {
            let stream = dial(&world, b"ngrnotok/1").await.unwrap();
            let no_hello = RawClient::open(&world).await;
            tokio::join!(
                stalls(Wire::new(stream), "GET /.well-known", OPENING),
                ends_after(OPENING, "a client without a hello", no_hello.link_ended()),
            )
        };
        tokio::join!(
            silent,
            slow,
            links,
            visitors_of_a_frozen_client_are_told(&world),
            a_leaving_client_waits_no_longer(&world),
        );
        assert_eq!(
            world
                .visitor(Via::Http1, "quick")
                .await
                .get("/")
                .await
                .text(),
            "quick"
        );
    });
}

async fn visitors_of_a_frozen_client_are_told(world: &World) {
    let client = RawClient::bound(world, "frozen").await;
    let visitor = world.visitor(Via::Http2, "frozen").await;
    client.freeze();
    let request = visitor.request("GET", "/").body(empty()).expect("good");
    let answer = visitor.try_send(request);
    let limit = Duration::from_millis(10_500);
    let answer = within(limit, "the answer that there is none", answer).await;
    assert_eq!(answer.expect("an answer").problem(), "503 client_offline");
}

async fn a_leaving_client_waits_no_longer(world: &World) {
    let (ask, mut asked) = mpsc::channel(1);
    let never = Origin::http(move |_| {
        let ask = ask.clone();
        async move {
            ask.send(()).await.expect("the test goes on");
            pending().await
        }
    });
    let never = never.await;
    let client = world.join("never", &never).await;
    let visitor = world.visitor(Via::Http2, "never").await;
    let request = visitor.request("GET", "/").body(empty()).expect("good");
    let leave = async {
        soon("the app to be asked", asked.recv()).await;
        client.stop();
        ends_after(10, "a client with an endless request", client.run()).await;
    };
    let (answer, ()) = tokio::join!(visitor.try_send(request), leave);
    assert_eq!(answer.expect("an answer").problem(), "503 client_offline");
}

#[test]
fn a_head_of_60_kib_passes_and_one_of_140_does_not() {
    run(async {
        let (app, mut witness) = Origin::witness().await;
        let world = World::of(&app).await;
        for via in [Via::Http1, Via::PlainHttp1] {
            // The limit is 64 KiB, and what came in the same breath is read all the same.
            for (lines, status) in [(60, 200), (140, 431)] {
                let mut wire = world.wire(via, "app").await;
                let line = format!("X-Long: {}\r\n", "x".repeat(1014));
                let lines = line.repeat(lines);
                wire.say(format!(
                    "GET / HTTP/1.1\r\nHost: app.tunnel.test\r\n{lines}\r\n"
                ))
                .await;
                let answer = soon("an answer to a long head", wire.answer()).await;
                assert_eq!(answer.status, status, "{via:?}");
            }
            assert_eq!(
                witness
                    .recv()
                    .await
                    .unwrap()
                    .headers()
                    .get_all("x-long")
                    .iter()
                    .count(),
                60
            );
        }
    });
}

#[test]
fn a_long_head_over_http2_spares_the_connection_and_the_link() {
    run(async {
        let (app, mut witness) = Origin::witness().await;
        let world = World::of(&app).await;
        for via in [Via::Http2, Via::PlainHttp2] {
            let visitor = world.visit(via).await;
            let long = |lines| {
                let request = (0..lines).fold(visitor.request("GET", "/"), |request, _| {
                    request.header("x-long", "x".repeat(1000))
                });
                request.body(empty()).unwrap()
            };
            assert_eq!(visitor.send(long(50)).await.text(), "seen", "{via:?}");
            assert_eq!(
                witness
                    .recv()
                    .await
                    .unwrap()
                    .headers()
                    .get_all("x-long")
                    .iter()
                    .count(),
                50
            );
            let refused = soon("a refusal", visitor.try_send(long(70))).await;
            println!("{via:?}: {refused:?}");
            assert!(refused.is_err() || refused.is_ok_and(|answer| answer.status == 431));
            assert_eq!(visitor.get("/").await.text(), "seen", "{via:?}");
            witness.recv().await.unwrap();
        }
    });
}

#[test]
fn as_many_connections_as_allowed_are_served_and_one_more_waits() {
    run(async {
        let plan = World::plan().server(|config| {
            config.max_connections = 4;
            config.shards = NonZeroUsize::MIN;
        });
        // The client's link is the first of the four.
        let world = plan
            .client("app", &Origin::saying("served").await)
            .start()
            .await;
        let mut served = Vec::new();
        for _ in 0..3 {
            let visitor = world.visit(Via::Http1).await;
            assert_eq!(visitor.get("/").await.text(), "served");
            served.push(visitor);
        }
        let mut one_more = pin!(async { world.visit(Via::Http1).await.get("/").await });
        let waits = timeout(Duration::from_millis(300), &mut one_more).await;
        assert!(waits.is_err(), "a fifth was served");
        served.pop();
        let answer = one_more.await;
        assert_eq!(answer.text(), "served");
    });
}

#[test]
fn an_upgraded_connection_keeps_its_place_among_those_allowed() {
    run(async {
        for via in [Via::Http1, Via::PlainHttp1, Via::PlainHttp2] {
            let plan = World::plan().server(|config| {
                config.max_connections = 4;
                config.shards = NonZeroUsize::MIN;
            });
            // The client's link is the first of the four.
            let world = plan.client("app", &echo().await.0).start().await;
            let mut served = Vec::new();
            for _ in 0..3 {
                let mut wire = upgraded(&world, via).await;
                assert_eq!(soon("a greeting", wire.exactly(7)).await, "welcome");
                served.push(wire);
            }
            let mut one_more = pin!(upgraded(&world, via));
            let waits = timeout(Duration::from_millis(300), &mut one_more).await;
            assert!(waits.is_err(), "{via:?}: a fifth was served");
            served.pop();
            let mut wire = soon("a place", one_more).await;
            assert_eq!(soon("a greeting", wire.exactly(7)).await, "welcome");
        }
    });
}
