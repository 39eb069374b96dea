//! A message that breaks off is never taken for a whole one.

use ngrnotok_tests::run;

use crate::case::{Answer, Ask, Case, Heard, Speakers, Step, answer, ask, case, get, raw};
use crate::table::play;

const SAID: usize = 4;

/// The visitor says that it has read so much of the answer, and only then does it break off.
fn breaks(name: &'static str, answer: Answer, read: Heard, way: Step) -> Case {
    let reads = ask("POST", "/").field("Content-Length", SAID.to_string());
    let reads = reads.then(Step::Hear(read)).then(Step::Data("read".into()));
    let waits = answer.early().then(Step::Hear(Heard::End));
    case(name, reads, waits.then(way))
}

/// It breaks off as soon as it can.
fn breaks_at_once(name: &'static str, answer: Answer, way: Step) -> Case {
    case(name, get("/"), answer.then(way)).breaks_at_once()
}

/// HTTP/1 that goes wrong in its own way.
fn bytes(name: &'static str, bytes: &str) -> Case {
    let bytes = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{bytes}");
    breaks_at_once(name, raw(bytes), Step::Close).apps(Speakers::Http1)
}

#[test]
fn answers_that_break_off() {
    let sized = |size: &str| answer(200).field("Content-Length", size);
    let half = || sized("10").then(Step::Data("half".into()));
    let large = || sized("2000000").then(Step::Data(vec![b'a'; 1 << 20].into()));
    let chunks = || answer(200).chunked(&["one", "two"]);
    let unsized_half = || answer(200).then(Step::Data("half".into()));
    let mut cases = Vec::new();
    for way in [Step::Close, Step::Break] {
        cases.extend([
            breaks("short of its length", half(), Heard::Data(4), way.clone()),
            breaks("1 MiB of 2 MB", large(), Heard::Data(1 << 20), way.clone()),
            breaks(
                "nothing of its length",
                sized("10"),
                Heard::Head,
                way.clone(),
            ),
            breaks("no last chunk", chunks(), Heard::Data(6), way.clone()),
            breaks(
                "no chunk at all",
                answer(200).chunked(&[]),
                Heard::Head,
                way.clone(),
            ),
            breaks_at_once("short of its length, at once", half(), way.clone()),
            breaks_at_once("nothing of its length, at once", sized("10"), way.clone()),
            breaks_at_once("no last chunk, at once", chunks(), way),
        ]);
    }
    cases.extend([
        breaks(
            "until it closes, by RST",
            unsized_half(),
            Heard::Data(4),
            Step::Break,
        ),
        breaks_at_once(
            "until it closes, by RST, at once",
            unsized_half(),
            Step::Break,
        ),
        bytes("half a chunk", "a\r\nhalf"),
        bytes("a chunk size of zz", "4\r\nhalf\r\nzz\r\n"),
        bytes("a chunk size of -1", "4\r\nhalf\r\n-1\r\n"),
        bytes(
            "a chunk size that overflows",
            "4\r\nhalf\r\nfffffffffffffffff\r\nx",
        ),
        bytes("no CRLF after a chunk", "4\r\nhalfXX4\r\nhalf\r\n0\r\n\r\n"),
        bytes("no blank line after the last chunk", "4\r\nhalf\r\n0\r\n"),
        bytes("a trailer that breaks off", "4\r\nhalf\r\n0\r\nX-Sum: 4"),
        bytes("a trailer that is none", "4\r\nhalf\r\n0\r\nX Sum\r\n\r\n"),
    ]);
    run(play(cases));
}

/// HTTP/1.0 has no chunks: the end of the connection is the end of the body, so a break must not look
/// like a close (RFC 9112 §8).
#[test]
fn answers_to_http_1_0_that_break_off() {
    let old = |case: Case| {
        let mut case = case.visitors(Speakers::Http1).apps(Speakers::Http1);
        case.exchanges[0].0.version = "HTTP/1.0";
        case
    };
    let chunks = answer(200).chunked(&["one", "two"]);
    let unsized_half = answer(200).then(Step::Data("half".into()));
    run(play(vec![
        old(breaks(
            "no last chunk for 1.0",
            chunks,
            Heard::Data(6),
            Step::Close,
        )),
        old(breaks(
            "until it closes, by RST, for 1.0",
            unsized_half,
            Heard::Data(4),
            Step::Break,
        )),
    ]));
}

#[test]
fn requests_that_break_off() {
    let half = |ask: Ask| {
        ask.then(Step::Data("half".into()))
            .then(Step::Hear(Heard::Head))
    };
    let sized = || half(ask("POST", "/").field("Content-Length", "10"));
    let chunked = || half(ask("POST", "/").field("Transfer-Encoding", "chunked"));
    // The app has begun to answer when its visitor breaks off.
    let begins = || {
        let begun = answer(200).early().first(Step::Hear(Heard::Data(4)));
        begun.chunked(&["begun"]).then(Step::Hear(Heard::End))
    };
    run(play(vec![
        case("short of its length", sized().then(Step::Close), begins()),
        case(
            "short of its length, by RST",
            sized().then(Step::Break),
            begins(),
        ),
        case("no last chunk", chunked().then(Step::Close), begins()),
        case(
            "no last chunk, by RST",
            chunked().then(Step::Break),
            begins(),
        ),
    ]));
}
