//! Connections that leave HTTP: RFC 9110 §7.8 for HTTP/1.1, RFC 8441 for HTTP/2.

use bytes::Bytes;
use ngrnotok_tests::run;

use crate::case::{Answer, Ask, Case, Heard, Speakers, Step, answer, ask, case, get, ok, switch};
use crate::message::End;
use crate::stage::Stage;
use crate::table::play;

fn say(word: &'static str) -> Step {
    data(word.as_bytes())
}

const fn data(bytes: &'static [u8]) -> Step {
    Step::Data(Bytes::from_static(bytes))
}

const fn hear(size: usize) -> Step {
    Step::Hear(Heard::Data(size))
}

/// The same, and the 101 says a length, which means nothing there.
fn agreeing(length: &str, mut case: Case) -> Case {
    let (ask, answer) = case.exchanges.remove(0);
    let answer = answer.field("Content-Length", length);
    case.and(ask, answer)
}

const SWITCHED: Step = Step::Hear(Heard::Head);
const END: Step = Step::Hear(Heard::End);

const PING: [Step; 3] = [SWITCHED, data(b"ping"), hear(4)];
const PONG: [Step; 3] = [hear(4), data(b"pong"), END];

/// An upgrade to whatever protocol: a matter of HTTP/1.1.
fn echo(name: &'static str, visitor: &[Step], app: &[Step]) -> Case {
    let asked = get("/echo?a=b").upgrade("echo/1").field("X-A", "1");
    with(
        name,
        asked,
        switch("echo/1").field("X-B", "2"),
        visitor,
        app,
    )
    .visitors(Speakers::Http1)
}

/// A WebSocket, which visitors of HTTP/2 open, too.
fn websocket(name: &'static str, visitor: &[Step], app: &[Step]) -> Case {
    let asked = get("/socket")
        .upgrade("websocket")
        .field("Sec-WebSocket-Version", "13");
    let asked = asked.field("Sec-WebSocket-Protocol", "chat, superchat");
    let agreed = switch("websocket").field("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    let agreed = agreed.field("Sec-WebSocket-Protocol", "chat");
    with(name, asked, agreed, visitor, app)
}

fn with(
    name: &'static str,
    mut ask: Ask,
    mut answer: Answer,
    visitor: &[Step],
    app: &[Step],
) -> Case {
    ask.steps.extend_from_slice(visitor);
    answer.after.extend_from_slice(app);
    // Apps take upgrades in HTTP/1.1, whatever else they speak.
    case(name, ask, answer).apps(Speakers::Http1)
}

#[test]
fn switches() {
    let large = || Step::Data(Bytes::from(vec![b'b'; 1 << 20]));
    let mut cases = Vec::new();
    for upgrade in [echo, websocket] {
        cases.extend([
            upgrade(
                "bytes both ways, the visitor ends first",
                &[SWITCHED, say("ping"), hear(4), say("more")],
                &[hear(4), say("pong"), END, say("after your end")],
            ),
            upgrade(
                "bytes both ways, the app ends first",
                &[SWITCHED, say("ping"), END, say("after your end")],
                &[hear(4), say("pong")],
            ),
            upgrade(
                "the app speaks first",
                &[SWITCHED, hear(7), say("thanks")],
                &[say("welcome"), END],
            ),
            upgrade(
                "bytes right behind the request",
                &[say("eager"), SWITCHED, hear(5), say("!")],
                &[hear(5), say("heard"), END],
            ),
            upgrade("nothing but ends", &[SWITCHED], &[END]),
            agreeing("0", upgrade("a switch that says a length", &PING, &PONG)),
            agreeing(
                "4",
                upgrade("a switch that says a longer one", &PING, &PONG),
            ),
            upgrade(
                "1 MiB each way",
                &[SWITCHED, large(), hear(1 << 20)],
                &[large(), END],
            ),
            upgrade(
                "the app breaks off",
                &[SWITCHED, say("ping"), hear(4), END],
                &[hear(4), say("pong"), Step::Break],
            ),
            upgrade(
                "the visitor breaks off",
                &[SWITCHED, say("ping"), hear(4), Step::Break],
                &[hear(4), say("pong"), END],
            ),
            upgrade(
                "the app breaks off after the visitor's end",
                &[SWITCHED, say("ping")],
                &[END, Step::Break],
            ),
            upgrade(
                "the visitor breaks off after the app's end",
                &[SWITCHED, END, Step::Break],
                &[say("bye")],
            ),
        ]);
    }
    run(play(cases));
}

/// A request that wants to switch may have a body, after which the other protocol begins (RFC 9110 §7.8).
#[test]
fn switches_after_a_body() {
    const LARGE: usize = 1 << 20;
    let large = || Bytes::from(vec![b'b'; LARGE]);
    let exec = || ask("POST", "/exec/start").upgrade("tcp");
    let agreed = || switch("tcp").field("X-B", "2");
    let then = |mut ask: Ask, steps: &[Step]| {
        ask.steps.extend_from_slice(steps);
        ask
    };
    let afterwards = |mut answer: Answer, steps: &[Step]| {
        answer.after.extend_from_slice(steps);
        answer
    };
    let cases = [
        case(
            "no body, and its length is said",
            then(exec().field("Content-Length", "0"), &PING),
            afterwards(agreed(), &PONG),
        ),
        case(
            "a WebSocket that says that it has no body",
            then(
                get("/").upgrade("websocket").field("Content-Length", "0"),
                &PING,
            ),
            afterwards(switch("websocket"), &PONG),
        ),
        case(
            "a body, then the other protocol",
            then(exec().sized(r#"{"Tty":true}"#), &PING),
            afterwards(agreed().first(hear(12)), &[hear(16), say("pong"), END]),
        ),
        case(
            "the other protocol in one breath with the body",
            then(
                exec().field("Content-Length", "4"),
                &[say("bodyeager"), SWITCHED, hear(5), say("!")],
            ),
            afterwards(agreed().first(hear(4)), &[hear(9), say("heard"), END]),
        ),
        case(
            "1 MiB of body and 1 MiB of the other protocol",
            then(exec().sized(large()), &[SWITCHED, Step::Data(large())]),
            afterwards(agreed().first(hear(LARGE)), &[Step::Data(large()), END]),
        ),
        case(
            "the app agrees before it has read the body",
            then(exec().sized(large()), &PING),
            afterwards(agreed(), &[hear(LARGE + 4), say("pong"), END]),
        ),
        case(
            "the app reads the body and refuses",
            exec().sized("body"),
            answer(404).sized("no such container"),
        ),
        case(
            "the app refuses before it has read the body",
            exec().sized("body"),
            answer(401).early().sized("who?"),
        ),
    ];
    let http1 = |case: Case| case.visitors(Speakers::Http1).apps(Speakers::Http1);
    run(play(cases.map(http1).into()));
}

/// An app need not agree, and its answer is an ordinary one.
#[test]
fn refusals() {
    let asked = |protocol| get("/socket").upgrade(protocol);
    let told = |status| answer(status).early();
    let mut cases = Vec::new();
    for (protocol, visitors) in [("websocket", Speakers::Both), ("echo/1", Speakers::Http1)] {
        cases.extend(
            [
                case(
                    "401",
                    asked(protocol),
                    told(401).field("WWW-Authenticate", "Basic").sized("who?"),
                ),
                case("404", asked(protocol), told(404).sized("not here")),
                case(
                    "404 in chunks",
                    asked(protocol),
                    told(404).chunked(&["not", "here"]),
                ),
                case("426", asked(protocol), told(426).sized("speak 13")),
                case(
                    "302",
                    asked(protocol),
                    told(302).field("Location", "/other").sized(""),
                ),
            ]
            .map(|case| case.visitors(visitors).apps(Speakers::Http1)),
        );
    }
    let ordinary = |name, ask: Ask| {
        case(name, ask, ok("ordinary"))
            .visitors(Speakers::Http1)
            .apps(Speakers::Http1)
    };
    cases.extend([
        ordinary("200 to an upgrade", asked("websocket")),
        ordinary(
            "POST that would switch",
            ask("POST", "/")
                .upgrade("echo/1")
                .field("Content-Length", "0"),
        ),
        // RFC 9110 §7.8: a server may ignore the wish, and where a body of unknown length comes first the edge
        // does.
        ordinary(
            "a body in chunks that would switch",
            ask("POST", "/")
                .field("Connection", "Upgrade")
                .field("Upgrade", "echo/1")
                .chunked(&["bo", "dy"]),
        ),
        ordinary(
            "Upgrade that Connection does not list",
            get("/").field("Upgrade", "echo/1"),
        ),
        ordinary(
            "h2c, which is never passed on",
            get("/")
                .field("Connection", "Upgrade, HTTP2-Settings")
                .field("Upgrade", "h2c")
                .field("HTTP2-Settings", "AAMAAABkAAQAAP__"),
        ),
    ]);
    run(play(cases));
}

/// To a CONNECT every 2xx would mean yes, so a visitor of HTTP/2 gets the edge's own answer.
#[test]
fn a_page_is_no_socket() {
    run(async {
        use ngrnotok_tests::visitor::Via;
        let mut stage = Stage::build().await;
        for via in [Via::Http2, Via::PlainHttp2] {
            stage.http1.plays([ok("a page").early()]);
            let scheme = if via.is_tls() { "https" } else { "http" };
            let authority = stage.authority(via, false);
            let socket = stage.tunnel(via, false).await;
            let mut visitor = crate::http2::Connection::open(socket, scheme).await;
            let asked = get("/socket").upgrade("websocket");
            let got = visitor.ask(&asked, &authority, true).await;
            assert_eq!(got.start, "502", "{via:?}");
            assert_eq!(got.fields["ngrnotok-cause"], ["upgrade_refused"]);
            assert_eq!(got.end, End::Whole);
        }
    });
}
