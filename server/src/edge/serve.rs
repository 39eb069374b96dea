//! One visitor's connection, from the moment its first bytes tell whom it is for.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use ipnet::IpNet;
use ngrnotok_common::hostname::HostPort;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_rustls::StartHandshake;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::activity::{Activity, Verdict, Watched};
use super::handle::handle;
use super::handover::{Handover, Visit};
use super::sniff::{self, Protocol};
use super::visitor::{Scheme, Visitor};
use crate::registry::Registry;
use crate::session::ShardId;

/// A visitor's HTTP/1 head, and what may wait in memory to be written to it: 64 KiB.
const BUFFER: usize = 64 * 1024;

/// What the plain port is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpMode {
    /// Send everybody to https.
    Redirect,
    /// Serve tunnels in clear.
    Serve,
}

/// The door for visitors, one for all shards.
#[derive(Debug)]
pub struct Edge {
    /// Who serves which name.
    pub registry: Registry,
    /// TLS for visitors; `None` without an https port.
    pub tls: Option<Arc<ServerConfig>>,
    /// What the plain port is for.
    pub http_mode: HttpMode,
    /// Where a redirect leads.
    pub https_port: Option<u16>,
    /// Peers whose word on the visitors behind them is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// The way to the other shards.
    pub handover: Handover,
    /// Every connection runs here, so that a drain can wait for them.
    pub connections: TaskTracker,
    /// Cancelled when no new requests are wanted.
    pub drain: CancellationToken,
}

/// A connection that has just been accepted.
#[derive(Debug)]
pub struct Arrival {
    /// Who called.
    pub peer: SocketAddr,
    /// When the first head or the TLS handshake must be there.
    pub deadline: Instant,
    /// Its place among the connections that the server holds at once.
    pub permit: OwnedSemaphorePermit,
}

impl Edge {
    /// Takes a connection whose ClientHello has been read, on the shard that accepted it.
    pub async fn visit_tls(
        self: Arc<Self>,
        here: ShardId,
        hello: StartHandshake<TcpStream>,
        arrival: Arrival,
    ) -> io::Result<()> {
        let home = hello
            .client_hello()
            .server_name()
            .and_then(|name| self.home(name));
        let visit = Visit::tls(hello.accepted, hello.io, arrival)?;
        self.pass_on(here, home, visit).await
    }

    /// Takes a connection of the plain port, on the shard that accepted it.
    pub async fn visit_plain(
        self: Arc<Self>,
        here: ShardId,
        stream: TcpStream,
        arrival: Arrival,
    ) -> io::Result<()> {
        let opening = timeout_at(arrival.deadline, sniff::opening(stream)).await??;
        let home = opening.host().and_then(|host| self.home(host));
        let visit = Visit::plain(opening, arrival)?;
        self.pass_on(here, home, visit).await
    }

    /// The shard on which the session of a host lives.
    fn home(&self, host: &str) -> Option<ShardId> {
        let host = HostPort::parse(host).ok()?;
        Some(self.registry.lookup(&host).ok()?.session.shard())
    }

    /// Request, link and answer share a thread when the connection moves to the shard of its tunnel.
    async fn pass_on(
        self: Arc<Self>,
        here: ShardId,
        home: Option<ShardId>,
        visit: Visit,
    ) -> io::Result<()> {
        match home {
            Some(home) if home != here => match self.handover.send(home, visit) {
                Ok(()) => Ok(()),
                // A full inbox is no reason to turn a visitor away; sessions work from every shard.
                Err(visit) => self.serve(visit).await,
            },
            _ => self.serve(visit).await,
        }
    }

    /// Serves a connection on this shard to its end.
    pub async fn serve(self: Arc<Self>, visit: Visit) -> io::Result<()> {
        match visit {
            Visit::Tls {
                accepted,
                stream,
                arrival,
            } => {
                let Some(config) = self.tls.clone() else {
                    return Ok(());
                };
                let name = accepted.client_hello().server_name().map(ToOwned::to_owned);
                let hello = StartHandshake::from_parts(*accepted, TcpStream::from_std(stream)?);
                let stream = timeout_at(arrival.deadline, hello.into_stream(config)).await??;
                let protocol = match stream.get_ref().1.alpn_protocol() {
                    Some(b"h2") => Protocol::Http2,
                    _ => Protocol::Http1,
                };
                let visitor = self.visitor(&arrival, Scheme::Https, name.as_deref());
                self.run(visitor, protocol, stream).await;
            }
            Visit::Plain { opening, arrival } => {
                let protocol = opening.protocol;
                let visitor = self.visitor(&arrival, Scheme::Http, None);
                self.run(visitor, protocol, opening.into_stream()?).await;
            }
        }
        Ok(())
    }

    fn visitor(&self, arrival: &Arrival, scheme: Scheme, server_name: Option<&str>) -> Visitor {
        let address = arrival.peer.ip().to_canonical();
        let trusted = self
            .trusted_proxies
            .iter()
            .any(|network| network.contains(&address));
        Visitor::new(arrival.peer, scheme, server_name, trusted)
    }

    async fn run<S>(self: Arc<Self>, visitor: Visitor, protocol: Protocol, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let activity = Activity::new();
        let is_http1 = protocol == Protocol::Http1;
        let io = TokioIo::new(Watched::new(stream, Arc::clone(&activity), is_http1));
        let edge = Arc::clone(&self);
        let visitor = Arc::new(visitor);
        let notes = Arc::clone(&activity);
        let service = service_fn(move |request: Request<Incoming>| {
            let (edge, visitor, open) = (Arc::clone(&edge), Arc::clone(&visitor), notes.open());
            async move { Ok::<_, Infallible>(handle(&edge, &visitor, request, open).await) }
        });
        if is_http1 {
            let connection = http1::Builder::new()
                .max_buf_size(BUFFER)
                .auto_date_header(false)
                .serve_connection(io, service);
            self.drive(connection, &activity).await;
        } else {
            let connection = http2::Builder::new(OnTracker(self.connections.clone()))
                .timer(TokioTimer::new())
                .keep_alive_interval(Duration::from_secs(30))
                .keep_alive_timeout(Duration::from_secs(20))
                .max_concurrent_streams(128)
                .initial_stream_window_size(256 * 1024)
                .initial_connection_window_size(2 * 1024 * 1024)
                .max_header_list_size(64 * 1024)
                .max_send_buf_size(64 * 1024)
                .auto_date_header(false)
                .serve_connection(io, service);
            self.drive(connection, &activity).await;
        }
    }

    /// Drives a connection until it ends, idles away, stalls, or has drained.
    async fn drive<C>(&self, connection: C, activity: &Activity)
    where
        C: GracefulConnection<Error = hyper::Error>,
    {
        let mut connection = pin!(connection);
        let mut timer = pin!(sleep_until(Instant::now() + super::activity::HEAD_LIMIT));
        let mut drain = pin!(self.drain.cancelled());
        let mut draining = false;
        let end = std::future::poll_fn(|cx| {
            if let Poll::Ready(end) = connection.as_mut().poll(cx) {
                return Poll::Ready(Some(end));
            }
            if !draining && drain.as_mut().poll(cx).is_ready() {
                draining = true;
                connection.as_mut().graceful_shutdown();
                cx.waker().wake_by_ref();
            }
            // The timer is moved forward only for a head that has begun and is not all there.
            if let Some(deadline) = activity.head_deadline()
                && deadline < timer.deadline()
            {
                timer.as_mut().reset(deadline);
            }
            while timer.as_mut().poll(cx).is_ready() {
                match activity.verdict() {
                    Verdict::Wait(until) => timer.as_mut().reset(until),
                    Verdict::Cut => return Poll::Ready(None),
                    Verdict::Close => {
                        connection.as_mut().graceful_shutdown();
                        cx.waker().wake_by_ref();
                        let again = Instant::now() + super::activity::HEAD_LIMIT;
                        timer.as_mut().reset(again);
                    }
                }
            }
            Poll::Pending
        });
        match end.await {
            Some(Ok(())) => {}
            Some(Err(error)) => debug!(%error, "visitor's connection ended"),
            None => debug!("visitor's connection cut: too slow"),
        }
    }
}

/// Runs the tasks of hyper's HTTP/2 where a drain waits for them.
#[derive(Clone)]
struct OnTracker(TaskTracker);

impl<F> hyper::rt::Executor<F> for OnTracker
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}
