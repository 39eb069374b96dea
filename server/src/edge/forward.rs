//! What changes in a request on its way to the tunnel client, and in the answer on its way back:
//! fields of the connection go, the Forwarded family comes. Path, body and all else pass untouched.

use bytes::Bytes;
use http::header::HOST;
use http::uri::{Authority, PathAndQuery, Scheme as UriScheme, Uri};
use http::{Extensions, HeaderValue, Request, Response, Version};
use http_body::Body;
use ngrnotok_common::headers;
use ngrnotok_common::hostname::HostPort;
use ngrnotok_common::protocol::cause::Cause;
use ngrnotok_common::protocol::stream;

use super::forwarded;
use super::respond::EdgeBody;
use super::visitor::{Scheme, Visitor};
use crate::registry::Route;

/// Carries a request to the session that serves its name and brings the answer back.
pub(super) async fn forward<B>(
    route: &Route,
    visitor: &Visitor,
    written: &str,
    host: &HostPort<'_>,
    request: Request<B>,
) -> Result<Response<EdgeBody>, Cause>
where
    B: Body<Data = Bytes, Error: Send> + Send + 'static,
{
    let (mut head, body) = request.into_parts();
    headers::strip_hop(&mut head.headers);
    let authority = match head.headers.remove(HOST) {
        Some(value) => value,
        None => HeaderValue::from_str(written).map_err(|_| Cause::BadHost)?,
    };
    forwarded::stamp(&mut head.headers, visitor, &authority, host);
    head.headers
        .insert(stream::TUNNEL, HeaderValue::from(route.tunnel.0));
    head.uri = link_uri(
        visitor.scheme,
        written,
        head.uri.into_parts().path_and_query,
    )?;
    head.version = Version::HTTP_2;
    head.extensions = Extensions::new();

    let answer = route
        .session
        .send(Request::from_parts(head, ()), body)
        .await?;
    read_answer(answer.map(EdgeBody::from))
}

/// h2 makes `:scheme`, `:authority` and `:path` of it.
fn link_uri(scheme: Scheme, written: &str, path: Option<PathAndQuery>) -> Result<Uri, Cause> {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(match scheme {
        Scheme::Http => UriScheme::HTTP,
        Scheme::Https => UriScheme::HTTPS,
    });
    parts.authority = Some(Authority::try_from(written).map_err(|_| Cause::BadHost)?);
    parts.path_and_query = Some(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    Uri::from_parts(parts).map_err(|_| Cause::BadHost)
}

fn read_answer(mut answer: Response<EdgeBody>) -> Result<Response<EdgeBody>, Cause> {
    if let Some(code) = answer.headers().get(stream::CAUSE) {
        return Err(Cause::from_code(code.as_bytes()).unwrap_or(Cause::LocalBadResponse));
    }
    headers::strip_hop(answer.headers_mut());
    // The version was the link's; each hop speaks its own.
    *answer.version_mut() = Version::HTTP_11;
    Ok(answer)
}
