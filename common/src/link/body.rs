//! Bytes between the streams of a link and HTTP bodies, under back-pressure both ways.
//!
//! [`LinkBody`] is what arrives: it gives window back only as its reader takes frames, so a slow
//! reader holds back the sender of its own stream and nobody else. [`pump`] is what leaves: it asks
//! the body for bytes only when the last ones were accepted by the stream.

use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http_body::{Body, Frame, SizeHint};
use thiserror::Error;

/// The body of a message that arrives on a link.
///
/// Dropping it before its end resets the stream with CANCEL, once the sending half is gone too.
pub struct LinkBody {
    /// `None`: there is no body.
    stream: Option<RecvStream>,
    data_ended: bool,
}

impl LinkBody {
    /// Wraps the receiving half of a stream.
    pub fn new(stream: RecvStream) -> Self {
        Self {
            stream: Some(stream),
            data_ended: false,
        }
    }

    /// No body.
    pub fn none() -> Self {
        Self {
            stream: None,
            data_ended: true,
        }
    }

    /// The stream itself, for what is no body; `None` for [`LinkBody::none`].
    pub fn into_stream(self) -> Option<RecvStream> {
        self.stream
    }
}

impl Body for LinkBody {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let this = &mut *self;
        let Some(stream) = &mut this.stream else {
            return Poll::Ready(None);
        };
        while !this.data_ended {
            match ready!(stream.poll_data(cx)) {
                Some(Ok(chunk)) => {
                    // The reader has a bounded buffer of its own, so what it takes is on its way.
                    stream.flow_control().release_capacity(chunk.len())?;
                    if !chunk.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(chunk))));
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => this.data_ended = true,
            }
        }
        let trailers = ready!(stream.poll_trailers(cx))?;
        Poll::Ready(trailers.map(|fields| Ok(Frame::trailers(fields))))
    }

    fn is_end_stream(&self) -> bool {
        self.stream.as_ref().is_none_or(RecvStream::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_end_stream() {
            return SizeHint::with_exact(0);
        }
        SizeHint::default()
    }
}

impl fmt::Debug for LinkBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkBody").finish_non_exhaustive()
    }
}

/// Why a body did not arrive whole on the other side of a stream.
#[derive(Debug, Error)]
pub enum PumpError<E> {
    /// The body itself broke off. The stream has been reset, so the peer sees an abort and never a
    /// shorter body.
    #[error("the body broke off")]
    Body(#[source] E),
    /// The peer wants no more of it, or the link is gone.
    #[error("the stream was closed by the peer")]
    Stream(#[from] h2::Error),
}

/// Sends a whole body, trailers included, into a stream.
///
/// If the body fails, the stream is reset with `on_failure`. Cancel safety: dropping the future drops
/// the stream, which resets it with CANCEL.
pub async fn pump<B>(
    body: B,
    mut stream: SendStream<Bytes>,
    on_failure: Reason,
) -> Result<(), PumpError<B::Error>>
where
    B: Body<Data = Bytes>,
{
    let mut body = pin!(body);
    loop {
        let next = poll_fn(|cx| {
            // A peer that gave up must be noticed while the body has nothing to say.
            if let Poll::Ready(reset) = stream.poll_reset(cx) {
                return Poll::Ready(Err(reset.map_or_else(|error| error, h2::Error::from)));
            }
            body.as_mut().poll_frame(cx).map(Ok)
        });
        let frame = match next.await? {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                stream.send_reset(on_failure);
                return Err(PumpError::Body(error));
            }
            None => return Ok(stream.send_data(Bytes::new(), true)?),
        };
        match frame.into_data() {
            // h2 ends a connection after a hundred empty frames that end nothing.
            Ok(chunk) if chunk.is_empty() => {}
            Ok(chunk) => {
                let last = body.is_end_stream();
                send_chunk(&mut stream, chunk, last).await?;
                if last {
                    return Ok(());
                }
            }
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    return Ok(stream.send_trailers(trailers)?);
                }
            }
        }
    }
}

/// Sends one chunk as the peer's window allows.
pub(crate) async fn send_chunk(
    stream: &mut SendStream<Bytes>,
    mut chunk: Bytes,
    last: bool,
) -> Result<(), h2::Error> {
    while !chunk.is_empty() {
        stream.reserve_capacity(chunk.len());
        // `poll_capacity` speaks only of what was added, so what is there already is asked first.
        if stream.capacity() == 0 {
            poll_fn(|cx| stream.poll_capacity(cx))
                .await
                .unwrap_or_else(|| Err(Reason::STREAM_CLOSED.into()))?;
        }
        let part = chunk.split_to(stream.capacity().min(chunk.len()));
        if !part.is_empty() {
            stream.send_data(part, last && chunk.is_empty())?;
        }
    }
    Ok(())
}
