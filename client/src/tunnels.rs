//! The tunnels of a client: those that it was started with, and those that come and go while it runs.
//!
//! This is what is wanted. The conversation with the server follows it: it asks for what is new, gives back
//! what is gone, and asks for all of it anew on the next link.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use arc_swap::ArcSwap;
use ngrnotok_common::hostname::Name;
use ngrnotok_common::id::{TunnelId, VisitorId};
use ngrnotok_common::protocol::control::Naming;
use tokio::sync::{oneshot, watch};
use tokio_util::task::TaskTracker;

use crate::client::{Pool, Tunnel};
use crate::local::{Local, LocalError, Options, Sharing, Target};

/// The tunnels by their ids on the wire. No id is used twice while the client runs.
#[derive(Debug)]
pub(crate) struct Tunnels {
    /// Read by every request, changed by hand.
    wanted: ArcSwap<Wanted>,
    /// The next id, held by whoever changes them.
    next: Mutex<TunnelId>,
    /// Counts the changes.
    revision: watch::Sender<u64>,
}

/// What is wanted, in the order of the ids.
pub(crate) type Wanted = BTreeMap<TunnelId, Arc<Served>>;

/// A tunnel with its way to the local app.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) name: Name,
    pub(crate) local: Local,
    options: Options,
    pub(crate) pool: Option<Pool>,
    /// It came while the client ran: that the server refuses it is no reason to end.
    pub(crate) is_extra: bool,
    asker: Mutex<Option<Asker>>,
}

/// Hears the URL of a tunnel, or why the server does not want it.
pub(crate) type Asker = oneshot::Sender<Result<String, String>>;

impl Served {
    /// The way to the local app of a tunnel; its connections run on `tasks`. With somebody who asks for it, it
    /// is an extra one.
    pub(crate) fn new(
        tunnel: Tunnel,
        asker: Option<Asker>,
        tasks: &TaskTracker,
    ) -> Result<Self, LocalError> {
        Ok(Self {
            local: Local::new(tunnel.target, tunnel.options.clone(), tasks.clone())?,
            options: tunnel.options,
            name: tunnel.name,
            pool: tunnel.pool,
            is_extra: asker.is_some(),
            asker: Mutex::new(asker),
        })
    }

    /// The same tunnel to another local app.
    fn leading_to(&self, target: Target, tasks: &TaskTracker) -> Result<Self, LocalError> {
        Ok(Self {
            name: self.name.clone(),
            local: Local::new(target, self.options.clone(), tasks.clone())?,
            options: self.options.clone(),
            pool: self.pool.clone(),
            is_extra: self.is_extra,
            asker: Mutex::new(self.take_asker()),
        })
    }

    /// Tells who has asked for it what the server says. False if nobody waits for that, any more or ever.
    pub(crate) fn answer(&self, answer: Result<String, String>) -> bool {
        let asker = self.take_asker();
        asker.is_some_and(|asker| asker.send(answer).is_ok())
    }

    fn take_asker(&self) -> Option<Asker> {
        let mut asker = self.asker.lock().expect("nothing panics under this lock");
        asker.take()
    }
}

impl Tunnels {
    /// Those that a client is started with. They are ordered by name: a session that is taken up again knows
    /// its tunnels by their ids.
    pub(crate) fn new(mut served: Vec<Served>) -> Self {
        served.sort_by(|one, other| one.name.cmp(&other.name));
        let served = served.into_iter().map(Arc::new);
        let wanted: Wanted = (0..).map(TunnelId).zip(served).collect();
        let next = wanted.last_key_value();
        let next = next.map_or(TunnelId(0), |(last, _)| TunnelId(last.0 + 1));
        Self {
            wanted: ArcSwap::from_pointee(wanted),
            next: Mutex::new(next),
            revision: watch::Sender::new(0),
        }
    }

    /// The tunnel of a request.
    pub(crate) fn get(&self, id: TunnelId) -> Option<Arc<Served>> {
        self.wanted.load().get(&id).cloned()
    }

    /// The tunnel with this name.
    pub(crate) fn named(&self, name: &Name) -> Option<(TunnelId, Arc<Served>)> {
        let wanted = self.wanted.load();
        let (id, tunnel) = wanted.iter().find(|(_, tunnel)| tunnel.name == *name)?;
        Some((*id, Arc::clone(tunnel)))
    }

    /// All of them.
    pub(crate) fn all(&self) -> Arc<Wanted> {
        self.wanted.load_full()
    }

    /// Counts the changes, for those who follow them.
    pub(crate) fn revision(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// Which visitors the server is to name: those of whom their local connections need to know. One tunnel that
    /// needs more is reason enough.
    pub(crate) fn naming(&self) -> Naming {
        let wanted = self.wanted.load();
        let mut sharing = wanted.values().map(|tunnel| tunnel.local.sharing());
        match sharing.any(|sharing| sharing == Sharing::PerVisitor) {
            true => Naming::All,
            false => Naming::Bound,
        }
    }

    /// Connections of visitors are over.
    pub(crate) fn visitors_left(&self, visitors: Vec<VisitorId>) {
        // A server may name many in one line.
        let visitors = visitors.into_iter().collect();
        for tunnel in self.wanted.load().values() {
            tunnel.local.visitors_left(&visitors);
        }
    }

    /// Adds one. `None` if there is one with its name, or no id is left.
    pub(crate) fn add(&self, tunnel: Served) -> Option<TunnelId> {
        let mut next = self.changing();
        if self.named(&tunnel.name).is_some() {
            return None;
        }
        let id = *next;
        *next = TunnelId(id.0.checked_add(1)?);
        self.change(|wanted| {
            wanted.insert(id, Arc::new(tunnel));
        });
        Some(id)
    }

    /// Leads one to another local app; open requests go on where they are. False if there is none with this
    /// name.
    pub(crate) fn lead(
        &self,
        name: &Name,
        target: Target,
        tasks: &TaskTracker,
    ) -> Result<bool, LocalError> {
        let _changing = self.changing();
        let Some((id, tunnel)) = self.named(name) else {
            return Ok(false);
        };
        let tunnel = Arc::new(tunnel.leading_to(target, tasks)?);
        self.change(|wanted| {
            wanted.insert(id, tunnel);
        });
        Ok(true)
    }

    /// Takes one away; open requests go on.
    pub(crate) fn remove(&self, id: TunnelId) {
        let _changing = self.changing();
        if let Some(tunnel) = self.get(id) {
            // Whoever waits for it learns that it is gone.
            drop(tunnel.take_asker());
            self.change(|wanted| {
                wanted.remove(&id);
            });
        }
    }

    /// The caller holds the lock.
    fn change(&self, change: impl FnOnce(&mut Wanted)) {
        let mut wanted = Wanted::clone(&self.wanted.load());
        change(&mut wanted);
        self.wanted.store(Arc::new(wanted));
        self.revision.send_modify(|revision| *revision += 1);
    }

    fn changing(&self) -> MutexGuard<'_, TunnelId> {
        self.next.lock().expect("nothing panics under this lock")
    }
}
