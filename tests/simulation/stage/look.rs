//! What is looked at at each step.

use std::time::Duration;

use ngrnotok::client::ClientError;
use ngrnotok_common::id::SessionId;
use tokio::time::Instant;

use super::Stage;
use crate::installation::{Installation, Running};
use crate::judge::Complaint;
use crate::visit::Visit;

/// From one visitor to the next.
const VISIT: Duration = Duration::from_secs(3);

impl Stage {
    /// Looks whether all is as it must be.
    pub(super) async fn look(&mut self) -> Result<(), Complaint> {
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

    pub(super) fn listen_to_clients(&mut self) {
        for (who, installation) in self.installations.iter_mut().enumerate() {
            if let Some(session) = installation.session() {
                self.judge.takes_up(session);
            }
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
            self.note(&format!("{who} has ended: {ended:?}"));
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
                // A request may come right behind the welcome, and be answered before that is read.
                Some(one) if one.part.names.contains(&&**name) && self.may_be_of(one, *session) => {
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

    fn may_be_of(&self, one: &Installation, session: SessionId) -> bool {
        one.memory.knows(session)
            || !self
                .installations
                .iter()
                .any(|other| other.memory.knows(session))
    }
}
