//! Fields and bodies in pieces of memory of their own.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use ngrnotok_common::headers::PRIVATE_PREFIX;

use super::exchange::Captured;

/// Fields in one piece of memory.
#[derive(Debug, Default)]
pub(super) struct Fields(Box<[u8]>);

impl Fields {
    /// The fields that are not between client and server alone.
    pub(super) fn of(fields: &HeaderMap) -> Self {
        let public = || {
            let all = fields.iter();
            all.filter(|(name, _)| !name.as_str().starts_with(PRIVATE_PREFIX))
        };
        let sizes = public().map(|(name, value)| name.as_str().len() + value.len() + 8);
        let mut piece = Vec::with_capacity(sizes.sum());
        for (name, value) in public() {
            for part in [name.as_str().as_bytes(), value.as_bytes()] {
                // No head is as long as 4 GiB.
                piece.extend_from_slice(&(part.len() as u32).to_le_bytes());
                piece.extend_from_slice(part);
            }
        }
        Self(piece.into_boxed_slice())
    }

    /// What they take in memory.
    pub(super) fn size(&self) -> usize {
        self.0.len()
    }

    /// As a map again.
    pub(super) fn map(&self) -> HeaderMap {
        let mut rest = Bytes::copy_from_slice(&self.0);
        let mut next = move || {
            let (length, _) = rest.split_first_chunk::<4>()?;
            let length = u32::from_le_bytes(*length) as usize;
            let part = rest.slice(4..4 + length);
            rest = rest.slice(4 + length..);
            Some(part)
        };
        let mut fields = HeaderMap::new();
        while let (Some(name), Some(value)) = (next(), next()) {
            let name = HeaderName::from_bytes(&name);
            if let (Ok(name), Ok(value)) = (name, HeaderValue::from_maybe_shared(value)) {
                fields.append(name, value);
            }
        }
        fields
    }
}

/// A body as far as it is kept.
#[derive(Debug, Default)]
pub(super) struct Capture {
    /// While it grows.
    growing: Vec<u8>,
    /// Once it has ended.
    whole: Bytes,
    pub(super) total: u64,
    ended: bool,
}

impl Capture {
    pub(super) fn of(captured: &Captured, limit: usize) -> Self {
        let kept = captured.bytes.len().min(limit);
        Self {
            growing: Vec::new(),
            // A part of something larger would keep that.
            whole: Bytes::copy_from_slice(&captured.bytes[..kept]),
            total: captured.total,
            ended: captured.ended,
        }
    }

    /// More has come. What exceeds `limit` is only counted.
    pub(super) fn push(&mut self, chunk: &[u8], limit: usize) {
        self.total += chunk.len() as u64;
        let room = limit.saturating_sub(self.growing.len());
        if room == 0 || chunk.is_empty() {
            return;
        }
        let part = &chunk[..chunk.len().min(room)];
        // Most bodies come in one piece.
        if self.growing.is_empty() {
            self.growing.reserve_exact(part.len());
        }
        self.growing.extend_from_slice(part);
    }

    /// Nothing more comes. `complete`: because that was all.
    pub(super) fn end(&mut self, complete: bool) {
        self.ended |= complete;
        if !self.growing.is_empty() {
            let mut bytes = std::mem::take(&mut self.growing);
            bytes.shrink_to_fit();
            self.whole = bytes.into();
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    pub(super) fn size(&self) -> usize {
        self.growing.capacity() + self.whole.len()
    }

    pub(super) fn view(&self) -> Captured {
        let bytes = match self.growing.is_empty() {
            true => self.whole.clone(),
            false => Bytes::copy_from_slice(&self.growing),
        };
        Captured {
            bytes,
            total: self.total,
            ended: self.ended,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_the_same_again_without_the_private_ones() {
        let mut fields = HeaderMap::new();
        for (name, value) in [
            ("accept", &b"text/html"[..]),
            ("x-odd", b"\xff\x80 \t"),
            ("x-empty", b""),
            ("set-cookie", b"a=1"),
            ("set-cookie", b"b=2"),
        ] {
            let value = HeaderValue::from_bytes(value).unwrap();
            fields.append(HeaderName::from_static(name), value);
        }
        let wanted = fields.clone();
        fields.insert("ngrnotok-tunnel", HeaderValue::from_static("1"));
        assert_eq!(Fields::of(&fields).map(), wanted);
        assert_eq!(Fields::default().map(), HeaderMap::new());
    }

    #[test]
    fn a_body_is_kept_to_the_limit_and_counted_beyond() {
        let mut capture = Capture::default();
        for chunk in [&b"abc"[..], b"", b"defg", b"hi"] {
            capture.push(chunk, 5);
        }
        let open = capture.view();
        assert_eq!(
            (&open.bytes[..], open.total, open.ended),
            (&b"abcde"[..], 9, false)
        );
        assert!(open.is_cut());
        capture.end(true);
        let ended = capture.view();
        assert_eq!(
            (&ended.bytes[..], ended.total, ended.ended),
            (&b"abcde"[..], 9, true)
        );
        assert_eq!(capture.size(), 5);
    }
}
