//! What visitors and apps say to each other.

use data_encoding::BASE64;
use http::Response;
use http::header::{AUTHORIZATION, COOKIE, REFERER, SET_COOKIE};
use ngrnotok_tests::body::{full, pieces};
use ngrnotok_tests::frames::{END_HEADERS, END_STREAM, GOAWAY, HEADERS, block, frame, opening};
use ngrnotok_tests::origin::Origin;
use ngrnotok_tests::visitor::{Via, Visitor};
use ngrnotok_tests::wire::Wire;
use ngrnotok_tests::{run, soon};
use tokio::net::TcpStream;

use super::stage::{LOGS, Stage};

/// What one visitor keeps to itself.
struct Secrets {
    query: String,
    cookie: String,
    bearer: String,
    basic: String,
    body: String,
}

impl Secrets {
    fn new(stage: &mut Stage) -> Self {
        let mut canary = |what| stage.canary(what);
        Self {
            query: canary("a query"),
            cookie: canary("a cookie"),
            bearer: canary("a bearer token"),
            basic: canary("a password"),
            body: canary("a body"),
        }
    }

    fn path(&self) -> String {
        format!("/login?code={}", self.query)
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        let basic = BASE64.encode(format!("ann:{}", self.basic).as_bytes());
        vec![
            (AUTHORIZATION.as_str(), format!("Bearer {}", self.bearer)),
            (COOKIE.as_str(), format!("session={}", self.cookie)),
            (REFERER.as_str(), format!("https://x.test{}", self.path())),
            ("proxy-authorization", format!("Basic {basic}")),
            ("x-api-key", self.bearer.clone()),
        ]
    }

    /// The beginning of a head in HTTP/1.1.
    fn head(&self, method: &str, name: &str) -> String {
        let mut head = format!(
            "{method} {} HTTP/1.1\r\nHost: {name}.tunnel.test\r\nConnection: close\r\n",
            self.path()
        );
        for (name, value) in self.fields() {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head
    }
}

async fn visitor(stage: &Stage, via: Via, name: &str) -> Visitor {
    let host = format!("{name}.tunnel.test");
    match via.is_tls() {
        true => Visitor::on(stage.tls(&host, via.alpn()).await, via, host).await,
        false => {
            let stream = TcpStream::connect(&stage.http).await.expect("it listens");
            Visitor::on(stream, via, host).await
        }
    }
}

/// Every way of coming in, to apps of every kind.
async fn visit_all(stage: &mut Stage, secrets: &Secrets) {
    for via in Via::ALL {
        for (name, well) in [
            ("app", true),
            ("half", true),
            ("noise", false),
            ("refusing", false),
            ("nobody", false),
        ] {
            let visitor = visitor(stage, via, name).await;
            let mut request = visitor.request("POST", &secrets.path());
            for (name, value) in secrets.fields() {
                request = request.header(name, value);
            }
            let request = request.body(full(secrets.body.clone()));
            let request = request.expect("a good request");
            match soon(name, visitor.try_send(request)).await {
                Ok(answer) if !well => {
                    assert!(answer.status.is_server_error() || answer.status == 404);
                    stage.reads(name, &answer);
                }
                Ok(answer) => assert_eq!(answer.status, 200, "{via:?} {name}"),
                // Broken off in the middle.
                Err(_) => assert_eq!(name, "half"),
            }
        }
        // One who leaves in the middle of an upload.
        let visitor = visitor(stage, via, "app").await;
        let (mut upload, body) = pieces();
        let request = visitor.request("PUT", &secrets.path()).body(body);
        let request = request.expect("a good request");
        let sent = upload.send_data(secrets.body.clone().into()).await;
        sent.expect("there is room for a piece");
        let sending = visitor.try_send(request);
        drop(tokio::time::timeout(std::time::Duration::from_millis(50), sending).await);
    }
}

/// What is no good HTTP.
async fn talk_nonsense(stage: &mut Stage, secrets: &Secrets) {
    let (body, query) = (&secrets.body, &secrets.query);
    let head = |method: &str| secrets.head(method, "app");
    for (what, request) in [
        (
            "a head with a space",
            format!("{}Bad Field: {body}\r\n\r\n", head("GET")),
        ),
        (
            "two lengths",
            format!(
                "{}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n{body}",
                head("POST")
            ),
        ),
        (
            "a bad length",
            format!("{}Content-Length: {body}\r\n\r\n", head("POST")),
        ),
        (
            "a bad chunk",
            format!(
                "{}Transfer-Encoding: chunked\r\n\r\n{body}\r\n",
                head("POST")
            ),
        ),
        (
            "a bad version",
            format!("GET /?{query} HTTP/9.9\r\n{body}\r\n\r\n"),
        ),
        (
            "a bad path",
            format!("GET ?{query}\\\"{{ HTTP/1.1\r\nHost: app.tunnel.test\r\n\r\n"),
        ),
        (
            "a bad host",
            format!("GET /?{query} HTTP/1.1\r\nHost: {body}@app.tunnel.test\r\n\r\n"),
        ),
        (
            "a long head",
            format!("{}X: {}\r\n\r\n", head("GET"), body.repeat(5000)),
        ),
        ("no head", format!("{body}\r\n{query}\r\n\r\n")),
        (
            "a proxy's wish",
            format!("CONNECT {body}.test:443 HTTP/1.1\r\nHost: x\r\n\r\n"),
        ),
        (
            "an upgrade that is none",
            format!(
                "{}Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Key: {body}\r\n\r\n",
                secrets.head("GET", "noise")
            ),
        ),
    ] {
        stage.says(what, &stage.http.clone(), &request).await;
        let wire = Wire::new(stage.tls("app.tunnel.test", b"http/1.1").await);
        stage.says_on(wire, what, &request).await;
        // Clear text where TLS is spoken.
        stage.says(what, &stage.https.clone(), &request).await;
        stage.says(what, &stage.admin.clone(), &request).await;
    }
    let path = secrets.path();
    let good = [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "app.tunnel.test"),
        (":path", &path),
    ];
    let with = |name: &'static str, value: &str| {
        let mut fields: Vec<(&str, String)> = Vec::new();
        for (name, value) in good {
            fields.push((name, value.to_owned()));
        }
        fields.retain(|(had, _)| *had != name);
        fields.insert(
            if name.starts_with(':') {
                0
            } else {
                fields.len()
            },
            (name, value.to_owned()),
        );
        for (name, value) in secrets.fields() {
            fields.push((name, value));
        }
        frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&fields))
    };
    for (what, frames) in [
        ("a path without a slash", with(":path", query)),
        (
            "a path with a space",
            with(":path", &format!("/a b\\?{query}")),
        ),
        (
            "a path of bytes",
            with(":path", &format!("/\u{7f}?{query}")),
        ),
        ("a bad method", with(":method", &format!("G({query}"))),
        ("a bad scheme", with(":scheme", &format!("{query}~"))),
        (
            "a bad authority",
            with(":authority", &format!("{query}@@/")),
        ),
        ("an unknown pseudo-field", with(":secret", query)),
        ("a name in capitals", with("X-Secret", query)),
        ("a field of the connection", with("connection", query)),
        (
            "a value with a line feed",
            with("x-secret", &format!("{query}\n")),
        ),
        ("a bad length", with("content-length", query)),
        ("a long head", with("x-secret", &query.repeat(6000))),
        (
            "bytes that are no block",
            frame(HEADERS, END_HEADERS, 1, body.as_bytes()),
        ),
        (
            "a goodbye",
            frame(GOAWAY, 0, 0, &[&[0; 7], &[2][..], body.as_bytes()].concat()),
        ),
        (
            "a frame on no stream",
            frame(HEADERS, END_HEADERS, 0, body.as_bytes()),
        ),
        (
            "a settings frame that is none",
            frame(4, 0, 0, body.as_bytes()),
        ),
    ] {
        let bytes = [opening(), frames].concat();
        stage.says(what, &stage.http.clone(), &bytes).await;
        let wire = Wire::new(stage.tls("app.tunnel.test", b"h2").await);
        stage.says_on(wire, what, &bytes).await;
    }
}

/// A WebSocket that carries secrets until it breaks.
async fn upgrade(stage: &mut Stage, secrets: &Secrets) {
    let head = secrets
        .head("GET", "socket")
        .replace("Connection: close\r\n", "");
    let mut wire = Wire::new(stage.tls("socket.tunnel.test", b"http/1.1").await);
    wire.say(format!(
        "{head}Connection: upgrade\r\nUpgrade: secret\r\n\r\n"
    ))
    .await;
    assert!(wire.head().await.starts_with("HTTP/1.1 101 "));
    wire.say(&secrets.body).await;
    let heard = soon("the echo", wire.exactly(secrets.body.len())).await;
    assert_eq!(heard, secrets.body);
}

#[test]
fn what_visitors_and_apps_say_is_written_nowhere() {
    for (log, form) in LOGS.into_iter().zip(["plain", "json"]) {
        run(async {
            let mut stage = Stage::open(log).await;
            let secrets = Secrets::new(&mut stage);
            let (answer, set) = (
                stage.canary("the app's answer"),
                stage.canary("the app's new cookie"),
            );
            let (set, said) = (format!("id={set}; HttpOnly"), answer.clone());
            let app = Origin::http(move |_| {
                let (set, said) = (set.clone(), said.clone());
                async move {
                    let mut answer = Response::new(full(said));
                    answer
                        .headers_mut()
                        .insert(SET_COOKIE, set.parse().unwrap());
                    answer
                }
            });
            let half = format!("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{answer}");
            let noise = format!("{answer}\r\n{answer}: {answer}\r\n\r\n");
            let writing = |bytes: String| {
                Origin::raw(move |mut wire| {
                    let bytes = bytes.clone();
                    async move {
                        if wire.next_head().await.is_some() {
                            wire.say(bytes).await;
                        }
                    }
                })
            };
            let echo = Origin::raw(async |mut wire| {
                wire.head().await;
                let yes = "HTTP/1.1 101 Yes\r\nConnection: upgrade\r\nUpgrade: secret\r\n\r\n";
                wire.say(yes).await;
                while let Some(bytes) = wire.next().await {
                    wire.say(bytes).await;
                }
            });
            let apps = [
                ("app", app.await),
                ("half", writing(half).await),
                ("noise", writing(noise).await),
                ("refusing", Origin::refusing()),
                ("socket", echo.await),
            ];
            let mut config = format!(
                "server = '{}'\nserver-pin = '{}'\ntoken = '{}'\n",
                stage.https, stage.pin, stage.token
            );
            for (name, app) in &apps {
                let target = app.target();
                config.push_str(&format!(
                    "[tunnels.{name}]\ntarget = '{target}'\nname = '{name}'\n"
                ));
            }
            let file = stage.gives("config.toml", &config);
            let args = [
                "--config",
                file.to_str().unwrap(),
                "start",
                "--all",
                "--output",
                form,
            ];
            let client = stage.start(stage.ngrnotok(&args));
            client
                .line_of(match form {
                    "plain" => "Forwarding",
                    _ => r#"{"event":"ready""#,
                })
                .await;
            visit_all(&mut stage, &secrets).await;
            talk_nonsense(&mut stage, &secrets).await;
            upgrade(&mut stage, &secrets).await;
            // Nobody is there, and will not come back in time.
            client.kill().await;
            for via in Via::ALL {
                let visitor = visitor(&stage, via, "app").await;
                let request = visitor.request("GET", &secrets.path());
                let request = request.header(COOKIE, &secrets.cookie);
                let answer = visitor.send(request.body(full("")).unwrap()).await;
                assert_eq!(answer.problem(), "503 client_offline");
                stage.reads("away", &answer);
            }
            for path in ["/healthz", "/readyz", "/metrics", "/"] {
                let request = secrets.head("GET", "app").replace("/login", path);
                let admin = stage.admin.clone();
                stage.says("admin", &admin, format!("{request}\r\n")).await;
            }
            stage.search(|_, _| false).await;
        });
    }
}
