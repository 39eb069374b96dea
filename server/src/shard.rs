//! One thread of the server: its own runtime, its own listeners, its own links and visitors.
//!
//! Nothing of a request crosses threads when the visitor's connection is on the shard of its tunnel,
//! and the edge moves it there as soon as the host is known.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use ngrnotok_common::link::io::tune;
use ngrnotok_common::protocol::ALPN;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_rustls::LazyConfigAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::edge::{Arrival, Detached, Edge};
use crate::gate::Gate;
use crate::listener::accept;
use crate::session::ShardId;

/// From the accept to the first bytes, and to the end of the TLS handshake.
const OPENING_LIMIT: Duration = Duration::from_secs(10);

/// What listens behind a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// TLS for visitors and links, told apart by ALPN.
    Https,
    /// Plain HTTP for visitors.
    Http,
    /// TLS for links alone.
    Tunnel,
}

/// What a shard works with; all of it shared with the others except the sockets.
pub(crate) struct Shard {
    pub(crate) id: ShardId,
    pub(crate) listeners: Vec<(Door, StdListener)>,
    pub(crate) inbox: mpsc::Receiver<Detached>,
    pub(crate) doors: Doors,
    /// Cancelled when the thread must end.
    pub(crate) end: CancellationToken,
}

/// Both doors, and the bound on what stands in them.
#[derive(Clone)]
pub(crate) struct Doors {
    pub(crate) edge: Arc<Edge>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) places: Arc<Semaphore>,
}

impl Shard {
    /// Starts the thread.
    pub(crate) fn start(self) -> io::Result<JoinHandle<()>> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        std::thread::Builder::new()
            .name(format!("shard-{}", self.id.0))
            .spawn(move || runtime.block_on(self.run()))
    }

    async fn run(mut self) {
        for (door, listener) in std::mem::take(&mut self.listeners) {
            let doors = self.doors.clone();
            let id = self.id;
            // Ends at the drain, before the tracker is asked whether all connections are done.
            self.doors.edge.connections.spawn(async move {
                if let Err(error) = doors.keep_accepting(id, door, listener).await {
                    tracing::error!(%error, "a listener cannot be used");
                }
            });
        }
        loop {
            tokio::select! {
                Some(visit) = self.inbox.recv() => {
                    let edge = Arc::clone(&self.doors.edge);
                    self.doors.edge.connections.spawn(async move {
                        log(match visit.attach() {
                            Ok(visit) => edge.serve(visit).await,
                            Err(error) => Err(error),
                        });
                    });
                }
                () = self.end.cancelled() => return,
            }
        }
    }
}

impl Doors {
    async fn keep_accepting(
        self,
        here: ShardId,
        door: Door,
        listener: StdListener,
    ) -> io::Result<()> {
        let listener = TcpListener::from_std(listener)?;
        loop {
            // A full house lets newcomers wait in the kernel's queue.
            let next = async {
                // In this order: a door that waits for somebody must hold no place.
                let arrived = accept(&listener).await;
                (arrived, Arc::clone(&self.places).acquire_owned().await)
            };
            let ((stream, peer), place) = tokio::select! {
                next = next => next,
                () = self.edge.drain.cancelled() => return Ok(()),
            };
            let place = place.expect("the semaphore is never closed");
            let doors = self.clone();
            let tasks = match door {
                // Links outlive the wait for visitors in a drain.
                Door::Tunnel => &self.gate.tasks,
                Door::Https | Door::Http => &self.edge.connections,
            };
            tasks.spawn(async move { log(doors.enter(here, door, stream, peer, place).await) });
        }
    }

    async fn enter(
        self,
        here: ShardId,
        door: Door,
        stream: TcpStream,
        peer: SocketAddr,
        permit: OwnedSemaphorePermit,
    ) -> io::Result<()> {
        let deadline = Instant::now() + OPENING_LIMIT;
        let arrival = Arrival {
            peer,
            deadline,
            permit,
        };
        if door == Door::Http {
            return self.edge.visit_plain(here, stream, arrival).await;
        }
        let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream);
        let hello = self.edge.opens(deadline, hello).await?;
        let for_a_link = hello
            .client_hello()
            .alpn()
            .is_some_and(|mut offered| offered.any(|protocol| protocol == ALPN));
        if !for_a_link && door == Door::Https {
            return self.edge.visit_tls(here, hello, arrival).await;
        }
        tune(&hello.io)?;
        // A link is no visitor: a drain waits for visitors first and ends links afterwards.
        let gate = Arc::clone(&self.gate);
        self.gate.tasks.spawn(async move {
            gate.link(here, hello, peer).await;
            drop(arrival);
        });
        Ok(())
    }
}

fn log(served: io::Result<()>) {
    if let Err(error) = served {
        debug!(%error, "connection ended before its first request");
    }
}
