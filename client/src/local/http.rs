//! The exchange with the local app: what a visitor asked, in the words the app understands.

use std::error::Error as StdError;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{Extensions, HeaderValue, Request, Response, StatusCode, Uri, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::ext::on_informational;
use hyper_util::rt::TokioIo;
use ngrnotok_common::headers;
use ngrnotok_common::link::calling::AnswerBody;
use ngrnotok_common::link::open::in_words;
use ngrnotok_common::link::serving::Reply;
use ngrnotok_common::protocol::cause::Cause;
use ngrnotok_common::socket::Socket;
use tokio_util::task::TaskTracker;

use super::body::RequestBody;
use super::dial::{Dialer, LocalError, Offer, Spoken};
use super::explain::Told;
use super::hangup::Listening;
use super::pool::{Connection, Pool};
use super::rewrite::{HostHeader, PublicOrigin, Rewrite};
use super::webpack::{Script, Webpack};
use super::{Target, Trouble, hello, http2};

/// A head of the local app and what is read ahead of its body: 128 KiB. A larger head would not fit
/// the link either.
const BUFFER: usize = 128 * 1024;

/// Fields in a head of the local app: 1000.
const FIELDS: usize = 1000;

/// What the local app speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// HTTP/1.1; over TLS whatever ALPN finds.
    #[default]
    Auto,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge: gRPC servers.
    H2c,
}

/// How to deal with a local app.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What it speaks.
    pub protocol: Protocol,
    /// Accept any certificate of it.
    pub insecure: bool,
    /// Which `Host` it sees.
    pub host: HostHeader,
    /// Join the public origin with its own.
    pub dev: bool,
}

/// The way to one local app.
#[derive(Debug)]
pub struct Local {
    pub(super) dialer: Dialer,
    pub(super) rewrite: Rewrite,
    /// Under `--dev`, where the target has a port.
    webpack: Option<Webpack>,
    pool: Pool,
    shared: http2::Shared,
    speaks_http2: AtomicBool,
    offers_http2: bool,
    pub(super) told: Told,
    tasks: TaskTracker,
}

impl Local {
    /// Prepares the way to `target`; connections run on `tasks`.
    pub fn new(target: Target, options: Options, tasks: TaskTracker) -> Result<Self, LocalError> {
        let h2c = options.protocol == Protocol::H2c;
        let over_tls = matches!(target, Target::Https { .. });
        Ok(Self {
            webpack: options.dev.then(|| Webpack::new(&target)).flatten(),
            rewrite: Rewrite::new(&target, options.host, options.dev),
            dialer: Dialer::new(target, options.insecure)?,
            pool: Pool::default(),
            shared: http2::Shared::default(),
            speaks_http2: AtomicBool::new(h2c),
            offers_http2: h2c || (over_tls && options.protocol == Protocol::Auto),
            told: Told::default(),
            tasks,
        })
    }

    /// Sends a request that came over the link and returns the app's answer as soon as its head is
    /// there. Give the body back with [`Local::done`] when it has been read to its end. Interim answers
    /// go to `interim`, if somebody wants them.
    ///
    /// The request is taken out of its place: futures hold every argument that they own twice, and that of
    /// each request should be small.
    ///
    /// Cancel safety: dropping the future, or the body before its end, closes the connection, and the
    /// app sees its caller leave.
    pub async fn exchange(
        &self,
        request: &mut Request<RequestBody>,
        interim: Option<Reply>,
    ) -> Result<Response<LocalBody>, Trouble> {
        if *self.target() == Target::Hello {
            let answer = Box::pin(hello::answer(taken(request))).await;
            return Ok(answer.map(LocalBody::Own));
        }
        let public = self.for_app(request);
        let webpack = self.webpack.as_ref();
        let webpack = webpack.map(|webpack| (webpack, webpack.request(request)));
        let mut answer = if self.offers_http2 {
            Box::pin(self.send_either(request, interim)).await?
        } else {
            self.send_http1(request, interim, None).await?
        };
        self.for_link(&mut answer)?;
        self.rewrite_answer(&mut answer, public.as_ref());
        Ok(match webpack {
            Some((webpack, asked)) => webpack.answer(answer, asked),
            None => answer,
        })
    }

    /// What the app said, as the link says it. An answer that two readers could end in two places is
    /// not passed on.
    pub(super) fn for_link<B>(&self, answer: &mut Response<B>) -> Result<(), Trouble> {
        let fields = answer.headers_mut();
        let both = fields.contains_key(CONTENT_LENGTH) && fields.contains_key(TRANSFER_ENCODING);
        if both || headers::settle_framing(fields).is_err() {
            let reason = "it does not say clearly where its answer ends";
            return Err(Trouble::new(
                Cause::LocalBadResponse,
                self.target(),
                &reason,
            ));
        }
        headers::strip_answer(answer);
        *answer.version_mut() = Version::HTTP_2;
        *answer.extensions_mut() = Extensions::new();
        Ok(())
    }

    pub(super) fn rewrite_answer<B>(
        &self,
        answer: &mut Response<B>,
        public: Option<&PublicOrigin>,
    ) {
        self.rewrite.answer(answer.headers_mut(), public);
    }

    /// Keeps the connection behind a body that has been read to its end.
    pub fn done(&self, body: LocalBody) {
        match body {
            LocalBody::Http1 { connection, .. } => self.pool.put(connection),
            LocalBody::Script(script) => self.done(script.into_inner()),
            LocalBody::Http2(_) | LocalBody::Own(_) => {}
        }
    }

    /// Where it is.
    pub fn target(&self) -> &Target {
        self.dialer.target()
    }

    /// What was said on the link, as the next hop says it.
    pub(super) fn for_app<B>(&self, request: &mut Request<B>) -> Option<PublicOrigin> {
        headers::strip_hop(request.headers_mut());
        headers::join_cookies(request.headers_mut());
        let host = request
            .uri()
            .authority()
            .and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
        if let Some(host) = host {
            request.headers_mut().insert(HOST, host);
        }
        *request.extensions_mut() = Extensions::new();
        self.rewrite.request(request)
    }

    /// HTTP/2 if the app speaks it. What it speaks over TLS is known once ALPN has found it out.
    async fn send_either(
        &self,
        request: &mut Request<RequestBody>,
        interim: Option<Reply>,
    ) -> Result<Response<LocalBody>, Trouble> {
        if self.speaks_http2.load(Ordering::Relaxed) {
            let dial = || async { Ok(self.dialer.dial(Offer::Http2).await?.stream) };
            return self.send_http2(request, interim, dial).await;
        }
        if let Some(connection) = self.pool.take() {
            return self.send_http1(request, interim, Some(connection)).await;
        }
        let dialed = self.dialer.dial(Offer::Either).await?;
        match dialed.spoken {
            Spoken::Http2 => {
                self.speaks_http2.store(true, Ordering::Relaxed);
                let dial = || async { Ok(dialed.stream) };
                self.send_http2(request, interim, dial).await
            }
            Spoken::Http1 => {
                let connection = (self.handshake(dialed.stream).await?, false);
                self.send_http1(request, interim, Some(connection)).await
            }
        }
    }

    async fn send_http2<D>(
        &self,
        request: &mut Request<RequestBody>,
        interim: Option<Reply>,
        dial: impl FnOnce() -> D,
    ) -> Result<Response<LocalBody>, Trouble>
    where
        D: Future<Output = Result<Box<dyn Socket>, Trouble>>,
    {
        let target = self.target();
        let requests = self.shared.connection(&self.tasks, target, dial).await?;
        in_http2(request, matches!(target, Target::Https { .. }));
        let mut pass = |mut head: Response<()>| {
            if let Some(reply) = &interim {
                headers::strip_answer(&mut head);
                reply.interim(head);
            }
        };
        let answer = http2::send(requests, taken(request), &mut pass, &self.tasks, target).await?;
        Ok(answer.map(LocalBody::Http2))
    }

    /// Sends a request on `connection`, on one from the pool, or on a fresh one.
    async fn send_http1(
        &self,
        request: &mut Request<RequestBody>,
        interim: Option<Reply>,
        connection: Option<(Connection, bool)>,
    ) -> Result<Response<LocalBody>, Trouble> {
        in_http1(request);
        // hyper frames a body of unknown length by itself only where the method makes one likely.
        let headers = request.headers();
        if !headers.contains_key(CONTENT_LENGTH) && !request.body().is_end_stream() {
            let chunked = HeaderValue::from_static("chunked");
            request.headers_mut().insert(TRANSFER_ENCODING, chunked);
        }
        if let Some(reply) = interim {
            on_informational(request, move |head| {
                let mut interim = Response::new(());
                *interim.status_mut() = head.status();
                *interim.headers_mut() = head.headers().clone();
                headers::strip_answer(&mut interim);
                reply.interim(interim);
            });
        }
        let (answer, connection) = self.send_on(connection, request).await?;
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Trouble {
                cause: Cause::LocalBadResponse,
                detail: format!("{}: it switched protocols unasked", self.target()),
                lead: None,
            });
        }
        Ok(answer.map(|body| LocalBody::Http1 { body, connection }))
    }

    /// See [`Local::send_http1`]; the request is in HTTP/1.1 already.
    pub(super) async fn send_on(
        &self,
        connection: Option<(Connection, bool)>,
        request: &mut Request<RequestBody>,
    ) -> Result<(Response<Incoming>, Connection), Trouble> {
        let mut known = connection.or_else(|| self.pool.take());
        loop {
            // Apps close idle connections when they like, also in the moment in which we use one.
            let again = match &known {
                Some((_, true)) => repeatable(request),
                _ => None,
            };
            let mut connection = match known.take() {
                Some((connection, _)) => connection,
                None => Box::pin(self.connect()).await?,
            };
            let mut failed = match connection.try_send_request(taken(request)).await {
                Ok(answer) => return Ok((answer, connection)),
                Err(failed) => failed,
            };
            *request = match (failed.take_message(), again) {
                // Nothing of it has left.
                (Some(unsent), _) => unsent,
                // Nothing of an answer has come.
                (None, Some(again)) if is_closing(failed.error()) => *again,
                _ => return Err(Trouble::exchange(self.target(), failed.error())),
            };
        }
    }

    /// A fresh connection. Rare, and larger than all else that a request needs: whoever awaits this does
    /// so in a box, so that the task of each request stays small.
    async fn connect(&self) -> Result<Connection, Trouble> {
        let dialed = self.dialer.dial(Offer::Http1).await?;
        self.handshake(dialed.stream).await
    }

    async fn handshake(&self, stream: Box<dyn Socket>) -> Result<Connection, Trouble> {
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(BUFFER)
            .max_headers(FIELDS)
            // Old apps and small devices look for `Content-Length` letter by letter, though names have no case.
            .title_case_headers(true)
            .handshake(TokioIo::new(Listening::new(stream)))
            .await
            .map_err(|error| Trouble::exchange(self.target(), &error))?;
        // Ends when its sender is dropped or the app closes; errors reach the exchange that meets them.
        let connection = connection.with_upgrades();
        self.tasks.spawn(async { drop(connection.await) });
        Ok(sender)
    }
}

/// Takes a request out of its place.
fn taken(request: &mut Request<RequestBody>) -> Request<RequestBody> {
    std::mem::replace(request, Request::new(RequestBody::none()))
}

/// A copy of a request that may be sent twice (RFC 9110 §9.2.2) and has no body that could be spent.
fn repeatable(request: &Request<RequestBody>) -> Option<Box<Request<RequestBody>>> {
    if !request.method().is_idempotent() || !request.body().is_end_stream() {
        return None;
    }
    let mut again = Box::new(Request::new(RequestBody::none()));
    *again.method_mut() = request.method().clone();
    *again.uri_mut() = request.uri().clone();
    *again.headers_mut() = request.headers().clone();
    *again.extensions_mut() = request.extensions().clone();
    Some(again)
}

/// Whether the app closed the connection before it said anything.
fn is_closing(error: &hyper::Error) -> bool {
    error.is_incomplete_message()
        || error.is_closed()
        || error
            .source()
            .is_some_and(|source| source.is::<std::io::Error>())
}

/// Origin form: where a request goes never depends on what it says.
pub(super) fn in_http1<B>(request: &mut Request<B>) {
    let uri = std::mem::take(request.uri_mut());
    *request.uri_mut() = uri
        .into_parts()
        .path_and_query
        .map_or_else(Uri::default, Uri::from);
    *request.version_mut() = Version::HTTP_11;
}

/// `:authority` says what `Host` says (RFC 9113 §8.3.1), `:scheme` how this hop is made.
fn in_http2<B>(request: &mut Request<B>, over_tls: bool) {
    if let Some(host) = request.headers_mut().remove(HOST)
        && let Ok(authority) = http::uri::Authority::try_from(host.as_bytes())
    {
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.authority = Some(authority);
        parts.scheme = Some(match over_tls {
            true => http::uri::Scheme::HTTPS,
            false => http::uri::Scheme::HTTP,
        });
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
    *request.version_mut() = Version::HTTP_2;
}

impl fmt::Display for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.target().fmt(f)
    }
}

/// The body of a local answer.
pub enum LocalBody {
    /// In HTTP/1.1.
    Http1 {
        /// What arrives.
        body: Incoming,
        /// For the next request, once the body has ended.
        connection: Connection,
    },
    /// In HTTP/2.
    Http2(AnswerBody),
    /// Of a script, changed for `--dev`.
    Script(Box<Script>),
    /// From the hello page.
    Own(Full<Bytes>),
}

/// A local app broke off in the middle of a body.
pub type BodyError = Box<dyn StdError + Send + Sync>;

impl Body for LocalBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Http1 { body, .. } => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Self::Http2(body) => Pin::new(body)
                .poll_frame(cx)
                .map_err(|error| in_words(&error).into()),
            Self::Script(body) => Pin::new(body).poll_frame(cx),
            Self::Own(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1 { body, .. } => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
            Self::Script(body) => body.is_end_stream(),
            Self::Own(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1 { body, .. } => body.size_hint(),
            Self::Http2(body) => body.size_hint(),
            Self::Script(body) => body.size_hint(),
            Self::Own(body) => body.size_hint(),
        }
    }
}

impl fmt::Debug for LocalBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalBody").finish_non_exhaustive()
    }
}
