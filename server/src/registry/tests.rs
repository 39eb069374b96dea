//! Whatever is claimed, shared, renewed and dropped, in whatever order, the registry says what a simple model
//! says.

use std::collections::BTreeMap;
use std::task::{Context, Poll, Waker};

use ngrnotok_common::id::SessionId;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use tokio_util::task::TaskTracker;

use super::*;
use crate::session::{Caps, Limits};

const NAMES: [&str; 3] = ["app", "blog", "docs"];

const ACCOUNTS: [&str; 2] = ["ann", "bob"];

/// Of two accounts, in turns.
const SESSIONS: usize = 5;

#[derive(Debug, Clone)]
enum Step {
    /// What the gate does for a `bind`: a session that has the name renews it.
    Bind {
        session: usize,
        name: usize,
        tunnel: u32,
        pool: bool,
    },
    Drop(Index),
    Health(Index, bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..SESSIONS, 0..NAMES.len(), 0..4_u32, any::<bool>()).prop_map(
            |(session, name, tunnel, pool)| Step::Bind { session, name, tunnel, pool }
        ),
        2 => any::<Index>().prop_map(Step::Drop),
        1 => (any::<Index>(), any::<bool>()).prop_map(|(claim, healthy)| Step::Health(claim, healthy)),
    ]
}

/// Who has a name, as anybody would write it down.
#[derive(Debug, Clone, Default)]
struct Owners {
    account: usize,
    pool: bool,
    /// Sessions, and for which of their tunnels.
    members: BTreeMap<usize, u32>,
}

/// Why not, without the name.
#[derive(Debug, PartialEq, Eq)]
enum No {
    NotShared,
    Taken,
}

impl Owners {
    fn admit(&self, account: usize, pool: bool) -> Result<(), No> {
        match (self.account == account, self.pool, pool) {
            _ if self.members.is_empty() => Ok(()),
            (true, true, true) => Ok(()),
            (true, ours, theirs) if ours != theirs => Err(No::NotShared),
            _ => Err(No::Taken),
        }
    }

    fn bind(&mut self, session: usize, tunnel: u32, pool: bool) -> Result<(), No> {
        let account = session % ACCOUNTS.len();
        match self.members.contains_key(&session) {
            true if self.members.len() > 1 && !pool => return Err(No::NotShared),
            true => {}
            false => self.admit(account, pool)?,
        }
        (self.account, self.pool) = (account, pool);
        self.members.insert(session, tunnel);
        Ok(())
    }
}

/// The registry beside its model.
struct Both {
    registry: Registry,
    sessions: Vec<Session>,
    claims: Vec<(usize, usize, Claim)>,
    model: [Owners; NAMES.len()],
}

impl Both {
    fn new() -> Self {
        let session = |_| {
            let limits = Limits::new(Caps::default());
            Session::new(
                SessionId::random(),
                Duration::ZERO,
                limits,
                TaskTracker::new(),
            )
        };
        Self {
            registry: Registry::new("tunnel.test", Duration::ZERO),
            sessions: (0..SESSIONS).map(session).collect(),
            claims: Vec::new(),
            model: Default::default(),
        }
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Bind {
                session,
                name,
                tunnel,
                pool,
            } => {
                let bound = self.bind(session, name, TunnelId(tunnel), pool);
                assert_eq!(
                    bound.map_err(|no| no_of(&no)),
                    self.model[name].bind(session, tunnel, pool)
                );
            }
            Step::Drop(which) if !self.claims.is_empty() => {
                let (session, name, claim) =
                    self.claims.swap_remove(which.index(self.claims.len()));
                drop(claim);
                self.model[name].members.remove(&session);
            }
            // Nobody has a link here, so it changes nothing.
            Step::Health(which, healthy) if !self.claims.is_empty() => {
                self.claims[which.index(self.claims.len())]
                    .2
                    .set_healthy(healthy);
            }
            Step::Drop(_) | Step::Health(..) => {}
        }
    }

    fn bind(
        &mut self,
        session: usize,
        name: usize,
        tunnel: TunnelId,
        pool: bool,
    ) -> Result<(), NameTaken> {
        let mut claims = self.claims.iter();
        if let Some((.., claim)) = claims.find(|claim| (claim.0, claim.1) == (session, name)) {
            return claim.renew(tunnel, pool);
        }
        let route = Route {
            session: self.sessions[session].clone(),
            tunnel,
        };
        let claim = self
            .registry
            .claim(label(name), route, terms(session, pool))?;
        self.claims.push((session, name, claim));
        Ok(())
    }

    fn compare(&self) {
        for (name, owners) in self.model.iter().enumerate() {
            let host = format!("{}.tunnel.test", NAMES[name]);
            let host = HostPort::parse(&host).unwrap();
            // Each has its turn, however often somebody only looks.
            let mut found = BTreeMap::new();
            for _ in 0..owners.members.len() {
                let next = self.registry.lookup(&host).unwrap();
                let Route { session, tunnel } = self.registry.assign(&host).unwrap();
                assert_eq!((&next.session, next.tunnel), (&session, tunnel));
                let session = self.sessions.iter().position(|known| *known == session);
                found.insert(session.unwrap(), tunnel.0);
            }
            assert_eq!(found, owners.members, "{host:?}");
            assert_eq!(self.registry.lookup(&host).is_ok(), !found.is_empty());
            for (account, pool) in [(0, false), (0, true), (1, false), (1, true)] {
                let is_free = self.registry.is_free(&label(name), &terms(account, pool));
                assert_eq!(
                    is_free.map_err(|no| no_of(&no)),
                    owners.admit(account, pool)
                );
            }
        }
        let mut named: Vec<_> = self.registry.names();
        named.sort();
        let owned = self
            .model
            .iter()
            .zip(NAMES)
            .filter(|(owners, _)| !owners.members.is_empty());
        let owned: Vec<_> = owned
            .map(|(owners, name)| (name.into(), ACCOUNTS[owners.account].into()))
            .collect();
        assert_eq!(named, owned);
        assert_eq!(self.registry.len(), owned.len());
    }
}

fn label(name: usize) -> Name {
    Name::label(NAMES[name]).unwrap()
}

fn terms(session: usize, pool: bool) -> Terms {
    Terms {
        account: ACCOUNTS[session % ACCOUNTS.len()].into(),
        pool,
    }
}

fn no_of(taken: &NameTaken) -> No {
    match taken {
        NameTaken::NotShared(_) => No::NotShared,
        NameTaken::Online(_) | NameTaken::Away(_) => No::Taken,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn names_are_had_by_whom_the_model_says(steps in vec(step(), 1..60)) {
        let mut both = Both::new();
        for step in &steps {
            both.take(step);
            both.compare();
        }
        both.claims.clear();
        assert!(both.registry.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn one_address_leaves_the_others_places_to_wait_in() {
    const MINUTE: Duration = Duration::from_secs(60);
    let registry = Registry::new("tunnel.test", MINUTE);
    let host = HostPort::parse("app.tunnel.test").unwrap();
    let find = |address: &str| {
        let from = Prefix::of(address.parse().unwrap());
        Box::pin(registry.find(from, &host, MINUTE))
    };
    let mut cx = Context::from_waker(Waker::noop());
    let mut waiting = Vec::new();
    let refused = loop {
        let mut visitor = find("192.0.2.1");
        match visitor.as_mut().poll(&mut cx) {
            Poll::Pending => waiting.push(visitor),
            Poll::Ready(found) => break found,
        }
    };
    assert_eq!(refused.unwrap_err(), Cause::TunnelNotFound);
    assert_eq!(waiting.len(), MOST_WAITING / 4);
    assert!(find("192.0.2.2").as_mut().poll(&mut cx).is_pending());
}
