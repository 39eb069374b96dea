//! What an app said before it broke off.
//!
//! hyper drops what it has not written yet in the moment when a body fails. So a failure is kept back here
//! until everything before it has left.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::activity::Activity;

/// A body that fails only when all that it has given before is on the wire.
#[derive(Debug)]
pub(super) struct LastWords<B: Body> {
    body: B,
    broken: Option<B::Error>,
    activity: Arc<Activity>,
}

impl<B: Body> LastWords<B> {
    /// `activity` is that of the connection on which the body is sent.
    pub(super) fn new(body: B, activity: Arc<Activity>) -> Self {
        Self {
            body,
            broken: None,
            activity,
        }
    }
}

impl<B> Body for LastWords<B>
where
    B: Body<Data = Bytes, Error: Unpin> + Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if self.broken.is_none() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Err(error)) => self.broken = Some(error),
                frame => return Poll::Ready(frame),
            }
        }
        ready!(self.activity.poll_all_left(cx));
        Poll::Ready(self.broken.take().map(Err))
    }

    fn is_end_stream(&self) -> bool {
        self.broken.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
