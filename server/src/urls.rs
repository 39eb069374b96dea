//! Public URLs: what visitors type, which is not always what the server listens on.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use clap::ValueEnum;
use ngrnotok_common::hostname::Name;
use serde::Deserialize;

/// The scheme of a URL, and how a visitor came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    /// In clear
    Http,
    /// Over TLS
    Https,
}

impl Scheme {
    /// `http` or `https`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port that URLs leave out.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// How visitors reach a name: `https://NAME.tunnel.example.com:8443`, or `https://app.example.com:8443`.
#[derive(Debug, Clone)]
pub struct PublicUrls {
    /// How visitors come in.
    pub scheme: Scheme,
    /// The part behind the name.
    pub domain: Arc<str>,
    /// Shown unless it is the scheme's own.
    pub port: u16,
    /// A proxy in front ends TLS, so visitors never see a certificate of ours.
    pub tls_by_proxy: bool,
}

impl PublicUrls {
    /// The URLs of a server that listens on `https` and `http`. `scheme` and `port` are the operator's word where
    /// visitors use others than the server listens on.
    pub fn new(
        domain: &str,
        scheme: Option<Scheme>,
        port: Option<u16>,
        https: &[SocketAddr],
        http: &[SocketAddr],
    ) -> Self {
        let scheme = scheme.unwrap_or(match https.is_empty() {
            true => Scheme::Http,
            false => Scheme::Https,
        });
        let own = match scheme {
            Scheme::Http => http,
            Scheme::Https => https,
        };
        let listened_on = own.first().map(SocketAddr::port);
        Self {
            scheme,
            domain: domain.into(),
            port: port
                .or(listened_on)
                .unwrap_or_else(|| scheme.default_port()),
            tls_by_proxy: scheme == Scheme::Https && https.is_empty(),
        }
    }

    /// The URL of a tunnel.
    pub fn of(&self, name: &Name) -> String {
        match name.is_host() {
            true => self.at(name.as_str()),
            false => self.at(&format!("{name}.{}", self.domain)),
        }
    }

    /// The URL of a host, without a path.
    pub fn at(&self, host: &str) -> String {
        let (scheme, port) = (self.scheme.name(), self.port);
        match port == self.scheme.default_port() {
            true => format!("{scheme}://{host}"),
            false => format!("{scheme}://{host}:{port}"),
        }
    }
}

impl fmt::Display for PublicUrls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.at(&format!("NAME.{}", self.domain)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(
        scheme: Option<Scheme>,
        port: Option<u16>,
        https: &[&str],
        http: &[&str],
    ) -> (String, bool) {
        let addresses = |words: &[&str]| -> Vec<SocketAddr> {
            words.iter().map(|word| word.parse().unwrap()).collect()
        };
        let urls = PublicUrls::new("t.test", scheme, port, &addresses(https), &addresses(http));
        (urls.to_string(), urls.tls_by_proxy)
    }

    #[test]
    fn a_url_is_what_visitors_type() {
        let (tls, clear) = (&["0.0.0.0:8443"][..], &["0.0.0.0:8080"][..]);
        for ((scheme, port, https, http), (url, tls_by_proxy)) in [
            (
                (None, None, tls, clear),
                ("https://NAME.t.test:8443", false),
            ),
            (
                (None, Some(443), tls, clear),
                ("https://NAME.t.test", false),
            ),
            (
                (None, None, &[][..], clear),
                ("http://NAME.t.test:8080", false),
            ),
            ((None, Some(80), &[], clear), ("http://NAME.t.test", false)),
            (
                (Some(Scheme::Https), None, &[], clear),
                ("https://NAME.t.test", true),
            ),
            (
                (Some(Scheme::Https), Some(444), &[], clear),
                ("https://NAME.t.test:444", true),
            ),
            (
                (Some(Scheme::Http), None, tls, clear),
                ("http://NAME.t.test:8080", false),
            ),
        ] {
            assert_eq!(
                shown(scheme, port, https, http),
                (url.to_owned(), tls_by_proxy)
            );
        }
    }
}
