//! The way to the server one step at a time, for whoever wants to know which one fails.

use std::net::SocketAddr;
use std::time::SystemTime;

use bytes::Bytes;
use http::HeaderMap;
use http::Request;
use http::header::{DATE, HOST};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use ngrnotok_certs::failure::Failure;
use ngrnotok_certs::tls::{Trust, client_config};
use ngrnotok_certs::validity::expiry;
use ngrnotok_common::link::io::ReadAhead;
use ngrnotok_common::link::settings::OPEN_LIMIT;
use ngrnotok_common::protocol::stream::CAUSE;
use rustls::pki_types::{CertificateDer, ServerName};
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
        let fields = self.answered(secured, &self.server()).await?;
        let date = fields.get(DATE);
        Ok(date.and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok()))
    }

    /// The certificates that a visitor of a host is shown who comes in where clients do; `None` if visitors come
    /// in elsewhere, or the server has no such host. They are looked at and not trusted: visitors have a trust
    /// of their own.
    pub(crate) async fn shown_to_visitors(
        &self,
        host: &str,
    ) -> Result<Option<Vec<CertificateDer<'static>>>, ConnectError> {
        let tls = client_config(Trust::Anyone, &[b"http/1.1"]).expect("it trusts anyone");
        let Ok(name) = ServerName::try_from(host.to_owned()) else {
            return Ok(None);
        };
        let visitor = Self {
            name,
            tls,
            ..self.clone()
        };
        let secured = match visitor.secured(visitor.reached().await?).await {
            Err(ConnectError::Tls {
                failure: Failure::OtherProtocol,
                ..
            }) => return Ok(None),
            secured => secured?,
        };
        let shown = secured.stream.get_ref().1.peer_certificates();
        let shown = shown.unwrap_or_default().iter();
        let shown = shown
            .map(|certificate| certificate.clone().into_owned())
            .collect();
        let fields = visitor.answered(secured, host).await?;
        let is_served = fields
            .get(CAUSE)
            .is_some_and(|cause| cause != "foreign_host");
        Ok(is_served.then_some(shown))
    }

    /// The fields of the answer to a request for the page of a host.
    async fn answered(&self, secured: Secured, host: &str) -> Result<HeaderMap, ConnectError> {
        let odd = |error: hyper::Error| ConnectError::NotAServer {
            server: self.server(),
            reason: error.to_string(),
        };
        let asked = async {
            let io = TokioIo::new(secured.stream);
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
            let request = Request::get("/")
                .header(HOST, host)
                .body(Empty::<Bytes>::new())
                .expect("a host and port");
            // It takes the sender and the answer along, and with them the connection ends.
            let fields = async move {
                let answer = sender.send_request(request).await?;
                Ok(answer.headers().clone())
            };
            let (fields, _) = tokio::join!(fields, connection);
            fields
        };
        let fields = timeout(OPEN_LIMIT, asked).await.map_err(|_| self.slow())?;
        fields.map_err(odd)
    }
}
