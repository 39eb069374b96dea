//! Moving a visitor's connection to the shard on which its tunnel lives.

use std::io;
use std::sync::Arc;

use rustls::server::Accepted;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::serve::Arrival;
use super::sniff::Opening;
use crate::session::ShardId;

/// Connections that wait for one shard: 1024. When it is full they stay where they are.
const INBOX: usize = 1024;

/// A visitor's connection before it is served.
#[derive(Debug)]
pub enum Visit<S> {
    /// TLS: the ClientHello has been read, the handshake goes on where it is served.
    Tls {
        /// The handshake so far.
        accepted: Box<Accepted>,
        /// The socket.
        stream: S,
        /// When and from where.
        arrival: Arrival,
    },
    /// Plain HTTP: the first bytes have been read.
    Plain {
        /// The socket and its first bytes.
        opening: Opening<S>,
        /// When and from where.
        arrival: Arrival,
    },
}

/// One between two shards, with the reactor of neither.
pub type Detached = Visit<std::net::TcpStream>;

impl<S> Visit<S> {
    /// The same on another form of the socket.
    fn on<T>(self, other: impl FnOnce(S) -> io::Result<T>) -> io::Result<Visit<T>> {
        Ok(match self {
            Self::Tls {
                accepted,
                stream,
                arrival,
            } => Visit::Tls {
                accepted,
                stream: other(stream)?,
                arrival,
            },
            Self::Plain { opening, arrival } => Visit::Plain {
                opening: opening.on(other)?,
                arrival,
            },
        })
    }
}

impl Visit<TcpStream> {
    /// Leaves the reactor of this shard.
    pub(super) fn detach(self) -> io::Result<Detached> {
        self.on(TcpStream::into_std)
    }
}

impl Detached {
    /// Joins the reactor of this shard.
    pub(crate) fn attach(self) -> io::Result<Visit<TcpStream>> {
        self.on(TcpStream::from_std)
    }
}

/// The inboxes of all shards.
#[derive(Debug, Clone)]
pub struct Handover(Arc<[mpsc::Sender<Detached>]>);

impl Handover {
    /// Makes an inbox for each of `shards` shards and returns their other ends in order.
    pub fn new(shards: usize) -> (Self, Vec<mpsc::Receiver<Detached>>) {
        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..shards).map(|_| mpsc::channel(INBOX)).unzip();
        (Self(senders.into()), receivers)
    }

    /// Sends a connection to a shard; gives it back if that shard cannot take it now.
    #[expect(
        clippy::result_large_err,
        reason = "a box would cost every connection an allocation, and few are given back"
    )]
    pub(super) fn send(&self, shard: ShardId, visit: Detached) -> Result<(), Detached> {
        let Some(inbox) = self.0.get(shard.0) else {
            return Err(visit);
        };
        inbox.try_send(visit).map_err(|full| full.into_inner())
    }
}
