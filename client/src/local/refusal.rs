//! Recognising dev servers that refuse a host they do not know, so that the developer can be told the
//! flag that helps.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};

use super::{BodyError, LocalBody};

/// What dev servers say, and who says it.
const REFUSALS: [(&str, &str); 5] = [
    ("Blocked request. This host", "Vite"),
    ("Invalid Host header", "webpack-dev-server"),
    ("Invalid Host/Origin header", "webpack-dev-server"),
    ("Invalid HTTP_HOST header", "Django"),
    ("Blocked hosts", "Rails"),
];

/// How much of an answer is looked at: its first 4 KiB, if they come in one piece.
const LOOK: usize = 4096;

/// Whether an answer could be such a refusal.
pub fn is_suspect(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN | StatusCode::MISDIRECTED_REQUEST
    )
}

/// A body whose first bytes are looked at as they pass.
pub struct Looked<'a> {
    body: &'a mut LocalBody,
    /// Called with the dev server's name when it refuses; `None`: do not look.
    found: Option<Found<'a>>,
}

/// Hears which dev server refuses.
pub type Found<'a> = &'a (dyn Fn(&'static str) + Send + Sync);

impl<'a> Looked<'a> {
    /// Looks at a body if `found` wants to hear.
    pub fn new(body: &'a mut LocalBody, found: Option<Found<'a>>) -> Self {
        Self { body, found }
    }
}

impl fmt::Debug for Looked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Looked").finish_non_exhaustive()
    }
}

impl Body for Looked<'_> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = Pin::new(&mut *self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(chunk) = frame.data_ref()
            && let Some(found) = self.found.take()
            && let Some(server) = refuses(chunk)
        {
            found(server);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn refuses(chunk: &[u8]) -> Option<&'static str> {
    let text = String::from_utf8_lossy(&chunk[..chunk.len().min(LOOK)]);
    REFUSALS
        .iter()
        .find(|(words, _)| text.contains(words))
        .map(|(_, server)| *server)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_refusals_are_recognised() {
        let vite =
            b"Blocked request. This host (\"a.example\") is not allowed.\nTo allow this host, \
            add \"a.example\" to `server.allowedHosts` in vite.config.js.";
        assert_eq!(refuses(vite), Some("Vite"));
        assert_eq!(refuses(b"Invalid Host header"), Some("webpack-dev-server"));
        assert_eq!(refuses(b"Forbidden"), None);
    }
}
