//! Bodies, however they are framed.

use bytes::Bytes;
use ngrnotok_tests::body::Pattern;
use ngrnotok_tests::run;

use crate::case::{Heard, Speakers, Step, answer, ask, case, fields, get, ok, raw};
use crate::table::play;

/// So many bytes with an odd period: one that is lost, doubled or out of place is noticed.
fn pattern(size: usize) -> Bytes {
    let mut pattern = Pattern::default();
    let mut bytes = Vec::with_capacity(size);
    while bytes.len() < size {
        bytes.extend_from_slice(&pattern.next(size - bytes.len()));
    }
    bytes.into()
}

#[test]
fn bodies() {
    let mut drops = ask("POST", "/").field("Transfer-Encoding", "chunked");
    let mut drip = answer(200).field("Transfer-Encoding", "chunked");
    for letter in "one byte in every chunk".chars() {
        drops = drops.then(Step::Data(letter.to_string().into()));
        drip = drip.then(Step::Data(letter.to_string().into()));
    }
    run(play(vec![
        case("Content-Length: 0", ask("POST", "/").field("Content-Length", "0"), answer(200).field("Content-Length", "0")),
        case("POST with neither length nor body", ask("POST", "/"), answer(200).sized("")),
        case("an answer that is empty until it closes", get("/"), answer(200)),
        case("an answer until it closes", get("/"), answer(200).then(Step::Data("to the end".into()))),
        case("chunks", ask("POST", "/").chunked(&["one", "two", "three"]), answer(200).chunked(&["four", "five"])),
        case("no chunks at all", ask("POST", "/").chunked(&[]), answer(200).chunked(&[])),
        case("chunks of one byte", drops, drip),
        case("pieces of no byte", ask("POST", "/").chunked(&["", "a", "", "b", ""]), answer(200).chunked(&["", "c", "", "d", ""])),
        case("GET with chunks", get("/").chunked(&["x"]), ok("")),
        case("chunks with extensions", get("/"), raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b;c=\"d\"\r\nabc\r\n0;last\r\n\r\n")).apps(Speakers::Http1),
        case("chunks with zeros before their size", get("/"), raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0003\r\nabc\r\n0000\r\n\r\n")).apps(Speakers::Http1),
        case("every byte there is", ask("PUT", "/").sized((0..=255).collect::<Vec<u8>>()), answer(200).sized((0..=255).rev().collect::<Vec<u8>>())),
        case("1 MiB each way", ask("PUT", "/").sized(pattern(1 << 20)), answer(200).sized(pattern(1 << 20))),
        case("1 MiB in chunks each way", ask("PUT", "/").field("Transfer-Encoding", "chunked").then(Step::Data(pattern(1 << 20))), answer(200).field("Transfer-Encoding", "chunked").then(Step::Data(pattern(1 << 20)))),
    ]));
}

/// Each side waits for the other: nothing may be held back.
#[test]
fn conversations() {
    const END: Step = Step::Hear(Heard::End);
    let say = |word: &'static str| Step::Data(word.into());
    let hear = |size| Step::Hear(Heard::Data(size));
    let asked = ask("POST", "/").field("Transfer-Encoding", "chunked");
    let told = answer(200).early().field("Transfer-Encoding", "chunked");
    run(play(vec![
        case(
            "the answer begins before the request has ended",
            asked
                .clone()
                .then(say("ping"))
                .then(hear(4))
                .then(say("again"))
                .then(hear(9)),
            told.clone()
                .then(hear(4))
                .then(say("pong"))
                .then(hear(9))
                .then(say("again"))
                .then(END),
        ),
        case(
            "the answer's head comes first of all",
            asked.clone().then(Step::Hear(Heard::Head)).then(say("now")),
            told.clone().then(hear(3)).then(say("later")).then(END),
        ),
        case(
            "the answer ends when the request does",
            asked.then(Step::Hear(Heard::Head)).then(say("that is all")),
            told.then(say("begun")).then(END).then(say("ended")),
        ),
    ]));
}

/// RFC 9110 §6.5.
#[test]
fn trailers() {
    let sum = || {
        Step::Trailers(fields(&[
            ("X-Sum", "42"),
            ("X-Other", "a"),
            ("X-Other", "b"),
        ]))
    };
    let announced = answer(200)
        .field("Trailer", "X-Sum, X-Other")
        .chunked(&["body"]);
    let posted = ask("POST", "/").chunked(&["body"]);
    run(play(vec![
        case(
            "trailers for who wants them",
            get("/").field("TE", "trailers"),
            announced.clone().then(sum()),
        ),
        case(
            "trailers for who does not say so",
            get("/"),
            announced.then(sum()),
        ),
        case(
            "trailers that nobody announced",
            get("/").field("TE", "trailers"),
            answer(200).chunked(&["body"]).then(sum()),
        ),
        case(
            "trailers without a body",
            get("/").field("TE", "trailers"),
            answer(200)
                .field("Trailer", "X-Sum, X-Other")
                .chunked(&[])
                .then(sum()),
        ),
        case(
            "trailers up",
            posted
                .clone()
                .field("Trailer", "X-Sum, X-Other")
                .then(sum()),
            ok("added"),
        ),
        case(
            "trailers up that nobody announced",
            posted.then(sum()),
            ok("added"),
        ),
        case(
            "the end of gRPC",
            ask("POST", "/pkg.Service/Call")
                .field("TE", "trailers")
                .field("Content-Type", "application/grpc")
                .chunked(&["\0\0\0\0\x01x"]),
            answer(200)
                .field("Content-Type", "application/grpc")
                .chunked(&["\0\0\0\0\x01y"])
                .then(Step::Trailers(fields(&[
                    ("grpc-status", "0"),
                    ("grpc-message", ""),
                ]))),
        )
        .apps(Speakers::Http2)
        .visitors(Speakers::Http2),
        case(
            "the end of gRPC in a head",
            ask("POST", "/pkg.Service/Call")
                .field("TE", "trailers")
                .chunked(&["\0\0\0\0\0"]),
            answer(200).field("grpc-status", "12"),
        )
        .apps(Speakers::Http2)
        .visitors(Speakers::Http2),
    ]));
}
