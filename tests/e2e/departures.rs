//! When a visitor leaves, the local app sees it, wherever the exchange stands.

use std::time::Duration;

use ngrnotok_tests::body::{empty, pieces};
use ngrnotok_tests::origin::Origin;
use ngrnotok_tests::tasks::Tasks;
use ngrnotok_tests::visitor::Via;
use ngrnotok_tests::world::World;
use ngrnotok_tests::{run, soon, within};
use tokio::sync::mpsc;

/// What an app has to tell of one connection.
#[derive(Debug, PartialEq)]
enum Event {
    Asked,
    Uploaded(usize),
    Left,
}

/// An app that begins its answer with `start`, never ends it, and tells what it sees.
async fn endless(start: &'static str) -> (Origin, mpsc::Receiver<Event>) {
    let (events, told) = mpsc::channel(64);
    let app = Origin::raw(move |mut wire| {
        let events = events.clone();
        async move {
            wire.head().await;
            let _ = events.send(Event::Asked).await;
            wire.say(start).await;
            while let Some(bytes) = wire.next().await {
                let _ = events.send(Event::Uploaded(bytes.len())).await;
            }
            let _ = events.send(Event::Left).await;
        }
    });
    (app.await, told)
}

async fn sees_its_visitor_leave(app: &mut mpsc::Receiver<Event>, via: Via) {
    let left = async { while app.recv().await.expect("an event") != Event::Left {} };
    let what = format!("the app to see its visitor leave ({via:?})");
    within(Duration::from_secs(2), &what, left).await;
}

#[test]
fn a_visitor_who_hangs_up_before_the_answer_is_missed() {
    run(async {
        let (app, mut told) = endless("").await;
        let world = World::of(&app).await;
        for via in Via::ALL {
            let visitor = world.visit(via).await;
            let request = visitor.request("GET", "/").body(empty()).unwrap();
            let waiting = Tasks::default();
            waiting.spawn(async move { drop(visitor.open(request).await) });
            assert_eq!(soon("a request", told.recv()).await, Some(Event::Asked));
            drop(waiting);
            sees_its_visitor_leave(&mut told, via).await;
        }
    });
}

#[test]
fn a_visitor_who_hangs_up_in_the_middle_of_an_answer_is_missed() {
    run(async {
        let (app, mut told) =
            endless("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nonce").await;
        let world = World::of(&app).await;
        for via in Via::ALL {
            let visitor = world.visit(via).await;
            let answer = visitor.begin("/").await;
            drop((visitor, answer));
            sees_its_visitor_leave(&mut told, via).await;
        }
    });
}

#[test]
fn a_visitor_who_hangs_up_in_the_middle_of_an_upload_is_missed() {
    run(async {
        let (app, mut told) = endless("").await;
        let world = World::of(&app).await;
        for via in Via::ALL {
            let visitor = world.visit(via).await;
            let (mut sent, body) = pieces();
            let request = visitor.request("POST", "/").body(body).unwrap();
            let waiting = Tasks::default();
            waiting.spawn(async move { drop(visitor.open(request).await) });
            assert_eq!(soon("a request", told.recv()).await, Some(Event::Asked));
            sent.send_data("a piece".into()).await.unwrap();
            let uploaded = soon("a piece", told.recv()).await;
            assert!(
                matches!(uploaded, Some(Event::Uploaded(7..))),
                "{uploaded:?}"
            );
            drop(waiting);
            sees_its_visitor_leave(&mut told, via).await;
        }
    });
}

#[test]
fn a_request_that_is_cancelled_leaves_its_connection_alone() {
    run(async {
        let (app, mut told) = endless("").await;
        let world = World::plan().client("app", &app);
        let world = world.client("quick", &Origin::saying("quick").await);
        let world = world.start().await;
        let visitor = world.visit(Via::PlainHttp2).await;
        let request = visitor.request("GET", "/").body(empty()).unwrap();
        let (same, waiting) = (visitor.clone(), Tasks::default());
        waiting.spawn(async move { drop(same.open(request).await) });
        assert_eq!(soon("a request", told.recv()).await, Some(Event::Asked));
        drop(waiting);
        sees_its_visitor_leave(&mut told, Via::PlainHttp2).await;
        let quick = world.authority(Via::PlainHttp2, "quick");
        assert_eq!(visitor.asking_for(&quick).get("/").await.text(), "quick");
    });
}

#[test]
fn a_visitor_who_leaves_a_full_answer_unread_is_missed() {
    run(async {
        let (events, mut told) = mpsc::channel(64);
        let app = Origin::raw(move |mut wire| {
            let events = events.clone();
            async move {
                wire.head().await;
                wire.say("HTTP/1.1 200 OK\r\n\r\n").await;
                // Until nobody takes it any more.
                while wire.try_say([b'x'; 65_536]).await {}
                events.send(Event::Left).await.unwrap();
            }
        });
        let world = World::of(&app.await).await;
        for via in Via::ALL {
            let visitor = world.visit(via).await;
            let answer = visitor.begin("/").await;
            drop((visitor, answer));
            sees_its_visitor_leave(&mut told, via).await;
        }
    });
}
