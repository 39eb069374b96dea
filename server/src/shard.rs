//! One thread of the server: its own runtime, its own listeners, its own links and visitors.
//!
//! Nothing of a request crosses threads when the visitor's connection is on the shard of its tunnel,
//! and the edge moves it there as soon as the host is known.

use std::io;
use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use ngrnotok_common::link::io::tune;
use ngrnotok_common::protocol::ALPN;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_rustls::LazyConfigAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::edge::{Arrival, Detached, Edge, Visit};
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
                        let Some(visit) = log(visit.attach()) else {
                            return;
                        };
                        log(edge.serve(visit).await);
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
            let arrival = Arrival {
                peer,
                deadline: Instant::now() + OPENING_LIMIT,
                permit: place.expect("the semaphore is never closed"),
            };
            let tasks = match door {
                // Links outlive the wait for visitors in a drain.
                Door::Tunnel => &self.gate.tasks,
                Door::Https | Door::Http => &self.edge.connections,
            };
            tasks.spawn(self.clone().enter(here, door, stream, arrival));
        }
    }

    async fn enter(self, here: ShardId, door: Door, stream: TcpStream, arrival: Arrival) {
        // One after the other, not one within the other: a connection is served for long after it was opened.
        let opened = self.open(here, door, stream, arrival).await;
        let Some(visit) = log(opened).flatten() else {
            return;
        };
        log(self.edge.serve(visit).await);
    }

    /// Waits for what tells whom a connection is for, and gives it back if it is a visitor of this shard.
    async fn open(
        &self,
        here: ShardId,
        door: Door,
        stream: TcpStream,
        arrival: Arrival,
    ) -> io::Result<Option<Visit<TcpStream>>> {
        if door == Door::Http {
            return self.edge.open_plain(here, stream, arrival).await;
        }
        let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream);
        // Boxed, so that the task of every connection in clear is not as large as this.
        let hello = Box::pin(self.edge.opens(arrival.deadline, hello)).await?;
        let for_a_link = hello
            .client_hello()
            .alpn()
            .is_some_and(|mut offered| offered.any(|protocol| protocol == ALPN));
        if !for_a_link && door == Door::Https {
            return self.edge.open_tls(here, hello, arrival);
        }
        tune(&hello.io);
        // A link is no visitor: a drain waits for visitors first and ends links afterwards.
        let (gate, hello) = (Arc::clone(&self.gate), Box::new(hello));
        self.gate.tasks.spawn(async move {
            gate.link(here, hello, arrival.peer).await;
            drop(arrival);
        });
        Ok(None)
    }
}

fn log<T>(done: io::Result<T>) -> Option<T> {
    let failed = |error: &_| debug!(%error, "connection ended before its first request");
    done.inspect_err(failed).ok()
}
