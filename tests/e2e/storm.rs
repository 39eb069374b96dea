//! Many visitors at once who do whatever they like, and afterwards all is as before.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use ngrnotok_tests::body::{Body, empty, full, pieces};
use ngrnotok_tests::dice::Dice;
use ngrnotok_tests::origin::Origin;
use ngrnotok_tests::visitor::{Answer, Via, Visitor};
use ngrnotok_tests::world::World;
use ngrnotok_tests::{eventually, run, within};
use tokio::task::JoinSet;
use tokio::time::timeout;

const BULK: usize = 300_000;

/// An app of every mood.
async fn moody(request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    match path.as_str() {
        "/never" => std::future::pending().await,
        "/bulk" => Response::new(full(vec![b'b'; BULK])),
        "/breaks" => {
            let (mut sent, body) = pieces();
            let _ = sent.send_data(Bytes::from_static(b"half")).await;
            sent.abort(std::io::ErrorKind::Other.into());
            Response::new(body)
        }
        _ => {
            let body = request.into_body().collect().await;
            Response::new(full(body.map(|body| body.to_bytes()).unwrap_or_default()))
        }
    }
}

/// What one visitor does.
async fn visit(visitor: Visitor, mut dice: Dice) {
    for _ in 0..dice.roll(5) + 1 {
        let path = dice.pick(&["/never", "/bulk", "/bulk", "/breaks", "/echo", "/echo"]);
        let sent = match path {
            "/echo" => "e".repeat(usize::try_from(dice.roll(200_000)).expect("small")),
            _ => String::new(),
        };
        let body = if sent.is_empty() {
            empty()
        } else {
            full(sent.clone())
        };
        let request = visitor.request("POST", path).body(body).expect("good");
        // Patience of 0 to 30 ms, or without an end.
        let patience = match (path, dice.roll(3)) {
            ("/never", _) | (_, 0) => Duration::from_millis(dice.roll(30)),
            _ => Duration::MAX,
        };
        let Ok(answer) = timeout(patience, visitor.open(request)).await else {
            continue;
        };
        // An HTTP/1 connection on which a request was given up is over.
        let Ok(answer) = answer else {
            return;
        };
        if dice.roll(4) == 0 {
            continue;
        }
        let whole = timeout(patience, Answer::collect(answer)).await;
        match (path, whole) {
            ("/bulk", Ok(Ok(whole))) => assert_eq!(whole.body.len(), BULK),
            ("/echo", Ok(Ok(whole))) => assert_eq!(whole.text(), sent),
            ("/breaks", Ok(Ok(whole))) => assert_eq!(whole.status, 502, "{}", whole.text()),
            _ => {}
        }
    }
}

#[test]
fn after_a_storm_nothing_is_left_open() {
    run(async {
        let world = World::of(&Origin::http(moody).await).await;
        let session = world.clients[0].session();
        let mut dice = Dice::seeded_by("STORM_SEED");
        for _ in 0..5 {
            let mut visits = JoinSet::new();
            for _ in 0..60 {
                let visitor = world.visit(dice.pick(&Via::ALL)).await;
                visits.spawn(visit(visitor, dice.split()));
            }
            within(
                Duration::from_secs(15),
                "a storm to be over",
                visits.join_all(),
            )
            .await;
        }
        let calm = async || world.open_streams("app") == Some(0);
        eventually("every stream to be over", calm).await;
        assert_eq!(world.clients[0].session(), session, "the link has held");
        for via in Via::ALL {
            let visitor = world.visit(via).await;
            let request = visitor.request("POST", "/echo").body(full("all is well"));
            assert_eq!(visitor.send(request.unwrap()).await.text(), "all is well");
        }
    });
}
