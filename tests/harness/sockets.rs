//! Connections to the edge as sockets, which can leave without a goodbye.

use ngrnotok_certs::tls::client_config;
use ngrnotok_common::socket::Socket;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::soon;
use crate::visitor::Via;
use crate::world::{DOMAIN, World};

/// Connects to the edge as a visitor of `name` does.
pub async fn dial(world: &World, via: Via, name: &str) -> Box<dyn Socket> {
    let door = TcpStream::connect(world.door(via));
    let stream = soon("the edge to take a connection", door).await;
    let stream = stream.expect("the edge listens");
    stream.set_nodelay(true).expect("a socket");
    if !via.is_tls() {
        return Box::new(stream);
    }
    let config = client_config(world.trust(), &[via.alpn()]).expect("a good authority");
    let server_name = ServerName::try_from(format!("{name}.{DOMAIN}")).expect("a good name");
    let connected = TlsConnector::from(config).connect(server_name, stream);
    let stream = soon("TLS with the edge", connected).await;
    Box::new(stream.expect("the edge speaks TLS"))
}
