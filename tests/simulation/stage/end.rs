//! How a story ends: all is mended, all come back, all leave, and nothing is left.

use std::time::Duration;

use super::Stage;
use crate::judge::{Complaint, LOOK, route};

/// By when a client is back once it has a way to a server: the longest backoff, 15 s, a silence that is
/// noticed only now, 8 s, and the limits of a try that has begun before, 10 s for each of its steps.
const BACK: Duration = Duration::from_secs(15 + 8 + 20);

/// After this a silent link is known for what it is, with time for the news.
const SILENCE: Duration = Duration::from_secs(9);

impl Stage {
    pub(super) async fn all_come_back(&mut self) -> Result<(), Complaint> {
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
        self.note("all are back");
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

    pub(super) async fn all_leave(&mut self) -> Result<(), Complaint> {
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

    fn state(&self, who: usize) -> String {
        let running = &self.installations[who].running;
        let state = running
            .as_ref()
            .map(|running| running.client.status.borrow().clone());
        format!("{who}: {state:?}")
    }
}
