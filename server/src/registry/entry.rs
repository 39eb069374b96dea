//! What the registry holds for one name.

use std::sync::atomic::{AtomicUsize, Ordering};

use ngrnotok_common::hostname::Name;

use super::{NameTaken, Route, Terms};
use crate::session::Session;

/// Who serves one name: one session, or several of one account that share it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) terms: Terms,
    pub(super) members: Vec<Member>,
    turn: AtomicUsize,
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) route: Route,
    pub(super) healthy: bool,
}

impl Entry {
    /// A name with its first member.
    pub(super) fn new(terms: Terms, first: Member) -> Self {
        Self {
            terms,
            members: vec![first],
            turn: AtomicUsize::new(0),
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

    /// The member whose turn it is, passing over those that are away or not well.
    pub(super) fn pick(&self) -> &Route {
        let members = &self.members;
        if let [only] = &members[..] {
            return &only.route;
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let rotated =
            || (0..members.len()).map(|step| &members[(turn.wrapping_add(step)) % members.len()]);
        let usable = |member: &&Member| member.healthy && member.route.session.is_online();
        let found = rotated().find(usable).or_else(|| rotated().next());
        &found.expect("an entry without members is removed").route
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
