//! From an address to a stream on which the server has agreed to a link.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use ngrnotok_certs::failure;
use ngrnotok_certs::tls::{TlsError, Trust, link_client_config};
use ngrnotok_common::link::io::{ReadAhead, tune};
use ngrnotok_common::link::settings::OPEN_LIMIT;
use ngrnotok_common::protocol::ALPN;
use ngrnotok_common::protocol::handshake::{Problem, link_request};
use ngrnotok_common::rewound::Rewound;
use ngrnotok_common::secret::Secret;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A refusal's text is short; 16 KiB of it are read.
const PROBLEM_LIMIT: usize = 16 * 1024;

/// A connection on which the server has agreed to a link.
pub(crate) type LinkStream = Rewound<TlsStream<ReadAhead<TcpStream>>>;

/// Where the server is and how it is known.
#[derive(Debug, Clone)]
pub struct Connector {
    host: String,
    port: u16,
    name: ServerName<'static>,
    tls: Arc<ClientConfig>,
}

/// Why there is no link.
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
    /// It did not answer in time.
    #[error("the server {server} did not answer within {} s", OPEN_LIMIT.as_secs())]
    Slow {
        /// Host and port.
        server: String,
    },
    /// It is not the server we trust, or does not speak TLS.
    #[error("the server {server} failed the TLS handshake: {reason}")]
    Tls {
        /// Host and port.
        server: String,
        /// Why.
        reason: String,
    },
    /// It speaks TLS, but is not one of ours.
    #[error(
        "{server} does not speak ngrnotok: {reason}. Is that the address of an ngrnotok-server?"
    )]
    NotAServer {
        /// Host and port.
        server: String,
        /// What was odd.
        reason: String,
    },
    /// The server said no.
    #[error("the server refuses this client: {}", .0.title)]
    Refused(Problem),
}

impl ConnectError {
    /// Whether trying again cannot help.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Refused(problem) => problem.status < 500 && problem.status != 429,
            _ => false,
        }
    }
}

/// Why a connector cannot be made.
#[derive(Debug, Error)]
pub enum ConnectorError {
    /// Not a host.
    #[error("{0:?} is not a host name or address")]
    Host(String),
    /// The trusted certificates cannot be used.
    #[error("{0}")]
    Tls(#[from] TlsError),
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
        })
    }

    /// Host and port, for people.
    pub fn server(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    /// Dials, proves who the server is, and only then shows the token.
    pub(crate) async fn connect(&self, token: Option<&Secret>) -> Result<LinkStream, ConnectError> {
        let slow = |_| ConnectError::Slow {
            server: self.server(),
        };
        let stream = timeout(OPEN_LIMIT, self.dial()).await.map_err(slow)??;
        let stream = timeout(OPEN_LIMIT, self.handshake(stream))
            .await
            .map_err(slow)??;
        timeout(OPEN_LIMIT, self.ask(stream, token))
            .await
            .map_err(slow)?
    }

    async fn dial(&self) -> Result<TcpStream, ConnectError> {
        let addresses = tokio::net::lookup_host((self.host.as_str(), self.port))
            .await
            .map_err(|source| ConnectError::Resolve {
                host: self.host.clone(),
                source,
            })?;
        let mut last = io::ErrorKind::NotFound.into();
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    tune(&stream).map_err(|source| self.unreachable(source))?;
                    return Ok(stream);
                }
                Err(error) => last = error,
            }
        }
        Err(self.unreachable(last))
    }

    fn unreachable(&self, source: io::Error) -> ConnectError {
        ConnectError::Dial {
            server: self.server(),
            source,
        }
    }

    async fn handshake(
        &self,
        stream: TcpStream,
    ) -> Result<TlsStream<ReadAhead<TcpStream>>, ConnectError> {
        TlsConnector::from(Arc::clone(&self.tls))
            .connect(self.name.clone(), ReadAhead::new(stream))
            .await
            .map_err(|error| ConnectError::Tls {
                server: self.server(),
                reason: tls_reason(&error),
            })
    }

    async fn ask(
        &self,
        stream: TlsStream<ReadAhead<TcpStream>>,
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
        let answer = async {
            let answer = sender.send_request(request).await?;
            if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
                return Ok(Ok(hyper::upgrade::on(answer).await?));
            }
            Ok::<_, hyper::Error>(Err(refusal(answer).await))
        };
        // The connection moves only while it is awaited, and hands the stream over as its last act.
        let (answer, _) = tokio::join!(answer, connection.with_upgrades());
        let upgraded = answer
            .map_err(|error| odd(error.to_string()))?
            .map_err(ConnectError::Refused)?;
        let parts = upgraded
            .downcast::<TokioIo<TlsStream<ReadAhead<TcpStream>>>>()
            .expect("the connection is the one we put in");
        Ok(Rewound::new(parts.read_buf, parts.io.into_inner()))
    }
}

/// Reads why the server said no; whatever is not our problem+json is told by its status.
async fn refusal(answer: Response<Incoming>) -> Problem {
    let status = answer.status();
    let body = Limited::new(answer.into_body(), PROBLEM_LIMIT)
        .collect()
        .await
        .map(|body| body.to_bytes())
        .unwrap_or_default();
    serde_json::from_slice::<Problem>(&body)
        .unwrap_or_else(|_| Problem::new(status, "unknown", format!("HTTP status {status}")))
}

fn tls_reason(error: &io::Error) -> String {
    let mut reason = failure::in_words(error);
    if reason.contains("not signed by an authority") {
        reason.push_str(
            "; name the authority with --server-ca FILE or the key with --server-pin sha256:…",
        );
    }
    reason
}
