//! The first request of a tunnel client, in plain HTTP/1.1: who is it, and may it come in?

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Mutex;

use bytes::Bytes;
use http::header::{CONNECTION, RETRY_AFTER, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use ngrnotok_common::protocol::handshake::{
    LinkRequest, NotALink, PTTH, Problem, switching_protocols,
};
use ngrnotok_common::protocol::resume::ChannelBinding;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::server::TlsStream;
use tracing::error;

use super::GateError;
use super::payer::Log;
use crate::auth::{Auth, AuthError, Grant};

/// A request for a link is a few hundred bytes; 16 KiB leaves room for long tokens.
const BUFFER: usize = 16 * 1024;

/// A client that has been let in.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) grant: Grant,
    pub(super) user_agent: String,
}

/// Serves the one request on a connection and gives the connection back if it became a link.
///
/// Cancel safety: dropping the future closes the connection.
pub(super) async fn admit<S>(
    stream: TlsStream<S>,
    peer: SocketAddr,
    auth: &Auth,
    log: &Log,
) -> Result<(TlsStream<S>, ChannelBinding, Admitted), GateError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let binding = ChannelBinding::of(stream.get_ref().1)
        .ok_or(GateError::Protocol("has not finished its TLS handshake"))?;
    let outcome = Mutex::new(None);
    let service = service_fn(async |request: Request<Incoming>| {
        let (response, result) = judge(request, peer, auth, log).await;
        *outcome.lock().expect("held for this line alone") = Some(result);
        Ok::<_, Infallible>(response)
    });
    http1::Builder::new()
        .max_buf_size(BUFFER)
        // Nothing is read while the answer is on its way, so what came behind the request came before it.
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await?;
    let Some(result) = outcome.into_inner().expect("no longer shared") else {
        return Err(GateError::Protocol("left without a request"));
    };
    let (admitted, upgrade) = result.map_err(GateError::Refused)?;
    let parts = upgrade
        .await?
        .downcast::<TokioIo<TlsStream<S>>>()
        .expect("the connection is the one we put in");
    if !parts.read_buf.is_empty() {
        return Err(GateError::Protocol(
            "sent more than its request before it had an answer",
        ));
    }
    Ok((parts.io.into_inner(), binding, admitted))
}

type Outcome = Result<(Admitted, OnUpgrade), Problem>;

async fn judge(
    mut request: Request<Incoming>,
    peer: SocketAddr,
    auth: &Auth,
    log: &Log,
) -> (Response<Full<Bytes>>, Outcome) {
    let upgrade = hyper::upgrade::on(&mut request);
    match admitted(&request, peer, auth, log).await {
        Ok(admitted) => (switching_protocols(), Ok((admitted, upgrade))),
        Err((problem, retry_after)) => (refusal(problem.clone(), retry_after), Err(problem)),
    }
}

/// A refusal, and the seconds after which it is worth asking again.
type Refusal = (Problem, Option<u64>);

async fn admitted(
    request: &Request<Incoming>,
    peer: SocketAddr,
    auth: &Auth,
    log: &Log,
) -> Result<Admitted, Refusal> {
    let LinkRequest { token, user_agent } =
        LinkRequest::read(request).map_err(|error| (not_a_link(&error), None))?;
    let grant = auth
        .admit(token.as_ref(), peer.ip())
        .await
        .map_err(|error| refused(&error, log))?;
    Ok(Admitted { grant, user_agent })
}

fn not_a_link(error: &NotALink) -> Problem {
    let (status, code) = match error {
        NotALink::Path => (StatusCode::NOT_FOUND, Problem::NOT_A_LINK),
        NotALink::NoUpgrade => (StatusCode::BAD_REQUEST, Problem::NOT_A_LINK),
        NotALink::Version(_) => (StatusCode::UPGRADE_REQUIRED, Problem::VERSION),
    };
    Problem::new(status, code, error.to_string())
}

fn refused(error: &AuthError, log: &Log) -> Refusal {
    let (status, code, title) = match error {
        AuthError::TokenMissing => (
            StatusCode::UNAUTHORIZED,
            Problem::TOKEN_MISSING,
            "this server asks for a token",
        ),
        AuthError::TokenRefused => (
            StatusCode::FORBIDDEN,
            Problem::TOKEN_REFUSED,
            "the server does not accept this token",
        ),
        AuthError::TokenRevoked => (
            StatusCode::FORBIDDEN,
            Problem::TOKEN_REVOKED,
            "this token was revoked",
        ),
        AuthError::TokenExpired => (
            StatusCode::FORBIDDEN,
            Problem::TOKEN_EXPIRED,
            "this token's time is over",
        ),
        AuthError::TooManyFailures { .. } => (
            StatusCode::TOO_MANY_REQUESTS,
            Problem::TOO_MANY_FAILURES,
            "the server does not accept this token, and no more tries from this address for now",
        ),
        AuthError::Unavailable(cause) => {
            if log.admits() {
                error!(error = %cause, source = ?std::error::Error::source(cause), "tokens cannot be looked up");
            }
            (
                StatusCode::SERVICE_UNAVAILABLE,
                Problem::UNAVAILABLE,
                "the server cannot check tokens now",
            )
        }
    };
    let retry_after = match error {
        AuthError::TooManyFailures { retry_after } => Some(retry_after.as_secs() + 1),
        AuthError::Unavailable(_) => Some(5),
        _ => None,
    };
    let problem = Problem::new(status, code, title).with_detail(format!("failed to {error}"));
    (problem, retry_after)
}

fn refusal(problem: Problem, retry_after: Option<u64>) -> Response<Full<Bytes>> {
    let mut response: Response<Full<Bytes>> = problem.into_response();
    let status = response.status();
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    if let Some(seconds) = retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if status == StatusCode::UPGRADE_REQUIRED {
        // RFC 9110 §15.5.22: the answer names what to upgrade to.
        headers.insert(UPGRADE, HeaderValue::from_static(PTTH));
    }
    response
}
