//! Fields, and the ones that stay on their own connection.

use ngrnotok_tests::run;

use crate::case::{Ask, Case, Speakers, answer, ask, case, get, ok};
use crate::table::play;

#[test]
fn fields() {
    let long = "x".repeat(32 * 1024);
    let (mut many, mut told) = (get("/many"), ok("many"));
    for n in 0..900 {
        many = many.field(&format!("X-N{n}"), n.to_string());
        told = told.field(&format!("X-N{n}"), n.to_string());
    }
    let obs_text: Vec<u8> = (0x80..=0xff).collect();
    run(play(vec![
        case(
            "Set-Cookie, twice and in order",
            get("/"),
            ok("")
                .field("Set-Cookie", "b=2; Path=/")
                .field("Set-Cookie", "a=1")
                .field("Set-Cookie", "b=3"),
        ),
        case(
            "X-A, thrice and in order",
            repeated(),
            ok("")
                .field("X-A", "1")
                .field("X-B", "-")
                .field("X-A", "2")
                .field("X-A", "1"),
        ),
        case(
            "an empty value",
            get("/").field("X-Empty", "").field("Accept", ""),
            ok("").field("X-Empty", ""),
        ),
        case(
            "obs-text",
            get("/").field("X-Obs", &obs_text),
            ok("").field("X-Obs", &obs_text),
        ),
        case(
            "UTF-8",
            get("/").field("X-Name", "Żółć 🦦"),
            ok("").field("X-Name", "Żółć 🦦"),
        ),
        case(
            "odd characters",
            get("/").field("X-Odd", "\"a\\b\" <c>; d=e, {f}\t|g`"),
            ok("").field("X-Odd", "a\tb, \"c\";;,,"),
        ),
        case(
            "odd names",
            get("/")
                .field("X_Under", "1")
                .field("X.Dot!#$%&'*+^`|~", "2"),
            ok("").field("X_Under", "1"),
        ),
        case(
            "32 KiB in one value",
            get("/").field("X-Long", &long),
            ok("").field("X-Long", &long),
        ),
        case("900 fields", many, told),
        case(
            "cookies of HTTP/2",
            get("/")
                .field("Cookie", "a=1")
                .field("Cookie", "b=2")
                .field("Cookie", "a=3"),
            ok(""),
        )
        .visitors(Speakers::Http2),
        case(
            "one cookie",
            get("/").field("Cookie", "a=1;b=2;  c=\"3\""),
            ok(""),
        ),
        case(
            "what caches need",
            get("/")
                .field("If-Modified-Since", "Mon, 23 Nov 2026 00:00:00 GMT")
                .field("Cache-Control", "no-cache")
                .field("Pragma", "no-cache"),
            ok("")
                .field("Date", "Mon, 23 Nov 2026 00:00:00 GMT")
                .field("Age", "7")
                .field("Vary", "Accept, Cookie")
                .field("Expires", "-1")
                .field("Via", "1.1 other")
                .field("Server", "app/1"),
        ),
        case(
            "what browsers ask with",
            get("/")
                .field("Origin", "https://a.example")
                .field("Referer", "https://a.example/x?y")
                .field("Sec-Fetch-Mode", "cors")
                .field("Accept-Encoding", "gzip, br")
                .field("Priority", "u=1, i")
                .field("Upgrade-Insecure-Requests", "1"),
            ok("").field("Access-Control-Allow-Origin", "*"),
        ),
        case(
            "Authorization",
            get("/")
                .field("Authorization", "Basic YTpi")
                .field("Proxy-Authorization", "Basic YTpi"),
            ok("").field("Proxy-Authenticate", "Basic"),
        ),
        case(
            "gzip is not touched",
            get("/").field("Accept-Encoding", "gzip"),
            answer(200)
                .field("Content-Encoding", "gzip")
                .sized(&b"\x1f\x8b\x08\0\0\0\0\0\0\x03K\xcf\x07\0\x1f\x8b"[..]),
        ),
        case("no Date is added", get("/"), ok("").field("X-A", "1")),
    ]));
}

fn repeated() -> Ask {
    let asked = get("/").field("X-A", "1").field("X-B", "-");
    asked.field("X-A", "2, 3").field("x-a", "1")
}

#[test]
fn fields_of_one_connection() {
    let asked = |value: &str| get("/").field("Connection", value);
    let told = |value: &str| ok("told").field("Connection", value);
    let by_http1 = |case: Case| case.visitors(Speakers::Http1);
    run(play(vec![
        by_http1(case(
            "Connection cannot take what routes, frames and tells",
            ask("POST", "/")
                .field(
                    "Connection",
                    "host, content-length, x-forwarded-for, cookie, authorization",
                )
                .field("Cookie", "a=1")
                .field("Authorization", "x")
                .sized("abc"),
            ok("kept"),
        )),
        by_http1(case(
            "Connection takes what it lists",
            asked("X-Private, close , x-other")
                .field("X-Private", "1")
                .field("X-Other", "2")
                .field("X-Kept", "3"),
            ok("taken"),
        )),
        by_http1(case(
            "Connection twice",
            asked("x-one")
                .field("Connection", "x-two")
                .field("X-One", "1")
                .field("X-Two", "2"),
            ok("taken"),
        )),
        by_http1(case(
            "Connection in pieces",
            asked(", ,keep-alive,;=,\"x\"").field("Keep-Alive", "timeout=5"),
            ok("odd"),
        )),
        by_http1(case(
            "Proxy-Connection",
            asked("keep-alive")
                .field("Proxy-Connection", "keep-alive")
                .field("Keep-Alive", "5"),
            ok(""),
        )),
        by_http1(case(
            "TE: gzip, trailers;q=0.5",
            asked("te").field("TE", "gzip, trailers;q=0.5"),
            ok(""),
        )),
        by_http1(case("TE: gzip", asked("TE").field("TE", "gzip"), ok(""))),
        case("TE: trailers", get("/").field("TE", "trailers"), ok("")),
        case(
            "the app's Connection",
            get("/"),
            told("X-Private")
                .field("X-Private", "1")
                .field("X-Kept", "2"),
        )
        .apps(Speakers::Http1),
        case(
            "the app's Keep-Alive",
            get("/"),
            told("keep-alive").field("Keep-Alive", "timeout=5"),
        )
        .apps(Speakers::Http1),
        case(
            "the app's Connection cannot take what frames",
            get("/"),
            told("content-length, content-type, set-cookie").field("Content-Type", "text/plain"),
        )
        .apps(Speakers::Http1),
    ]));
}
