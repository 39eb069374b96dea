use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpSocket;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::*;
use crate::connections::Connections;
use crate::inspect::Limits;

/// A web interface that runs, and its key.
struct Running {
    address: SocketAddr,
    key: String,
    /// Where visitors of it are.
    from: IpAddr,
    sign_in: SignIn,
    recorder: Recorder,
    _status: watch::Sender<Status>,
    tasks: TaskTracker,
    _web: DropGuard,
}

impl Running {
    async fn start(place: &str, password: Option<&str>) -> Self {
        let place = place.parse().unwrap();
        let web = Web::bind(place, password.map(Secret::new), None).await;
        let web = web.unwrap().unwrap();
        let (address, key) = (web.address(), web.guard.key().expose().to_owned());
        let sign_in = web.sign_in().clone();
        let recorder = Recorder::new(Limits::default());
        let (sender, status) = watch::channel(Status::default());
        let shown = Shown {
            status,
            connections: Connections::new(),
            recorder: recorder.clone(),
            resender: Resender::of_nobody(),
            opener: Opener::of_nobody(),
        };
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        tasks.spawn(stop.clone().run_until_cancelled_owned(web.serve(shown)));
        Self {
            address,
            key,
            from: Ipv4Addr::LOCALHOST.into(),
            sign_in,
            recorder,
            _status: sender,
            _web: stop.drop_guard(),
            tasks,
        }
    }

    async fn ask(&self, request: http::request::Builder, body: &str) -> http::Response<String> {
        let (head, body) = self.open(request, body).await.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        http::Response::from_parts(head, String::from_utf8(body.to_vec()).unwrap())
    }

    /// The same with a body that is still to come.
    async fn open(
        &self,
        request: http::request::Builder,
        body: &str,
    ) -> http::Response<hyper::body::Incoming> {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((self.from, 0).into()).unwrap();
        let door = (Ipv4Addr::LOCALHOST, self.address.port()).into();
        let stream = socket.connect(door).await;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream.unwrap()))
            .await
            .unwrap();
        self.tasks.spawn(connection);
        let request = request
            .body(Full::<bytes::Bytes>::from(body.to_owned()))
            .unwrap();
        sender.send_request(request).await.unwrap()
    }

    fn host(&self) -> String {
        format!("127.0.0.1:{}", self.address.port())
    }

    fn asking(&self, method: Method, path: &str) -> http::request::Builder {
        let request = Request::builder().method(method).uri(path);
        request.header("host", self.host())
    }

    fn asking_with_key(&self, method: Method, path: &str) -> http::request::Builder {
        self.asking(method, path)
            .header("x-ngrnotok-key", &self.key)
    }

    /// Trades a word for the key.
    async fn sign_in(&self, word: &str) -> http::Response<String> {
        let request = self.asking(Method::POST, "/api/sign-in");
        let request = request.header("content-type", "application/json");
        let word = serde_json::json!({ "word": word });
        self.ask(request, &word.to_string()).await
    }

    /// Status and code of the problem of a GET with these fields.
    async fn refusal(&self, path: &str, fields: &[(&str, &str)]) -> (u16, String) {
        let mut request = Request::builder().uri(path);
        if !fields.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", self.host());
        }
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let answer = self.ask(request, "").await;
        let problem: Value = serde_json::from_str(answer.body()).unwrap_or_default();
        let code = problem["code"].as_str().unwrap_or_default().to_owned();
        (answer.status().as_u16(), code)
    }
}

const LOOPBACK: &str = "127.0.0.1:0";

#[tokio::test]
async fn only_names_of_this_machine_are_answered() {
    let web = Running::start(LOOPBACK, None).await;
    let port = web.address.port();
    for host in [
        format!("127.0.0.1:{port}"),
        format!("localhost:{port}"),
        format!("LocalHost:{port}"),
        format!("[::1]:{port}"),
    ] {
        let answer = web.refusal("/", &[("host", &host)]).await;
        assert_eq!(answer.0, 200, "{host}");
    }
    for host in [
        "localhost",
        "127.0.0.1:1",
        "evil.test",
        &format!("evil.test:{port}"),
        &format!("localhost.evil.test:{port}"),
        &format!("user@localhost:{port}"),
        &format!("192.168.1.1:{port}"),
        "",
    ] {
        let answer = web.refusal("/api/status", &[("host", host)]).await;
        assert_eq!(answer, (403, "foreign_host".into()), "{host}");
    }
    let both = [("host", &*web.host()), ("host", "evil.test")];
    assert_eq!(web.refusal("/", &both).await.0, 403);
    let absolute = format!("http://evil.test:{port}/api/status");
    assert_eq!(web.refusal(&absolute, &[]).await.1, "foreign_host");
}

#[tokio::test]
async fn pages_of_other_sites_are_refused() {
    let web = Running::start(LOOPBACK, None).await;
    let ours = format!("http://{}", web.host());
    let same = [("origin", &*ours), ("sec-fetch-site", "same-origin")];
    assert_eq!(web.refusal("/", &same).await.0, 200);
    for origin in [
        "null",
        "http://evil.test",
        "https://127.0.0.1",
        "http://localhost:1",
        "",
    ] {
        let answer = web.refusal("/api/status", &[("origin", origin)]).await;
        assert_eq!(answer, (403, "foreign_page".into()), "{origin}");
    }
    for site in ["cross-site", "same-site", "anything"] {
        let fields = [
            ("sec-fetch-site", site),
            ("sec-fetch-mode", "no-cors"),
            ("sec-fetch-dest", "image"),
        ];
        assert_eq!(web.refusal("/api/har", &fields).await.1, "foreign_page");
    }
    let link = [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-dest", "document"),
    ];
    assert_eq!(web.refusal("/", &link).await.0, 200);
    assert_eq!(web.refusal("/api/har", &link).await.0, 403);
    let frame = [link[0], link[1], ("sec-fetch-dest", "iframe")];
    assert_eq!(web.refusal("/", &frame).await.0, 403);
}

#[tokio::test]
async fn the_api_needs_the_key_and_the_page_does_not_have_it() {
    let web = Running::start(LOOPBACK, None).await;
    let methods = [Method::GET, Method::HEAD, Method::DELETE, Method::POST];
    for method in methods {
        for path in [
            "/api/status",
            "/api/exchanges",
            "/api/exchanges/1/body?part=answer",
            "/api/events",
            "/api/har",
            "/api/requests/http",
            "/api/sign-in/links",
            "/api/nowhere",
        ] {
            for key in [None, Some(""), Some("0")] {
                let mut request = web.asking(method.clone(), path);
                if let Some(key) = key {
                    request = request.header("x-ngrnotok-key", key);
                }
                let answer = web.ask(request, "").await;
                assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{method} {path}");
                assert!(method == Method::HEAD || answer.body().contains("key_missing"));
            }
        }
    }
    let request = web.asking_with_key(Method::DELETE, "/api/exchanges");
    let answer = web.ask(request, "").await;
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    for path in ["/", "/app.js", "/client.js", "/api/openapi.json"] {
        let open = web.ask(web.asking(Method::GET, path), "").await;
        assert_eq!(open.status(), StatusCode::OK, "{path}");
        assert!(!open.body().contains(&web.key), "{path}");
    }
}

#[tokio::test]
async fn a_browser_gets_the_key_for_the_word_of_a_link_once() {
    let web = Running::start(LOOPBACK, None).await;
    let asked = web.asking_with_key(Method::POST, "/api/sign-in/links");
    let asked = web.ask(asked, "").await;
    assert_eq!(asked.status(), StatusCode::CREATED);
    let asked: Value = serde_json::from_str(asked.body()).unwrap();
    let asked = asked["url"].as_str().unwrap().to_owned();
    for link in [web.sign_in.shown_link(), asked] {
        let start = format!("http://{}/#once=", web.host());
        let word = link.strip_prefix(&start).expect("a link to the page");
        let given = web.sign_in(word).await;
        assert_eq!(given.status(), StatusCode::OK, "{}", given.body());
        let given: Value = serde_json::from_str(given.body()).unwrap();
        assert_eq!(given["key"], web.key);
        let again = web.sign_in(word).await;
        assert_eq!(again.status(), StatusCode::FORBIDDEN);
        assert!(again.body().contains("link_used"), "{}", again.body());
    }
    assert_eq!(web.sign_in("").await.status(), StatusCode::FORBIDDEN);
    let request = web.asking(Method::POST, "/api/sign-in");
    let foreign = request.header("origin", "http://evil.test");
    assert!(web.ask(foreign, "{}").await.body().contains("foreign_page"));
}

#[tokio::test]
async fn a_connection_that_is_half_closed_signs_nobody_in() {
    let listener = std::net::TcpListener::bind(LOOPBACK).unwrap();
    let address = listener.local_addr().unwrap();
    let guard = Guard::new(address, None);
    let stream = std::net::TcpStream::connect(address).unwrap();
    let (_accepted, peer) = listener.accept().unwrap();
    assert!(guard.may_sign_in(peer).await);
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(guard.is_from_our_user(peer).await, None);
    // Elsewhere no system tells whose it is.
    let tells = cfg!(target_os = "linux");
    assert_eq!(guard.may_sign_in(peer).await, !tells);
}

#[tokio::test]
async fn programs_of_the_same_user_find_tunnels_without_the_key() {
    let web = Running::start(LOOPBACK, None).await;
    for path in ["/api/tunnels", "/api/tunnels/none"] {
        let answer = web.ask(web.asking(Method::GET, path), "").await;
        let told = !answer.body().contains("key_missing");
        assert_eq!(told, cfg!(target_os = "linux"), "{path}");
    }
    for (method, path) in [
        (Method::POST, "/api/tunnels"),
        (Method::DELETE, "/api/tunnels/none"),
        (Method::GET, "/api/tunnelsx"),
    ] {
        let answer = web.ask(web.asking(method, path), "").await;
        assert!(answer.body().contains("key_missing"), "{path}");
    }
}

#[tokio::test]
async fn answers_let_browsers_do_nothing_else() {
    let web = Running::start(LOOPBACK, None).await;
    for path in ["/", "/app.js", "/api/status", "/nowhere"] {
        let answer = web.ask(web.asking(Method::GET, path), "").await;
        let fields = answer.headers();
        let policy = fields["content-security-policy"].to_str().unwrap();
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "frame-ancestors 'none'",
        ] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(fields["x-content-type-options"], "nosniff");
        assert_eq!(fields["referrer-policy"], "no-referrer");
        assert_eq!(fields["cross-origin-resource-policy"], "same-origin");
        assert!(!fields.contains_key("access-control-allow-origin"));
    }
}

/// The value of `Authorization` for a user and a password.
fn basic(text: &str) -> String {
    let packed = data_encoding::BASE64.encode(text.as_bytes());
    format!("Basic {packed}")
}

#[tokio::test]
async fn wrong_passwords_shut_out_their_address_alone_and_for_a_while() {
    let mut web = Running::start("0.0.0.0:0", Some("sesame")).await;
    let wrong = basic("me:open");
    let wrong = [("authorization", &*wrong)];
    let right = basic("me:sesame");
    let right = [("authorization", &*right)];
    for _ in 0..10 {
        // Who gives none has not guessed.
        assert_eq!(web.refusal("/", &[]).await.0, 401);
        assert_eq!(web.refusal("/", &wrong).await.0, 401);
    }
    for given in [wrong, right] {
        let shut_out = (429, "too_many_failures".into());
        assert_eq!(web.refusal("/api/status", &given).await, shut_out);
    }
    let request = web.asking(Method::GET, "/").header(wrong[0].0, wrong[0].1);
    let answer = web.ask(request, "").await;
    let seconds: u64 = answer.headers()["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
    // The key is no guess.
    let key = [("x-ngrnotok-key", &*web.key)];
    assert_eq!(web.refusal("/api/status", &key).await.0, 200);
    // Elsewhere a machine has but one address of loopback.
    #[cfg(target_os = "linux")]
    {
        web.from = Ipv4Addr::new(127, 0, 0, 2).into();
        assert_eq!(web.refusal("/api/status", &right).await.0, 200);
    }
}

#[tokio::test]
async fn others_need_the_password() {
    let everywhere: Place = "0.0.0.0:0".parse().unwrap();
    let open = Web::bind(everywhere, None, None).await.unwrap_err();
    assert!(open.to_string().contains("--web-password-file"), "{open}");

    let web = Running::start("0.0.0.0:0", Some("open: sesame")).await;
    for given in [
        "",
        "Basic",
        "Basic ?",
        &basic("open: sesame"),
        &basic("a:open"),
    ] {
        let answer = web.refusal("/", &[("authorization", given)]).await;
        assert_eq!(answer, (401, "password_missing".into()), "{given}");
    }
    for path in [
        "/app.js",
        "/api/tunnels",
        "/api/sign-in",
        "/api/openapi.json",
    ] {
        assert_eq!(web.refusal(path, &[]).await.0, 401, "{path}");
    }
    let right = basic("anybody:open: sesame");
    let page = web.asking(Method::GET, "/").header("authorization", &right);
    let page = web.ask(page, "").await;
    assert!(page.body().contains(&web.key), "who has said it may change");
    let fields = [("authorization", &*right)];
    assert_eq!(web.refusal("/api/status", &fields).await.0, 200);
    assert_eq!(web.sign_in.new_link(), format!("http://{}/", web.host()));
    assert_eq!(web.refusal("/", &[("authorization", &right)]).await.0, 200);
    let key = [("x-ngrnotok-key", &*web.key)];
    assert_eq!(web.refusal("/api/status", &key).await.0, 200);
    // An address cannot be made to point elsewhere, a name can.
    let fields = [("authorization", &*right), ("host", "192.168.7.7:80")];
    assert_eq!(web.refusal("/", &fields).await.0, 200);
    let fields = [("authorization", &*right), ("host", "evil.test")];
    assert_eq!(web.refusal("/", &fields).await.1, "foreign_host");
}

#[tokio::test]
async fn a_place_that_is_wished_for_is_the_only_one() {
    let web = Running::start(LOOPBACK, None).await;
    let taken = Web::bind(Place::At(web.address), None, None)
        .await
        .unwrap_err();
    assert!(taken.to_string().contains("--web off"), "{taken}");
    assert!(Web::bind(Place::Off, None, None).await.unwrap().is_none());
    let one = Web::bind(Place::Usual, None, None).await.unwrap().unwrap();
    let other = Web::bind(Place::Usual, None, None).await.unwrap().unwrap();
    assert_ne!(one.address(), other.address());
}

#[tokio::test]
async fn problems_say_what_to_do() {
    let web = Running::start(LOOPBACK, None).await;
    for (path, status, code) in [
        ("/nowhere", 404, "no_such_page"),
        ("/api/exchanges/7", 404, "no_exchange"),
        ("/api/exchanges/seven", 400, "bad_request"),
        ("/api/exchanges?status=4", 400, "bad_request"),
        ("/api/exchanges?limit=0", 400, "bad_request"),
        ("/api/exchanges?min_ms=long", 400, "bad_request"),
        ("/api/har?id=a", 400, "bad_request"),
        ("/api/har?id=7", 404, "no_exchange"),
        ("/api/tunnels/none", 404, "no_tunnel"),
    ] {
        let key = [("x-ngrnotok-key", &*web.key)];
        let answer = web.refusal(path, &key).await;
        assert_eq!(answer, (status, code.into()), "{path}");
    }
    let request = web.asking_with_key(Method::POST, "/api/status");
    let answer = web.ask(request, "").await;
    assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert!(answer.headers().contains_key("allow"));
    assert!(answer.body().contains("wrong_method"));
}

/// Reads events until one of this kind comes, and returns its data and its id.
async fn next_event(
    body: &mut hyper::body::Incoming,
    read: &mut String,
    kind: &str,
) -> (Value, String) {
    loop {
        if let Some((event, rest)) = read.split_once("\n\n") {
            let of = |name: &str| {
                let mut lines = event.lines();
                lines
                    .find_map(|line| line.strip_prefix(name))
                    .map(ToOwned::to_owned)
            };
            let (is, data, id) = (of("event: "), of("data: "), of("id: "));
            *read = rest.to_owned();
            if is.as_deref() == Some(kind) {
                let data = serde_json::from_str(&data.unwrap()).unwrap();
                return (data, id.unwrap_or_default());
            }
            continue;
        }
        let frame = body.frame().await.unwrap().unwrap();
        read.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
    }
}

#[tokio::test]
async fn who_comes_back_hears_only_what_is_new() {
    let web = Running::start(LOOPBACK, None).await;
    let add = || {
        let archive = r#"{"log":{"entries":[{"startedDateTime":"2026-01-02T03:04:05Z",
            "request":{"method":"GET","url":"http://a.test/","httpVersion":"","headers":[]},
            "response":{"status":200,"httpVersion":"","headers":[],"content":{}}}]}}"#;
        let exchange = har::import(archive.as_bytes()).unwrap().exchanges.remove(0);
        web.recorder.insert(exchange).unwrap().0
    };
    let listen = async |last: &str| {
        let request = web.asking_with_key(Method::GET, "/api/events");
        web.open(request.header("last-event-id", last), "")
            .await
            .into_body()
    };
    let ids = |news: &Value| -> Vec<u64> {
        let lines = news["changed"].as_array().unwrap().iter();
        lines.map(|line| line["id"].as_u64().unwrap()).collect()
    };
    add();
    let (mut body, mut read) = (listen("").await, String::new());
    let (status, _) = next_event(&mut body, &mut read, "status").await;
    assert_eq!(status["state"], "connecting");
    let (news, first) = next_event(&mut body, &mut read, "exchanges").await;
    assert_eq!(ids(&news), [1]);
    add();
    let (news, _) = next_event(&mut body, &mut read, "exchanges").await;
    assert_eq!(ids(&news), [2]);
    drop(body);

    add();
    for (last, wanted) in [
        (&*first, &[2, 3][..]),
        ("another-1", &[1, 2, 3]),
        ("now", &[]),
    ] {
        let (mut body, mut read) = (listen(last).await, String::new());
        let (news, _) = next_event(&mut body, &mut read, "exchanges").await;
        assert_eq!(ids(&news), wanted, "{last}");
    }
    web.recorder.clear();
    let (mut body, mut read) = (listen("").await, String::new());
    let (news, _) = next_event(&mut body, &mut read, "exchanges").await;
    assert_eq!((ids(&news), &news["oldest"]), (vec![], &4.into()));
}

#[tokio::test]
async fn what_is_imported_is_listed_filtered_and_forgotten() {
    let web = Running::start(LOOPBACK, None).await;
    let entry = |method: &str, path: &str, status: u16, text: &str| {
        serde_json::json!({
            "startedDateTime": "2026-01-02T03:04:05.678Z", "time": 12,
            "request": {
                "method": method, "url": format!("https://app.test{path}"),
                "httpVersion": "HTTP/1.1", "cookies": [], "queryString": [],
                "headers": [{ "name": "cookie", "value": "s=secret" }],
                "headersSize": -1, "bodySize": 0,
            },
            "response": {
                "status": status, "statusText": "", "httpVersion": "HTTP/1.1", "cookies": [],
                "headers": [], "redirectURL": "", "headersSize": -1, "bodySize": 0,
                "content": { "size": text.len(), "mimeType": "text/plain", "text": text },
            },
            "cache": {}, "timings": { "send": 1, "wait": 9, "receive": 2 },
        })
    };
    let archive = serde_json::json!({ "log": {
        "version": "1.2", "creator": { "name": "a test", "version": "1" },
        "entries": [
            entry("GET", "/a", 200, "an otter"),
            entry("POST", "/b", 404, "nobody"),
            entry("GET", "/c", 500, "trouble"),
        ],
    }});
    let request = web.asking_with_key(Method::POST, "/api/har");
    let answer = web.ask(request, &archive.to_string()).await;
    let imported: Value = serde_json::from_str(answer.body()).unwrap();
    let counts = ["imported", "first", "last", "left_out"].map(|name| imported[name].as_u64());
    assert_eq!(counts, [3, 1, 3, 0].map(Some));

    let list = async |query: &str| {
        let path = format!("/api/exchanges?{query}");
        let answer = web.ask(web.asking_with_key(Method::GET, &path), "").await;
        let page: Value = serde_json::from_str(answer.body()).unwrap();
        let ids = page["exchanges"].as_array().unwrap().iter();
        let ids: Vec<u64> = ids.map(|line| line["id"].as_u64().unwrap()).collect();
        (ids, page["next_before"].as_u64())
    };
    for (query, ids) in [
        ("", &[3, 2, 1][..]),
        ("method=get", &[3, 1]),
        ("status=4xx", &[2]),
        ("status=500", &[3]),
        ("path=/b", &[2]),
        ("text=OTTER", &[1]),
        ("field=cookie:secret&status=200", &[1]),
        ("field=x-none", &[]),
        ("tunnel=imported&after=1", &[3, 2]),
        ("tunnel=other", &[]),
        ("min_ms=12", &[3, 2, 1]),
        ("min_ms=13", &[]),
    ] {
        assert_eq!(list(query).await, (ids.to_vec(), None), "{query}");
    }
    assert_eq!(list("limit=2").await, (vec![3, 2], Some(2)));
    assert_eq!(list("limit=2&before=2").await, (vec![1], None));

    let get = async |path: &str| web.ask(web.asking_with_key(Method::GET, path), "").await;
    let body = get("/api/exchanges/1/body?part=answer&decoded=1").await;
    assert_eq!(body.body(), "an otter");
    assert_eq!(body.headers()["content-type"], "application/octet-stream");
    assert_eq!(body.headers()["content-disposition"], "attachment");
    for path in ["/api/exchanges/1", "/api/har?id=1", "/api/requests/http/1"] {
        assert!(!get(path).await.body().contains("s=secret"), "{path}");
        let joint = if path.contains('?') { '&' } else { '?' };
        let shown = format!("{path}{joint}secrets=true");
        let shown = get(&shown);
        assert!(shown.await.body().contains("s=secret"), "{path}");
    }
    let ngrok: Value =
        serde_json::from_str(get("/api/requests/http?limit=1").await.body()).unwrap();
    assert_eq!(ngrok["requests"][0]["uri"], "/api/requests/http/3");
    assert_eq!(ngrok["requests"][0]["response"]["status_code"], 500);
    assert_eq!(ngrok["requests"][0]["duration"], 12_000_000);

    let request = web.asking_with_key(Method::DELETE, "/api/requests/http");
    web.ask(request, "").await;
    assert_eq!(list("").await.0, [0; 0]);
    assert_eq!(web.recorder.size(), 0);
}
