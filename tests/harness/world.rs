//! A server and its clients, in this process.

use std::fmt;
use std::fs::File;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ngrnotok::client::{Client, ClientError, Config as ClientConfig, Tunnel};
use ngrnotok::connect::Connector;
use ngrnotok::inspect::Recorder;
use ngrnotok::local::{Options, Target};
use ngrnotok::opener::Opener;
use ngrnotok::requests::Requests;
use ngrnotok::resend::Resender;
use ngrnotok::status::{State, Status};
use ngrnotok_certs::dev::DevAuthority;
use ngrnotok_certs::tls::{Trust, client_config};
use ngrnotok_certs::{Identities, Identity};
use ngrnotok_common::hostname::HostPort;
use ngrnotok_server::auth::{Anonymous, Auth};
use ngrnotok_server::edge::HttpMode;
use ngrnotok_server::names::Names;
use ngrnotok_server::registry::Registry;
use ngrnotok_server::session::Session;
use ngrnotok_server::{Addresses, Config, Server};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::origin::{Origin, any_port};
use crate::visitor::{Via, Visitor};
use crate::wire::{Stream, Wire};
use crate::{eventually, soon};

/// What every server of the tests is called.
pub const DOMAIN: &str = "tunnel.test";

/// A server with its clients; all of it ends on drop.
#[derive(Debug)]
pub struct World {
    authority: Arc<DevAuthority>,
    server: Option<RunningServer>,
    addresses: Addresses,
    registry: Registry,
    kept: Kept,
    /// In the order in which they were planned.
    pub clients: Vec<RunningClient>,
}

/// What a server has in common with the one before it: its state folder, and how long visitors wait.
#[derive(Debug, Clone)]
struct Kept {
    auth: Auth,
    names: Names,
    offline_wait: Duration,
}

/// Changes a server's settings.
type Adjust = Box<dyn FnOnce(&mut Config)>;

/// What a [`World`] will be made of.
pub struct Plan {
    authority: Arc<DevAuthority>,
    settings: Vec<Adjust>,
    /// For hosts outside the domain.
    certificates: Vec<Identity>,
    clients: Vec<(String, Origin)>,
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan").finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct RunningServer {
    stop: CancellationToken,
    run: AbortOnDropHandle<bool>,
}

impl World {
    /// A server with https and plain http for visitors, two shards, and no need for tokens.
    pub fn plan() -> Plan {
        Plan {
            authority: Arc::new(DevAuthority::generate().expect("an authority")),
            settings: Vec::new(),
            certificates: Vec::new(),
            clients: Vec::new(),
        }
    }

    /// A server with one client, whose tunnel is called `app`.
    pub async fn of(app: &Origin) -> Self {
        Self::plan().client("app", app).start().await
    }

    /// Where the server listens.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Where links are opened.
    pub fn gate(&self) -> SocketAddr {
        let tunnel = self.addresses.tunnel.first();
        *tunnel.unwrap_or_else(|| &self.addresses.https[0])
    }

    /// Where visitors come in.
    pub fn door(&self, via: Via) -> SocketAddr {
        match via.is_tls() {
            true => self.addresses.https[0],
            false => self.addresses.http[0],
        }
    }

    /// The host of a name as visitors write it, with the port.
    pub fn authority(&self, via: Via, name: &str) -> String {
        format!("{}:{}", host(name), self.door(via).port())
    }

    /// How many names are held.
    pub fn names(&self) -> usize {
        self.registry.len()
    }

    /// How many streams are open for visitors of a name; `None` if nobody serves it.
    pub fn open_streams(&self, name: &str) -> Option<usize> {
        Some(self.session(name)?.open_streams())
    }

    /// How many links the session has that serves a name; `None` if nobody does.
    pub fn open_links(&self, name: &str) -> Option<usize> {
        Some(self.session(name)?.links())
    }

    fn session(&self, name: &str) -> Option<Session> {
        let host = host(name);
        let host = HostPort::parse(&host).expect("a good host");
        Some(self.registry.lookup(&host).ok()?.session)
    }

    /// A visitor of the tunnel `name`.
    pub async fn visitor(&self, via: Via, name: &str) -> Visitor {
        let authority = self.authority(via, name);
        let door = soon(
            "the edge to take a connection",
            TcpStream::connect(self.door(via)),
        );
        let stream = door.await.expect("the edge listens");
        if via.is_tls() {
            let stream = self.tls(stream, &host(name), via.alpn()).await;
            return Visitor::on(stream, via, authority).await;
        }
        Visitor::on(stream, via, authority).await
    }

    /// A visitor of `app`.
    pub async fn visit(&self, via: Via) -> Visitor {
        self.visitor(via, "app").await
    }

    /// A visitor who speaks bytes: inside TLS to `name`, or in clear.
    pub async fn wire(&self, via: Via, name: &str) -> Wire {
        let stream = TcpStream::connect(self.door(via)).await;
        let stream = stream.expect("the edge listens");
        if via.is_tls() {
            return Wire::new(self.tls(stream, &host(name), via.alpn()).await);
        }
        Wire::new(stream)
    }

    async fn tls(&self, stream: TcpStream, name: &str, alpn: &[u8]) -> impl Stream + use<> {
        let config = client_config(self.trust(), &[alpn]).expect("a good authority");
        let name = ServerName::try_from(name.to_owned()).expect("a good name");
        let connected = TlsConnector::from(config).connect(name, stream);
        let stream = soon("TLS with the edge", connected).await;
        stream.expect("the edge speaks TLS")
    }

    /// Trust in this server and no other.
    pub fn trust(&self) -> Trust {
        Trust::Roots(vec![self.authority.certificate()])
    }

    /// What another server shows that wants to be taken for this one.
    pub fn identity(&self, name: &str) -> Identity {
        let names = [name.to_owned()];
        self.authority.issue(&names).expect("an identity")
    }

    /// What a client of this server is made of.
    pub fn client(&self, name: &str, target: Target) -> ClientConfig {
        let gate = self.gate().port();
        let connector = Connector::new("localhost", gate, self.trust()).expect("a good host");
        ClientConfig::new(connector, None, vec![tunnel(name, target)])
    }

    /// One more client, online.
    pub async fn join(&self, name: &str, app: &Origin) -> RunningClient {
        let client = RunningClient::start(self.client(name, app.target())).await;
        let mut client = client.unwrap_or_else(|error| panic!("{name}: {error}"));
        client.app = Some(app.clone());
        client
    }

    /// Tells the server to stop; its end is awaited with [`World::server_ended`].
    pub fn stop_server(&self) {
        let server = self.server.as_ref().expect("it runs");
        server.stop.cancel();
    }

    /// Waits for the end of the server; says whether every request could finish.
    pub async fn server_ended(&mut self) -> bool {
        let server = self.server.take().expect("it runs");
        let end = soon("the end of the server", server.run).await;
        end.expect("the server does not panic")
    }

    /// Starts another server in the place of one that has ended: same ports, same authority, same state.
    pub async fn restart_server(&mut self) {
        assert!(self.server.is_none(), "the old one has ended");
        let (again, kept) = (self.addresses.clone(), self.kept.clone());
        let mut plan = Plan {
            authority: Arc::clone(&self.authority),
            ..Self::plan()
        };
        plan = plan.server(move |config| {
            config.https = again.https;
            config.http = again.http;
            config.tunnel = again.tunnel;
            config.auth = kept.auth;
            config.names = kept.names;
            config.offline_wait = kept.offline_wait;
        });
        let world = plan.start().await;
        self.server = world.server;
        self.registry = world.registry;
    }
}

impl Plan {
    /// Changes the server's settings.
    pub fn server(mut self, adjust: impl FnOnce(&mut Config) + 'static) -> Self {
        self.settings.push(Box::new(adjust));
        self
    }

    /// Gives the server a certificate for a host of its own.
    pub fn certificate(mut self, host: &str) -> Self {
        let identity = self.authority.issue(&[host.to_owned()]);
        self.certificates.push(identity.expect("an identity"));
        self
    }

    /// Adds a client with the tunnel `name`.
    pub fn client(mut self, name: &str, app: &Origin) -> Self {
        self.clients.push((name.to_owned(), app.clone()));
        self
    }

    /// Starts the server, and when it listens the clients, and waits until all are online.
    pub async fn start(self) -> World {
        let names = [
            DOMAIN.to_owned(),
            format!("*.{DOMAIN}"),
            "localhost".to_owned(),
        ];
        let identity = self.authority.issue(&names).expect("an identity");
        let identities = Identities::new(identity, self.certificates);
        let mut config = Config {
            https: vec![any_port()],
            http: vec![any_port()],
            http_mode: HttpMode::Serve,
            identities: Some(identities.expect("keys that fit")),
            shards: NonZeroUsize::new(2).expect("two"),
            drain_limit: Duration::from_secs(8),
            settling: Duration::ZERO,
            ..Config::new(DOMAIN, Auth::new(None, Anonymous::Always))
        };
        for adjust in self.settings {
            adjust(&mut config);
        }
        let kept = Kept {
            auth: config.auth.clone(),
            names: config.names.clone(),
            offline_wait: config.offline_wait,
        };
        let server = Server::bind(config).expect("the server starts");
        let mut world = World {
            kept,
            authority: self.authority,
            addresses: server.addresses().clone(),
            registry: server.registry().clone(),
            server: Some(run_server(server)),
            clients: Vec::new(),
        };
        for (name, app) in self.clients {
            let client = world.join(&name, &app).await;
            world.clients.push(client);
        }
        world
    }
}

/// Where visitors find a name, which may be a whole host.
fn host(name: &str) -> String {
    match name.contains('.') {
        true => name.to_owned(),
        false => format!("{name}.{DOMAIN}"),
    }
}

fn run_server(server: Server) -> RunningServer {
    let stop = CancellationToken::new();
    let run = server.run(stop.clone().cancelled_owned());
    RunningServer {
        stop,
        run: AbortOnDropHandle::new(TaskTracker::new().spawn(run)),
    }
}

/// One tunnel, as a client is told of it.
pub fn tunnel(name: &str, target: Target) -> Tunnel {
    Tunnel {
        name: name.parse().expect("a good name"),
        target,
        options: Options::default(),
        pool: None,
    }
}

/// A client that has come online; dropping it breaks its link.
#[derive(Debug)]
pub struct RunningClient {
    /// What it says of itself.
    pub status: watch::Receiver<Status>,
    /// What goes by.
    pub requests: Requests,
    /// What records it, if it was told to.
    pub recorder: Recorder,
    /// What sends it again.
    pub resender: Resender,
    /// What opens and closes further tunnels.
    pub opener: Opener,
    stop: CancellationToken,
    run: AbortOnDropHandle<Result<(), ClientError>>,
    /// Lives as long as its tunnel.
    app: Option<Origin>,
}

impl RunningClient {
    /// Starts a client and waits until it is online, or has given up.
    pub async fn start(config: ClientConfig) -> Result<Self, ClientError> {
        let mut client = Self::launch(config)?;
        let first = async {
            tokio::select! {
                Ok(_) = client.status.wait_for(|status| status.state == State::Online) => Ok(()),
                ended = &mut client.run => ended.expect("the client does not panic"),
            }
        };
        soon("the client to be online", first).await?;
        Ok(client)
    }

    /// Starts a client and does not wait.
    pub fn launch(config: ClientConfig) -> Result<Self, ClientError> {
        let mut client = Client::new(config)?;
        let status = client.status();
        let requests = client.take_requests().expect("taken once");
        let (recorder, resender) = (client.recorder(), client.resender());
        let opener = client.opener();
        let stop = CancellationToken::new();
        let run = TaskTracker::new().spawn(client.run(stop.clone().cancelled_owned()));
        Ok(Self {
            status,
            requests,
            recorder,
            resender,
            opener,
            stop,
            run: AbortOnDropHandle::new(run),
            app: None,
        })
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&self) -> bool {
        self.run.is_finished()
    }

    /// Where visitors of its only tunnel go.
    pub fn url(&self) -> String {
        let status = self.status.borrow();
        status.online.first().expect("it is online").url.clone()
    }

    /// The id of its session, as text.
    pub fn session(&self) -> String {
        let status = self.status.borrow();
        let session = status.session.as_ref();
        session.expect("it is online").id.to_string()
    }

    /// Waits until the client is in a state.
    pub async fn is(&mut self, what: &str, state: impl FnMut(&Status) -> bool) {
        let waited = soon(what, self.status.wait_for(state)).await;
        drop(waited.expect("the client lives"));
    }

    /// Tells it to stop; its end is awaited with [`RunningClient::ended`].
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Resolves at its end, whenever that comes.
    pub async fn run(self) -> Result<(), ClientError> {
        self.run.await.expect("the client does not panic")
    }

    /// The end of one that has ended, or is about to.
    pub async fn end(&mut self) -> Result<(), ClientError> {
        (&mut self.run).await.expect("the client does not panic")
    }

    /// Waits for its end, which is near.
    pub async fn ended(self) -> Result<(), ClientError> {
        soon("the end of the client", self.run()).await
    }

    /// Ends it without a word, like a process that is killed; `kept` is its state folder.
    pub async fn kill(self, kept: &Path) {
        drop(self);
        // Its process would be gone at once; its tasks take a moment.
        eventually("the files to be unlocked", async || {
            let files = std::fs::read_dir(kept).expect("it keeps something");
            let mut files = files.map(|file| {
                let file = file.expect("a file");
                File::open(file.path()).expect("a file that is there")
            });
            files.all(|file| file.try_lock().is_ok())
        })
        .await;
    }

    /// Stops it and waits for its end.
    pub async fn leave(self) {
        self.stop();
        self.ended().await.expect("it leaves in peace");
    }
}
