//! Where a story is played: it lets time go by, looks at everything at each step, and in the end wants all
//! to be well.

mod end;
mod look;

use std::collections::HashMap;
use std::time::Duration;

use ngrnotok_server::auth::create_token;
use ngrnotok_server::store::Store;
use ngrnotok_tests::dice::Dice;
use ngrnotok_tests::program::Scratch;
use ngrnotok_tests::tasks::Tasks;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::installation::Installation;
use crate::judge::{Complaint, Judge, LOOK, route};
use crate::network::{Fate, Network, ServerId};
use crate::server::Server;
use crate::story::{Event, Part, Rules, Story};
use crate::visit::{Visit, visit};

/// Everybody there is.
#[derive(Debug)]
pub(crate) struct Stage {
    rules: Rules,
    network: Network,
    store: Store,
    scratch: Scratch,
    server: Option<Server>,
    servers: u64,
    /// Servers that have a successor and end.
    old: Tasks,
    installations: Vec<Installation>,
    judge: Judge,
    dice: Dice,
    visits: JoinSet<Visit>,
    visited: u64,
    next_visit: Instant,
    /// Who has answered which request.
    answered: HashMap<String, usize>,
    /// Nothing is broken any more.
    is_whole: bool,
    /// Since when, or since when somebody who had begun before has begun anew.
    whole: Instant,
    began: Instant,
    /// What happened when.
    pub(crate) log: Vec<String>,
    /// How long it took until all were back.
    pub(crate) back: Duration,
}

impl Stage {
    /// Everybody is there who is there from the beginning.
    pub(crate) async fn set(seed: u64, rules: Rules, cast: Vec<Part>) -> Self {
        let network = Network::default();
        let store = Store::in_memory().expect("memory");
        let scratch = Scratch::new();
        let mut tokens = HashMap::new();
        let mut installations = Vec::new();
        for (id, part) in cast.into_iter().enumerate() {
            if !tokens.contains_key(part.account) {
                let token = create_token(&store, part.account).await.expect("a token");
                tokens.insert(part.account, token);
            }
            let token = tokens[part.account].clone();
            installations.push(Installation::new(
                part,
                network.cable(),
                token,
                &scratch,
                id,
            ));
        }
        let now = Instant::now();
        let mut stage = Self {
            rules,
            network,
            store,
            scratch,
            server: None,
            servers: 0,
            old: Tasks::default(),
            installations,
            judge: Judge::default(),
            dice: Dice::of(seed).split(),
            visits: JoinSet::new(),
            visited: 0,
            next_visit: now,
            answered: HashMap::new(),
            is_whole: false,
            whole: now,
            began: now,
            log: Vec::new(),
            back: Duration::ZERO,
        };
        stage.start_server();
        stage.start_who_stays();
        stage
    }

    /// Plays what happens, then waits for all to be well, and for nothing to be left when all are gone.
    pub(crate) async fn play(&mut self, events: &[(Duration, Event)]) -> Result<(), Complaint> {
        for (after, event) in events {
            self.pass(*after).await?;
            self.note(&format!("{event:?}"));
            self.happen(*event).await;
            self.look().await?;
        }
        self.mend();
        self.all_come_back().await?;
        self.all_leave().await
    }

    /// Lets time go by, and looks.
    async fn pass(&mut self, time: Duration) -> Result<(), Complaint> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            sleep(LOOK.min(end - Instant::now())).await;
            self.look().await?;
        }
        Ok(())
    }

    async fn happen(&mut self, event: Event) {
        match event {
            Event::Silence(who) => self.installations[who].cable.set_silent(true),
            Event::Heal(who) => self.installations[who].cable.set_silent(false),
            Event::Forget(who) => self.installations[who].cable.end(Fate::Forgotten),
            Event::Reset(who) => self.installations[who].cable.end(Fate::Reset),
            Event::Delay(who, delay) => self.installations[who].cable.set_delay(delay),
            Event::KillServer { silently } => {
                if let Some(server) = self.server.take() {
                    server.kill(silently);
                }
            }
            Event::DrainServer { visitors, handover } => {
                if let Some(server) = self.server.take() {
                    match handover {
                        true => self.start_server(),
                        false => server.close(),
                    }
                    self.old.spawn(server.drain(visitors));
                }
            }
            Event::StartServer => self.start_server(),
            Event::Kill(who) => self.kill(who).await,
            Event::Start(who) => self.installations[who].start(false),
            Event::Leave(who) => self.leave(who),
            Event::Copy(who) => self.copy(who),
        }
    }

    fn start_server(&mut self) {
        if self.server.is_none() {
            self.servers += 1;
            let id = ServerId(self.servers);
            self.server = Some(Server::start(&self.network, id, &self.store, &self.rules));
        }
    }

    fn start_who_stays(&mut self) {
        for installation in &mut self.installations {
            if installation.part.stays {
                installation.start(self.is_whole);
            }
        }
    }

    async fn kill(&mut self, who: usize) {
        self.listen_to_clients();
        let killed = &mut self.installations[who];
        killed.kill().await;
        if !killed.part.keeps {
            // Whoever comes next does not know of it.
            killed.memory.forget();
        }
    }

    fn leave(&mut self, who: usize) {
        let leaving = &mut self.installations[who];
        if let Some(running) = &mut leaving.running {
            running.client.stop();
            running.was_told_to_leave = true;
            self.judge.gives_up(leaving);
        }
    }

    fn copy(&mut self, who: usize) {
        let id = self.installations.len();
        let original = &mut self.installations[who];
        let part = Part {
            stays: false,
            ..original.part.clone()
        };
        if !part.keeps || part.pool {
            return;
        }
        let cable = self.network.cable();
        let mut copy = original.another(part, cable, &self.scratch, id);
        original.copy_to(&mut copy);
        copy.start(false);
        self.installations.push(copy);
    }

    /// Nothing is in anybody's way any more.
    fn mend(&mut self) {
        self.note("all is whole");
        for installation in &self.installations {
            installation.cable.set_silent(false);
            installation.cable.set_delay(Duration::from_millis(20));
        }
        self.start_server();
        (self.is_whole, self.whole) = (true, Instant::now());
        self.start_who_stays();
    }

    fn names(&self) -> Vec<Box<str>> {
        let names = self
            .server
            .iter()
            .flat_map(|server| server.registry.names());
        names.map(|(name, _)| name).collect()
    }

    fn send_visitor(&mut self, name: &str, is_sure: bool) {
        let server = self.server.as_ref().expect("it has names");
        if let Some(route) = route(&server.registry, name) {
            self.visited += 1;
            let path = format!("/{}", self.visited);
            self.visits
                .spawn(visit(route, name.to_owned(), path, is_sure));
        }
    }

    fn note(&mut self, what: &str) {
        let at = self.began.elapsed().as_secs_f64();
        self.log.push(format!("{at:8.3} {what}"));
    }
}

/// Plays the story of a seed. Tells how long it took until all were back, or what went wrong and all that
/// led to it.
pub(crate) async fn play(seed: u64) -> Result<Duration, String> {
    let Story {
        rules,
        cast,
        events,
    } = Story::of(seed);
    let told = format!("{rules:?}\n{cast:#?}");
    let mut stage = Stage::set(seed, rules, cast).await;
    match stage.play(&events).await {
        Ok(()) => Ok(stage.back),
        Err(complaint) => {
            stage.note(&complaint);
            Err(format!("{told}\n{}", stage.log.join("\n")))
        }
    }
}
