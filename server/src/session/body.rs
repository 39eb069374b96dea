//! The body of an answer that comes over a link.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use ngrnotok_common::link::body::Ahead;
use ngrnotok_common::link::calling::AnswerBody;

use super::limits::Within;
use super::paced::Paced;
use super::slots::Slot;

/// The body of an answer with its place among the session's streams.
#[derive(Debug)]
pub struct SessionBody {
    body: Paced<AnswerBody>,
    _slot: Slot,
    _within: Option<Within>,
}

impl SessionBody {
    pub(super) fn new(body: AnswerBody, slot: Slot) -> Self {
        Self {
            body: Paced::new(body, None),
            _slot: slot,
            _within: None,
        }
    }

    /// The same body, held to the limits of its token.
    pub(super) fn within(self, within: Option<Within>) -> Self {
        Self {
            body: self.body.at_the_rate_of(within.as_ref()),
            _within: within,
            ..self
        }
    }
}

impl SessionBody {
    /// The driver of what is still to come.
    pub fn ahead(&self) -> Ahead {
        self.body.inner().ahead()
    }
}

impl Body for SessionBody {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
