//! What sits between h2, TLS and the socket.
//!
//! ```text
//! h2  ->  Gather  ->  TLS  ->  ReadAhead  ->  TCP socket
//! ```
//!
//! h2 flushes after every frame, and rustls reads 4 KiB at a time: done naively, each small answer is
//! a TLS record and a system call of its own. `Gather` collects what h2 writes and sends it when the
//! task that drives the connection has done its round (`Flusher`): small frames are copied together,
//! large ones are encrypted at once and wait in TLS ([`Hold`]), so that all that a stream may have waiting
//! is one system call. [`ReadAhead`] takes from the socket whatever is there. Both borrow their memory from
//! a pool of the thread and give it back when it is empty, so an idle link holds none.

use std::cell::RefCell;
use std::io::{self, IoSlice, Write as _};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{client, server};

use super::settings::{NOTSENT_LOWAT, SEND_BUFFER};
use crate::socket::optional;

/// Size of one pooled buffer: 144 KiB, all that the other end sends at a time.
const BUFFER: usize = HELD;

/// Buffers a thread keeps for later: 8, so at most 1.2 MiB.
const POOLED: usize = 8;

/// Writes of this size and more are not copied together: they go straight to TLS, along with what
/// was gathered before them.
const PASS_THROUGH: usize = 4 * 1024;

/// What is read in one round of the task that drives the connection: 256 KiB. More waits until the other tasks
/// of the thread have had their turn, for it may be frames of a few bytes, each of which is work.
const ROUND: usize = 256 * 1024;

/// Plaintext of a full TLS record (RFC 8446 §5.1).
const RECORD: usize = 16 * 1024;

/// What TLS holds at most: 144 KiB. That is [`SEND_BUFFER`] in full records with their 22 bytes each, and
/// one more for the heads of the frames in it: sent by itself, it would cost both ends as much as a full one.
const HELD: usize = (SEND_BUFFER / RECORD + 1) * (RECORD + 22);

/// A stream that may keep what it is given until it is flushed.
pub trait Hold: AsyncRead + AsyncWrite + Unpin {
    /// Takes what there is room for of `pieces` without sending it; 0 until the next flush when there is no
    /// room. `None`: this stream keeps nothing, write to it instead.
    fn hold(&mut self, pieces: &[IoSlice<'_>]) -> Option<io::Result<usize>> {
        let _ = pieces;
        None
    }
}

impl Hold for DuplexStream {}

impl<S: AsyncRead + AsyncWrite + Unpin> Hold for server::TlsStream<S> {
    fn hold(&mut self, pieces: &[IoSlice<'_>]) -> Option<io::Result<usize>> {
        let tls = self.get_mut().1;
        tls.set_buffer_limit(Some(HELD));
        Some(tls.writer().write_vectored(pieces))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Hold for client::TlsStream<S> {
    fn hold(&mut self, pieces: &[IoSlice<'_>]) -> Option<io::Result<usize>> {
        let tls = self.get_mut().1;
        tls.set_buffer_limit(Some(HELD));
        Some(tls.writer().write_vectored(pieces))
    }
}

/// Sets what every socket of a link needs: no waiting for more to send, and little unsent in the
/// kernel so that h2 decides late what goes next.
pub fn tune(socket: &TcpStream) {
    optional("TCP_NODELAY", socket.set_nodelay(true));
    #[cfg(target_os = "linux")]
    optional(
        "TCP_NOTSENT_LOWAT",
        socket2::SockRef::from(socket).set_tcp_notsent_lowat(NOTSENT_LOWAT),
    );
    #[cfg(not(target_os = "linux"))]
    let _ = NOTSENT_LOWAT;
}

/// Bytes on their way, in pooled memory.
struct Buffer {
    memory: Box<[u8]>,
    start: usize,
    end: usize,
}

thread_local! {
    static POOL: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

impl Buffer {
    fn take() -> Self {
        let memory = POOL
            .with_borrow_mut(Vec::pop)
            .unwrap_or_else(|| vec![0; BUFFER].into_boxed_slice());
        Self {
            memory,
            start: 0,
            end: 0,
        }
    }

    fn filled(&self) -> &[u8] {
        &self.memory[self.start..self.end]
    }

    fn len(&self) -> usize {
        self.end - self.start
    }

    fn room(&self) -> usize {
        self.memory.len() - self.end
    }

    fn append(&mut self, bytes: &[u8]) {
        self.memory[self.end..self.end + bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len();
    }

    fn consume(&mut self, n: usize) {
        self.start += n;
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        // The pool is gone when a thread-local of the thread's end drops us.
        let _ = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            if pool.len() < POOLED {
                pool.push(memory);
            }
        });
    }
}

/// Reads from a stream in large steps; writes pass unchanged.
pub struct ReadAhead<S> {
    stream: S,
    ahead: Option<Buffer>,
}

impl<S> ReadAhead<S> {
    /// Wraps a stream.
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            ahead: None,
        }
    }

    /// The stream itself.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadAhead<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.ahead.is_none() {
            if out.remaining() >= BUFFER {
                return Pin::new(&mut this.stream).poll_read(cx, out);
            }
            let mut buffer = Buffer::take();
            let mut space = ReadBuf::new(&mut buffer.memory);
            ready!(Pin::new(&mut this.stream).poll_read(cx, &mut space))?;
            buffer.end = space.filled().len();
            this.ahead = Some(buffer);
        }
        let buffer = this.ahead.as_mut().expect("filled just above");
        let n = buffer.len().min(out.remaining());
        out.put_slice(&buffer.filled()[..n]);
        buffer.consume(n);
        if buffer.len() == 0 {
            this.ahead = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReadAhead<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// h2's side of the stream: small writes gather, flushing waits for the [`Flusher`].
pub(super) struct Gather<S>(Arc<Mutex<Gathered<S>>>);

/// The driving task's side: sends what has gathered, once per round.
pub(super) struct Flusher<S>(Arc<Mutex<Gathered<S>>>);

/// The lock is never contended: h2 and the flusher run in the same task, one after the other.
struct Gathered<S> {
    stream: S,
    held: Option<Buffer>,
    received: u64,
    /// Of them in this round.
    this_round: usize,
}

/// Splits a stream into the side for h2 and the side for the task that drives it.
pub(super) fn gather<S>(stream: S) -> (Gather<S>, Flusher<S>) {
    let shared = Arc::new(Mutex::new(Gathered {
        stream,
        held: None,
        received: 0,
        this_round: 0,
    }));
    (Gather(Arc::clone(&shared)), Flusher(shared))
}

impl<S: Hold> Flusher<S> {
    /// Sends what has gathered. Pending while the socket takes no more; the task is woken when it
    /// does.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut shared = lock(&self.0);
        shared.this_round = 0;
        ready!(shared.poll_drain(cx))?;
        Pin::new(&mut shared.stream).poll_flush(cx)
    }
}

impl<S> Flusher<S> {
    /// Bytes that have come in so far.
    pub(super) fn received(&self) -> u64 {
        lock(&self.0).received
    }
}

impl<S: Hold> Gathered<S> {
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(held) = &mut self.held {
            let n = ready!(Pin::new(&mut self.stream).poll_write(cx, held.filled()))?;
            self.took(n)?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let total: usize = slices.iter().map(|slice| slice.len()).sum();
        if total >= PASS_THROUGH {
            return self.poll_pass(cx, slices);
        }
        if self.held.as_ref().is_some_and(|held| held.room() < total) {
            ready!(self.poll_drain(cx))?;
        }
        if total > 0 {
            let held = self.held.get_or_insert_with(Buffer::take);
            for slice in slices {
                held.append(slice);
            }
        }
        Poll::Ready(Ok(total))
    }

    /// Passes on what was gathered and `slices`; tells how much of `slices` went.
    fn poll_pass(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            let gathered = self.held.as_ref().map_or(&[][..], Buffer::filled);
            let before = gathered.len();
            let total = before + slices.iter().map(|slice| slice.len()).sum::<usize>();
            // What is more than full records comes once more, and gathers with what follows.
            let records = if total < RECORD {
                total
            } else {
                total - total % RECORD
            };
            let n = match self.stream.hold(&first(records, gathered, slices)) {
                Some(Ok(0)) => {
                    ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
                    continue;
                }
                Some(held) => held?,
                None => {
                    let pieces = first(total, gathered, slices);
                    ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, &pieces))?
                }
            };
            self.took(n)?;
            if n > before {
                return Poll::Ready(Ok(n - before));
            }
        }
    }

    /// The stream has taken `n` bytes, first of what was gathered.
    fn took(&mut self, n: usize) -> io::Result<()> {
        if n == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        if let Some(held) = &mut self.held {
            held.consume(n.min(held.len()));
            if held.len() == 0 {
                self.held = None;
            }
        }
        Ok(())
    }
}

/// The first `most` bytes of what was gathered and of `slices`. h2 hands over a frame head and its payload;
/// what does not fit here goes next time.
fn first<'a>(most: usize, gathered: &'a [u8], slices: &'a [IoSlice<'_>]) -> [IoSlice<'a>; 4] {
    let mut pieces = [IoSlice::new(&[]); 4];
    let mut left = most;
    let all = std::iter::once(gathered).chain(slices.iter().map(|slice| &**slice));
    for (place, piece) in pieces.iter_mut().zip(all) {
        let n = piece.len().min(left);
        *place = IoSlice::new(&piece[..n]);
        left -= n;
    }
    pieces
}

impl<S: AsyncRead + Unpin> AsyncRead for Gather<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut shared = lock(&self.0);
        if shared.this_round >= ROUND {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = out.filled().len();
        ready!(Pin::new(&mut shared.stream).poll_read(cx, out))?;
        let read = out.filled().len() - before;
        shared.this_round += read;
        shared.received += read as u64;
        Poll::Ready(Ok(()))
    }
}

impl<S: Hold> AsyncWrite for Gather<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        lock(&self.0).poll_write(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        lock(&self.0).poll_write(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Says yes and does nothing: the flusher follows in the same round of the task.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut shared = lock(&self.0);
        ready!(shared.poll_drain(cx))?;
        Pin::new(&mut shared.stream).poll_shutdown(cx)
    }
}

fn lock<S>(shared: &Mutex<Gathered<S>>) -> MutexGuard<'_, Gathered<S>> {
    shared
        .lock()
        .expect("a panic under this lock ends the task that owns both sides")
}

impl<S> std::fmt::Debug for ReadAhead<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadAhead").finish_non_exhaustive()
    }
}

impl<S> std::fmt::Debug for Gather<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gather").finish_non_exhaustive()
    }
}

impl<S> std::fmt::Debug for Flusher<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flusher").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn small_writes_wait_for_the_flusher() {
        let (near, mut far) = tokio::io::duplex(1024);
        let (mut gather, flusher) = gather(near);
        gather.write_all(b"one ").await.unwrap();
        gather.flush().await.unwrap();
        gather.write_all(b"two").await.unwrap();
        let mut seen = [0; 16];
        let early = poll_fn(|cx| {
            let mut seen = ReadBuf::new(&mut seen);
            Poll::Ready(Pin::new(&mut far).poll_read(cx, &mut seen).is_ready())
        });
        assert!(!early.await, "nothing may be sent before the flusher runs");
        poll_fn(|cx| flusher.poll(cx)).await.unwrap();
        let n = far.read(&mut seen).await.unwrap();
        assert_eq!(&seen[..n], b"one two");
    }

    #[tokio::test]
    async fn bytes_keep_their_order_through_narrow_pipes() {
        let mut sent = Vec::new();
        let (near, mut far) = tokio::io::duplex(7);
        let (mut gather, flusher) = gather(near);
        let reader = async {
            let mut seen = Vec::new();
            far.read_to_end(&mut seen).await.unwrap();
            seen
        };
        let writer = async {
            for (round, size) in [3, 5000, 1, 70_000, 4096, 4095, 9, 65_536]
                .into_iter()
                .enumerate()
            {
                let bytes = vec![round as u8; size];
                sent.extend_from_slice(&bytes);
                gather.write_all(&bytes).await.unwrap();
            }
            poll_fn(|cx| flusher.poll(cx)).await.unwrap();
            gather.shutdown().await.unwrap();
        };
        let (seen, ()) = tokio::join!(reader, writer);
        assert_eq!(seen, sent);
    }

    const KEPT: usize = 4 * RECORD;

    /// A stream that keeps so much until it is flushed, as TLS does, and notes how much went at a time.
    struct Keeping {
        kept: Vec<u8>,
        sent: Vec<u8>,
        steps: Vec<usize>,
    }

    impl Hold for Keeping {
        fn hold(&mut self, pieces: &[IoSlice<'_>]) -> Option<io::Result<usize>> {
            let mut taken = 0;
            for piece in pieces {
                let n = piece.len().min(KEPT - self.kept.len());
                self.kept.extend_from_slice(&piece[..n]);
                taken += n;
            }
            Some(Ok(taken))
        }
    }

    impl AsyncRead for Keeping {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Keeping {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.kept.extend_from_slice(bytes);
            self.poll_flush(cx).map_ok(|()| bytes.len())
        }

        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            let kept = std::mem::take(&mut self.kept);
            if !kept.is_empty() {
                self.steps.push(kept.len());
                self.sent.extend_from_slice(&kept);
            }
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.poll_flush(cx)
        }
    }

    #[tokio::test]
    async fn large_frames_leave_as_full_records_as_many_as_are_kept() {
        let keeping = Keeping {
            kept: Vec::new(),
            sent: Vec::new(),
            steps: Vec::new(),
        };
        let (mut gather, flusher) = gather(keeping);
        let mut given = b"a head".to_vec();
        gather.write_all(&given).await.unwrap();
        for frame in 0..10 {
            let frame = vec![frame; RECORD + 9];
            gather.write_all(&frame).await.unwrap();
            given.extend_from_slice(&frame);
        }
        poll_fn(|cx| flusher.poll(cx)).await.unwrap();
        let stream = &lock(&flusher.0).stream;
        assert_eq!(stream.sent, given);
        let rest = given.len() % RECORD;
        assert_eq!(stream.steps, [KEPT, KEPT, 2 * RECORD + rest]);
    }

    #[tokio::test]
    async fn a_round_reads_so_much_and_the_next_one_the_rest() {
        let (near, mut far) = tokio::io::duplex(4 * ROUND);
        far.write_all(&vec![7; 3 * ROUND]).await.unwrap();
        let (mut gather, flusher) = gather(near);
        let mut read = async |most: usize| {
            let (mut bytes, mut total) = (vec![0; 16 * 1024], 0);
            poll_fn(|cx| {
                while total < most {
                    let mut space = ReadBuf::new(&mut bytes);
                    match Pin::new(&mut gather).poll_read(cx, &mut space) {
                        Poll::Ready(read) => read.unwrap(),
                        Poll::Pending => break,
                    }
                    total += space.filled().len();
                }
                Poll::Ready(total)
            })
            .await
        };
        for _ in 0..3 {
            assert_eq!(read(usize::MAX).await, ROUND);
            assert_eq!(read(usize::MAX).await, 0, "the others have their turn");
            poll_fn(|cx| flusher.poll(cx)).await.unwrap();
        }
    }

    #[tokio::test]
    async fn reading_ahead_loses_nothing() {
        let (near, mut far) = tokio::io::duplex(200_000);
        let bytes: Vec<u8> = (0..150_000).map(|n| n as u8).collect();
        far.write_all(&bytes).await.unwrap();
        drop(far);
        let mut ahead = ReadAhead::new(near);
        let mut seen = Vec::new();
        let mut step = [0; 999];
        loop {
            match ahead.read(&mut step).await.unwrap() {
                0 => break,
                n => seen.extend_from_slice(&step[..n]),
            }
        }
        assert_eq!(seen, bytes);
        assert!(
            ahead.ahead.is_none(),
            "an empty buffer goes back to the pool"
        );
    }
}
