//! The exchange with the local app: what a visitor asked, in the words the app understands.

use std::collections::HashSet;
use std::error::Error as StdError;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{Extensions, HeaderValue, Request, Response, StatusCode, Uri, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::ext::{ReasonPhrase, on_informational};
use ngrnotok_common::headers;
use ngrnotok_common::id::VisitorId;
use ngrnotok_common::link::calling::AnswerBody;
use ngrnotok_common::link::open::in_words;
use ngrnotok_common::link::serving::Reply;
use ngrnotok_common::login;
use ngrnotok_common::protocol::cause::Cause;
use ngrnotok_common::protocol::stream;
use ngrnotok_common::socket::Socket;
use tokio_util::task::TaskTracker;

use super::body::RequestBody;
use super::connection::{Connection, Owner};
use super::dial::{Dialer, LocalError, Offer, Spoken};
use super::explain::{Explanation, Told};
use super::pool::{Pool, Sharing};
use super::rewrite::{HostHeader, PublicOrigin, Rewrite};
use super::webpack::{Script, Webpack};
use super::{Target, Trouble, hello, http2, trouble};

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
    /// Who shares connections to it.
    pub sharing: Sharing,
}

/// Whom an exchange is for.
#[derive(Clone)]
pub struct Caller<'a> {
    /// The visitor's connection, if the server has named it.
    pub visitor: Option<VisitorId>,
    /// Where interim answers (1xx) go, if somebody wants them.
    pub interim: Option<Reply>,
    /// Hears what the developer should know before there is an answer.
    pub tell: &'a (dyn Fn(Explanation) + Send + Sync),
}

impl fmt::Debug for Caller<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Caller");
        shown
            .field("visitor", &self.visitor)
            .finish_non_exhaustive()
    }
}

impl Default for Caller<'_> {
    /// Nobody in particular, who hears nothing.
    fn default() -> Self {
        Self {
            visitor: None,
            interim: None,
            tell: &|_| (),
        }
    }
}

/// The way to one local app.
#[derive(Debug)]
pub struct Local {
    pub(super) dialer: Dialer,
    pub(super) rewrite: Rewrite,
    /// Under `--dev`, where the target has a port.
    webpack: Option<Webpack>,
    pub(super) pool: Arc<Pool>,
    http2: Arc<http2::Connections>,
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
            http2: http2::Connections::new(target.clone(), tasks.clone()),
            dialer: Dialer::new(target, options.insecure)?,
            pool: Pool::new(options.sharing, tasks.clone()),
            speaks_http2: AtomicBool::new(h2c),
            offers_http2: h2c || (over_tls && options.protocol == Protocol::Auto),
            told: Told::default(),
            tasks,
        })
    }

    /// Sends a request that came over the link and returns the app's answer as soon as its head is
    /// there. Give the body back with [`Local::done`] when it has been read to its end.
    ///
    /// The request is taken out of its place: futures hold every argument that they own twice, and that of
    /// each request should be small.
    ///
    /// Cancel safety: dropping the future, or the body before its end, closes the connection, and the
    /// app sees its caller leave.
    pub async fn exchange(
        &self,
        request: &mut Request<RequestBody>,
        caller: &Caller<'_>,
    ) -> Result<Response<LocalBody>, Trouble> {
        if *self.target() == Target::Hello {
            let answer = Box::pin(hello::answer(taken(request))).await;
            return Ok(answer.map(LocalBody::Own));
        }
        let public = self.for_app(request);
        let webpack = self.webpack.as_ref();
        let webpack = webpack.map(|webpack| (webpack, webpack.request(request)));
        let mut answer = if self.offers_http2 {
            Box::pin(self.send_either(request, caller)).await?
        } else {
            let kept = self.kept_for(request, caller);
            self.send_http1(request, caller, kept, None).await?
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
            return Err(Trouble::framing(self.target(), fields));
        }
        headers::strip_answer(answer);
        *answer.version_mut() = Version::HTTP_2;
        let mut extensions = std::mem::take(answer.extensions_mut());
        if let Some(reason) = extensions.remove::<ReasonPhrase>()
            && let Ok(reason) = HeaderValue::from_bytes(reason.as_bytes())
            && !reason.is_empty()
        {
            answer.headers_mut().insert(stream::REASON, reason);
        }
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
            LocalBody::Http2 { .. } | LocalBody::Own(_) => {}
        }
    }

    /// Connections of visitors are over.
    pub fn visitors_left(&self, visitors: &HashSet<VisitorId>) {
        self.pool.visitors_left(visitors);
    }

    /// Who shares connections to the app.
    pub fn sharing(&self) -> Sharing {
        self.pool.sharing()
    }

    /// A connection that is there already.
    pub(super) fn kept_for(
        &self,
        request: &Request<RequestBody>,
        caller: &Caller<'_>,
    ) -> Option<Connection> {
        self.pool.take(caller.visitor, is_repeatable(request))
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
        caller: &Caller<'_>,
    ) -> Result<Response<LocalBody>, Trouble> {
        if self.speaks_http2.load(Ordering::Relaxed) {
            return self.send_http2(request, caller, None).await;
        }
        if let Some(kept) = self.kept_for(request, caller) {
            return self.send_http1(request, caller, Some(kept), None).await;
        }
        let dial = self.dialer.dial(Offer::Either);
        let dialed = self.pool.make_room_for(dial).await?;
        match dialed.spoken {
            Spoken::Http2 => {
                self.speaks_http2.store(true, Ordering::Relaxed);
                self.send_http2(request, caller, Some(dialed.stream)).await
            }
            Spoken::Http1 => {
                let connection = self.handshake(dialed.stream).await?;
                self.send_http1(request, caller, None, Some(connection))
                    .await
            }
        }
    }

    async fn send_http2(
        &self,
        request: &mut Request<RequestBody>,
        caller: &Caller<'_>,
        dialed: Option<Box<dyn Socket>>,
    ) -> Result<Response<LocalBody>, Trouble> {
        in_http2(request, matches!(self.target(), Target::Https { .. }));
        let is_full = |streams| {
            if let Some(explanation) = self.explain_fullness(streams) {
                (caller.tell)(explanation);
            }
        };
        let mut pass = |mut head: Response<()>| {
            if let Some(reply) = &caller.interim {
                headers::strip_answer(&mut head);
                reply.interim(head);
            }
        };
        let sent = self
            .http2
            .send(taken(request), &mut pass, dialed, &self.dialer, &is_full);
        let answer = sent.await?;
        Ok(answer.map(|(body, place)| LocalBody::Http2 { body, place }))
    }

    /// Sends a request on the `kept` connection, if there is one. If that turns out to be over, or there is
    /// none, it goes on the `dialed` one, or on one that is dialed then.
    async fn send_http1(
        &self,
        request: &mut Request<RequestBody>,
        caller: &Caller<'_>,
        kept: Option<Connection>,
        dialed: Option<Connection>,
    ) -> Result<Response<LocalBody>, Trouble> {
        in_http1(request);
        // hyper frames a body of unknown length by itself only where the method makes one likely.
        let headers = request.headers();
        if !headers.contains_key(CONTENT_LENGTH) && !request.body().is_end_stream() {
            let chunked = HeaderValue::from_static("chunked");
            request.headers_mut().insert(TRANSFER_ENCODING, chunked);
        }
        let sent = self.send_on(kept, dialed, request, caller);
        let (answer, connection) = sent.await?;
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
        kept: Option<Connection>,
        dialed: Option<Connection>,
        request: &mut Request<RequestBody>,
        caller: &Caller<'_>,
    ) -> Result<(Response<Incoming>, Connection), Trouble> {
        let ties = !request.body().is_end_stream() || login::is_in_request(request.headers());
        let (answer, mut connection) = self.send_untied(kept, dialed, request, caller).await?;
        let ties = ties || login::is_in_answer(answer.status(), answer.headers());
        let own = match self.pool.sharing() {
            // What is a visitor's own stays so.
            Sharing::Auto => ties && connection.owner == Owner::Everybody,
            Sharing::PerVisitor => true,
            Sharing::Shared | Sharing::None => false,
        };
        if own {
            connection.owner = caller.visitor.into();
        }
        Ok((answer, connection))
    }

    /// See [`Local::send_http1`]; whose the connection is from now on is told by [`Local::send_on`].
    async fn send_untied(
        &self,
        kept: Option<Connection>,
        dialed: Option<Connection>,
        request: &mut Request<RequestBody>,
        caller: &Caller<'_>,
    ) -> Result<(Response<Incoming>, Connection), Trouble> {
        let interim = caller.interim.as_ref();
        pass_on_informational(request, interim);
        if let Some(mut connection) = kept {
            let repeatable = is_repeatable(request);
            let failed = match connection.send(taken(request), repeatable).await {
                Ok(answer) => return Ok((answer, connection)),
                Err(failed) => failed,
            };
            // Apps close idle connections when they like, also in the moment in which we use one.
            let Some(again) = failed.again else {
                return Err(failed.trouble(self.target()));
            };
            *request = *again;
            pass_on_informational(request, interim);
        }
        // Rare, and larger than all else that a request needs: boxed, so that the task of each stays small.
        let fresh = Box::pin(self.send_fresh(dialed, request));
        self.pool.make_room_for(fresh).await
    }

    /// Sends a request on a connection that carries its first one. An app that ends that does not want it.
    async fn send_fresh(
        &self,
        dialed: Option<Connection>,
        request: &mut Request<RequestBody>,
    ) -> Result<(Response<Incoming>, Connection), Trouble> {
        let mut connection = match dialed {
            Some(connection) => connection,
            None => {
                let dialed = self.dialer.dial(Offer::Http1).await?;
                self.handshake(dialed.stream).await?
            }
        };
        let answer = connection.send(taken(request), false).await;
        let answer = answer.map_err(|failed| failed.trouble(self.target()))?;
        Ok((answer, connection))
    }

    async fn handshake(&self, stream: Box<dyn Socket>) -> Result<Connection, Trouble> {
        let opened = Connection::open(stream, &self.tasks).await;
        opened.map_err(|error| Trouble::exchange(self.target(), &error))
    }
}

/// Takes a request out of its place.
fn taken(request: &mut Request<RequestBody>) -> Request<RequestBody> {
    std::mem::replace(request, Request::new(RequestBody::none()))
}

/// Whether a request may be sent twice (RFC 9110 §9.2.2) and has no body that could be spent.
fn is_repeatable(request: &Request<RequestBody>) -> bool {
    request.method().is_idempotent() && request.body().is_end_stream()
}

/// Has interim answers (1xx) passed on, if somebody wants them.
fn pass_on_informational(request: &mut Request<RequestBody>, interim: Option<&Reply>) {
    let Some(reply) = interim.cloned() else {
        return;
    };
    on_informational(request, move |head| {
        let mut interim = Response::new(());
        *interim.status_mut() = head.status();
        *interim.headers_mut() = head.headers().clone();
        headers::strip_answer(&mut interim);
        reply.interim(interim);
    });
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
    Http2 {
        /// What arrives.
        body: AnswerBody,
        /// Held until the stream is over.
        place: http2::Place,
    },
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
            Self::Http1 { body, connection } => {
                let frame = Pin::new(&mut *body).poll_frame(cx);
                if frame.is_ready() {
                    connection.wire.piece_came(!body.is_end_stream());
                }
                frame.map_err(|error| trouble::in_words(&error).into())
            }
            Self::Http2 { body, .. } => Pin::new(body)
                .poll_frame(cx)
                .map_err(|error| in_words(&error).into()),
            Self::Script(body) => Pin::new(body).poll_frame(cx),
            Self::Own(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1 { body, .. } => body.is_end_stream(),
            Self::Http2 { body, .. } => body.is_end_stream(),
            Self::Script(body) => body.is_end_stream(),
            Self::Own(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1 { body, .. } => body.size_hint(),
            Self::Http2 { body, .. } => body.size_hint(),
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
