//! Fields and bodies in pieces of memory of their own.

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderName, HeaderValue};
use ngrnotok_common::headers::PRIVATE_PREFIX;

use super::exchange::Captured;

/// Fields in one piece of memory.
#[derive(Debug, Default)]
pub(super) struct Fields(Vec<u8>);

/// Room for each field to begin with: 48 bytes. Most heads fit, and those that go on are not many.
const FIELD: usize = 48;

impl Fields {
    /// The fields that are not between client and server alone.
    pub(super) fn of(fields: &HeaderMap) -> Self {
        let mut piece = Vec::with_capacity(fields.len() * FIELD);
        for (name, value) in fields {
            let name = name.as_str();
            if name.starts_with(PRIVATE_PREFIX) {
                continue;
            }
            for part in [name.as_bytes(), value.as_bytes()] {
                // No head is as long as 4 GiB.
                piece.extend_from_slice(&(part.len() as u32).to_le_bytes());
                piece.extend_from_slice(part);
            }
        }
        Self(piece)
    }

    /// What they take in memory.
    pub(super) fn size(&self) -> usize {
        self.0.capacity()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Fields as a map again.
pub(super) fn map(fields: &[u8]) -> HeaderMap {
    let mut rest = Bytes::copy_from_slice(fields);
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

/// A body as far as it is kept.
#[derive(Debug, Default)]
pub(super) struct Capture {
    pub(super) bytes: Vec<u8>,
    pub(super) total: u64,
    pub(super) ended: bool,
    /// How much room to make when it begins.
    expected: usize,
}

/// Room that is made for a body of which only the length has come: 64 KiB at most.
const EXPECTED: u64 = 64 * 1024;

impl Capture {
    /// One that says how long it will be.
    pub(super) fn announced(fields: &HeaderMap) -> Self {
        let length = fields.get(CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        Self {
            expected: length.unwrap_or_default().min(EXPECTED) as usize,
            ..Self::default()
        }
    }

    pub(super) fn of(captured: &Captured, limit: usize) -> Self {
        let kept = captured.bytes.len().min(limit);
        Self {
            bytes: captured.bytes[..kept].to_vec(),
            total: captured.total,
            ended: captured.ended,
            expected: 0,
        }
    }

    /// More has come. What exceeds `limit` is only counted.
    pub(super) fn push(&mut self, chunk: &[u8], limit: usize) {
        self.total += chunk.len() as u64;
        let room = limit.saturating_sub(self.bytes.len());
        if room == 0 || chunk.is_empty() {
            return;
        }
        let part = &chunk[..chunk.len().min(room)];
        if self.bytes.is_empty() {
            let expected = self.expected.min(limit);
            self.bytes.reserve_exact(part.len().max(expected));
        }
        self.bytes.extend_from_slice(part);
    }

    pub(super) fn size(&self) -> usize {
        self.bytes.capacity()
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
        assert_eq!(map(Fields::of(&fields).bytes()), wanted);
        assert_eq!(map(&[]), HeaderMap::new());
    }

    #[test]
    fn a_body_is_kept_to_the_limit_and_counted_beyond() {
        let mut capture = Capture::default();
        for chunk in [&b"abc"[..], b"", b"defg", b"hi"] {
            capture.push(chunk, 5);
        }
        assert_eq!((&capture.bytes[..], capture.total), (&b"abcde"[..], 9));
    }

    #[test]
    fn what_is_only_announced_takes_little_room() {
        let mut fields = HeaderMap::new();
        fields.insert(CONTENT_LENGTH, HeaderValue::from_static("1000000000000"));
        let mut capture = Capture::announced(&fields);
        assert_eq!(capture.size(), 0);
        capture.push(b"a", 1 << 20);
        assert_eq!(capture.size(), EXPECTED as usize);
        let mut capture = Capture::announced(&fields);
        capture.push(b"a", 100);
        assert_eq!(capture.size(), 100);
    }
}
