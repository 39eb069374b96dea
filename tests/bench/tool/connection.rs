//! One visitor's connection, with as little HTTP/1.1 in it as does: the generator shares the processor with
//! what it measures.

use std::io;
use std::time::Duration;

use clap::Args;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Where visitors go.
#[derive(Debug, Clone, Args)]
pub(crate) struct Where {
    /// The port of the public side, on 127.0.0.1.
    pub(crate) port: u16,
    /// The host they ask for. `{}` in it is a number, another one for each connection.
    #[arg(long, default_value = "app.tunnel.test")]
    host: String,
    /// How many different numbers there are.
    #[arg(long, default_value_t = 1)]
    hosts: usize,
    #[arg(long, default_value = "/bytes/1024")]
    path: String,
}

impl Where {
    /// What the visitor with this number says. `fields` end with their line breaks.
    pub(crate) fn request(&self, visitor: usize, method: &str, fields: &str) -> Vec<u8> {
        let host = self.host.replace("{}", &(visitor % self.hosts).to_string());
        let path = &self.path;
        format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\naccept: */*\r\nuser-agent: bench\r\n{fields}\r\n")
            .into_bytes()
    }

    /// The same place, another path.
    pub(crate) fn path(&self, path: &str) -> Self {
        let path = path.to_owned();
        Self {
            path,
            ..self.clone()
        }
    }
}

/// A connection of HTTP/1.1.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    /// Read so far, and not used.
    buffer: Vec<u8>,
    filled: usize,
}

/// Bodies are read in such pieces.
const PIECE: usize = 256 * 1024;

impl Connection {
    pub(crate) async fn open(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: vec![0; 16 * 1024],
            filled: 0,
        })
    }

    /// Asks, and reads the answer past its end; how long its body was.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> io::Result<u64> {
        self.stream.write_all(request).await?;
        let length = self.head(200).await?;
        let came = self.came(length);
        self.consume(came);
        let mut left = length - came as u64;
        if left > 0 && left > self.buffer.len() as u64 {
            self.buffer.resize(PIECE, 0);
        }
        while left > 0 {
            let most = left.min(self.buffer.len() as u64) as usize;
            left -= some(self.stream.read(&mut self.buffer[..most]).await?)? as u64;
        }
        Ok(length)
    }

    /// Asks, and reads the body of the answer.
    pub(crate) async fn fetch(&mut self, request: &[u8]) -> io::Result<Vec<u8>> {
        self.stream.write_all(request).await?;
        let length = self.head(200).await?;
        let came = self.came(length);
        let mut body = self.buffer[..came].to_vec();
        self.consume(came);
        body.resize(length as usize, 0);
        self.stream.read_exact(&mut body[came..]).await?;
        Ok(body)
    }

    /// Reads the head of an answer with this status; how long its body is.
    pub(crate) async fn head(&mut self, status: u16) -> io::Result<u64> {
        loop {
            let mut fields = [httparse::EMPTY_HEADER; 32];
            let mut head = httparse::Response::new(&mut fields);
            let parsed = head.parse(&self.buffer[..self.filled]);
            if let httparse::Status::Complete(end) = parsed.map_err(io::Error::other)? {
                if head.code != Some(status) {
                    return Err(io::Error::other(format!("status {:?}", head.code)));
                }
                let length = head.headers.iter();
                let length = length
                    .filter(|field| field.name.eq_ignore_ascii_case("content-length"))
                    .find_map(|field| str::from_utf8(field.value).ok()?.parse().ok());
                self.consume(end);
                return match length {
                    None if status == 101 => Ok(0),
                    length => {
                        length.ok_or_else(|| io::Error::other("an answer without Content-Length"))
                    }
                };
            }
            if self.filled == self.buffer.len() {
                return Err(io::Error::other("the head of the answer is too long"));
            }
            self.filled += some(self.stream.read(&mut self.buffer[self.filled..]).await?)?;
        }
    }

    /// How many bytes of a body of this length came with its head.
    fn came(&self, length: u64) -> usize {
        length.min(self.filled as u64) as usize
    }

    fn consume(&mut self, n: usize) {
        self.buffer.copy_within(n..self.filled, 0);
        self.filled -= n;
    }
}

/// An exchange that may take no longer.
pub(crate) async fn within<T>(
    limit: Duration,
    exchange: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    timeout(limit, exchange).await?
}

fn some(n: usize) -> io::Result<usize> {
    match n {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        n => Ok(n),
    }
}
