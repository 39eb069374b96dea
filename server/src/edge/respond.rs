//! The answers that the edge gives itself: the only place where a cause becomes a page.

use std::cmp::Ordering;
use std::fmt::Write as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Uri};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use ngrnotok_common::hostname::HostPort;
use ngrnotok_common::link::body::Ahead;
use ngrnotok_common::protocol::cause::{Cause, Side};
use ngrnotok_common::protocol::stream;
use serde_json::json;

use super::activity::OpenRequest;
use super::serve::Edge;
use crate::session::SessionBody;

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// In what form a caller likes to be told of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taste {
    /// A browser's navigation.
    Page,
    /// Everybody else: `application/problem+json` (RFC 9457).
    Problem,
}

impl Taste {
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        let wants_page = request
            .headers()
            .get_all(ACCEPT)
            .iter()
            .any(|value| value.as_bytes().windows(9).any(|w| w == b"text/html"));
        if wants_page {
            Self::Page
        } else {
            Self::Problem
        }
    }
}

/// The answer for a request that got none from the local app.
pub(super) fn cause(cause: Cause, taste: Taste) -> Response<EdgeBody> {
    let (body, content_type) = match taste {
        Taste::Page => (page(cause), "text/html; charset=utf-8"),
        Taste::Problem => (problem(cause), "application/problem+json"),
    };
    let mut response = Response::new(EdgeBody::own(body));
    *response.status_mut() = cause.status();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(stream::CAUSE, HeaderValue::from_static(cause.code()));
    headers.insert(
        PROXY_STATUS,
        HeaderValue::try_from(format!(
            "ngrnotok; error={}; details=\"{}\"",
            cause.proxy_error(),
            title(cause)
        ))
        .expect("the catalogue is visible ASCII without quotes"),
    );
    if cause.status() == StatusCode::METHOD_NOT_ALLOWED {
        // RFC 9110 §15.5.6 wants the list; the local app knows it, and every method reaches it.
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST, OPTIONS"));
    }
    if cause.status() == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
    }
    if let Some(limit) = cause.limit() {
        headers.insert(RETRY_AFTER, HeaderValue::from(limit.retry_after()));
    }
    response
}

/// The same in HTTP/1.1, for a caller of whom nothing else could be read. It ends the connection.
pub(super) fn in_http1(refusal: Cause) -> Bytes {
    let body = problem(refusal);
    let answer = cause(refusal, Taste::Problem);
    let mut head = format!("HTTP/1.1 {}\r\nConnection: close\r\n", answer.status());
    for (name, value) in answer.headers() {
        let _ = write!(head, "{name}: {}\r\n", value.to_str().unwrap_or_default());
    }
    let _ = write!(head, "Content-Length: {}\r\n\r\n{body}", body.len());
    head.into()
}

/// What happened, with the limit that it is about.
fn title(cause: Cause) -> String {
    match cause.limit() {
        Some(limit) => format!("{} ({limit})", cause.title()),
        None => cause.title().to_owned(),
    }
}

/// Sends a visitor of the plain port to the same address under https.
pub(super) fn redirect_to_https(
    edge: &Edge,
    host: &HostPort<'_>,
    uri: &Uri,
) -> Result<Response<EdgeBody>, Cause> {
    // Only names of ours are echoed: an open redirect would lend our good name to strangers.
    if !edge.registry.covers(host) {
        return Err(Cause::ForeignHost);
    }
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let location = format!("{}{path}", edge.urls.at(&host.host));
    let mut response = Response::new(EdgeBody::empty());
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    response.headers_mut().insert(
        LOCATION,
        HeaderValue::try_from(location).map_err(|_| Cause::BadHost)?,
    );
    Ok(response)
}

fn problem(cause: Cause) -> String {
    let mut problem = json!({
        "type": "about:blank",
        "status": cause.status().as_u16(),
        "code": cause.code(),
        "title": title(cause),
        "detail": cause.fix(),
    });
    if let Some(limit) = cause.limit() {
        problem["limit"] = json!({ "name": limit.name.to_string(), "number": limit.number });
    }
    problem.to_string()
}

/// A page of its own: nothing of the request is shown in it, so nothing can be smuggled into it.
fn page(cause: Cause) -> String {
    let side = match cause.side() {
        Side::Visitor => "the request",
        Side::Edge => "the tunnel",
        Side::Link => "the connection to the developer's computer",
        Side::Local => "the developer's app",
    };
    let broken = match cause.side() {
        Side::Visitor => 0,
        Side::Edge | Side::Link => 2,
        Side::Local => 3,
    };
    let path: String = ["Your request", "This server", "Tunnel", "Local app"]
        .iter()
        .enumerate()
        .map(|(place, stop)| {
            let (class, mark) = match place.cmp(&broken) {
                Ordering::Less => ("ok", "&#10003;"),
                Ordering::Equal => ("no", "&#10007;"),
                Ordering::Greater => ("far", "&middot;"),
            };
            format!("<li class={class}><b>{mark}</b> {stop}</li>")
        })
        .collect();
    format!(
        include_str!("respond.html"),
        status = cause.status().as_u16(),
        title = title(cause),
        fix = cause.fix(),
        reason = match cause.side() {
            // It has addresses of the developer's machine in it, which are nobody else's business.
            Side::Local => "<p>Whoever runs this tunnel sees the reason in the terminal.</p>\n",
            _ => "",
        },
        code = cause.code(),
        side = side,
        path = path,
    )
}

/// The body of every answer of the edge.
#[derive(Debug)]
pub(super) enum EdgeBody {
    /// Made here.
    Own(Full<Bytes>),
    /// Carried from a session.
    Carried {
        body: SessionBody,
        /// The request counts as open until its last byte has gone.
        _open: OpenRequest,
    },
}

impl EdgeBody {
    /// No body.
    pub(super) fn empty() -> Self {
        Self::own(String::new())
    }

    fn own(text: String) -> Self {
        Self::Own(Full::from(text))
    }
}

impl EdgeBody {
    /// The driver of what is still to come.
    pub(super) fn ahead(&self) -> Ahead {
        match self {
            Self::Own(_) => Ahead::default(),
            Self::Carried { body, .. } => body.ahead(),
        }
    }
}

impl Body for EdgeBody {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        match &mut *self {
            Self::Own(body) => Pin::new(body)
                .poll_frame(cx)
                .map_err(|never| match never {}),
            Self::Carried { body, .. } => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(body) => body.is_end_stream(),
            Self::Carried { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(body) => body.size_hint(),
            Self::Carried { body, .. } => body.size_hint(),
        }
    }
}
