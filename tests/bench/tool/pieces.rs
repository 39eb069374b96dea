//! The hot pieces of ngrnotok, each as often as it is told, on one thread and through public faces: what
//! `tests/bench/gate` counts instructions of.
//!
//! The mapping of heads has no face of its own. At the edge it is in `edge`, in the tunnel client in `local`.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::{Args, ValueEnum};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use ngrnotok::local::{Caller, Local, Options, RequestBody, Target};
use ngrnotok_common::headers;
use ngrnotok_common::hostname::HostPort;
use ngrnotok_common::id::{SessionId, TunnelId};
use ngrnotok_common::link::body::LinkBody;
use ngrnotok_common::link::calling::{Requests, exchange};
use ngrnotok_common::link::open::{client_end, server_end};
use ngrnotok_common::link::serving::Reply;
use ngrnotok_common::link::windows::UnreadTotal;
use ngrnotok_server::edge::{self, Edge, Handover, HttpMode};
use ngrnotok_server::registry::{Claim, Registry, Route, Terms};
use ngrnotok_server::session::{Arrival, Caps, Count, Limits, Link, Session, ShardId};
use ngrnotok_server::urls::PublicUrls;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connection::Connection;
use crate::origin;

/// What, and how often.
#[derive(Debug, Args)]
pub(crate) struct Piece {
    piece: Kind,
    rounds: usize,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// From the text of `Host` to the tunnel, among 1000.
    Lookup,
    /// The fields of a browser's request at a hop.
    Fields,
    /// A request and its answer of 1 KiB over a link in memory.
    Request,
    /// 64 of them at once, which share their flushes.
    Burst,
    /// 1 MiB down over a link in memory.
    Down,
    /// 1 MiB up.
    Up,
    /// The whole edge: a visitor's socket, the head for the link, the link in memory, the answer.
    Edge,
    /// The tunnel client's half: the head for the app, the app's socket, the answer for the link.
    Local,
}

impl Piece {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let Self { piece, rounds } = self;
        match piece {
            Kind::Lookup => lookup(rounds),
            Kind::Fields => fields(rounds),
            Kind::Request => requests(rounds, 1).await,
            Kind::Burst => requests(rounds, 64).await,
            Kind::Down => down(rounds).await,
            Kind::Up => up(rounds).await,
            Kind::Edge => edge(rounds).await,
            Kind::Local => local(rounds).await,
        }
    }
}

const HOST: &str = "app500.tunnel.test";

fn lookup(rounds: usize) -> anyhow::Result<()> {
    let registry = Registry::new("tunnel.test", Duration::ZERO);
    let session = session(&TaskTracker::new());
    let claims: Result<Vec<_>, _> = (0..1000)
        .map(|number| claim(&registry, &format!("app{number}"), &session))
        .collect();
    let _claims = claims?;
    for _ in 0..rounds {
        let host = HostPort::parse(std::hint::black_box(HOST))?;
        std::hint::black_box(registry.lookup(&host).is_ok());
    }
    Ok(())
}

fn session(tasks: &TaskTracker) -> Session {
    let limits = Limits::new(Caps::default());
    Session::new(SessionId::random(), Duration::ZERO, limits, tasks.clone())
}

fn claim(registry: &Registry, name: &str, session: &Session) -> anyhow::Result<Claim> {
    let route = Route {
        session: session.clone(),
        tunnel: TunnelId(0),
    };
    let terms = Terms {
        account: "bench".into(),
        pool: false,
    };
    Ok(registry.claim(name.parse()?, route, terms)?)
}

/// What a browser says.
const FIELDS: [(&str, &str); 11] = [
    ("accept", "text/html,application/xhtml+xml,*/*;q=0.8"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("accept-language", "en-GB,en;q=0.5"),
    ("connection", "keep-alive"),
    ("content-length", "12"),
    ("cookie", "session=0123456789abcdef; theme=dark"),
    ("referer", "https://app500.tunnel.test/"),
    ("sec-fetch-dest", "document"),
    ("sec-fetch-mode", "navigate"),
    ("te", "trailers"),
    (
        "user-agent",
        "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Firefox/130.0",
    ),
];

fn fields(rounds: usize) -> anyhow::Result<()> {
    let pairs = FIELDS.map(|(name, value)| Ok((name.parse()?, HeaderValue::from_static(value))));
    let said: anyhow::Result<HeaderMap> = pairs.into_iter().collect();
    let said = said?;
    for _ in 0..rounds {
        let mut fields = std::hint::black_box(said.clone());
        headers::settle_framing(&mut fields).map_err(|_| anyhow::anyhow!("ambiguous"))?;
        headers::strip_hop(&mut fields);
        headers::join_cookies(&mut fields);
        std::hint::black_box(fields);
    }
    Ok(())
}

/// How much fits between the two ends of a link in memory: what a socket takes.
const SOCKET: usize = 256 * 1024;

const KIB: Bytes = Bytes::from_static(&[b'0'; 1024]);
const MIB: Bytes = Bytes::from_static(&[b'0'; 1024 * 1024]);

/// A link in memory, whose far end reads each request and answers with `body`.
async fn link(body: Bytes, tasks: &TaskTracker) -> anyhow::Result<Requests> {
    let (near, far) = tokio::io::duplex(SOCKET);
    let (requests, calling) = server_end(near, UnreadTotal::default()).await?;
    // What it says first leaves when it is driven.
    tasks.spawn(async { drop(calling.await) });
    let mut serving = client_end(far, UnreadTotal::default()).await?;
    let answers = tasks.clone();
    tasks.spawn(async move {
        while let Ok(Some((request, reply))) = serving.accept().await {
            let upload = reply.body(request.into_body());
            answers.spawn(answer(upload, reply, body.clone()));
        }
    });
    // With the first answer come the settings of the far end.
    ask(&requests, Empty::new(), tasks).await?;
    Ok(requests)
}

async fn answer(upload: LinkBody, reply: Reply, body: Bytes) {
    if upload.collect().await.is_ok() {
        let length = body.len();
        let mut body = Full::new(body);
        let mut answer = Response::new(&mut body);
        answer.headers_mut().insert(CONTENT_LENGTH, length.into());
        drop(reply.send(answer).await);
    }
}

async fn ask<B>(requests: &Requests, body: B, tasks: &TaskTracker) -> anyhow::Result<()>
where
    B: http_body::Body<Data = Bytes, Error: Debug + Send + Sync> + Send + 'static,
{
    let head = Request::post("https://app500.tunnel.test/a/path?query").body(())?;
    let answer = exchange(requests, head, body, &mut |_| {}, tasks).await?;
    read(answer.into_body()).await
}

async fn read<B>(mut body: B) -> anyhow::Result<()>
where
    B: http_body::Body<Data = Bytes, Error: std::fmt::Display> + Unpin,
{
    while let Some(frame) = body.frame().await {
        frame.map_err(|error| anyhow::anyhow!("a body broke: {error}"))?;
    }
    Ok(())
}

async fn requests(rounds: usize, at_once: usize) -> anyhow::Result<()> {
    let tasks = TaskTracker::new();
    let requests = link(KIB, &tasks).await?;
    for _ in 0..rounds {
        let mut asked = JoinSet::new();
        for _ in 0..at_once {
            let (requests, tasks) = (requests.clone(), tasks.clone());
            asked.spawn(async move { ask(&requests, Empty::new(), &tasks).await });
        }
        for answered in asked.join_all().await {
            answered?;
        }
    }
    Ok(())
}

async fn down(rounds: usize) -> anyhow::Result<()> {
    let tasks = TaskTracker::new();
    let requests = link(MIB, &tasks).await?;
    for _ in 0..rounds {
        ask(&requests, Empty::new(), &tasks).await?;
    }
    Ok(())
}

async fn up(rounds: usize) -> anyhow::Result<()> {
    let tasks = TaskTracker::new();
    let requests = link(Bytes::new(), &tasks).await?;
    for _ in 0..rounds {
        ask(&requests, Full::new(MIB), &tasks).await?;
    }
    Ok(())
}

/// The server's id of its only thread.
const SHARD: ShardId = ShardId(0);

async fn edge(rounds: usize) -> anyhow::Result<()> {
    let tasks = TaskTracker::new();
    let requests = link(KIB, &tasks).await?;
    let registry = Registry::new("tunnel.test", Duration::ZERO);
    let session = session(&tasks);
    let link = Link::new(SHARD, requests, u32::MAX, CancellationToken::new());
    let _link = session.attach(link, Arrival::Joins, Count::default().add());
    let _claim = claim(&registry, "app500", &session)?;
    let edge = Arc::new(Edge {
        registry,
        tls: None,
        http_mode: HttpMode::Serve,
        urls: PublicUrls::new("tunnel.test", None, None, &[], &[]),
        trusted_proxies: Vec::new(),
        handover: Handover::new(1).0,
        connections: tasks.clone(),
        offline_wait: Duration::ZERO,
        drain: CancellationToken::new(),
        idle_drain: Duration::ZERO,
    });

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let mut visitor = Connection::open(listener.local_addr()?.port()).await?;
    let (stream, peer) = listener.accept().await?;
    tasks.spawn(async move { drop(visit(edge, stream, peer).await) });
    let head = format!("GET /a/path?query HTTP/1.1\r\nhost: {HOST}\r\naccept: */*\r\n\r\n");
    for _ in 0..rounds {
        visitor.ask(head.as_bytes()).await?;
    }
    Ok(())
}

async fn visit(
    edge: Arc<Edge>,
    stream: TcpStream,
    peer: std::net::SocketAddr,
) -> anyhow::Result<()> {
    let arrival = edge::Arrival {
        peer,
        deadline: Instant::now() + Duration::from_secs(60),
        permit: Arc::new(Semaphore::new(1)).try_acquire_owned()?,
    };
    if let Some(visit) = edge.open_plain(SHARD, stream, arrival).await? {
        edge.serve(visit).await?;
    }
    Ok(())
}

async fn local(rounds: usize) -> anyhow::Result<()> {
    let tasks = TaskTracker::new();
    let app = TcpListener::bind("127.0.0.1:0").await?;
    let target = Target::port(app.local_addr()?.port())?;
    tasks.spawn(origin::serve_all(app));
    let local = Local::new(target, Options::default(), tasks)?;
    for _ in 0..rounds {
        let head = Request::get("https://app500.tunnel.test/bytes/1024").header("accept", "*/*");
        let mut request = head.body(RequestBody::none())?;
        let answer = local.exchange(&mut request, &Caller::default()).await;
        let mut body = answer
            .map_err(|_| anyhow::anyhow!("no answer"))?
            .into_body();
        read(&mut body).await?;
        local.done(body);
    }
    Ok(())
}
