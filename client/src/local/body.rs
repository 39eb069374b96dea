//! The body of a request on its way to the local app.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::Reason;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use ngrnotok_common::link::body::LinkBody;
use ngrnotok_common::splice::Remainder;
use tokio::sync::oneshot;

use crate::inspect::Tap;

/// The body of a request on its way to the local app.
pub enum RequestBody {
    /// From a visitor.
    Link(LinkBody),
    /// The same, and it is recorded as it flows.
    Tapped(Box<Tapped>),
    /// What comes before a switch of protocols.
    Opening(Box<Opening>),
    /// One that is here already, for a request that is sent again.
    Ready(Box<Ready>),
    /// One of which the beginning is kept.
    Rewindable(Rewindable),
}

/// A body that can be read once more, if not too much of it has been read. Clones are the same body.
#[derive(Debug, Clone)]
pub struct Rewindable(Arc<Mutex<Keeping>>);

#[derive(Debug)]
struct Keeping {
    body: RequestBody,
    /// What has been read of it; `None` if that was too much.
    pieces: Option<Vec<Piece>>,
    size: usize,
    /// How many of the pieces are behind the reader.
    read: usize,
}

#[derive(Debug, Clone)]
enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
}

/// What is kept of a body until the answer begins: 32 KiB.
const KEPT: usize = 32 * 1024;

/// The way to read a body once more.
#[derive(Debug)]
pub(super) enum Kept {
    /// There was none.
    None,
    /// It may be read from its beginning.
    Body(Rewindable),
}

/// A body with somebody who looks on.
#[derive(Debug)]
pub struct Tapped {
    body: LinkBody,
    tap: Tap,
}

/// The first bytes of a stream. What is left of it is handed over when this is dropped, which hyper does as
/// soon as it has written the last of them.
#[derive(Debug)]
pub struct Opening {
    stream: LinkBody,
    left: u64,
    tap: Option<Tap>,
    /// Came in one frame with the end of the body.
    behind: Bytes,
    remainder: Option<oneshot::Sender<Remainder>>,
}

/// Where the remainder of a stream is whose first bytes are a body.
#[derive(Debug)]
pub(super) enum After {
    /// No body comes first.
    Now(Remainder),
    /// It comes when the body has been written.
    Written(oneshot::Receiver<Remainder>),
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

    /// The first `length` bytes of `stream`, and where the others will be. `tap` records the body.
    pub(super) fn opening(stream: LinkBody, length: u64, tap: Option<Tap>) -> (Self, After) {
        if length == 0 {
            return (
                Self::none(),
                After::Now(Remainder::new(Bytes::new(), stream)),
            );
        }
        let (sender, receiver) = oneshot::channel();
        let opening = Opening {
            stream,
            left: length,
            tap,
            behind: Bytes::new(),
            remainder: Some(sender),
        };
        (Self::Opening(Box::new(opening)), After::Written(receiver))
    }

    /// The same body, and the way to read it once more.
    pub(super) fn kept(self) -> (Self, Kept) {
        if self.is_end_stream() {
            return (self, Kept::None);
        }
        let body = Rewindable(Arc::new(Mutex::new(Keeping {
            body: self,
            pieces: Some(Vec::new()),
            size: 0,
            read: 0,
        })));
        (Self::Rewindable(body.clone()), Kept::Body(body))
    }

    /// What is here already.
    pub fn ready(bytes: Bytes, trailers: Option<HeaderMap>) -> Self {
        match (bytes.is_empty(), &trailers) {
            (true, None) => Self::none(),
            _ => Self::Ready(Box::new(Ready { bytes, trailers })),
        }
    }
}

impl Kept {
    /// The body from its beginning, if that is still there. Whoever had it before must have dropped it.
    pub(super) fn again(&self) -> Option<RequestBody> {
        let Self::Body(body) = self else {
            return Some(RequestBody::none());
        };
        let mut keeping = body.lock();
        keeping.pieces.as_ref()?;
        keeping.read = 0;
        Some(RequestBody::Rewindable(body.clone()))
    }

    /// It will not be read again.
    pub(super) fn forget(self) {
        if let Self::Body(body) = self {
            body.lock().pieces = None;
        }
    }
}

impl Rewindable {
    fn lock(&self) -> MutexGuard<'_, Keeping> {
        self.0.lock().expect("nothing panics under this lock")
    }
}

impl Keeping {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if let Some(piece) = self.pieces.iter().flatten().nth(self.read) {
            self.read += 1;
            return Poll::Ready(Some(Ok(match piece.clone() {
                Piece::Data(data) => Frame::data(data),
                Piece::Trailers(trailers) => Frame::trailers(trailers),
            })));
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            self.keep(frame);
        }
        Poll::Ready(frame)
    }

    fn keep(&mut self, frame: &Frame<Bytes>) {
        let Some(pieces) = &mut self.pieces else {
            return;
        };
        let piece = match (frame.data_ref(), frame.trailers_ref()) {
            (Some(data), _) => Piece::Data(data.clone()),
            (None, Some(trailers)) => Piece::Trailers(trailers.clone()),
            (None, None) => return,
        };
        self.size += frame.data_ref().map_or(0, Bytes::len);
        if self.size > KEPT {
            self.pieces = None;
            return;
        }
        pieces.push(piece);
        self.read += 1;
    }

    fn is_end_stream(&self) -> bool {
        let kept = self.pieces.as_ref().map_or(0, Vec::len);
        self.read >= kept && self.body.is_end_stream()
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

impl Opening {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let frame = match ready!(Pin::new(&mut self.stream).poll_frame(cx)) {
            Some(Ok(frame)) => frame.into_data().ok(),
            Some(Err(error)) => return Poll::Ready(Some(Err(error))),
            None => None,
        };
        let Some(mut chunk) = frame else {
            // It is shorter than its length.
            return Poll::Ready(Some(Err(Reason::PROTOCOL_ERROR.into())));
        };
        let size = chunk.len().min(self.left.try_into().unwrap_or(usize::MAX));
        self.behind = chunk.split_off(size);
        self.left -= size as u64;
        if let Some(tap) = &self.tap {
            tap.data(&chunk);
            if self.left == 0 {
                tap.ended();
            }
        }
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        if let Some(remainder) = self.remainder.take() {
            let stream = std::mem::replace(&mut self.stream, LinkBody::none());
            let behind = std::mem::take(&mut self.behind);
            // Nobody takes it if the app has not switched.
            let _ = remainder.send(Remainder::new(behind, stream));
        }
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
            Self::Opening(opening) => opening.poll_frame(cx),
            Self::Rewindable(body) => body.lock().poll_frame(cx),
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
            Self::Opening(opening) => opening.left == 0,
            Self::Ready(ready) => ready.bytes.is_empty() && ready.trailers.is_none(),
            Self::Rewindable(body) => body.lock().is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Link(body) => body.size_hint(),
            Self::Tapped(tapped) => tapped.body.size_hint(),
            Self::Opening(opening) => SizeHint::with_exact(opening.left),
            // As that of a visitor, whose length stands in a field: the app is told the same the same way.
            Self::Ready(_) => SizeHint::default(),
            Self::Rewindable(body) => body.lock().body.size_hint(),
        }
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBody").finish_non_exhaustive()
    }
}
