//! The app is told who really called, and nobody can pretend otherwise.

use std::mem::take;

use ngrnotok_server::edge::HttpMode;
use ngrnotok_server::urls::Scheme;
use ngrnotok_tests::body::{empty, pieces};
use ngrnotok_tests::origin::{Origin, values};
use ngrnotok_tests::visitor::Via;
use ngrnotok_tests::world::{Plan, World};
use ngrnotok_tests::{run, soon};

/// What a visitor may claim of itself.
const CLAIMS: [(&str, &str); 7] = [
    ("x-forwarded-for", "198.51.100.1"),
    ("x-forwarded-for", "127.0.0.1"),
    ("x-forwarded-host", "bank.example"),
    ("x-forwarded-port", "1"),
    ("x-forwarded-proto", "gopher"),
    ("forwarded", "for=198.51.100.1;host=bank.example"),
    ("forwarded", "for=127.0.0.1"),
];

#[test]
fn the_claims_of_a_visitor_are_replaced_by_what_is_so() {
    run(async {
        let (app, mut witness) = Origin::witness().await;
        let world = World::of(&app).await;
        for via in Via::ALL {
            let visitor = world.visit(via).await;
            let mut request = visitor.request("GET", "/");
            for (name, value) in CLAIMS {
                request = request.header(name, value);
            }
            visitor.send(request.body(empty()).unwrap()).await;
            let seen = soon("the request", witness.recv()).await.unwrap();
            let (seen, host) = (seen.headers(), world.authority(via, "app"));
            let proto = if via.is_tls() { "https" } else { "http" };
            let port = world.door(via).port().to_string();
            assert_eq!(values(seen, "x-forwarded-for"), ["127.0.0.1"], "{via:?}");
            assert_eq!(values(seen, "x-forwarded-host"), [host.as_str()]);
            assert_eq!(values(seen, "x-forwarded-port"), [port]);
            assert_eq!(values(seen, "x-forwarded-proto"), [proto]);
            let forwarded = format!("for=127.0.0.1;proto={proto};host=\"{host}\"");
            assert_eq!(values(seen, "forwarded"), [forwarded]);
        }
    });
}

#[test]
fn connection_cannot_take_the_truth_away() {
    run(async {
        let world = World::of(&Origin::mirror().await).await;
        let mut wire = world.wire(Via::PlainHttp1, "app").await;
        wire.say(
            "GET / HTTP/1.1\r\nHost: app.tunnel.test\r\n\
             Connection: x-forwarded-for, x-forwarded-proto, forwarded, host, ngrnotok-tunnel\r\n\r\n",
        )
        .await;
        let arrived = wire.answer().await.text().to_owned();
        for line in [
            "x-forwarded-for: 127.0.0.1",
            "x-forwarded-proto: http",
            "forwarded: for=",
        ] {
            assert!(
                arrived.contains(&format!("\n{line}")),
                "{line} in {arrived}"
            );
        }
    });
}

#[test]
fn the_word_of_a_trusted_proxy_is_continued() {
    run(async {
        let (app, mut witness) = Origin::witness().await;
        let loopback = "127.0.0.0/8".parse().unwrap();
        let plan = World::plan().server(move |config| config.trusted_proxies = vec![loopback]);
        let world = plan.client("app", &app).start().await;
        for via in Via::ALL {
            let visitor = world.visit(via).await;
            let mut request = visitor.request("GET", "/");
            for (name, value) in CLAIMS {
                request = request.header(name, value);
            }
            visitor.send(request.body(empty()).unwrap()).await;
            let seen = soon("the request", witness.recv()).await.unwrap();
            let seen = seen.headers();
            let list = "198.51.100.1, 127.0.0.1, 127.0.0.1";
            assert_eq!(values(seen, "x-forwarded-for"), [list], "{via:?}");
            assert_eq!(values(seen, "x-forwarded-host"), ["bank.example"]);
            assert_eq!(values(seen, "x-forwarded-port"), ["1"]);
            // It named no scheme of HTTP, so the connection tells.
            let proto = if via.is_tls() { "https" } else { "http" };
            assert_eq!(values(seen, "x-forwarded-proto"), [proto]);
            let list = format!(
                "for=198.51.100.1;proto={proto};host=\"bank.example\", for=127.0.0.1, for=127.0.0.1"
            );
            assert_eq!(values(seen, "forwarded"), [list]);
        }
    });
}

/// A server behind a proxy on this machine that ends TLS.
fn behind_a_tls_proxy() -> Plan {
    World::plan().server(|config| {
        config.http_mode = HttpMode::Redirect;
        config.public_scheme = Some(Scheme::Https);
        config.trusted_proxies = vec!["127.0.0.1/32".parse().expect("a network")];
        config.tunnel = take(&mut config.https);
    })
}

#[test]
fn behind_a_proxy_that_ends_tls_everything_says_https() {
    run(async {
        let (app, mut witness) = Origin::witness().await;
        let world = behind_a_tls_proxy().client("app", &app).start().await;
        assert_eq!(world.clients[0].url(), "https://app.tunnel.test");
        for via in [Via::PlainHttp1, Via::PlainHttp2] {
            let proxy = world.visit(via).await.asking_for("app.tunnel.test");
            for (told, visitor) in [
                (
                    &[
                        ("x-forwarded-for", "203.0.113.9"),
                        ("x-forwarded-proto", "https"),
                    ][..],
                    "203.0.113.9, 127.0.0.1",
                ),
                (
                    &[("forwarded", "for=203.0.113.9;proto=https")],
                    "203.0.113.9, 127.0.0.1",
                ),
                // It can have come no other way.
                (&[], "127.0.0.1"),
            ] {
                let request = proxy.request("GET", "/");
                let request = told.iter().fold(request, |request, (name, value)| {
                    request.header(*name, *value)
                });
                let answer = proxy.send(request.body(empty()).unwrap()).await;
                assert_eq!(answer.status, 200, "{via:?} {told:?}");
                let seen = soon("the request", witness.recv()).await.unwrap();
                let seen = seen.headers();
                assert_eq!(
                    values(seen, "x-forwarded-for"),
                    [visitor],
                    "{via:?} {told:?}"
                );
                assert_eq!(values(seen, "x-forwarded-proto"), ["https"]);
                assert_eq!(values(seen, "x-forwarded-port"), ["443"]);
                let forwarded = values(seen, "forwarded")[0];
                let first = visitor.split(',').next().unwrap();
                assert!(
                    forwarded.starts_with(&format!("for={first};proto=https")),
                    "{forwarded}"
                );
            }
        }
    });
}

#[test]
fn behind_a_proxy_that_ends_tls_visitors_in_clear_are_led_to_it() {
    run(async {
        let app = Origin::saying("mine").await;
        let world = behind_a_tls_proxy().client("app", &app).start().await;
        for via in [Via::PlainHttp1, Via::PlainHttp2] {
            let proxy = world.visit(via).await.asking_for("app.tunnel.test");
            let request = proxy
                .request("GET", "/a?b")
                .header("x-forwarded-proto", "http");
            let answer = proxy.send(request.body(empty()).unwrap()).await;
            assert_eq!(answer.status, 308, "{via:?}");
            assert_eq!(answer.field("location"), "https://app.tunnel.test/a?b");
        }
    });
}

#[test]
fn a_visitor_is_not_believed_to_have_come_over_tls() {
    run(async {
        let app = Origin::saying("mine").await;
        let plan = behind_a_tls_proxy().client("app", &app);
        // The proxy is another machine.
        let plan =
            plan.server(|config| config.trusted_proxies = vec!["192.0.2.1/32".parse().unwrap()]);
        let world = plan.start().await;
        let visitor = world.visit(Via::PlainHttp1).await;
        let request = visitor
            .request("GET", "/")
            .header("x-forwarded-proto", "https");
        let answer = visitor.send(request.body(empty()).unwrap()).await;
        assert_eq!(answer.status, 308);
    });
}

#[test]
fn a_trusted_proxy_may_name_in_tls_whom_it_likes() {
    run(async {
        let app = Origin::saying("mine").await;
        let loopback = "127.0.0.0/8".parse().unwrap();
        let plan = World::plan().server(move |config| config.trusted_proxies = vec![loopback]);
        let world = plan.client("app", &app).start().await;
        for via in [Via::Http1, Via::Http2] {
            // One connection of the proxy carries all its visitors.
            let proxy = world.visitor(via, "proxy").await;
            let app = proxy.asking_for("app.tunnel.test");
            assert_eq!(app.get("/").await.text(), "mine", "{via:?}");
        }
    });
}

#[test]
fn names_with_underscores_claim_nothing() {
    run(async {
        let (app, mut witness) = Origin::witness().await;
        let world = World::of(&app).await;
        for via in Via::ALL {
            let visitor = world.visit(via).await;
            let mut request = visitor.request("GET", "/").header("x_own", "kept");
            for name in [
                "x_forwarded_for",
                "x-forwarded_proto",
                "X_Forwarded-Host",
                "ngrnotok_tunnel",
                "transfer_encoding",
                "content_length",
            ] {
                request = request.header(name, "1");
            }
            visitor.send(request.body(empty()).unwrap()).await;
            let seen = soon("the request", witness.recv()).await.unwrap();
            let names = seen.headers().keys().map(http::HeaderName::as_str);
            let names: Vec<_> = names.filter(|name| name.contains('_')).collect();
            assert_eq!(names, ["x_own"], "{via:?}");
        }
    });
}

#[test]
fn the_private_fields_of_the_link_stay_on_the_link() {
    run(async {
        let (app, mut witness) = Origin::witness().await;
        let world = World::of(&app).await;
        for via in Via::ALL {
            let visitor = world.visit(via).await;
            let request = visitor.request("GET", "/").header("ngrnotok-tunnel", "7");
            let request = request.header("ngrnotok-cause", "over_limit");
            let request = request.header("ngrnotok-of-tomorrow", "x").body(empty());
            assert_eq!(visitor.send(request.unwrap()).await.text(), "seen");
            let seen = soon("the request", witness.recv()).await.unwrap();
            let forged = |name: &&str| name.starts_with("ngrnotok-");
            let names = seen.headers().keys().map(http::HeaderName::as_str);
            assert_eq!(
                names.filter(forged).count(),
                0,
                "{via:?} {:?}",
                seen.headers()
            );
        }
    });
}

#[test]
fn an_app_cannot_forge_the_private_fields() {
    run(async {
        let app = Origin::writing(
            "HTTP/1.1 200 OK\r\nNgrnotok-Cause: over_limit\r\nNgrnotok-Tunnel: 1\r\n\
             X-Kept: 1\r\nContent-Length: 4\r\n\r\nmine",
        );
        let world = World::of(&app.await).await;
        for via in Via::ALL {
            let answer = world.visit(via).await.get("/").await;
            assert_eq!(answer.status, 200, "{via:?}");
            assert_eq!(answer.text(), "mine");
            assert_eq!(answer.headers.len(), 2, "{:?}", answer.headers);
        }
    });
}

#[test]
fn trailers_hide_no_fields_of_a_head() {
    run(async {
        let app = Origin::writing(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
             4\r\nbody\r\n0\r\nX-Sum: 42\r\nNgrnotok-Cause: over_limit\r\n\
             Connection: x-sum\r\nContent-Length: 9\r\nSet-Cookie: a=b\r\n\
             X_Forwarded_For: 127.0.0.1\r\n\r\n",
        );
        let world = World::of(&app.await).await;
        let answer = world.visit(Via::Http2).await.get("/").await;
        assert_eq!(answer.trailers["x-sum"], "42");
        assert_eq!(answer.trailers.len(), 1, "{:?}", answer.trailers);
    });
}

const HIDDEN: [&str; 5] = [
    "ngrnotok-tunnel",
    "x-forwarded-for",
    "x_forwarded_proto",
    "forwarded",
    "cookie",
];

#[test]
fn a_visitor_hides_no_fields_of_a_head_in_trailers() {
    run(async {
        let app = Origin::raw(async |mut wire| {
            let head = wire.head().await;
            assert!(head.contains("Transfer-Encoding: chunked"), "{head}");
            let mut body = String::new();
            while !body.ends_with("\r\n\r\n") {
                body.push_str(std::str::from_utf8(&wire.next().await.unwrap()).unwrap());
            }
            let length = body.len();
            wire.say(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}"
            ))
            .await;
        });
        let world = World::of(&app.await).await;
        let visitor = world.visit(Via::Http2).await;
        let (mut sent, body) = pieces();
        let request = visitor
            .request("POST", "/")
            .header("trailer", format!("x-sum, {}", HIDDEN.join(", ")));
        let request = request.body(body).unwrap();
        let upload = async {
            sent.send_data("body".into()).await.unwrap();
            let mut trailers = http::HeaderMap::new();
            trailers.insert("x-sum", "42".parse().unwrap());
            for name in HIDDEN {
                trailers.insert(name, "7".parse().unwrap());
            }
            sent.send_trailers(trailers).await.unwrap();
            drop(sent);
        };
        let (answer, ()) = tokio::join!(visitor.send(request), upload);
        assert!(
            answer.text().starts_with("4\r\nbody\r\n0\r\n"),
            "{}",
            answer.text()
        );
        let trailers = answer.text().split_once("0\r\n").unwrap().1;
        assert_eq!(trailers.to_ascii_lowercase(), "x-sum: 42\r\n\r\n");
    });
}
