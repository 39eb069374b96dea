//! The link, spoken from its literal bytes, and what the server does with clients that misbehave.

use std::time::Duration;

use h2::Reason;
use ngrnotok_tests::body::{empty, full};
use ngrnotok_tests::origin::Origin;
use ngrnotok_tests::raw_link::{HELLO, REQUEST, RawClient, answer, ask, dial};
use ngrnotok_tests::tasks::Tasks;
use ngrnotok_tests::visitor::Via;
use ngrnotok_tests::world::World;
use ngrnotok_tests::{eventually, run, soon};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{mpsc, watch};

/// A server with a port of its own for links.
async fn server() -> World {
    let gate = |config: &mut ngrnotok_server::Config| {
        config.tunnel = vec![ngrnotok_tests::origin::any_port()];
    };
    World::plan().server(gate).start().await
}

#[test]
fn a_client_made_of_literal_bytes_serves_a_request() {
    run(async {
        for world in [server().await, World::plan().start().await] {
            let mut client = RawClient::open(&world).await;
            client.say(HELLO);
            let welcome = client.hear().await;
            assert_eq!(welcome["t"], "welcome");
            assert_eq!(welcome["account"], "anonymous");
            client.bind(7, "http", "app");
            let bound = client.hear().await;
            let url = format!("https://{}", world.authority(Via::Http1, "app"));
            assert_eq!(
                bound,
                serde_json::json!({"t": "bound", "id": 7, "url": url})
            );

            let visitor = world.visit(Via::Http1).await;
            let request = visitor.request("POST", "/a//b?c").header("cookie", "d=e");
            let request = request.body(full("hello")).unwrap();
            let serve = async {
                let (request, respond) = client.request().await;
                assert_eq!(request.method(), "POST");
                assert_eq!(request.uri().to_string(), format!("{url}/a//b?c"));
                assert_eq!(request.headers()["ngrnotok-tunnel"], "7");
                assert_eq!(request.headers()["cookie"], "d=e");
                let mut body = request.into_body();
                assert_eq!(body.data().await.unwrap().unwrap(), "hello");
                answer(respond, "from the raw one");
            };
            let (answer, ()) = tokio::join!(visitor.send(request), serve);
            assert_eq!(answer.text(), "from the raw one");
        }
    });
}

#[test]
fn another_version_is_told_to_upgrade() {
    run(async {
        let world = server().await;
        for version in ["Ngrnotok-Version: 2", "Ngrnotok-Version: 0", "X-None: 1"] {
            let request = REQUEST.replace("Ngrnotok-Version: 1", version);
            let (refused, _) = ask(&world, &request).await;
            assert_eq!(refused.problem(), "426 version", "{version}");
            assert_eq!(refused.field("upgrade"), "ptth");
        }
    });
}

#[test]
fn what_is_no_request_for_a_link_gets_none() {
    run(async {
        let world = server().await;
        for (part, other, problem) in [
            ("/link", "/links", "404 not_a_link"),
            ("GET", "POST", "400 not_a_link"),
            ("HTTP/1.1", "HTTP/1.0", "400 not_a_link"),
            ("Upgrade: ptth", "Upgrade: websocket", "400 not_a_link"),
            ("Upgrade: ptth\r\n", "", "400 not_a_link"),
        ] {
            let (refused, _) = ask(&world, &REQUEST.replacen(part, other, 1)).await;
            assert_eq!(refused.problem(), problem, "{other}");
        }
    });
}

#[test]
fn the_gate_speaks_no_other_protocol() {
    run(async {
        let world = server().await;
        for alpn in [b"h2".as_slice(), b"http/1.1", b"ngrnotok/2"] {
            let refused = dial(&world, alpn).await.unwrap_err().to_string();
            assert!(refused.contains("NoApplicationProtocol"), "{refused}");
        }
        dial(&world, b"ngrnotok/1").await.unwrap();
    });
}

#[test]
fn words_of_tomorrow_are_ignored() {
    run(async {
        let world = server().await;
        let mut client = RawClient::open(&world).await;
        client.say(r#"{"t":"hello","version":"9","os":"raw","mood":["good"]}"#);
        client.say(r#"{"t":"sing","key":"d"}"#);
        client.say("");
        client.say(r#"{"t":"bind","id":1,"kind":"http","name":"app","colour":"red"}"#);
        assert_eq!(client.hear().await["t"], "welcome");
        assert_eq!(client.hear().await["t"], "bound");
    });
}

#[test]
fn a_second_hello_changes_nothing() {
    run(async {
        let world = server().await;
        let mut client = RawClient::bound(&world, "app").await;
        client.say(HELLO);
        client.bind(2, "http", "other");
        assert_eq!(client.hear().await["id"], 2);
        assert_eq!(world.names(), 2);
    });
}

#[test]
fn a_bind_that_cannot_be_is_refused_by_its_code() {
    run(async {
        let world = server().await;
        let _holder = RawClient::bound(&world, "taken").await;
        let mut client = RawClient::bound(&world, "app").await;
        for (kind, name, code) in [
            ("http", "Bad_Name", "name_invalid"),
            ("http", "", "name_invalid"),
            ("http", "a..b", "name_invalid"),
            ("http", "a.b", "domain_unverified"),
            ("http", "www", "name_forbidden"),
            ("http", "taken", "name_taken"),
            ("http", "app", "name_taken"),
            ("carrier-pigeon", "free", "kind_unsupported"),
        ] {
            client.bind(5, kind, name);
            let refused = client.hear().await;
            assert_eq!(
                (&refused["t"], &refused["id"]),
                (&"refused".into(), &5.into())
            );
            assert_eq!(refused["code"], code, "{kind} {name}");
        }
        client.bind(6, "http", "free");
        assert_eq!(client.hear().await["t"], "bound");
    });
}

#[test]
fn an_id_that_is_bound_is_not_bound_again() {
    run(async {
        let world = server().await;
        let mut other = RawClient::bound(&world, "other").await;
        let mut client = RawClient::bound(&world, "app").await;
        client.bind(1, "http", "second");
        soon("the link to end", client.link_ended()).await;
        assert_eq!(world.names(), 1, "both names are free again");
        // One that was refused may come again, and one that was given back.
        other.bind(2, "http", "www");
        assert_eq!(other.hear().await["t"], "refused");
        other.bind(2, "http", "app");
        assert_eq!(other.hear().await["t"], "bound");
        other.say(r#"{"t":"unbind","id":2}"#);
        other.bind(2, "http", "second");
        assert_eq!(other.hear().await["t"], "bound");
    });
}

#[test]
fn bytes_behind_the_request_for_a_link_end_the_connection() {
    run(async {
        let world = server().await;
        let mut stream = dial(&world, b"ngrnotok/1").await.unwrap();
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        let early = [REQUEST.as_bytes(), &settings].concat();
        stream.write_all(&early).await.unwrap();
        let mut heard = Vec::new();
        // With or without a goodbye of TLS.
        let _ = soon("the end", stream.read_to_end(&mut heard)).await;
        let heard = String::from_utf8_lossy(&heard);
        assert!(heard.ends_with("\r\n\r\n"), "{heard}");
    });
}

#[test]
fn a_client_that_asks_is_told_for_how_long_requests_were_held() {
    run(async {
        let world = server().await;
        for (hello, is_told) in [
            (
                r#"{"t":"hello","version":"1","os":"raw","times":true}"#,
                true,
            ),
            (HELLO, false),
        ] {
            let mut client = RawClient::open(&world).await;
            client.say(hello);
            client.bind(1, "http", "app");
            assert_eq!(client.hear().await["t"], "welcome");
            assert_eq!(client.hear().await["t"], "bound");
            let visitor = world.visit(Via::Http1).await;
            let serve = async {
                let (request, respond) = client.request().await;
                let held = request.headers().get("ngrnotok-held");
                let held = held.map(|held| held.to_str().unwrap().parse::<u64>().unwrap());
                assert_eq!(held.is_some(), is_told);
                answer(respond, "served");
            };
            let (answer, ()) = tokio::join!(visitor.get("/"), serve);
            assert_eq!(answer.text(), "served");
            client.say(r#"{"t":"bye"}"#);
            eventually("the name to be free", async || world.names() == 0).await;
        }
    });
}

#[test]
fn a_line_in_frames_of_one_byte_is_a_line_and_one_that_is_too_long_is_none() {
    run(async {
        let world = server().await;
        let mut client = RawClient::open(&world).await;
        let line = |length: usize| {
            let head = r#"{"t":"bind","id":1,"kind":"http","name":"app","pad":""#;
            let pad = "x".repeat(length - head.len() - 3);
            format!("{head}{pad}\"}}\n")
        };
        client.say(HELLO);
        assert_eq!(client.hear().await["t"], "welcome");
        client.say_in_pieces(&line(4096), 1);
        assert_eq!(client.hear().await["t"], "bound");
        client.say(r#"{"t":"unbind","id":1}"#);
        client.say_in_pieces(&line(65_536), 16_384);
        assert_eq!(client.hear().await["t"], "bound");
        client.say_in_pieces(&line(65_537), 16_384);
        soon("the link to end", client.link_ended()).await;
    });
}

#[test]
fn a_client_that_announces_no_limit_of_streams_has_that_of_a_link() {
    run(async {
        let world = server().await;
        let mut client = RawClient::bound(&world, "app").await;
        let (tell, mut told) = mpsc::channel(512);
        let (asking, mut held) = (Tasks::default(), Vec::new());
        for _ in 0..4 {
            let visitor = world.visit(Via::Http2).await;
            for _ in 0..128 {
                let (visitor, tell) = (visitor.clone(), tell.clone());
                asking.spawn(async move {
                    let _ = tell.send(visitor.get("/").await.problem()).await;
                });
                // A quarter of 2047, for one visitor's address.
                if held.len() < 511 {
                    held.push(client.request().await);
                }
            }
        }
        let refused = soon("one of 512 to be refused", told.recv()).await;
        assert_eq!(refused.unwrap(), "503 over_limit");
        assert!(told.try_recv().is_err());
    });
}

#[test]
fn a_refusal_is_short_whatever_was_asked_for() {
    run(async {
        let world = server().await;
        let mut client = RawClient::bound(&world, "app").await;
        let escapes = "\\u001b".repeat(10_000);
        for (kind, name) in [(&*escapes, "free"), ("http", &*escapes)] {
            client.bind(2, kind, name);
            let refused = client.hear().await;
            assert_eq!(refused["t"], "refused");
            let message = refused["message"].as_str().unwrap();
            assert!(
                message.len() < 300 && !message.contains('\u{1b}'),
                "{message}"
            );
        }
    });
}

#[test]
fn a_session_has_at_most_64_tunnels() {
    run(async {
        let world = server().await;
        let mut client = RawClient::bound(&world, "first").await;
        for id in 2..=64 {
            client.bind(id, "http", &format!("tunnel-{id}"));
            assert_eq!(client.hear().await["t"], "bound");
        }
        client.bind(65, "http", "one-too-many");
        assert_eq!(client.hear().await["code"], "over_limit");
    });
}

#[test]
fn a_broken_control_stream_ends_its_own_session_only() {
    run(async {
        let world = server().await;
        let mut other = RawClient::bound(&world, "app").await;
        for odd in [&"x".repeat(65 * 1024), "not JSON", "[]", r#"{"t":"bind"}"#] {
            let mut client = RawClient::bound(&world, "odd").await;
            client.say(odd);
            soon("the link to end", client.link_ended()).await;
            assert_eq!(world.names(), 1, "the name is free again");
        }
        let visitor = world.visit(Via::Http2).await;
        let serve = async {
            let (_, respond) = other.request().await;
            answer(respond, "still here");
        };
        let (answer, ()) = tokio::join!(visitor.get("/"), serve);
        assert_eq!(answer.text(), "still here");
    });
}

#[test]
fn after_bye_the_names_are_free_and_open_requests_finish() {
    run(async {
        let world = server().await;
        let mut client = RawClient::bound(&world, "app").await;
        let visitor = world.visit(Via::Http2).await;
        let leave = async {
            let (_, respond) = client.request().await;
            client.say(r#"{"t":"bye"}"#);
            soon("the end of the control stream", client.control_ended()).await;
            assert_eq!(world.names(), 0);
            answer(respond, "the last one");
        };
        let (answer, ()) = tokio::join!(visitor.get("/"), leave);
        assert_eq!(answer.text(), "the last one");
        assert_eq!(visitor.get("/").await.problem(), "404 tunnel_not_found");
    });
}

#[test]
fn a_client_that_resets_every_stream_hurts_nobody_else() {
    run(async {
        let world = server().await;
        let quick = Origin::saying("quick").await;
        let _quick = world.join("quick", &quick).await;
        let mut client = RawClient::bound(&world, "app").await;
        for via in Via::ALL {
            let visitor = world.visit(via).await;
            for reason in [
                Reason::NO_ERROR,
                Reason::PROTOCOL_ERROR,
                Reason::INTERNAL_ERROR,
                Reason::FLOW_CONTROL_ERROR,
                Reason::STREAM_CLOSED,
                Reason::REFUSED_STREAM, // nor is there another link to try
                Reason::CANCEL,
                Reason::ENHANCE_YOUR_CALM,
                Reason::HTTP_1_1_REQUIRED,
                Reason::from(0xdead),
            ] {
                let reset = async {
                    let (_, mut respond) = client.request().await;
                    respond.send_reset(reason);
                };
                let (answer, ()) = tokio::join!(visitor.get("/"), reset);
                assert_eq!(answer.problem(), "502 link_lost", "{via:?} {reason}");
            }
            let quick = world.visitor(via, "quick").await;
            assert_eq!(quick.get("/").await.text(), "quick");
        }
    });
}

#[test]
fn a_link_that_breaks_loses_its_requests_and_after_the_grace_its_names() {
    run(async {
        let plan = World::plan().server(|config| {
            config.grace = Duration::from_millis(300);
            config.offline_wait = Duration::from_millis(100);
        });
        let world = plan.start().await;
        let mut client = RawClient::bound(&world, "app").await;
        let visitor = world.visit(Via::Http2).await;
        let post = visitor.request("POST", "/").body(full("once")).unwrap();
        let hang_up = async {
            let _requests = (client.request().await, client.request().await);
            drop(client);
        };
        let (posted, got, ()) = tokio::join!(visitor.send(post), visitor.get("/"), hang_up);
        assert_eq!(posted.problem(), "502 link_lost");
        assert_eq!(got.problem(), "503 client_offline");
        eventually("the name to be free", async || world.names() == 0).await;
        assert_eq!(visitor.get("/").await.problem(), "404 tunnel_not_found");
    });
}

#[test]
fn bursts_of_cancelled_requests_do_not_end_the_link() {
    run(async {
        let (asked, mut count) = watch::channel(0_usize);
        let app = Origin::http(move |request| {
            let asked = asked.clone();
            async move {
                if request.uri() != "/slow" {
                    return http::Response::new(full("quick"));
                }
                asked.send_modify(|asked| *asked += 1);
                std::future::pending().await
            }
        });
        let world = World::of(&app.await).await;
        let session = world.clients[0].session();
        for burst in 1..=12 {
            let visitor = world.visit(Via::Http2).await;
            let waiting = Tasks::default();
            for _ in 0..100 {
                let visitor = visitor.clone();
                waiting.spawn(async move {
                    let request = visitor.request("GET", "/slow").body(empty()).unwrap();
                    drop(visitor.open(request).await);
                });
            }
            let all = count.wait_for(|asked| *asked == burst * 100);
            drop(soon("a burst to reach the app", all).await.unwrap());
            drop(waiting);
            assert_eq!(
                visitor.get("/").await.text(),
                "quick",
                "after burst {burst}"
            );
        }
        assert_eq!(world.clients[0].session(), session);
    });
}
