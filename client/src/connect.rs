//! From an address to a stream on which the server has agreed to a link.

mod dial;
mod error;
mod refusal;
pub(crate) mod steps;
mod through;
mod transport;

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use ngrnotok_certs::failure::Failure;
use ngrnotok_certs::tls::{TlsError, Trust, link_client_config};
use ngrnotok_common::link::io::ReadAhead;
use ngrnotok_common::link::settings::OPEN_LIMIT;
use ngrnotok_common::protocol::ALPN;
use ngrnotok_common::protocol::handshake::link_request;
use ngrnotok_common::rewound::Rewound;
use ngrnotok_common::secret::Secret;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

pub use self::error::{ConnectError, ProxyError};
use self::transport::{Dial, Transport};
use crate::proxy::Proxy;

/// A connection on which the server has agreed to a link.
pub(crate) type LinkStream = Rewound<TlsStream<ReadAhead<Transport>>>;

/// Where the server is and how it is known.
#[derive(Debug, Clone)]
pub struct Connector {
    host: String,
    port: u16,
    name: ServerName<'static>,
    tls: Arc<ClientConfig>,
    way: Way,
}

/// How the server is reached.
#[derive(Debug, Clone)]
enum Way {
    Direct,
    Proxy(Proxy),
    Given(Dial),
}

/// Why a connector cannot be made.
#[derive(Debug, Error)]
pub enum ConnectorError {
    /// Not a host.
    #[error("{0:?} is not a host name or address")]
    Host(String),
    /// There is nobody to trust.
    #[error(
        "{0}. Install them (ca-certificates), or name the server's authority with --server-ca FILE or its key with --server-pin sha256:…"
    )]
    Roots(TlsError),
    /// The trusted certificates cannot be used.
    #[error("{0}")]
    Tls(TlsError),
}

impl From<TlsError> for ConnectorError {
    fn from(error: TlsError) -> Self {
        match error {
            TlsError::Platform(_) => Self::Roots(error),
            error => Self::Tls(error),
        }
    }
}

impl Connector {
    /// A server at `host:port` that proves itself to `trust`.
    pub fn new(host: &str, port: u16, trust: Trust) -> Result<Self, ConnectorError> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| ConnectorError::Host(host.to_owned()))?;
        Ok(Self {
            host: host.to_owned(),
            port,
            name,
            tls: link_client_config(trust, &[ALPN])?,
            way: Way::Direct,
        })
    }

    /// The same through a proxy, or through none.
    pub fn through(mut self, proxy: Option<Proxy>) -> Self {
        self.way = proxy.map_or(Way::Direct, Way::Proxy);
        self
    }

    /// The same over streams of the caller's: for a transport that is not TCP, a tunnel inside another
    /// one, or a test's network. `dial` is called for each try, which is given up after 10 s; neither DNS nor
    /// a proxy has a part in it. TLS is spoken inside as ever, so the server must be the one of
    /// [`Connector::new`], whatever the way there.
    pub fn over<S, F>(mut self, dial: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
        F: Future<Output = io::Result<S>> + Send + 'static,
    {
        self.way = Way::Given(Dial::new(dial));
        self
    }

    /// The proxy on the way.
    pub fn proxy(&self) -> Option<&Proxy> {
        match &self.way {
            Way::Proxy(proxy) => Some(proxy),
            Way::Direct | Way::Given(_) => None,
        }
    }

    /// What the server is called, if that can be a domain with names under it.
    pub(crate) fn domain(&self) -> Option<&str> {
        let is_domain = matches!(self.name, ServerName::DnsName(_)) && self.host.contains('.');
        is_domain.then_some(self.host.as_str())
    }

    /// Host and port, for people.
    pub fn server(&self) -> String {
        authority(&self.host, self.port)
    }

    /// Dials, proves who the server is, and only then shows the token.
    pub(crate) async fn connect(&self, token: Option<&Secret>) -> Result<LinkStream, ConnectError> {
        let slow = |_| self.slow();
        let stream = self.reach().await?;
        let stream = timeout(OPEN_LIMIT, self.handshake(stream))
            .await
            .map_err(slow)??;
        timeout(OPEN_LIMIT, self.ask(stream, token))
            .await
            .map_err(slow)?
    }

    /// Dials, in whatever way.
    async fn reach(&self) -> Result<Transport, ConnectError> {
        let slow = |_| self.slow();
        match &self.way {
            Way::Direct => timeout(OPEN_LIMIT, self.dial()).await.map_err(slow)?,
            Way::Proxy(proxy) => {
                let server = self.server();
                Ok(through::connect(proxy, &self.host, self.port, &server).await?)
            }
            Way::Given(dial) => {
                let opened = timeout(OPEN_LIMIT, dial.open()).await.map_err(slow)?;
                opened.map_err(|source| self.undialed(source))
            }
        }
    }

    fn slow(&self) -> ConnectError {
        ConnectError::Slow {
            server: self.server(),
        }
    }

    async fn dial(&self) -> Result<Transport, ConnectError> {
        let addresses = dial::resolve(&self.host, self.port)
            .await
            .map_err(|source| self.unresolved(source))?;
        let stream = dial::dial(addresses).await;
        let stream = stream.map_err(|source| self.undialed(source))?;
        Ok(Either::Left(stream))
    }

    fn unresolved(&self, source: io::Error) -> ConnectError {
        ConnectError::Resolve {
            host: self.host.clone(),
            source,
        }
    }

    fn undialed(&self, source: io::Error) -> ConnectError {
        ConnectError::Dial {
            server: self.server(),
            source,
        }
    }

    async fn handshake(
        &self,
        stream: Transport,
    ) -> Result<TlsStream<ReadAhead<Transport>>, ConnectError> {
        TlsConnector::from(Arc::clone(&self.tls))
            .connect(self.name.clone(), ReadAhead::new(stream))
            .await
            .map_err(|error| ConnectError::Tls {
                server: self.server(),
                failure: Failure::of(&error),
            })
    }

    async fn ask(
        &self,
        stream: TlsStream<ReadAhead<Transport>>,
        token: Option<&Secret>,
    ) -> Result<LinkStream, ConnectError> {
        let odd = |reason: String| ConnectError::NotAServer {
            server: self.server(),
            reason,
        };
        let agent = concat!("ngrnotok/", env!("CARGO_PKG_VERSION"));
        let request = link_request(&self.server(), token, agent)
            .map_err(|_| odd("the token holds characters that HTTP cannot carry".into()))?
            .map(|()| Empty::<Bytes>::new());
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| odd(error.to_string()))?;
        // It takes the sender along: a server that keeps the connection after a refusal would else keep
        // us, too.
        let answer = async move {
            let answer = sender.send_request(request).await?;
            if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
                return Ok(Ok(hyper::upgrade::on(answer).await?));
            }
            let retry_after = refusal::retry_after(answer.headers(), SystemTime::now());
            let problem = refusal::problem(answer).await;
            Ok::<_, hyper::Error>(Err(ConnectError::Refused {
                problem,
                retry_after,
            }))
        };
        // The connection moves only while it is awaited, and hands the stream over as its last act.
        let (answer, _) = tokio::join!(answer, connection.with_upgrades());
        let upgraded = answer.map_err(|error| odd(error.to_string()))??;
        let parts = upgraded
            .downcast::<TokioIo<TlsStream<ReadAhead<Transport>>>>()
            .expect("the connection is the one we put in");
        Ok(Rewound::new(parts.read_buf, parts.io.into_inner()))
    }
}

/// Host and port as one word.
pub(crate) fn authority(host: &str, port: u16) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}
