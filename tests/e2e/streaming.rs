//! Bytes move on as they come, at the pace of whoever reads them.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use ngrnotok_tests::body::{Pattern, full, pieces, send_pattern};
use ngrnotok_tests::origin::Origin;
use ngrnotok_tests::tasks::Tasks;
use ngrnotok_tests::visitor::Via;
use ngrnotok_tests::world::World;
use ngrnotok_tests::{run, soon, still, within};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

const MIB: usize = 1024 * 1024;

/// The next bytes of a body.
async fn piece(body: &mut Incoming) -> Bytes {
    let frame = soon("the next piece of a body", body.frame()).await;
    let frame = frame.expect("the body goes on").expect("a whole piece");
    frame.into_data().expect("data")
}

/// Reads `total` bytes of the pattern.
async fn check_pattern(body: &mut Incoming, total: usize) {
    let (mut pattern, mut seen) = (Pattern::default(), 0);
    while let Some(frame) = body.frame().await {
        let data = frame.expect("a whole body").into_data().expect("data");
        pattern.check(&data);
        seen += data.len();
    }
    assert_eq!(seen, total);
}

#[test]
fn a_piece_of_an_answer_arrives_before_the_next_is_sent() {
    run(async {
        let (bodies, mut body) = mpsc::channel(1);
        let app = Origin::http(move |_| {
            let bodies = bodies.clone();
            async move {
                let (pieces, body) = pieces();
                bodies.send(pieces).await.unwrap();
                Response::new(body)
            }
        });
        let world = World::of(&app.await).await;
        for via in Via::ALL {
            let visitor = world.visit(via).await;
            let mut seen = visitor.begin("/").await.into_body();
            let mut sent = body.recv().await.unwrap();
            for word in ["one", "two", "three"] {
                sent.send_data(word.into()).await.unwrap();
                assert_eq!(piece(&mut seen).await, word, "{via:?}");
            }
        }
    });
}

#[test]
fn a_piece_of_an_upload_arrives_before_the_next_is_sent() {
    run(async {
        let (seen, mut arrived) = mpsc::channel(1);
        let app = Origin::http(move |request| {
            let seen = seen.clone();
            async move {
                let mut body = request.into_body();
                while let Some(Ok(frame)) = body.frame().await {
                    seen.send(frame.into_data().unwrap()).await.unwrap();
                }
                Response::new(full("all of it"))
            }
        });
        let world = World::of(&app.await).await;
        for via in Via::ALL {
            let visitor = world.visit(via).await;
            let (mut sent, body) = pieces();
            let request = visitor.request("POST", "/").body(body).unwrap();
            let upload = async {
                for word in ["one", "two", "three"] {
                    sent.send_data(word.into()).await.unwrap();
                    let piece = soon("the next piece", arrived.recv()).await;
                    assert_eq!(piece.unwrap(), word, "{via:?}");
                }
                drop(sent);
            };
            let (answer, ()) = tokio::join!(visitor.send(request), upload);
            assert_eq!(answer.text(), "all of it");
        }
    });
}

#[test]
fn an_app_may_answer_while_it_is_still_asked() {
    run(async {
        let app = Origin::http(async |request| {
            let (mut sent, body) = pieces();
            let mut asked = request.into_body();
            let echo = async move {
                while let Some(Ok(frame)) = asked.frame().await {
                    let _ = sent.send_data(frame.into_data().unwrap()).await;
                }
            };
            let tasks = Tasks::default();
            tasks.spawn(echo);
            Response::new(
                body.map_frame(move |frame| {
                    let _keep = &tasks;
                    frame
                })
                .boxed_unsync(),
            )
        });
        let world = World::of(&app.await).await;
        for via in Via::ALL {
            let visitor = world.visit(via).await;
            let (mut sent, body) = pieces();
            let request = visitor.request("POST", "/").body(body).unwrap();
            sent.send_data("ping".into()).await.unwrap();
            let answer = soon("the head", visitor.open(request)).await.unwrap();
            let mut seen = answer.into_body();
            for word in ["ping", "pong", "ping"] {
                assert_eq!(piece(&mut seen).await, word, "{via:?}");
                sent.send_data(if word == "ping" { "pong" } else { "ping" }.into())
                    .await
                    .unwrap();
            }
        }
    });
}

/// An app that sends `total` bytes to whoever asks for `/flood`, and how many have left it.
async fn flood(total: usize) -> (Origin, watch::Receiver<usize>) {
    let (sent, watch) = watch::channel(0);
    let tasks = Arc::new(Tasks::default());
    let app = Origin::http(move |request| {
        let (sent, tasks) = (sent.clone(), Arc::clone(&tasks));
        async move {
            if request.uri() != "/flood" {
                return Response::new(full("quick"));
            }
            let (pieces, body) = pieces();
            tasks.spawn(send_pattern(pieces, total, move |size| {
                sent.send_modify(|sent| *sent += size);
            }));
            Response::new(body)
        }
    });
    (app.await, watch)
}

#[test]
fn a_large_answer_waits_for_its_reader_and_arrives_whole() {
    run(async {
        let (app, mut sent) = flood(100 * MIB).await;
        let world = World::of(&app).await;
        for via in [Via::PlainHttp1, Via::Http2] {
            let visitor = world.visit(via).await;
            let before = *sent.borrow();
            let mut answer = visitor.begin("/flood").await.into_body();
            let ahead = still(&mut sent).await - before;
            println!("{via:?}: {} MiB on their way", ahead / MIB);
            assert!(
                ahead < 20 * MIB,
                "nobody reads, and {ahead} bytes have left"
            );
            let read = check_pattern(&mut answer, 100 * MIB);
            within(Duration::from_secs(20), "100 MiB", read).await;
        }
    });
}

#[test]
fn a_large_upload_waits_for_its_reader_and_arrives_whole() {
    run(async {
        let (bodies, mut body) = mpsc::channel(1);
        let app = Origin::http(move |request| {
            let bodies = bodies.clone();
            async move {
                bodies.send(request.into_body()).await.unwrap();
                pending().await
            }
        });
        let world = World::of(&app.await).await;
        for via in [Via::PlainHttp1, Via::Http2] {
            let visitor = world.visit(via).await;
            let (pieces, upload) = pieces();
            let request = visitor.request("POST", "/").body(upload).unwrap();
            let (sent, mut went) = watch::channel(0);
            let tasks = Tasks::default();
            tasks.spawn(send_pattern(pieces, 100 * MIB, move |size| {
                sent.send_modify(|sent| *sent += size);
            }));
            tasks.spawn(async move { drop(visitor.open(request).await) });
            let mut arrived = soon("the head", body.recv()).await.unwrap();
            let ahead = still(&mut went).await;
            println!("{via:?}: {} MiB on their way", ahead / MIB);
            assert!(
                ahead < 20 * MIB,
                "nobody reads, and {ahead} bytes have left"
            );
            let read = check_pattern(&mut arrived, 100 * MIB);
            within(Duration::from_secs(20), "100 MiB", read).await;
        }
    });
}

#[test]
fn two_hundred_requests_at_once_are_all_answered() {
    run(async {
        let (count, _) = watch::channel(0);
        let app = Origin::http(move |request| {
            let (count, mut all) = (count.clone(), count.subscribe());
            async move {
                // Nobody is answered before all are here.
                let mut mine = 0;
                count.send_modify(|count| {
                    *count += 1;
                    mine = *count;
                });
                let round = usize::next_multiple_of(mine, 200);
                all.wait_for(|count| *count >= round).await.unwrap();
                Response::new(full(request.uri().to_string()))
            }
        });
        let world = World::of(&app.await).await;
        for via in [Via::PlainHttp1, Via::Http2] {
            let shared = [world.visit(via).await, world.visit(via).await];
            let mut visits = JoinSet::new();
            for n in 0..200 {
                let visitor = match via.is_http2() {
                    true => shared[n % 2].clone(),
                    false => world.visit(via).await,
                };
                visits.spawn(async move {
                    let path = format!("/{n}");
                    assert_eq!(visitor.get(&path).await.text(), path);
                });
            }
            visits.join_all().await;
        }
    });
}

#[test]
fn visitors_who_never_read_stop_nobody_else() {
    run(async {
        let (app, mut sent) = flood(usize::MAX).await;
        let world = World::of(&app).await;
        let mut never_read = Vec::new();
        for n in 0..64 {
            let visitor = world.visit([Via::PlainHttp1, Via::Http2][n % 2]).await;
            let answer = visitor.begin("/flood").await;
            never_read.push((visitor, answer));
        }
        let held = still(&mut sent).await;
        println!("{} MiB wait", held / MIB);
        for n in 0..20 {
            let visitor = world.visit(Via::ALL[n % 4]).await;
            assert_eq!(visitor.get("/").await.text(), "quick");
        }
        assert!(held > 64 * MIB, "nobody was held up");
    });
}

#[test]
fn trailers_reach_a_visitor_of_http2() {
    run(async {
        let app = Origin::writing(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
             4\r\nbody\r\n0\r\nX-Sum: 42\r\n\r\n",
        );
        let world = World::of(&app.await).await;
        for via in [Via::Http2, Via::PlainHttp2] {
            let answer = world.visit(via).await.get("/").await;
            assert_eq!(answer.text(), "body", "{via:?}");
            assert_eq!(answer.trailers["x-sum"], "42");
        }
    });
}

#[test]
fn what_an_app_said_before_it_broke_off_arrives() {
    run(async {
        const SIZE: usize = 100_000;
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n";
        let app = Origin::writing(format!("{head}{}", "x".repeat(SIZE))).await;
        let world = World::of(&app).await;
        for via in [Via::Http1, Via::PlainHttp1] {
            for _ in 0..20 {
                let mut wire = world.wire(via, "app").await;
                wire.say("GET / HTTP/1.1\r\nHost: app.tunnel.test\r\n\r\n")
                    .await;
                soon("a head", wire.head()).await;
                let body = soon("the break", wire.rest()).await;
                assert_eq!(body.len(), SIZE, "{via:?}");
            }
        }
    });
}
