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

/// A visitor's connection between two shards: detached from the reactor of the one that accepted it.
#[derive(Debug)]
pub enum Visit {
    /// TLS: the ClientHello has been read, the handshake goes on where it is served.
    Tls {
        /// The handshake so far.
        accepted: Box<Accepted>,
        /// The socket.
        stream: std::net::TcpStream,
        /// When and from where.
        arrival: Arrival,
    },
    /// Plain HTTP: the first bytes have been read.
    Plain {
        /// The socket and its first bytes.
        opening: Opening<std::net::TcpStream>,
        /// When and from where.
        arrival: Arrival,
    },
}

impl Visit {
    pub(super) fn tls(accepted: Accepted, stream: TcpStream, arrival: Arrival) -> io::Result<Self> {
        Ok(Self::Tls {
            accepted: Box::new(accepted),
            stream: stream.into_std()?,
            arrival,
        })
    }

    pub(super) fn plain(opening: Opening<TcpStream>, arrival: Arrival) -> io::Result<Self> {
        Ok(Self::Plain {
            opening: opening.detach()?,
            arrival,
        })
    }
}

/// The inboxes of all shards.
#[derive(Debug, Clone)]
pub struct Handover(Arc<[mpsc::Sender<Visit>]>);

impl Handover {
    /// Makes an inbox for each of `shards` shards and returns their other ends in order.
    pub fn new(shards: usize) -> (Self, Vec<mpsc::Receiver<Visit>>) {
        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..shards).map(|_| mpsc::channel(INBOX)).unzip();
        (Self(senders.into()), receivers)
    }

    /// Sends a connection to a shard; gives it back if that shard cannot take it now.
    pub(super) fn send(&self, shard: ShardId, visit: Visit) -> Result<(), Visit> {
        let Some(inbox) = self.0.get(shard.0) else {
            return Err(visit);
        };
        inbox.try_send(visit).map_err(|full| full.into_inner())
    }
}
