//! The model: who owns which name and until when, from what the registry shows and what is known of the
//! clients. It says what must not be.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use ngrnotok_common::hostname::HostPort;
use ngrnotok_common::id::SessionId;
use ngrnotok_server::registry::{Registry, Route};
use ngrnotok_tests::world::DOMAIN;
use tokio::time::Instant;

use crate::installation::{Installation, Refusal};
use crate::network::ServerId;
use crate::story::Rules;

/// From one look to the next.
pub(crate) const LOOK: Duration = Duration::from_millis(250);

/// What somebody is told was decided no longer ago.
const NEWS: Duration = Duration::from_secs(2);

/// What must not be, in words.
pub(crate) type Complaint = String;

/// Remembers what it saw.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    server: Option<ServerId>,
    owners: HashMap<Box<str>, Owner>,
    /// Whose a name was first. With a hold it is nobody else's afterwards.
    first: HashMap<Box<str>, Arc<str>>,
    /// Sessions whose client has given them up.
    given_up: HashSet<SessionId>,
}

/// Who has a name.
#[derive(Debug)]
struct Owner {
    account: Arc<str>,
    /// One of several, if the name is shared.
    session: SessionId,
    is_shared: bool,
    /// Since when.
    since: Instant,
    /// When it was last seen to have a link.
    online: Instant,
}

impl Judge {
    /// Compares what the registry says with what it said before.
    pub(crate) fn look(
        &mut self,
        server: ServerId,
        registry: &Registry,
        rules: &Rules,
        installations: &[Installation],
    ) -> Result<(), Complaint> {
        if self.server != Some(server) {
            // A new process knows nothing of what the old one knew.
            self.owners.clear();
            self.server = Some(server);
        }
        let now = Instant::now();
        let mut owners = HashMap::new();
        for (name, account) in registry.names() {
            let Some(Route { session, .. }) = route(registry, &name) else {
                continue;
            };
            let is_shared = is_shared(&name, installations);
            let before = self.owners.remove(&name);
            if let Some(before) = &before {
                let stays = match is_shared {
                    true => before.account == account,
                    false => before.session == session.id(),
                };
                if !stays {
                    self.may_go(&name, before, rules, installations)?;
                }
            }
            let first = self.first.entry(name.clone());
            let first = first.or_insert_with(|| Arc::clone(&account));
            if *first != account && !rules.hold.is_zero() {
                return Err(format!("{name} is held for {first}, and {account} has it"));
            }
            let before = before.filter(|before| before.session == session.id());
            let online = match &before {
                Some(before) if !session.is_online() => before.online,
                _ => now,
            };
            let owner = Owner {
                account,
                session: session.id(),
                is_shared,
                since: before.map_or(now, |before| before.since),
                online,
            };
            owners.insert(name, owner);
        }
        for (name, before) in &self.owners {
            self.may_go(name, before, rules, installations)?;
        }
        self.owners = owners;
        Ok(())
    }

    /// Whether a name may have passed from its owner.
    fn may_go(
        &self,
        name: &str,
        before: &Owner,
        rules: &Rules,
        installations: &[Installation],
    ) -> Result<(), Complaint> {
        let away = before.online.elapsed();
        let has_left = self.given_up.contains(&before.session);
        // A client that leaves before it has read the welcome knows nothing of its session.
        let is_known = installations
            .iter()
            .any(|one| one.memory.knows(before.session));
        if has_left || !is_known || before.is_shared || away + LOOK * 2 >= rules.grace {
            return Ok(());
        }
        let Owner {
            account, session, ..
        } = before;
        Err(format!(
            "{name} was taken from {session:?} of {account}, who was there {away:?} ago"
        ))
    }

    /// Whether an installation can have a name at all.
    pub(crate) fn may_have(&self, one: &Installation, name: &str, rules: &Rules) -> bool {
        let first = self.first.get(name);
        rules.hold.is_zero() || first.is_none_or(|first| **first == *one.part.account)
    }

    /// A later run has taken a session up again.
    pub(crate) fn takes_up(&mut self, session: SessionId) {
        self.given_up.remove(&session);
    }

    /// Its client has given up whatever it had.
    pub(crate) fn gives_up(&mut self, installation: &Installation) {
        let given_up = installation.memory.sessions();
        self.given_up.extend(given_up);
    }

    /// Whether somebody may have been told that he cannot have a name.
    pub(crate) fn refused(
        &self,
        who: usize,
        Refusal { at, said }: &Refusal,
        rules: &Rules,
        installations: &[Installation],
    ) -> Result<(), Complaint> {
        let we = &installations[who];
        let name = said
            .strip_prefix("the name ")
            .and_then(|said| said.split(' ').next());
        let name = name.ok_or_else(|| format!("{who} was refused for {said:?}"))?;
        let first = self.first.get(name);
        let is_ours = first.is_none_or(|first| **first == *we.part.account);
        if !is_ours && !rules.hold.is_zero() {
            return Ok(());
        }
        let rivals = installations
            .iter()
            .enumerate()
            .any(|(other, they)| other != who && they.part.names.contains(&name));
        if !rivals && we.part.keeps {
            return Err(format!(
                "{who} is the only one who wants {name}, and was refused: {said}"
            ));
        }
        match self.owners.get(name) {
            Some(owner)
                if we.memory.knows(owner.session)
                    && we.part.keeps
                    && !we.has_copies
                    && owner.since + NEWS < *at =>
            {
                Err(format!("{who} has {name} and was refused it: {said}"))
            }
            _ => Ok(()),
        }
    }
}

/// Whether those who want a name share it.
fn is_shared(name: &str, installations: &[Installation]) -> bool {
    installations
        .iter()
        .any(|installation| installation.part.pool && installation.part.names.contains(&name))
}

/// Where the registry sends visitors of a name.
pub(crate) fn route(registry: &Registry, name: &str) -> Option<Route> {
    let host = format!("{name}.{DOMAIN}");
    let host = HostPort::parse(&host).expect("a good host");
    registry.lookup(&host).ok()
}
