//! The target of a request travels as it was written.

use ngrnotok_tests::run;
use ngrnotok_tests::visitor::Via;

use crate::case::{Case, Speakers, ask, case, get, ok};
use crate::http1::Connection;
use crate::stage::Stage;
use crate::table::play;

fn target(target: &'static str) -> Case {
    case(target, get(target), ok("here"))
}

#[test]
fn targets() {
    let long = format!("/{}", "long/".repeat(1640));
    run(play(vec![
        target("/"),
        target("/?"),
        target("/??"),
        target("/?a=b|c"),
        target("/%zz?%zz=%"),
        target("//"),
        target("//two//slashes//"),
        target("/..;/admin"),
        target("/a/../b/./c/.."),
        target("/%2e%2e/%2E%2E/"),
        target("/a%2fb%5Cc%00d%0d%0ae"),
        target("/a;b=c;d,e:f@g!$&'()*+~"),
        target("/caf%C3%A9/%F0%9F%A6%A6"),
        target("/q?a=%20&b=+&c=?/..//&f=[1]&g={h}&i=^`\\|~"),
        target("/back\\slash|and^caret{}[]\"quoted\""),
        target("/@host:80/http://other.example/?x=http://a@b"),
        target("/index.html?utm_source=a&utm_source=b&&;;=="),
        target("/caf\u{e9}?\u{1f9a6}").visitors(Speakers::Http1),
        case("8 KiB", get(&long), ok("far")),
        case("in absolute form", get("http://HOST/a?b"), ok("here")).visitors(Speakers::Http1),
        case(
            "in absolute form without a path",
            get("http://HOST"),
            ok("here"),
        )
        .visitors(Speakers::Http1),
        case(
            "in absolute form with a query only",
            get("http://HOST/?a"),
            ok("here"),
        )
        .visitors(Speakers::Http1),
        case(
            "the whole server in absolute form",
            ask("OPTIONS", "http://HOST/"),
            ok("here"),
        )
        .visitors(Speakers::Http1),
    ]));
}

/// Characters that a target cannot have (RFC 3986 §3.3, §3.4) and some send all the same: RFC 9112 §3.2
/// wants a 400, and the app sees nothing. The fragment is no part of a target either, and hyper drops it.
#[test]
fn targets_that_are_none() {
    run(async {
        let mut stage = Stage::build().await;
        for via in [Via::Http1, Via::PlainHttp1] {
            let authority = stage.authority(via, false);
            for target in [
                "/<b>",
                "/a`b",
                "/?q=<b>",
                "/?q=\"e\"",
                "/a\x7fb",
                "/a\tb",
                "a",
                "?a",
                "#",
            ] {
                stage.http1.plays([ok("none")]);
                let connection = Connection::new(stage.tunnel(via, false).await);
                let (got, _) = connection.ask(&get(target), &authority, false).await;
                assert_eq!(got.start, "400", "{target:?} {via:?}");
                assert_eq!(stage.http1.saw_more(), None, "{target:?} {via:?}");
            }
        }
    });
}
