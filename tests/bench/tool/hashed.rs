//! Bodies that carry their own hash, so that a wrong one is seen wherever it ends up.

use std::hash::Hasher;
use std::sync::atomic::{AtomicU64, Ordering};

/// The hash stands in the first eight bytes.
const HASH: usize = 8;

/// A body of `size` bytes, at least eight, that no other one is like.
pub(crate) fn body(size: usize) -> Vec<u8> {
    static NEXT: AtomicU64 = AtomicU64::new(0x9E37_79B9_7F4A_7C15);
    let mut state = NEXT.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed) | 1;
    let mut body = vec![0; size.max(HASH)];
    for chunk in body[HASH..].chunks_mut(8) {
        // Marsaglia's xorshift: cheap, and different everywhere.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
    }
    let hash = hash(&body[HASH..]);
    body[..HASH].copy_from_slice(&hash);
    body
}

/// Whether a body is what its hash says.
pub(crate) fn is_whole(body: &[u8]) -> bool {
    body.len() >= HASH && body[..HASH] == hash(&body[HASH..])
}

fn hash(bytes: &[u8]) -> [u8; HASH] {
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish().to_le_bytes()
}
