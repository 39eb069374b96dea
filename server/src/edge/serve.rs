//! One visitor's connection, from the moment its first bytes tell whom it is for.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use ngrnotok_common::hostname::HostPort;
use rustls::ServerConfig;
use rustls::server::Accepted;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_rustls::StartHandshake;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::handover::{Handover, Visit};
use super::sniff::{self, Protocol};
use super::visitor::Visitor;
use super::{http1, http2};
use crate::registry::Registry;
use crate::session::ShardId;
use crate::urls::{PublicUrls, Scheme};

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
    pub urls: PublicUrls,
    /// Peers whose word on the visitors behind them is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// The way to the other shards.
    pub handover: Handover,
    /// Every connection runs here, so that a drain can wait for them.
    pub connections: TaskTracker,
    /// How long visitors wait for somebody who should be there.
    pub offline_wait: Duration,
    /// Cancelled when no new requests are wanted.
    pub drain: CancellationToken,
    /// How long an idle HTTP/1.1 connection may then still come up with one.
    pub idle_drain: Duration,
}

/// What a connection has in a drain to come up with its first request: 0.5 s.
const DRAIN_GRACE: Duration = Duration::from_millis(500);

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
    /// Takes a connection whose ClientHello has been read, on the shard that accepted it, and gives it
    /// back if it is to be served there.
    pub fn open_tls(
        &self,
        here: ShardId,
        hello: StartHandshake<TcpStream>,
        arrival: Arrival,
    ) -> io::Result<Option<Visit<TcpStream>>> {
        let home = hello
            .client_hello()
            .server_name()
            .and_then(|name| self.home(name));
        let visit = Visit::Tls {
            accepted: Box::new(hello.accepted),
            stream: hello.io,
            arrival,
        };
        self.pass_on(here, home, visit)
    }

    /// Takes a connection of the plain port, on the shard that accepted it, and gives it back if it is to
    /// be served there.
    pub async fn open_plain(
        &self,
        here: ShardId,
        stream: TcpStream,
        arrival: Arrival,
    ) -> io::Result<Option<Visit<TcpStream>>> {
        let opening = self.opens(arrival.deadline, sniff::opening(stream)).await?;
        let home = opening.host().and_then(|host| self.home(host));
        let visit = Visit::Plain { opening, arrival };
        self.pass_on(here, home, visit)
    }

    /// What comes before the first request: it must come in time, and in a drain soon.
    pub(crate) async fn opens<T>(
        &self,
        deadline: Instant,
        opening: impl Future<Output = io::Result<T>>,
    ) -> io::Result<T> {
        let draining = async {
            self.drain.cancelled().await;
            sleep(DRAIN_GRACE).await;
        };
        tokio::select! {
            opened = timeout_at(deadline, opening) => opened?,
            () = draining => Err(io::ErrorKind::Interrupted.into()),
        }
    }

    /// The shard on which the session of a host lives.
    fn home(&self, host: &str) -> Option<ShardId> {
        let host = HostPort::parse(host).ok()?;
        Some(self.registry.lookup(&host).ok()?.session.shard())
    }

    /// Request, link and answer share a thread when the connection moves to the shard of its tunnel.
    fn pass_on(
        &self,
        here: ShardId,
        home: Option<ShardId>,
        visit: Visit<TcpStream>,
    ) -> io::Result<Option<Visit<TcpStream>>> {
        match home {
            Some(home) if home != here => match self.handover.send(home, visit.detach()?) {
                Ok(()) => Ok(None),
                // A full inbox is no reason to turn a visitor away; sessions work from every shard.
                Err(visit) => visit.attach().map(Some),
            },
            _ => Ok(Some(visit)),
        }
    }

    /// Serves a connection on this shard to its end.
    ///
    /// Idle connections are many, and each holds a future as large as the largest that it could have been.
    /// So what is larger than HTTP/1.1 in clear has a box of its own.
    pub async fn serve(self: Arc<Self>, visit: Visit<TcpStream>) -> io::Result<()> {
        match visit {
            Visit::Tls {
                accepted,
                stream,
                arrival,
            } => Box::pin(self.serve_tls(accepted, stream, arrival)).await,
            Visit::Plain { opening, arrival } => {
                let protocol = opening.protocol;
                let visitor = self.visitor(&arrival, Scheme::Http, None);
                let (stream, permit) = (opening.into_stream(), arrival.permit);
                match protocol {
                    Protocol::Http1 => http1::serve(&self, visitor, stream, permit).await,
                    Protocol::Http2 => Box::pin(http2::serve(&self, visitor, stream, permit)).await,
                }
                Ok(())
            }
        }
    }

    async fn serve_tls(
        self: &Arc<Self>,
        accepted: Box<Accepted>,
        stream: TcpStream,
        arrival: Arrival,
    ) -> io::Result<()> {
        let Some(config) = self.tls.clone() else {
            return Ok(());
        };
        let name = accepted.client_hello().server_name().map(ToOwned::to_owned);
        let hello = StartHandshake::from_parts(*accepted, stream);
        let opening = self.opens(arrival.deadline, hello.into_stream(config));
        let stream = Box::pin(opening).await?;
        let protocol = match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => Protocol::Http2,
            _ => Protocol::Http1,
        };
        let visitor = self.visitor(&arrival, Scheme::Https, name.as_deref());
        let permit = arrival.permit;
        match protocol {
            Protocol::Http1 => http1::serve(self, visitor, stream, permit).await,
            Protocol::Http2 => Box::pin(http2::serve(self, visitor, stream, permit)).await,
        }
        Ok(())
    }

    fn visitor(
        &self,
        arrival: &Arrival,
        scheme: Scheme,
        server_name: Option<&str>,
    ) -> Arc<Visitor> {
        let trusted = self.trusts(arrival.peer.ip());
        let scheme = match trusted && self.urls.tls_by_proxy {
            true => Scheme::Https,
            false => scheme,
        };
        Arc::new(Visitor::new(arrival.peer, scheme, server_name, trusted))
    }

    /// Whether an address is that of one of our own proxies.
    pub(super) fn trusts(&self, address: IpAddr) -> bool {
        let mut networks = self.trusted_proxies.iter();
        networks.any(|network| network.contains(&address))
    }
}
