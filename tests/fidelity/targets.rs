//! The target of a request travels as it was written.

use ngrnotok_tests::run;

use crate::case::{Case, Speakers, ask, case, get, ok};
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
        target("/q?a=%20&b=+&c=?/..//&d=\"e\"&f=[1]&g={h}&i=^`\\"),
        target("/back\\slash|and^caret{}[]"),
        target("/@host:80/http://other.example/?x=http://a@b"),
        target("/index.html?utm_source=a&utm_source=b&&;;=="),
        case("8 KiB", get(&long), ok("far")),
        case("in absolute form", get("http://HOST/a?b"), ok("here")).visitors(Speakers::Http1),
        case("in absolute form without a path", get("http://HOST"), ok("here")).visitors(Speakers::Http1),
        case("in absolute form with a query only", get("http://HOST/?a"), ok("here")).visitors(Speakers::Http1),
        case("the whole server in absolute form", ask("OPTIONS", "http://HOST/"), ok("here")).visitors(Speakers::Http1),
    ]));
}

/// Not in RFC 3986 at all, and sent all the same by some: as it is, or refused.
#[test]
fn targets_that_are_none() {
    run(play(vec![
        target("/caf\u{e9}?\u{1f9a6}").visitors(Speakers::Http1),
        target("/?q=<b>&r=`x`").visitors(Speakers::Http1),
    ]));
}
