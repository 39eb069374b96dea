//! Whoever calls a public URL, in every version of HTTP that the edge speaks.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;

use crate::body::{Body, empty};
use crate::soon;
use crate::tasks::Tasks;
use crate::wire::Stream;

/// How a visitor comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// HTTP/1.1 over TLS.
    Http1,
    /// HTTP/2 over TLS.
    Http2,
    /// HTTP/1.1 in clear.
    PlainHttp1,
    /// HTTP/2 in clear, by prior knowledge.
    PlainHttp2,
}

impl Via {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Http1, Self::Http2, Self::PlainHttp1, Self::PlainHttp2];

    /// Whether TLS comes first.
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Http1 | Self::Http2)
    }

    /// Whether many requests share the connection.
    pub fn is_http2(self) -> bool {
        matches!(self, Self::Http2 | Self::PlainHttp2)
    }

    /// The ALPN protocol that belongs to it.
    pub fn alpn(self) -> &'static [u8] {
        if self.is_http2() { b"h2" } else { b"http/1.1" }
    }
}

/// One connection of a visitor; dropping the last handle leaves at once.
#[derive(Debug, Clone)]
pub struct Visitor {
    via: Via,
    authority: String,
    sender: Sender,
    _tasks: Arc<Tasks>,
}

#[derive(Debug, Clone)]
enum Sender {
    Http1(Arc<tokio::sync::Mutex<http1::SendRequest<Body>>>),
    Http2(http2::SendRequest<Body>),
}

impl Visitor {
    /// Speaks HTTP on a connected stream; `authority` is what requests are for.
    pub async fn on(stream: impl Stream + 'static, via: Via, authority: String) -> Self {
        let opened = Self::try_on(stream, via, authority).await;
        opened.expect("HTTP can be opened")
    }

    /// The same on a connection that may break at any moment.
    pub async fn try_on(
        stream: impl Stream + 'static,
        via: Via,
        authority: String,
    ) -> Result<Self, hyper::Error> {
        let tasks = Tasks::default();
        let io = TokioIo::new(stream);
        let sender = if via.is_http2() {
            let (sender, connection) = http2::Builder::new(tasks.spawner())
                .max_header_list_size(256 * 1024)
                .handshake(io)
                .await?;
            tasks.spawn(async { drop(connection.await) });
            Sender::Http2(sender)
        } else {
            let (sender, connection) = http1::handshake(io).await?;
            tasks.spawn(async { drop(connection.await) });
            Sender::Http1(Arc::new(sender.into()))
        };
        Ok(Self {
            via,
            authority,
            sender,
            _tasks: Arc::new(tasks),
        })
    }

    /// Whether the connection would take a request now, as far as is known.
    pub fn is_open(&self) -> bool {
        match &self.sender {
            Sender::Http1(sender) => sender.try_lock().is_ok_and(|sender| !sender.is_closed()),
            Sender::Http2(sender) => !sender.is_closed(),
        }
    }

    /// The same connection, asking for another host.
    pub fn asking_for(mut self, authority: &str) -> Self {
        authority.clone_into(&mut self.authority);
        self
    }

    /// Begins a request in the form that the version has.
    pub fn request(&self, method: &str, path: &str) -> http::request::Builder {
        let request = Request::builder().method(method);
        if self.via.is_http2() {
            let scheme = if self.via.is_tls() { "https" } else { "http" };
            return request.uri(format!("{scheme}://{}{path}", self.authority));
        }
        request.uri(path).header("host", &self.authority)
    }

    /// Sends a request and waits for the head of its answer.
    pub async fn open(&self, request: Request<Body>) -> Result<Response<Incoming>, hyper::Error> {
        match &self.sender {
            Sender::Http1(sender) => {
                let mut sender = sender.lock().await;
                sender.ready().await?;
                sender.send_request(request).await
            }
            Sender::Http2(sender) => sender.clone().send_request(request).await,
        }
    }

    /// Sends a request and reads its answer to the end.
    pub async fn try_send(&self, request: Request<Body>) -> Result<Answer, hyper::Error> {
        Answer::collect(self.open(request).await?).await
    }

    /// Sends a request and reads its answer, which is whole.
    pub async fn send(&self, request: Request<Body>) -> Answer {
        let what = format!("{} {} via {:?}", request.method(), request.uri(), self.via);
        match soon(&what, self.try_send(request)).await {
            Ok(answer) => answer,
            Err(error) => panic!("{what}: {error:?}"),
        }
    }

    /// `GET path`, up to the head of the answer.
    pub async fn begin(&self, path: &str) -> Response<Incoming> {
        let request = self.request("GET", path).body(empty());
        let answer = self.open(request.expect("a good request"));
        let answer = soon("the head of an answer", answer).await;
        answer.expect("an answer")
    }

    /// `GET path`.
    pub async fn get(&self, path: &str) -> Answer {
        let request = self.request("GET", path);
        self.send(request.body(empty()).expect("a good request"))
            .await
    }
}

/// An answer as it arrived.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its fields.
    pub headers: HeaderMap,
    /// Its body, whole.
    pub body: Bytes,
    /// Its trailers; empty if there are none.
    pub trailers: HeaderMap,
}

impl Answer {
    /// Reads an answer to its end.
    pub async fn collect(answer: Response<Incoming>) -> Result<Self, hyper::Error> {
        let (head, body) = answer.into_parts();
        let body = body.collect().await?;
        Ok(Self {
            status: head.status,
            headers: head.headers,
            trailers: body.trailers().cloned().unwrap_or_default(),
            body: body.to_bytes(),
        })
    }

    /// Reads the head of an HTTP/1 answer.
    pub fn read_head(head: &str) -> Self {
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        let status = status.and_then(|status| status.parse().ok());
        let headers = lines.filter_map(|line| line.split_once(':'));
        Self {
            status: status.unwrap_or_else(|| panic!("no head of an answer: {head:?}")),
            headers: headers
                .map(|(name, value)| {
                    let name: HeaderName = name.parse().expect("a field name");
                    let value: HeaderValue = value.trim().parse().expect("a field value");
                    (name, value)
                })
                .collect(),
            body: Bytes::new(),
            trailers: HeaderMap::new(),
        }
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body of text")
    }

    /// A field as text; empty if there is none.
    pub fn field(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().expect("a field of text"))
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {:?}", self.body))
    }

    /// Status and code of a `problem+json`, `404 tunnel_not_found`.
    pub fn problem(&self) -> String {
        assert_eq!(self.field("content-type"), "application/problem+json");
        let code = self.json()["code"].as_str().map(ToOwned::to_owned);
        format!("{} {}", self.status.as_u16(), code.unwrap_or_default())
    }
}
