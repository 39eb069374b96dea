//! Methods, statuses and fields.

use ngrnotok_tests::run;

use crate::case::{Case, Speakers, answer, ask, case, get, ok, raw};
use crate::table::play;

#[test]
fn methods() {
    run(play(vec![
        case("GET", get("/"), ok("got")),
        case("HEAD", ask("HEAD", "/"), answer(200).field("Content-Length", "3")),
        case("HEAD of chunks", ask("HEAD", "/"), answer(200).field("Transfer-Encoding", "chunked")),
        case("HEAD without a length", ask("HEAD", "/"), answer(200).field("X-A", "1")),
        case("POST", ask("POST", "/").sized("a=1"), ok("posted")),
        case("PUT", ask("PUT", "/").sized("a=1"), answer(201).field("Location", "/1").sized("")),
        case("PATCH", ask("PATCH", "/").sized("[]"), ok("patched")),
        case("DELETE", ask("DELETE", "/1"), answer(204)),
        case("DELETE with a body", ask("DELETE", "/").sized("1,2"), answer(204)),
        case("GET with a body", get("/search").sized("{}"), ok("found")),
        case("OPTIONS", ask("OPTIONS", "/"), answer(204).field("Allow", "GET, HEAD")),
        case("OPTIONS *", ask("OPTIONS", "*"), answer(200).field("Allow", "GET").sized("")),
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
        case("204 with an ETag", get("/"), answer(204).field("ETag", "\"1\"")),
        case("205", get("/"), answer(205).sized("")),
        case("304 with a length", get("/").field("If-None-Match", "\"1\""), not_modified()),
        case("304 without one", get("/"), answer(304).field("ETag", "\"1\"")),
        case("404", get("/"), answer(404).sized("no")),
        case("418", get("/pot"), answer(418).sized("short and stout")),
        case("500", get("/"), answer(500).sized("oops")),
        case("503", get("/"), answer(503).field("Retry-After", "9").sized("later")),
        case("299, which nobody knows", get("/"), answer(299).sized("odd")),
        case("599, which nobody knows", get("/"), answer(599).sized("odd")),
        case("302", get("/old"), answer(302).field("Location", "http://localhost:3000/new?a=b#c").sized("")),
        case("308 with a body", ask("POST", "/old").sized("a"), answer(308).field("Location", "../new").sized("there")),
        case("401", get("/"), answer(401).field("WWW-Authenticate", "Basic realm=\"x\"").field("WWW-Authenticate", "Bearer").sized("")),
        case("206", get("/").field("Range", "bytes=1-3"), answer(206).field("Content-Range", "bytes 1-3/9").sized("bcd")),
        case("416", get("/").field("Range", "bytes=99-"), answer(416).field("Content-Range", "bytes */9").sized("")),
        case("a status without a reason", get("/"), raw("HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok")).apps(Speakers::Http1),
    ]));
}

fn not_modified() -> crate::case::Answer {
    answer(304).field("ETag", "\"1\"").field("Content-Length", "9")
}

#[test]
fn fields() {
    let long = "x".repeat(32 * 1024);
    let (mut many, mut told) = (get("/many"), ok("many"));
    for n in 0..90 {
        many = many.field(&format!("X-N{n}"), n.to_string());
        told = told.field(&format!("X-N{n}"), n.to_string());
    }
    let obs_text: Vec<u8> = (0x80..=0xff).collect();
    run(play(vec![
        case("Set-Cookie, twice and in order", get("/"), ok("").field("Set-Cookie", "b=2; Path=/").field("Set-Cookie", "a=1").field("Set-Cookie", "b=3")),
        case("X-A, thrice and in order", repeated(), ok("").field("X-A", "1").field("X-B", "-").field("X-A", "2").field("X-A", "1")),
        case("an empty value", get("/").field("X-Empty", "").field("Accept", ""), ok("").field("X-Empty", "")),
        case("obs-text", get("/").field("X-Obs", &obs_text), ok("").field("X-Obs", &obs_text)),
        case("UTF-8", get("/").field("X-Name", "Żółć 🦦"), ok("").field("X-Name", "Żółć 🦦")),
        case("odd characters", get("/").field("X-Odd", "\"a\\b\" <c>; d=e, {f}\t|g`"), ok("").field("X-Odd", "a\tb, \"c\";;,,")),
        case("odd names", get("/").field("X_Under", "1").field("X.Dot!#$%&'*+^`|~", "2"), ok("").field("X_Under", "1")),
        case("32 KiB in one value", get("/").field("X-Long", &long), ok("").field("X-Long", &long)),
        case("90 fields", many, told),
        case("cookies of HTTP/2", get("/").field("Cookie", "a=1").field("Cookie", "b=2").field("Cookie", "a=3"), ok("")).visitors(Speakers::Http2),
        case("one cookie", get("/").field("Cookie", "a=1;b=2;  c=\"3\""), ok("")),
        case("what caches need", get("/").field("If-Modified-Since", "Mon, 23 Nov 2026 00:00:00 GMT").field("Cache-Control", "no-cache").field("Pragma", "no-cache"), ok("").field("Date", "Mon, 23 Nov 2026 00:00:00 GMT").field("Age", "7").field("Vary", "Accept, Cookie").field("Expires", "-1").field("Via", "1.1 other").field("Server", "app/1")),
        case("what browsers ask with", get("/").field("Origin", "https://a.example").field("Referer", "https://a.example/x?y").field("Sec-Fetch-Mode", "cors").field("Accept-Encoding", "gzip, br").field("Priority", "u=1, i").field("Upgrade-Insecure-Requests", "1"), ok("").field("Access-Control-Allow-Origin", "*")),
        case("Authorization", get("/").field("Authorization", "Basic YTpi").field("Proxy-Authorization", "Basic YTpi"), ok("").field("Proxy-Authenticate", "Basic")),
        case("gzip is not touched", get("/").field("Accept-Encoding", "gzip"), answer(200).field("Content-Encoding", "gzip").sized(&b"\x1f\x8b\x08\0\0\0\0\0\0\x03K\xcf\x07\0\x1f\x8b"[..])),
        case("no Date is added", get("/"), ok("").field("X-A", "1")),
    ]));
}

fn repeated() -> crate::case::Ask {
    let asked = get("/").field("X-A", "1").field("X-B", "-");
    asked.field("X-A", "2, 3").field("x-a", "1")
}

#[test]
fn fields_of_one_connection() {
    let asked = |value: &str| get("/").field("Connection", value);
    let told = |value: &str| ok("told").field("Connection", value);
    let by_http1 = |case: Case| case.visitors(Speakers::Http1);
    run(play(vec![
        by_http1(case("Connection cannot take what routes, frames and tells", ask("POST", "/").field("Connection", "host, content-length, x-forwarded-for, cookie, authorization").field("Cookie", "a=1").field("Authorization", "x").sized("abc"), ok("kept"))),
        by_http1(case("Connection takes what it lists", asked("X-Private, close , x-other").field("X-Private", "1").field("X-Other", "2").field("X-Kept", "3"), ok("taken"))),
        by_http1(case("Connection twice", asked("x-one").field("Connection", "x-two").field("X-One", "1").field("X-Two", "2"), ok("taken"))),
        by_http1(case("Connection in pieces", asked(", ,keep-alive,;=,\"x\"").field("Keep-Alive", "timeout=5"), ok("odd"))),
        by_http1(case("Proxy-Connection", asked("keep-alive").field("Proxy-Connection", "keep-alive").field("Keep-Alive", "5"), ok(""))),
        by_http1(case("TE: gzip, trailers;q=0.5", asked("te").field("TE", "gzip, trailers;q=0.5"), ok(""))),
        by_http1(case("TE: gzip", asked("TE").field("TE", "gzip"), ok(""))),
        case("TE: trailers", get("/").field("TE", "trailers"), ok("")),
        case("the app's Connection", get("/"), told("X-Private").field("X-Private", "1").field("X-Kept", "2")).apps(Speakers::Http1),
        case("the app's Keep-Alive", get("/"), told("keep-alive").field("Keep-Alive", "timeout=5")).apps(Speakers::Http1),
        case("the app's Connection cannot take what frames", get("/"), told("content-length, content-type, set-cookie").field("Content-Type", "text/plain")).apps(Speakers::Http1),
    ]));
}
