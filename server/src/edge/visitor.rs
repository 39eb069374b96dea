//! What the edge knows of a connection before its first request.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;

use http::HeaderValue;

use super::forwarded::Stamp;

/// How a visitor came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// One visitor's connection. What every request of it says in the same words is made once.
#[derive(Debug)]
pub(super) struct Visitor {
    pub(super) scheme: Scheme,
    /// The name for which TLS was opened, lower case.
    pub(super) server_name: Option<Box<str>>,
    /// The peer is one of our own proxies: what it says of its visitors is believed.
    pub(super) trusted: bool,
    /// For `X-Forwarded-For`.
    pub(super) address: HeaderValue,
    /// For `Forwarded`: `for=192.0.2.1;proto=https`, RFC 7239 §4.
    pub(super) forwarded: String,
    /// For the host of the first request.
    pub(super) first_stamp: OnceLock<Stamp>,
}

impl Visitor {
    pub(super) fn new(
        peer: SocketAddr,
        scheme: Scheme,
        server_name: Option<&str>,
        trusted: bool,
    ) -> Self {
        let address = peer.ip();
        let mut forwarded = match address {
            IpAddr::V4(address) => format!("for={address}"),
            IpAddr::V6(address) => format!("for=\"[{address}]\""),
        };
        let _ = write!(forwarded, ";proto={}", scheme.name());
        Self {
            scheme,
            server_name: server_name.map(|name| name.to_ascii_lowercase().into_boxed_str()),
            trusted,
            address: HeaderValue::try_from(address.to_string())
                .expect("an address is visible ASCII"),
            forwarded,
            first_stamp: OnceLock::new(),
        }
    }
}
