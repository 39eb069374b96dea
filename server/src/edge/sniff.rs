//! The first bytes of a plain connection: which protocol it speaks and for whom it is.
//!
//! hyper's own detection waits for them without an end; here the caller holds the clock.

use std::io;

use bytes::BytesMut;
use ngrnotok_common::rewound::Rewound;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// The start of every HTTP/2 connection with prior knowledge (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How far the first head is read ahead in search of its host. A longer head is served too, on the
/// shard that accepted it.
const LOOK: usize = 8 * 1024;

/// What a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// A connection whose first bytes have been read.
#[derive(Debug)]
pub struct Opening<S> {
    pub(super) protocol: Protocol,
    first: BytesMut,
    stream: S,
}

/// Reads until the protocol and the host are known, or cannot be known soon.
///
/// Errors: the socket's, or end of file before the first byte.
pub(super) async fn opening(mut stream: TcpStream) -> io::Result<Opening<TcpStream>> {
    let mut first = BytesMut::with_capacity(1024);
    loop {
        if stream.read_buf(&mut first).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let protocol = if first.starts_with(PREFACE) {
            Protocol::Http2
        } else if PREFACE.starts_with(&first) {
            continue;
        } else {
            Protocol::Http1
        };
        let known = protocol == Protocol::Http2 || !may_be_half(&first) || first.len() >= LOOK;
        if known {
            return Ok(Opening {
                protocol,
                first,
                stream,
            });
        }
    }
}

/// Whether more of a head must come. What is no head at all is for hyper to refuse, at once.
fn may_be_half(bytes: &[u8]) -> bool {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let parsed = httparse::Request::new(&mut fields).parse(bytes);
    parsed.is_ok_and(|parsed| parsed.is_partial())
}

/// Fields that are looked through for a host. A head with more is served on the shard that accepted it.
const FIELDS: usize = 100;

impl Opening<TcpStream> {
    /// The `Host` of the first head, if it is there. Only a hint for where to serve the connection:
    /// the request itself is read and judged by hyper.
    pub(super) fn host(&self) -> Option<&str> {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS];
        let mut head = httparse::Request::new(&mut fields);
        head.parse(&self.first).ok()?;
        let host = head
            .headers
            .iter()
            .find(|field| field.name.eq_ignore_ascii_case("host"))?;
        std::str::from_utf8(host.value).ok()
    }

    pub(super) fn detach(self) -> io::Result<Opening<std::net::TcpStream>> {
        Ok(Opening {
            protocol: self.protocol,
            first: self.first,
            stream: self.stream.into_std()?,
        })
    }
}

impl Opening<std::net::TcpStream> {
    pub(super) fn into_stream(self) -> io::Result<Rewound<TcpStream>> {
        let stream = TcpStream::from_std(self.stream)?;
        Ok(Rewound::new(self.first.freeze(), stream))
    }
}
