//! Interim answers, and final ones that come early.

use bytes::Bytes;
use ngrnotok_tests::run;

use crate::case::{Answer, Ask, Heard, Speakers, Step, answer, ask, case, fields, get};
use crate::table::play;

const HINT: (&str, &str) = ("Link", "</a.css>; rel=preload");

fn expecting() -> Ask {
    ask("POST", "/")
        .field("Expect", "100-continue")
        .field("Content-Length", "4")
}

/// Asks for the body, then takes it.
fn asks_for_it() -> Answer {
    let asks = answer(200).early().first(Step::Interim(100, Vec::new()));
    asks.first(Step::Hear(Heard::End)).sized("taken")
}

/// RFC 9110 §10.1.1: the visitor waits, and the app decides.
#[test]
fn expectations() {
    let waits = || {
        expecting()
            .then(Step::Hear(Heard::Interim))
            .then(Step::Data("body".into()))
    };
    // Whoever is answered first keeps its body.
    let keeps = || expecting().then(Step::Hear(Heard::End)).then(Step::Close);
    run(play(vec![
        case("Expect, accepted", waits(), asks_for_it()),
        case(
            "Expect, accepted, in capitals",
            ask("PUT", "/")
                .field("Expect", "100-Continue")
                .field("Content-Length", "2")
                .then(Step::Hear(Heard::Interim))
                .then(Step::Data("ok".into())),
            asks_for_it(),
        ),
        case(
            "Expect, accepted, in chunks",
            ask("POST", "/")
                .field("Expect", "100-continue")
                .field("Transfer-Encoding", "chunked")
                .then(Step::Hear(Heard::Interim))
                .then(Step::Data("body".into())),
            asks_for_it(),
        ),
        case(
            "Expect, and the visitor does not wait",
            expecting().then(Step::Data("body".into())),
            asks_for_it(),
        ),
        case(
            "Expect, refused by 417",
            keeps(),
            answer(417).early().sized("no"),
        ),
        case(
            "Expect, refused by 401 without a body",
            keeps(),
            answer(401)
                .early()
                .field("WWW-Authenticate", "Basic")
                .sized(""),
        ),
        case(
            "Expect, answered by 200 without the body",
            keeps(),
            answer(200).early().sized("I have it already"),
        )
        .visitors(Speakers::Http2),
        case(
            "Expect without a body",
            get("/").field("Expect", "100-continue"),
            answer(200).sized(""),
        ),
        case(
            "an expectation that nobody knows",
            ask("POST", "/").field("Expect", "200-ok").sized("x"),
            answer(417).sized("what?"),
        ),
    ]));
}

/// Some apps have never heard of it; then the body comes after 2 s.
fn ignored(visitors: Speakers, apps: Speakers) {
    let asked = expecting().then(Step::Data("body".into()));
    run(play(vec![
        case("Expect, ignored", asked, answer(200).sized("taken"))
            .visitors(visitors)
            .apps(apps),
    ]));
}

#[test]
fn an_expectation_is_ignored() {
    ignored(Speakers::Http1, Speakers::Http1);
}

#[test]
fn an_expectation_from_http2_is_ignored() {
    ignored(Speakers::Http2, Speakers::Both);
}

/// RFC 8297, RFC 9110 §15.2.
#[test]
fn interims() {
    let hint = || Step::Interim(103, fields(&[HINT]));
    let processing = || Step::Interim(102, Vec::new());
    let mut sixteen = answer(200).sized("at last");
    for n in 0..16 {
        sixteen = sixteen.first(Step::Interim(103, fields(&[("X-N", &n.to_string())])));
    }
    run(play(vec![
        case(
            "103",
            get("/"),
            answer(200)
                .first(hint())
                .field(HINT.0, HINT.1)
                .sized("page"),
        ),
        case(
            "103 twice, 102 and a private one",
            get("/"),
            answer(200)
                .first(hint())
                .first(processing())
                .first(Step::Interim(199, Vec::new()))
                .first(hint())
                .sized("page"),
        ),
        case("sixteen", get("/"), sixteen),
        case(
            "103 before the body has come",
            ask("POST", "/").chunked(&["body"]),
            answer(200)
                .early()
                .first(hint())
                .first(Step::Hear(Heard::End))
                .sized("taken"),
        ),
        case(
            "103, and the visitor waits for it",
            ask("POST", "/")
                .field("Transfer-Encoding", "chunked")
                .then(Step::Hear(Heard::Interim))
                .then(Step::Data("hinted".into())),
            answer(200)
                .early()
                .first(hint())
                .first(Step::Hear(Heard::End))
                .sized(""),
        )
        .visitors(Speakers::Http2),
        case(
            "100 that nobody asked for",
            ask("POST", "/").sized("body"),
            answer(200).first(Step::Interim(100, Vec::new())).sized(""),
        ),
        case(
            "103 before a 404",
            get("/"),
            answer(404).first(hint()).sized("no"),
        ),
        case(
            "103 before a 304",
            get("/"),
            answer(304).first(hint()).field("ETag", "\"1\""),
        ),
        case(
            "a length in a 103",
            get("/"),
            answer(200)
                .first(Step::Interim(103, fields(&[HINT, ("Content-Length", "0")])))
                .sized(""),
        )
        .apps(Speakers::Http1),
        case(
            "fields of the connection in a 103",
            get("/"),
            answer(200)
                .first(Step::Interim(103, fields(&[HINT, ("X-A", "1")])))
                .sized(""),
        ),
    ]));
}

/// RFC 9110 §9.3.4, RFC 9113 §8.1: an app may answer before the upload has ended, and its answer is
/// read whole.
#[test]
fn answers_that_come_early() {
    let body = Bytes::from(vec![b'u'; 8 << 20]);
    let upload = || ask("PUT", "/big").sized(body.clone());
    let refuses = || {
        answer(413)
            .early()
            .first(Step::Hear(Heard::Data(1000)))
            .sized("too large")
    };
    run(play(vec![
        case("413 during an upload", upload(), refuses()),
        case(
            "413 during an upload, then the app hangs up",
            upload(),
            refuses().field("Connection", "close").then(Step::Close),
        )
        .apps(Speakers::Http1),
        case(
            "413 before any of the upload",
            upload(),
            answer(413).early().sized("too large"),
        ),
        case(
            "413 without a body",
            upload(),
            answer(413).early().sized(""),
        ),
        case(
            "413 in chunks",
            upload(),
            answer(413).early().chunked(&["too", " large"]),
        ),
        case(
            "a long answer during an upload",
            upload(),
            answer(400)
                .early()
                .first(Step::Hear(Heard::Data(1000)))
                .sized(vec![b'a'; 1 << 20]),
        ),
    ]));
}
