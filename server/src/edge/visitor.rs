//! What the edge knows of a connection before its first request.

use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;

use http::HeaderValue;

use super::bond::Bond;
use super::forwarded::Stamp;
use crate::urls::Scheme;

/// One visitor's connection. What every request of it says in the same words is made once.
#[derive(Debug)]
pub(super) struct Visitor {
    /// The other end of the connection: the visitor itself, or a proxy.
    pub(super) peer: IpAddr,
    /// How its requests came in, unless a trusted proxy says otherwise.
    pub(super) scheme: Scheme,
    /// The name for which TLS was opened, lower case.
    pub(super) server_name: Option<Box<str>>,
    /// The peer is one of our own proxies: what it says of its visitors is believed.
    pub(super) trusted: bool,
    /// For `X-Forwarded-For`.
    pub(super) address: HeaderValue,
    /// For the host of the first request.
    pub(super) first_stamp: OnceLock<Stamp>,
    /// What the local app may have tied to it.
    pub(super) bond: Bond,
}

impl Visitor {
    pub(super) fn new(
        peer: SocketAddr,
        scheme: Scheme,
        server_name: Option<&str>,
        trusted: bool,
    ) -> Self {
        let address = peer.ip();
        Self {
            peer: address,
            scheme,
            server_name: server_name.map(|name| name.to_ascii_lowercase().into_boxed_str()),
            trusted,
            address: HeaderValue::try_from(address.to_string())
                .expect("an address is visible ASCII"),
            first_stamp: OnceLock::new(),
            bond: Bond::default(),
        }
    }
}
