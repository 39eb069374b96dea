//! What changes in a request on its way to the tunnel client, and in the answer on its way back:
//! fields of the connection go, the Forwarded family comes. Path, body and all else pass untouched.

use std::mem::take;
use std::time::Duration;

use bytes::Bytes;
use http::header::{EXPECT, HOST};
use http::uri::{Authority, PathAndQuery, Scheme as UriScheme, Uri};
use http::{Extensions, HeaderMap, HeaderValue, Request, Response, Version};
use http_body::Body;
use hyper::ext::ReasonPhrase;
use ngrnotok_common::headers;
use ngrnotok_common::hostname::HostPort;
use ngrnotok_common::prefix::Prefix;
use ngrnotok_common::protocol::cause::Cause;
use ngrnotok_common::protocol::stream;

use super::activity::OpenRequest;
use super::forwarded;
use super::respond::EdgeBody;
use super::source::Source;
use super::visitor::Visitor;
use crate::registry::{Registry, Route};
use crate::session::{Lost, SessionBody, Unanswered, UploadError};
use crate::urls::Scheme;

/// Makes a visitor's head fit for the link. `written` is the host as the visitor wrote it.
pub(super) fn for_link(
    head: &mut Request<()>,
    route: &Route,
    visitor: &Visitor,
    source: &Source,
    written: &str,
    host: &HostPort<'_>,
) -> Result<(), Cause> {
    let version = head.version();
    let headers = head.headers_mut();
    headers::settle_framing(headers).map_err(|_| Cause::BadFraming)?;
    headers::strip_hop(headers);
    // HTTP/1.1 visitors get a 100 from hyper, and nothing else before the answer.
    if version == Version::HTTP_2 || headers.contains_key(EXPECT) {
        headers.insert(stream::INTERIM, HeaderValue::from_static("?1"));
    }
    let authority = match headers.remove(HOST) {
        Some(value) => value,
        None => HeaderValue::from_str(written).map_err(|_| Cause::BadHost)?,
    };
    forwarded::stamp(headers, visitor, source, &authority, host);
    address(headers, route);
    let path = take(head.uri_mut()).into_parts().path_and_query;
    *head.uri_mut() = link_uri(source.scheme, written, path)?;
    *head.version_mut() = Version::HTTP_2;
    *head.extensions_mut() = Extensions::new();
    Ok(())
}

/// Where a request goes.
#[derive(Debug)]
pub(super) struct Destination<'a> {
    pub(super) registry: &'a Registry,
    pub(super) host: &'a HostPort<'a>,
    /// What the registry says of the host.
    pub(super) route: &'a Route,
}

/// Carries an ordinary request of a visitor with this address to its session and brings the answer back.
pub(super) async fn forward<B>(
    to: &Destination<'_>,
    from: Prefix,
    head: &mut Request<()>,
    body: B,
    open: OpenRequest,
    interim: &mut (dyn FnMut(Response<()>) + Send),
) -> Result<Response<EdgeBody>, Cause>
where
    B: Body<Data = Bytes, Error = UploadError> + Send + 'static,
{
    let mut stripped = |mut head: Response<()>| {
        headers::strip_answer(&mut head);
        interim(head);
    };
    let session = &to.route.session;
    let lost = match session.send(from, head, body, &mut stripped).await {
        Ok(answer) => return read_answer(answer, open),
        Err(Unanswered::For(cause)) => return Err(cause),
        Err(Unanswered::Lost(lost)) => lost,
    };
    // Boxed, so that the ordinary request's future stays small.
    let answer = Box::pin(once_more(to, *lost, &mut stripped)).await?;
    read_answer(answer, open)
}

/// Sends a request once more that its link has lost: to another client that shares the name, or to the
/// same one when it is back.
async fn once_more(
    to: &Destination<'_>,
    mut lost: Lost,
    interim: &mut (dyn FnMut(Response<()>) + Send),
) -> Result<Response<SessionBody>, Cause> {
    let session = &to.route.session;
    if !session.is_online()
        && let Ok(other) = to.registry.assign(to.host)
        && other.session != *session
    {
        address(lost.headers_mut(), &other);
        return other.session.send_instead(lost, interim).await;
    }
    session.send_again(lost, interim).await
}

/// Says which of a client's tunnels a request is for.
fn address(headers: &mut HeaderMap, route: &Route) {
    let id = match route.tunnel.0 {
        // Most clients have one tunnel.
        0 => HeaderValue::from_static("0"),
        id => HeaderValue::from(id),
    };
    headers.insert(stream::TUNNEL, id);
}

/// Says for how long a request was held here.
pub(super) fn say_how_long(headers: &mut HeaderMap, held: Duration) {
    let micros = u64::try_from(held.as_micros()).unwrap_or(u64::MAX);
    let mut value = HeaderValue::from(micros);
    // HPACK must not remember it: it would push out what does come again.
    value.set_sensitive(true);
    headers.insert(stream::HELD, value);
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

/// Takes an answer off the link: the tunnel client's own troubles become causes.
pub(super) fn read_answer(
    mut answer: Response<SessionBody>,
    open: OpenRequest,
) -> Result<Response<EdgeBody>, Cause> {
    if let Some(code) = answer.headers().get(stream::CAUSE) {
        return Err(Cause::from_code(code.as_bytes()).unwrap_or(Cause::LocalBadResponse));
    }
    let reason = answer.headers_mut().remove(stream::REASON);
    headers::strip_answer(&mut answer);
    if let Some(reason) = reason
        && let Ok(reason) = ReasonPhrase::try_from(reason.as_bytes())
    {
        answer.extensions_mut().insert(reason);
    }
    // The version was the link's; each hop speaks its own.
    *answer.version_mut() = Version::HTTP_11;
    Ok(answer.map(|body| EdgeBody::Carried { body, _open: open }))
}
