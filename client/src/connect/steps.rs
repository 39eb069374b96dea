//! The way to the server one step at a time, for whoever wants to know which one fails.

use std::net::SocketAddr;
use std::time::SystemTime;

use bytes::Bytes;
use http::Request;
use http::header::{DATE, HOST};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use ngrnotok_certs::validity::expiry;
use ngrnotok_common::link::io::ReadAhead;
use ngrnotok_common::link::settings::OPEN_LIMIT;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::transport::Transport;
use super::{ConnectError, Connector, Way, dial};

/// TCP to the server, or what stands for it.
pub(crate) struct Reached(Transport);

/// TLS with the server, who has proved who it is.
pub(crate) struct Secured {
    stream: TlsStream<ReadAhead<Transport>>,
    /// When its certificate expires, if that can be read.
    pub(crate) expires: Option<SystemTime>,
}

impl Connector {
    /// The addresses of the server; `None` if this is not the one to look them up.
    pub(crate) async fn addresses(&self) -> Result<Option<Vec<SocketAddr>>, ConnectError> {
        let Way::Direct = self.way else {
            return Ok(None);
        };
        let resolved = timeout(OPEN_LIMIT, dial::resolve(&self.host, self.port));
        let addresses = resolved.await.map_err(|_| self.slow())?;
        let addresses = addresses.map_err(|source| self.unresolved(source))?;
        Ok(Some(addresses))
    }

    /// Opens a connection.
    pub(crate) async fn reached(&self) -> Result<Reached, ConnectError> {
        self.reach().await.map(Reached)
    }

    /// Opens TLS on it.
    pub(crate) async fn secured(&self, reached: Reached) -> Result<Secured, ConnectError> {
        let stream = timeout(OPEN_LIMIT, self.handshake(reached.0));
        let stream = stream.await.map_err(|_| self.slow())??;
        let certificates = stream.get_ref().1.peer_certificates();
        let expires = certificates.and_then(|all| expiry(all.first()?));
        Ok(Secured { stream, expires })
    }

    /// Asks the server what time it is: any answer of it says so.
    pub(crate) async fn time(&self, secured: Secured) -> Result<Option<SystemTime>, ConnectError> {
        let odd = |error: hyper::Error| ConnectError::NotAServer {
            server: self.server(),
            reason: error.to_string(),
        };
        let asked = async {
            let io = TokioIo::new(secured.stream);
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
            let request = Request::get("/")
                .header(HOST, self.server())
                .body(Empty::<Bytes>::new())
                .expect("a host and port");
            // It takes the sender and the answer along, and with them the connection ends.
            let date = async move {
                let answer = sender.send_request(request).await?;
                Ok(answer.headers().get(DATE).cloned())
            };
            let (date, _) = tokio::join!(date, connection);
            date
        };
        let date = timeout(OPEN_LIMIT, asked).await.map_err(|_| self.slow())?;
        let date = date.map_err(odd)?;
        Ok(date.and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok()))
    }
}
