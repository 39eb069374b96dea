//! A request reaches the tunnel that it names, and no other.

use http::Request;
use ngrnotok::client::ClientError;
use ngrnotok_server::edge::HttpMode;
use ngrnotok_tests::body::empty;
use ngrnotok_tests::origin::Origin;
use ngrnotok_tests::run;
use ngrnotok_tests::visitor::Via;
use ngrnotok_tests::world::{RunningClient, World};

/// A server with the tunnels `one` and `two`, of two clients, each saying its name.
async fn two() -> World {
    let (one, two) = (Origin::saying("one").await, Origin::saying("two").await);
    World::plan()
        .client("one", &one)
        .client("two", &two)
        .start()
        .await
}

#[test]
fn a_name_that_nobody_serves_is_not_found() {
    run(async {
        let world = two().await;
        for via in Via::ALL {
            let visitor = world.visitor(via, "three").await;
            let answer = visitor.get("/").await;
            assert_eq!(answer.problem(), "404 tunnel_not_found", "{via:?}");
        }
    });
}

#[test]
fn only_a_single_label_under_the_domain_is_a_name() {
    run(async {
        let world = two().await;
        for via in [Via::PlainHttp1, Via::PlainHttp2] {
            let visitor = world.visitor(via, "one").await;
            for host in [
                "tunnel.test",
                "a.one.tunnel.test",
                "onetunnel.test",
                "one.tunnel.test.example.org",
                "127.0.0.1",
                "localhost",
                "[::1]:80",
            ] {
                let answer = visitor.clone().asking_for(host).get("/").await;
                assert_eq!(answer.problem(), "400 foreign_host", "{via:?} {host}");
            }
        }
    });
}

#[test]
fn the_names_of_two_clients_do_not_mix() {
    run(async {
        let world = two().await;
        for via in Via::ALL {
            for name in ["one", "two", "one"] {
                let visitor = world.visitor(via, name).await;
                assert_eq!(visitor.get("/").await.text(), name, "{via:?}");
            }
        }
    });
}

#[test]
fn the_tunnels_of_one_client_do_not_mix() {
    run(async {
        let (one, two) = (Origin::saying("one").await, Origin::saying("two").await);
        let world = World::plan().start().await;
        let mut config = world.client("one", one.target());
        config
            .tunnels
            .push(ngrnotok_tests::world::tunnel("two", two.target()));
        let client = RunningClient::start(config).await.unwrap();
        assert_eq!(client.status.borrow().online.len(), 2);
        for name in ["two", "one"] {
            let visitor = world.visitor(Via::Http2, name).await;
            assert_eq!(visitor.get("/").await.text(), name);
        }
    });
}

#[test]
fn one_plain_connection_reaches_every_name() {
    run(async {
        let world = two().await;
        for via in [Via::PlainHttp1, Via::PlainHttp2] {
            let visitor = world.visitor(via, "one").await;
            for name in ["one", "two", "one", "two"] {
                let host = world.authority(via, name);
                let answer = visitor.clone().asking_for(&host).get("/").await;
                assert_eq!(answer.text(), name, "{via:?}");
            }
        }
    });
}

#[test]
fn tls_for_one_name_is_not_for_another() {
    run(async {
        let world = two().await;
        for via in [Via::Http1, Via::Http2] {
            let visitor = world.visitor(via, "one").await;
            let other = visitor.clone().asking_for("two.tunnel.test").get("/").await;
            assert_eq!(other.problem(), "421 misdirected", "{via:?}");
            assert_eq!(visitor.get("/").await.text(), "one");
        }
    });
}

#[test]
fn a_taken_name_is_refused_and_its_holder_goes_on() {
    run(async {
        let world = two().await;
        let thief = Origin::saying("thief").await;
        let refused = RunningClient::start(world.client("one", thief.target())).await;
        let refused = refused.unwrap_err();
        assert!(matches!(refused, ClientError::NameTaken(_)), "{refused}");
        assert!(refused.to_string().contains("--name"), "{refused}");
        assert_eq!(
            world.visitor(Via::Http1, "one").await.get("/").await.text(),
            "one"
        );
    });
}

#[test]
fn a_name_is_free_when_its_client_has_left() {
    run(async {
        let mut world = two().await;
        let heir = Origin::saying("heir").await;
        for _ in 0..5 {
            world.clients.remove(0).leave().await;
            let heir = world.join("one", &heir).await;
            world.clients.insert(0, heir);
            let visitor = world.visitor(Via::Http2, "one").await;
            assert_eq!(visitor.get("/").await.text(), "heir");
        }
    });
}

#[test]
fn an_open_proxy_is_not_to_be_had() {
    run(async {
        let world = two().await;
        let mut wire = world.wire(Via::PlainHttp1, "one").await;
        wire.say("CONNECT one.tunnel.test:443 HTTP/1.1\r\nHost: one.tunnel.test:443\r\n\r\n")
            .await;
        let refused = wire.answer().await;
        assert_eq!(refused.problem(), "405 connect_refused");

        let visitor = world.visitor(Via::PlainHttp2, "one").await;
        let connect = Request::connect("one.tunnel.test:443").body(empty());
        let refused = visitor.send(connect.unwrap()).await;
        assert_eq!(refused.problem(), "405 connect_refused");
    });
}

#[test]
fn a_request_names_exactly_one_host() {
    run(async {
        let world = two().await;
        for head in [
            "GET / HTTP/1.1\r\n",
            "GET / HTTP/1.1\r\nHost:\r\n",
            "GET / HTTP/1.1\r\nHost: one.tunnel.test\r\nHost: one.tunnel.test\r\n",
            "GET / HTTP/1.1\r\nHost: one.tunnel.test\r\nHost: two.tunnel.test\r\n",
            "GET / HTTP/1.1\r\nHost: one.tunnel.test, two.tunnel.test\r\n",
            "GET / HTTP/1.1\r\nHost: user@one.tunnel.test\r\n",
            "GET / HTTP/1.1\r\nHost: one.tunnel.test/path\r\n",
            "GET / HTTP/1.1\r\nHost: one.tunnel.test:80:80\r\n",
            "GET / HTTP/1.1\r\nHost: one.tunnel.test:99999\r\n",
            "GET / HTTP/1.1\r\nHost: one..tunnel.test\r\n",
            "GET / HTTP/1.1\r\nHost: one.tunnel.t\u{e4}st\r\n",
            "GET http://two.tunnel.test/ HTTP/1.1\r\nHost: one.tunnel.test\r\n",
            "GET http://one.tunnel.test/ HTTP/1.1\r\n",
        ] {
            let mut wire = world.wire(Via::PlainHttp1, "one").await;
            wire.say(format!("{head}\r\n")).await;
            assert_eq!(wire.answer().await.problem(), "400 bad_host", "{head}");
        }
    });
}

#[test]
fn a_target_in_absolute_form_may_agree_with_the_host() {
    run(async {
        let app = Origin::mirror().await;
        let world = World::of(&app).await;
        let mut wire = world.wire(Via::PlainHttp1, "app").await;
        wire.say("GET http://app.tunnel.test/a?b HTTP/1.1\r\nHost: app.tunnel.test\r\n\r\n")
            .await;
        let arrived = wire.answer().await.text().to_owned();
        assert!(arrived.starts_with("GET /a?b\n"), "{arrived}");
        assert!(arrived.contains("\nhost: app.tunnel.test\n"), "{arrived}");
    });
}

#[test]
fn plain_http_can_lead_to_https() {
    run(async {
        let plan = World::plan().server(|config| config.http_mode = HttpMode::Redirect);
        let world = plan
            .client("one", &Origin::saying("one").await)
            .start()
            .await;
        let port = world.addresses().https[0].port();
        for via in [Via::PlainHttp1, Via::PlainHttp2] {
            let visitor = world.visitor(via, "one").await;
            let answer = visitor.get("//a/../b?c=%20").await;
            assert_eq!(answer.status, 308, "{via:?}");
            let there = format!("https://one.tunnel.test:{port}//a/../b?c=%20");
            assert_eq!(answer.field("location"), there);

            let stranger = visitor.asking_for("evil.example").get("/").await;
            assert_eq!(stranger.problem(), "400 foreign_host", "{via:?}");
            assert_eq!(stranger.field("location"), "");
        }
    });
}
