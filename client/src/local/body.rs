//! The body of a request on its way to the local app.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use ngrnotok_common::link::body::LinkBody;

use crate::inspect::Tap;

/// The body of a request on its way to the local app.
pub enum RequestBody {
    /// From a visitor.
    Link(LinkBody),
    /// The same, and it is recorded as it flows.
    Tapped(Box<Tapped>),
    /// One that is here already, for a request that is sent again.
    Ready(Box<Ready>),
}

/// A body with somebody who looks on.
#[derive(Debug)]
pub struct Tapped {
    body: LinkBody,
    tap: Tap,
}

/// A body that is here already.
#[derive(Debug)]
pub struct Ready {
    bytes: Bytes,
    trailers: Option<HeaderMap>,
}

impl RequestBody {
    /// No body.
    pub fn none() -> Self {
        Self::Link(LinkBody::none())
    }

    /// What comes over the link. `tap` records it.
    pub(crate) fn new(body: LinkBody, tap: Option<Tap>) -> Self {
        match tap {
            Some(tap) if !body.is_end_stream() => Self::Tapped(Box::new(Tapped { body, tap })),
            _ => Self::Link(body),
        }
    }

    /// What is here already.
    pub fn ready(bytes: Bytes, trailers: Option<HeaderMap>) -> Self {
        match (bytes.is_empty(), &trailers) {
            (true, None) => Self::none(),
            _ => Self::Ready(Box::new(Ready { bytes, trailers })),
        }
    }
}

impl Tapped {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        self.tap.frame(frame.as_ref());
        // Whoever knows the length does not ask for the end.
        if matches!(frame, Some(Ok(_))) && self.body.is_end_stream() {
            self.tap.ended();
        }
        Poll::Ready(frame)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        match self.get_mut() {
            Self::Link(body) => Pin::new(body).poll_frame(cx),
            Self::Tapped(tapped) => tapped.poll_frame(cx),
            Self::Ready(ready) if !ready.bytes.is_empty() => {
                let bytes = std::mem::take(&mut ready.bytes);
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Ready(ready) => {
                let trailers = ready.trailers.take();
                Poll::Ready(trailers.map(|fields| Ok(Frame::trailers(fields))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Link(body) => body.is_end_stream(),
            Self::Tapped(tapped) => tapped.body.is_end_stream(),
            Self::Ready(ready) => ready.bytes.is_empty() && ready.trailers.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Link(body) => body.size_hint(),
            Self::Tapped(tapped) => tapped.body.size_hint(),
            // As that of a visitor, whose length stands in a field: the app is told the same the same way.
            Self::Ready(_) => SizeHint::default(),
        }
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBody").finish_non_exhaustive()
    }
}
