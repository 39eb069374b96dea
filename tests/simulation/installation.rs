//! One installation of the client: the real client, its state folder and its way to the network.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use ngrnotok::client::{ClientError, Config, Pool};
use ngrnotok::connect::Connector;
use ngrnotok::local::Target;
use ngrnotok::requests::Happening;
use ngrnotok::status::{State, Status};
use ngrnotok_common::id::SessionId;
use ngrnotok_common::secret::Secret;
use ngrnotok_tests::program::Scratch;
use ngrnotok_tests::tasks::Tasks;
use ngrnotok_tests::world::{RunningClient, tunnel};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::network::Cable;
use crate::server::{HOST, trust};
use crate::story::Part;

/// A client, running or not.
#[derive(Debug)]
pub(crate) struct Installation {
    pub(crate) part: Part,
    pub(crate) cable: Cable,
    /// The folder of this seed, and which one in it is ours.
    folder: PathBuf,
    connector: Connector,
    token: Secret,
    pub(crate) running: Option<Running>,
    pub(crate) memory: Arc<Memory>,
    /// Others who have a copy of our state, or we of theirs.
    pub(crate) has_copies: bool,
}

/// A run of the client.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) client: RunningClient,
    pub(crate) was_online: bool,
    pub(crate) was_told_to_leave: bool,
    /// Nothing was in its way when it began.
    pub(crate) was_sure: bool,
    _watch: Tasks,
}

/// What is known of an installation from all its runs.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    sessions: Mutex<HashSet<SessionId>>,
    /// When it did not get a name, and what it was told.
    refusals: Mutex<Vec<Refusal>>,
}

/// That somebody did not get a name.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) at: Instant,
    pub(crate) said: String,
}

impl Installation {
    pub(crate) fn new(
        part: Part,
        cable: Cable,
        token: Secret,
        scratch: &Scratch,
        id: usize,
    ) -> Self {
        let dial = cable.clone();
        let connector = Connector::new(HOST, 443, trust()).expect("a good host");
        Self {
            part,
            cable,
            folder: scratch.path().join(id.to_string()),
            connector: connector.over(move || dial.clone().dial()),
            token,
            running: None,
            memory: Arc::default(),
            has_copies: false,
        }
    }

    /// Another one of the same account.
    pub(crate) fn another(&self, part: Part, cable: Cable, scratch: &Scratch, id: usize) -> Self {
        Self::new(part, cable, self.token.clone(), scratch, id)
    }

    /// Whether its client is there, and has not been told to leave.
    pub(crate) fn runs(&self) -> bool {
        let running = self.running.as_ref();
        running.is_some_and(|running| !running.was_told_to_leave && !running.client.has_ended())
    }

    /// Starts the client, if it does not run. `is_sure`: nothing is in its way.
    pub(crate) fn start(&mut self, is_sure: bool) {
        if self.running.is_some() {
            return;
        }
        let tunnels = self.part.names.iter().map(|name| {
            let mut tunnel = tunnel(name, Target::Hello);
            tunnel.pool = self.part.pool.then(Pool::default);
            tunnel
        });
        let config = Config {
            links: self.part.links,
            state: self.part.keeps.then(|| self.folder.clone()),
            ..Config::new(
                self.connector.clone(),
                Some(self.token.clone()),
                tunnels.collect(),
            )
        };
        let client = RunningClient::launch(config).expect("a good client");
        let watch = Tasks::default();
        watch.spawn(remember(client.status.clone(), Arc::clone(&self.memory)));
        self.running = Some(Running {
            client,
            was_online: false,
            was_told_to_leave: false,
            was_sure: is_sure,
            _watch: watch,
        });
    }

    /// Ends the client without a word.
    pub(crate) async fn kill(&mut self) {
        if let Some(running) = self.running.take() {
            match self.part.keeps && self.folder.exists() {
                true => running.client.kill(&self.folder).await,
                false => drop(running),
            }
        }
    }

    /// Gives the other one a copy of what a restart needs.
    pub(crate) fn copy_to(&mut self, other: &mut Self) {
        let Ok(files) = fs::read_dir(&self.folder) else {
            return;
        };
        fs::create_dir_all(&other.folder).expect("a folder can be made");
        for file in files {
            let file = file.expect("a file");
            fs::copy(file.path(), other.folder.join(file.file_name()))
                .expect("a file can be copied");
        }
        (self.has_copies, other.has_copies) = (true, true);
        lock(&other.memory.sessions).extend(lock(&self.memory.sessions).iter());
    }

    /// The session in which it has names and wants to keep them.
    pub(crate) fn session(&self) -> Option<SessionId> {
        let running = self.running.as_ref()?;
        let status = running.client.status.borrow();
        let session = status.session.as_ref()?.id;
        (status.state == State::Online && !running.was_told_to_leave).then_some(session)
    }

    /// Whether it believes that visitors can reach a name.
    pub(crate) fn is_online(&self, name: &str) -> bool {
        self.running.as_ref().is_some_and(|running| {
            let status = running.client.status.borrow();
            status.state == State::Online
                && status
                    .online
                    .iter()
                    .any(|tunnel| tunnel.name.as_str() == name)
        })
    }

    /// The paths of the requests that went by.
    pub(crate) fn take_requests(&mut self) -> Vec<String> {
        let Some(running) = &mut self.running else {
            return Vec::new();
        };
        let mut paths = Vec::new();
        while let Some(happening) = running.client.requests.next_now() {
            if let Happening::Request(seen) = happening {
                paths.push(seen.uri.path().to_owned());
            }
        }
        paths
    }

    /// How it ended, if it has by itself.
    pub(crate) async fn take_end(&mut self) -> Option<(Running, Result<(), ClientError>)> {
        let ended = |running: &mut Running| running.client.has_ended();
        let mut running = self.running.take_if(ended)?;
        let end = running.client.end().await;
        Some((running, end))
    }
}

impl Memory {
    /// Whether a session was ever its own.
    pub(crate) fn knows(&self, session: SessionId) -> bool {
        lock(&self.sessions).contains(&session)
    }

    /// Nothing is known to those who come after.
    pub(crate) fn forget(&self) {
        lock(&self.sessions).clear();
    }

    /// All that were ever its own.
    pub(crate) fn sessions(&self) -> Vec<SessionId> {
        lock(&self.sessions).iter().copied().collect()
    }

    /// What it was told since this was last asked.
    pub(crate) fn take_refusals(&self) -> Vec<Refusal> {
        std::mem::take(&mut lock(&self.refusals))
    }
}

async fn remember(mut status: watch::Receiver<Status>, memory: Arc<Memory>) {
    loop {
        {
            let now = status.borrow_and_update();
            if let Some(session) = &now.session {
                lock(&memory.sessions).insert(session.id);
            }
            let mut refusals = lock(&memory.refusals);
            let refused = |said: &String| Refusal {
                at: Instant::now(),
                said: said.clone(),
            };
            refusals.extend(now.refused.iter().map(|tunnel| refused(&tunnel.reason)));
            if let State::Reconnecting { reason, .. } | State::Ended { reason } = &now.state
                && reason.starts_with("the name ")
            {
                refusals.push(refused(reason));
            }
        }
        if status.changed().await.is_err() {
            return;
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().expect("nothing panics under this lock")
}
