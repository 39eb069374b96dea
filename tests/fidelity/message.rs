//! What arrived: a request as the app saw it, an answer as its visitor got it.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use bytes::Bytes;
use tokio::sync::watch;

use crate::case::Heard;

/// Values by lower-case name, in order, made visible.
pub(crate) type Named = BTreeMap<String, Vec<String>>;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Message {
    /// `GET /`, or a status.
    pub(crate) start: String,
    pub(crate) fields: Named,
    pub(crate) interims: Vec<(u16, Named)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Named,
    pub(crate) end: End,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum End {
    /// Nothing came at all.
    #[default]
    Nothing,
    Whole,
    /// Cut off: bytes or the last chunk are missing, or the stream was reset.
    Broken,
    /// Not HTTP as it is written.
    Wrong(String),
    /// Whoever should have read it left first.
    Unread,
}

/// How far a message has come.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Progress {
    interims: usize,
    head: bool,
    data: usize,
    ended: bool,
}

/// Waits until something has been heard; the end of a message is the end of all waiting.
pub(crate) async fn heard(progress: &mut watch::Receiver<Progress>, what: Heard) {
    let is_heard = |progress: &Progress| {
        progress.ended
            || match what {
                Heard::Interim => progress.interims > 0 || progress.head,
                Heard::Head => progress.head,
                Heard::Data(size) => progress.data >= size,
                Heard::End => false,
            }
    };
    let _ = progress.wait_for(is_heard).await;
}

/// Writes down what arrives.
#[derive(Debug)]
pub(crate) struct Record {
    message: Message,
    progress: watch::Sender<Progress>,
}

impl Record {
    pub(crate) fn new() -> (Self, watch::Receiver<Progress>) {
        let (progress, watch) = watch::channel(Progress::default());
        let message = Message::default();
        (Self { message, progress }, watch)
    }

    pub(crate) fn interim(&mut self, status: u16, fields: Named) {
        self.message.interims.push((status, fields));
        self.progress.send_modify(|progress| progress.interims += 1);
    }

    pub(crate) fn head(&mut self, start: String, fields: Named) {
        self.message.start = start;
        self.message.fields = fields;
        self.progress.send_modify(|progress| progress.head = true);
    }

    pub(crate) fn data(&mut self, bytes: &[u8]) {
        self.message.body.extend_from_slice(bytes);
        let size = bytes.len();
        self.progress.send_modify(|progress| progress.data += size);
    }

    pub(crate) fn end(&mut self, end: End, trailers: Named) {
        self.message.end = end;
        self.message.trailers = trailers;
        self.progress.send_modify(|progress| progress.ended = true);
    }

    /// What has been written down; a message whose end nobody waited for is unread.
    pub(crate) fn taken(self, left: bool) -> Message {
        let mut message = self.message;
        if left && !self.progress.borrow().ended {
            message.end = End::Unread;
        }
        message
    }
}

/// How a side comes out of its steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    Stays,
    Closes,
    Breaks,
}

/// Runs both directions of one side. Leaving ends the other one, and so does an answer that is whole,
/// unless `all` of both is wanted.
pub(crate) async fn both(
    saying: impl Future<Output = Left>,
    hearing: impl Future<Output = ()>,
    all: bool,
) -> Left {
    let (mut saying, mut hearing) = (pin!(saying), pin!(hearing));
    let (mut said, mut heard) = (None, false);
    poll_fn(|cx| {
        loop {
            if said.is_none()
                && let Poll::Ready(left) = saying.as_mut().poll(cx)
            {
                said = Some(left);
            }
            match said {
                Some(Left::Stays) if heard => return Poll::Ready(Left::Stays),
                // It has had its chance to come to its end.
                None if heard && !all => return Poll::Ready(Left::Closes),
                Some(left) if left != Left::Stays => return Poll::Ready(left),
                _ if heard => return Poll::Pending,
                _ => {}
            }
            match hearing.as_mut().poll(cx) {
                Poll::Ready(()) => heard = true,
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await
}

/// Sorts fields by name.
pub(crate) fn named<'a>(fields: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Named {
    let mut named = Named::new();
    for (name, value) in fields {
        let values = named.entry(name.to_ascii_lowercase()).or_default();
        values.push(value.escape_ascii().to_string());
    }
    named
}

pub(crate) fn named_pairs(fields: &[(String, Bytes)]) -> Named {
    let pairs = fields.iter();
    named(pairs.map(|(name, value)| (name.as_str(), value.as_ref())))
}

pub(crate) fn named_map(fields: &http::HeaderMap) -> Named {
    let pairs = fields.iter();
    named(pairs.map(|(name, value)| (name.as_str(), value.as_bytes())))
}
