//! Local apps that speak HTTP/2: how many connections they get, and what becomes of requests that they refuse.

use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use ngrnotok::local::Protocol;
use ngrnotok::requests::Happening;
use ngrnotok_tests::body::{Body, empty, full};
use ngrnotok_tests::frames::{
    DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM, SETTINGS, frame,
};
use ngrnotok_tests::origin::Origin;
use ngrnotok_tests::visitor::Via;
use ngrnotok_tests::wire::Wire;
use ngrnotok_tests::world::{RunningClient, World};
use ngrnotok_tests::{run, soon};
use tokio::sync::{mpsc, watch};

/// A client whose app `app` speaks HTTP/2 in clear.
async fn client(world: &World, app: &Origin) -> RunningClient {
    let mut config = world.client("app", app.target());
    config.tunnels[0].options.protocol = Protocol::H2c;
    let client = RunningClient::start(config).await;
    client.expect("a client that is online")
}

/// Takes so many streams at once on each connection, and ends none that asks for `/held`. Counts connections.
async fn taking(streams: u32) -> (Origin, Arc<watch::Sender<usize>>) {
    let connections = Arc::<watch::Sender<usize>>::default();
    let count = Arc::clone(&connections);
    let mut settings = h2::server::Builder::new();
    settings.max_concurrent_streams(streams);
    let app = Origin::http2(settings, move |mut connection| {
        count.send_modify(|count| *count += 1);
        async move {
            let mut held = Vec::new();
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let ends = request.uri().path() != "/held";
                let stream = respond.send_response(Response::new(()), ends);
                held.push(stream.expect("an open stream"));
            }
        }
    });
    (app.await, connections)
}

#[test]
fn an_app_that_is_full_gets_another_connection() {
    run(async {
        for via in [Via::Http1, Via::Http2] {
            let (app, connections) = taking(2).await;
            let world = World::plan().start().await;
            let _client = client(&world, &app).await;
            let mut held = Vec::new();
            for _ in 0..5 {
                let visitor = world.visit(via).await;
                held.push((visitor.begin("/held").await, visitor));
            }
            let quick = world.visit(via).await;
            for _ in 0..5 {
                assert_eq!(quick.get("/quick").await.status, 200, "{via:?}");
            }
            assert_eq!(*connections.borrow(), 3);
            // What is free again is used.
            drop(held);
            assert_eq!(quick.begin("/held").await.status(), 200);
            assert_eq!(*connections.borrow(), 3);
        }
    });
}

#[test]
fn requests_that_find_all_connections_full_wait_and_the_developer_is_told() {
    run(async {
        let (app, connections) = taking(1).await;
        let world = World::plan().start().await;
        let mut client = client(&world, &app).await;
        let visitor = world.visit(Via::Http2).await;
        let mut held = Vec::new();
        for _ in 0..32 {
            held.push(visitor.begin("/held").await);
        }
        assert_eq!(*connections.borrow(), 32);
        let (quick, ()) = tokio::join!(visitor.get("/quick"), async {
            let hint = loop {
                let next = soon("a hint", client.requests.next()).await;
                if let Some(Happening::Hint(hint)) = next {
                    break hint.explanation;
                }
            };
            assert_eq!(hint.kind.code(), "streams_taken");
            assert!(hint.to_string().contains("takes 32 at once"), "{hint}");
            held.pop();
        });
        assert_eq!(quick.status, 200);
        assert_eq!(*connections.borrow(), 32);
    });
}

/// A request as it came: its field block and its body.
type Came = (Bytes, Vec<u8>);

/// Refuses its first request by a frame and answers all others.
async fn refusing(refusal: Vec<u8>) -> (Origin, mpsc::Receiver<Came>) {
    let (came, coming) = mpsc::channel(64);
    let refusals = Arc::new(std::sync::Mutex::new(Some(refusal)));
    let app = Origin::raw(move |wire| serve(wire, came.clone(), Arc::clone(&refusals)));
    (app.await, coming)
}

async fn serve(
    mut wire: Wire,
    came: mpsc::Sender<Came>,
    refusals: Arc<std::sync::Mutex<Option<Vec<u8>>>>,
) {
    // A field block means the same on every connection without a dynamic table.
    wire.say(frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0])).await;
    wire.exactly("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len()).await;
    let mut block = Bytes::new();
    let mut body = Vec::new();
    loop {
        let head = wire.exactly(9).await;
        let [a, b, c, kind, flags, _, _, _, stream] = head[..] else {
            return;
        };
        let size = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        let payload = wire.exactly(size).await;
        match kind {
            HEADERS => block = payload,
            DATA => body.extend_from_slice(&payload),
            _ => continue,
        }
        if flags & END_STREAM == 0 {
            continue;
        }
        let _ = came.try_send((block.clone(), std::mem::take(&mut body)));
        let refusal = refusals.lock().expect("nobody panics with it").take();
        // `:status: 200`, RFC 7541 appendix A.
        let answer = frame(HEADERS, END_HEADERS | END_STREAM, stream.into(), &[0x88]);
        wire.say(refusal.unwrap_or(answer)).await;
    }
}

/// GOAWAY with NO_ERROR and without a stream that was looked at, or RST_STREAM with REFUSED_STREAM.
fn refusals() -> [(Vec<u8>, &'static str); 2] {
    [
        (frame(GOAWAY, 0, 0, &[0; 8]), "502 local_closed"),
        (
            frame(RST_STREAM, 0, 1, &[0, 0, 0, 7]),
            "502 local_bad_response",
        ),
    ]
}

/// What a visitor is answered, and what the app has read.
async fn asked(refusal: Vec<u8>, method: &str, body: Body) -> (String, Vec<Came>) {
    let (app, mut coming) = refusing(refusal).await;
    let world = World::plan().start().await;
    let _client = client(&world, &app).await;
    let visitor = world.visit(Via::Http2).await;
    let request = visitor.request(method, "/").body(body);
    let answer = visitor.send(request.expect("a good request")).await;
    let answered = match answer.status.as_u16() {
        200 => "200".to_owned(),
        _ => answer.problem(),
    };
    (
        answered,
        std::iter::from_fn(|| coming.try_recv().ok()).collect(),
    )
}

#[test]
fn what_the_app_has_not_looked_at_goes_once_more_whatever_its_method() {
    run(async {
        for (refusal, _) in refusals() {
            for (method, body) in [
                ("GET", ""),
                ("POST", ""),
                ("POST", "a body"),
                ("PATCH", "b"),
            ] {
                let asked = asked(
                    refusal.clone(),
                    method,
                    match body {
                        "" => empty(),
                        body => full(body),
                    },
                );
                let (answer, came) = asked.await;
                assert_eq!(answer, "200", "{method} {refusal:?}");
                assert_eq!(came.len(), 2);
                assert_eq!(came[0], came[1], "the same request");
                assert_eq!(came[1].1, body.as_bytes());
            }
        }
    });
}

#[test]
fn a_body_of_which_much_was_sent_does_not_go_once_more() {
    run(async {
        for (refusal, problem) in refusals() {
            let (answer, came) = asked(refusal, "POST", full(vec![b'x'; 40_000])).await;
            assert_eq!((answer.as_str(), came.len()), (problem, 1));
        }
    });
}
