//! The messages of gRPC, which say their length first.

use super::exchange::MessageKind;
use super::reader::{Found, Part};

/// One direction of a call.
#[derive(Debug, Default)]
pub(super) struct Grpc {
    prefix: Vec<u8>,
    /// Of the message that is coming.
    left: u64,
    message: Part,
}

/// A flag and a length.
const PREFIX: usize = 5;

impl Grpc {
    pub(super) fn read(&mut self, mut bytes: &[u8], limit: usize, found: Found<'_>) {
        while !bytes.is_empty() {
            if self.prefix.len() < PREFIX {
                let (more, rest) = bytes.split_at(bytes.len().min(PREFIX - self.prefix.len()));
                self.prefix.extend_from_slice(more);
                bytes = rest;
                let Some(&[_, a, b, c, d]) = self.prefix.first_chunk::<PREFIX>() else {
                    return;
                };
                self.left = u32::from_be_bytes([a, b, c, d]).into();
            }
            let n = usize::try_from(self.left).map_or(bytes.len(), |left| left.min(bytes.len()));
            let (more, rest) = bytes.split_at(n);
            self.message.push(more, limit);
            self.left -= n as u64;
            bytes = rest;
            if self.left == 0 {
                let compressed = self.prefix[0] & 1 == 1;
                self.prefix.clear();
                found(MessageKind::Grpc { compressed }, self.message.take());
            }
        }
    }

    pub(super) fn size(&self) -> usize {
        self.prefix.capacity() + self.message.size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(flag: u8, text: &[u8]) -> Vec<u8> {
        let length = u32::try_from(text.len()).unwrap().to_be_bytes();
        [&[flag][..], &length, text].concat()
    }

    #[test]
    fn messages_are_found_however_the_bytes_are_cut() {
        let bytes = [message(0, b"one"), message(1, b""), message(0, b"three")].concat();
        for size in 1..=bytes.len() {
            let (mut grpc, mut all) = (Grpc::default(), Vec::new());
            for piece in bytes.chunks(size) {
                grpc.read(piece, 4, &mut |kind, payload| all.push((kind, payload)));
            }
            let shown: Vec<_> = all
                .iter()
                .map(|(kind, payload)| (kind, &payload.bytes[..], payload.total))
                .collect();
            let kind = |compressed| MessageKind::Grpc { compressed };
            assert_eq!(
                shown,
                [
                    (&kind(false), &b"one"[..], 3),
                    (&kind(true), b"", 0),
                    (&kind(false), b"thre", 5),
                ],
                "by {size}"
            );
        }
    }
}
