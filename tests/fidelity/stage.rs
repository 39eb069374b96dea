//! Where cases are played: an app for each version of HTTP, which follow a script, and the tunnels to
//! them.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};

use ngrnotok::local::Protocol;
use ngrnotok_common::socket::Socket;
use ngrnotok_tests::sockets::dial;
use ngrnotok_tests::soon;
use ngrnotok_tests::tasks::Tasks;
use ngrnotok_tests::visitor::Via;
use ngrnotok_tests::world::{RunningClient, World};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::case::Answer;
use crate::message::{End, Message};
use crate::{http1, http2};

/// What the app is to do, and what it saw.
#[derive(Debug)]
pub(crate) struct Script {
    answers: Mutex<VecDeque<Answer>>,
    seen: mpsc::Sender<Message>,
}

impl Script {
    pub(crate) fn next(&self) -> Option<Answer> {
        self.answers().pop_front()
    }

    pub(crate) fn saw(&self, message: Message) {
        let _ = self.seen.try_send(message);
    }

    pub(crate) fn saw_wrong(&self, wrong: String) {
        self.saw(Message {
            end: End::Wrong(wrong),
            ..Message::default()
        });
    }

    fn answers(&self) -> MutexGuard<'_, VecDeque<Answer>> {
        self.answers.lock().expect("nothing panics under this lock")
    }
}

/// A local app that plays what it is given.
pub(crate) struct App {
    pub(crate) address: SocketAddr,
    script: Arc<Script>,
    seen: mpsc::Receiver<Message>,
    _tasks: Tasks,
}

impl App {
    pub(crate) async fn start(speaks_http2: bool) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let (sender, seen) = mpsc::channel(64);
        let script = Arc::new(Script {
            answers: Mutex::default(),
            seen: sender,
        });
        let (tasks, script_of_all) = (Tasks::default(), Arc::clone(&script));
        let connections = tasks.spawner();
        tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                let script = Arc::clone(&script_of_all);
                connections.spawn(async move {
                    match speaks_http2 {
                        true => http2::serve(stream, script).await,
                        false => http1::Connection::new(stream).serve(&script).await,
                    }
                });
            }
        });
        Self {
            address,
            script,
            seen,
            _tasks: tasks,
        }
    }

    /// Sets what the next requests are answered.
    pub(crate) fn plays(&mut self, answers: impl IntoIterator<Item = Answer>) {
        while self.seen.try_recv().is_ok() {}
        *self.script.answers() = answers.into_iter().collect();
    }

    /// The next request that it saw, when it is over.
    pub(crate) async fn saw(&mut self, what: &str) -> Message {
        let seen = soon(what, self.seen.recv()).await;
        seen.expect("the app lives")
    }

    /// Requests that are over and nobody asked for.
    pub(crate) fn saw_more(&mut self) -> Option<Message> {
        self.seen.try_recv().ok()
    }
}

/// Both apps, and a server with a tunnel to each.
pub(crate) struct Stage {
    pub(crate) world: World,
    pub(crate) http1: App,
    pub(crate) http2: App,
    _clients: [RunningClient; 2],
}

impl Stage {
    pub(crate) async fn build() -> Self {
        let world = World::plan().start().await;
        let http1 = App::start(false).await;
        let http2 = App::start(true).await;
        let clients = [
            join(&world, name(false), http1.address, Protocol::Http1).await,
            join(&world, name(true), http2.address, Protocol::H2c).await,
        ];
        Self {
            world,
            http1,
            http2,
            _clients: clients,
        }
    }

    pub(crate) fn app(&mut self, http2: bool) -> &mut App {
        match http2 {
            true => &mut self.http2,
            false => &mut self.http1,
        }
    }

    /// What a visitor calls the app.
    pub(crate) fn authority(&self, via: Via, http2: bool) -> String {
        self.world.authority(via, name(http2))
    }

    /// A visitor's connection through the tunnel.
    pub(crate) async fn tunnel(&self, via: Via, http2: bool) -> Box<dyn Socket> {
        dial(&self.world, via, name(http2)).await
    }

    /// A visitor's connection to the app itself.
    pub(crate) async fn direct(&mut self, http2: bool) -> Box<dyn Socket> {
        let socket = TcpStream::connect(self.app(http2).address).await;
        let socket = socket.expect("the app listens");
        let _ = socket.set_nodelay(true);
        Box::new(socket)
    }
}

fn name(http2: bool) -> &'static str {
    if http2 { "two" } else { "one" }
}

/// A client whose local app speaks this protocol.
pub(crate) async fn join(
    world: &World,
    name: &str,
    app: SocketAddr,
    protocol: Protocol,
) -> RunningClient {
    let target = format!("http://{app}").parse().expect("a good target");
    let mut config = world.client(name, target);
    config.tunnels[0].options.protocol = protocol;
    let client = RunningClient::start(config).await;
    client.unwrap_or_else(|error| panic!("{name}: {error}"))
}
