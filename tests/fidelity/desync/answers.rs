//! The other way round: answers of which nobody can say where they end. An app has little reason to
//! attack its own visitors, but what it lets others write into an answer could; and the connection to it
//! is shared by all of them.

use std::net::Ipv4Addr;
use std::sync::Arc;

use ngrnotok::local::Protocol;
use ngrnotok_tests::run;
use ngrnotok_tests::sockets::dial;
use ngrnotok_tests::strict::{Framing, Piece, halves};
use ngrnotok_tests::tasks::Tasks;
use ngrnotok_tests::visitor::Via;
use ngrnotok_tests::world::World;
use tokio::net::TcpListener;

use crate::stage::join;

/// What a visitor may get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum May {
    /// The answer with this body, or a 502.
    Be(&'static str),
    /// A 502, or a body that breaks off.
    OnlyFail,
}
use May::{Be, OnlyFail};

const HIDDEN: &str = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled";

/// `HIDDEN` stands for an answer that is to be taken for the next visitor's.
const ANSWERS: [(May, &str); 36] = [
    (Be("ok"), "200 OK\r\nContent-Length: 2\r\n\r\nok"),
    (Be("ok"), "200 OK\r\nContent-Length: 2\r\n\r\nokHIDDEN"),
    (
        Be("ok"),
        "200 OK\r\nContent-Length: 2\r\n\r\nok\r\n\r\nHIDDEN",
    ),
    (
        Be("ok"),
        "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHIDDEN",
    ),
    (Be(""), "204 No Content\r\n\r\nHIDDEN"),
    (Be(""), "204 No Content\r\nContent-Length: 8\r\n\r\nHIDDEN"),
    (
        Be(""),
        "204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHIDDEN",
    ),
    (
        Be(""),
        "304 Not Modified\r\nContent-Length: 8\r\n\r\nHIDDEN",
    ),
    (Be(""), "200 OK\r\nContent-Length: 0\r\n\r\nHIDDEN"),
    (
        Be("ok"),
        "103 Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHIDDEN",
    ),
    (
        OnlyFail,
        "200 OK\r\nContent-Length: 2\r\nContent-Length: 0\r\n\r\nokHIDDEN",
    ),
    (
        OnlyFail,
        "200 OK\r\nContent-Length: 0\r\nContent-Length: 2\r\n\r\nokHIDDEN",
    ),
    (
        Be("ok"),
        "200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nokHIDDEN",
    ),
    (Be("ok"), "200 OK\r\nContent-Length: 2, 2\r\n\r\nokHIDDEN"),
    (Be("ok"), "200 OK\r\nContent-Length: 0002\r\n\r\nokHIDDEN"),
    (OnlyFail, "200 OK\r\nContent-Length: 2, 3\r\n\r\nokHIDDEN"),
    (OnlyFail, "200 OK\r\nContent-Length: +2\r\n\r\nokHIDDEN"),
    (OnlyFail, "200 OK\r\nContent-Length: 0x2\r\n\r\nokHIDDEN"),
    (
        OnlyFail,
        "200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nokHIDDEN",
    ),
    (
        Be("ok"),
        "200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHIDDEN",
    ),
    (
        Be("ok"),
        "200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n2\r\nok\r\n0\r\n\r\nHIDDEN",
    ),
    (
        OnlyFail,
        "200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHIDDEN",
    ),
    (
        OnlyFail,
        "200 OK\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHIDDEN",
    ),
    (
        OnlyFail,
        "200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHIDDEN",
    ),
    (
        OnlyFail,
        "200 OK\r\nTransfer-Encoding: xchunked\r\nContent-Length: 2\r\n\r\nokHIDDEN",
    ),
    // RFC 9112 §5.1, §5.2: these two a proxy may mend.
    (
        Be("ok"),
        "200 OK\r\nTransfer-Encoding : chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHIDDEN",
    ),
    (
        Be("ok"),
        "200 OK\r\nX-A: 1\r\n folded\r\nContent-Length: 2\r\n\r\nokHIDDEN",
    ),
    (
        OnlyFail,
        "200 OK\r\nX-A: 1\rX-B: 2\r\nContent-Length: 2\r\n\r\nokHIDDEN",
    ),
    (
        OnlyFail,
        "200 OK\r\nX-A: a\0b\r\nContent-Length: 2\r\n\r\nokHIDDEN",
    ),
    (
        OnlyFail,
        "200 OK\r\nX A: 1\r\nContent-Length: 2\r\n\r\nokHIDDEN",
    ),
    (
        OnlyFail,
        "200 OK\r\nno colon\r\nContent-Length: 2\r\n\r\nokHIDDEN",
    ),
    (Be("ok"), "200 OK\nX-A: 1\nContent-Length: 2\n\nokHIDDEN"),
    (OnlyFail, "99 Low\r\nContent-Length: 2\r\n\r\nokHIDDEN"),
    (OnlyFail, "0200 OK\r\nContent-Length: 2\r\n\r\nokHIDDEN"),
    (OnlyFail, "200\tOK\r\nContent-Length: 2\r\n\r\nokHIDDEN"),
    (
        OnlyFail,
        "101 Switching\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\nHIDDEN",
    ),
];

#[test]
fn answers_without_a_clear_end() {
    run(async {
        let world = World::plan().start().await;
        let (mut failures, mut rows) = (Vec::new(), 0);
        for (may, told) in ANSWERS {
            let (told, name) = (told.replace("HIDDEN", HIDDEN), told.escape_debug());
            let (port, _app) = app(format!("HTTP/1.1 {told}")).await;
            let client = join(
                &world,
                "app",
                (Ipv4Addr::LOCALHOST, port).into(),
                Protocol::Http1,
            );
            let client = client.await;
            for via in [Via::PlainHttp1, Via::Http1] {
                rows += 1;
                let got = visit(&world, via, "/odd").await;
                let next = visit(&world, via, "/good").await;
                let fine = match (&got, may) {
                    (Ok((502, _)), _) | (Err(_), OnlyFail) => true,
                    (Ok((_, body)), Be(wanted)) => body == wanted,
                    _ => false,
                };
                if !fine || next != Ok((200, "good".to_owned())) {
                    failures.push(format!("{name} ({via:?}): {got:?}, then {next:?}"));
                }
            }
            client.leave().await;
        }
        println!("{rows} odd answers");
        assert!(
            failures.is_empty(),
            "{} got through:\n{}",
            failures.len(),
            failures.join("\n")
        );
    });
}

/// Says this to `/odd`, and something good to everybody else.
async fn app(odd: String) -> (u16, Tasks) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let listener = listener.expect("a free port");
    let port = listener.local_addr().expect("a bound address").port();
    let (tasks, told) = (Tasks::default(), Arc::new(odd));
    let connections = tasks.spawner();
    tasks.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let told = Arc::clone(&told);
            connections.spawn(async move {
                let (mut reader, mut writer) = halves(stream);
                while let Some(Ok(head)) = reader.head().await {
                    let good = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood";
                    let odd = head.start[1] == "/odd";
                    let answer = if odd { told.as_str() } else { good };
                    let _ = writer.say(answer).await;
                }
            });
        }
    });
    (port, tasks)
}

/// Status and body as RFC 9112 has them; an error if they are not, or break off.
async fn visit(world: &World, via: Via, path: &str) -> Result<(u16, String), String> {
    let (mut reader, mut writer) = halves(dial(world, via, "app").await);
    let host = world.authority(via, "app");
    let _ = writer
        .say(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"))
        .await;
    let head = reader.head().await.ok_or("nothing")??;
    let (status, mut framing) = (head.status()?, head.answer_framing("GET")?);
    if framing == Framing::UntilClose {
        return Err("no framing".to_owned());
    }
    let mut body = Vec::new();
    loop {
        match reader.piece(&mut framing).await {
            Piece::Data(data) => body.extend_from_slice(&data),
            Piece::End(_) => return Ok((status, String::from_utf8_lossy(&body).into_owned())),
            Piece::Cut => return Err("cut".to_owned()),
            Piece::Wrong(wrong) => return Err(wrong),
        }
    }
}
