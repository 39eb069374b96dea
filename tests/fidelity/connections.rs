//! What one connection carries: many requests, or just one.

use ngrnotok_tests::run;

use crate::case::{Ask, Case, Speakers, Step, answer, ask, case, get, ok, raw};
use crate::table::play;

#[test]
fn many_requests_on_one_connection() {
    let mut ten = case("ten requests", get("/1"), ok("1"));
    for n in 2..=9 {
        ten = match n % 3 {
            0 => ten.and(
                ask("POST", "/post").sized("body"),
                answer(200).chunked(&["a", "b"]),
            ),
            1 => ten.and(
                ask("HEAD", "/head"),
                answer(200).field("Content-Length", "9"),
            ),
            _ => ten.and(ask("PUT", "/put").chunked(&["x"]), answer(204)),
        };
    }
    let mixed = case("pipelined", get("/1"), ok("1"));
    let mixed = mixed.and(ask("POST", "/2").sized("two"), answer(200).chunked(&["2"]));
    let mixed = mixed.and(ask("HEAD", "/3"), answer(200).field("Content-Length", "1"));
    let mixed = mixed.and(get("/4"), answer(304).field("ETag", "\"4\""));
    let mixed = mixed.and(
        ask("POST", "/5").sized("GET /hidden HTTP/1.1\r\n\r\n"),
        ok("5"),
    );
    let mut twenty = case("twenty pipelined", get("/0"), ok("0"));
    for _ in 1..20 {
        twenty = twenty.and(get("/n"), ok("n"));
    }
    run(play(vec![
        ten.and(get("/10"), ok("10")),
        mixed.in_one_breath(),
        twenty.in_one_breath(),
        case("errors do not end it", get("/1"), answer(500).sized("oops"))
            .and(get("/2"), answer(404).sized("no"))
            .and(get("/3"), ok("3")),
    ]));
}

#[test]
fn connections_that_close() {
    let closes = || ok("bye").field("Connection", "close").then(Step::Close);
    run(play(vec![
        case("the app closes after its answer", get("/"), closes()).apps(Speakers::Http1),
        case("the app closes after each answer", get("/1"), closes())
            .and(ask("POST", "/2").sized("x"), closes())
            .and(get("/3"), closes())
            .apps(Speakers::Http1),
        case(
            "the app closes without a word of it",
            get("/1"),
            ok("bye").then(Step::Close),
        )
        .apps(Speakers::Http1),
        case(
            "the visitor says close",
            get("/").field("Connection", "close"),
            ok("bye"),
        )
        .visitors(Speakers::Http1),
        case(
            "both say close",
            get("/").field("Connection", "close"),
            closes(),
        )
        .visitors(Speakers::Http1),
    ]));
}

/// RFC 9110 §6.2: each hop speaks its own version.
#[test]
fn http_1_0() {
    let old = |ask: Ask| Ask {
        version: "HTTP/1.0",
        ..ask
    };
    let by_old =
        |name, ask: Ask, answer| -> Case { case(name, old(ask), answer).visitors(Speakers::Http1) };
    let app = |name, bytes: &'static str| -> Case {
        case(name, get("/"), raw(bytes).then(Step::Close)).apps(Speakers::Http1)
    };
    run(play(vec![
        by_old("GET from 1.0", get("/"), ok("new")),
        by_old("POST from 1.0", ask("POST", "/").sized("a=1"), ok("new")),
        by_old(
            "HEAD from 1.0",
            ask("HEAD", "/"),
            answer(200).field("Content-Length", "7"),
        ),
        by_old(
            "chunks for 1.0",
            get("/"),
            answer(200).chunked(&["chunks", " are", " new"]),
        ),
        by_old(
            "keep-alive from 1.0",
            get("/").field("Connection", "keep-alive"),
            ok("kept"),
        ),
        app(
            "an app of 1.0",
            "HTTP/1.0 200 OK\r\nServer: SimpleHTTP/0.6\r\nContent-Length: 3\r\n\r\nold",
        ),
        app(
            "an app of 1.0 without a length",
            "HTTP/1.0 200 OK\r\nContent-type: text/html\r\n\r\nto the end",
        ),
        app(
            "an app of 1.0 that says 204",
            "HTTP/1.0 204 No Content\r\n\r\n",
        ),
        app(
            "an app of 1.0 that would stay",
            "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nold",
        ),
    ]));
}
