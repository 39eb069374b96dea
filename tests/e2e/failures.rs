//! Whatever the local app does wrong, the visitor is told the truth and the link goes on.

use ngrnotok::client::Config;
use ngrnotok::requests::Happening;
use ngrnotok_tests::body::empty;
use ngrnotok_tests::origin::Origin;
use ngrnotok_tests::visitor::Via;
use ngrnotok_tests::world::{RunningClient, World};
use ngrnotok_tests::{run, soon};

#[test]
fn a_port_that_nobody_listens_on_is_a_502_that_says_so() {
    run(async {
        let world = World::of(&Origin::refusing()).await;
        for via in Via::ALL {
            let answer = world.visit(via).await.get("/").await;
            assert_eq!(answer.problem(), "502 local_refused", "{via:?}");
            assert_eq!(answer.json()["status"], 502);
            let status = answer.field("proxy-status");
            assert!(
                status.starts_with("ngrnotok; error=connection_refused"),
                "{status}"
            );
            assert_eq!(answer.field("cache-control"), "no-store");
        }
    });
}

#[test]
fn browsers_get_a_page_and_nothing_of_their_request_is_in_it() {
    run(async {
        let world = World::of(&Origin::refusing()).await;
        for via in Via::ALL {
            let visitor = world.visit(via).await;
            let request = visitor.request("GET", "/%3Cscript%3Ereflected?q={script}");
            let request = request.header("accept", "text/html,*/*;q=0.8");
            let request = request.header("user-agent", "<script>reflected</script>");
            let page = visitor.send(request.body(empty()).unwrap()).await;
            assert_eq!(page.status, 502, "{via:?}");
            assert_eq!(page.field("content-type"), "text/html; charset=utf-8");
            assert!(page.text().contains("Nothing listens on the local port"));
            assert!(page.text().contains("sees the reason in the terminal"));
            assert!(!page.text().contains("script") && !page.text().contains("reflected"));
        }
        let mut wire = world.wire(Via::Http1, "app").await;
        wire.say("GET /<script> HTTP/1.1\r\nHost: app.tunnel.test\r\nAccept: text/html\r\n\r\n")
            .await;
        let answer = wire.answer().await;
        assert!(!answer.text().contains("script"), "{}", answer.text());
    });
}

/// Breaks in the way that the path says, or answers well.
async fn fragile() -> Origin {
    Origin::raw(async |mut wire| {
        let head = wire.head().await;
        let path = head.split(' ').nth(1).unwrap_or_default();
        wire.say(match path {
            "/closes" => "",
            "/garbage" => "220 smtp.example.org ESMTP\r\n\r\n",
            "/half-a-head" => "HTTP/1.1 200 OK\r\nContent-Le",
            "/cut-length" => "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this",
            "/cut-chunks" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nonly\r\n",
            _ => "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine",
        })
        .await;
    })
    .await
}

#[test]
fn an_app_that_gives_no_answer_is_named_and_the_link_goes_on() {
    run(async {
        let world = World::of(&fragile().await).await;
        let session = world.clients[0].session();
        for via in Via::ALL {
            for (path, problem) in [
                ("/closes", "502 local_closed"),
                ("/garbage", "502 local_bad_response"),
                ("/half-a-head", "502 local_closed"),
            ] {
                let visitor = world.visit(via).await;
                assert_eq!(visitor.get(path).await.problem(), problem, "{via:?} {path}");
                assert_eq!(visitor.get("/").await.text(), "fine");
            }
        }
        assert_eq!(world.clients[0].session(), session);
    });
}

#[test]
fn a_field_for_which_an_answer_is_refused_is_named() {
    run(async {
        let world = World::plan().start().await;
        for (fields, named) in [
            ("X Y: 1\r\n", r#"whose name is none: "X Y""#),
            (
                "X-A: a\0b\r\n",
                "the field X-A of its answer has the byte 0x00",
            ),
            (
                "Transfer-Encoding: gzip\r\n",
                "where its answer ends: transfer-encoding: gzip, content-length: 2",
            ),
        ] {
            let said = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\n\r\nok");
            let mut client = world.join("app", &Origin::writing(said).await).await;
            let answer = world.visit(Via::Http2).await.get("/").await;
            assert_eq!(answer.problem(), "502 local_bad_response");
            let seen = soon("the news of it", client.requests.next()).await;
            let Some(Happening::Request(seen)) = seen else {
                panic!("{seen:?}");
            };
            let (_, detail) = seen.trouble.expect("a trouble");
            assert!(detail.contains(named), "{detail}");
            client.leave().await;
        }
    });
}

#[test]
fn an_answer_that_breaks_off_never_looks_whole() {
    run(async {
        let world = World::of(&fragile().await).await;
        for via in Via::ALL {
            for path in ["/cut-length", "/cut-chunks"] {
                let visitor = world.visit(via).await;
                let request = visitor.request("GET", path).body(empty()).unwrap();
                let broken = visitor.try_send(request).await.unwrap_err();
                println!("{via:?} {path}: {broken:?}");
                assert!(!broken.is_timeout());
            }
            assert_eq!(world.visit(via).await.get("/").await.text(), "fine");
        }
    });
}

#[test]
fn one_broken_answer_spares_the_other_requests_of_an_http2_connection() {
    run(async {
        let world = World::of(&fragile().await).await;
        let visitor = world.visit(Via::Http2).await;
        for path in ["/cut-length", "/cut-chunks", "/cut-length"] {
            let request = visitor.request("GET", path).body(empty()).unwrap();
            visitor.try_send(request).await.unwrap_err();
            assert_eq!(visitor.get("/").await.text(), "fine");
        }
    });
}

#[test]
fn an_app_that_closes_after_each_answer_is_no_trouble() {
    run(async {
        // It does not announce it, so the connection looks as if it could be used again.
        let world = World::of(&fragile().await).await;
        for via in Via::ALL {
            let visitor = world.visit(via).await;
            for n in 0..50 {
                let answer = visitor.get("/").await;
                assert_eq!(answer.text(), "fine", "{via:?}, request {n}");
            }
        }
    });
}

/// Refuses hosts in the way that the path says.
async fn wary() -> Origin {
    Origin::raw(async |mut wire| {
        let head = wire.head().await;
        let path = head.split(' ').nth(1).unwrap_or_default();
        let host = "app.tunnel.test";
        wire.say(match path {
            _ if !head.contains(host) => "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine",
            "/_next/hmr?id=1" => "Unauthorized",
            "/_next/static/x.js" => {
                "HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n\
                 c\r\nUnauthorized\r\n0\r\n\r\n"
            }
            "/" => "HTTP/1.1 403 Forbidden\r\nContent-Length: 19\r\n\r\nInvalid Host header",
            _ => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        })
        .await;
    })
    .await
}

#[test]
fn a_dev_server_that_refuses_the_host_is_named_once_with_the_flag_that_helps() {
    run(async {
        let app = wary().await;
        for (path, server) in [
            ("/", "webpack-dev-server"),
            ("/_next/static/x.js", "Next.js"),
            ("/_next/hmr?id=1", "Next.js"),
        ] {
            let mut world = World::of(&app).await;
            let visitor = world.visit(Via::Http2).await;
            for path in ["/other", path, path, "/other"] {
                visitor.get(path).await;
            }
            let hint = format!(
                "{server} refuses visitors by the public host name; start ngrnotok with --dev, or put dev = true into the config file"
            );
            assert_eq!(hints(&mut world.clients[0], 4).await, [hint], "{path}");
        }
    });
}

#[test]
fn with_dev_there_is_nothing_to_refuse() {
    run(async {
        let app = wary().await;
        let world = World::plan().start().await;
        let mut config = world.client("app", app.target());
        config.tunnels[0].options.dev = true;
        let mut client = RunningClient::start(config).await.unwrap();
        let visitor = world.visit(Via::Http2).await;
        let paths = ["/", "/_next/static/x.js", "/_next/hmr?id=1", "/other"];
        for path in paths {
            assert_eq!(visitor.get(path).await.text(), "fine", "{path}");
        }
        assert!(hints(&mut client, paths.len()).await.is_empty());
    });
}

/// The hints that came with so many requests.
async fn hints(client: &mut RunningClient, requests: usize) -> Vec<String> {
    let mut hints = Vec::new();
    let mut seen = 0;
    while seen < requests {
        let next = soon("a request to be seen", client.requests.next()).await;
        match next.expect("the client lives") {
            Happening::Request(_) => seen += 1,
            Happening::Hint(hint) => hints.push(hint.explanation.to_string()),
        }
    }
    hints
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_refused_unless_told_otherwise() {
    run(async {
        let app = Origin::tls("behind TLS").await;
        let world = World::of(&app).await;
        let answer = world.visit(Via::Http2).await.get("/").await;
        assert_eq!(answer.problem(), "502 local_tls");

        let mut config: Config = world.client("trusting", app.target());
        config.tunnels[0].options.insecure = true;
        let _client = RunningClient::start(config).await.unwrap();
        let visitor = world.visitor(Via::Http2, "trusting").await;
        assert_eq!(visitor.get("/").await.text(), "behind TLS");
    });
}

#[test]
fn tls_to_an_app_without_it_is_named() {
    run(async {
        let app = Origin::saying("in clear").await;
        let world = World::plan().start().await;
        let https = app.target().to_string().replace("http://", "https://");
        let config = world.client("app", https.parse().unwrap());
        let _client = RunningClient::start(config).await.unwrap();
        let answer = world.visit(Via::Http1).await.get("/").await;
        assert_eq!(answer.problem(), "502 local_tls");
    });
}

#[test]
fn localhost_is_found_where_only_ipv6_listens() {
    run(async {
        let world = World::of(&Origin::on_ipv6("over ::1").await).await;
        let visitor = world.visit(Via::Http1).await;
        assert_eq!(visitor.get("/").await.text(), "over ::1");
        assert_eq!(visitor.get("/").await.text(), "over ::1");
    });
}

#[test]
fn an_app_on_a_unix_socket_is_reached_and_missed() {
    run(async {
        let world = World::of(&Origin::on_unix_socket("over a socket")).await;
        let visitor = world.visit(Via::Http1).await;
        assert_eq!(visitor.get("/").await.text(), "over a socket");

        let nobody = world.client("nobody", "unix:/nonexistent/app.sock".parse().unwrap());
        let _client = RunningClient::start(nobody).await.unwrap();
        let answer = world.visitor(Via::Http1, "nobody").await.get("/").await;
        assert_eq!(answer.problem(), "502 local_refused");
    });
}
