//! A live session seen from the doors: a handle that carries requests to the tunnel client.
//!
//! The handle sits below both doors. The gate makes one when a client has logged in, the edge finds
//! it through the registry, and it works from every shard. It outlives its links: while there is none,
//! visitors wait a moment for the client to come back.

mod body;
mod count;
mod limits;
mod link;
mod lost;
mod meter;
mod paced;
mod slots;
mod upload;
mod visitors;

use std::fmt;
use std::mem::take;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use ngrnotok_common::id::{SessionId, VisitorId};
use ngrnotok_common::prefix::Prefix;
use ngrnotok_common::protocol::cause::Cause;
use ngrnotok_common::protocol::control::Naming;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

pub use body::SessionBody;
pub use count::{Count, Counted};
use limits::Within;
pub use limits::{Caps, Limits};
pub use link::Link;
pub use lost::{Lost, Unanswered};
use paced::Paced;
pub use paced::PacedEnd;
pub use slots::Slot;
pub(crate) use slots::Slots;
pub use upload::UploadError;
use visitors::Visitors;

/// Which shard of the server a link lives on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardId(pub usize);

/// A handle to one logged-in tunnel client; clones are cheap and equal.
#[derive(Clone)]
pub struct Session(Arc<Inner>);

struct Inner {
    id: SessionId,
    /// Read by every request, changed when a link comes or goes.
    links: ArcSwap<Vec<Arc<Link>>>,
    /// Told of each change of `links`, and of the end.
    changed: Notify,
    ended: AtomicBool,
    times: AtomicBool,
    upgrade_bodies: AtomicBool,
    visitors: Visitors,
    /// The shard of the newest link.
    shard: AtomicUsize,
    waiting: Slots,
    patience: Duration,
    limits: Arc<Limits>,
    uploads: TaskTracker,
}

/// Visitors of one session who wait for its client to come back: 256, half of them from one address. Nothing
/// of their bodies is read meanwhile.
const MOST_WAITING: usize = 256;

/// What became of a request for an upgrade.
#[derive(Debug)]
pub enum Switch {
    /// The local app has switched; the rest is bytes.
    Agreed(Response<()>, PacedEnd<SwitchedGuard>),
    /// The local app gave an ordinary answer.
    Refused(Response<SessionBody>),
}

/// What an upgraded stream holds until it ends: its place among the session's streams.
pub type SwitchedGuard = ((), Slot);

impl Switch {
    fn within(self, within: Option<Within>) -> Self {
        match self {
            Self::Agreed(head, end) => Self::Agreed(head, end.within(within)),
            Self::Refused(answer) => Self::Refused(answer.map(|body| body.within(within))),
        }
    }
}

/// How a new link stands to those that the session has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// It takes their place; they get no further requests.
    Replaces,
    /// It joins them.
    Joins,
}

impl Session {
    /// Makes the handle of a session that has no link yet. `patience` is how long visitors wait for
    /// one. What `limits` allow is shared with whoever else has them. Rests of uploads run on
    /// `uploads`.
    pub fn new(
        id: SessionId,
        patience: Duration,
        limits: Arc<Limits>,
        uploads: TaskTracker,
    ) -> Self {
        Self(Arc::new(Inner {
            id,
            links: ArcSwap::default(),
            changed: Notify::new(),
            ended: AtomicBool::new(false),
            times: AtomicBool::new(false),
            upgrade_bodies: AtomicBool::new(false),
            visitors: Visitors::default(),
            shard: AtomicUsize::new(0),
            waiting: Slots::new(MOST_WAITING),
            patience,
            limits,
            uploads,
        }))
    }

    /// The session's id.
    pub fn id(&self) -> SessionId {
        self.0.id
    }

    /// The shard on which requests to this session are cheapest.
    pub fn shard(&self) -> ShardId {
        ShardId(self.0.shard.load(Ordering::Relaxed))
    }

    /// Gives the session a link, until the answer is dropped. It is `counted` while it takes requests.
    pub fn attach(&self, link: Link, arrival: Arrival, counted: Counted) -> Attached {
        let link = Arc::new(link.counted(counted));
        self.0.shard.store(link.shard().0, Ordering::Relaxed);
        let before = self.0.links.rcu(|links| match arrival {
            Arrival::Replaces => vec![Arc::clone(&link)],
            Arrival::Joins => {
                let newest = [Arc::clone(&link)].into_iter();
                newest.chain(links.iter().cloned()).collect()
            }
        });
        if arrival == Arrival::Replaces {
            for link in before.iter() {
                link.retire();
            }
        }
        self.0.changed.notify_waiters();
        Attached {
            session: self.clone(),
            link,
        }
    }

    /// How many links the session has.
    pub fn links(&self) -> usize {
        self.0.links.load().len()
    }

    /// Whether the client can be reached now.
    pub fn is_online(&self) -> bool {
        self.links() > 0
    }

    /// Resolves when the client can be reached, or no longer. Cancel safety: safe.
    pub async fn becomes(&self, online: bool) {
        self.when(|| (self.is_online() == online).then_some(()))
            .await;
    }

    /// Nobody will come back: visitors who wait are told so.
    pub fn end(&self) {
        self.0.ended.store(true, Ordering::Release);
        self.0.changed.notify_waiters();
    }

    /// Carries one request to the tunnel client and returns its answer as soon as the head is there.
    /// Interim answers that come before go to `interim`. The head is taken out of `head`. `from` is the address
    /// by which the visitor is counted.
    ///
    /// Errors: [`Unanswered::Lost`] if it may be sent once more, see [`Session::send_again`];
    /// [`Cause::OverLimit`] when all streams of the link, the address or the token are taken,
    /// [`Cause::OverRate`] when the token allows no more requests now, [`Cause::ClientOffline`] when no
    /// link comes in time, [`Cause::BadFraming`] when the body breaks, [`Cause::RequestTimeout`] when it does
    /// not come, [`Cause::LinkLost`] when the link ends first. Cancel safety: dropping the future, or later the body of the answer, resets the
    /// stream with CANCEL, and the client drops its exchange with the local app.
    pub async fn send<B>(
        &self,
        from: Prefix,
        head: &mut Request<()>,
        body: B,
        interim: &mut (dyn FnMut(Response<()>) + Send),
    ) -> Result<Response<SessionBody>, Unanswered>
    where
        B: Body<Data = Bytes, Error: Into<UploadError> + Send> + Send + 'static,
    {
        let within = self.0.limits.admit()?;
        let body = Paced::new(body, within.as_ref().and_then(Within::on_bytes));
        // The copy costs two allocations; without it every blink of the link would be seen by visitors.
        let copies = body.is_end_stream();
        let link = match self.best_link() {
            Some(link) => link,
            None => Box::pin(self.next_link(from, self.0.patience)).await?,
        };
        match link
            .send(from, head, copies, body, interim, &self.0.uploads)
            .await
        {
            Ok(answer) => Ok(answer.map(|body| body.within(within))),
            Err(failure) => {
                if failure.ends_the_link() {
                    self.detach(&link);
                }
                let copy = copies.then(|| take(head));
                Err(Lost::or_not(failure, from, copy, link, within))
            }
        }
    }

    /// Whether the client wants to know how long its requests are held here.
    pub fn wants_times(&self) -> bool {
        self.0.times.load(Ordering::Relaxed)
    }

    /// It does, or not.
    pub fn tell_times(&self, wanted: bool) {
        self.0.times.store(wanted, Ordering::Relaxed);
    }

    /// Which visitors' connections the client wants to know by name.
    pub fn naming(&self) -> Option<Naming> {
        self.0.visitors.naming()
    }

    /// It wants to know these.
    pub fn tell_naming(&self, naming: Option<Naming>) {
        self.0.visitors.set_naming(naming);
    }

    /// A visitor's connection is over that the client knows by name.
    pub fn visitor_left(&self, visitor: VisitorId) {
        self.0.visitors.left(visitor);
    }

    /// The next ones that are over. Cancel safety: safe.
    pub async fn next_left(&self) -> Vec<VisitorId> {
        self.0.visitors.next_left().await
    }

    /// Whether the tunnel client can carry upgrades, as far as is known.
    pub fn carries_upgrades(&self) -> bool {
        self.best_link().is_none_or(|link| link.carries_upgrades())
    }

    /// Whether the tunnel client carries upgrades whose request has a body.
    pub fn carries_upgrade_bodies(&self) -> bool {
        self.0.upgrade_bodies.load(Ordering::Relaxed)
    }

    /// It does, or not.
    pub fn tell_upgrade_bodies(&self, carried: bool) {
        self.0.upgrade_bodies.store(carried, Ordering::Relaxed);
    }

    /// Carries a request for an upgrade, an extended CONNECT, to the tunnel client. `body` is what comes
    /// before the switch.
    ///
    /// Errors and cancel safety are those of [`Session::send`].
    pub async fn switch<B>(&self, from: Prefix, head: Request<()>, body: B) -> Result<Switch, Cause>
    where
        B: Body<Data = Bytes, Error: Into<UploadError> + Send> + Send + 'static,
    {
        let within = self.0.limits.admit()?;
        let body = Paced::new(body, within.as_ref().and_then(Within::on_bytes));
        let link = self.next_link(from, self.0.patience).await?;
        let switch = link.switch(from, head, body, &self.0.uploads).await?;
        Ok(switch.within(within))
    }

    /// Streams that are open for visitors now, on links that take requests.
    pub fn open_streams(&self) -> usize {
        self.0
            .links
            .load()
            .iter()
            .map(|link| link.open_streams())
            .sum()
    }

    /// The link with the least to do.
    fn best_link(&self) -> Option<Arc<Link>> {
        let links = self.0.links.load();
        links.iter().min_by_key(|link| link.open_streams()).cloned()
    }

    fn best_link_but(&self, other: &Arc<Link>) -> Option<Arc<Link>> {
        let links = self.0.links.load();
        let others = links.iter().filter(|link| !Arc::ptr_eq(link, other));
        others.min_by_key(|link| link.open_streams()).cloned()
    }

    /// The link with the least to do, after a wait if there is none.
    async fn next_link(&self, from: Prefix, limit: Duration) -> Result<Arc<Link>, Cause> {
        if let Some(link) = self.best_link() {
            return Ok(link);
        }
        let _place = self
            .0
            .waiting
            .take(from)
            .map_err(|_| Cause::ClientOffline)?;
        let link = self.when(|| match self.best_link() {
            Some(link) => Some(Ok(link)),
            None if self.0.ended.load(Ordering::Acquire) => Some(Err(Cause::ClientOffline)),
            None => None,
        });
        timeout(limit, link)
            .await
            .unwrap_or(Err(Cause::ClientOffline))
    }

    /// Looks again after every change.
    async fn when<T>(&self, look: impl Fn() -> Option<T>) -> T {
        let mut changed = pin!(self.0.changed.notified());
        loop {
            // In this order no change falls between looking and waiting.
            changed.as_mut().enable();
            if let Some(found) = look() {
                return found;
            }
            changed.as_mut().await;
            changed.set(self.0.changed.notified());
        }
    }

    fn detach(&self, gone: &Arc<Link>) {
        self.0.links.rcu(|links| {
            let others = links.iter().filter(|link| !Arc::ptr_eq(link, gone));
            others.cloned().collect::<Vec<_>>()
        });
        self.0.changed.notify_waiters();
    }
}

/// A link that takes requests for its session. Dropping it ends that; open streams go on.
#[derive(Debug)]
pub struct Attached {
    session: Session,
    link: Arc<Link>,
}

impl Attached {
    /// The link.
    pub fn link(&self) -> &Link {
        &self.link
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.session.detach(&self.link);
        self.link.uncount();
    }
}

impl PartialEq for Session {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Session").field(&self.0.id).finish()
    }
}
