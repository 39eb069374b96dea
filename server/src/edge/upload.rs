//! The body of a visitor's request, which must come.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Request, Version};
use http_body::{Body, Frame, SizeHint};
use ngrnotok_common::stall::StallTimer;

use super::activity::{Activity, STALL_LIMIT};
use crate::session::UploadError;

/// The body of a request as its visitor sends it. It breaks when nothing of it comes for [`STALL_LIMIT`]
/// although its reader wants more, until the answer has begun: an app that answers what it is still being told
/// may be in no hurry.
#[derive(Debug)]
pub(super) struct Upload<B> {
    body: B,
    /// `None` where there is no body.
    watch: Option<Watch>,
}

#[derive(Debug)]
struct Watch {
    /// `None` where both sides may be silent.
    stall: Option<StallTimer>,
    /// The reader has not asked for more, so some of the body may lie in the connection.
    held_up: bool,
    activity: Arc<Activity>,
    answered: Arc<AtomicBool>,
}

/// Tells the body of a request when its answer has begun.
#[derive(Debug)]
pub(super) struct Answering(Option<Arc<AtomicBool>>);

impl Answering {
    pub(super) fn begun(&self) {
        if let Some(answered) = &self.0 {
            answered.store(true, Relaxed);
        }
    }
}

impl<B: Body> Upload<B> {
    /// The body of the request with this head, on the connection with these notes.
    pub(super) fn new<T>(head: &Request<T>, body: B, activity: &Arc<Activity>) -> Self {
        let watch = (!body.is_end_stream()).then(|| Watch::new(head, Arc::clone(activity)));
        Self { body, watch }
    }

    /// To be told when the answer begins.
    pub(super) fn answering(&self) -> Answering {
        let watch = self.watch.as_ref();
        Answering(watch.map(|watch| Arc::clone(&watch.answered)))
    }
}

impl Watch {
    fn new<T>(head: &Request<T>, activity: Arc<Activity>) -> Self {
        activity.upload_held_up(true);
        Self {
            stall: (!talks_both_ways(head)).then(|| StallTimer::new(STALL_LIMIT)),
            held_up: true,
            activity,
            answered: Arc::default(),
        }
    }

    fn set_held_up(&mut self, held_up: bool) {
        if self.held_up != held_up {
            self.held_up = held_up;
            self.activity.upload_held_up(held_up);
        }
    }

    /// Ready when the visitor was waited for long enough.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.set_held_up(false);
        if self.answered.load(Relaxed) {
            return Poll::Pending;
        }
        let Some(stall) = &mut self.stall else {
            return Poll::Pending;
        };
        ready!(stall.poll(cx));
        if !self.activity.uploads_fill_window() {
            return Poll::Ready(());
        }
        // It has no window until the readers of its other uploads read on, which is not its fault.
        stall.progress();
        stall.poll(cx)
    }

    fn came(&mut self) {
        self.set_held_up(true);
        if let Some(stall) = &mut self.stall {
            stall.progress();
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.set_held_up(false);
    }
}

/// Streams of gRPC and Connect go both ways at once, and either side may be silent as long as it likes.
fn talks_both_ways<T>(head: &Request<T>) -> bool {
    head.version() == Version::HTTP_2
        && head.headers().get(CONTENT_TYPE).is_some_and(|media_type| {
            let media_type = media_type.as_bytes();
            media_type.starts_with(b"application/grpc")
                || media_type.starts_with(b"application/connect+")
        })
}

impl<B: Body<Data = Bytes> + Unpin> Body for Upload<B> {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let this = &mut *self;
        let Poll::Ready(came) = Pin::new(&mut this.body).poll_frame(cx) else {
            let Some(watch) = &mut this.watch else {
                return Poll::Pending;
            };
            ready!(watch.poll_stalled(cx));
            return Poll::Ready(Some(Err(UploadError::Stalled)));
        };
        match (&came, &mut this.watch) {
            (Some(Ok(_)), Some(watch)) => watch.came(),
            // It is over.
            _ => this.watch = None,
        }
        Poll::Ready(came.map(|frame| frame.map_err(|_| UploadError::Broken)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
