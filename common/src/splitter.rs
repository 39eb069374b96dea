//! Parts with a fixed end, such as lines, out of bytes that arrive in pieces.

use bytes::{Buf as _, BytesMut};

/// Bytes that have arrived, from which whole parts are taken. Each byte is searched once, however small the
/// pieces in which they come.
#[derive(Debug)]
pub struct Splitter {
    separator: &'static [u8],
    buffer: BytesMut,
    /// No separator begins before this place.
    searched: usize,
}

impl Splitter {
    /// A splitter of parts that end with `separator`, which is not empty.
    pub fn new(separator: &'static [u8]) -> Self {
        Self {
            separator,
            buffer: BytesMut::new(),
            searched: 0,
        }
    }

    /// Adds what has arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Takes the next whole part, without its separator.
    pub fn next_part(&mut self) -> Option<BytesMut> {
        let length = self.separator.len();
        let mut places = self.buffer[self.searched..].windows(length);
        let Some(at) = places.position(|bytes| bytes == self.separator) else {
            // Its first bytes may be there already.
            self.searched = self.buffer.len().saturating_sub(length - 1);
            return None;
        };
        let part = self.buffer.split_to(self.searched + at);
        self.buffer.advance(length);
        self.searched = 0;
        Some(part)
    }

    /// How many bytes have arrived that were not taken.
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_the_same_in_pieces_of_any_size() {
        let text = b"one\n\ntwo\nlines\n\n\n\nlast\n";
        for size in 1..=text.len() {
            let (mut splitter, mut parts) = (Splitter::new(b"\n\n"), Vec::new());
            for piece in text.chunks(size) {
                splitter.push(piece);
                parts.extend(std::iter::from_fn(|| splitter.next_part()));
            }
            assert_eq!(parts, ["one", "two\nlines", ""], "{size}");
            assert_eq!(splitter.len(), 5);
        }
    }

    #[test]
    fn no_byte_is_searched_twice() {
        let mut splitter = Splitter::new(b"\n");
        for n in 1..100 {
            splitter.push(b"x");
            assert_eq!(splitter.next_part(), None);
            assert_eq!(splitter.searched, n);
        }
        splitter.push(b"\nrest");
        assert_eq!(splitter.next_part().unwrap().len(), 99);
        assert_eq!((splitter.searched, splitter.len()), (0, 4));
    }
}
