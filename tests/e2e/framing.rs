//! Where a body begins and ends is said once and clearly on every hop, so that nothing can be smuggled
//! between two messages.

use ngrnotok_tests::body::{empty, full, pieces};
use ngrnotok_tests::origin::Origin;
use ngrnotok_tests::run;
use ngrnotok_tests::visitor::Via;
use ngrnotok_tests::world::World;

/// An app that answers with the head that it was sent, as bytes, and how long its body was.
async fn showing_heads() -> Origin {
    Origin::raw(async |mut wire| {
        let head = wire.head().await;
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: "));
        let body = match length {
            Some(length) => wire.exactly(length.parse().expect("a number")).await.len(),
            None if head.contains("Transfer-Encoding: chunked") => {
                while !wire.seen().ends_with(b"0\r\n\r\n") {
                    assert!(wire.more().await, "an upload that ends");
                }
                wire.seen().len()
            }
            None => 0,
        };
        let shown = format!("{head}{body}");
        wire.say(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{shown}",
            shown.len()
        ))
        .await;
    })
    .await
}

/// How the body of a head is framed.
fn framing(head: &str) -> Vec<&str> {
    head.lines()
        .filter(|line| line.starts_with("Content-Length") || line.starts_with("Transfer-Enc"))
        .collect()
}

#[test]
fn a_length_stays_a_length() {
    run(async {
        let world = World::of(&showing_heads().await).await;
        for via in Via::ALL {
            let visitor = world.visit(via).await;
            let request = visitor.request("POST", "/").header("content-length", "7");
            let shown = visitor.send(request.body(full("a=1&b=2")).unwrap()).await;
            assert_eq!(framing(shown.text()), ["Content-Length: 7"], "{via:?}");
        }
    });
}

#[test]
fn a_body_without_a_length_is_chunked() {
    run(async {
        let world = World::of(&showing_heads().await).await;
        for via in Via::ALL {
            let visitor = world.visit(via).await;
            let (mut sent, body) = pieces();
            let request = visitor.request("POST", "/").body(body).unwrap();
            let upload = async {
                sent.send_data("some".into()).await.unwrap();
                drop(sent);
            };
            let (shown, ()) = tokio::join!(visitor.send(request), upload);
            assert_eq!(
                framing(shown.text()),
                ["Transfer-Encoding: chunked"],
                "{via:?}"
            );
        }
    });
}

#[test]
fn a_request_without_a_body_does_not_pretend_to_have_one() {
    run(async {
        let world = World::of(&showing_heads().await).await;
        for via in Via::ALL {
            let visitor = world.visit(via).await;
            let shown = visitor.get("/").await;
            assert_eq!(framing(shown.text()), [""; 0], "{via:?}: {}", shown.text());
            let empty_post = visitor.request("POST", "/").header("content-length", "0");
            let shown = visitor.send(empty_post.body(empty()).unwrap()).await;
            assert_eq!(framing(shown.text()), ["Content-Length: 0"], "{via:?}");
        }
    });
}

#[test]
fn a_body_that_is_framed_twice_is_framed_once_or_refused() {
    run(async {
        let world = World::of(&showing_heads().await).await;
        for via in [Via::Http1, Via::PlainHttp1] {
            for fields in [
                "Content-Length: 4\r\nTransfer-Encoding: chunked",
                "Transfer-Encoding: chunked\r\nContent-Length: 4",
                "Content-Length: 4\r\nContent-Length: 5",
                "Content-Length: 5, 4",
                "Content-Length: +4",
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
                "Transfer-Encoding: chunked, identity",
                "Transfer-Encoding: xchunked",
                "Transfer-Encoding : chunked",
                "X: y\r\n Transfer-Encoding: chunked",
            ] {
                let mut wire = world.wire(via, "app").await;
                wire.say(format!(
                    "POST / HTTP/1.1\r\nHost: app.tunnel.test\r\n{fields}\r\n\r\n0\r\n\r\n"
                ))
                .await;
                let answer = wire.answer().await;
                let framed = match answer.status.as_u16() {
                    200 => framing(answer.text()).len(),
                    400 | 501 => 0,
                    other => panic!("{fields}: {other}"),
                };
                println!("{fields:?}: {}", answer.status);
                assert!(framed <= 1, "{fields}: {}", answer.text());
            }
        }
    });
}

#[test]
fn requests_in_one_breath_are_answered_in_order() {
    run(async {
        let world = World::of(&Origin::mirror().await).await;
        for via in [Via::Http1, Via::PlainHttp1] {
            let mut wire = world.wire(via, "app").await;
            let requests: String = (0..20)
                .map(|n| format!("GET /{n} HTTP/1.1\r\nHost: app.tunnel.test\r\n\r\n"))
                .collect();
            wire.say(requests).await;
            for n in 0..20 {
                let line = format!("GET /{n}\n");
                assert!(
                    wire.answer().await.text().starts_with(&line),
                    "{via:?} {line}"
                );
            }
        }
    });
}

#[test]
fn what_follows_an_answer_is_never_taken_for_the_next_one() {
    run(async {
        // A broken or hostile app says more than it announced.
        let app = Origin::raw(async |mut wire| {
            while wire.next_head().await.is_some() {
                wire.say(
                    "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmine\
                     HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled",
                )
                .await;
            }
        });
        let world = World::of(&app.await).await;
        for via in Via::ALL {
            let visitor = world.visit(via).await;
            for n in 0..10 {
                assert_eq!(visitor.get("/").await.text(), "mine", "{via:?} {n}");
            }
        }
    });
}
