//! A network between two ends that can fall silent, break and heal.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ngrnotok::connect::Connector;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::origin::any_port;
use crate::tasks::Tasks;
use crate::world::World;

/// Passes connections on to one address.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    state: watch::Sender<State>,
    /// Connections wait here in the order in which they came.
    oldest: Arc<Notify>,
    _tasks: Tasks,
}

#[derive(Debug, Clone)]
struct State {
    to: SocketAddr,
    flows: bool,
    /// Cancelled when the connections of this time fall silent, whatever comes later.
    dead: CancellationToken,
    /// Cancelled when they break.
    broken: CancellationToken,
    /// Whether they break with a reset.
    resets: Arc<AtomicBool>,
}

impl State {
    fn healthy(to: SocketAddr) -> Self {
        Self {
            to,
            flows: true,
            dead: CancellationToken::new(),
            broken: CancellationToken::new(),
            resets: Arc::default(),
        }
    }
}

impl Relay {
    /// Listens, and passes everything on to `to`.
    pub async fn to(to: SocketAddr) -> Self {
        let listener = TcpListener::bind(any_port()).await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (state, _) = watch::channel(State::healthy(to));
        let tasks = Tasks::default();
        let (spawner, states) = (tasks.spawner(), state.subscribe());
        let oldest = Arc::<Notify>::default();
        let breaks = Arc::clone(&oldest);
        tasks.spawn(async move {
            while let Ok((visitor, _)) = listener.accept().await {
                let breaks = Arc::clone(&breaks);
                let passing = pass_on(visitor, states.clone());
                spawner.spawn(async move {
                    tokio::select! {
                        () = passing => {}
                        () = breaks.notified() => {}
                    }
                });
            }
        });
        Self {
            address,
            state,
            oldest,
            _tasks: tasks,
        }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The way to the world behind it.
    pub fn connector(&self, world: &World) -> Connector {
        Connector::new("localhost", self.port(), world.trust()).expect("a good host")
    }

    /// From now on nothing passes, and nobody is told; new connections are accepted and hear nothing.
    pub fn fall_silent(&self) {
        self.state.send_modify(|state| state.flows = false);
    }

    /// Nothing passes any longer on the connections that there are, and nobody is told.
    pub fn silence_the_old(&self) {
        self.state.send_modify(|state| {
            state.dead.cancel();
            *state = State {
                broken: state.broken.clone(),
                resets: Arc::clone(&state.resets),
                ..State::healthy(state.to)
            };
        });
    }

    /// Breaks the connection that has been there longest.
    pub fn break_one(&self) {
        self.oldest.notify_one();
    }

    /// Breaks all connections, and passes new ones on.
    pub fn heal(&self) {
        let to = self.state.borrow().to;
        self.lead_to(to);
    }

    /// Breaks all connections with a reset, in the midst of what is on its way, and passes new ones on.
    pub fn reset(&self) {
        self.state.borrow().resets.store(true, Ordering::Relaxed);
        self.heal();
    }

    /// Breaks all connections, and passes new ones on to another address.
    pub fn lead_to(&self, to: SocketAddr) {
        self.state.send_modify(|state| {
            state.broken.cancel();
            *state = State::healthy(to);
        });
    }
}

async fn pass_on(mut near: TcpStream, mut states: watch::Receiver<State>) {
    let State {
        to,
        dead,
        broken,
        resets,
        ..
    } = states.borrow().clone();
    let mut far = None;
    let flow = async {
        // Its guard must not be held any longer.
        let heals = states.wait_for(|state| state.flows).await.is_ok();
        if !heals {
            return;
        }
        let Ok(stream) = TcpStream::connect(to).await else {
            return;
        };
        tokio::select! {
            _ = copy_bidirectional(&mut near, far.insert(stream)) => {}
            // Silence keeps both sockets open.
            () = silence(&mut states) => std::future::pending().await,
            () = dead.cancelled() => std::future::pending().await,
        }
    };
    tokio::select! {
        () = flow => {}
        () = broken.cancelled() => {}
    }
    if resets.load(Ordering::Relaxed) {
        // What closes without lingering says so at once, and takes with it what was not yet delivered.
        for stream in [Some(near), far].into_iter().flatten() {
            let _ = stream.set_zero_linger();
        }
    }
}

async fn silence(states: &mut watch::Receiver<State>) {
    let _ = states.wait_for(|state| !state.flows).await;
}
