//! Connections to the edge as sockets, which can leave without a goodbye.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use ngrnotok_certs::tls::client_config;
use ngrnotok_common::socket::Socket;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::soon;
use crate::visitor::Via;
use crate::world::{DOMAIN, World};

/// Connects to the edge as a visitor of `name` does.
pub async fn dial(world: &World, via: Via, name: &str) -> Box<dyn Socket> {
    let config = via
        .is_tls()
        .then(|| client_config(world.trust(), &[via.alpn()]).expect("a good authority"));
    let host = format!("{name}.{DOMAIN}");
    let dialed = try_dial(world.door(via), config, &host);
    let stream = soon("the edge to take a connection", dialed).await;
    stream.expect("the edge listens")
}

/// Connects to a door that may be closed; with TLS to `host` where there is a configuration for it.
pub async fn try_dial(
    door: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
    host: &str,
) -> io::Result<Box<dyn Socket>> {
    let stream = TcpStream::connect(door).await?;
    stream.set_nodelay(true)?;
    let Some(config) = tls else {
        return Ok(Box::new(stream));
    };
    let host = ServerName::try_from(host.to_owned()).expect("a good name");
    let stream = TlsConnector::from(config).connect(host, stream).await?;
    Ok(Box::new(stream))
}
