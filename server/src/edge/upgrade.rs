//! Requests that want to leave HTTP: `Upgrade` in HTTP/1.1, extended CONNECT in HTTP/2 (RFC 8441).
//! Both travel as extended CONNECT on the link, and the local app sees an HTTP/1.1 upgrade.

use std::mem::take;

use bytes::Bytes;
use h2::ext::Protocol;
use http::header::{CONNECTION, CONTENT_LENGTH, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Version};
use http_body::Body;
use ngrnotok_common::headers;
use ngrnotok_common::prefix::Prefix;
use ngrnotok_common::protocol::cause::Cause;
use ngrnotok_common::protocol::stream;

use super::activity::OpenRequest;
use super::forward::read_answer;
use super::respond::EdgeBody;
use crate::session::{PacedEnd, Session, Switch, SwitchedGuard, UploadError};

const WEBSOCKET: &str = "websocket";

/// What a request is. Decided once, before anything is done with it.
#[derive(Debug)]
pub(super) enum Kind {
    /// An ordinary request.
    Plain,
    /// It asks to go on in another protocol.
    Upgrade(Protocol),
}

impl Kind {
    /// Looks at a request. CONNECT without a protocol is for open proxies, which this is not; a
    /// protocol other than WebSocket has no meaning between a browser and a local app.
    pub(super) fn of<B: Body>(head: &Request<()>, body: &B) -> Result<Self, Cause> {
        if head.method() == Method::CONNECT {
            return match head.extensions().get::<Protocol>() {
                Some(protocol) if protocol.as_str() == WEBSOCKET => {
                    Ok(Self::Upgrade(protocol.clone()))
                }
                _ => Err(Cause::ConnectRefused),
            };
        }
        // A server may ignore the wish (RFC 9110 §7.8), and for a body of unknown length we do: on the link
        // nothing would tell where it ends and the other protocol begins.
        let length_is_known = body.size_hint().exact().is_some();
        if head.version() != Version::HTTP_11 || !length_is_known {
            return Ok(Self::Plain);
        }
        Ok(match wanted(head.headers()) {
            Some(protocol) => Self::Upgrade(Protocol::from(protocol)),
            None => Self::Plain,
        })
    }
}

/// Whether the tunnel client can carry an upgrade that begins with this body.
pub(super) fn is_carried<B: Body>(session: &Session, body: &B) -> bool {
    session.carries_upgrades() && (body.is_end_stream() || session.carries_upgrade_bodies())
}

/// The protocol of `Upgrade`, if `Connection` says that it is meant for us. h2c is never passed on: it
/// would let a visitor speak to the local app past everything that we check.
fn wanted(headers: &HeaderMap) -> Option<&str> {
    let upgrade = headers.get(UPGRADE)?.to_str().ok()?;
    let meant = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|option| option.trim().eq_ignore_ascii_case("upgrade"));
    let first = upgrade.split(',').next()?.trim();
    (meant && !first.is_empty() && !first.eq_ignore_ascii_case("h2c")).then_some(first)
}

/// What a visitor is answered.
#[derive(Debug)]
pub(super) enum Answer {
    /// In HTTP.
    Ordinary(Response<EdgeBody>),
    /// With a stream of another protocol.
    Switched(Switched),
}

impl Answer {
    /// Whether it comes from a session, and not from the edge itself.
    pub(super) fn is_carried(&self) -> bool {
        match self {
            Self::Ordinary(answer) => matches!(answer.body(), EdgeBody::Carried { .. }),
            Self::Switched(_) => true,
        }
    }
}

/// An agreed upgrade.
#[derive(Debug)]
pub(super) struct Switched {
    /// The local app's head with the `Upgrade` it agreed to; how each version says yes is its own
    /// matter.
    pub(super) head: Response<()>,
    /// The local app's end; the request is open as long as it.
    pub(super) link: PacedEnd<(SwitchedGuard, OpenRequest)>,
}

/// Asks the session for an upgrade on behalf of a visitor with this address. `head` is ready for the link but for what makes it a CONNECT.
pub(super) async fn ask<B>(
    session: &Session,
    visitor: Prefix,
    head: &mut Request<()>,
    body: B,
    from: Version,
    protocol: Protocol,
    open: OpenRequest,
) -> Result<Answer, Cause>
where
    B: Body<Data = Bytes, Error = UploadError> + Send + 'static,
{
    if !matches!(*head.method(), Method::GET | Method::CONNECT) {
        let method = HeaderValue::from_str(head.method().as_str()).map_err(|_| Cause::BadHost)?;
        head.headers_mut().insert(stream::METHOD, method);
    }
    // HTTP/2 would cut the stream at that length, which ends no more than the body (RFC 9113 §8.1.1).
    let length = head.headers_mut().remove(CONTENT_LENGTH);
    if let Some(length) = length
        && from == Version::HTTP_11
        && session.carries_upgrade_bodies()
    {
        head.headers_mut().insert(stream::BODY_LENGTH, length);
    }
    *head.method_mut() = Method::CONNECT;
    head.extensions_mut().insert(protocol);
    match session.switch(visitor, take(head), body).await? {
        Switch::Agreed(mut head, link) => {
            let protocol = head.headers_mut().remove(stream::SWITCHED);
            headers::strip_hop(head.headers_mut());
            // No body follows a switch, whatever the app says of one (RFC 9110 §8.6).
            head.headers_mut().remove(CONTENT_LENGTH);
            if let Some(protocol) = protocol {
                head.headers_mut().insert(UPGRADE, protocol);
            }
            let link = link.keeping(open);
            Ok(Answer::Switched(Switched { head, link }))
        }
        Switch::Refused(answer) => {
            let answer = read_answer(answer, open)?;
            // To a CONNECT every 2xx would mean yes.
            if from == Version::HTTP_2 && answer.status().is_success() {
                return Err(Cause::UpgradeRefused);
            }
            Ok(Answer::Ordinary(answer))
        }
    }
}
