//! The visitor's end of an upgraded connection.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use ngrnotok_common::splice::End;
use ngrnotok_common::stall::StallTimer;

use super::activity::STALL_LIMIT;

/// An end that breaks when bytes wait for the visitor and it takes none of them for [`STALL_LIMIT`]. While
/// nothing waits, it may be silent for days.
#[derive(Debug)]
pub(super) struct VisitorEnd<E> {
    end: E,
    stall: StallTimer,
    /// Bytes wait that the end has not even taken to send them.
    blocked: bool,
}

impl<E> VisitorEnd<E> {
    pub(super) fn new(end: E) -> Self {
        Self {
            end,
            stall: StallTimer::new(STALL_LIMIT),
            blocked: false,
        }
    }

    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.stall.poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<E: End> End for VisitorEnd<E> {
    const READ_AHEAD: usize = E::READ_AHEAD;

    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut BytesMut) -> Poll<io::Result<usize>> {
        self.end.poll_read(cx, into)
    }

    fn passed_on(&mut self, n: usize) {
        self.end.passed_on(n);
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, from: &mut BytesMut) -> Poll<io::Result<()>> {
        let before = from.len();
        let written = self.end.poll_write(cx, from);
        self.blocked = written.is_pending();
        if from.len() < before {
            self.stall.progress();
        }
        match written {
            Poll::Pending => self.poll_stalled(cx),
            written => written,
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.end.poll_flush(cx) {
            Poll::Pending => self.poll_stalled(cx),
            flushed => {
                if !self.blocked {
                    self.stall.progress();
                }
                flushed
            }
        }
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.end.poll_finish(cx) {
            Poll::Pending => self.poll_stalled(cx),
            finished => finished,
        }
    }

    fn abort(&mut self) {
        self.end.abort();
    }
}
