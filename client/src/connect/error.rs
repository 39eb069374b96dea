//! Why there is no link, and what to do about it.

use std::io;
use std::time::Duration;

use ngrnotok_certs::failure::Failure;
use ngrnotok_common::link::settings::OPEN_LIMIT;
use ngrnotok_common::protocol::handshake::Problem;
use thiserror::Error;

/// Why there is no link. The text tells what happened; [`ConnectError::hint`] what to do.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The server's name has no address.
    #[error("the server {host} cannot be found: {source}")]
    Resolve {
        /// As given.
        host: String,
        /// Why not.
        source: io::Error,
    },
    /// Nobody is there.
    #[error("the server {server} cannot be reached: {source}")]
    Dial {
        /// Host and port.
        server: String,
        /// Why not.
        source: io::Error,
    },
    /// The proxy on the way does not carry us.
    #[error("{0}")]
    Proxy(#[from] ProxyError),
    /// It did not answer in time.
    #[error("the server {server} did not answer within {} s", OPEN_LIMIT.as_secs())]
    Slow {
        /// Host and port.
        server: String,
    },
    /// It is not the server we trust, or does not speak TLS.
    #[error("the server {server} failed the TLS handshake: {failure}")]
    Tls {
        /// Host and port.
        server: String,
        /// Why.
        failure: Failure,
    },
    /// It speaks TLS, but is not one of ours.
    #[error("{server} does not speak ngrnotok: {reason}")]
    NotAServer {
        /// Host and port.
        server: String,
        /// What was odd.
        reason: String,
    },
    /// The server said no.
    #[error("the server refuses this client: {}", .problem.title)]
    Refused {
        /// Its words.
        problem: Problem,
        /// How long it wants to be left alone.
        retry_after: Duration,
    },
}

impl ConnectError {
    /// Whether trying again cannot help. Only the server itself can say so: between it and us there may
    /// be others, who answer 404 while it restarts.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Refused { problem, .. } => {
                problem.code != Problem::UNKNOWN && problem.status < 500 && problem.status != 429
            }
            _ => false,
        }
    }

    /// What to do about it, for people.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Resolve { .. } => {
                "Check the name of the server, and that this computer is online"
            }
            Self::Dial { .. } => {
                "Check that it runs there and that no firewall is in between; \
                 --proxy URL goes through a proxy"
            }
            Self::Slow { .. } => "Check its address; a firewall may be in between",
            Self::Proxy(error) => error.hint(),
            Self::Tls { failure, .. } => tls_hint(failure),
            Self::NotAServer { .. } => NOT_OURS,
            Self::Refused { .. } => "Try again later",
        }
    }
}

const NOT_OURS: &str = "Is that the address of an ngrnotok-server?";

fn tls_hint(failure: &Failure) -> &'static str {
    match failure {
        Failure::UnknownAuthority => {
            "Name its authority with --server-ca FILE or its key with --server-pin sha256:…; \
             ngrnotok-server --dev-cert prints both when it starts"
        }
        Failure::SelfSigned => {
            "Name its key with --server-pin sha256:…, which its operator gets with: \
             openssl x509 -in CERTIFICATE -noout -pubkey | openssl pkey -pubin -outform der | sha256sum"
        }
        Failure::OtherName { .. } => {
            "Give --server one of these names, or its key with --server-pin sha256:…"
        }
        Failure::Expired(_) => {
            "Its operator has to renew it, unless the clock of this machine is wrong"
        }
        Failure::NotYetValid(_) => "Check the clock of this machine",
        Failure::WrongKey(_) => {
            "If the server has a new key, ask its operator for the new pin; \
             if not, somebody else answers in its place"
        }
        Failure::Certificate(_) => "Ask its operator to mend it",
        _ => NOT_OURS,
    }
}

/// Why a proxy does not carry us. The texts name it without its credentials.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// Nobody is there.
    #[error("the proxy {proxy} cannot be reached: {source}")]
    Unreachable {
        /// Which one.
        proxy: String,
        /// Why not.
        source: io::Error,
    },
    /// The server's name has no address here.
    #[error("the server {host} cannot be found: {source}")]
    Resolve {
        /// As given.
        host: String,
        /// Why not.
        source: io::Error,
    },
    /// It did not answer in time.
    #[error("the proxy {proxy} did not connect us to {server} within {} s", OPEN_LIMIT.as_secs())]
    Slow {
        /// Which one.
        proxy: String,
        /// Host and port.
        server: String,
    },
    /// TLS with the proxy itself failed.
    #[error("TLS with the proxy {proxy} failed: {reason}")]
    Tls {
        /// Which one.
        proxy: String,
        /// Why.
        reason: String,
    },
    /// It wants to know who we are, or does not like the answer.
    #[error("the proxy {proxy} {} ({said})", match .given {
        true => "does not accept its credentials",
        false => "asks for credentials",
    })]
    Credentials {
        /// Which one.
        proxy: String,
        /// Its own words.
        said: String,
        /// Whether it was given some.
        given: bool,
    },
    /// It does not want to carry us.
    #[error("the proxy {proxy} refuses to connect to {server}: {said}")]
    Refused {
        /// Which one.
        proxy: String,
        /// Host and port.
        server: String,
        /// Its own words.
        said: String,
    },
    /// It would, but does not get there.
    #[error("the proxy {proxy} cannot reach the server {server}: {said}")]
    Unreached {
        /// Which one.
        proxy: String,
        /// Host and port.
        server: String,
        /// Its own words.
        said: String,
    },
    /// It is no proxy, or one of another kind.
    #[error("the proxy {proxy} does not speak {language}: {reason}")]
    Odd {
        /// Which one.
        proxy: String,
        /// What it should speak.
        language: &'static str,
        /// What was odd.
        reason: String,
    },
}

impl ProxyError {
    /// What to do about it.
    fn hint(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } | Self::Odd { .. } | Self::Tls { .. } => {
                "Check the address of the proxy, or do without it: --proxy none"
            }
            Self::Resolve { .. } => {
                "Check its name, or let the proxy resolve it: socks5h:// instead of socks5://"
            }
            Self::Slow { .. } => {
                "Check the addresses of both, or do without the proxy: --proxy none"
            }
            Self::Credentials { .. } => {
                "Put USER:PASSWORD@ before its host, in NGRNOTOK_PROXY or where it is set"
            }
            Self::Refused { .. } => {
                "Ask its operator to let this server through, or do without it: --proxy none"
            }
            Self::Unreached { .. } => {
                "Check the address of the server, or do without the proxy: --proxy none"
            }
        }
    }
}
