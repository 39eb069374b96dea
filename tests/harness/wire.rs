//! A connection for whoever speaks bytes: odd visitors and odd local apps.

use std::fmt;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::visitor::{Answer, Visitor};

/// Anything that carries bytes both ways.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A connection, byte by byte.
pub struct Wire {
    stream: Box<dyn Stream>,
    unread: BytesMut,
    /// What the stream is a part of.
    whole: Option<Visitor>,
}

impl Wire {
    /// Takes a connected stream.
    pub fn new(stream: impl Stream + 'static) -> Self {
        Self {
            stream: Box::new(stream),
            unread: BytesMut::new(),
            whole: None,
        }
    }

    /// Keeps the connection alive of which this is one stream.
    pub fn keeping(mut self, whole: Visitor) -> Self {
        self.whole = Some(whole);
        self
    }

    /// Says nothing more, and can still listen.
    pub async fn finish(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// Sends bytes. Whether the peer wanted them shows in what it answers.
    pub async fn say(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_say(bytes).await;
    }

    /// Sends bytes; tells whether the connection is still open.
    pub async fn try_say(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).await.is_ok() && self.stream.flush().await.is_ok()
    }

    /// Reads what comes next; `None` at the end, polite or not.
    pub async fn next(&mut self) -> Option<Bytes> {
        if self.unread.is_empty() && !self.more().await {
            return None;
        }
        Some(self.unread.split().freeze())
    }

    /// Reads a head up to its blank line.
    pub async fn head(&mut self) -> String {
        self.next_head().await.expect("a head before the end")
    }

    /// Reads a head up to its blank line; `None` at the end.
    pub async fn next_head(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.unread.windows(4).position(|w| w == b"\r\n\r\n") {
                let head = self.unread.split_to(end + 4);
                return Some(String::from_utf8(head.to_vec()).expect("a head of plain text"));
            }
            if !self.more().await {
                assert!(self.unread.is_empty(), "half a head: {:?}", self.unread);
                return None;
            }
        }
    }

    /// Reads so many bytes.
    pub async fn exactly(&mut self, size: usize) -> Bytes {
        while self.unread.len() < size {
            assert!(
                self.more().await,
                "closed after {} bytes",
                self.unread.len()
            );
        }
        self.unread.split_to(size).freeze()
    }

    /// Reads to the end, polite or not.
    pub async fn rest(&mut self) -> Bytes {
        while self.more().await {}
        self.unread.split().freeze()
    }

    /// Reads one HTTP/1 answer whose length is given.
    pub async fn answer(&mut self) -> Answer {
        let head = self.head().await;
        let mut answer = Answer::read_head(&head);
        let length = answer.headers.get("content-length").map(|length| {
            let length = length.to_str().expect("digits");
            length.parse().expect("a number")
        });
        answer.body = self.exactly(length.unwrap_or(0)).await;
        answer
    }

    /// What has been read and not taken.
    pub fn seen(&self) -> &[u8] {
        &self.unread
    }

    /// Reads more of it; false at the end, polite or not.
    pub async fn more(&mut self) -> bool {
        matches!(self.stream.read_buf(&mut self.unread).await, Ok(1..))
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").finish_non_exhaustive()
    }
}
