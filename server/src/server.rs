//! The server as a whole: its order of starting and of stopping.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use ngrnotok_certs::Identities;
use ngrnotok_certs::tls::{TlsError, link_server_config, server_config};
use ngrnotok_common::protocol::ALPN;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tracing::{info, warn};

use crate::admin;
use crate::auth::Auth;
use crate::certificates;
use crate::config::Config;
use crate::edge::{Edge, Handover, HttpMode};
use crate::gate::{Gate, Keeping, Sessions};
pub use crate::listener::inherited;
use crate::listener::{accept, bind, inherit, is_loopback};
use crate::names::Names;
use crate::registry::Registry;
use crate::session::ShardId;
use crate::shard::{Door, Doors, Shard};
use crate::urls::{PublicUrls, Scheme};

/// A server that has its addresses and waits to be run.
#[derive(Debug)]
pub struct Server {
    addresses: Addresses,
    registry: Registry,
    auth: Auth,
    names: Names,
    identities: Identities,
    /// What the certificates should be good for.
    hosts: Vec<String>,
    threads: Vec<JoinHandle<()>>,
    admin: Option<TcpListener>,
    visitors: TaskTracker,
    links: TaskTracker,
    drain: CancellationToken,
    drain_limit: Duration,
    stop: CancellationToken,
    grace: Duration,
    /// Dropping the server ends its threads.
    end: DropGuard,
}

/// Where a server listens, ports chosen.
#[derive(Debug, Clone, Default)]
pub struct Addresses {
    /// TLS for visitors and links.
    pub https: Vec<SocketAddr>,
    /// Plain HTTP for visitors.
    pub http: Vec<SocketAddr>,
    /// TLS for links alone.
    pub tunnel: Vec<SocketAddr>,
    /// Health and readiness.
    pub admin: Option<SocketAddr>,
}

/// How long a visitor's idle connection may still come up with a request when there may be a successor to
/// go to afterwards: 2 s. Closing it at once would meet requests that are on their way.
const IDLE_DRAIN: Duration = Duration::from_secs(2);

/// The same when nobody takes new visitors meanwhile: 0.5 s.
const IDLE_DRAIN_ALONE: Duration = Duration::from_millis(500);

/// Why a server cannot start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("listen on {address}: {source}{hint}", hint = hint(source))]
    Listen {
        /// The address as configured.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// Sockets were passed to this process that cannot be taken.
    #[error("take the sockets that were passed to this process (LISTEN_FDS): {0}")]
    Inherit(io::Error),
    /// A socket was passed that nothing is served on.
    #[error(
        "find the use of the socket {0} that was passed to this process (LISTEN_FDS): no --https, --http, --tunnel or --admin has its port"
    )]
    Unwanted(SocketAddr),
    /// Strangers could open links from other machines. Sockets that were passed to this process may be
    /// bound to more than the address that is configured.
    #[error(
        "listen on {0}, which other machines can reach, while there is no token yet: make one with ngrnotok-server token create --account NAME, or let everybody in with --allow-anonymous"
    )]
    NoToken(SocketAddr),
    /// There is no way in.
    #[error("find an address to listen on: give --https, --http or both")]
    NoVisitors,
    /// There is no way in for tunnel clients.
    #[error("find an address for tunnel clients: give --https or --tunnel")]
    NoTunnels,
    /// TLS needs a certificate.
    #[error("find a certificate: give --cert and --key, or --dev-cert for one of our own")]
    NoCertificate,
    /// The certificate cannot be used.
    #[error("use the certificate: {0}")]
    Tls(#[from] TlsError),
    /// A thread or its runtime cannot be had.
    #[error("start a thread: {0}")]
    Thread(io::Error),
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            " (ports below 1024 need the capability CAP_NET_BIND_SERVICE, or root)"
        }
        io::ErrorKind::AddrInUse => {
            " (another program has it; stop that one or choose another port)"
        }
        io::ErrorKind::AddrNotAvailable => " (this machine does not have that address)",
        _ => "",
    }
}

impl Server {
    /// Binds every address and starts the shards. Visitors and clients are served from now on; the
    /// end comes with [`Server::run`].
    ///
    /// Must be called within a tokio runtime; the shards bring their own.
    pub fn bind(config: Config) -> Result<Self, StartError> {
        if config.https.is_empty() && config.http.is_empty() {
            return Err(StartError::NoVisitors);
        }
        if config.https.is_empty() && config.tunnel.is_empty() {
            return Err(StartError::NoTunnels);
        }
        let hosts = config.certified_hosts();
        let identities = config.identities.ok_or(StartError::NoCertificate)?;
        let shards = config.shards.get();
        let mut addresses = Addresses::default();
        let mut inherited = config.inherited;
        let has_successors = !inherited.is_empty();
        let mut listeners: Vec<Vec<(Door, std::net::TcpListener)>> =
            (0..shards).map(|_| Vec::new()).collect();
        for (door, wanted, bound) in [
            (Door::Https, &config.https, &mut addresses.https),
            (Door::Http, &config.http, &mut addresses.http),
            (Door::Tunnel, &config.tunnel, &mut addresses.tunnel),
        ] {
            for address in wanted {
                let copies = listen(*address, shards, &mut inherited)?;
                bound.push(local_address(*address, &copies[0])?);
                for (shard, copy) in listeners.iter_mut().zip(copies) {
                    shard.push((door, copy));
                }
            }
        }
        let admin = config
            .admin
            .map(|address| listen_admin(address, &mut inherited))
            .transpose()?;
        if let Some(unwanted) = inherited
            .first()
            .and_then(|socket| socket.local_addr().ok())
        {
            return Err(StartError::Unwanted(unwanted));
        }
        let mut for_links = addresses.https.iter().chain(&addresses.tunnel);
        if config.auth.is_open_until_there_is_a_token()
            && let Some(reachable) = for_links.find(|address| !is_loopback(address))
        {
            return Err(StartError::NoToken(*reachable));
        }
        addresses.admin = admin.as_ref().and_then(|admin| admin.local_addr().ok());

        let registry = Registry::new(&config.domain, config.settling);
        let (visitors, links) = (TaskTracker::new(), TaskTracker::new());
        let (drain, stop, end) =
            <(CancellationToken, CancellationToken, CancellationToken)>::default();
        let (handover, inboxes) = Handover::new(shards);
        let urls = PublicUrls::new(
            &config.domain,
            config.public_scheme,
            config.public_port,
            &addresses.https,
            &addresses.http,
        );
        let doors = Doors {
            edge: Arc::new(Edge {
                registry: registry.clone(),
                tls: match addresses.https.is_empty() {
                    true => None,
                    false => Some(server_config(identities.clone(), &[b"h2", b"http/1.1"])?),
                },
                http_mode: match urls.scheme {
                    Scheme::Https => config.http_mode,
                    // There is nothing to lead to.
                    Scheme::Http => HttpMode::Serve,
                },
                urls: urls.clone(),
                trusted_proxies: config.trusted_proxies,
                handover,
                connections: visitors.clone(),
                offline_wait: config.offline_wait,
                drain: drain.clone(),
                idle_drain: match has_successors {
                    true => IDLE_DRAIN,
                    false => IDLE_DRAIN_ALONE,
                },
            }),
            gate: Arc::new(Gate {
                auth: config.auth.clone(),
                names: config.names.clone(),
                sessions: Sessions::new(
                    registry.clone(),
                    config.names.clone(),
                    Keeping {
                        grace: config.grace,
                        patience: config.offline_wait,
                        most_away: config.most_away,
                    },
                    links.clone(),
                    stop.clone(),
                ),
                tls: link_server_config(identities.clone(), &[ALPN])?,
                region: config.region,
                urls,
                identities: identities.clone(),
                tasks: links.clone(),
                drain: drain.clone(),
                drain_limit: config.drain_limit,
                stop: stop.clone(),
                most_requests: config.most_requests,
                oldest_link: config.oldest_link,
            }),
            places: Arc::new(Semaphore::new(config.max_connections)),
        };
        let threads = listeners
            .into_iter()
            .zip(inboxes)
            .enumerate()
            .map(|(id, (listeners, inbox))| {
                let shard = Shard {
                    id: ShardId(id),
                    listeners,
                    inbox,
                    doors: doors.clone(),
                    end: end.clone(),
                };
                shard.start().map_err(StartError::Thread)
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            addresses,
            registry,
            auth: config.auth,
            names: config.names,
            identities,
            hosts,
            threads,
            admin,
            visitors,
            links,
            drain,
            drain_limit: config.drain_limit,
            stop,
            grace: config.grace,
            end: end.drop_guard(),
        })
    }

    /// Where the server listens.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Who serves which name.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Serves until `shutdown` resolves, then drains: first no new connections and no new requests on
    /// old ones, and clients are told; then open requests finish, up to the drain limit; then the links
    /// close; then the threads end. Returns whether every request could finish.
    ///
    /// Cancel safety: dropping the future ends the server at once.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> bool {
        let (auth, names) = (self.auth, self.names);
        let (identities, hosts) = (self.identities, self.hosts);
        let (registry, stop) = (self.registry, self.stop.clone());
        // As long as there are links, and not on a shard, because both work with the store.
        let watch = async move {
            let names = async {
                names.recall(&registry, self.grace).await;
                names.keep(&registry).await
            };
            let certificates = certificates::watch(&identities, &hosts);
            let all = async { tokio::join!(auth.watch(), names, certificates) };
            stop.run_until_cancelled(all).await
        };
        let _watch = AbortOnDropHandle::new(self.links.spawn(watch));
        tokio::select! {
            () = shutdown => {}
            () = serve_admin(self.admin.as_ref(), &self.drain) => {}
        }
        info!("draining: no new requests, open ones may finish");
        self.drain.cancel();
        self.visitors.close();
        let drained = async {
            tokio::select! {
                () = self.visitors.wait() => {}
                // Probes must see that this server is alive and not ready.
                () = serve_admin(self.admin.as_ref(), &self.drain) => {}
            }
        };
        let all_done = timeout(self.drain_limit, drained).await.is_ok();
        if !all_done {
            warn!(
                connections = self.visitors.len(),
                "the drain limit is over; cutting what is still open"
            );
        }
        self.stop.cancel();
        self.links.close();
        let _ = timeout(Duration::from_secs(2), self.links.wait()).await;
        drop(self.end);
        for thread in self.threads {
            // Each has been told to end, and does nothing that blocks.
            let _ = thread.join();
        }
        all_done
    }
}

async fn serve_admin(listener: Option<&TcpListener>, drain: &CancellationToken) {
    let Some(listener) = listener else {
        return std::future::pending().await;
    };
    // Probes are short and few; their tasks end with this future.
    let mut probes = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            (stream, _) = accept(listener), if probes.len() < 64 => {
                probes.spawn(admin::serve(stream, drain.clone()));
            }
            Some(_) = probes.join_next() => {}
        }
    }
}

fn listen(
    address: SocketAddr,
    copies: usize,
    inherited: &mut Vec<std::net::TcpListener>,
) -> Result<Vec<std::net::TcpListener>, StartError> {
    match inherit(address, copies, inherited).map_err(StartError::Inherit)? {
        Some(shared) => Ok(shared),
        None => bind(address, copies).map_err(|source| StartError::Listen { address, source }),
    }
}

fn listen_admin(
    address: SocketAddr,
    inherited: &mut Vec<std::net::TcpListener>,
) -> Result<TcpListener, StartError> {
    let socket = listen(address, 1, inherited)?.remove(0);
    TcpListener::from_std(socket).map_err(|source| StartError::Listen { address, source })
}

fn local_address(
    address: SocketAddr,
    listener: &std::net::TcpListener,
) -> Result<SocketAddr, StartError> {
    listener
        .local_addr()
        .map_err(|source| StartError::Listen { address, source })
}
