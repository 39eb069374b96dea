//! One process of the server: the real gate and the real registry behind the network's address.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use ngrnotok_certs::Identities;
use ngrnotok_certs::dev::DevAuthority;
use ngrnotok_certs::tls::{Trust, link_server_config};
use ngrnotok_common::protocol::ALPN;
use ngrnotok_server::auth::{Anonymous, Auth};
use ngrnotok_server::gate::{Gate, Keeping, Sessions};
use ngrnotok_server::names::{NameRules, Names};
use ngrnotok_server::registry::Registry;
use ngrnotok_server::session::ShardId;
use ngrnotok_server::store::Store;
use ngrnotok_server::urls::{PublicUrls, Scheme};
use ngrnotok_tests::tasks::Tasks;
use ngrnotok_tests::world::DOMAIN;
use rustls::ServerConfig;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_rustls::LazyConfigAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::network::{End, Fate, Network, ServerId};
use crate::story::Rules;

/// What the server is called by those who dial it.
pub(crate) const HOST: &str = "gate.tunnel.test";

/// A server that stops when it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) id: ServerId,
    pub(crate) registry: Registry,
    /// Links and sessions.
    pub(crate) tasks: TaskTracker,
    network: Network,
    gate: Arc<Gate>,
    _door: Tasks,
}

/// Certificates are dear, and none of this is about them: all seeds share them.
static AUTHORITY: LazyLock<DevAuthority> =
    LazyLock::new(|| DevAuthority::generate().expect("an authority"));

static IDENTITIES: LazyLock<Identities> = LazyLock::new(|| {
    let identity = AUTHORITY.issue(&[HOST.to_owned(), format!("*.{DOMAIN}")]);
    Identities::new(identity.expect("an identity"), Vec::new()).expect("it has a name")
});

static TLS: LazyLock<Arc<ServerConfig>> =
    LazyLock::new(|| link_server_config(IDENTITIES.clone(), &[ALPN]).expect("a good identity"));

/// Trust in this server and no other.
pub(crate) fn trust() -> Trust {
    Trust::Roots(vec![AUTHORITY.certificate()])
}

impl Server {
    /// Starts a process that answers from now on. `store` is what it finds on its disk.
    pub(crate) fn start(network: &Network, id: ServerId, store: &Store, rules: &Rules) -> Self {
        let registry = Registry::new(DOMAIN, Duration::ZERO);
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let names = NameRules {
            hold: rules.hold,
            ..NameRules::default()
        };
        let keeping = Keeping {
            grace: rules.grace,
            patience: Duration::from_secs(5),
            most_away: NonZeroU32::new(1024).expect("not zero"),
        };
        let names = Names::new(Some(store.clone()), names);
        let gate = Arc::new(Gate {
            auth: Auth::new(Some(store.clone()), Anonymous::Never),
            names: names.clone(),
            sessions: Sessions::new(
                registry.clone(),
                names,
                keeping,
                tasks.clone(),
                stop.clone(),
            ),
            tls: Arc::clone(&TLS),
            region: None,
            urls: PublicUrls::new(DOMAIN, Some(Scheme::Https), None, &[], &[]),
            identities: IDENTITIES.clone(),
            tasks: tasks.clone(),
            drain: CancellationToken::new(),
            drain_limit: Duration::from_secs(30),
            stop,
            most_requests: rules.most_requests,
            oldest_link: rules.oldest_link,
        });
        let door = Tasks::default();
        door.spawn(accept(network.listen(id), Arc::clone(&gate)));
        Self {
            id,
            registry,
            tasks,
            network: network.clone(),
            gate,
            _door: door,
        }
    }

    /// Ends it without a word; with its machine, if `silently`.
    pub(crate) fn kill(self, silently: bool) {
        let fate = match silently {
            true => Fate::Forgotten,
            false => Fate::Reset,
        };
        self.network.close(self.id, silently);
        self.network.end_server(self.id, fate);
    }

    /// It will listen no more. Its successor may.
    pub(crate) fn close(&self) {
        self.network.close(self.id, false);
    }

    /// Lets it end in good order, in the steps of the real one: its clients are told, then visitors need
    /// their time, then the links have 2 s.
    pub(crate) async fn drain(self, visitors: Duration) {
        self.gate.drain.cancel();
        sleep(visitors).await;
        self.gate.stop.cancel();
        self.tasks.close();
        let _ = timeout(Duration::from_secs(2), self.tasks.wait()).await;
        self.network.end_server(self.id, Fate::Reset);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.gate.stop.cancel();
    }
}

async fn accept(mut arrivals: mpsc::Receiver<End>, gate: Arc<Gate>) {
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 4000));
    while let Some(stream) = arrivals.recv().await {
        let (gate, tasks) = (Arc::clone(&gate), gate.tasks.clone());
        tasks.spawn(async move {
            let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream);
            if let Ok(Ok(hello)) = timeout(Duration::from_secs(10), hello).await {
                gate.link(ShardId(0), Box::new(hello), peer).await;
            }
        });
    }
}
