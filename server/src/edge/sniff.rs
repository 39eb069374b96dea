//! The first bytes of a plain connection: which protocol it speaks and for whom it is.
//!
//! hyper's own detection waits for them without an end; here the caller holds the clock.

use std::io;
use std::ops::Range;

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
    /// Where in `first` the host stands.
    host: Option<Range<usize>>,
    stream: S,
}

/// Reads until the protocol and the host are known, or cannot be known soon.
///
/// Errors: the socket's, or end of file before the first byte.
pub(super) async fn opening(mut stream: TcpStream) -> io::Result<Opening<TcpStream>> {
    let mut first = BytesMut::with_capacity(1024);
    loop {
        let before = first.len();
        if stream.read_buf(&mut first).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // Only with a line that ends is there more to see, and a head may come by the byte.
        if before > 0 && first.len() < LOOK && !first[before..].contains(&b'\n') {
            continue;
        }
        let (protocol, host) = if first.starts_with(PREFACE) {
            (Protocol::Http2, None)
        } else if PREFACE.starts_with(&first) {
            continue;
        } else {
            match look(&first) {
                Seen::Half if first.len() < LOOK => continue,
                Seen::Half => (Protocol::Http1, None),
                Seen::Enough(host) => (Protocol::Http1, host),
            }
        };
        return Ok(Opening {
            protocol,
            first,
            host,
            stream,
        });
    }
}

/// What the first bytes of HTTP/1 show.
enum Seen {
    /// More of the head must come.
    Half,
    /// A head, and where its host stands; or something that is none, which is for hyper to refuse at once.
    Enough(Option<Range<usize>>),
}

/// Fields that are looked through for a host. A head with more is served on the shard that accepted it.
const FIELDS: usize = 100;

fn look(bytes: &[u8]) -> Seen {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut head = httparse::Request::new(&mut fields);
    match head.parse(bytes) {
        Ok(parsed) if parsed.is_partial() => Seen::Half,
        Ok(_) => {
            let mut fields = head.headers.iter();
            let host = fields.find(|field| field.name.eq_ignore_ascii_case("host"));
            Seen::Enough(host.map(|host| {
                let start = host.value.as_ptr().addr() - bytes.as_ptr().addr();
                start..start + host.value.len()
            }))
        }
        Err(_) => Seen::Enough(None),
    }
}

impl<S> Opening<S> {
    /// The `Host` of the first head, if it is there. Only a hint for where to serve the connection:
    /// the request itself is read and judged by hyper.
    pub(super) fn host(&self) -> Option<&str> {
        std::str::from_utf8(&self.first[self.host.clone()?]).ok()
    }

    /// The same on another form of the socket.
    pub(super) fn on<T>(self, other: impl FnOnce(S) -> io::Result<T>) -> io::Result<Opening<T>> {
        Ok(Opening {
            protocol: self.protocol,
            first: self.first,
            host: self.host,
            stream: other(self.stream)?,
        })
    }

    /// The connection as if nothing had been read.
    pub(super) fn into_stream(self) -> Rewound<S> {
        Rewound::new(self.first.freeze(), self.stream)
    }
}
