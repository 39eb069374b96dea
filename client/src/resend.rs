//! Sending a recorded request again, as it was or changed.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Uri, Version};
use http_body::Body as _;
use ngrnotok_common::hostname::Name;
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::client::Shared;
use crate::inspect::{
    Arrival, Captured, Direction, Exchange, ExchangeId, Kind, Origin, Recorder, Recording,
};
use crate::local::{Caller, LocalBody, RequestBody};
use crate::status::Status;
use crate::tunnels::{Served, Tunnels};

/// Sends recorded requests again, to the local apps of a client that runs; clones do the same.
#[derive(Debug, Clone)]
pub struct Resender {
    recorder: Recorder,
    /// The client ends although somebody could still want to send something.
    client: Weak<Shared>,
    status: watch::Receiver<Status>,
}

/// What is to be different the second time; `None` leaves it as it was. `Content-Length` follows the
/// body. `Content-Encoding` described the old body, so a new one without new fields goes without it.
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
    /// Another tunnel of this client.
    pub tunnel: Option<Name>,
}

impl Edit {
    /// Whether the app reads another request than the first time.
    fn changes_the_request(&self) -> bool {
        self.method.is_some() || self.path.is_some() || self.fields.is_some() || self.body.is_some()
    }
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
    /// An imported request could go to any of several tunnels.
    #[error("this request was imported, and this client has several tunnels; choose one of: {}", .0.join(", "))]
    SeveralTunnels(Vec<String>),
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
            status: watch::channel(Status::default()).1,
        }
    }
}

impl Resender {
    pub(crate) fn new(client: &Arc<Shared>, status: watch::Receiver<Status>) -> Self {
        Self {
            recorder: client.recorder.clone(),
            client: Arc::downgrade(client),
            status,
        }
    }

    /// Sends a recorded request again to the local app of its tunnel, and nobody else gets the answer. It
    /// is recorded as a new exchange, whose number is returned at once; see [`Recorder::ended`].
    ///
    /// The app reads the same as the first time, except for the edit. An imported request whose tunnel this
    /// client does not have goes to the client's only tunnel, addressed to its public URL.
    pub fn resend(&self, id: ExchangeId, edit: Edit) -> Result<ExchangeId, ResendError> {
        let exchange = self.recorder.get(id).ok_or(ResendError::Gone(id))?;
        let client = self.client.upgrade().ok_or(ResendError::Ended)?;
        let tunnel = tunnel_for(&exchange, edit.tunnel.as_ref(), &client.tunnels)?;
        let edited = edit.changes_the_request();
        let mut exchange = edited_by(exchange, edit)?;
        if exchange.tunnel != tunnel.name {
            exchange.tunnel = tunnel.name.clone();
            self.readdress(&mut exchange);
        }
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

    /// Gives a request the scheme and host of its tunnel's public URL, if the tunnel is online.
    fn readdress(&self, exchange: &mut Exchange) {
        let status = self.status.borrow();
        let online = status.online.iter();
        let Some(url) = online
            .filter(|online| online.name == exchange.tunnel)
            .find_map(|online| online.url.parse::<Uri>().ok())
        else {
            return;
        };
        let mut parts = std::mem::take(&mut exchange.request.uri).into_parts();
        let public = url.into_parts();
        (parts.scheme, parts.authority) = (public.scheme, public.authority);
        exchange.request.uri = with_path(parts, None);
    }
}

/// The tunnel whose app gets a request: the one that is asked for, or that of the exchange. An imported
/// exchange may have none of this client's; then the client's only tunnel serves.
fn tunnel_for(
    exchange: &Exchange,
    wanted: Option<&Name>,
    tunnels: &Tunnels,
) -> Result<Arc<Served>, ResendError> {
    let name = wanted.unwrap_or(&exchange.tunnel);
    if let Some((_, tunnel)) = tunnels.named(name) {
        return Ok(tunnel);
    }
    let all = tunnels.all();
    let mut candidates = all.values();
    match (candidates.next(), candidates.next()) {
        _ if wanted.is_some() || exchange.origin != Origin::Imported => {
            Err(ResendError::NoTunnel(name.clone()))
        }
        (Some(only), None) => Ok(Arc::clone(only)),
        (None, _) => Err(ResendError::NoTunnel(name.clone())),
        (Some(_), Some(_)) => {
            let names = all.values().map(|tunnel| tunnel.name.to_string());
            Err(ResendError::SeveralTunnels(names.collect()))
        }
    }
}

/// The exchange with the request that is to be sent.
fn edited_by(mut exchange: Exchange, edit: Edit) -> Result<Exchange, ResendError> {
    if matches!(exchange.kind, Kind::WebSocket | Kind::Upgraded(_)) {
        return Err(ResendError::Upgrade);
    }
    // A file can say anything of how long its bodies are.
    let frames_anew = edit.changes_the_request() || exchange.origin == Origin::Imported;
    let request = &mut exchange.request;
    if let Some(method) = edit.method {
        request.method = method;
    }
    if let Some(path) = edit.path {
        let parts = std::mem::take(&mut request.uri).into_parts();
        request.uri = with_path(parts, Some(path));
    }
    match (edit.fields, &edit.body) {
        (Some(fields), _) => request.fields = fields,
        (None, Some(_)) => drop(request.fields.remove(CONTENT_ENCODING)),
        (None, None) => {}
    }
    if let Some(body) = edit.body {
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
    if frames_anew && (!body.bytes.is_empty() || request.fields.contains_key(CONTENT_LENGTH)) {
        let length = HeaderValue::from(body.bytes.len());
        request.fields.insert(CONTENT_LENGTH, length);
    }
    request.fields.remove(TRANSFER_ENCODING);
    Ok(exchange)
}

/// Puts an address together, with another path if there is one. A recorded request can name a host alone,
/// as CONNECT does; `http` stands in for the scheme that is missing there.
fn with_path(mut parts: http::uri::Parts, path: Option<PathAndQuery>) -> Uri {
    parts.path_and_query = path
        .or(parts.path_and_query)
        .or_else(|| Some(PathAndQuery::from_static("/")));
    if parts.authority.is_some() {
        parts.scheme.get_or_insert(Scheme::HTTP);
    }
    Uri::from_parts(parts).expect("a path alone, or a scheme, a host and a path")
}

async fn send(tunnel: &Served, exchange: Exchange, recording: Recording) {
    let of = exchange.request;
    let mut request = http::Request::new(RequestBody::ready(of.body.bytes, of.trailers));
    *request.method_mut() = of.method;
    *request.uri_mut() = of.uri;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = of.fields;
    match tunnel
        .local
        .exchange(&mut request, &Caller::default())
        .await
    {
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
