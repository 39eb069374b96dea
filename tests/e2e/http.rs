//! What a request and its answer are made of arrives as it was sent, in every version of HTTP.

use http::Response;
use http_body_util::BodyExt;
use ngrnotok::requests::{Happening, Seen};
use ngrnotok_tests::body::{empty, full, pieces};
use ngrnotok_tests::origin::{Origin, values};
use ngrnotok_tests::visitor::{Answer, Via};
use ngrnotok_tests::world::World;
use ngrnotok_tests::{run, soon};

#[test]
fn an_answer_arrives_with_just_what_the_app_said() {
    run(async {
        let app = Origin::writing(
            "HTTP/1.1 418 I'm a teapot\r\nX-Tea: green\r\nContent-Length: 15\r\n\r\nshort and stout",
        );
        let world = World::of(&app.await).await;
        for via in Via::ALL {
            let answer = world.visit(via).await.get("/pot").await;
            assert_eq!(answer.status, 418, "{via:?}");
            assert_eq!(answer.text(), "short and stout");
            assert_eq!(answer.field("x-tea"), "green");
            assert_eq!(answer.field("content-length"), "15");
            assert_eq!(answer.headers.len(), 2, "{:?}", answer.headers);
        }
    });
}

#[test]
fn a_posted_body_reaches_the_app() {
    run(async {
        let app = Origin::http(async |request| {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            Response::new(full([b"got ", body.as_ref()].concat()))
        });
        let world = World::of(&app.await).await;
        for via in Via::ALL {
            let visitor = world.visit(via).await;
            let request = visitor.request("POST", "/form").body(full("a=1&b=2"));
            let answer = visitor.send(request.unwrap()).await;
            assert_eq!(answer.text(), "got a=1&b=2", "{via:?}");
        }
    });
}

#[test]
fn the_answer_to_head_has_a_length_and_no_body() {
    run(async {
        let app = Origin::saying("twelve bytes").await;
        let world = World::of(&app).await;
        for via in Via::ALL {
            let visitor = world.visit(via).await;
            let head = visitor.request("HEAD", "/").body(empty()).unwrap();
            let answer = visitor.send(head).await;
            assert_eq!(answer.status, 200, "{via:?}");
            assert_eq!(answer.field("content-length"), "12");
            assert_eq!(answer.text(), "");
            assert_eq!(visitor.get("/").await.text(), "twelve bytes");
        }
    });
}

#[test]
fn no_content_and_not_modified_have_no_body() {
    run(async {
        let app = Origin::raw(async |mut wire| {
            while let Some(head) = wire.next_head().await {
                let answer = match head.starts_with("GET /empty") {
                    true => "HTTP/1.1 204 No Content\r\n\r\n",
                    false => "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
                };
                wire.say(answer).await;
            }
        });
        let world = World::of(&app.await).await;
        for via in Via::ALL {
            let visitor = world.visit(via).await;
            for (path, status) in [("/empty", 204), ("/same", 304)] {
                let answer = visitor.get(path).await;
                assert_eq!(
                    (answer.status.as_u16(), answer.text()),
                    (status, ""),
                    "{via:?}"
                );
            }
        }
    });
}

#[test]
fn a_path_travels_as_it_was_written() {
    run(async {
        let world = World::of(&Origin::mirror().await).await;
        for via in Via::ALL {
            let visitor = world.visit(via).await;
            for path in [
                "//two//slashes",
                "/a/../b/./c",
                "/%2e%2E/%2f%C3%A9",
                "/a;b=c,d/e:f@g",
                "/q?a=%20&b=+&c=?/..//",
                "/?",
                "/a|b^c{d}",
            ] {
                let arrived = visitor.get(path).await;
                let line = arrived.text().lines().next();
                assert_eq!(line, Some(format!("GET {path}").as_str()), "{via:?}");
            }
        }
    });
}

#[test]
fn a_question_about_the_whole_server_reaches_the_app() {
    run(async {
        let world = World::of(&Origin::mirror().await).await;
        let mut wire = world.wire(Via::Http1, "app").await;
        wire.say("OPTIONS * HTTP/1.1\r\nHost: app.tunnel.test\r\n\r\n")
            .await;
        let answer = wire.answer().await;
        assert!(
            answer.text().starts_with("OPTIONS *\n"),
            "{}",
            answer.text()
        );
    });
}

#[test]
fn fields_of_the_visitors_connection_stay_there() {
    run(async {
        let world = World::of(&Origin::mirror().await).await;
        let mut wire = world.wire(Via::PlainHttp1, "app").await;
        wire.say(
            "GET / HTTP/1.1\r\nHost: app.tunnel.test\r\nX-Kept: 1\r\n\
             Connection: keep-alive, X-Mine\r\nX-Mine: 2\r\nKeep-Alive: timeout=5\r\n\
             Proxy-Connection: keep-alive\r\nTE: gzip\r\nUpgrade: h2c\r\n\r\n",
        )
        .await;
        let arrived = wire.answer().await.text().to_owned();
        assert!(arrived.contains("x-kept: 1\n"), "{arrived}");
        for field in [
            "connection",
            "x-mine",
            "keep-alive",
            "proxy-conn",
            "te:",
            "upgrade",
        ] {
            assert!(
                !arrived.contains(&format!("\n{field}")),
                "{field} in {arrived}"
            );
        }
    });
}

#[test]
fn fields_of_the_apps_connection_stay_there() {
    run(async {
        let app = Origin::writing(
            "HTTP/1.1 200 OK\r\nX-Kept: 1\r\nConnection: close, X-Mine\r\nX-Mine: 2\r\n\
             Keep-Alive: timeout=5\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nok",
        );
        let world = World::of(&app.await).await;
        for via in Via::ALL {
            let visitor = world.visit(via).await;
            let answer = visitor.get("/").await;
            assert_eq!(answer.field("x-kept"), "1", "{via:?}");
            for field in ["connection", "x-mine", "keep-alive", "upgrade"] {
                assert_eq!(answer.field(field), "", "{via:?}");
            }
            // The app's wish to close was about its own connection.
            assert_eq!(visitor.get("/again").await.status, 200);
        }
    });
}

#[test]
fn a_repeated_field_stays_repeated_and_in_order() {
    run(async {
        let app = Origin::http(async |request| {
            assert_eq!(values(request.headers(), "x-many"), ["1", "2", "1"]);
            let answer = Response::builder().header("set-cookie", "a=1; Path=/");
            answer.header("set-cookie", "b=2").body(empty()).unwrap()
        });
        let world = World::of(&app.await).await;
        for via in Via::ALL {
            let visitor = world.visit(via).await;
            let request = visitor.request("GET", "/").header("x-many", "1");
            let request = request.header("x-many", "2").header("x-many", "1");
            let answer = visitor.send(request.body(empty()).unwrap()).await;
            let cookies = values(&answer.headers, "set-cookie");
            assert_eq!(cookies, ["a=1; Path=/", "b=2"], "{via:?}");
        }
    });
}

#[test]
fn the_host_arrives_as_the_visitor_wrote_it() {
    run(async {
        let world = World::of(&Origin::mirror().await).await;
        for via in Via::ALL {
            let visitor = world.visit(via).await;
            for written in [
                "app.tunnel.test",
                "App.Tunnel.TEST:4711",
                "app.tunnel.test.",
            ] {
                let arrived = visitor.clone().asking_for(written).get("/").await;
                let hosts = arrived.text().matches("\nhost: ").count();
                assert_eq!(hosts, 1, "{via:?}");
                let line = format!("\nhost: {written}\n");
                assert!(arrived.text().contains(&line), "{via:?} {}", arrived.text());
            }
        }
    });
}

#[test]
fn cookie_crumbs_of_http2_are_joined() {
    run(async {
        let world = World::of(&Origin::mirror().await).await;
        for via in [Via::Http2, Via::PlainHttp2] {
            let visitor = world.visit(via).await;
            let request = visitor.request("GET", "/").header("cookie", "a=1");
            let request = request.header("cookie", "b=2").body(empty()).unwrap();
            let arrived = visitor.send(request).await;
            assert!(arrived.text().contains("\ncookie: a=1; b=2\n"), "{via:?}");
        }
    });
}

#[test]
fn an_answer_that_ends_with_its_connection_is_whole() {
    run(async {
        let app = Origin::writing("HTTP/1.1 200 OK\r\n\r\nno length, no chunks").await;
        let world = World::of(&app).await;
        for via in Via::ALL {
            let answer = world.visit(via).await.get("/").await;
            assert_eq!(answer.text(), "no length, no chunks", "{via:?}");
        }
    });
}

#[test]
fn a_visitor_of_http_1_0_gets_no_chunks() {
    run(async {
        let app = Origin::writing(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n",
        );
        let world = World::of(&app.await).await;
        let mut wire = world.wire(Via::PlainHttp1, "app").await;
        wire.say("GET / HTTP/1.0\r\nHost: app.tunnel.test\r\n\r\n")
            .await;
        let head = wire.head().await;
        assert!(head.starts_with("HTTP/1.0 200 OK\r\n"), "{head}");
        assert_eq!(wire.rest().await, "abcdef");
    });
}

#[test]
fn who_waits_for_100_continue_is_told_to_go_on() {
    run(async {
        let app = Origin::http(async |request| {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            Response::new(full(body))
        });
        let world = World::of(&app.await).await;
        let mut wire = world.wire(Via::Http1, "app").await;
        wire.say(
            "POST / HTTP/1.1\r\nHost: app.tunnel.test\r\nContent-Length: 4\r\n\
             Expect: 100-continue\r\n\r\n",
        )
        .await;
        assert!(wire.head().await.starts_with("HTTP/1.1 100 "));
        wire.say("body").await;
        assert_eq!(wire.answer().await.text(), "body");
    });
}

#[test]
fn names_of_fields_are_written_as_small_devices_know_them() {
    run(async {
        let app = Origin::raw(async |mut wire| {
            let head = wire.head().await;
            let length = head.len();
            wire.say(format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nx-own: 1\r\n\r\n{head}"
            ))
            .await;
        });
        let world = World::of(&app.await).await;
        for via in Via::ALL {
            let visitor = world.visit(via).await;
            let request = visitor.request("GET", "/").header("x-own", "1");
            let head = visitor.send(request.body(empty()).unwrap()).await;
            for line in [
                "\r\nHost: app.",
                "\r\nX-Own: 1\r\n",
                "\r\nX-Forwarded-For: ",
            ] {
                assert!(head.text().contains(line), "{via:?} {}", head.text());
            }
        }
        let mut wire = world.wire(Via::PlainHttp1, "app").await;
        wire.say("GET / HTTP/1.1\r\nhost: app.tunnel.test\r\n\r\n")
            .await;
        let head = wire.head().await;
        for line in ["\r\nContent-Length: ", "\r\nX-Own: 1\r\n"] {
            assert!(head.contains(line), "{head}");
        }

        let switching = Origin::raw(async |mut wire| {
            wire.head().await;
            wire.say(
                "HTTP/1.1 101 Yes\r\nconnection: upgrade\r\nupgrade: chat\r\nx-own: 1\r\n\r\n",
            )
            .await;
            while wire.next().await.is_some() {}
        });
        let _client = world.join("switching", &switching.await).await;
        let mut wire = world.wire(Via::PlainHttp1, "switching").await;
        wire.say(
            "GET / HTTP/1.1\r\nHost: switching.tunnel.test\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n",
        )
        .await;
        let head = wire.head().await;
        for line in [
            "\r\nConnection: ",
            "\r\nUpgrade: chat\r\n",
            "\r\nX-Own: 1\r\n",
        ] {
            assert!(head.contains(line), "{head}");
        }
    });
}

#[test]
fn a_thousand_fields_pass_both_ways() {
    run(async {
        let app = Origin::raw(async |mut wire| {
            let asked = wire.head().await;
            let own = asked.lines().filter(|line| line.starts_with("X-N"));
            let cookies = "Set-Cookie: a=; Max-Age=0\r\n".repeat(999);
            let count = own.count();
            wire.say(format!(
                "HTTP/1.1 200 OK\r\n{cookies}Content-Length: 3\r\n\r\n{count:3}"
            ))
            .await;
        });
        let world = World::of(&app.await).await;
        for via in [Via::Http1, Via::PlainHttp1] {
            let mut wire = world.wire(via, "app").await;
            let own: String = (0..999).map(|n| format!("x-n{n}: {n}\r\n")).collect();
            wire.say(format!(
                "GET / HTTP/1.1\r\nHost: app.tunnel.test\r\n{own}\r\n"
            ))
            .await;
            let answer = wire.answer().await;
            assert_eq!(answer.text(), "999", "{via:?}");
            assert_eq!(values(&answer.headers, "set-cookie").len(), 999);
        }
        for via in [Via::Http2, Via::PlainHttp2] {
            let visitor = world.visit(via).await;
            let request = visitor.request("GET", "/");
            let request = (0..999).fold(request, |request, n| request.header(format!("x-n{n}"), n));
            let answer = visitor.send(request.body(empty()).unwrap()).await;
            assert_eq!(answer.text(), "999", "{via:?}");
            assert_eq!(values(&answer.headers, "set-cookie").len(), 999);
        }
    });
}

#[test]
fn more_fields_are_refused_and_the_limit_is_named() {
    run(async {
        let many = "X: 1\r\n".repeat(1001);
        let long = format!("X: {}\r\n", "x".repeat(400 * 1024));
        let saying = |fields: &str| Origin::writing(format!("HTTP/1.1 200 OK\r\n{fields}\r\n"));
        let plan = World::plan().client("app", &saying(&many).await);
        let mut world = plan.client("long", &saying(&long).await).start().await;
        for (place, name, limit) in [(0, "app", "1000 fields"), (1, "long", "128 KiB")] {
            for via in Via::ALL {
                let answer = world.visitor(via, name).await.get("/").await;
                assert_eq!(answer.problem(), "502 local_head_too_large", "{via:?}");
                let told = soon("the trouble", world.clients[place].requests.next()).await;
                let Some(Happening::Request(Seen {
                    trouble: Some((_, told)),
                    ..
                })) = told
                else {
                    panic!("{told:?}");
                };
                assert!(told.ends_with(&format!("has more than {limit}")), "{told}");
            }
        }
        let mut wire = world.wire(Via::PlainHttp1, "app").await;
        let own = "X: 1\r\n".repeat(1000);
        wire.say(format!(
            "GET / HTTP/1.1\r\nHost: app.tunnel.test\r\n{own}\r\n"
        ))
        .await;
        let answer = wire.answer().await;
        assert_eq!(answer.problem(), "431 head_too_large");
        assert!(answer.text().contains("1000"), "{}", answer.text());
    });
}

#[test]
fn a_head_that_cannot_be_read_is_told_why() {
    run(async {
        let app = Origin::saying("served").await;
        let world = World::of(&app).await;
        for via in [Via::Http1, Via::PlainHttp1] {
            for odd in [
                &b"GET /?q=\"e\" HTTP/1.1\r\nHost: app.tunnel.test\r\n\r\n"[..],
                b"GET /?q=<b> HTTP/1.1\r\nHost: app.tunnel.test\r\n\r\n",
                b"GET /\xff HTTP/1.1\r\nHost: app.tunnel.test\r\n\r\n",
                b"GET / HTTP/1.1\r\nHost: app.tunnel.test\r\nno field\r\n\r\n",
                b"nonsense\r\n\r\n",
            ] {
                let mut wire = world.wire(via, "app").await;
                // Also behind a request that was good.
                wire.say("GET / HTTP/1.1\r\nHost: app.tunnel.test\r\n\r\n")
                    .await;
                assert_eq!(wire.answer().await.text(), "served");
                wire.say(odd).await;
                let answer = wire.answer().await;
                assert_eq!(
                    answer.problem(),
                    "400 bad_request",
                    "{}",
                    odd.escape_ascii()
                );
                assert_eq!(answer.field("connection"), "close");
                assert!(
                    answer.text().contains("Percent-encode"),
                    "{}",
                    answer.text()
                );
                assert!(wire.rest().await.is_empty());
            }
        }
    });
}

/// Answers each path of a table with the bytes beside it, once per connection.
async fn writing_by_path(table: &'static [(&'static str, &'static str)]) -> Origin {
    Origin::raw(async |mut wire| {
        let head = wire.head().await;
        let path = head.split(' ').nth(1).unwrap_or_default();
        let said = table.iter().find(|(known, _)| *known == path);
        wire.say(format!(
            "{}Content-Length: 2\r\n\r\nok",
            said.expect("it is known").1
        ))
        .await;
    })
    .await
}

#[test]
fn a_reason_phrase_of_the_app_reaches_visitors_in_http1() {
    const SAID: &[(&str, &str)] = &[
        ("/401", "HTTP/1.1 401 Token expired\r\n"),
        ("/499", "HTTP/1.1 499 Client Gone\r\n"),
        ("/599", "HTTP/1.1 599 \r\n"),
        ("/404", "HTTP/1.1 404 Not Found\r\n"),
        // A word of the link in the app's mouth is none.
        ("/200", "HTTP/1.1 200 OK\r\nNgrnotok-Reason: forged\r\n"),
    ];
    run(async {
        let world = World::of(&writing_by_path(SAID).await).await;
        for (path, said) in SAID {
            let line = said.lines().next().expect("a line");
            for via in [Via::Http1, Via::PlainHttp1] {
                let mut wire = world.wire(via, "app").await;
                let host = world.authority(via, "app");
                wire.say(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"))
                    .await;
                let head = soon("an answer", wire.head()).await;
                assert_eq!(head.lines().next(), Some(line), "{via:?}");
                assert!(!head.to_ascii_lowercase().contains("ngrnotok-"), "{head}");
            }
            let answer = world.visit(Via::Http2).await.get(path).await;
            assert_eq!(answer.status.as_str(), &path[1..]);
            assert_eq!(answer.headers.len(), 1, "{:?}", answer.headers);
        }
    });
}

#[test]
fn fields_that_a_proxy_may_mend_are_mended() {
    const SAID: &[(&str, &str)] = &[
        ("/blank", "HTTP/1.1 200 OK\r\nX-Policy : a;b\r\n"),
        ("/folded", "HTTP/1.1 200 OK\r\nX-Policy: a;\r\n b\r\n"),
    ];
    run(async {
        let world = World::of(&writing_by_path(SAID).await).await;
        for via in Via::ALL {
            for (path, _) in SAID {
                let answer = world.visit(via).await.get(path).await;
                assert_eq!(answer.text(), "ok", "{via:?} {path}");
                let policy = answer.field("x-policy").replace(' ', "");
                assert_eq!(policy, "a;b", "{via:?} {path}");
            }
        }
    });
}

#[test]
fn a_get_that_ends_behind_its_head_reaches_the_app_without_a_body() {
    run(async {
        let world = World::of(&Origin::mirror().await).await;
        for via in [Via::Http2, Via::PlainHttp2] {
            let visitor = world.visit(via).await;
            for method in ["GET", "HEAD", "DELETE", "OPTIONS"] {
                // hyper does not know that it is empty, and ends it with a frame of its own.
                let (sender, body) = pieces();
                drop(sender);
                let request = visitor.request(method, "/").body(body).unwrap();
                let answer = visitor.send(request).await;
                assert_eq!(answer.status, 200);
                assert!(!answer.text().contains("transfer-encoding"), "{answer:?}");
            }
            // One that has a body says so, also if that is long in coming.
            let (mut sender, body) = pieces();
            let request = visitor.request("GET", "/").body(body).unwrap();
            let answer = soon("an answer", visitor.open(request)).await.unwrap();
            let _ = sender.send_data("late".into()).await;
            drop(sender);
            let answer = Answer::collect(answer).await.unwrap();
            assert!(answer.text().contains("transfer-encoding: chunked"));
        }
    });
}
