//! The server in the same process, for when no other is named: everything works on this machine
//! alone, over the very same TLS link as with a remote server.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::time::Duration;

use ngrnotok_certs::Identities;
use ngrnotok_certs::dev::{DevAuthority, DevError};
use ngrnotok_certs::tls::Trust;
use ngrnotok_common::secret::Secret;
use ngrnotok_server::auth::{Anonymous, Auth, CreateTokenError, create_token};
use ngrnotok_server::config::Config;
use ngrnotok_server::names::Names;
use ngrnotok_server::server::{Server, StartError};
use ngrnotok_server::store::{Store, StoreError};
use thiserror::Error;

use crate::connect::{Connector, ConnectorError};

/// Where visitors come in, unless it is taken.
pub const PORT: u16 = 4080;

/// How many ports after it are tried before any free one is taken.
const NEXT_PORTS: u16 = 20;

/// A server of our own and the way to it.
#[derive(Debug)]
pub struct Embedded {
    /// The server; it serves already and must be run to end in order.
    pub server: Server,
    /// The way to it.
    pub connector: Connector,
    /// Made for this run: other users of this machine cannot open tunnels here.
    pub token: Secret,
    /// Where visitors come in.
    pub port: u16,
}

/// Why the embedded server cannot start.
#[derive(Debug, Error)]
pub enum EmbeddedError {
    /// No certificates.
    #[error("{0}")]
    Certificate(#[from] DevError),
    /// No place for the token.
    #[error("failed to {0}")]
    Store(#[from] StoreError),
    /// No token.
    #[error("failed to {0}")]
    Token(#[from] CreateTokenError),
    /// No port.
    #[error("failed to {0}")]
    Start(#[from] StartError),
    /// No way to our own server.
    #[error("{0}")]
    Connector(#[from] ConnectorError),
}

/// Starts a server on loopback, on [`PORT`] or the next free one.
pub async fn start() -> Result<Embedded, EmbeddedError> {
    let authority = DevAuthority::generate()?;
    let store = Store::in_memory()?;
    let token = create_token(&store, "local").await?;
    let auth = Auth::new(Some(store), Anonymous::Never);
    let trust = Trust::Roots(vec![authority.certificate()]);
    let identities = Identities::issued(authority, vec!["localhost".to_owned()])?;
    let start_on = |port| {
        Server::bind(Config {
            http: visitor_addresses(port),
            tunnel: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))],
            identities: Some(identities.clone()),
            // There is nobody here to be taken for somebody else.
            names: Names::free(),
            // One developer's traffic; the tunnel and its visitors share a thread.
            shards: NonZeroUsize::MIN,
            settling: Duration::ZERO,
            ..Config::new("localhost", auth.clone())
        })
    };
    let server = (PORT..PORT + NEXT_PORTS)
        .chain([0])
        .map(start_on)
        .find(|started| !is_taken(started))
        .expect("the last port is any free one")?;
    let port = server.addresses().http[0].port();
    let tunnel = server.addresses().tunnel[0].port();
    let connector = Connector::new("localhost", tunnel, trust)?;
    Ok(Embedded {
        server,
        connector,
        token,
        port,
    })
}

fn is_taken<T>(started: &Result<T, StartError>) -> bool {
    matches!(started, Err(StartError::Listen { source, .. })
        if source.kind() == std::io::ErrorKind::AddrInUse)
}

/// Browsers and tools disagree on what `name.localhost` resolves to, so both loopback addresses are
/// served. Port 0 would be another one on each, so then there is only the first.
fn visitor_addresses(port: u16) -> Vec<SocketAddr> {
    let mut addresses: Vec<IpAddr> = vec![Ipv4Addr::LOCALHOST.into()];
    if port != 0 && has_ipv6() {
        addresses.push(Ipv6Addr::LOCALHOST.into());
    }
    addresses
        .into_iter()
        .map(|address| SocketAddr::new(address, port))
        .collect()
}

fn has_ipv6() -> bool {
    std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}
