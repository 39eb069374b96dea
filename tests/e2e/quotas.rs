//! How much the sessions of a token may carry, and what visitors are told beyond that.

use std::num::NonZeroU32;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use ngrnotok_server::auth::rules::{Caps, Rules};
use ngrnotok_tests::body::{Pattern, full, pieces, send_pattern};
use ngrnotok_tests::origin::Origin;
use ngrnotok_tests::visitor::{Answer, Via};
use ngrnotok_tests::{eventually, run};
use tokio::time::Instant;

use crate::office::Office;
use crate::upgrades::{echo, upgraded};

fn caps(streams: u32, requests_per_minute: u32, bytes_per_second: u32) -> Rules {
    Rules {
        caps: Caps {
            streams: NonZeroU32::new(streams),
            requests_per_minute: NonZeroU32::new(requests_per_minute),
            bytes_per_second: NonZeroU32::new(bytes_per_second),
        },
        ..Rules::default()
    }
}

/// Checks that an answer names a limit, everywhere it should.
fn names_the_limit(answer: &Answer, name: &str, number: u32) {
    let problem = answer.json();
    assert_eq!(problem["limit"]["name"], name);
    assert_eq!(problem["limit"]["number"], number);
    let limit = format!("({name} is {number})");
    let title = problem["title"].as_str().expect("a title");
    assert!(title.ends_with(&limit), "{title}");
    let status = answer.field("proxy-status");
    assert!(status.contains(&limit), "{status}");
}

#[test]
fn all_sessions_of_a_token_share_its_streams() {
    run(async {
        let office = Office::open().await;
        let token = office.token(caps(2, 0, 0)).await;
        // Answers begin and never end.
        let endless = Origin::raw(|mut wire| async move {
            wire.head().await;
            wire.say("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
                .await;
            wire.next().await;
        });
        let endless = endless.await;
        let _one = office.client(&token, "one", &endless).await.unwrap();
        let _two = office.client(&token, "two", &endless).await.unwrap();
        let one = office.world.visitor(Via::Http2, "one").await;
        let two = office.world.visitor(Via::Http2, "two").await;
        let first = one.begin("/").await;
        let _second = two.begin("/").await;

        for (visitor, via) in [(&one, "one"), (&two, "two")] {
            let refused = visitor.get("/").await;
            assert_eq!(refused.problem(), "503 over_limit", "{via}");
            assert_eq!(refused.field("retry-after"), "5");
            names_the_limit(&refused, "max-streams", 2);
        }
        let page = one.request("GET", "/").header("accept", "text/html");
        let page = one.send(page.body(full("")).unwrap()).await;
        assert!(page.text().contains("max-streams is 2"), "{}", page.text());

        // Whoever leaves makes room.
        drop(first);
        let begun = async || one.begin("/").await.status() == 200;
        eventually("a stream to be free", begun).await;
    });
}

#[test]
fn requests_beyond_the_minute_are_429_and_come_back() {
    run(async {
        let office = Office::open().await;
        let token = office.token(caps(0, 60, 0)).await;
        let other = office.token(Rules::default()).await;
        let app = Origin::saying("the app").await;
        let _one = office.client(&token, "one", &app).await.unwrap();
        let _two = office.client(&token, "two", &app).await.unwrap();
        let _free = office.client(&other, "free", &app).await.unwrap();
        let one = office.world.visitor(Via::Http1, "one").await;
        let two = office.world.visitor(Via::Http2, "two").await;
        let began = Instant::now();
        let mut served = 0;
        let refused = 'minute: loop {
            for visitor in [&one, &two] {
                let answer = visitor.get("/").await;
                if answer.status != 200 {
                    break 'minute answer;
                }
                served += 1;
            }
        };
        // One more came back with every second that this took.
        let back = began.elapsed().as_secs() + 1;
        assert!((60..=60 + back).contains(&served), "{served}");
        assert_eq!(refused.problem(), "429 over_rate");
        assert_eq!(refused.field("retry-after"), "1");
        names_the_limit(&refused, "max-requests-per-minute", 60);
        let free = office.world.visitor(Via::Http1, "free").await;
        assert_eq!(free.get("/").await.text(), "the app");

        let again = async || one.get("/").await.status == 200;
        eventually("a request to be allowed", again).await;
    });
}

/// Gives back what it is sent, and says first how much it will send by itself.
async fn copier() -> Origin {
    Origin::http(|request| async move {
        let size = request.uri().path().trim_matches('/').parse().unwrap_or(0);
        let (head, body) = request.into_parts();
        drop(head);
        let sent = http_body_util::BodyExt::collect(body).await;
        let sent = sent.map(|body| body.to_bytes().len()).unwrap_or_default();
        let mut answer = Vec::from(format!("{sent} "));
        let (mut pattern, whole) = (Pattern::default(), answer.len() + size);
        while answer.len() < whole {
            answer.extend_from_slice(&pattern.next(whole - answer.len()));
        }
        Response::new(full(answer))
    })
    .await
}

/// Checks that so many bytes took their time at this rate: less what is free at the start and the last
/// frames, which wait for those before them.
fn took_its_time(bytes: usize, rate: u32, took: Duration) {
    let least = (bytes as f64 - 3.0 * 16384.0) / f64::from(rate) - 0.25;
    println!("{bytes} bytes at {rate} a second took {took:?}, at least {least:.2} s");
    assert!(took.as_secs_f64() > least, "{took:?}");
    assert!(took.as_secs_f64() < least * 2.0 + 2.0, "{took:?}");
}

#[test]
fn bytes_wait_for_their_second_and_arrive_whole() {
    run(async {
        const RATE: u32 = 100_000;
        const SIZE: usize = 200_000;

        let office = Office::open().await;
        let token = office.token(caps(0, 0, RATE)).await;
        let app = copier().await;
        let _app = office.client(&token, "app", &app).await.unwrap();
        let down = async |via| {
            let answer = office.world.visit(via).await.get(&format!("/{SIZE}")).await;
            let arrived = answer.body.strip_prefix(b"0 ").expect("no upload");
            assert_eq!(arrived.len(), SIZE);
            Pattern::default().check(arrived);
        };
        let up = async |via| {
            let visitor = office.world.visit(via).await;
            let (pieces, body) = pieces();
            let request = visitor.request("POST", "/0").body(body).unwrap();
            let sending = send_pattern(pieces, SIZE, |_| {});
            let (answer, ()) = tokio::join!(visitor.send(request), sending);
            assert_eq!(answer.text(), format!("{SIZE} "));
        };
        let began = Instant::now();
        // One rate for both directions and both versions.
        tokio::join!(
            down(Via::Http1),
            down(Via::Http2),
            up(Via::Http1),
            up(Via::Http2)
        );
        took_its_time(4 * SIZE, RATE, began.elapsed());
    });
}

#[test]
fn upgraded_connections_are_held_to_the_rate_too() {
    run(async {
        const RATE: u32 = 100_000;

        let office = Office::open().await;
        let token = office.token(caps(0, 0, RATE)).await;
        let (app, _ended) = echo().await;
        let _app = office.client(&token, "app", &app).await.unwrap();
        for via in [Via::Http1, Via::Http2] {
            let mut wire = upgraded(&office.world, via).await;
            assert_eq!(&wire.exactly("welcome".len()).await[..], b"welcome");
            let began = Instant::now();
            let sent: Bytes = Pattern::default().next(60_000);
            wire.say(&sent).await;
            assert_eq!(wire.exactly(sent.len()).await, sent, "{via:?}");
            // There and back.
            took_its_time(2 * sent.len(), RATE, began.elapsed());
            wire.finish().await;
            assert_eq!(&wire.rest().await[..], b"bye", "{via:?}");
        }
    });
}

#[test]
fn a_rate_holds_up_nobody_else() {
    run(async {
        let office = Office::open().await;
        let token = office.token(caps(0, 0, 10_000)).await;
        let other = office.token(Rules::default()).await;
        let app = copier().await;
        let _slow = office.client(&token, "slow", &app).await.unwrap();
        let _quick = office.client(&other, "quick", &app).await.unwrap();
        let slow = office.world.visitor(Via::Http2, "slow").await;
        let _waiting = slow.begin("/10000000").await;
        let began = Instant::now();
        for via in Via::ALL {
            let quick = office.world.visitor(via, "quick").await;
            assert_eq!(quick.get("/1000000").await.body.len(), 1_000_002);
        }
        println!("4 MB beside it took {:?}", began.elapsed());
    });
}
