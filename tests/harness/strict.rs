//! HTTP/1.1 to the letter (RFC 9112): what is not written exactly so is called wrong, not guessed at.
//! Both ends use it: local apps that must not be smuggled anything, and visitors who read an answer.

use std::fmt;
use std::io;

use bytes::{Bytes, BytesMut};
use ngrnotok_common::socket::Socket;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};

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

/// The start line and the fields of a message.
#[derive(Debug, Clone)]
pub struct Head {
    /// The three parts of the start line.
    pub start: [String; 3],
    /// Names as they were written.
    pub fields: Vec<(String, Bytes)>,
}

/// Where a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes are left of it.
    Length(u64),
    /// Its last chunk ends it.
    Chunked(Chunk),
    /// The end of the connection ends it.
    UntilClose,
}

/// Where in a chunk the reader stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chunk {
    /// Before the size of the first.
    First,
    /// So many bytes before its end.
    Data(usize),
    /// Behind its data.
    After,
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
                let size = self.unread.len().min((*left).try_into().unwrap_or(usize::MAX));
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

impl Head {
    /// Reads a head with the blank line that ends it (RFC 9112 §2.1).
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut lines = Vec::new();
        let mut rest = bytes;
        while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
            lines.push(&rest[..end]);
            rest = &rest[end + 2..];
        }
        for line in &lines {
            if let Some(odd) = line.iter().find(|byte| **byte != b'\t' && byte.is_ascii_control()) {
                return Err(format!("{odd:#04x} in {:?}", line.escape_ascii().to_string()));
            }
        }
        let start = String::from_utf8_lossy(lines.first().ok_or("nothing")?).into_owned();
        let parts: Vec<&str> = start.splitn(3, ' ').collect();
        let [first, second, third] = parts[..] else {
            return Err(format!("start line {start:?}"));
        };
        if first.is_empty() || second.is_empty() || start.contains('\t') {
            return Err(format!("start line {start:?}"));
        }
        let fields = lines[1..].iter().filter(|line| !line.is_empty());
        Ok(Self {
            start: [first, second, third].map(ToOwned::to_owned),
            fields: fields.map(|line| field(line)).collect::<Result<_, _>>()?,
        })
    }

    /// The values of a field.
    pub fn all(&self, name: &str) -> Vec<&[u8]> {
        let named = self.fields.iter();
        let named = named.filter(|(field, _)| field.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_ref()).collect()
    }

    /// The body of a request; it may be framed in one way only (RFC 9112 §6.3).
    pub fn request_framing(&self) -> Result<Framing, String> {
        if !matches!(self.start[2].as_str(), "HTTP/1.1" | "HTTP/1.0") || !is_token(self.start[0].as_bytes()) {
            return Err(format!("start line {:?}", self.start));
        }
        if self.start[1].bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
            return Err(format!("target {:?}", self.start[1]));
        }
        if self.start[2] == "HTTP/1.1" && self.all("host").len() != 1 {
            return Err(format!("hosts: {:?}", self.all("host")));
        }
        Ok(self.framing()?.unwrap_or(Framing::Length(0)))
    }

    /// The body of an answer to a request of this method.
    pub fn answer_framing(&self, method: &str) -> Result<Framing, String> {
        match self.status()? {
            100..=199 | 204 | 304 => Ok(Framing::Length(0)),
            _ if method == "HEAD" => Ok(Framing::Length(0)),
            _ => Ok(self.framing()?.unwrap_or(Framing::UntilClose)),
        }
    }

    /// The status of an answer.
    pub fn status(&self) -> Result<u16, String> {
        let [version, status, _] = &self.start;
        let known = matches!(version.as_str(), "HTTP/1.1" | "HTTP/1.0") && status.len() == 3;
        let status = status.parse().ok().filter(|_| known);
        status.ok_or_else(|| format!("status line {:?}", self.start))
    }

    fn framing(&self) -> Result<Option<Framing>, String> {
        let lengths = self.all("content-length");
        let codings = self.all("transfer-encoding");
        match (&lengths[..], &codings[..]) {
            ([], []) => Ok(None),
            ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") => {
                Ok(Some(Framing::Chunked(Chunk::First)))
            }
            ([length], []) if length.iter().all(u8::is_ascii_digit) => {
                let length = std::str::from_utf8(length).ok();
                let length = length.and_then(|length| length.parse().ok());
                Ok(Some(Framing::Length(length.ok_or("an odd length")?)))
            }
            _ => Err(format!("framed by lengths {lengths:?} and codings {codings:?}")),
        }
    }
}

/// `name: value` (RFC 9112 §5): no folding, no space before the colon.
fn field(line: &[u8]) -> Result<(String, Bytes), String> {
    let colon = line.iter().position(|byte| *byte == b':');
    let (name, value) = line.split_at(colon.unwrap_or(0));
    if !is_token(name) {
        return Err(format!("field {}", line.escape_ascii()));
    }
    let name = String::from_utf8_lossy(name).into_owned();
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let value = &value[1..];
    let from = value.iter().position(|byte| !is_space(byte));
    let to = value.iter().rposition(|byte| !is_space(byte));
    let value = from.zip(to).map_or(&[][..], |(from, to)| &value[from..=to]);
    Ok((name, Bytes::copy_from_slice(value)))
}

/// RFC 9110 §5.6.2.
fn is_token(name: &[u8]) -> bool {
    let special = b"!#$%&'*+-.^_`|~";
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || special.contains(byte);
    !name.is_empty() && name.iter().all(is_part)
}
