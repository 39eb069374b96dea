//! Visitors against the clock, which is paused: whoever keeps a stream and does nothing with it.

use std::future::{pending, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use h2::{Reason, RecvStream};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use ngrnotok_common::id::{SessionId, TunnelId};
use ngrnotok_common::link::body::LinkBody;
use ngrnotok_common::link::open::{client_end, server_end};
use ngrnotok_common::link::serving::Reply;
use ngrnotok_common::link::windows::UnreadTotal;
use ngrnotok_common::protocol::stream::SWITCHED;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::activity::STALL_LIMIT;
use super::serve::{Edge, HttpMode};
use super::visitor::Visitor;
use super::{Handover, http1, http2};
use crate::registry::{Claim, Registry, Route, Terms};
use crate::session::{Arrival, Attached, Caps, Count, Limits, Link, Session, ShardId};
use crate::urls::{PublicUrls, Scheme};

const HOUR: Duration = Duration::from_secs(3600);
const SECOND: Duration = Duration::from_secs(1);

const VISITOR: [u8; 4] = [192, 0, 2, 1];
const PROXY: [u8; 4] = [10, 0, 0, 1];

/// An edge with one tunnel, `app`.
struct Stage {
    edge: Arc<Edge>,
    session: Session,
    tasks: TaskTracker,
    _claim: Claim,
    _attached: Attached,
}

impl Stage {
    /// What `app` does with its requests.
    async fn of<A, F>(app: A) -> Self
    where
        A: Fn(Request<LinkBody>, Reply) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let tasks = TaskTracker::new();
        let (near, far) = duplex(1024 * 1024);
        let (requests, link) = server_end(far, UnreadTotal::default()).await.unwrap();
        tasks.spawn(async { drop(link.await) });
        let mut client = client_end(near, UnreadTotal::default()).await.unwrap();
        let apps = tasks.clone();
        tasks.spawn(async move {
            while let Ok(Some((request, reply))) = client.accept().await {
                let request = request.map(|received| reply.body(received));
                apps.spawn(app(request, reply));
            }
        });
        // The client's SETTINGS.
        sleep(SECOND).await;
        let link = Link::new(ShardId(0), requests, u32::MAX, CancellationToken::new());
        let limits = Limits::new(Caps::default());
        let session = Session::new(SessionId::random(), SECOND, limits, tasks.clone());
        let attached = session.attach(link, Arrival::Joins, Count::default().add());
        let registry = Registry::new("tunnel.test", Duration::ZERO);
        let route = Route {
            session: session.clone(),
            tunnel: TunnelId(0),
        };
        let terms = Terms {
            account: "ann".into(),
            pool: false,
        };
        let claim = registry
            .claim("app".parse().unwrap(), route, terms)
            .unwrap();
        let edge = Arc::new(Edge {
            registry,
            tls: None,
            http_mode: HttpMode::Serve,
            urls: PublicUrls::new("tunnel.test", None, None, &[], &[]),
            trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
            handover: Handover::new(1).0,
            connections: tasks.clone(),
            offline_wait: SECOND,
            drain: CancellationToken::new(),
            idle_drain: SECOND,
        });
        Self {
            edge,
            session,
            tasks,
            _claim: claim,
            _attached: attached,
        }
    }

    /// A visitor at this address who speaks bytes.
    async fn connect_from(&self, address: [u8; 4], is_http2: bool) -> DuplexStream {
        let (near, far) = duplex(64 * 1024);
        let trusted = self.edge.trusts(address.into());
        let visitor = Visitor::new((address, 1).into(), Scheme::Http, None, trusted);
        let (edge, visitor) = (Arc::clone(&self.edge), Arc::new(visitor));
        let permit = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
        self.tasks.spawn(async move {
            match is_http2 {
                true => http2::serve(&edge, visitor, far, permit).await,
                false => http1::serve(&edge, visitor, far, permit).await,
            }
        });
        near
    }

    async fn connect(&self, is_http2: bool) -> DuplexStream {
        self.connect_from(VISITOR, is_http2).await
    }

    /// A visitor at this address in HTTP/2 whose streams have a window of so many bytes at first.
    async fn visitor_from(&self, address: [u8; 4], window: u32) -> SendRequest<Bytes> {
        let mut builder = Builder::new();
        builder.initial_window_size(window);
        let stream = self.connect_from(address, true).await;
        let (requests, connection) = builder.handshake(stream).await.unwrap();
        self.tasks.spawn(async { drop(connection.await) });
        requests.ready().await.unwrap()
    }

    async fn visitor(&self, window: u32) -> SendRequest<Bytes> {
        self.visitor_from(VISITOR, window).await
    }
}

fn request(method: &str) -> http::request::Builder {
    let request = Request::builder().method(method);
    request.uri("http://app.tunnel.test/")
}

async fn say(reply: Reply, text: impl Into<Bytes>) {
    let mut body = Full::new(text.into());
    let _ = reply.send(Response::new(&mut body)).await;
}

/// Reads a body to its end, without an end of patience.
async fn read(mut body: RecvStream) -> Result<usize, h2::Error> {
    let mut read = 0;
    while let Some(chunk) = body.data().await {
        let n = chunk?.len();
        body.flow_control().release_capacity(n)?;
        read += n;
    }
    Ok(read)
}

/// Reads HTTP/1.1 to its end.
async fn heard(stream: &mut DuplexStream) -> String {
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).await.unwrap();
    String::from_utf8(heard).unwrap()
}

#[track_caller]
fn assert_took(began: Instant, seconds: u64) {
    assert_eq!(began.elapsed().as_secs(), seconds, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_which_nothing_is_taken_is_reset_and_a_slow_one_is_not() {
    let stage = Stage::of(|_, reply| say(reply, vec![0; 10_000])).await;
    let mut visitor = stage.visitor(1000).await;
    let began = Instant::now();
    let mut get = || visitor.send_request(request("GET").body(()).unwrap(), true);
    let (shut, slow) = (get().unwrap().0, get().unwrap().0);

    let shut = async {
        let mut body = shut.await.unwrap().into_body();
        assert_eq!(body.data().await.unwrap().unwrap().len(), 1000);
        let error = body.data().await.unwrap().unwrap_err();
        assert_eq!(error.reason(), Some(Reason::CANCEL));
        assert_took(began, STALL_LIMIT.as_secs());
    };
    let slow = async {
        let mut body = slow.await.unwrap().into_body();
        for _ in 0..10 {
            sleep(STALL_LIMIT - SECOND).await;
            let n = body.data().await.unwrap().unwrap().len();
            body.flow_control().release_capacity(n).unwrap();
        }
        assert!(body.data().await.is_none());
    };
    tokio::join!(shut, slow);
    assert_eq!(stage.session.open_streams(), 0);
}

/// An app that reads its uploads and tells how long they were.
async fn weigh(request: Request<LinkBody>, reply: Reply) {
    if let Ok(body) = request.into_body().collect().await {
        say(reply, body.to_bytes().len().to_string()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_upload_of_which_nothing_comes_is_answered_408_and_a_slow_one_is_not() {
    let stage = Stage::of(weigh).await;
    let mut visitor = stage.visitor(65_535).await;
    let began = Instant::now();
    let mut post = || visitor.send_request(request("POST").body(()).unwrap(), false);
    let (silent, _open) = post().unwrap();
    let (slow, mut body) = post().unwrap();

    let silent = async {
        let answer = silent.await.unwrap();
        assert_eq!(answer.status(), StatusCode::REQUEST_TIMEOUT);
        assert_eq!(answer.headers()["ngrnotok-cause"], "request_timeout");
        assert_took(began, STALL_LIMIT.as_secs());
    };
    let slow = async {
        for last in [false, false, false, true] {
            sleep(STALL_LIMIT - SECOND).await;
            body.send_data("slow".into(), last).unwrap();
        }
        let answer = slow.await.unwrap();
        assert_eq!(read(answer.into_body()).await.unwrap(), 2, "16 bytes");
    };
    tokio::join!(silent, slow);
    assert_eq!(stage.session.open_streams(), 0);
}

#[tokio::test(start_paused = true)]
async fn over_http1_the_connection_of_an_upload_that_does_not_come_is_closed() {
    let stage = Stage::of(weigh).await;
    for rest in [
        "Content-Length: 5\r\n\r\nhalf",
        "Transfer-Encoding: chunked\r\n\r\n4\r\nha",
    ] {
        let mut visitor = stage.connect(false).await;
        let head = "POST / HTTP/1.1\r\nHost: app.tunnel.test\r\n";
        visitor
            .write_all(format!("{head}{rest}").as_bytes())
            .await
            .unwrap();
        let began = Instant::now();
        let mut first = [0; 12];
        visitor.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"HTTP/1.1 408");
        assert_took(began, STALL_LIMIT.as_secs());
        let answer = heard(&mut visitor).await.to_ascii_lowercase();
        assert!(answer.contains("connection: close\r\n"), "{answer}");
        assert_eq!(stage.session.open_streams(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_upload_may_pause_once_its_answer_has_begun() {
    let stage = Stage::of(|request: Request<LinkBody>, reply: Reply| async move {
        let mut echo = request.into_body();
        let _ = reply.send(Response::new(&mut echo)).await;
    });
    let stage = stage.await;
    let mut visitor = stage.visitor(65_535).await;
    let (answer, mut upload) = visitor
        .send_request(request("POST").body(()).unwrap(), false)
        .unwrap();
    let mut echo = answer.await.unwrap().into_body();
    for _ in 0..3 {
        sleep(STALL_LIMIT * 2).await;
        upload.send_data("ping".into(), false).unwrap();
        assert_eq!(echo.data().await.unwrap().unwrap(), "ping");
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_the_app_may_wait() {
    let stage = Stage::of(|request, reply| async move {
        sleep(HOUR).await;
        weigh(request, reply).await;
    });
    let stage = stage.await;
    let mut visitor = stage.visitor(65_535).await;
    let (polls, _) = visitor
        .send_request(request("GET").body(()).unwrap(), true)
        .unwrap();
    // All of it is there, and the app reads it in an hour.
    let (uploads, mut body) = visitor
        .send_request(request("POST").body(()).unwrap(), false)
        .unwrap();
    body.send_data(vec![0; 1_000_000].into(), true).unwrap();
    // A call of gRPC in both directions, on which nobody has anything to say.
    let grpc = request("POST").header("content-type", "application/grpc+proto");
    let (calls, mut call) = visitor.send_request(grpc.body(()).unwrap(), false).unwrap();
    let call = async {
        sleep(HOUR * 2).await;
        call.send_data("late".into(), true).unwrap();
        calls.await.unwrap()
    };
    let plain = async {
        let mut visitor = stage.connect(false).await;
        let get = b"GET / HTTP/1.1\r\nHost: app.tunnel.test\r\nConnection: close\r\n\r\n";
        visitor.write_all(get).await.unwrap();
        assert!(heard(&mut visitor).await.starts_with("HTTP/1.1 200 "));
    };
    let (poll, upload, call, ()) = tokio::join!(polls, uploads, call, plain);
    for answer in [poll.unwrap(), upload.unwrap(), call] {
        assert_eq!(answer.status(), 200);
    }
}

#[tokio::test(start_paused = true)]
async fn an_upload_without_window_is_not_blamed_on_its_visitor() {
    let stage = Stage::of(|request, reply| async move {
        sleep(HOUR).await;
        weigh(request, reply).await;
    });
    let stage = stage.await;
    let mut visitor = stage.visitor(65_535).await;
    // The first ones take up the window of the connection: what the link holds of each, and as much unread.
    let mut answers = Vec::new();
    let sizes = [1_000_000; 20].into_iter().chain([5; 2]);
    for size in sizes {
        let (answer, mut body) = visitor
            .send_request(request("POST").body(()).unwrap(), false)
            .unwrap();
        body.send_data(vec![0; size].into(), true).unwrap();
        answers.push(answer);
        sleep(SECOND).await;
    }
    for answer in answers {
        assert_eq!(answer.await.unwrap().status(), 200);
    }
}

/// An app that switches protocols and after an hour sends so many bytes.
async fn switch(request: Request<LinkBody>, reply: Reply, bytes: usize) {
    let head = Response::builder().header(SWITCHED, "websocket").body(());
    let mut stream = reply.begin(head.unwrap(), false).unwrap();
    sleep(HOUR).await;
    stream.send_data(vec![b'x'; bytes].into(), false).unwrap();
    let _ = poll_fn(|cx| stream.poll_reset(cx)).await;
    drop(request);
}

#[tokio::test(start_paused = true)]
async fn a_silent_websocket_lives_and_one_of_which_nothing_is_taken_ends() {
    const BYTES: usize = 1_000_000;
    let stage = Stage::of(|request, reply| switch(request, reply, BYTES)).await;
    let began = Instant::now();
    let plain = async |takes: bool| {
        let mut visitor = stage.connect(false).await;
        let ask = "GET / HTTP/1.1\r\nHost: app.tunnel.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        visitor.write_all(ask.as_bytes()).await.unwrap();
        let mut first = [0; 12];
        visitor.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"HTTP/1.1 101");
        if takes {
            let mut some = vec![0; BYTES];
            visitor.read_exact(&mut some).await.unwrap();
        }
        visitor
    };
    let over_http2 = async |takes: bool| {
        let mut visitor = stage.visitor(65_535).await;
        while !visitor.is_extended_connect_protocol_enabled() {
            sleep(SECOND / 100).await;
        }
        let ask = request("CONNECT").extension(h2::ext::Protocol::from_static("websocket"));
        let (answer, open) = visitor.send_request(ask.body(()).unwrap(), false).unwrap();
        let mut stream = answer.await.unwrap().into_body();
        let mut taken = 0;
        while takes && taken < BYTES {
            let n = stream.data().await.unwrap().unwrap().len();
            stream.flow_control().release_capacity(n).unwrap();
            taken += n;
        }
        (stream, open)
    };
    let all = tokio::join!(
        plain(true),
        plain(false),
        over_http2(true),
        over_http2(false)
    );
    assert_took(began, HOUR.as_secs());
    assert_eq!(stage.session.open_streams(), 4);
    sleep(STALL_LIMIT - SECOND * 2).await;
    assert_eq!(stage.session.open_streams(), 4);
    // What an end said before it broke has 5 s.
    sleep(SECOND * 10).await;
    assert_eq!(stage.session.open_streams(), 2);
    sleep(HOUR).await;
    assert_eq!(stage.session.open_streams(), 2);
    drop(all);
}

/// Makes so many requests, and takes them back after a moment.
async fn take_back(
    visitor: SendRequest<Bytes>,
    requests: usize,
    after: Duration,
) -> Result<SendRequest<Bytes>, h2::Error> {
    let mut visitor = visitor.ready().await?;
    let mut open = Vec::new();
    for _ in 0..requests {
        open.push(visitor.send_request(request("GET").body(()).unwrap(), true)?);
    }
    sleep(after).await;
    drop(open);
    sleep(after).await;
    Ok(visitor)
}

#[tokio::test(start_paused = true)]
async fn requests_may_be_taken_back_by_the_hundred_but_not_on_and_on() {
    let came = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&came);
    let stage = Stage::of(move |request: Request<LinkBody>, reply| {
        counted.fetch_add(1, Relaxed);
        async move {
            match request.method() == Method::POST {
                true => weigh(request, reply).await,
                false => pending().await,
            }
        }
    });
    let stage = stage.await;

    // Whoever leaves a page with a hundred pictures, again and again.
    let mut visitor = stage.visitor(65_535).await;
    for pages in 1..=20 {
        visitor = take_back(visitor, 100, SECOND / 4).await.unwrap();
        let (answer, _) = visitor
            .send_request(request("POST").body(()).unwrap(), true)
            .unwrap();
        assert_eq!(answer.await.unwrap().status(), 200, "page {pages}");
        sleep(SECOND * 20).await;
    }
    // And in one breath: the app sees none of them.
    let before = came.load(Relaxed);
    let mut visitor = take_back(visitor, 100, Duration::ZERO).await.unwrap();
    for _ in 0..100 {
        drop(visitor.send_request(request("GET").body(()).unwrap(), true));
    }
    sleep(SECOND).await;
    assert_eq!(came.load(Relaxed), before);
    let (answer, _) = visitor
        .send_request(request("POST").body(()).unwrap(), true)
        .unwrap();
    assert_eq!(answer.await.unwrap().status(), 200);

    // In measured steps, each too small to be seen.
    let before = came.load(Relaxed);
    let mut visitor = stage.visitor(65_535).await;
    let error = loop {
        match take_back(visitor, 40, SECOND / 100).await {
            Ok(goes_on) => visitor = goes_on,
            Err(error) => break error,
        }
        assert!(
            came.load(Relaxed) - before < 1000,
            "the app works for nobody"
        );
    };
    assert_eq!(error.reason(), Some(Reason::ENHANCE_YOUR_CALM));
    assert!(came.load(Relaxed) - before >= 500);
}

/// Takes requests back, and has as many refused that are for no tunnel.
async fn take_back_between_refusals(
    visitor: SendRequest<Bytes>,
) -> Result<SendRequest<Bytes>, h2::Error> {
    let mut visitor = take_back(visitor, 40, SECOND / 100).await?;
    for _ in 0..40 {
        visitor = visitor.ready().await?;
        let nowhere = Request::get("http://none.tunnel.test/").body(()).unwrap();
        let answer = visitor.send_request(nowhere, true)?.0.await?;
        assert_eq!(answer.status(), 404);
        read(answer.into_body()).await?;
    }
    Ok(visitor)
}

#[tokio::test(start_paused = true)]
async fn no_refusal_of_ours_makes_up_for_a_request_that_is_taken_back() {
    let came = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&came);
    let stage = Stage::of(move |request, reply| {
        counted.fetch_add(1, Relaxed);
        async move {
            let _open = (request, reply);
            pending::<()>().await;
        }
    });
    let stage = stage.await;
    let mut visitor = stage.visitor(65_535).await;
    let error = loop {
        match take_back_between_refusals(visitor).await {
            Ok(goes_on) => visitor = goes_on,
            Err(error) => break error,
        }
        assert!(came.load(Relaxed) < 1000, "the app works for nobody");
    };
    assert_eq!(error.reason(), Some(Reason::ENHANCE_YOUR_CALM));
}

#[tokio::test(start_paused = true)]
async fn what_comes_of_a_request_behind_its_answer_is_still_judged() {
    let stage = Stage::of(weigh).await;
    let mut visitor = stage.visitor(65_535).await;
    let rests = [
        // More than was announced.
        ("abc", Reason::PROTOCOL_ERROR),
        // Nothing more: the edge does not wait for it.
        ("a", Reason::NO_ERROR),
    ];
    for (rest, reason) in rests {
        // Nobody has this name, so the answer is there at once.
        let post = Request::post("http://nobody.tunnel.test/").header("content-length", 2);
        let (answer, mut body) = visitor.send_request(post.body(()).unwrap(), false).unwrap();
        assert_eq!(answer.await.unwrap().status(), 404);
        body.send_data(rest.into(), false).unwrap();
        let reset = poll_fn(|cx| body.poll_reset(cx)).await;
        assert_eq!(reset.unwrap(), reason, "{rest}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_connection_over_http2_is_not_asked_at_once_whether_it_lives() {
    const PING: u8 = 6;
    let stage = Stage::of(weigh).await;
    let mut visitor = stage.connect(true).await;
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    visitor
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    visitor.write_all(&settings).await.unwrap();
    // It asks for nothing, so it is cut.
    let mut heard = Vec::new();
    visitor.read_to_end(&mut heard).await.unwrap();
    let (mut kinds, mut frames) = (Vec::new(), &heard[..]);
    while let [0, a, b, kind, rest @ ..] = frames {
        kinds.push(*kind);
        frames = &rest[5 + usize::from(u16::from_be_bytes([*a, *b]))..];
    }
    assert!(!kinds.contains(&PING), "{kinds:?}");
    assert!(kinds.len() > 1, "{kinds:?}");
}

#[tokio::test(start_paused = true)]
async fn a_visitor_with_many_connections_leaves_streams_to_the_others() {
    let stage = Stage::of(|request: Request<LinkBody>, reply| async move {
        match request.method() == Method::POST {
            true => weigh(request, reply).await,
            false => pending().await,
        }
    });
    let stage = stage.await;
    let (mut connections, mut open) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        let mut visitor = stage.visitor(65_535).await;
        for _ in 0..128 {
            let get = request("GET").body(()).unwrap();
            open.push(visitor.send_request(get, true).unwrap().0);
        }
        connections.push(visitor);
    }
    // One was too many.
    let refused = open.pop().unwrap().await.unwrap();
    assert_eq!(stage.session.open_streams(), 511);
    assert_eq!(refused.headers()["ngrnotok-cause"], "over_limit");
    let mut body = refused.into_body();
    let problem = body.data().await.unwrap().unwrap();
    let problem: serde_json::Value = serde_json::from_slice(&problem).unwrap();
    let limit = serde_json::json!({ "name": "streams-per-address", "number": 511 });
    assert_eq!(problem["limit"], limit);

    // Whoever comes through a proxy of ours is who the proxy says.
    let rows = [
        (VISITOR, None, 503),
        ([192, 0, 2, 2], None, 200),
        (PROXY, Some("192.0.2.1"), 503),
        (PROXY, Some("192.0.2.3"), 200),
        ([192, 0, 2, 2], Some("192.0.2.1"), 200),
    ];
    for (address, forwarded, status) in rows {
        let mut visitor = stage.visitor_from(address, 65_535).await;
        let mut post = request("POST");
        if let Some(forwarded) = forwarded {
            post = post.header("x-forwarded-for", forwarded);
        }
        let (answer, _) = visitor.send_request(post.body(()).unwrap(), true).unwrap();
        let answer = answer.await.unwrap();
        assert_eq!(answer.status(), status, "{address:?} {forwarded:?}");
    }
    drop(open);
    sleep(SECOND).await;
    assert_eq!(stage.session.open_streams(), 0);
}
