//! Methods and statuses.

use ngrnotok_tests::run;

use crate::case::{Answer, Speakers, answer, ask, case, get, ok, raw};
use crate::table::play;

#[test]
fn methods() {
    run(play(vec![
        case("GET", get("/"), ok("got")),
        case(
            "HEAD",
            ask("HEAD", "/"),
            answer(200).field("Content-Length", "3"),
        ),
        case(
            "HEAD of chunks",
            ask("HEAD", "/"),
            answer(200).field("Transfer-Encoding", "chunked"),
        ),
        case(
            "HEAD without a length",
            ask("HEAD", "/"),
            answer(200).field("X-A", "1"),
        ),
        case("POST", ask("POST", "/").sized("a=1"), ok("posted")),
        case(
            "PUT",
            ask("PUT", "/").sized("a=1"),
            answer(201).field("Location", "/1").sized(""),
        ),
        case("PATCH", ask("PATCH", "/").sized("[]"), ok("patched")),
        case("DELETE", ask("DELETE", "/1"), answer(204)),
        case(
            "DELETE with a body",
            ask("DELETE", "/").sized("1,2"),
            answer(204),
        ),
        case("GET with a body", get("/search").sized("{}"), ok("found")),
        case(
            "OPTIONS",
            ask("OPTIONS", "/"),
            answer(204).field("Allow", "GET, HEAD"),
        ),
        case(
            "OPTIONS *",
            ask("OPTIONS", "*"),
            answer(200).field("Allow", "GET").sized(""),
        ),
        case("TRACE", ask("TRACE", "/"), ok("TRACE / HTTP/1.1")),
        case("PURGE", ask("PURGE", "/page"), ok("purged")),
        case("M-SEARCH", ask("M-SEARCH", "*"), ok("found")).visitors(Speakers::Http1),
        case("lower case", ask("foo", "/"), ok("bar")),
        case("every token", ask("A!#$%&'*+-.^_`|~9", "/"), ok("odd")),
    ]));
}

#[test]
fn statuses() {
    run(play(vec![
        case("204", get("/"), answer(204)),
        case(
            "204 with an ETag",
            get("/"),
            answer(204).field("ETag", "\"1\""),
        ),
        case(
            "204 with a length",
            get("/"),
            raw("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"),
        )
        .apps(Speakers::Http1),
        case("205", get("/"), answer(205).sized("")),
        case(
            "304 with a length",
            get("/").field("If-None-Match", "\"1\""),
            not_modified(),
        ),
        case(
            "304 without one",
            get("/"),
            answer(304).field("ETag", "\"1\""),
        ),
        case("404", get("/"), answer(404).sized("no")),
        case("418", get("/pot"), answer(418).sized("short and stout")),
        case("500", get("/"), answer(500).sized("oops")),
        case(
            "503",
            get("/"),
            answer(503).field("Retry-After", "9").sized("later"),
        ),
        case(
            "299, which nobody knows",
            get("/"),
            answer(299).sized("odd"),
        ),
        case(
            "599, which nobody knows",
            get("/"),
            answer(599).sized("odd"),
        ),
        case(
            "302",
            get("/old"),
            answer(302)
                .field("Location", "http://localhost:3000/new?a=b#c")
                .sized(""),
        ),
        case(
            "308 with a body",
            ask("POST", "/old").sized("a"),
            answer(308).field("Location", "../new").sized("there"),
        ),
        case(
            "401",
            get("/"),
            answer(401)
                .field("WWW-Authenticate", "Basic realm=\"x\"")
                .field("WWW-Authenticate", "Bearer")
                .sized(""),
        ),
        case(
            "206",
            get("/").field("Range", "bytes=1-3"),
            answer(206)
                .field("Content-Range", "bytes 1-3/9")
                .sized("bcd"),
        ),
        case(
            "416",
            get("/").field("Range", "bytes=99-"),
            answer(416).field("Content-Range", "bytes */9").sized(""),
        ),
        case(
            "a status without a reason",
            get("/"),
            raw("HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok"),
        )
        .apps(Speakers::Http1),
    ]));
}

fn not_modified() -> Answer {
    answer(304)
        .field("ETag", "\"1\"")
        .field("Content-Length", "9")
}
