//! The line every request walks.

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::Body;
use ngrnotok_common::hostname::HostPort;
use ngrnotok_common::protocol::cause::Cause;

use super::activity::OpenRequest;
use super::forward::forward;
use super::host;
use super::respond::{self, EdgeBody};
use super::serve::{Edge, HttpMode};
use super::visitor::{Scheme, Visitor};

/// Answers one request: by the local app behind its name, or by saying why not.
pub(super) async fn handle<B>(
    edge: &Edge,
    visitor: &Visitor,
    request: Request<B>,
    open: OpenRequest,
) -> Response<EdgeBody>
where
    B: Body<Data = Bytes, Error: Send> + Send + 'static,
{
    let taste = respond::Taste::of(&request);
    match carry(edge, visitor, request).await {
        Ok(answer) => answer.map(|body| body.until_end(open)),
        Err(cause) => respond::cause(cause, taste),
    }
}

async fn carry<B>(
    edge: &Edge,
    visitor: &Visitor,
    request: Request<B>,
) -> Result<Response<EdgeBody>, Cause>
where
    B: Body<Data = Bytes, Error: Send> + Send + 'static,
{
    if request.method() == Method::CONNECT {
        return Err(Cause::ConnectRefused);
    }
    let written = host::written(&request)?.to_owned();
    let host = host::parse(&written)?;
    same_name_as_tls(visitor, &host)?;
    if edge.http_mode == HttpMode::Redirect && visitor.scheme == Scheme::Http {
        return respond::redirect_to_https(edge, &host, request.uri());
    }
    let route = edge.registry.lookup(&host)?;
    forward(&route, visitor, &written, &host, request).await
}

/// A browser may reuse a connection for every name that its wildcard certificate covers; each tunnel
/// is a site of its own, so it is sent to open another one (RFC 9110 §15.5.20).
fn same_name_as_tls(visitor: &Visitor, host: &HostPort<'_>) -> Result<(), Cause> {
    match visitor.server_name.as_deref() {
        Some(name) if name != host.host => Err(Cause::Misdirected),
        _ => Ok(()),
    }
}
