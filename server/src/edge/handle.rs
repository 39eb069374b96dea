//! The line every request walks.

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use ngrnotok_common::hostname::HostPort;
use ngrnotok_common::prefix::Prefix;
use ngrnotok_common::protocol::cause::Cause;

use super::activity::OpenRequest;
use super::forward::{Destination, for_link, forward, say_how_long};
use super::serve::{Edge, HttpMode};
use super::source::Source;
use super::upgrade::{self, Answer, Kind};
use super::visitor::Visitor;
use super::{host, respond};
use crate::session::UploadError;
use crate::urls::Scheme;

/// Answers one request: by the local app behind its name, or by saying why not. Interim answers of the
/// app go to `interim`. The head is changed where it is, because every call that took it along would
/// hold it twice.
pub(super) async fn handle<B>(
    edge: &Edge,
    visitor: &Visitor,
    head: &mut Request<()>,
    body: B,
    open: OpenRequest,
    interim: &mut (dyn FnMut(Response<()>) + Send),
) -> Answer
where
    B: Body<Data = Bytes, Error = UploadError> + Send + 'static,
{
    let taste = respond::Taste::of(head);
    match carry(edge, visitor, head, body, open, interim).await {
        Ok(answer) => answer,
        Err(cause) => Answer::Ordinary(respond::cause(cause, taste)),
    }
}

async fn carry<B>(
    edge: &Edge,
    visitor: &Visitor,
    head: &mut Request<()>,
    body: B,
    open: OpenRequest,
    interim: &mut (dyn FnMut(Response<()>) + Send),
) -> Result<Answer, Cause>
where
    B: Body<Data = Bytes, Error = UploadError> + Send + 'static,
{
    let kind = Kind::of(head, &body)?;
    let written = host::written(head)?.to_owned();
    let host = host::parse(&written)?;
    same_name_as_tls(visitor, &host)?;
    let source = Source::of(visitor, head.headers(), |address| edge.trusts(address));
    if edge.http_mode == HttpMode::Redirect && source.scheme == Scheme::Http {
        return respond::redirect_to_https(edge, &host, head.uri()).map(Answer::Ordinary);
    }
    let from = Prefix::of(source.address);
    let route = edge.registry.find(from, &host, edge.offline_wait).await?;
    let version = head.version();
    for_link(head, &route, visitor, &source, &written, &host)?;
    if route.session.wants_times() {
        say_how_long(head.headers_mut(), open.held());
    }
    let has_body = !body.is_end_stream();
    visitor
        .bond
        .name(head.headers_mut(), has_body, &route.session);
    let answer = match kind {
        Kind::Upgrade(protocol) if upgrade::is_carried(&route.session, &body) => {
            let asked = upgrade::ask(&route.session, from, head, body, version, protocol, open);
            // Boxed, so that the ordinary request's future stays small.
            Box::pin(asked).await?
        }
        _ => {
            let to = Destination {
                registry: &edge.registry,
                host: &host,
                route: &route,
            };
            Answer::Ordinary(forward(&to, from, head, body, open, interim).await?)
        }
    };
    if let Answer::Ordinary(answer) = &answer {
        visitor.bond.look_at(answer.status(), answer.headers());
    }
    Ok(answer)
}

/// A browser may reuse a connection for every name that its wildcard certificate covers; each tunnel
/// is a site of its own, so it is sent to open another one (RFC 9110 §15.5.20). A proxy of ours names
/// whom it likes in TLS: its visitors have connections of their own.
fn same_name_as_tls(visitor: &Visitor, host: &HostPort<'_>) -> Result<(), Cause> {
    match visitor.server_name.as_deref() {
        Some(name) if name != host.host && !visitor.trusted => Err(Cause::Misdirected),
        _ => Ok(()),
    }
}
