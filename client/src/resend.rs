//! Sending a recorded request again, as it was or changed.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Uri, Version};
use http_body::Body as _;
use ngrnotok_common::hostname::Name;
use thiserror::Error;
use tokio::time::Instant;

use crate::client::Shared;
use crate::inspect::{
    Arrival, Captured, Direction, Exchange, ExchangeId, Kind, Origin, Recorder, Recording,
};
use crate::local::{LocalBody, RequestBody};
use crate::tunnels::Served;

/// Sends recorded requests again, to the local apps of a client that runs; clones do the same.
#[derive(Debug, Clone)]
pub struct Resender {
    recorder: Recorder,
    /// The client ends although somebody could still want to send something.
    client: Weak<Shared>,
}

/// What is to be different the second time; `None` leaves it as it was. A `Content-Length` follows the
/// body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edit {
    /// Another method.
    pub method: Option<Method>,
    /// Another path.
    pub path: Option<PathAndQuery>,
    /// Other fields, in the place of all.
    pub fields: Option<HeaderMap>,
    /// Another body.
    pub body: Option<Bytes>,
}

/// Why a request is not sent again.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ResendError {
    /// It is not recorded, or not any more.
    #[error("exchange {0} is not recorded, or there was no room for it any more")]
    Gone(ExchangeId),
    /// Its body is longer than what is kept of bodies.
    #[error(
        "only {kept} of the {total} bytes of its body were kept; give it a body, or keep more of each with --inspect-body"
    )]
    Cut {
        /// What was kept.
        kept: u64,
        /// What there was.
        total: u64,
    },
    /// Its body never came to its end, or has not yet.
    #[error("its body has not come to its end; give it a body")]
    Unfinished,
    /// It asked for another protocol, in which there is more to say than a request.
    #[error("a request that asks for another protocol, such as a WebSocket, cannot be sent again")]
    Upgrade,
    /// The client has no such tunnel.
    #[error("this client has no tunnel {0}")]
    NoTunnel(Name),
    /// The client has ended.
    #[error("the client has ended")]
    Ended,
}

#[cfg(test)]
impl Resender {
    /// One whose client has ended.
    pub(crate) fn of_nobody() -> Self {
        Self {
            recorder: Recorder::off(),
            client: Weak::new(),
        }
    }
}

impl Resender {
    pub(crate) fn new(client: &Arc<Shared>) -> Self {
        Self {
            recorder: client.recorder.clone(),
            client: Arc::downgrade(client),
        }
    }

    /// Sends a recorded request again to the local app of its tunnel, and nobody else gets the answer. It
    /// is recorded as a new exchange, whose number is returned at once; see [`Recorder::ended`].
    ///
    /// What the app reads is what it read the first time, but for what the edit says.
    pub fn resend(&self, id: ExchangeId, edit: Edit) -> Result<ExchangeId, ResendError> {
        let exchange = self.recorder.get(id).ok_or(ResendError::Gone(id))?;
        let edited = edit != Edit::default();
        let exchange = edited_by(exchange, edit, edited)?;
        let client = self.client.upgrade().ok_or(ResendError::Ended)?;
        let Some((_, tunnel)) = client.tunnels.named(&exchange.tunnel) else {
            return Err(ResendError::NoTunnel(exchange.tunnel));
        };
        let request = &exchange.request;
        let recording = self.recorder.begin(&Arrival {
            tunnel: &exchange.tunnel,
            at: SystemTime::now(),
            began: Instant::now(),
            origin: Origin::Resent { of: id, edited },
            method: &request.method,
            uri: &request.uri,
            version: Version::HTTP_2,
            fields: &request.fields,
            body: Some(request.body.bytes.clone()),
            protocol: None,
            round_trip: None,
            held: None,
        });
        let new = recording.id().ok_or(ResendError::Gone(id))?;
        client.tasks.spawn(async move {
            send(&tunnel, exchange, recording).await;
        });
        Ok(new)
    }
}

/// The exchange with the request that is to be sent.
fn edited_by(mut exchange: Exchange, edit: Edit, edited: bool) -> Result<Exchange, ResendError> {
    if matches!(exchange.kind, Kind::WebSocket | Kind::Upgraded(_)) {
        return Err(ResendError::Upgrade);
    }
    let request = &mut exchange.request;
    let Edit {
        method,
        path,
        fields,
        body,
    } = edit;
    if let Some(method) = method {
        request.method = method;
    }
    if let Some(path) = path {
        let mut parts = std::mem::take(&mut request.uri).into_parts();
        parts.path_and_query = Some(path);
        request.uri = Uri::from_parts(parts).expect("all parts are there");
    }
    if let Some(fields) = fields {
        request.fields = fields;
    }
    if let Some(body) = body {
        request.body = Captured::whole(body);
    }
    let body = &request.body;
    if body.is_cut() {
        return Err(ResendError::Cut {
            kept: body.bytes.len() as u64,
            total: body.total,
        });
    }
    if !body.ended {
        return Err(ResendError::Unfinished);
    }
    // Fields that somebody has written must not say that the body ends elsewhere.
    if edited && (!body.bytes.is_empty() || request.fields.contains_key(CONTENT_LENGTH)) {
        let length = HeaderValue::from(body.bytes.len());
        request.fields.insert(CONTENT_LENGTH, length);
    }
    request.fields.remove(TRANSFER_ENCODING);
    Ok(exchange)
}

async fn send(tunnel: &Served, exchange: Exchange, recording: Recording) {
    let of = exchange.request;
    let mut request = http::Request::new(RequestBody::ready(of.body.bytes, of.trailers));
    *request.method_mut() = of.method;
    *request.uri_mut() = of.uri;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = of.fields;
    match tunnel.local.exchange(&mut request, None).await {
        Ok(answer) => {
            recording.answered(&answer, answer.body().is_end_stream());
            let mut body = answer.into_body();
            match read(&mut body, &recording).await {
                Ok(()) => {
                    recording.done();
                    tunnel.local.done(body);
                }
                Err(reason) => recording.broken(&reason),
            }
        }
        Err(trouble) => recording.trouble(trouble.cause, &trouble.detail),
    }
}

/// Reads an answer that nobody gets, as long as it is recorded: some answers have no end.
async fn read(body: &mut LocalBody, recording: &Recording) -> Result<(), String> {
    let Some(tap) = recording.tap(Direction::FromApp) else {
        return Ok(());
    };
    while recording.is_wanted() {
        let next = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await;
        tap.frame(next.as_ref());
        match next {
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error.to_string()),
            None => return Ok(()),
        }
    }
    Err("nobody looks any more".into())
}
