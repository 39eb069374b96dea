//! The app is told who really called, and nobody can pretend otherwise.

use ngrnotok_tests::body::{empty, pieces};
use ngrnotok_tests::origin::{Origin, values};
use ngrnotok_tests::visitor::Via;
use ngrnotok_tests::world::World;
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
            assert_eq!(values(seen, "x-forwarded-proto"), ["gopher"]);
            let claimed = "for=198.51.100.1;host=bank.example, for=127.0.0.1, for=127.0.0.1;proto=";
            let forwarded = values(seen, "forwarded");
            assert!(forwarded[0].starts_with(claimed), "{forwarded:?}");
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
fn trailers_hide_no_private_fields() {
    run(async {
        let app = Origin::writing(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
             4\r\nbody\r\n0\r\nX-Sum: 42\r\nNgrnotok-Cause: over_limit\r\n\r\n",
        );
        let world = World::of(&app.await).await;
        let answer = world.visit(Via::Http2).await.get("/").await;
        assert_eq!(answer.trailers["x-sum"], "42");
        assert_eq!(answer.trailers.len(), 1, "{:?}", answer.trailers);
    });
}

#[test]
fn a_visitor_hides_no_private_fields_in_trailers() {
    run(async {
        let app = Origin::raw(async |mut wire| {
            let head = wire.head().await;
            assert!(head.contains("transfer-encoding: chunked"), "{head}");
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
            .header("trailer", "x-sum, ngrnotok-tunnel");
        let request = request.body(body).unwrap();
        let upload = async {
            sent.send_data("body".into()).await.unwrap();
            let mut trailers = http::HeaderMap::new();
            trailers.insert("x-sum", "42".parse().unwrap());
            trailers.insert("ngrnotok-tunnel", "7".parse().unwrap());
            sent.send_trailers(trailers).await.unwrap();
            drop(sent);
        };
        let (answer, ()) = tokio::join!(visitor.send(request), upload);
        assert!(
            answer.text().starts_with("4\r\nbody\r\n0\r\n"),
            "{}",
            answer.text()
        );
        assert!(!answer.text().contains("ngrnotok"), "{}", answer.text());
    });
}
