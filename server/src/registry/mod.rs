//! Who serves which name.

mod entry;
mod remembered;

use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry as Place;
use dashmap::mapref::multiple::RefMulti;
use ngrnotok_common::hostname::{HostPort, Name};
use ngrnotok_common::id::TunnelId;
use ngrnotok_common::prefix::Prefix;
use ngrnotok_common::protocol::cause::Cause;
use thiserror::Error;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use self::entry::{Entry, Member};
use self::remembered::Remembered;
use crate::session::{Session, Slots};

/// What the edge finds for a host name.
#[derive(Debug, Clone)]
pub struct Route {
    /// Who carries the request.
    pub session: Session,
    /// Which of the session's tunnels it is for.
    pub tunnel: TunnelId,
}

/// On whose behalf a name is claimed, and whether it may be shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// The account.
    pub account: Arc<str>,
    /// Other sessions of the account that say so, too, may join.
    pub pool: bool,
}

/// All names that are served now, labels under the domain and whole hosts outside it, shared by every shard; clones see the same names.
///
/// Deadlock: no guard of the map leaves this file; callers get clones.
#[derive(Debug, Clone)]
pub struct Registry {
    domain: Arc<str>,
    routes: Arc<DashMap<Name, Entry>>,
    /// Hosts outside the domain that may have tunnels.
    hosts: Arc<ArcSwap<HashSet<Box<str>>>>,
    /// Until then names may be missing that are about to come.
    settled: Instant,
    /// Those that are about to come for certain.
    remembered: Arc<Remembered>,
    claimed: Arc<Notify>,
    /// Places for those who wait for them.
    waiting: Arc<Slots>,
}

/// Visitors who wait for names after the start: 1024, a quarter of them from one address.
const MOST_WAITING: usize = 1024;

/// The name is held by another session.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum NameTaken {
    /// Of the same account, and one of them does not share it.
    #[error(
        "the name {0} is taken by another client of your account; to share it start both with --pool"
    )]
    NotShared(Name),
    /// Its client is there.
    #[error("the name {0} is taken by another client that is online")]
    Online(Name),
    /// Its client has lost the link and may come back.
    #[error("the name {0} is kept for another client that has just lost its connection")]
    Away(Name),
}

impl Registry {
    /// An empty registry for single labels under `domain` (lower case, no dot in front), and for whole
    /// hosts outside it. For the time of `settling` names may be missing that are about to come.
    pub fn new(domain: &str, settling: Duration) -> Self {
        Self {
            domain: domain.into(),
            routes: Arc::default(),
            hosts: Arc::default(),
            settled: Instant::now() + settling,
            remembered: Arc::default(),
            claimed: Arc::default(),
            waiting: Arc::new(Slots::new(MOST_WAITING)),
        }
    }

    /// The domain under which names live.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Finds who would serve a request for a host. Looking has no effect on who serves the next one, unlike
    /// [`Registry::assign`].
    ///
    /// Under the domain `localhost` the bare loopback names reach the only tunnel, if there is just
    /// one, because many programs cannot resolve `name.localhost`. No other host is ever routed by
    /// default: a page of a foreign site that has rebound its name to 127.0.0.1 must find nothing.
    ///
    /// Errors: [`Cause::TunnelNotFound`] for a host that could be a tunnel, [`Cause::ForeignHost`] for
    /// one that could not.
    pub fn lookup(&self, host: &HostPort<'_>) -> Result<Route, Cause> {
        self.route(host, Entry::look)
    }

    /// Decides who serves a request for a host, and counts it as that one's. Errors are those of
    /// [`Registry::lookup`].
    pub fn assign(&self, host: &HostPort<'_>) -> Result<Route, Cause> {
        self.route(host, Entry::assign)
    }

    fn route(&self, host: &HostPort<'_>, pick: fn(&Entry) -> &Route) -> Result<Route, Cause> {
        match self.label(&host.host) {
            Some(label) => self.pick(label, pick).ok_or(Cause::TunnelNotFound),
            None if &*self.domain == "localhost" && host.is_loopback() => {
                self.only(pick).ok_or(Cause::TunnelNotFound)
            }
            None => self.whole(&host.host, pick),
        }
    }

    /// Finds who serves a host outside the domain.
    fn whole(&self, host: &str, pick: fn(&Entry) -> &Route) -> Result<Route, Cause> {
        // What has no dot would be taken for a label.
        let found = host.contains('.').then(|| self.pick(host, pick)).flatten();
        found.ok_or_else(|| match self.hosts.load().contains(host) {
            true => Cause::TunnelNotFound,
            false => Cause::ForeignHost,
        })
    }

    fn pick(&self, name: &str, pick: fn(&Entry) -> &Route) -> Option<Route> {
        self.routes.get(name).map(|entry| pick(&entry).clone())
    }

    /// Decides who serves a request from this address, after a wait of at most `limit` while the clients of an earlier server may
    /// still be on their way to this one.
    ///
    /// Errors are those of [`Registry::lookup`], and [`Cause::ClientOffline`] for a name that the earlier
    /// server has served. Cancel safety: safe.
    pub async fn find(
        &self,
        from: Prefix,
        host: &HostPort<'_>,
        limit: Duration,
    ) -> Result<Route, Cause> {
        match self.assign(host) {
            Err(Cause::TunnelNotFound) => match self.expected(host) {
                Some(until) => Box::pin(self.find_later(from, host, until, limit)).await,
                None => Err(Cause::TunnelNotFound),
            },
            found => found,
        }
    }

    /// Until when a host that nobody serves may still come.
    fn expected(&self, host: &HostPort<'_>) -> Option<Instant> {
        let remembered = self.remembered(host);
        remembered.or_else(|| (Instant::now() < self.settled).then_some(self.settled))
    }

    fn remembered(&self, host: &HostPort<'_>) -> Option<Instant> {
        let name = self.label(&host.host).unwrap_or(&host.host);
        self.remembered.until(name)
    }

    async fn find_later(
        &self,
        from: Prefix,
        host: &HostPort<'_>,
        until: Instant,
        limit: Duration,
    ) -> Result<Route, Cause> {
        // Looked at anew, for a server that has just started learns only now what the earlier one served.
        let missing = || match self.remembered(host) {
            Some(_) => Cause::ClientOffline,
            None => Cause::TunnelNotFound,
        };
        let Ok(_place) = self.waiting.take(from) else {
            return Err(missing());
        };
        let found = async {
            let mut claimed = pin!(self.claimed.notified());
            loop {
                // In this order no claim falls between looking and waiting.
                claimed.as_mut().enable();
                match self.assign(host) {
                    Err(Cause::TunnelNotFound) => claimed.as_mut().await,
                    found => return found,
                }
                claimed.set(self.claimed.notified());
            }
        };
        let until = until.min(Instant::now() + limit);
        timeout_at(until, found)
            .await
            .unwrap_or_else(|_| Err(missing()))
    }

    /// Tells which names an earlier server has served. As long as `grace` they are missing like those of a
    /// session that has lost its last link, unless somebody claims them.
    pub fn remember(&self, names: HashSet<Box<str>>, grace: Duration) {
        let mut names = names;
        names.retain(|name| !self.routes.contains_key(&**name));
        self.remembered.set(names, Instant::now() + grace);
    }

    /// Whether a host may have a tunnel, served or not: it is of the form `label.domain`, or one of those
    /// that [`Registry::expect`] was told of.
    pub fn covers(&self, host: &HostPort<'_>) -> bool {
        self.label(&host.host).is_some()
            || !matches!(self.whole(&host.host, Entry::look), Err(Cause::ForeignHost))
    }

    /// Tells which hosts outside the domain may have tunnels, so that visitors who find none are told no
    /// other thing than those of names under it.
    pub fn expect(&self, hosts: HashSet<Box<str>>) {
        self.hosts.store(Arc::new(hosts));
    }

    /// The single label in front of the domain.
    fn label<'a>(&self, host: &'a str) -> Option<&'a str> {
        let label = host.strip_suffix(&*self.domain)?.strip_suffix('.')?;
        (!label.contains('.')).then_some(label)
    }

    fn only(&self, pick: fn(&Entry) -> &Route) -> Option<Route> {
        let mut routes = self.routes.iter();
        let first = routes.next()?;
        routes.next().is_none().then(|| pick(&first).clone())
    }

    /// Takes a name until the returned claim is dropped. Of two who race and do not share exactly one
    /// wins.
    pub fn claim(&self, name: Name, route: Route, terms: Terms) -> Result<Claim, NameTaken> {
        let session = route.session.clone();
        let member = Member::new(route);
        match self.routes.entry(name.clone()) {
            Place::Occupied(mut held) => {
                held.get().admits(&name, &terms)?;
                held.get_mut().members.push(member);
            }
            Place::Vacant(place) => {
                self.remembered.forget(name.as_str());
                place.insert(Entry::new(terms, member));
                self.claimed.notify_waiters();
            }
        }
        Ok(Claim {
            routes: Arc::clone(&self.routes),
            name,
            session,
        })
    }

    /// Whether a name could be claimed now.
    pub fn is_free(&self, name: &Name, terms: &Terms) -> Result<(), NameTaken> {
        match self.routes.get(name.as_str()) {
            Some(held) => held.admits(name, terms),
            None => Ok(()),
        }
    }

    /// All names that are served, and the accounts that have claimed them.
    pub fn names(&self) -> Vec<(Box<str>, Arc<str>)> {
        let of = |held: RefMulti<'_, Name, Entry>| {
            let account = Arc::clone(&held.value().terms.account);
            (held.key().as_str().into(), account)
        };
        self.routes.iter().map(of).collect()
    }

    /// How many names are served.
    pub fn len(&self) -> usize {
        self.routes.len()
    }

    /// Whether no name is served.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }
}

/// A held name, or a share in it. Dropping it gives back what this session holds and nothing else.
#[derive(Debug)]
pub struct Claim {
    routes: Arc<DashMap<Name, Entry>>,
    name: Name,
    session: Session,
}

impl Claim {
    /// From now on the name is for this tunnel of the session, and shared or not as `pool` says.
    ///
    /// Fails while others share the name and this session no longer wants that.
    pub fn renew(&self, tunnel: TunnelId, pool: bool) -> Result<(), NameTaken> {
        let Some(mut entry) = self.routes.get_mut(&self.name) else {
            return Ok(());
        };
        if entry.members.len() > 1 && !pool {
            return Err(NameTaken::NotShared(self.name.clone()));
        }
        entry.terms.pool = pool;
        if let Some(member) = entry.member(&self.session) {
            member.set_tunnel(tunnel);
        }
        Ok(())
    }

    /// Whether the local app behind this share is well; others serve as long as it is not.
    pub fn set_healthy(&self, healthy: bool) {
        if let Some(mut entry) = self.routes.get_mut(&self.name)
            && let Some(member) = entry.member(&self.session)
        {
            member.set_healthy(healthy);
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.routes.remove_if_mut(&self.name, |_, entry| {
            entry
                .members
                .retain(|member| *member.session() != self.session);
            entry.members.is_empty()
        });
        debug!(name = %self.name, "name released");
    }
}

#[cfg(test)]
mod tests;
