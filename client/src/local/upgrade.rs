//! Upgrades with the local app: what travelled as extended CONNECT becomes an HTTP/1.1 upgrade again,
//! also for apps that speak HTTP/2 otherwise: few of those take upgrades in any other way.

use data_encoding::BASE64;
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderName, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use ngrnotok_common::headers;
use ngrnotok_common::link::body::LinkBody;
use ngrnotok_common::protocol::cause::Cause;
use ngrnotok_common::protocol::stream;
use ngrnotok_common::rewound::Rewound;
use ngrnotok_common::socket::Socket;
use ngrnotok_common::splice::Remainder;

use super::body::After;
use super::hangup::Listening;
use super::http::{Caller, Local, LocalBody, in_http1};
use super::{RequestBody, Target, Trouble};
use crate::inspect::Tap;

const WEBSOCKET_KEY: HeaderName = HeaderName::from_static("sec-websocket-key");

/// A connection to the local app that has left HTTP.
pub type Switched = Rewound<Box<dyn Socket>>;

/// What became of a wish for an upgrade.
pub enum Switch {
    /// The app has switched. The head says to what, in the field that the link knows. What is left of the
    /// visitor's stream is of that protocol.
    Agreed(Response<()>, Switched, Remainder),
    /// The app gave an ordinary answer.
    Refused(Response<LocalBody>),
}

/// An upgrade came as another method than it travels as.
pub(crate) fn method(fields: &HeaderMap) -> Method {
    let method = fields.get(stream::METHOD);
    let method = method.and_then(|method| Method::from_bytes(method.as_bytes()).ok());
    method.unwrap_or(Method::GET)
}

impl Local {
    /// Asks the app to switch to `protocol`. So much of the request's stream is its body as `Content-Length`
    /// says, nothing without one; `tap` records that.
    ///
    /// Cancel safety: dropping the future closes the connection.
    pub(crate) async fn switch(
        &self,
        request: Request<LinkBody>,
        protocol: &str,
        tap: Option<Tap>,
        caller: &Caller<'_>,
    ) -> Result<Switch, Trouble> {
        let (head, stream) = request.into_parts();
        let length = self.body_length(&head.headers)?;
        let (body, after) = RequestBody::opening(stream, length, tap);
        let mut request = Request::from_parts(head, body);
        *request.method_mut() = method(request.headers());
        if *self.target() == Target::Hello {
            let answer = self.exchange(&mut request, caller).await;
            return answer.map(Switch::Refused);
        }
        let public = self.for_app(&mut request);
        in_http1(&mut request);
        let fields = request.headers_mut();
        // The connection of the link has no say in where the body ends.
        fields.remove(TRANSFER_ENCODING);
        fields.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        let protocol = HeaderValue::from_str(protocol).map_err(|_| self.odd("protocol"))?;
        fields.insert(UPGRADE, protocol.clone());
        if protocol.as_bytes().eq_ignore_ascii_case(b"websocket")
            && !fields.contains_key(WEBSOCKET_KEY)
        {
            // A visitor on HTTP/2 has none (RFC 8441 §5); HTTP/1.1 wants one (RFC 6455 §4.1).
            fields.insert(WEBSOCKET_KEY, nonce());
        }
        let kept = self.kept_for(&request, caller);
        let sent = self.send_on(kept, None, &mut request, caller);
        let (answer, connection) = sent.await?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            let mut answer = answer.map(|body| LocalBody::Http1 { body, connection });
            self.for_link(&mut answer)?;
            self.rewrite_answer(&mut answer, public.as_ref());
            return Ok(Switch::Refused(answer));
        }
        let (head, socket) = self.switched(answer, protocol).await?;
        let remainder = match after {
            After::Now(remainder) => remainder,
            After::Written(remainder) => remainder.await.map_err(|_| self.odd("body"))?,
        };
        Ok(Switch::Agreed(head, socket, remainder))
    }

    /// What follows an app's agreement. hyper gives the connection away when the whole request is written.
    async fn switched(
        &self,
        mut answer: Response<Incoming>,
        protocol: HeaderValue,
    ) -> Result<(Response<()>, Switched), Trouble> {
        let agreed = answer.headers_mut().remove(UPGRADE).unwrap_or(protocol);
        headers::strip_hop(answer.headers_mut());
        // Nothing that follows is a body (RFC 9110 §8.6), and HTTP/2 would cut the stream there.
        answer.headers_mut().remove(CONTENT_LENGTH);
        let mut head = Response::new(());
        *head.version_mut() = Version::HTTP_2;
        std::mem::swap(head.headers_mut(), answer.headers_mut());
        head.headers_mut().insert(stream::SWITCHED, agreed);
        let parts = hyper::upgrade::on(answer)
            .await
            .map_err(|error| Trouble::exchange(self.target(), &error))?
            .downcast::<TokioIo<Listening>>()
            .expect("the connection is the one we put in");
        let connection = parts.io.into_inner();
        if connection.is_blocked() {
            // What hyper still had to write is gone with it.
            let reason = "it switched protocols before it had read the request";
            return Err(Trouble::new(
                Cause::LocalBadResponse,
                self.target(),
                &reason,
            ));
        }
        Ok((head, Rewound::new(parts.read_buf, connection.into_inner())))
    }

    /// How much of an upgrade's stream is the body of its request.
    fn body_length(&self, fields: &HeaderMap) -> Result<u64, Trouble> {
        let Some(length) = fields.get(CONTENT_LENGTH) else {
            return Ok(0);
        };
        let length = length.to_str().ok().and_then(|length| length.parse().ok());
        length.ok_or_else(|| self.odd("content-length"))
    }

    fn odd(&self, what: &str) -> Trouble {
        let reason = format!("the visitor's {what} cannot be sent");
        Trouble::new(Cause::LocalBadResponse, self.target(), &reason)
    }
}

fn nonce() -> HeaderValue {
    let mut bytes = [0; 16];
    // It proves nothing to anybody; should the system have no randomness, zeros serve.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    HeaderValue::try_from(BASE64.encode(&bytes)).expect("base64 is visible ASCII")
}

impl std::fmt::Debug for Switch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Agreed(head, ..) => f.debug_tuple("Agreed").field(head).finish(),
            Self::Refused(answer) => f.debug_tuple("Refused").field(answer).finish(),
        }
    }
}
