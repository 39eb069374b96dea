//! What the registry holds for one name.

use std::sync::atomic::{AtomicU64, Ordering};

use ngrnotok_common::hostname::Name;
use ngrnotok_common::id::TunnelId;

use super::{NameTaken, Route, Terms};
use crate::session::Session;

/// Who serves one name: one session, or several of one account that share it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) terms: Terms,
    pub(super) members: Vec<Member>,
    /// Requests that were assigned so far.
    assigned: AtomicU64,
}

#[derive(Debug)]
pub(super) struct Member {
    route: Route,
    healthy: bool,
    /// The number of the latest request that was assigned to it.
    latest: AtomicU64,
}

impl Member {
    pub(super) fn new(route: Route) -> Self {
        Self {
            route,
            healthy: true,
            latest: AtomicU64::new(0),
        }
    }

    pub(super) fn session(&self) -> &Session {
        &self.route.session
    }

    pub(super) fn set_tunnel(&mut self, tunnel: TunnelId) {
        self.route.tunnel = tunnel;
    }

    pub(super) fn set_healthy(&mut self, healthy: bool) {
        self.healthy = healthy;
    }
}

impl Entry {
    /// A name with its first member.
    pub(super) fn new(terms: Terms, first: Member) -> Self {
        Self {
            terms,
            members: vec![first],
            assigned: AtomicU64::new(0),
        }
    }

    /// Whether somebody with these terms may join.
    pub(super) fn admits(&self, name: &Name, terms: &Terms) -> Result<(), NameTaken> {
        match &self.terms {
            ours if ours == terms && terms.pool => Ok(()),
            ours if ours.account == terms.account && ours.pool != terms.pool => {
                Err(NameTaken::NotShared(name.clone()))
            }
            _ if self.is_online() => Err(NameTaken::Online(name.clone())),
            _ => Err(NameTaken::Away(name.clone())),
        }
    }

    /// The member that the next request would be assigned to. Looking takes nobody's turn.
    pub(super) fn look(&self) -> &Route {
        &self.choose().route
    }

    /// Assigns a request to a member.
    pub(super) fn assign(&self) -> &Route {
        let member = self.choose();
        // Alone it needs no turn, and a counter that all shards write to would cost them something.
        if self.members.len() > 1 {
            let number = self.assigned.fetch_add(1, Ordering::Relaxed) + 1;
            member.latest.store(number, Ordering::Relaxed);
        }
        &member.route
    }

    /// Of those that are online and healthy the one with the fewest open requests; among equals, the one
    /// that has waited longest for one. If there is none of them, one of the others.
    fn choose(&self) -> &Member {
        if let [only] = &self.members[..] {
            return only;
        }
        let rank = |member: &&Member| {
            let session = &member.route.session;
            (
                !(member.healthy && session.is_online()),
                session.open_streams(),
                member.latest.load(Ordering::Relaxed),
            )
        };
        let chosen = self.members.iter().min_by_key(rank);
        chosen.expect("an entry without members is removed")
    }

    fn is_online(&self) -> bool {
        self.members
            .iter()
            .any(|member| member.route.session.is_online())
    }

    pub(super) fn member(&mut self, session: &Session) -> Option<&mut Member> {
        self.members
            .iter_mut()
            .find(|member| member.route.session == *session)
    }
}
