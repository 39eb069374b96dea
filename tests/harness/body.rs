//! Bodies as both ends of a test send them, and a pattern that shows every byte out of place.

use std::io;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Channel, Empty, Full};

/// What visitors send and origins answer with.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Sends a body piece by piece.
pub type Pieces = http_body_util::channel::Sender<Bytes, io::Error>;

/// No body.
pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A body that is there at once.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// A body that is sent piece by piece; it ends when the sender is dropped.
pub fn pieces() -> (Pieces, Body) {
    let (sender, body) = Channel::new(1);
    (sender, body.boxed_unsync())
}

/// Sends `total` bytes of the pattern and tells of every piece that went.
pub async fn send_pattern(mut pieces: Pieces, total: usize, mut went: impl FnMut(usize)) {
    let mut pattern = Pattern::default();
    let mut left = total;
    while left > 0 {
        let piece = pattern.next(left.min(64 * 1024));
        let size = piece.len();
        if pieces.send_data(piece).await.is_err() {
            return;
        }
        went(size);
        left -= size;
    }
}

/// A sequence of bytes with a long odd period: a byte that is lost, doubled or out of place is
/// noticed.
#[derive(Debug)]
pub struct Pattern {
    period: Bytes,
    at: usize,
}

impl Default for Pattern {
    fn default() -> Self {
        let period: Vec<u8> = (0..65_521_u32)
            .map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0])
            .collect();
        Self {
            // Twice, so that a slice of one period can begin anywhere.
            period: [period.as_slice(), period.as_slice()].concat().into(),
            at: 0,
        }
    }
}

impl Pattern {
    /// The next bytes, at most `size` of them.
    pub fn next(&mut self, size: usize) -> Bytes {
        let period = self.period.len() / 2;
        let piece = self.period.slice(self.at..self.at + size.min(period));
        self.at = (self.at + piece.len()) % period;
        piece
    }

    /// Checks that `seen` is what comes next.
    pub fn check(&mut self, mut seen: &[u8]) {
        while !seen.is_empty() {
            let expected = self.next(seen.len());
            assert!(seen.starts_with(&expected), "bytes out of place");
            seen = &seen[expected.len()..];
        }
    }
}
