//! Recognising apps by the words in which they refuse: a host or an origin that they do not know, or plain
//! HTTP where they want TLS.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use ngrnotok_common::protocol::cause::Cause;

use super::{Explanation, Kind, spoken};
use crate::inspect::Tap;
use crate::local::{BodyError, LocalBody, Target};

/// How an app refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// What it says.
    words: &'static str,
    /// Which app says so.
    server: &'static str,
    /// What it does not like.
    kind: Kind,
}

const fn refusal(words: &'static str, server: &'static str, kind: Kind) -> Refusal {
    Refusal {
        words,
        server,
        kind,
    }
}

const REFUSALS: &[Refusal] = &[
    refusal("Blocked request. This host", "Vite", Kind::HostRefused),
    refusal("Invalid Host header", WEBPACK, Kind::HostRefused),
    refusal("Invalid Host/Origin header", WEBPACK, Kind::HostRefused),
    refusal("Invalid HTTP_HOST header", "Django", Kind::HostRefused),
    refusal("Blocked hosts", "Rails", Kind::HostRefused),
    refusal(
        "Bad Request - Invalid Hostname",
        "ASP.NET",
        Kind::HostRefused,
    ),
    refusal("Origin checking failed", "Django", Kind::OriginRefused),
    refusal(
        "Cross-site POST form submissions are forbidden",
        "SvelteKit",
        Kind::OriginRefused,
    ),
    // nginx, Go and Apache.
    refusal(
        "plain HTTP request was sent to HTTPS port",
        "",
        Kind::SpeaksTls,
    ),
    refusal(
        "sent an HTTP request to an HTTPS server",
        "",
        Kind::SpeaksTls,
    ),
    refusal(
        "speaking plain HTTP to an SSL-enabled server port",
        "",
        Kind::SpeaksTls,
    ),
];

const WEBPACK: &str = "webpack-dev-server";

/// Rails compares the origin of a form with its own.
const REFUSALS_OF_RAILS: &[Refusal] = &[refusal(
    "HTTP Origin header (",
    "Rails",
    Kind::OriginRefused,
)];

/// Next.js shows its pages to everybody and refuses the scripts of other origins, in a word that means
/// nothing elsewhere.
const REFUSALS_OF_NEXT: &[Refusal] = &[OF_NEXT];
const OF_NEXT: Refusal = refusal("Unauthorized", "Next.js", Kind::HostRefused);

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
        StatusCode::UNPROCESSABLE_ENTITY => REFUSALS_OF_RAILS,
        _ => &[],
    }
}

/// The dev server whose refusal is no answer at all: Next.js writes its word without a head where the page
/// wants a WebSocket for its edits.
pub fn behind(cause: Cause, path: &str) -> Option<Refusal> {
    let of_next = path.ends_with("/_next/hmr") || path.ends_with("/_next/webpack-hmr");
    (cause == Cause::LocalBadResponse && of_next).then_some(OF_NEXT)
}

impl Refusal {
    /// What it does not like.
    pub fn kind(self) -> Kind {
        self.kind
    }

    /// The refusal and what mends it, for an app behind `target`.
    pub fn explain(self, target: &Target) -> Option<Explanation> {
        let Self { server, kind, .. } = self;
        match kind {
            Kind::SpeaksTls => spoken::but_tls(target),
            Kind::OriginRefused => {
                let what = format!("{server} refuses requests from pages of the public origin");
                Some(Explanation::dev(kind, what))
            }
            _ => {
                let what = format!("{server} refuses visitors by the public host name");
                Some(Explanation::dev(kind, what))
            }
        }
    }
}

/// A body whose first bytes are looked at as they pass.
pub struct Looked<'a> {
    body: &'a mut LocalBody,
    suspected: &'static [Refusal],
    /// Called when it refuses.
    found: Found<'a>,
    /// Records it, too.
    tap: Option<Tap>,
}

/// Hears how the app refuses.
pub type Found<'a> = &'a (dyn Fn(Refusal) + Send + Sync);

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
            && let Some(refusal) = refuses(suspected, chunk)
        {
            (self.found)(refusal);
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

fn refuses(suspected: &[Refusal], chunk: &[u8]) -> Option<Refusal> {
    if suspected.is_empty() {
        return None;
    }
    let text = String::from_utf8_lossy(&chunk[..chunk.len().min(LOOK)]);
    suspected
        .iter()
        .find(|refusal| text.contains(refusal.words))
        .copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(status: u16, path: &str, text: &[u8]) -> Option<&'static str> {
        let status = StatusCode::from_u16(status).unwrap();
        refuses(suspected(status, path), text).map(|refusal| refusal.server)
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
    fn origins_and_plain_http_are_refused_in_known_words_too() {
        let target: Target = "3000".parse().unwrap();
        let told = |status: u16, text: &[u8]| {
            let status = StatusCode::from_u16(status).unwrap();
            let refusal = refuses(suspected(status, "/form"), text)?;
            Some(refusal.explain(&target)?.to_string())
        };
        for (status, text, server) in [
            (
                403,
                "Origin checking failed - https://a.example does not match",
                "Django",
            ),
            (
                403,
                "Cross-site POST form submissions are forbidden",
                "SvelteKit",
            ),
            (
                422,
                "HTTP Origin header (https://a.example) didn't match request.base_url",
                "Rails",
            ),
        ] {
            let told = told(status, text.as_bytes()).unwrap();
            let start = format!("{server} refuses requests from pages of the public origin; start");
            assert!(told.starts_with(&start) && told.contains("--dev"), "{told}");
        }
        for text in [
            "<center>The plain HTTP request was sent to HTTPS port</center>",
            "Client sent an HTTP request to an HTTPS server.\n",
            "Reason: You're speaking plain HTTP to an SSL-enabled server port.<br />",
        ] {
            let told = told(400, text.as_bytes()).unwrap();
            assert!(
                told.contains("with the target https://localhost:3000"),
                "{told}"
            );
        }
    }

    #[test]
    fn a_refusal_without_a_head_is_known_by_its_path() {
        let bad = Cause::LocalBadResponse;
        assert_eq!(behind(bad, "/_next/hmr"), Some(OF_NEXT));
        assert_eq!(behind(bad, "/docs/_next/webpack-hmr"), Some(OF_NEXT));
        assert_eq!(behind(bad, "/hmr"), None);
        assert_eq!(behind(Cause::LocalClosed, "/_next/hmr"), None);
    }
}
