//! One end of an upgraded stream, with somebody who listens to what it says.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use ngrnotok_common::splice::End;

use super::recording::Tap;

/// An end whose words are recorded; it does nothing else than the end itself.
#[derive(Debug)]
pub(crate) struct Heard<E> {
    end: E,
    tap: Option<Tap>,
}

impl<E: End> Heard<E> {
    /// `tap` records what is read from `end`.
    pub(crate) fn new(end: E, tap: Option<Tap>) -> Self {
        Self { end, tap }
    }
}

impl<E: End> End for Heard<E> {
    const READ_AHEAD: usize = E::READ_AHEAD;

    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut BytesMut) -> Poll<io::Result<usize>> {
        let n = ready!(self.end.poll_read(cx, into))?;
        if let Some(tap) = &self.tap {
            match n {
                0 => tap.ended(),
                n => tap.data(&into[into.len() - n..]),
            }
        }
        Poll::Ready(Ok(n))
    }

    fn passed_on(&mut self, n: usize) {
        self.end.passed_on(n);
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, from: &mut BytesMut) -> Poll<io::Result<()>> {
        self.end.poll_write(cx, from)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end.poll_flush(cx)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end.poll_finish(cx)
    }

    fn abort(&mut self) {
        self.end.abort();
    }
}
