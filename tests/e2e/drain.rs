//! Whoever stops lets open requests finish, takes no new ones, and does not dawdle.

use std::time::Duration;

use http::Response;
use ngrnotok::status::State;
use ngrnotok_tests::body::{Pieces, empty, pieces};
use ngrnotok_tests::origin::{Origin, any_port};
use ngrnotok_tests::raw_link::dial;
use ngrnotok_tests::visitor::{Answer, Via, Visitor};
use ngrnotok_tests::wire::Wire;
use ngrnotok_tests::world::World;
use ngrnotok_tests::{eventually, run, soon, within};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// An app whose answers the test ends.
async fn slow() -> (Origin, mpsc::Receiver<Pieces>) {
    let (answers, open) = mpsc::channel(16);
    let app = Origin::http(move |_| {
        let answers = answers.clone();
        async move {
            let (pieces, body) = pieces();
            answers.send(pieces).await.expect("the test goes on");
            Response::new(body)
        }
    });
    (app.await, open)
}

/// Ends an answer.
async fn finish(mut pieces: Pieces) {
    pieces
        .send_data("the end".into())
        .await
        .expect("somebody listens");
}

#[test]
fn a_stopping_server_finishes_what_is_open_and_takes_nothing_new() {
    run(async {
        let (app, mut open) = slow().await;
        let mut world = World::of(&app).await;
        let mut answers = Vec::new();
        for via in Via::ALL {
            let visitor = world.visit(via).await;
            let answer = visitor.begin("/").await;
            answers.push((visitor, answer, open.recv().await.unwrap()));
        }
        world.stop_server();
        for via in [Via::Http1, Via::PlainHttp1] {
            let door = world.door(via);
            let refused = async || TcpStream::connect(door).await.is_err();
            eventually("new visitors to be refused", refused).await;
        }
        for (_, answer, pieces) in answers {
            finish(pieces).await;
            let answer = soon("the rest", Answer::collect(answer)).await.unwrap();
            assert_eq!(answer.text(), "the end");
        }
        assert!(world.server_ended().await, "everything could finish");
    });
}

#[test]
fn readiness_ends_with_the_drain_and_health_does_not() {
    run(async {
        let (app, mut open) = slow().await;
        let plan = World::plan().server(|config| config.admin = Some(any_port()));
        let mut world = plan.client("app", &app).start().await;
        let admin = world.addresses().admin.unwrap();
        let probe = async |path: &str| {
            let stream = TcpStream::connect(admin).await.expect("admin listens");
            let visitor = Visitor::on(stream, Via::PlainHttp1, admin.to_string()).await;
            visitor.get(path).await.status.as_u16()
        };
        assert_eq!(
            (probe("/readyz").await, probe("/healthz").await),
            (200, 200)
        );
        assert_eq!(probe("/").await, 404);
        let visitor = world.visit(Via::Http1).await;
        let _answer = visitor.begin("/").await;
        let pieces = open.recv().await.unwrap();
        world.stop_server();
        eventually("readiness to end", async || probe("/readyz").await == 503).await;
        assert_eq!(probe("/healthz").await, 200);
        finish(pieces).await;
        drop(visitor);
        world.server_ended().await;
    });
}

#[test]
fn a_request_that_does_not_end_is_cut_at_the_limit() {
    run(async {
        for via in Via::ALL {
            let (app, mut open) = slow().await;
            let limit = Duration::from_millis(300);
            let plan = World::plan().server(move |config| config.drain_limit = limit);
            let mut world = plan.client("app", &app).start().await;
            let visitor = world.visit(via).await;
            let answer = visitor.begin("/").await;
            let _pieces = open.recv().await.unwrap();
            world.stop_server();
            assert!(!world.server_ended().await, "something was cut");
            let cut = soon("the cut", Answer::collect(answer)).await;
            assert!(cut.is_err(), "{via:?}: {cut:?}");
        }
    });
}

#[test]
fn idle_connections_hold_nobody_up() {
    run(async {
        let mut world = World::of(&Origin::saying("quick").await).await;
        let mut idle = Vec::new();
        for via in Via::ALL {
            let visitor = world.visit(via).await;
            assert_eq!(visitor.get("/").await.text(), "quick");
            idle.push(visitor);
        }
        world.stop_server();
        let end = within(Duration::from_secs(2), "the end", world.server_ended()).await;
        assert!(end, "nothing was cut");
    });
}

#[test]
fn a_request_that_was_on_its_way_to_a_stopping_server_is_answered() {
    run(async {
        for via in [Via::Http1, Via::PlainHttp1] {
            let mut world = World::of(&Origin::saying("quick").await).await;
            let visitor = world.visit(via).await;
            assert_eq!(visitor.get("/").await.text(), "quick");
            world.stop_server();
            let door = world.door(via);
            let refused = async || TcpStream::connect(door).await.is_err();
            eventually("new visitors to be refused", refused).await;
            let last = visitor.get("/").await;
            assert_eq!((last.text(), last.field("connection")), ("quick", "close"));
            assert!(world.server_ended().await, "nothing was cut");
        }
    });
}

#[test]
fn connections_that_have_said_nothing_hold_nobody_up() {
    run(async {
        // Browsers open connections ahead of requests that may never come.
        let mut held_up = Vec::new();
        for kind in [
            "https, silent",
            "http, silent",
            "TLS, no request",
            "h2, no request",
            "a link, no request",
        ] {
            let mut world = World::of(&Origin::saying("quick").await).await;
            let _silent = match kind {
                "https, silent" => {
                    Wire::new(TcpStream::connect(world.door(Via::Http1)).await.unwrap())
                }
                "http, silent" => world.wire(Via::PlainHttp1, "app").await,
                "TLS, no request" => world.wire(Via::Http1, "app").await,
                "h2, no request" => world.wire(Via::Http2, "app").await,
                _ => Wire::new(dial(&world, b"ngrnotok/1").await.unwrap()),
            };
            // Another visitor is served after it, so it has been accepted.
            assert_eq!(world.visit(Via::Http1).await.get("/").await.text(), "quick");
            world.stop_server();
            match timeout(Duration::from_secs(2), world.server_ended()).await {
                Ok(all_done) => assert!(all_done, "{kind} was cut"),
                Err(_) => held_up.push(kind),
            }
        }
        assert!(held_up.is_empty(), "held up by: {held_up:?}");
    });
}

#[test]
fn a_leaving_client_finishes_what_is_open_and_gives_its_name_back() {
    run(async {
        let (app, mut open) = slow().await;
        let mut world = World::of(&app).await;
        let visitor = world.visit(Via::Http2).await;
        let answer = visitor.begin("/").await;
        let pieces = open.recv().await.unwrap();
        let client = world.clients.remove(0);
        client.stop();
        eventually("the name to be free", async || world.names() == 0).await;
        assert_eq!(visitor.get("/").await.problem(), "404 tunnel_not_found");
        let heir = world.join("app", &Origin::saying("heir").await).await;
        assert_eq!(visitor.get("/").await.text(), "heir");
        finish(pieces).await;
        let answer = soon("the rest", Answer::collect(answer)).await.unwrap();
        assert_eq!(answer.text(), "the end");
        client.ended().await.unwrap();
        heir.leave().await;
    });
}

#[test]
fn a_client_without_open_requests_leaves_at_once() {
    run(async {
        let mut world = World::of(&Origin::saying("quick").await).await;
        let visitor = world.visit(Via::Http2).await;
        assert_eq!(visitor.get("/").await.text(), "quick");
        let client = world.clients.remove(0);
        let left = within(
            Duration::from_millis(500),
            "the end of the client",
            client.leave(),
        );
        left.await;
    });
}

#[test]
fn a_client_comes_back_to_a_new_server_under_the_same_url() {
    run(async {
        let mut world = World::of(&Origin::saying("the app").await).await;
        let url = world.clients[0].url();
        for _ in 0..3 {
            world.stop_server();
            assert!(world.server_ended().await);
            let gone = |s: &ngrnotok::status::Status| matches!(s.state, State::Reconnecting { .. });
            world.clients[0]
                .is("the client to miss its server", gone)
                .await;
            world.restart_server().await;
            world.clients[0]
                .is("the client back", |s| s.state == State::Online)
                .await;
            assert_eq!(world.clients[0].url(), url);
            assert_eq!(
                world.visit(Via::Http2).await.get("/").await.text(),
                "the app"
            );
        }
    });
}

#[test]
fn a_client_is_told_when_its_server_drains() {
    run(async {
        let (app, mut open) = slow().await;
        let mut world = World::of(&app).await;
        let visitor = world.visit(Via::Http1).await;
        let _answer = visitor.begin("/").await;
        let pieces = open.recv().await.unwrap();
        world.stop_server();
        world.clients[0]
            .is("the news", |s| s.state == State::Draining)
            .await;
        finish(pieces).await;
        drop(visitor);
        world.server_ended().await;
    });
}

#[test]
fn a_request_after_the_goodbye_of_the_server_is_not_lost_in_silence() {
    run(async {
        let (app, mut open) = slow().await;
        let mut world = World::of(&app).await;
        let visitor = world.visit(Via::Http2).await;
        let answer = visitor.begin("/").await;
        let pieces = open.recv().await.unwrap();
        world.stop_server();
        let refused = async || {
            let request = visitor.request("GET", "/").body(empty()).unwrap();
            let again = visitor.try_send(request);
            tokio::select! { again = again => again.is_err(), _ = open.recv() => false }
        };
        eventually("the visitor to look for another connection", refused).await;
        finish(pieces).await;
        let answer = soon("the rest", Answer::collect(answer)).await.unwrap();
        assert_eq!(answer.text(), "the end");
        drop(visitor);
        world.server_ended().await;
    });
}
