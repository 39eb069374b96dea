//! The face for programs: what a tunnel client is made of, and how it runs.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use http::uri::PathAndQuery;
use ngrnotok_common::hostname::Name;
use ngrnotok_common::link::windows::UnreadTotal;
use ngrnotok_common::protocol::control::StopCode;
use ngrnotok_common::protocol::handshake::Problem;
use ngrnotok_common::secret::Secret;
use thiserror::Error;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::accounts::Accounts;
use crate::comeback::Comeback;
use crate::connect::{ConnectError, Connector};
use crate::connections::Connections;
use crate::inspect::Recorder;
use crate::local::{LocalError, Options, Target};
use crate::opener::Opener;
use crate::requests::{self, Requests, Witness};
use crate::resend::Resender;
use crate::session::{self, SessionError};
use crate::status::{Reporter, Status};
use crate::supervise;
use crate::tunnels::{Served, Tunnels};
use crate::wake::Sleeps;

/// Everything a client is made of.
#[derive(Debug, Clone)]
pub struct Config {
    /// How to reach the server.
    pub connector: Connector,
    /// Who we are; `None`: nobody in particular.
    pub token: Option<Secret>,
    /// What to make public.
    pub tunnels: Vec<Tunnel>,
    /// Connections to the server. One is enough for most; more stand losses and use more cores.
    pub links: NonZeroUsize,
    /// Where to keep what a restarted client needs to have its names again at once; `None`: nowhere.
    pub state: Option<PathBuf>,
    /// Where to remember whose the token is; `None`: nowhere.
    pub accounts: Option<Accounts>,
    /// What records the requests with their answers, for those who want to look.
    pub recorder: Recorder,
}

impl Config {
    /// One link, nothing recorded, and nothing kept on disk.
    pub fn new(connector: Connector, token: Option<Secret>, tunnels: Vec<Tunnel>) -> Self {
        Self {
            connector,
            token,
            tunnels,
            links: NonZeroUsize::MIN,
            state: None,
            accounts: None,
            recorder: Recorder::off(),
        }
    }
}

/// One name and the local app behind it.
#[derive(Debug, Clone)]
pub struct Tunnel {
    /// The wanted name.
    pub name: Name,
    /// The local app.
    pub target: Target,
    /// How to deal with it.
    pub options: Options,
    /// Other clients of the same account may serve the name, too.
    pub pool: Option<Pool>,
}

/// How a name is shared.
#[derive(Debug, Clone, Default)]
pub struct Pool {
    /// The local app is well while it answers a GET for this path with 2xx or 3xx; without it, while it
    /// accepts connections. Visitors go to others while it is not.
    pub health: Option<PathAndQuery>,
}

/// A client that is ready to run.
#[derive(Debug)]
pub struct Client {
    pub(crate) shared: Arc<Shared>,
    status: watch::Receiver<Status>,
    requests: Option<Requests>,
}

/// What every part of a running client works with.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) connector: Connector,
    pub(crate) token: Option<Secret>,
    pub(crate) tunnels: Tunnels,
    pub(crate) reporter: Reporter,
    pub(crate) comeback: Comeback,
    pub(crate) accounts: Option<Accounts>,
    pub(crate) links: NonZeroUsize,
    links_up: watch::Sender<usize>,
    pub(crate) sleeps: Sleeps,
    pub(crate) witness: Witness,
    pub(crate) connections: Connections,
    pub(crate) recorder: Recorder,
    /// What lies unread on all links.
    pub(crate) unread: UnreadTotal,
    /// Every exchange and every connection to a local app.
    pub(crate) tasks: TaskTracker,
}

impl Shared {
    /// How many links are open, now and whenever it changes.
    pub(crate) fn links_up(&self) -> watch::Receiver<usize> {
        self.links_up.subscribe()
    }

    /// Counts a link as open until the answer is dropped.
    pub(crate) fn link_is_up(&self) -> LinkUp<'_> {
        self.links_up.send_modify(|links| *links += 1);
        LinkUp(&self.links_up)
    }
}

/// An open link.
#[derive(Debug)]
pub(crate) struct LinkUp<'a>(&'a watch::Sender<usize>);

impl Drop for LinkUp<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|links| *links -= 1);
    }
}

/// Why a client ended that nobody told to.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// A local target cannot be served.
    #[error("{0}")]
    Local(#[from] LocalError),
    /// The server cannot be reached, or did not behave like one.
    #[error("{}. {}", .0, .0.hint())]
    Unreachable(ConnectError),
    /// The server does not let us in.
    #[error("the server refuses this client: {}{}", .0.title, hint(.0))]
    Refused(Problem),
    /// Another client has proved to be the owner of our session.
    #[error(
        "another client has taken this session over, with the same state folder or a copy of it"
    )]
    TakenOver,
    /// The name is somebody else's.
    #[error("{0}; choose another with --name, or with name = \"…\" in the config file")]
    NameTaken(String),
    /// Our token is not for this name.
    #[error("{0}; choose another with --name, or with name = \"…\" in the config file")]
    NameForbidden(String),
    /// The server does not do what we ask.
    #[error("the server refuses the tunnel {0}")]
    TunnelRefused(String),
    /// The server has ended the session for good.
    #[error("the server has ended the session: {message}")]
    Stopped {
        /// Why.
        code: StopCode,
        /// Why, and what to do, in the server's words.
        message: String,
    },
    /// The first session broke before it was up.
    #[error("{0}")]
    Session(SessionError),
}

fn hint(problem: &Problem) -> String {
    match problem.code.as_str() {
        Problem::TOKEN_MISSING => {
            ". Log in with: ngrnotok login, or give your token with --token-file FILE or in NGRNOTOK_TOKEN; the server's operator makes one with: ngrnotok-server token create --account NAME".into()
        }
        Problem::TOKEN_REFUSED
        | Problem::TOKEN_REVOKED
        | Problem::TOKEN_EXPIRED
        | Problem::TOO_MANY_FAILURES => {
            ". Ask the server's operator for another one and log in with: ngrnotok login. Where this one came from is told by: ngrnotok config check".into()
        }
        Problem::VERSION => ". Update the older of the two".into(),
        Problem::UNKNOWN => ". Is that the address of an ngrnotok-server?".into(),
        _ if problem.status == 429 || problem.status == 503 => ". Try again later".into(),
        _ => String::new(),
    }
}

impl Client {
    /// Prepares a client; nothing is connected yet.
    pub fn new(config: Config) -> Result<Self, ClientError> {
        let (reporter, status) = Reporter::new();
        let (witness, requests) = requests::channel();
        let tasks = TaskTracker::new();
        let comeback = match &config.state {
            Some(folder) => {
                let names: Vec<&Name> = config.tunnels.iter().map(|tunnel| &tunnel.name).collect();
                Comeback::kept_in(folder, &config.connector.server(), &names)
            }
            None => Comeback::in_memory(),
        };
        let tunnels = config.tunnels.into_iter();
        let tunnels = tunnels.map(|tunnel| Served::new(tunnel, None, &tasks));
        let tunnels = Tunnels::new(tunnels.collect::<Result<_, LocalError>>()?);
        Ok(Self {
            shared: Arc::new(Shared {
                connector: config.connector,
                token: config.token,
                tunnels,
                reporter,
                comeback,
                accounts: config.accounts,
                links: config.links,
                links_up: watch::Sender::new(0),
                sleeps: Sleeps::default(),
                witness,
                connections: Connections::new(),
                recorder: config.recorder,
                unread: UnreadTotal::default(),
                tasks,
            }),
            status,
            requests: Some(requests),
        })
    }

    /// The client's state, now and whenever it changes.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// How much goes through the tunnels.
    pub fn connections(&self) -> Connections {
        self.shared.connections.clone()
    }

    /// What records the exchanges of this client.
    pub fn recorder(&self) -> Recorder {
        self.shared.recorder.clone()
    }

    /// Sends recorded requests again, while the client runs.
    pub fn resender(&self) -> Resender {
        Resender::new(&self.shared, self.status.clone())
    }

    /// Opens and closes further tunnels, while the client runs.
    pub fn opener(&self) -> Opener {
        Opener::new(&self.shared, self.status.clone())
    }

    /// The requests that go by; `None` if somebody has taken them already.
    pub fn take_requests(&mut self) -> Option<Requests> {
        self.requests.take()
    }

    /// Serves until `shutdown` resolves, through every loss of the server. Then the names are given
    /// back, open requests finish (at most 10 s), and the future ends.
    ///
    /// Errors: what the user must mend, and a server that was not there at the first try. Cancel
    /// safety: dropping the future drops the link at once.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), ClientError> {
        let ended = supervise::run(&self.shared, shutdown, SystemTime::now).await;
        let tasks = self.shared.tasks.clone();
        // With the last exchange goes the pool, and with it the idle connections to the local app.
        drop(self.shared);
        tasks.close();
        let _ = tokio::time::timeout(session::FAREWELL, tasks.wait()).await;
        ended
    }
}

#[cfg(test)]
impl Client {
    /// One with a tunnel `app`, which goes nowhere by itself.
    pub(crate) fn of_a_test() -> Self {
        let authority = ngrnotok_certs::dev::DevAuthority::generate().expect("an authority");
        let trust = ngrnotok_certs::tls::Trust::Roots(vec![authority.certificate()]);
        let connector = Connector::new("tunnel.test", 443, trust).expect("a good host");
        let tunnel = Tunnel {
            name: "app".parse().expect("a good name"),
            target: Target::Hello,
            options: Options::default(),
            pool: None,
        };
        Self::new(Config::new(connector, None, vec![tunnel])).expect("a good client")
    }
}
