//! A request may leave HTTP behind: WebSockets and other protocols pass, with every way of ending.

use std::time::Duration;

use http::{Method, Request, Response};
use hyper::ext::Protocol;
use hyper_util::rt::TokioIo;
use ngrnotok::requests::Happening;
use ngrnotok_tests::body::empty;
use ngrnotok_tests::origin::Origin;
use ngrnotok_tests::raw_link::{HELLO, RawClient};
use ngrnotok_tests::visitor::Via;
use ngrnotok_tests::wire::Wire;
use ngrnotok_tests::world::World;
use ngrnotok_tests::{run, soon, within};
use tokio::sync::mpsc;

const ASK: &str = "GET /socket HTTP/1.1\r\nHost: app.tunnel.test\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

const AGREE: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// An app that agrees, greets in the same breath, gives back what it is sent, says `bye` when its
/// visitor has finished, and tells of its end.
pub(crate) async fn echo() -> (Origin, mpsc::Receiver<String>) {
    let (ends, ended) = mpsc::channel(16);
    let app = Origin::raw(move |mut wire| {
        let ends = ends.clone();
        async move {
            let head = wire.head().await;
            wire.say(format!("{AGREE}welcome")).await;
            while let Some(bytes) = wire.next().await {
                wire.say(bytes).await;
            }
            wire.say("bye").await;
            let _ = ends.send(head).await;
        }
    });
    (app.await, ended)
}

/// A visitor in another protocol, and how it came there.
pub(crate) async fn upgraded(world: &World, via: Via) -> Wire {
    if !via.is_http2() {
        let mut wire = world.wire(via, "app").await;
        wire.say(ASK).await;
        let head = soon("the switch", wire.head()).await.to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 101 "), "{head}");
        for field in [
            "connection: upgrade",
            "upgrade: websocket",
            "sec-websocket-accept: s3pp",
        ] {
            assert!(head.contains(field), "{field} in {head}");
        }
        return wire;
    }
    let visitor = world.visit(via).await;
    // Extended CONNECT is allowed once the edge's SETTINGS are there.
    assert_eq!(
        visitor
            .clone()
            .asking_for("none.tunnel.test")
            .get("/")
            .await
            .status
            .as_u16()
            / 100,
        4
    );
    let url = format!("https://{}/socket", world.authority(via, "app"));
    let request = Request::connect(url).extension(Protocol::from_static("websocket"));
    let request = request.header("sec-websocket-version", "13").body(empty());
    let answer = soon("the switch", visitor.open(request.expect("good"))).await;
    let answer = answer.expect("an answer");
    assert_eq!(answer.status(), 200);
    assert!(!answer.headers().contains_key("upgrade"));
    let stream = hyper::upgrade::on(answer).await.expect("a stream");
    Wire::new(TokioIo::new(stream)).keeping(visitor)
}

#[test]
fn a_connection_that_has_carried_an_upload_loses_nothing_after_an_upgrade() {
    run(async {
        let (tell, mut told) = mpsc::channel(1);
        let app = Origin::raw(move |mut wire| {
            let tell = tell.clone();
            async move {
                while let Some(head) = wire.next_head().await {
                    if head.starts_with("POST ") {
                        wire.exactly(4).await;
                        wire.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                            .await;
                        continue;
                    }
                    wire.say(AGREE).await;
                    wire.finish().await;
                    let _ = tell.send(wire.rest().await).await;
                    return;
                }
            }
        });
        let world = World::of(&app.await).await;
        for via in [Via::Http1, Via::PlainHttp1] {
            let mut wire = world.wire(via, "app").await;
            wire.say("POST / HTTP/1.1\r\nHost: app.tunnel.test\r\nContent-Length: 4\r\n\r\nbody")
                .await;
            assert_eq!(soon("an answer", wire.answer()).await.status, 200);
            wire.say(ASK).await;
            soon("the switch", wire.head()).await;
            assert_eq!(soon("the app's end", wire.rest()).await, "", "{via:?}");
            wire.say("still here").await;
            wire.finish().await;
            let came = soon("the rest at the app", told.recv()).await;
            assert_eq!(came.unwrap(), "still here", "{via:?}");
        }
    });
}

#[test]
fn bytes_go_both_ways_after_an_upgrade() {
    run(async {
        let (app, mut ended) = echo().await;
        let world = World::of(&app).await;
        for via in Via::ALL {
            let mut wire = upgraded(&world, via).await;
            assert_eq!(
                soon("a greeting", wire.exactly(7)).await,
                "welcome",
                "{via:?}"
            );
            for word in ["one", "two", "three"] {
                wire.say(word).await;
                assert_eq!(
                    soon("an echo", wire.exactly(word.len())).await,
                    word,
                    "{via:?}"
                );
            }
            wire.finish().await;
            assert_eq!(soon("the last word", wire.rest()).await, "bye", "{via:?}");
            let head = soon("the end at the app", ended.recv()).await.unwrap();
            assert!(head.starts_with("GET /socket HTTP/1.1\r\n"), "{head}");
            for field in [
                "Connection: upgrade",
                "Upgrade: websocket",
                "Sec-Websocket-Key: ",
                "X-Forwarded-For: 127.0.0.1",
            ] {
                assert!(head.contains(field), "{via:?}: {field} in {head}");
            }
            assert!(!head.contains("ngrnotok-"), "{head}");
        }
    });
}

#[test]
fn an_upgrade_is_shown_with_the_method_that_it_came_with() {
    run(async {
        let app = Origin::raw(async |mut wire| {
            let head = wire.head().await;
            assert!(head.starts_with("OPTIONS /socket "), "{head}");
            wire.say(AGREE.replace("websocket", "chat")).await;
            while wire.next().await.is_some() {}
        });
        let world = World::plan().start().await;
        let mut client = world.join("app", &app.await).await;
        let mut wire = world.wire(Via::Http1, "app").await;
        let ask = ASK.replace("websocket", "chat").replace("GET ", "OPTIONS ");
        wire.say(ask).await;
        let head = soon("the switch", wire.head()).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let seen = soon("the news of it", client.requests.next()).await;
        let Some(Happening::Request(seen)) = seen else {
            panic!("{seen:?}");
        };
        assert_eq!((seen.method, seen.status.as_u16()), (Method::OPTIONS, 101));
    });
}

#[test]
fn an_app_that_closes_an_upgraded_connection_closes_the_visitors() {
    run(async {
        let app = Origin::writing(format!("{AGREE}that is all")).await;
        let world = World::of(&app).await;
        for via in Via::ALL {
            let mut wire = upgraded(&world, via).await;
            assert_eq!(soon("the end", wire.rest()).await, "that is all", "{via:?}");
        }
    });
}

#[test]
fn a_visitor_who_vanishes_from_an_upgraded_connection_is_missed() {
    run(async {
        let (app, mut ended) = echo().await;
        let world = World::of(&app).await;
        for via in Via::ALL {
            let mut wire = upgraded(&world, via).await;
            assert_eq!(soon("a greeting", wire.exactly(7)).await, "welcome");
            drop(wire);
            let what = format!("the app to see its visitor leave ({via:?})");
            let end = within(Duration::from_secs(2), &what, ended.recv()).await;
            assert!(end.is_some());
        }
    });
}

#[test]
fn an_app_may_refuse_an_upgrade_with_an_ordinary_answer() {
    run(async {
        let world = World::of(&Origin::mirror().await).await;
        for via in [Via::Http1, Via::PlainHttp1] {
            let mut wire = world.wire(via, "app").await;
            for _ in 0..2 {
                wire.say(ASK).await;
                let answer = soon("an answer", wire.answer()).await;
                assert_eq!(answer.status, 200, "{via:?}");
                assert!(
                    answer.text().starts_with("GET /socket\n"),
                    "{}",
                    answer.text()
                );
            }
        }
    });
}

#[test]
fn an_upgrade_to_nobody_is_a_502() {
    run(async {
        let world = World::of(&Origin::refusing()).await;
        let mut wire = world.wire(Via::Http1, "app").await;
        wire.say(ASK).await;
        let answer = soon("an answer", wire.answer()).await;
        assert_eq!(answer.problem(), "502 local_refused");
    });
}

#[test]
fn a_switch_that_nobody_asked_for_is_a_bad_response() {
    run(async {
        let world = World::of(&Origin::writing(AGREE).await).await;
        for via in Via::ALL {
            let answer = world.visit(via).await.get("/").await;
            assert_eq!(answer.problem(), "502 local_bad_response", "{via:?}");
        }
    });
}

#[test]
fn http2_in_clear_is_no_protocol_to_upgrade_to() {
    run(async {
        let world = World::of(&Origin::mirror().await).await;
        let mut wire = world.wire(Via::PlainHttp1, "app").await;
        let ask = ASK.replace("websocket", "h2c");
        wire.say(ask.replace(
            "Connection: ",
            "HTTP2-Settings: AAMAAABkAAQAAP__\r\nConnection: HTTP2-Settings, ",
        ))
        .await;
        let answer = soon("an answer", wire.answer()).await;
        assert_eq!(answer.status, 200);
        assert!(!answer.text().contains("h2c"), "{}", answer.text());
        assert!(
            !answer.text().contains("http2-settings"),
            "{}",
            answer.text()
        );
    });
}

#[test]
fn nobody_forges_what_the_link_says_about_upgrades() {
    run(async {
        let app = Origin::writing(
            "HTTP/1.1 200 OK\r\nNgrnotok-Switched: websocket\r\nContent-Length: 4\r\n\r\nmine",
        );
        let world = World::plan().client("app", &app.await);
        let world = world
            .client("mirror", &Origin::mirror().await)
            .start()
            .await;
        for (host, forged) in [("app", "mine"), ("mirror", "GET /socket\n")] {
            let mut wire = world.wire(Via::PlainHttp1, host).await;
            let ask = ASK.replace("app.", &format!("{host}."));
            wire.say(ask.replace("\r\n\r\n", "\r\nNgrnotok-Method: DELETE\r\n\r\n"))
                .await;
            let answer = soon("an answer", wire.answer()).await;
            assert_eq!(answer.status, 200, "{host}");
            assert!(answer.text().starts_with(forged), "{}", answer.text());
            assert!(!answer.text().contains("ngrnotok-"), "{}", answer.text());
        }
    });
}

#[test]
fn an_upgraded_connection_that_goes_on_is_cut_when_the_server_ends() {
    run(async {
        for via in Via::ALL {
            let (app, mut ended) = echo().await;
            let limit = Duration::from_millis(300);
            let plan = World::plan().server(move |config| config.drain_limit = limit);
            let mut world = plan.client("app", &app).start().await;
            let mut wire = upgraded(&world, via).await;
            assert_eq!(
                soon("a greeting", wire.exactly(7)).await,
                "welcome",
                "{via:?}"
            );
            world.stop_server();
            wire.say("still here").await;
            assert_eq!(
                soon("an echo", wire.exactly(10)).await,
                "still here",
                "{via:?}"
            );
            assert!(!world.server_ended().await, "something was cut");
            soon("the end at the visitor", wire.rest()).await;
            assert!(soon("the end at the app", ended.recv()).await.is_some());
        }
    });
}

#[test]
fn the_last_words_of_an_app_that_stops_listening_arrive() {
    run(async {
        // It leaves with unread bytes, which makes its leaving an abort while its visitor still talks.
        let app = Origin::raw(move |mut wire| async move {
            wire.head().await;
            wire.say(AGREE).await;
            wire.next().await;
            wire.say("too much, bye").await;
        });
        let app = app.await;
        let world = World::of(&app).await;
        for via in [Via::Http1, Via::PlainHttp1] {
            for _ in 0..10 {
                let mut wire = upgraded(&world, via).await;
                wire.try_say(vec![b'z'; 4_000_000]).await;
                let said = soon("the last words", wire.rest()).await;
                assert_eq!(said, "too much, bye", "{via:?}");
            }
        }
    });
}

/// How `docker exec` begins.
pub(crate) const EXEC: &str = "POST /exec/start HTTP/1.1\r\nHost: app.tunnel.test\r\nConnection: Upgrade\r\n\
    Upgrade: tcp\r\nContent-Length: 4\r\n\r\nbody";

#[test]
fn an_upgrade_tells_how_long_its_body_is_to_clients_that_want_to_know() {
    run(async {
        let world = World::plan().start().await;
        let mut client = RawClient::open(&world).await;
        client.say(&HELLO.replace("\"t\"", "\"upgrade_bodies\":true,\"t\""));
        client.bind(1, "http", "app");
        assert_eq!(client.hear().await["t"], "welcome");
        assert_eq!(client.hear().await["t"], "bound");
        let mut wire = world.wire(Via::PlainHttp1, "app").await;
        wire.say(format!("{EXEC}behind")).await;
        let (request, mut respond) = client.request().await;
        assert_eq!(request.method(), Method::CONNECT);
        let fields = request.headers();
        assert_eq!(fields["ngrnotok-body-length"], "4");
        assert_eq!(fields["ngrnotok-method"], "POST");
        assert!(!fields.contains_key("content-length"), "{fields:?}");
        let mut body = request.into_body();
        assert_eq!(
            soon("the body", body.data()).await.unwrap().unwrap(),
            "body"
        );

        let agreed = Response::builder().header("ngrnotok-switched", "tcp");
        let mut send = respond
            .send_response(agreed.body(()).unwrap(), false)
            .unwrap();
        send.send_data("welcome".into(), false).unwrap();
        let head = soon("the switch", wire.head()).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert_eq!(soon("the protocol", wire.exactly(7)).await, "welcome");
        let rest = soon("what came behind the body", body.data()).await;
        assert_eq!(rest.unwrap().unwrap(), "behind");
    });
}

#[test]
fn an_upgrade_with_a_body_is_an_ordinary_request_to_a_client_that_does_not_carry_it() {
    run(async {
        let world = World::plan().start().await;
        let mut client = RawClient::bound(&world, "app").await;
        let mut wire = world.wire(Via::PlainHttp1, "app").await;
        wire.say(EXEC).await;
        let (request, _) = client.request().await;
        assert_eq!(request.method(), Method::POST);
        assert_eq!(request.headers()["content-length"], "4");
        assert!(!request.headers().contains_key("upgrade"));

        let mut wire = world.wire(Via::PlainHttp1, "app").await;
        wire.say(ASK.replace("\r\n\r\n", "\r\nContent-Length: 0\r\n\r\n"))
            .await;
        let (request, _) = client.request().await;
        assert_eq!(request.method(), Method::CONNECT);
        for field in ["content-length", "ngrnotok-body-length"] {
            assert!(!request.headers().contains_key(field), "{field}");
        }
    });
}
