//! A fuzz input read as a row of small decisions. When it is used up, every decision is 0.

// No target needs all of it.
#![allow(dead_code)]

#[derive(Clone)]
pub struct Script<'a>(pub &'a [u8]);

impl<'a> Script<'a> {
    pub fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        let wide = u16::from_le_bytes([self.byte(), self.byte()]);
        usize::from(wide) % limit
    }

    /// The next bytes as they are: their number comes first.
    pub fn bytes(&mut self, limit: usize) -> &'a [u8] {
        let n = usize::from(self.byte()).min(limit).min(self.0.len());
        let (bytes, rest) = self.0.split_at(n);
        self.0 = rest;
        bytes
    }
}
