//! Where a story is played: it lets time go by, looks at everything at each step, and in the end wants all
//! to be well.

use std::collections::HashMap;
use std::time::Duration;

use ngrnotok::client::ClientError;
use ngrnotok_server::auth::create_token;
use ngrnotok_server::store::Store;
use ngrnotok_tests::dice::Dice;
use ngrnotok_tests::program::Scratch;
use ngrnotok_tests::tasks::Tasks;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::installation::{Installation, Running};
use crate::judge::{Complaint, Judge, LOOK, route};
use crate::network::{Fate, Network, ServerId};
use crate::server::Server;
use crate::story::{Event, Part, Rules, Story};
use crate::visit::{Visit, visit};

/// By when a client is back once it has a way to a server: the longest backoff, 15 s, a silence that is
/// noticed only now, 8 s, and the limits of a try that has begun before, 10 s for each of its steps.
const BACK: Duration = Duration::from_secs(15 + 8 + 20);

/// After this a silent link is known for what it is, with time for the news.
const SILENCE: Duration = Duration::from_secs(9);

/// From one visitor to the next.
const VISIT: Duration = Duration::from_secs(3);

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
            self.note(format!("{event:?}"));
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
        let leaving = &self.installations[who];
        if let Some(running) = &leaving.running {
            running.client.stop();
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
        self.note("all is whole".to_owned());
        for installation in &self.installations {
            installation.cable.set_silent(false);
            installation.cable.set_delay(Duration::from_millis(20));
        }
        self.start_server();
        (self.is_whole, self.whole) = (true, Instant::now());
        self.start_who_stays();
    }

    async fn all_come_back(&mut self) -> Result<(), Complaint> {
        while let Some((who, name)) = self.missing() {
            let took = self.whole.elapsed();
            // With rivals it may be the turn of another one first, who is not there.
            let limit = match self.has_rivals(&who, name) {
                true => BACK + self.rules.grace + BACK,
                false => BACK,
            };
            if took > limit {
                let states: Vec<_> = who.iter().map(|who| self.state(*who)).collect();
                return Err(format!("{name} is missing after {took:?}: {states:?}"));
            }
            self.pass(LOOK).await?;
        }
        self.back = self.whole.elapsed();
        self.note("all are back".to_owned());
        // A further link may be silent, and nobody knows of it yet.
        self.pass(SILENCE).await?;
        for name in self.names() {
            // Others are kept for somebody who is gone.
            if self.installations.iter().any(|one| one.is_online(&name)) {
                self.send_visitor(&name, true);
            }
        }
        while !self.visits.is_empty() {
            self.pass(LOOK).await?;
        }
        Ok(())
    }

    /// A name that nobody serves, or not all who share it, and those who want it.
    fn missing(&self) -> Option<(Vec<usize>, &'static str)> {
        let registry = &self.server.as_ref()?.registry;
        let all = self.installations.iter().flat_map(|one| one.part.names);
        for name in all {
            let wanting = self.installations.iter().enumerate().filter(|(_, one)| {
                one.runs()
                    && one.part.names.contains(name)
                    && self.judge.may_have(one, name, &self.rules)
            });
            let (who, wanting): (Vec<_>, Vec<_>) = wanting.unzip();
            let serving = wanting.iter().filter(|one| {
                let route = route(registry, name);
                let is_routed = route.is_some_and(|route| {
                    one.part.pool
                        || one.memory.knows(route.session.id()) && route.session.is_online()
                });
                one.is_online(name) && is_routed
            });
            let serving = serving.count();
            let wanted = match wanting.iter().all(|one| one.part.pool) {
                true => wanting.len(),
                false => 1.min(wanting.len()),
            };
            if serving < wanted {
                return Some((who, name));
            }
        }
        None
    }

    /// Whether others want a name, who may have it.
    fn has_rivals(&self, who: &[usize], name: &str) -> bool {
        let mut all = self.installations.iter().enumerate();
        all.any(|(other, one)| {
            let is_one_of_us = who.contains(&other) && (who.len() == 1 || one.part.pool);
            one.part.names.contains(&name) && !(is_one_of_us && one.part.keeps)
        })
    }

    async fn all_leave(&mut self) -> Result<(), Complaint> {
        for who in 0..self.installations.len() {
            match self.dice.once_in(2) {
                true => self.kill(who).await,
                false => self.leave(who),
            }
        }
        self.pass(self.rules.grace + Duration::from_secs(15))
            .await?;
        let everybody = 0..self.installations.len();
        let mut left = everybody.filter(|who| self.installations[*who].running.is_some());
        if let Some(who) = left.next() {
            return Err(format!("{} does not end", self.state(who)));
        }
        let server = self.server.as_ref().expect("it was started");
        if !server.registry.is_empty() || !server.tasks.is_empty() {
            let (names, tasks) = (server.registry.names(), server.tasks.len());
            return Err(format!(
                "all are gone, and these are left: {names:?}, {tasks} tasks"
            ));
        }
        Ok(())
    }

    /// Looks whether all is as it must be.
    async fn look(&mut self) -> Result<(), Complaint> {
        self.listen_to_clients();
        self.look_at_ends().await?;
        if let Some(server) = &self.server {
            let (all, rules) = (&self.installations, &self.rules);
            self.judge.look(server.id, &server.registry, rules, all)?;
            for (who, one) in all.iter().enumerate() {
                for refusal in one.memory.take_refusals() {
                    self.judge.refused(who, &refusal, rules, all)?;
                }
            }
        }
        while let Some(visit) = self.visits.try_join_next() {
            self.check(&visit.expect("visitors do not panic"))?;
        }
        if Instant::now() >= self.next_visit {
            self.next_visit += VISIT;
            let names = self.names();
            if !names.is_empty() {
                let name = self.dice.pick(&names);
                self.send_visitor(&name, false);
            }
        }
        Ok(())
    }

    fn listen_to_clients(&mut self) {
        for (who, installation) in self.installations.iter_mut().enumerate() {
            for path in installation.take_requests() {
                self.answered.insert(path, who);
            }
            let is_online = installation
                .part
                .names
                .iter()
                .any(|name| installation.is_online(name));
            if let Some(running) = &mut installation.running {
                running.was_online |= is_online;
            }
        }
    }

    async fn look_at_ends(&mut self) -> Result<(), Complaint> {
        for who in 0..self.installations.len() {
            let Some((
                Running {
                    was_online,
                    was_sure,
                    ..
                },
                ended,
            )) = self.installations[who].take_end().await
            else {
                continue;
            };
            let installation = &self.installations[who];
            self.judge.gives_up(installation);
            let tries_again = self.is_whole && installation.part.stays;
            let may_be = match &ended {
                // Told to leave, or refused; that is looked at elsewhere.
                Ok(()) | Err(ClientError::NameTaken(_)) => true,
                Err(ClientError::TakenOver) => installation.has_copies,
                // The first try is for somebody who watches.
                Err(ClientError::Unreachable(_) | ClientError::Session(_)) => {
                    !was_online && !was_sure
                }
                Err(_) => false,
            };
            self.note(format!("{who} has ended: {ended:?}"));
            if !may_be {
                return Err("which it must not".to_owned());
            }
            if tries_again
                && matches!(
                    ended,
                    Err(ClientError::Unreachable(_) | ClientError::Session(_))
                )
            {
                self.whole = Instant::now();
                self.installations[who].start(true);
            }
        }
        Ok(())
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

    /// Whether the right one has answered.
    fn check(&self, visit: &Visit) -> Result<(), Complaint> {
        let Visit {
            name,
            path,
            is_sure,
            session,
            answer,
        } = visit;
        match answer {
            Err(_) if !is_sure => Ok(()),
            Err(cause) => Err(format!("a visitor of {name} was told {cause}")),
            Ok(()) => match self.answered.get(path).map(|who| &self.installations[*who]) {
                // It was killed with its answer under way.
                None if !is_sure => Ok(()),
                Some(one) if one.part.names.contains(&&**name) && one.memory.knows(*session) => {
                    Ok(())
                }
                Some(one) => Err(format!(
                    "{name} is of {session:?}, and {:?} has answered",
                    one.part
                )),
                None => Err(format!(
                    "nobody has answered a visitor of {name}, and he has an answer"
                )),
            },
        }
    }

    fn note(&mut self, what: String) {
        let at = self.began.elapsed().as_secs_f64();
        self.log.push(format!("{at:8.3} {what}"));
    }

    fn state(&self, who: usize) -> String {
        let running = &self.installations[who].running;
        let state = running
            .as_ref()
            .map(|running| running.client.status.borrow().clone());
        format!("{who}: {state:?}")
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
            stage.note(complaint);
            Err(format!("{told}\n{}", stage.log.join("\n")))
        }
    }
}
