//! The sessions that live now: what each of them owns, and who may come back to it.
//!
//! A session owns its names, not its links. When the last link is gone the names are kept for a grace
//! time, and whoever proves to be the owner gets them back at once, also from a link that is dead and does
//! not know it yet.

mod rights;

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use dashmap::DashMap;
use dashmap::mapref::entry::{Entry, VacantEntry};
use ngrnotok_common::hostname::Name;
use ngrnotok_common::id::{SessionId, TunnelId};
use ngrnotok_common::protocol::cause::Limit;
use ngrnotok_common::protocol::control::Resume;
use ngrnotok_common::protocol::resume::{ChannelBinding, Verifier, new_secret};
use ngrnotok_common::secret::Secret;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::info;

pub(super) use self::rights::Lost;
use self::rights::Rights;
use super::payer::{Log, Owners, Payer};
use crate::auth::{Bound, Forbidden, Grant};
use crate::names::{Hold, Names};
use crate::registry::{Claim, NameTaken, Registry, Route, Terms};
use crate::session::{Arrival, Attached, Link, Session};

/// Tunnels of one session: 64.
const MAX_TUNNELS: usize = 64;

/// Links of one session: 64, four times what our own client can have. Every request looks at all of them.
const MAX_LINKS: usize = 64;

/// All sessions of a server, shared by every shard; clones see the same ones.
#[derive(Debug, Clone)]
pub struct Sessions {
    live: Arc<DashMap<SessionId, Arc<Owned>>>,
    registry: Registry,
    names: Names,
    keeping: Keeping,
    owners: Owners,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// What becomes of sessions that have lost their last link.
#[derive(Debug, Clone, Copy)]
pub struct Keeping {
    /// How long their names are kept.
    pub grace: Duration,
    /// How long visitors wait for a link.
    pub patience: Duration,
    /// How many of one token are kept; one more is over at once.
    pub most_away: NonZeroU32,
}

/// A session as its owner sees it.
pub(super) struct Owned {
    session: Session,
    grant: Grant,
    log: Log,
    registry: Registry,
    right: Mutex<Right>,
    /// `None` once the session has ended. Whoever holds the lock sees either a living session or its end,
    /// and nothing between. Links take each other's places under it, so that one that has been replaced can
    /// do nothing to the session of its successor.
    names: Mutex<Option<HashMap<Name, Held>>>,
    rights: Rights,
    left: CancellationToken,
}

/// A name that a session holds, the leave of its token to hold it, and what keeps it for the account
/// afterwards.
struct Held {
    claim: Claim,
    _bound: Bound,
    _hold: Option<Hold>,
}

/// Who may come back: the holder of the newest secret. The one before it is good, too, until the newest
/// has been used, for the `welcome` that brought it may never have arrived. The first one is the client's own.
struct Right {
    newest: Verifier,
    before: Option<Verifier>,
    /// The last claim that has come, by the client's count.
    turn: u64,
}

/// A client's place in its session.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) session: Arc<Owned>,
    link: Attached,
    /// For the next return; `None` for a link that joins.
    pub(super) secret: Option<Secret>,
    pub(super) resumed: bool,
}

/// Why a link belongs to no session.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unopened {
    #[error("there is no such session to join")]
    NoSession,
    #[error("a newer link of the same client has overtaken this one")]
    Overtaken,
    #[error("a session has at most {MAX_LINKS} links")]
    SessionFull,
    #[error(
        "this token has as many links as it may ({0}): end another client that uses it, or ask the server's operator for a higher limit"
    )]
    TooManyLinks(Limit),
}

/// Why a link has not come back to a session.
enum Unresumed {
    /// It is not for one that lives; here it is again.
    Other(Link),
    Refused(Unopened),
}

/// Why a name is not bound.
#[derive(Debug, thiserror::Error)]
pub(super) enum BindError {
    #[error("{0}")]
    Taken(#[from] NameTaken),
    #[error("a session has at most {MAX_TUNNELS} tunnels")]
    TooMany,
    #[error("a name is shared within an account: --pool needs a token")]
    NobodysPool,
    #[error("{0}")]
    Forbidden(#[from] Forbidden),
    #[error("the session has ended")]
    Ended,
    #[error("another link has taken the place of this one")]
    Replaced,
}

impl Sessions {
    /// No sessions yet. Names are claimed in `registry`, for as long as `names` says. What runs for a session is one of `tasks` and ends
    /// with `stop`.
    pub fn new(
        registry: Registry,
        names: Names,
        keeping: Keeping,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        Self {
            live: Arc::default(),
            registry,
            names,
            keeping,
            owners: Owners::default(),
            tasks,
            stop,
        }
    }

    /// What the clients of one owner have in common.
    pub(super) fn owners(&self) -> &Owners {
        &self.owners
    }

    /// Gives a link to the session that its client asks for: the one it had, or else a new one.
    pub(super) fn open(
        &self,
        grant: Grant,
        payer: Payer,
        resume: Option<&Resume>,
        binding: &ChannelBinding,
        link: Link,
    ) -> Result<Opened, Unopened> {
        let mut link = link;
        if let Some(resume) = resume {
            match self.resume(&grant, resume, binding, link) {
                Ok(opened) => return Ok(opened),
                Err(Unresumed::Refused(unopened)) => return Err(unopened),
                Err(Unresumed::Other(_)) if resume.join => return Err(Unopened::NoSession),
                Err(Unresumed::Other(unused)) => link = unused,
            }
        }
        let counted = grant.link().map_err(Unopened::TooManyLinks)?;
        let secret = new_secret();
        let (place, before) = self.place(resume, binding);
        let id = *place.key();
        let limits = Arc::clone(grant.limits());
        let session = Session::new(id, self.keeping.patience, limits, self.tasks.clone());
        let link = session.attach(link, Arrival::Joins, counted);
        let owned = Arc::new(Owned {
            session,
            grant,
            log: self.owners.log(payer),
            registry: self.registry.clone(),
            right: Mutex::new(Right {
                newest: Verifier::of(&secret),
                before,
                turn: resume.and_then(|resume| resume.turn).unwrap_or(0),
            }),
            names: Mutex::new(Some(HashMap::new())),
            rights: Rights::default(),
            left: CancellationToken::new(),
        });
        place.insert(Arc::clone(&owned));
        self.tasks.spawn(self.clone().keep(Arc::clone(&owned)));
        Ok(Opened {
            session: owned,
            link,
            secret: Some(secret),
            resumed: false,
        })
    }

    /// A place for a new session: under the id that its client has given it, with what its proofs are checked
    /// with until it has read our `welcome`; or else under one of ours.
    fn place(
        &self,
        resume: Option<&Resume>,
        binding: &ChannelBinding,
    ) -> (VacantEntry<'_, SessionId, Arc<Owned>>, Option<Verifier>) {
        if let Some(Resume {
            session,
            proof,
            key: Some(key),
            ..
        }) = resume
            && let Some(verifier) = Verifier::of_key(key)
            && verifier.accepts(proof, *session, binding)
            && let Entry::Vacant(place) = self.live.entry(*session)
        {
            return (place, Some(verifier));
        }
        loop {
            if let Entry::Vacant(place) = self.live.entry(SessionId::random()) {
                return (place, None);
            }
        }
    }

    /// Only the token that a session was opened by leads back to it: what its names were allowed by must
    /// be what ends it.
    fn resume(
        &self,
        grant: &Grant,
        resume: &Resume,
        binding: &ChannelBinding,
        link: Link,
    ) -> Result<Opened, Unresumed> {
        let found = self.live.get(&resume.session).map(|live| Arc::clone(&live));
        let Some(owned) = found.filter(|owned| owned.grant.is_of_the_same_token(grant)) else {
            return Err(Unresumed::Other(link));
        };
        let mut right = owned.right();
        if !right.admits(resume, binding) {
            return Err(Unresumed::Other(link));
        }
        let names = owned.names();
        if names.is_none() {
            return Err(Unresumed::Other(link));
        }
        if resume.turn.is_some_and(|turn| turn <= right.turn) {
            return Err(Unresumed::Refused(Unopened::Overtaken));
        }
        if resume.join && owned.session.links() >= MAX_LINKS {
            return Err(Unresumed::Refused(Unopened::SessionFull));
        }
        let takes_a_place = !resume.join && owned.session.is_online();
        let counted = match takes_a_place {
            true => owned.grant.link_instead(),
            false => {
                let counted = owned.grant.link().map_err(Unopened::TooManyLinks);
                counted.map_err(Unresumed::Refused)?
            }
        };
        let (arrival, secret) = match resume.join {
            true => (Arrival::Joins, None),
            false => (Arrival::Replaces, Some(right.renew(resume, binding))),
        };
        if arrival == Arrival::Replaces {
            // Those who come back ask for their names again, and hear it then.
            owned.rights.forget();
        }
        let link = owned.session.attach(link, arrival, counted);
        drop((names, right));
        Ok(Opened {
            session: owned,
            link,
            secret,
            resumed: true,
        })
    }

    /// Lives as long as the session: waits for it to lose its last link, and then for its return. With its
    /// token it is over at once.
    async fn keep(self, owned: Arc<Owned>) {
        let session = &owned.session;
        let over = async {
            tokio::select! {
                never = owned.review(&self.names) => match never {},
                stop = owned.grant.ended() => {
                    if owned.log.admits() {
                        info!(session = %session.id(), why = stop.message, "session stopped");
                    }
                }
                () = owned.left.cancelled() => {}
                () = self.stop.cancelled() => {}
            }
        };
        let mut over = pin!(over);
        loop {
            tokio::select! {
                () = session.becomes(false) => {}
                () = &mut over => break,
            }
            // Whoever opens links only to lose them must not fill this server with what nobody will use. Without
            // names there is nothing to come back to.
            let has_names = owned
                .names()
                .as_ref()
                .is_some_and(|names| !names.is_empty());
            let away = || owned.grant.away(self.keeping.most_away);
            if let Some(_away) = has_names.then(away).flatten() {
                tokio::select! {
                    () = session.becomes(true) => continue,
                    () = sleep(self.keeping.grace) => {}
                    () = &mut over => break,
                }
            }
            let mut names = owned.names();
            if session.is_online() {
                continue;
            }
            if owned.log.admits() {
                info!(session = %session.id(), "session ended: its client did not come back");
            }
            *names = None;
            break;
        }
        *owned.names() = None;
        session.end();
        self.live.remove(&session.id());
    }
}

impl Right {
    fn admits(&self, resume: &Resume, binding: &ChannelBinding) -> bool {
        let proves = |verifier: &Verifier| verifier.accepts(&resume.proof, resume.session, binding);
        // Who joins has read the newest welcome, or has been replaced by who did.
        proves(&self.newest) || !resume.join && self.before.as_ref().is_some_and(proves)
    }

    /// The secret that was just used stays good until the new one is.
    fn renew(&mut self, used: &Resume, binding: &ChannelBinding) -> Secret {
        let secret = new_secret();
        let newest = std::mem::replace(&mut self.newest, Verifier::of(&secret));
        if newest.accepts(&used.proof, used.session, binding) {
            self.before = Some(newest);
        }
        self.turn = used.turn.unwrap_or(self.turn);
        secret
    }
}

impl Opened {
    /// The session's id, for the log.
    pub(super) fn id(&self) -> SessionId {
        self.session.session.id()
    }

    /// What the log may tell of it.
    pub(super) fn log(&self) -> &Log {
        &self.session.log
    }

    /// The client's link.
    pub(super) fn link(&self) -> &Link {
        self.link.link()
    }

    /// Whether the session has a name already, which is then from now on for this tunnel of this link.
    pub(super) fn renew(
        &self,
        name: &Name,
        tunnel: TunnelId,
        pool: bool,
    ) -> Result<bool, BindError> {
        if pool && self.session.grant.is_nobody() {
            return Err(BindError::NobodysPool);
        }
        match self.living(&mut self.session.names())?.get(name) {
            Some(held) => {
                held.claim.renew(tunnel, pool)?;
                Ok(true)
            }
            None => Ok(false),
        }
    }

    /// The token's leave for a name that the session does not have, if nothing else that this server knows
    /// stands in the way either.
    pub(super) fn may_claim(
        &self,
        kind: &str,
        name: &Name,
        pool: bool,
    ) -> Result<Bound, BindError> {
        let owned = &*self.session;
        self.room(&mut owned.names())?;
        let bound = owned.grant.bind(kind, name)?;
        owned.registry.is_free(name, &owned.terms(pool))?;
        Ok(bound)
    }

    /// Claims a name for a tunnel of this link.
    pub(super) fn claim(
        &self,
        name: Name,
        tunnel: TunnelId,
        pool: bool,
        (bound, hold): (Bound, Option<Hold>),
    ) -> Result<(), BindError> {
        let owned = &*self.session;
        let mut names = owned.names();
        if let Some(held) = self.living(&mut names)?.get(&name) {
            // Another link of the session was quicker.
            return Ok(held.claim.renew(tunnel, pool)?);
        }
        let names = self.room(&mut names)?;
        let session = owned.session.clone();
        let route = Route { session, tunnel };
        let claim = owned
            .registry
            .claim(name.clone(), route, owned.terms(pool))?;
        let held = Held {
            claim,
            _bound: bound,
            _hold: hold,
        };
        owned.rights.claimed(&name);
        names.insert(name, held);
        Ok(())
    }

    /// The names of the session, which lives and has not been left by this link.
    fn living<'a>(
        &self,
        names: &'a mut Option<HashMap<Name, Held>>,
    ) -> Result<&'a mut HashMap<Name, Held>, BindError> {
        if self.link().is_retired() {
            return Err(BindError::Replaced);
        }
        names.as_mut().ok_or(BindError::Ended)
    }

    /// The same, with room for one more.
    fn room<'a>(
        &self,
        names: &'a mut Option<HashMap<Name, Held>>,
    ) -> Result<&'a mut HashMap<Name, Held>, BindError> {
        let names = self.living(names)?;
        match names.len() < MAX_TUNNELS {
            true => Ok(names),
            false => Err(BindError::TooMany),
        }
    }

    /// Gives the other names of the session free, unless this link has no say any more.
    pub(super) fn keep(&self, is_kept: impl Fn(&Name) -> bool) {
        if let Ok(names) = self.living(&mut self.session.names()) {
            names.retain(|name, _| is_kept(name));
        }
    }

    /// Notes whether the local app behind a name is well.
    pub(super) fn set_healthy(&self, name: &Name, healthy: bool) {
        let names = self.session.names();
        if let Some(held) = names.as_ref().and_then(|names| names.get(name))
            && !self.link().is_retired()
        {
            held.claim.set_healthy(healthy);
        }
    }

    /// Nobody will come back: the client has said goodbye, or must not.
    pub(super) fn leave(&self) {
        let mut names = self.session.names();
        if self.link().is_retired() {
            return;
        }
        *names = None;
        self.session.left.cancel();
    }
}

impl Owned {
    /// The handle that routes hold.
    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// What the log may tell of it.
    pub(super) fn log(&self) -> &Log {
        &self.log
    }

    /// What its client may do.
    pub(super) fn grant(&self) -> &Grant {
        &self.grant
    }

    fn terms(&self, pool: bool) -> Terms {
        Terms {
            account: Arc::clone(self.grant.account()),
            pool,
        }
    }

    fn names(&self) -> MutexGuard<'_, Option<HashMap<Name, Held>>> {
        self.names.lock().expect("nothing panics under this lock")
    }

    fn right(&self) -> MutexGuard<'_, Right> {
        self.right.lock().expect("nothing panics under this lock")
    }
}

impl fmt::Debug for Owned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Owned").field(&self.session).finish()
    }
}
