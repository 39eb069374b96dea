//! What goes through a tunnel can be looked at, and sent again.

use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode};
use ngrnotok::inspect::{
    Captured, Direction, Exchange, ExchangeId, Kind, Limits, MessageKind, Origin as Whence,
    Recorder, State,
};
use ngrnotok::resend::{Edit, ResendError};
use ngrnotok_common::protocol::cause::Cause;
use ngrnotok_tests::body::{Body, full, pieces};
use ngrnotok_tests::origin::Origin;
use ngrnotok_tests::visitor::Via;
use ngrnotok_tests::world::{RunningClient, World};
use ngrnotok_tests::{run, soon};

use crate::upgrades::{EXEC, upgraded};

/// A world whose client records what goes to `app`.
async fn recorded(app: &Origin) -> (World, RunningClient) {
    recorded_within(app, Limits::default()).await
}

async fn recorded_within(app: &Origin, limits: Limits) -> (World, RunningClient) {
    let world = World::plan().start().await;
    let mut config = world.client("app", app.target());
    config.recorder = Recorder::new(limits);
    let client = RunningClient::start(config).await.expect("it is online");
    (world, client)
}

/// The exchange with a number, once it is over.
async fn over(client: &RunningClient, id: u64) -> Exchange {
    let ended = client.recorder.ended(ExchangeId(id));
    soon("the end of an exchange", ended)
        .await
        .expect("it is kept")
}

fn private_in(fields: &HeaderMap) -> bool {
    fields
        .keys()
        .any(|name| name.as_str().starts_with("ngrnotok-"))
}

async fn post(world: &World, via: Via, body: Body) {
    let visitor = world.visit(via).await;
    let request = visitor
        .request("POST", "/a%2Fb?c=%7E")
        .header("x-odd", "\u{ff}")
        .header("cookie", "a=1")
        .body(body);
    let answer = visitor.send(request.expect("a good request")).await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[test]
fn an_exchange_is_recorded_whole() {
    run(async {
        let (app, mut witness) = Origin::witness().await;
        let (world, client) = recorded(&app).await;
        for (id, via) in (1..).zip(Via::ALL) {
            post(&world, via, full("what a visitor says")).await;
            let exchange = over(&client, id).await;
            let seen = witness.recv().await.expect("the app sees it");
            assert_eq!(exchange.tunnel.as_str(), "app");
            assert_eq!(exchange.visitor, Some([127, 0, 0, 1].into()));
            assert_eq!(exchange.origin, Whence::Visitor);
            assert_eq!(
                (&exchange.kind, &exchange.state),
                (&Kind::Plain, &State::Done)
            );
            let request = exchange.request;
            let scheme = if via.is_tls() { "https" } else { "http" };
            let authority = world.authority(via, "app");
            let uri = format!("{scheme}://{authority}/a%2Fb?c=%7E");
            assert_eq!(request.uri.to_string(), uri);
            assert_eq!(request.method, Method::POST);
            assert_eq!(request.body, Captured::whole("what a visitor says"));
            assert_eq!(request.fields["x-odd"], seen.headers()["x-odd"]);
            assert!(!private_in(&request.fields));
            let answer = exchange.answer.expect("an answer");
            assert_eq!(answer.status, StatusCode::OK);
            assert_eq!(answer.body, Captured::whole("seen"));
            let timing = exchange.timing;
            assert!(timing.request_ended <= timing.answered, "{timing:?}");
            assert!(timing.answered <= timing.ended, "{timing:?}");
            assert!(timing.round_trip.is_some(), "{timing:?}");
            assert!(timing.edge.is_some(), "{timing:?}");
            assert!(!private_in(seen.headers()), "it goes no further");
        }
    });
}

#[test]
fn a_request_that_is_sent_again_reads_the_same() {
    run(async {
        let (app, mut witness) = Origin::witness().await;
        let (world, client) = recorded(&app).await;
        let mut id = 0;
        for via in Via::ALL {
            for whole in [true, false] {
                let body = match whole {
                    true => full("what a visitor says"),
                    // Without a length.
                    false => {
                        let (mut sender, body) = pieces();
                        let send = async move {
                            for piece in ["what a ", "visitor says"] {
                                sender.send_data(piece.into()).await.expect("it is read");
                            }
                        };
                        tokio::join!(send, post(&world, via, body));
                        full("")
                    }
                };
                if whole {
                    post(&world, via, body).await;
                }
                id += 1;
                over(&client, id).await;
                let again = client.resender.resend(ExchangeId(id), Edit::default());
                let again = again.expect("it can be sent again");
                let of = ExchangeId(id);
                id += 1;
                assert_eq!(again, ExchangeId(id));
                let exchange = over(&client, id).await;
                assert_eq!(exchange.origin, Whence::Resent { of, edited: false });
                assert_eq!(exchange.state, State::Done);
                assert_eq!(exchange.answer.expect("one").body, Captured::whole("seen"));
                let first = witness.recv().await.expect("the first");
                let second = witness.recv().await.expect("the second");
                assert_eq!(first.body(), "what a visitor says");
                assert_eq!(first.body(), second.body());
                assert_eq!(first.method(), second.method());
                assert_eq!(first.uri(), second.uri());
                assert_eq!(first.version(), second.version());
                assert_eq!(first.headers(), second.headers(), "{via:?}, {whole}");
            }
        }
    });
}

#[test]
fn a_request_can_be_changed_before_it_is_sent_again() {
    run(async {
        let (app, mut witness) = Origin::witness().await;
        let (world, client) = recorded(&app).await;
        post(&world, Via::Http1, full("one")).await;
        witness.recv().await.expect("the first");
        let edit = Edit {
            method: Some(Method::PUT),
            path: Some("/other?x".parse().expect("a path")),
            body: Some(Bytes::from("another")),
            ..Edit::default()
        };
        let again = client.resender.resend(ExchangeId(1), edit);
        let again = over(&client, again.expect("it is sent").0).await;
        let edited = Whence::Resent {
            of: ExchangeId(1),
            edited: true,
        };
        assert_eq!(again.origin, edited);
        let seen = witness.recv().await.expect("the second");
        assert_eq!((seen.method(), seen.uri().path()), (&Method::PUT, "/other"));
        assert_eq!(seen.body(), "another");
        assert_eq!(seen.headers()["content-length"], "7");
        assert_eq!(seen.headers()["x-odd"].as_bytes(), "\u{ff}".as_bytes());
    });
}

#[test]
fn another_body_goes_without_the_coding_of_the_old_one() {
    run(async {
        let (app, mut witness) = Origin::witness().await;
        let (world, client) = recorded(&app).await;
        let visitor = world.visit(Via::Http1).await;
        let request = visitor
            .request("POST", "/")
            .header("content-encoding", "gzip");
        visitor
            .send(request.body(full("packed")).expect("good"))
            .await;
        over(&client, 1).await;
        let first = witness.recv().await.expect("the first");
        assert_eq!(first.headers()["content-encoding"], "gzip");
        let edit = Edit {
            body: Some(Bytes::from("unpacked")),
            ..Edit::default()
        };
        let again = client.resender.resend(ExchangeId(1), edit);
        over(&client, again.expect("it is sent").0).await;
        let second = witness.recv().await.expect("the second");
        assert_eq!(second.body(), "unpacked");
        assert_eq!(second.headers().get("content-encoding"), None);
    });
}

/// An exchange as it comes from the file of another tool.
async fn imported(world: &World, client: &RunningClient, uri: &str) -> ExchangeId {
    post(world, Via::Http1, full("from elsewhere")).await;
    let mut exchange = over(client, 1).await;
    exchange.origin = Whence::Imported;
    exchange.tunnel = "imported".parse().expect("a name");
    exchange.request.uri = uri.parse().expect("an address");
    // Some write down a length that is not that of the body.
    let fields = &mut exchange.request.fields;
    fields.insert("content-length", "9999".parse().expect("a value"));
    client.recorder.insert(exchange).expect("it is recorded")
}

#[test]
fn an_imported_request_goes_to_the_tunnel_that_there_is() {
    run(async {
        let (app, mut witness) = Origin::witness().await;
        let (world, client) = recorded(&app).await;
        let id = imported(&world, &client, "https://elsewhere.example/hooks?x=1").await;
        witness.recv().await.expect("the visitor's");
        let sent = client.resender.resend(id, Edit::default());
        let sent = over(&client, sent.expect("it is sent").0).await;
        assert_eq!(sent.state, State::Done);
        assert_eq!(sent.tunnel.as_str(), "app");
        let seen = witness.recv().await.expect("the imported one");
        assert_eq!(seen.uri(), "/hooks?x=1");
        assert_eq!(seen.body(), "from elsewhere");
        let host = seen.headers()["host"].to_str().expect("text");
        assert!(host.starts_with("app.tunnel.test"), "{host}");

        let other = Edit {
            tunnel: Some("other".parse().expect("a name")),
            ..Edit::default()
        };
        let nowhere = client.resender.resend(id, other);
        let name = "other".parse().expect("a name");
        assert_eq!(nowhere, Err(ResendError::NoTunnel(name)));
    });
}

#[test]
fn an_address_without_a_scheme_can_have_another_path() {
    run(async {
        let (app, mut witness) = Origin::witness().await;
        let (world, client) = recorded(&app).await;
        let id = imported(&world, &client, "elsewhere.example:80").await;
        witness.recv().await.expect("the visitor's");
        let edit = Edit {
            path: Some("/edited".parse().expect("a path")),
            ..Edit::default()
        };
        let sent = client.resender.resend(id, edit).expect("it is sent");
        assert_eq!(over(&client, sent.0).await.state, State::Done);
        let seen = witness.recv().await.expect("the imported one");
        assert_eq!(seen.uri(), "/edited");
    });
}

#[test]
fn what_was_not_kept_whole_is_not_sent_again() {
    run(async {
        let (app, mut seen) = Origin::witness().await;
        let limits = Limits {
            body_bytes: 5,
            ..Limits::default()
        };
        let (world, client) = recorded_within(&app, limits).await;
        post(&world, Via::Http2, full("too long")).await;
        let exchange = over(&client, 1).await;
        assert!(exchange.request.body.is_cut());
        let again = |edit| client.resender.resend(ExchangeId(1), edit);
        assert_eq!(
            again(Edit::default()),
            Err(ResendError::Cut { kept: 5, total: 8 })
        );
        let whole = Edit {
            body: Some("fits".into()),
            ..Edit::default()
        };
        let id = again(whole).expect("it has a whole body now");
        assert_eq!(over(&client, id.0).await.state, State::Done);
        let gone = client.resender.resend(ExchangeId(9), Edit::default());
        assert_eq!(gone, Err(ResendError::Gone(ExchangeId(9))));
        assert_eq!(seen.recv().await.expect("the first").body(), "too long");
        assert_eq!(seen.recv().await.expect("the second").body(), "fits");
    });
}

#[test]
fn troubles_are_recorded_too() {
    run(async {
        let (world, client) = recorded(&Origin::refusing()).await;
        world.visit(Via::Http1).await.get("/").await;
        let State::Trouble(cause, detail) = over(&client, 1).await.state else {
            panic!("nobody listens");
        };
        assert_eq!(cause, Cause::LocalRefused);
        assert!(detail.contains("127.0.0.1"), "{detail}");

        let head = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf";
        let app = Origin::writing(head).await;
        let (world, client) = recorded(&app).await;
        let visitor = world.visit(Via::Http2).await;
        let request = visitor.request("GET", "/").body(full(""));
        let _ = visitor.try_send(request.expect("good")).await;
        let exchange = over(&client, 1).await;
        assert!(
            matches!(exchange.state, State::Broken(_)),
            "{:?}",
            exchange.state
        );
        let body = exchange.answer.expect("it began").body;
        assert_eq!((&body.bytes[..], body.ended), (&b"half"[..], false));
    });
}

#[test]
fn a_visitor_who_leaves_is_noted() {
    run(async {
        let (sender, body) = pieces();
        let body = std::sync::Mutex::new(Some(body));
        let body = std::sync::Arc::new(body);
        let app = Origin::http(move |_| {
            let body = body.lock().expect("one request").take();
            async move { Response::new(body.expect("one request")) }
        });
        let app = app.await;
        let (world, client) = recorded(&app).await;
        let visitor = world.visit(Via::Http2).await;
        let answer = visitor.begin("/").await;
        drop((answer, visitor));
        assert_eq!(over(&client, 1).await.state, State::VisitorLeft);
        drop(sender);
    });
}

#[test]
fn an_upload_that_its_visitor_breaks_off_is_no_fault_of_the_app() {
    run(async {
        // An app that hangs up on half a request, as most do.
        let (seen, mut begun) = tokio::sync::mpsc::channel(1);
        let app = Origin::raw(move |mut wire| {
            let seen = seen.clone();
            async move {
                wire.head().await;
                let _ = seen.send(()).await;
                wire.rest().await;
            }
        });
        let app = app.await;
        let (world, client) = recorded(&app).await;
        for (id, via) in (1..).zip(Via::ALL) {
            let visitor = world.visit(via).await;
            let (sender, body) = pieces();
            let request = visitor.request("POST", "/").body(body);
            let mut asking = Box::pin(visitor.try_send(request.expect("a good request")));
            tokio::select! {
                answer = &mut asking => panic!("nobody answered, but: {answer:?}"),
                seen = begun.recv() => seen.expect("the app lives"),
            }
            sender.abort(std::io::ErrorKind::Other.into());
            let _ = asking.await;
            assert_eq!(over(&client, id).await.state, State::VisitorLeft, "{via:?}");
        }
    });
}

#[test]
fn events_are_told_apart() {
    run(async {
        let app = Origin::http(async |_| {
            let mut answer = Response::new(full("event: add\nid: 7\ndata: one\n\ndata: two\n\n"));
            let kind = "text/event-stream; charset=utf-8".parse().expect("good");
            answer.headers_mut().insert("content-type", kind);
            answer
        });
        let app = app.await;
        let (world, client) = recorded(&app).await;
        world.visit(Via::Http1).await.get("/").await;
        let exchange = over(&client, 1).await;
        assert_eq!(exchange.kind, Kind::Events);
        let event = |event: &str| MessageKind::Event {
            event: event.into(),
            id: "7".into(),
        };
        let messages: Vec<_> = exchange
            .messages
            .iter()
            .map(|message| (message.kind.clone(), &message.payload.bytes[..]))
            .collect();
        assert_eq!(
            messages,
            [(event("add"), &b"one"[..]), (event("message"), b"two")]
        );
    });
}

const AGREE: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

#[test]
fn both_sides_of_a_websocket_are_heard() {
    run(async {
        let app = Origin::raw(|mut wire| async move {
            wire.head().await;
            wire.say(AGREE).await;
            wire.say(b"\x81\x05hello").await;
            let said = wire.exactly(10).await;
            assert_eq!(
                said,
                &b"\x81\x84\x01\x02\x03\x04ukjo"[..],
                "it is not changed"
            );
            wire.say(b"\x88\x02\x03\xe8").await;
            wire.finish().await;
            wire.rest().await;
        });
        let app = app.await;
        let (world, client) = recorded(&app).await;
        for (id, via) in (1..).zip(Via::ALL) {
            let mut wire = upgraded(&world, via).await;
            assert_eq!(wire.exactly(7).await, &b"\x81\x05hello"[..]);
            wire.say(b"\x81\x84\x01\x02\x03\x04ukjo").await;
            assert_eq!(wire.exactly(4).await, &b"\x88\x02\x03\xe8"[..]);
            wire.finish().await;
            wire.rest().await;
            let exchange = over(&client, id).await;
            assert_eq!(
                (&exchange.kind, &exchange.state),
                (&Kind::WebSocket, &State::Done)
            );
            assert_eq!(exchange.request.method, Method::GET);
            assert_eq!(exchange.answer.expect("one").status, 101);
            let messages: Vec<_> = exchange
                .messages
                .iter()
                .map(|message| (message.direction, &message.kind, &message.payload.bytes[..]))
                .collect();
            assert_eq!(
                messages,
                [
                    (Direction::FromApp, &MessageKind::Text, &b"hello"[..]),
                    (Direction::FromVisitor, &MessageKind::Text, b"tiik"),
                    (
                        Direction::FromApp,
                        &MessageKind::Close { code: Some(1000) },
                        b""
                    ),
                ]
            );
            let again = client.resender.resend(ExchangeId(id), Edit::default());
            assert_eq!(again, Err(ResendError::Upgrade));
        }
    });
}

#[test]
fn the_body_with_which_an_upgrade_began_is_kept() {
    run(async {
        let app = Origin::raw(async |mut wire| {
            wire.head().await;
            wire.exactly(4).await;
            wire.say("HTTP/1.1 101 Switching Protocols\r\nUpgrade: tcp\r\n\r\n")
                .await;
            wire.next().await;
        });
        let app = app.await;
        let (world, client) = recorded(&app).await;
        let mut wire = world.wire(Via::Http1, "app").await;
        wire.say(EXEC).await;
        let head = soon("the switch", wire.head()).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        wire.say("behind").await;
        soon("the end of the app", wire.rest()).await;
        drop(wire);
        let exchange = over(&client, 1).await;
        assert_eq!(exchange.kind, Kind::Upgraded("tcp".into()));
        assert_eq!(exchange.request.fields["content-length"], "4");
        assert_eq!(exchange.request.body.bytes, "body");
    });
}

#[test]
fn an_answer_that_breaks_off_says_what_was_wrong_with_it() {
    run(async {
        let chunk = "5;signature=0123456789abcdef\r\nhello\r\n";
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let app = Origin::writing(format!("{head}{}0\r\n\r\n", chunk.repeat(1000))).await;
        let (world, client) = recorded(&app).await;
        let visitor = world.visit(Via::Http2).await;
        let request = visitor.request("GET", "/").body(full("")).unwrap();
        assert!(visitor.try_send(request).await.is_err());
        let State::Broken(why) = over(&client, 1).await.state else {
            panic!("it broke off");
        };
        assert!(why.contains("chunk extensions over limit"), "{why}");
    });
}
