//! Recognising dev servers that refuse a host they do not know, so that the developer can be told the
//! flag that helps.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use ngrnotok_common::protocol::cause::Cause;

use super::{BodyError, LocalBody};
use crate::inspect::Tap;

/// What a dev server says, and which one.
pub type Refusal = (&'static str, &'static str);

const REFUSALS: &[Refusal] = &[
    ("Blocked request. This host", "Vite"),
    ("Invalid Host header", "webpack-dev-server"),
    ("Invalid Host/Origin header", "webpack-dev-server"),
    ("Invalid HTTP_HOST header", "Django"),
    ("Blocked hosts", "Rails"),
];

/// Next.js shows its pages to everybody and refuses the scripts of other origins, in a word that means
/// nothing elsewhere.
const REFUSALS_OF_NEXT: &[Refusal] = &[("Unauthorized", NEXT)];
const NEXT: &str = "Next.js";

/// How much of an answer is looked at: its first 4 KiB, if they come in one piece.
const LOOK: usize = 4096;

/// The refusals that an answer could be.
pub fn suspected(status: StatusCode, path: &str) -> &'static [Refusal] {
    match status {
        StatusCode::FORBIDDEN if path.contains("/_next/") || path.contains("/__nextjs") => {
            REFUSALS_OF_NEXT
        }
        StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN | StatusCode::MISDIRECTED_REQUEST => {
            REFUSALS
        }
        _ => &[],
    }
}

/// The dev server whose refusal is no answer at all: Next.js writes its word without a head where the page
/// wants a WebSocket for its edits.
pub fn behind(cause: Cause, path: &str) -> Option<&'static str> {
    let of_next = path.ends_with("/_next/hmr") || path.ends_with("/_next/webpack-hmr");
    (cause == Cause::LocalBadResponse && of_next).then_some(NEXT)
}

/// A body whose first bytes are looked at as they pass.
pub struct Looked<'a> {
    body: &'a mut LocalBody,
    suspected: &'static [Refusal],
    /// Called with the dev server's name when it refuses.
    found: Found<'a>,
    /// Records it, too.
    tap: Option<Tap>,
}

/// Hears which dev server refuses.
pub type Found<'a> = &'a (dyn Fn(&'static str) + Send + Sync);

impl<'a> Looked<'a> {
    /// Looks for these refusals in a body. `tap` records it.
    pub(crate) fn new(
        body: &'a mut LocalBody,
        suspected: &'static [Refusal],
        found: Found<'a>,
        tap: Option<Tap>,
    ) -> Self {
        Self {
            body,
            suspected,
            found,
            tap,
        }
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
        if let (Some(tap), Poll::Ready(frame)) = (&self.tap, &frame) {
            tap.frame(frame.as_ref());
        }
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(chunk) = frame.data_ref()
            && let suspected = std::mem::take(&mut self.suspected)
            && let Some(server) = refuses(suspected, chunk)
        {
            (self.found)(server);
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

fn refuses(suspected: &[Refusal], chunk: &[u8]) -> Option<&'static str> {
    if suspected.is_empty() {
        return None;
    }
    let text = String::from_utf8_lossy(&chunk[..chunk.len().min(LOOK)]);
    suspected
        .iter()
        .find(|(words, _)| text.contains(words))
        .map(|(_, server)| *server)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(status: u16, path: &str, text: &[u8]) -> Option<&'static str> {
        let status = StatusCode::from_u16(status).unwrap();
        refuses(suspected(status, path), text)
    }

    #[test]
    fn known_refusals_are_recognised() {
        let vite =
            b"Blocked request. This host (\"a.example\") is not allowed.\nTo allow this host, \
            add \"a.example\" to `server.allowedHosts` in vite.config.js.";
        let webpack = b"Invalid Host header";
        let next = b"Unauthorized";
        assert_eq!(found(403, "/", vite), Some("Vite"));
        assert_eq!(found(403, "/", webpack), Some("webpack-dev-server"));
        assert_eq!(found(200, "/", webpack), None);
        assert_eq!(found(403, "/", b"Forbidden"), None);
        for path in ["/_next/static/x.js", "/docs/_next/x", "/__nextjs_font/x"] {
            assert_eq!(found(403, path, next), Some("Next.js"), "{path}");
        }
        assert_eq!(found(403, "/next/x.js", next), None);
        assert_eq!(found(401, "/_next/x.js", next), None);
    }

    #[test]
    fn a_refusal_without_a_head_is_known_by_its_path() {
        let bad = Cause::LocalBadResponse;
        assert_eq!(behind(bad, "/_next/hmr"), Some("Next.js"));
        assert_eq!(behind(bad, "/docs/_next/webpack-hmr"), Some("Next.js"));
        assert_eq!(behind(bad, "/hmr"), None);
        assert_eq!(behind(Cause::LocalClosed, "/_next/hmr"), None);
    }
}
