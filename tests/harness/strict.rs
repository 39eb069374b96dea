//! HTTP/1.1 to the letter (RFC 9112): what is not written exactly so is called wrong, not guessed at.
//! Both ends use it: local apps that must not be smuggled anything, and visitors who read an answer.

use std::fmt;
use std::io;

use bytes::{Bytes, BytesMut};
use ngrnotok_common::socket::Socket;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};

use crate::head::field;
pub use crate::head::{Chunk, Framing, Head};

/// How a direction of a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// FIN; inside TLS with its goodbye.
    Finished,
    /// Anything else.
    Broken,
}

/// The two directions of a connection.
pub fn halves(socket: impl Socket) -> (Reader, Writer) {
    let socket: Box<dyn Socket> = Box::new(socket);
    let (read, write) = split(socket);
    let reader = Reader {
        read,
        unread: BytesMut::new(),
        heard: Vec::new(),
        ending: None,
    };
    (reader, Writer(write))
}

/// Leaves without a goodbye: RST.
pub fn break_off(reader: Reader, writer: Writer) {
    reader.read.unsplit(writer.0).reset_on_drop();
}

/// What is said.
pub struct Writer(WriteHalf<Box<dyn Socket>>);

impl Writer {
    /// Sends bytes; an error shows in what the other side answers.
    pub async fn say(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.0.write_all(bytes.as_ref()).await?;
        self.0.flush().await
    }

    /// Says nothing more, and can still listen.
    pub async fn finish(&mut self) {
        let _ = self.0.shutdown().await;
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

/// What is heard.
pub struct Reader {
    read: ReadHalf<Box<dyn Socket>>,
    unread: BytesMut,
    /// Every byte since the last [`Reader::take_heard`].
    heard: Vec<u8>,
    /// How this direction ended, once it has.
    pub ending: Option<Ending>,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

/// A piece of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Some bytes.
    Data(Bytes),
    /// The end, with trailers.
    End(Vec<(String, Bytes)>),
    /// The connection ended before the body.
    Cut,
    /// Not as RFC 9112 §7.1 wants it.
    Wrong(String),
}

impl Reader {
    /// Reads more; false at the end.
    pub async fn more(&mut self) -> bool {
        if self.ending.is_some() {
            return false;
        }
        let before = self.unread.len();
        match self.read.read_buf(&mut self.unread).await {
            Ok(1..) => self.heard.extend_from_slice(&self.unread[before..]),
            Ok(0) => self.ending = Some(Ending::Finished),
            Err(_) => self.ending = Some(Ending::Broken),
        }
        self.ending.is_none()
    }

    /// Every byte that has arrived since this was last asked.
    pub fn take_heard(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.heard)
    }

    /// The next bytes; `None` at the end.
    pub async fn next(&mut self) -> Option<Bytes> {
        if self.unread.is_empty() && !self.more().await {
            return None;
        }
        Some(self.unread.split().freeze())
    }

    /// Reads so many bytes; fewer at the end.
    pub async fn exactly(&mut self, size: usize) -> Bytes {
        while self.unread.len() < size && self.more().await {}
        let size = size.min(self.unread.len());
        self.unread.split_to(size).freeze()
    }

    /// The next head; `None` at the end.
    pub async fn head(&mut self) -> Option<Result<Head, String>> {
        loop {
            let end = self.unread.windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(end) = end {
                return Some(Head::parse(&self.unread.split_to(end + 4)));
            }
            if !self.more().await {
                let rest = self.unread.split();
                let shown = || format!("half a head: {}", rest.escape_ascii());
                return (!rest.is_empty()).then(|| Err(shown()));
            }
        }
    }

    /// The next piece of a body.
    pub async fn piece(&mut self, framing: &mut Framing) -> Piece {
        match framing {
            Framing::Length(0) => Piece::End(Vec::new()),
            Framing::Length(left) => {
                if self.unread.is_empty() && !self.more().await {
                    return Piece::Cut;
                }
                let size = self
                    .unread
                    .len()
                    .min((*left).try_into().unwrap_or(usize::MAX));
                *left -= size as u64;
                Piece::Data(self.unread.split_to(size).freeze())
            }
            Framing::UntilClose => match self.next().await {
                Some(bytes) => Piece::Data(bytes),
                None if self.ending == Some(Ending::Finished) => Piece::End(Vec::new()),
                None => Piece::Cut,
            },
            Framing::Chunked(at) => self.chunk(at).await.unwrap_or(Piece::Cut),
        }
    }

    /// `None` where the connection ends.
    async fn chunk(&mut self, at: &mut Chunk) -> Option<Piece> {
        if let Chunk::Data(left) = at {
            if self.unread.is_empty() && !self.more().await {
                return None;
            }
            let data = self.unread.split_to(self.unread.len().min(*left));
            *at = match *left - data.len() {
                0 => Chunk::After,
                left => Chunk::Data(left),
            };
            return Some(Piece::Data(data.freeze()));
        }
        if *at == Chunk::After {
            let end = self.exactly(2).await;
            if end != b"\r\n"[..] {
                let wrong = format!("after a chunk: {}", end.escape_ascii());
                return (end.len() == 2).then_some(Piece::Wrong(wrong));
            }
        }
        let line = self.line().await?;
        let size = line.split(|byte| *byte == b';').next().unwrap_or_default();
        let digits = !size.is_empty() && size.iter().all(u8::is_ascii_hexdigit);
        let number = std::str::from_utf8(size).ok();
        let number = number.and_then(|size| usize::from_str_radix(size, 16).ok());
        let Some(size) = number.filter(|_| digits) else {
            return Some(Piece::Wrong(format!("chunk size {}", line.escape_ascii())));
        };
        if size > 0 {
            *at = Chunk::Data(size);
            return Some(Piece::Data(Bytes::new()));
        }
        let mut trailers = Vec::new();
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Some(Piece::End(trailers));
            }
            match field(&line) {
                Ok(field) => trailers.push(field),
                Err(wrong) => return Some(Piece::Wrong(wrong)),
            }
        }
    }

    /// A line without its CRLF.
    async fn line(&mut self) -> Option<Bytes> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|two| two == b"\r\n") {
                let line = self.unread.split_to(end + 2).freeze();
                return Some(line.slice(..end));
            }
            if !self.more().await {
                return None;
            }
        }
    }
}
