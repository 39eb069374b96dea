//! Opening a connection to the local app.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ngrnotok_certs::tls::{TlsError, Trust, client_config};
use ngrnotok_common::hostname::is_localhost;
use ngrnotok_common::socket::{Socket, optional};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{Target, Trouble};

/// A local app that does not accept within this time is stuck.
const DIAL_LIMIT: Duration = Duration::from_secs(5);

/// Why a target cannot be served at all.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LocalError {
    /// TLS cannot be set up.
    #[error("failed to set up TLS for the local app: {0}")]
    Tls(#[from] TlsError),
    /// The host of an https target cannot be in a certificate.
    #[error("{0:?} is not a name that a certificate can have")]
    Name(String),
    /// Unix sockets on a system without them.
    #[error("this system has no Unix sockets; use a port")]
    NoUnixSockets,
}

/// What to offer an app that can choose, by ALPN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offer {
    Http1,
    Http2,
    Either,
}

/// What a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spoken {
    Http1,
    Http2,
}

/// An open connection.
pub(super) struct Dialed {
    pub(super) stream: Box<dyn Socket>,
    pub(super) spoken: Spoken,
}

/// Opens connections to one target.
#[derive(Debug)]
pub(super) struct Dialer {
    target: Target,
    tls: Option<Tls>,
    /// `localhost` answered on ::1 the last time.
    prefers_v6: AtomicBool,
}

/// One configuration for each offer.
#[derive(Debug)]
struct Tls {
    name: ServerName<'static>,
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
    either: Arc<ClientConfig>,
}

impl Tls {
    fn new(host: &str, insecure: bool) -> Result<Self, LocalError> {
        let trust = match insecure {
            true => Trust::Anyone,
            false => Trust::Platform,
        };
        let name =
            ServerName::try_from(host.to_owned()).map_err(|_| LocalError::Name(host.to_owned()))?;
        Ok(Self {
            name,
            http1: client_config(trust.clone(), &[b"http/1.1"])?,
            http2: client_config(trust.clone(), &[b"h2"])?,
            either: client_config(trust, &[b"h2", b"http/1.1"])?,
        })
    }

    fn config(&self, offer: Offer) -> Arc<ClientConfig> {
        Arc::clone(match offer {
            Offer::Http1 => &self.http1,
            Offer::Http2 => &self.http2,
            Offer::Either => &self.either,
        })
    }
}

impl Dialer {
    pub(super) fn new(target: Target, insecure: bool) -> Result<Self, LocalError> {
        if cfg!(not(unix)) && matches!(target, Target::Unix(_)) {
            return Err(LocalError::NoUnixSockets);
        }
        let tls = match &target {
            Target::Https { host, .. } => Some(Tls::new(host, insecure)?),
            _ => None,
        };
        Ok(Self {
            target,
            tls,
            prefers_v6: AtomicBool::new(false),
        })
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// Opens a connection.
    pub(super) async fn dial(&self, offer: Offer) -> Result<Dialed, Trouble> {
        let stream = timeout(DIAL_LIMIT, self.connect())
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|error| Trouble::dialing(&self.target, &error))?;
        let Some(tls) = &self.tls else {
            // Prior knowledge: nobody negotiates in clear.
            let spoken = match offer {
                Offer::Http2 => Spoken::Http2,
                Offer::Http1 | Offer::Either => Spoken::Http1,
            };
            return Ok(Dialed { stream, spoken });
        };
        let connector = TlsConnector::from(tls.config(offer));
        let stream = timeout(DIAL_LIMIT, connector.connect(tls.name.clone(), stream))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|error| Trouble::tls(&self.target, &error))?;
        let spoken = match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => Spoken::Http2,
            _ => Spoken::Http1,
        };
        Ok(Dialed {
            stream: Box::new(stream),
            spoken,
        })
    }

    async fn connect(&self) -> io::Result<Box<dyn Socket>> {
        let stream = match &self.target {
            #[cfg(unix)]
            Target::Unix(path) => {
                return Ok(Box::new(tokio::net::UnixStream::connect(path).await?));
            }
            #[cfg(not(unix))]
            Target::Unix(_) => return Err(io::ErrorKind::Unsupported.into()),
            Target::Hello => return Err(io::ErrorKind::Unsupported.into()),
            Target::Http { host, port } | Target::Https { host, port } => {
                if is_localhost(host) {
                    self.connect_localhost(*port).await?
                } else if let Ok(address) = host.parse::<IpAddr>() {
                    TcpStream::connect((address, *port)).await?
                } else {
                    TcpStream::connect((host.as_str(), *port)).await?
                }
            }
        };
        optional("TCP_NODELAY", stream.set_nodelay(true));
        Ok(Box::new(stream))
    }

    /// Dev servers listen on either loopback address, and resolvers disagree on which is first; so
    /// both are tried, the one that worked before the other, and no resolver is asked.
    async fn connect_localhost(&self, port: u16) -> io::Result<TcpStream> {
        let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
        let prefers_v6 = self.prefers_v6.load(Ordering::Relaxed);
        let (first, second) = if prefers_v6 { (v6, v4) } else { (v4, v6) };
        let error = match TcpStream::connect(first).await {
            Ok(stream) => return Ok(stream),
            Err(error) => error,
        };
        match TcpStream::connect(second).await {
            Ok(stream) => {
                self.prefers_v6.store(!prefers_v6, Ordering::Relaxed);
                Ok(stream)
            }
            // A machine without IPv6 fails in another way there; the first failure tells more.
            Err(_) => Err(error),
        }
    }
}
