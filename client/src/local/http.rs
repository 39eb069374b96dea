//! The exchange with the local app: what a visitor asked, in HTTP/1.1.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::HOST;
use http::{Extensions, HeaderValue, Request, Response, Uri, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::ext::on_informational;
use hyper_util::rt::TokioIo;
use ngrnotok_common::headers;
use ngrnotok_common::link::body::LinkBody;
use ngrnotok_common::link::serving::Reply;
use tokio_util::task::TaskTracker;

use super::dial::{Dialer, LocalError};
use super::pool::{Connection, Pool};
use super::{Target, Trouble, hello};

/// A head of the local app and what is read ahead of its body: 128 KiB. A larger head would not fit
/// the link either.
const BUFFER: usize = 128 * 1024;

/// The way to one local app.
#[derive(Debug)]
pub struct Local {
    dialer: Dialer,
    pool: Pool,
    connections: TaskTracker,
}

impl Local {
    /// Prepares the way to `target`; connections run on `connections`.
    pub fn new(
        target: Target,
        insecure: bool,
        connections: TaskTracker,
    ) -> Result<Self, LocalError> {
        Ok(Self {
            dialer: Dialer::new(target, insecure)?,
            pool: Pool::default(),
            connections,
        })
    }

    /// Sends a request that came over the link and returns the app's answer as soon as its head is
    /// there. Give the body back with [`Local::done`] when it has been read to its end. Interim answers
    /// go to `interim`, if somebody wants them.
    ///
    /// Cancel safety: dropping the future, or the body before its end, closes the connection, and the
    /// app sees its caller leave.
    pub async fn exchange(
        &self,
        request: Request<LinkBody>,
        interim: Option<Reply>,
    ) -> Result<Response<LocalBody>, Trouble> {
        if *self.target() == Target::Hello {
            return Ok(hello::answer(request).await.map(LocalBody::Own));
        }
        let mut request = for_http1(request);
        if let Some(reply) = interim {
            on_informational(&mut request, move |head| {
                let mut interim = Response::new(());
                *interim.status_mut() = head.status();
                *interim.headers_mut() = head.headers().clone();
                headers::strip_hop(interim.headers_mut());
                reply.interim(interim);
            });
        }
        let (answer, connection) = self.send(request).await?;
        Ok(for_link(answer, connection))
    }

    /// Sends a request on a connection from the pool, or on a fresh one.
    pub(super) async fn send(
        &self,
        mut request: Request<LinkBody>,
    ) -> Result<(Response<Incoming>, Connection), Trouble> {
        let mut pooled = self.pool.take();
        loop {
            let mut connection = match pooled.take() {
                Some(connection) => connection,
                None => self.connect().await?,
            };
            match connection.try_send_request(request).await {
                Ok(answer) => return Ok((answer, connection)),
                Err(mut unsent) => match unsent.take_message() {
                    // The app closed an idle connection just now, and nothing of the request left.
                    Some(message) => request = message,
                    None => return Err(Trouble::exchange(self.target(), unsent.error())),
                },
            }
        }
    }

    pub(super) fn target(&self) -> &Target {
        self.dialer.target()
    }

    /// Keeps the connection behind a body that has been read to its end.
    pub fn done(&self, body: LocalBody) {
        if let LocalBody::Incoming { connection, .. } = body {
            self.pool.put(connection);
        }
    }

    async fn connect(&self) -> Result<Connection, Trouble> {
        let stream = self.dialer.dial().await?;
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(BUFFER)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| Trouble::exchange(self.target(), &error))?;
        // Ends when its sender is dropped or the app closes; errors reach the exchange that meets them.
        let connection = connection.with_upgrades();
        self.connections.spawn(async { drop(connection.await) });
        Ok(sender)
    }
}

impl fmt::Display for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.target().fmt(f)
    }
}

/// What the app said in HTTP/1.1, as the link says it.
pub(super) fn for_link(
    mut answer: Response<Incoming>,
    connection: Connection,
) -> Response<LocalBody> {
    headers::strip_hop(answer.headers_mut());
    *answer.version_mut() = Version::HTTP_2;
    *answer.extensions_mut() = Extensions::new();
    answer.map(|body| LocalBody::Incoming { body, connection })
}

/// What was said in HTTP/2 on the link, as HTTP/1.1 says it.
pub(super) fn for_http1(request: Request<LinkBody>) -> Request<LinkBody> {
    let (mut head, body) = request.into_parts();
    headers::strip_hop(&mut head.headers);
    headers::join_cookies(&mut head.headers);
    if let Some(authority) = head.uri.authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        head.headers.insert(HOST, host);
    }
    // Origin form: the target's own address never depends on what the request says.
    head.uri = head
        .uri
        .into_parts()
        .path_and_query
        .map_or_else(Uri::default, Uri::from);
    head.version = Version::HTTP_11;
    head.extensions = Extensions::new();
    Request::from_parts(head, body)
}

/// The body of a local answer, with the connection that it comes from.
pub enum LocalBody {
    /// From the app.
    Incoming {
        /// What arrives.
        body: Incoming,
        /// For the next request, once the body has ended.
        connection: Connection,
    },
    /// From the hello page.
    Own(Full<Bytes>),
}

impl Body for LocalBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut *self {
            Self::Incoming { body, .. } => Pin::new(body).poll_frame(cx),
            Self::Own(body) => Pin::new(body)
                .poll_frame(cx)
                .map_err(|never| match never {}),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Incoming { body, .. } => body.is_end_stream(),
            Self::Own(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Incoming { body, .. } => body.size_hint(),
            Self::Own(body) => body.size_hint(),
        }
    }
}

impl fmt::Debug for LocalBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalBody").finish_non_exhaustive()
    }
}
