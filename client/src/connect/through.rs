//! Reaching the server through a proxy. It learns host and port of the server and sees TLS that it
//! cannot open.

use bytes::Bytes;
use http::header::{HOST, PROXY_AUTHORIZATION};
use http::{Request, StatusCode};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use ngrnotok_certs::failure::Failure;
use ngrnotok_certs::tls::{TlsError, Trust, client_config};
use ngrnotok_common::link::settings::OPEN_LIMIT;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_socks::tcp::Socks5Stream;
use tokio_util::either::Either;

use super::dial::{dial, resolve};
use super::error::ProxyError;
use super::transport::{Other, Transport};
use crate::proxy::{Kind, Proxy};

/// The answer's head of an HTTP proxy: 16 KiB.
const HEAD_LIMIT: usize = 16 * 1024;

/// Opens a way to `host:port` through `proxy`, within the usual limit.
///
/// Cancel safety: dropping the future closes the connection to the proxy.
pub(super) async fn connect(
    proxy: &Proxy,
    host: &str,
    port: u16,
    server: &str,
) -> Result<Transport, ProxyError> {
    let slow = |_| ProxyError::Slow {
        proxy: proxy.to_string(),
        server: server.to_owned(),
    };
    let way = Way { proxy, server };
    let carried = async {
        Ok::<_, ProxyError>(match proxy.kind {
            Kind::Http => Either::Left(way.tunnel(way.dial().await?).await?),
            Kind::Https => Either::Right(Other::new(way.tunnel(way.tls().await?).await?)),
            Kind::Socks5h => Either::Left(way.socks(way.dial().await?, (host, port)).await?),
            Kind::Socks5 => Either::Left(way.socks_resolved(host, port).await?),
        })
    };
    timeout(OPEN_LIMIT, carried).await.map_err(slow)?
}

/// What every step of it needs.
struct Way<'a> {
    proxy: &'a Proxy,
    server: &'a str,
}

impl Way<'_> {
    async fn dial(&self) -> Result<TcpStream, ProxyError> {
        let dialed = async {
            let addresses = resolve(&self.proxy.host, self.proxy.port).await?;
            dial(addresses).await
        };
        dialed.await.map_err(|source| ProxyError::Unreachable {
            proxy: self.proxy.to_string(),
            source,
        })
    }

    /// TLS to the proxy itself, by what this machine trusts.
    async fn tls(&self) -> Result<TlsStream<TcpStream>, ProxyError> {
        let failed = |reason: String| ProxyError::Tls {
            proxy: self.proxy.to_string(),
            reason,
        };
        let config = client_config(Trust::Platform, &[b"http/1.1"])
            .map_err(|error: TlsError| failed(error.to_string()))?;
        let name = ServerName::try_from(self.proxy.host.clone())
            .map_err(|error| failed(error.to_string()))?;
        let stream = self.dial().await?;
        TlsConnector::from(config)
            .connect(name, stream)
            .await
            .map_err(|error| failed(Failure::of(&error).to_string()))
    }

    /// HTTP CONNECT (RFC 9110 §9.3.6).
    async fn tunnel<S>(&self, stream: S) -> Result<S, ProxyError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let odd = |reason: String| self.odd("HTTP", reason);
        let mut request = Request::connect(self.server).header(HOST, self.server);
        if let Some(credentials) = self.proxy.basic_credentials() {
            request = request.header(PROXY_AUTHORIZATION, credentials);
        }
        let request = request.body(Empty::<Bytes>::new());
        let request = request.map_err(|error| odd(error.to_string()))?;
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_LIMIT)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| odd(error.to_string()))?;
        let answer = async move {
            let answer = sender.send_request(request).await?;
            match answer.status() {
                status if status.is_success() => Ok(Ok(hyper::upgrade::on(answer).await?)),
                status => Ok::<_, hyper::Error>(Err(status)),
            }
        };
        // The connection moves only while it is awaited, and hands the stream over as its last act.
        let (answer, _) = tokio::join!(answer, connection.with_upgrades());
        let upgraded = answer
            .map_err(|error| odd(error.to_string()))?
            .map_err(|status| self.refused(status))?;
        let parts = upgraded
            .downcast::<TokioIo<S>>()
            .expect("the connection is the one we put in");
        match parts.read_buf.is_empty() {
            true => Ok(parts.io.into_inner()),
            // The server says nothing before we do.
            false => Err(odd("it sent more than an answer".into())),
        }
    }

    fn refused(&self, status: StatusCode) -> ProxyError {
        let proxy = self.proxy.to_string();
        let (server, said) = (self.server.to_owned(), status.to_string());
        match status {
            StatusCode::PROXY_AUTHENTICATION_REQUIRED | StatusCode::UNAUTHORIZED => {
                let given = self.proxy.has_credentials();
                ProxyError::Credentials { proxy, said, given }
            }
            status if status.is_server_error() => ProxyError::Unreached {
                proxy,
                server,
                said,
            },
            _ => ProxyError::Refused {
                proxy,
                server,
                said,
            },
        }
    }

    /// SOCKS5 (RFC 1928, 1929).
    async fn socks<'t, T>(&self, stream: TcpStream, target: T) -> Result<TcpStream, ProxyError>
    where
        T: tokio_socks::IntoTargetAddr<'t>,
    {
        let asked = match self.proxy.credentials() {
            None => Socks5Stream::connect_with_socket(stream, target).await,
            Some((user, password)) => {
                Socks5Stream::connect_with_password_and_socket(stream, target, user, password).await
            }
        };
        match asked {
            Ok(stream) => Ok(stream.into_inner()),
            Err(error) => Err(self.socks_refused(&error)),
        }
    }

    /// The same with the server's name resolved here. Not every proxy can do both families, so each
    /// address has its turn.
    async fn socks_resolved(&self, host: &str, port: u16) -> Result<TcpStream, ProxyError> {
        let addresses = resolve(host, port)
            .await
            .map_err(|source| ProxyError::Resolve {
                host: host.to_owned(),
                source,
            })?;
        let mut failure = None;
        for address in addresses {
            match self.socks(self.dial().await?, address).await {
                Err(error @ ProxyError::Unreached { .. }) => failure = Some(error),
                carried => return carried,
            }
        }
        Err(failure.expect("there is an address"))
    }

    fn socks_refused(&self, error: &tokio_socks::Error) -> ProxyError {
        use tokio_socks::Error as Socks;
        let proxy = self.proxy.to_string();
        let (server, said) = (self.server.to_owned(), error.to_string());
        match error {
            Socks::NoAcceptableAuthMethods
            | Socks::AuthorizationRequired
            | Socks::PasswordAuthFailure(_) => {
                let given = self.proxy.has_credentials();
                ProxyError::Credentials { proxy, said, given }
            }
            Socks::ConnectionNotAllowedByRuleset | Socks::CommandNotSupported => {
                ProxyError::Refused {
                    proxy,
                    server,
                    said,
                }
            }
            Socks::GeneralSocksServerFailure
            | Socks::NetworkUnreachable
            | Socks::HostUnreachable
            | Socks::ConnectionRefused
            | Socks::TtlExpired
            | Socks::AddressTypeNotSupported => ProxyError::Unreached {
                proxy,
                server,
                said,
            },
            _ => self.odd("SOCKS5", said),
        }
    }

    fn odd(&self, language: &'static str, reason: String) -> ProxyError {
        ProxyError::Odd {
            proxy: self.proxy.to_string(),
            language,
            reason,
        }
    }
}
