//! Finding the messages in bytes that flow by.
//!
//! A reader sees the bytes in whatever pieces they come, keeps no more of a message than the limit, and
//! stops at what it does not understand. It never changes a byte.

use bytes::Bytes;

use super::events::Events;
use super::exchange::{Captured, MessageKind};
use super::grpc::Grpc;
use super::websocket::Frames;

/// What one direction of an exchange is made of.
#[derive(Debug)]
pub(super) enum Reader {
    Events(Events),
    Grpc(Grpc),
    Frames(Frames),
}

/// Takes what was found.
pub(super) type Found<'a> = &'a mut dyn FnMut(MessageKind, Captured);

/// What follows cannot be understood.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lost;

impl Reader {
    pub(super) fn read(
        &mut self,
        bytes: &[u8],
        limit: usize,
        found: Found<'_>,
    ) -> Result<(), Lost> {
        match self {
            Self::Events(events) => {
                events.read(bytes, limit, found);
                Ok(())
            }
            Self::Grpc(grpc) => {
                grpc.read(bytes, limit, found);
                Ok(())
            }
            Self::Frames(frames) => frames.read(bytes, limit, found),
        }
    }

    /// What it takes in memory.
    pub(super) fn size(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Events(events) => events.size(),
                Self::Grpc(grpc) => grpc.size(),
                Self::Frames(frames) => frames.size(),
            }
    }
}

/// A message of which only so much is kept.
#[derive(Debug, Default)]
pub(super) struct Part {
    bytes: Vec<u8>,
    pub(super) total: u64,
}

impl Part {
    pub(super) fn push(&mut self, bytes: &[u8], limit: usize) {
        self.total += bytes.len() as u64;
        let room = limit.saturating_sub(self.bytes.len());
        self.bytes
            .extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// What is kept, and whether there is room for more.
    pub(super) fn kept(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn take(&mut self) -> Captured {
        let Self { mut bytes, total } = std::mem::take(self);
        bytes.shrink_to_fit();
        Captured {
            bytes: Bytes::from(bytes),
            total,
            ended: true,
        }
    }

    pub(super) fn size(&self) -> usize {
        self.bytes.capacity()
    }
}
