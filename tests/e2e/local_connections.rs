//! Which requests share a connection to the local app, and what becomes of those that meet its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http_body_util::BodyExt;
use ngrnotok::local::{Caller, Local, Options, RequestBody, Sharing};
use ngrnotok_tests::body::{empty, full};
use ngrnotok_tests::origin::Origin;
use ngrnotok_tests::raw_link::{HELLO, RawClient};
use ngrnotok_tests::visitor::{Via, Visitor};
use ngrnotok_tests::world::{RunningClient, World};
use ngrnotok_tests::{run, soon};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::task::TaskTracker;

const YES: &str = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes";

/// Answers the first request of each connection. The next one it reads and ends the connection, after the
/// beginning of an answer if the path names one. Says which requests it has read.
async fn one_answer_a_connection() -> (Origin, mpsc::Receiver<String>) {
    let (read, reads) = mpsc::channel(64);
    let app = Origin::raw(move |mut wire| {
        let read = read.clone();
        async move {
            let head = wire.head().await;
            if head.contains("Content-Length: 6") {
                wire.exactly(6).await;
            }
            let _ = read.try_send(head);
            wire.say(YES).await;
            if let Some(head) = wire.next_head().await {
                if head.contains("/half") {
                    wire.say("HTTP/1.1 200 OK\r\nContent-").await;
                }
                let _ = read.try_send(head);
            }
        }
    });
    (app.await, reads)
}

/// The methods that an app has read so far.
fn methods(reads: &mut mpsc::Receiver<String>) -> Vec<String> {
    let heads = std::iter::from_fn(|| reads.try_recv().ok());
    let method = |head: String| head.split(' ').next().unwrap_or_default().to_owned();
    heads.map(method).collect()
}

#[test]
fn what_meets_the_end_of_a_kept_connection_goes_once_more_on_a_fresh_one() {
    run(async {
        for via in Via::ALL {
            let (app, mut reads) = one_answer_a_connection().await;
            let world = World::of(&app).await;
            let visitor = world.visit(via).await;
            assert_eq!(visitor.get("/first").await.text(), "yes");
            for method in ["GET", "PUT", "DELETE", "OPTIONS"] {
                methods(&mut reads);
                let request = visitor.request(method, "/again?b=%20c").header("x-a", "1");
                let answer = visitor.send(request.body(empty()).unwrap()).await;
                assert_eq!(answer.status, 200, "{via:?} {method}");
                let twice: Vec<String> = std::iter::from_fn(|| reads.try_recv().ok()).collect();
                assert_eq!(twice.len(), 2, "{twice:?}");
                assert_eq!(twice[0], twice[1], "the same request");
                assert!(twice[1].starts_with(&format!("{method} /again?b=%20c HTTP/1.1\r\n")));
            }
        }
    });
}

#[test]
fn a_request_whose_answer_has_begun_is_not_repeated() {
    run(async {
        let (app, mut reads) = one_answer_a_connection().await;
        let world = World::of(&app).await;
        let visitor = world.visit(Via::Http1).await;
        visitor.get("/first").await;
        let answer = visitor.get("/half").await;
        assert_eq!(answer.problem(), "502 local_closed");
        assert_eq!(methods(&mut reads), ["GET", "GET"]);
    });
}

#[test]
fn an_app_that_answers_nothing_on_a_fresh_connection_is_asked_once() {
    run(async {
        let (read, mut reads) = mpsc::channel(64);
        let app = Origin::raw(move |mut wire| {
            let read = read.clone();
            async move { drop(read.try_send(wire.head().await)) }
        });
        let world = World::of(&app.await).await;
        let answer = world.visit(Via::Http2).await.get("/").await;
        assert_eq!(answer.problem(), "502 local_closed");
        assert_eq!(methods(&mut reads), ["GET"]);
    });
}

/// Serves one connection at a time, as long as it lasts. A slow request takes until another connection waits.
async fn one_threaded(connections: Arc<watch::Sender<usize>>) -> Origin {
    let thread = Arc::new(Semaphore::new(1));
    Origin::raw(move |mut wire| {
        let (thread, connections) = (Arc::clone(&thread), Arc::clone(&connections));
        async move {
            connections.send_modify(|count| *count += 1);
            let _busy = thread.acquire().await.expect("it stays open");
            while let Some(head) = wire.next_head().await {
                if head.contains("/slow") {
                    are(&connections, 2).await;
                }
                wire.say(YES).await;
            }
        }
    })
    .await
}

/// Waits until there were so many connections.
async fn are(connections: &watch::Sender<usize>, least: usize) {
    let mut connections = connections.subscribe();
    let enough = connections.wait_for(|count| *count >= least).await;
    drop(enough.expect("the app lives"));
}

#[test]
fn an_app_that_serves_one_connection_at_a_time_serves_everybody() {
    run(async {
        for (one, other) in [(Via::Http1, Via::Http2), (Via::PlainHttp2, Via::PlainHttp1)] {
            for method in ["GET", "POST"] {
                let connections = Arc::<watch::Sender<usize>>::default();
                let world = World::of(&one_threaded(Arc::clone(&connections)).await).await;
                let (one, other) = (world.visit(one).await, world.visit(other).await);
                let slow = one.request(method, "/slow").body(empty()).unwrap();
                let (slow, quick) = tokio::join!(one.send(slow), async {
                    soon("the first connection", are(&connections, 1)).await;
                    other.get("/quick").await
                });
                assert_eq!((slow.text(), quick.text()), ("yes", "yes"));
            }
        }
    });
}

#[test]
fn an_idle_connection_ends_by_itself() {
    run(async {
        let (ended, mut ends) = mpsc::channel(64);
        let app = Origin::raw(move |mut wire| {
            let ended = ended.clone();
            async move {
                while wire.next_head().await.is_some() {
                    wire.say(YES).await;
                }
                let _ = ended.try_send(());
            }
        });
        let world = World::of(&app.await).await;
        assert_eq!(world.visit(Via::Http2).await.get("/").await.text(), "yes");
        soon("the end of the idle connection", ends.recv()).await;
    });
}

#[test]
fn a_request_that_must_not_be_repeated_comes_on_a_connection_that_nobody_closes() {
    run(async {
        let (app, mut reads) = one_answer_a_connection().await;
        let world = World::of(&app).await;
        for via in Via::ALL {
            let visitor = world.visit(via).await;
            for body in [empty(), full("a body")] {
                // This leaves a connection that the app ends at the next request.
                assert_eq!(visitor.get("/first").await.text(), "yes");
                methods(&mut reads);
                let post = visitor.request("POST", "/").body(body).unwrap();
                assert_eq!(visitor.send(post).await.text(), "yes", "{via:?}");
                assert_eq!(methods(&mut reads), ["POST"]);
            }
        }
    });
}

#[test]
fn a_request_that_must_not_be_repeated_never_is() {
    run(async {
        let (app, mut reads) = one_answer_a_connection().await;
        let world = World::of(&app).await;
        for via in Via::ALL {
            let visitor = world.visit(via).await;
            let post = || visitor.request("POST", "/").body(full("a body")).unwrap();
            assert_eq!(visitor.send(post()).await.text(), "yes");
            // Its own connection ends while the app has it.
            let answer = visitor.send(post()).await;
            assert_eq!(answer.problem(), "502 local_closed", "{via:?}");
            assert_eq!(methods(&mut reads), ["POST", "POST"]);
        }
    });
}

/// Answers each request with its first line, and never reads a body.
async fn deaf_to_bodies() -> Origin {
    Origin::raw(async |mut wire| {
        while let Some(head) = wire.next_head().await {
            let line = head.lines().next().unwrap_or_default();
            let length = line.len();
            wire.say(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{line}"
            ))
            .await;
        }
    })
    .await
}

#[test]
fn a_body_that_the_app_leaves_unread_is_no_part_of_anothers_request() {
    run(async {
        let world = World::of(&deaf_to_bodies().await).await;
        for (one, other) in [(Via::Http1, Via::Http2), (Via::PlainHttp2, Via::PlainHttp1)] {
            let other = world.visit(other).await;
            for _ in 0..3 {
                let one = world.visit(one).await;
                let hidden = full("GET /chosen-by-the-first HTTP/1.1\r\nX-Swallow: ");
                let post = one.request("POST", "/hook").body(hidden).unwrap();
                let answer = one.send(post).await;
                assert!(
                    answer.text().ends_with(" /hook HTTP/1.1"),
                    "{}",
                    answer.text()
                );
                assert_eq!(other.get("/mine").await.text(), "GET /mine HTTP/1.1");
            }
        }
    });
}

/// Answers each request with the number of its connection, and tells of the ends of connections.
async fn counted() -> (Origin, mpsc::Receiver<usize>) {
    let (ended, ends) = mpsc::channel(64);
    let count = Arc::new(AtomicUsize::new(0));
    let app = Origin::raw(move |mut wire| {
        let (ended, number) = (ended.clone(), count.fetch_add(1, Ordering::Relaxed));
        async move {
            while let Some(head) = wire.next_head().await {
                if head.contains("Content-Length: 4") {
                    wire.exactly(4).await;
                }
                let status = match head.contains("/login") {
                    true => "401 Unauthorized\r\nWWW-Authenticate: Negotiate",
                    false => "200 OK",
                };
                wire.say(format!(
                    "HTTP/1.1 {status}\r\nContent-Length: 1\r\n\r\n{number}"
                ))
                .await;
            }
            let _ = ended.try_send(number);
        }
    });
    (app.await, ends)
}

/// Which connection a request of a visitor comes on.
async fn connection(visitor: &Visitor, method: &str, path: &str) -> usize {
    let request = visitor.request(method, path);
    let body = match method {
        "POST" => full("body"),
        _ => empty(),
    };
    let answer = visitor
        .send(request.body(body).expect("a good request"))
        .await;
    answer.text().parse().expect("a number")
}

#[test]
fn a_connection_that_carried_a_body_is_its_visitors_alone_and_ends_with_it() {
    run(async {
        for via in Via::ALL {
            let (app, mut ends) = counted().await;
            let world = World::of(&app).await;
            let (ann, bob) = (world.visit(via).await, world.visit(via).await);
            assert_eq!(connection(&ann, "GET", "/").await, 0);
            assert_eq!(connection(&bob, "GET", "/").await, 0);
            assert_eq!(connection(&ann, "POST", "/").await, 1);
            assert_eq!(connection(&ann, "GET", "/").await, 1);
            assert_eq!(connection(&ann, "POST", "/").await, 1);
            assert_eq!(connection(&bob, "POST", "/").await, 2);
            assert_eq!(connection(&bob, "GET", "/").await, 2);
            drop(ann);
            // The shared one has been idle for long by then, if the machine is slow.
            while soon("the end of her connection", ends.recv()).await != Some(1) {}
            assert_eq!(connection(&bob, "GET", "/").await, 2);
        }
    });
}

/// Takes for a visitor's own what has logged in by NTLM, as its users' agents expect (MS-NTHT).
async fn ntlm() -> Origin {
    Origin::raw(async |mut wire| {
        let (mut challenged, mut user) = (false, "nobody");
        while let Some(head) = wire.next_head().await {
            let says = |word: &str| head.to_lowercase().contains(word);
            if says("authorization: ntlm response") && challenged {
                user = "ann";
            }
            let status = match user {
                "ann" => "200 OK",
                _ if says("authorization: ntlm hello") => {
                    challenged = true;
                    "401 Unauthorized\r\nWWW-Authenticate: NTLM challenge"
                }
                _ => "401 Unauthorized\r\nWWW-Authenticate: NTLM",
            };
            let length = user.len();
            wire.say(format!(
                "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{user}"
            ))
            .await;
        }
    })
    .await
}

#[test]
fn a_login_of_a_connection_is_good_for_its_visitor_and_for_nobody_else() {
    run(async {
        for via in Via::ALL {
            let world = World::of(&ntlm().await).await;
            let (ann, bob) = (world.visit(via).await, world.visit(via).await);
            for (credentials, status) in [
                (None, 401),
                (Some("NTLM hello"), 401),
                (Some("NTLM response"), 200),
                (None, 200),
            ] {
                let request = ann.request("GET", "/");
                let request = match credentials {
                    Some(credentials) => request.header("authorization", credentials),
                    None => request,
                };
                let answer = ann.send(request.body(empty()).unwrap()).await;
                assert_eq!(answer.status, status, "{via:?} {credentials:?}");
                assert_eq!(bob.get("/").await.text(), "nobody", "{via:?}");
            }
            assert_eq!(ann.get("/").await.text(), "ann", "{via:?}");
        }
    });
}

#[test]
fn what_is_tied_to_nobody_known_is_not_used_again() {
    run(async {
        let (app, mut ends) = counted().await;
        let local = Local::new(app.target(), Options::default(), TaskTracker::new()).unwrap();
        // A server of before visitors had names.
        let caller = Caller::default();
        let mut number = 0;
        for (method, path, is_kept) in [
            ("POST", "/", false),
            ("GET", "/login", false),
            ("GET", "/", true),
            ("GET", "/", true),
        ] {
            let body = match method {
                "POST" => RequestBody::ready("body".into(), None),
                _ => RequestBody::none(),
            };
            let request = http::Request::builder().method(method);
            let request = request.uri(format!("http://app.tunnel.test{path}"));
            let request = match method {
                "POST" => request.header("content-length", 4),
                _ => request,
            };
            let mut request = request.body(body).unwrap();
            let answer = soon("an answer", local.exchange(&mut request, &caller)).await;
            let mut body = answer.unwrap().into_body();
            let said = body.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(said, number.to_string(), "{method} {path}");
            local.done(body);
            if !is_kept {
                assert_eq!(soon("its end", ends.recv()).await, Some(number));
                number += 1;
            }
        }
    });
}

#[test]
fn who_shares_connections_can_be_chosen() {
    run(async {
        for (sharing, numbers) in [
            (Sharing::Auto, [0, 0, 1, 1, 0]),
            (Sharing::Shared, [0, 0, 0, 0, 0]),
            (Sharing::PerVisitor, [0, 1, 0, 0, 1]),
            (Sharing::None, [0, 1, 2, 3, 4]),
        ] {
            let (app, _ends) = counted().await;
            let world = World::plan().start().await;
            let mut config = world.client("app", app.target());
            config.tunnels[0].options.sharing = sharing;
            let _client = RunningClient::start(config).await.unwrap();
            let (ann, bob) = (world.visit(Via::Http1).await, world.visit(Via::Http2).await);
            let came = [
                connection(&ann, "GET", "/").await,
                connection(&bob, "GET", "/").await,
                connection(&ann, "POST", "/").await,
                connection(&ann, "GET", "/").await,
                connection(&bob, "GET", "/").await,
            ];
            assert_eq!(came, numbers, "{sharing:?}");
        }
    });
}

/// Opens a link on which visitors are named as wanted, and binds `app`.
async fn naming(world: &World, visitors: &str) -> RawClient {
    let mut client = RawClient::open(world).await;
    client.say(&HELLO.replace('}', visitors));
    client.bind(1, "http", "app");
    assert_eq!(client.hear().await["t"], "welcome");
    assert_eq!(client.hear().await["t"], "bound");
    client
}

/// The name that the server gives the connection of one request, which is answered with `status`.
async fn named(
    client: &mut RawClient,
    visitor: &Visitor,
    ask: (&str, &str, u16),
) -> Option<String> {
    let (method, credentials, status) = ask;
    let body = match method {
        "POST" => full("body"),
        _ => empty(),
    };
    let request = visitor
        .request(method, "/")
        .header("authorization", credentials);
    let request = request.header("ngrnotok-visitor", "0123456789abcdef");
    let asked = visitor.send(request.body(body).expect("a good request"));
    let answered = async {
        let (request, mut respond) = client.request().await;
        let answer = http::Response::builder().status(status);
        let answer = answer.header("www-authenticate", "Negotiate");
        respond
            .send_response(answer.body(()).expect("a good answer"), true)
            .expect("an open stream");
        let name = request.headers().get("ngrnotok-visitor");
        name.map(|name| name.to_str().expect("text").to_owned())
    };
    tokio::join!(asked, answered).1
}

#[test]
fn the_server_names_a_visitors_connection_when_something_may_be_tied_to_it() {
    run(async {
        for via in Via::ALL {
            for (tie, from_then_on) in [
                (("POST", "Basic x", 200), true),
                (("GET", "NTLM x", 200), true),
                // The next one may be a part of the login.
                (("GET", "Basic x", 401), false),
            ] {
                let world = World::plan().start().await;
                let mut client = naming(&world, r#","visitors":"bound"}"#).await;
                let visitor = world.visit(via).await;
                let plain = ("GET", "Basic x", 200);
                assert_eq!(named(&mut client, &visitor, plain).await, None);
                let name = named(&mut client, &visitor, tie).await;
                assert_eq!(name.is_some(), from_then_on, "{via:?} {tie:?}");
                let name = named(&mut client, &visitor, plain).await.unwrap();
                assert_ne!(name, "0123456789abcdef");
                assert_eq!(named(&mut client, &visitor, tie).await, Some(name.clone()));

                let other = world.visit(via).await;
                assert_eq!(named(&mut client, &other, plain).await, None);
                drop(visitor);
                let left = client.hear().await;
                assert_eq!(left["t"], "left");
                assert_eq!(left["visitors"], serde_json::json!([name]), "{via:?}");
            }
        }
    });
}

#[test]
fn the_server_names_all_visitors_or_none_if_a_client_wants_that() {
    run(async {
        for (visitors, are_named) in [(r#","visitors":"all"}"#, true), ("}", false)] {
            let world = World::plan().start().await;
            let mut client = naming(&world, visitors).await;
            let visitor = world.visit(Via::Http2).await;
            for ask in [("GET", "Basic x", 200), ("POST", "NTLM x", 401)] {
                let name = named(&mut client, &visitor, ask).await;
                assert_eq!(name.is_some(), are_named, "{ask:?}");
            }
        }
    });
}
