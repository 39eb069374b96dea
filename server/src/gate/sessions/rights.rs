//! The right to a name, as long as it is used: what allowed it may hold no longer.
//!
//! The operator reserves a name for somebody else or removes a host, a token's rules change, the record is gone
//! that proved a host. Then the session goes on without the name, and the link that has bound it is told.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use ngrnotok_common::hostname::Name;
use ngrnotok_common::id::TunnelId;
use ngrnotok_common::protocol::control::RefusalCode;
use tokio::sync::Notify;
use tokio::time::sleep;
use tracing::info;

use super::{Opened, Owned};
use crate::names::{NameRefused, Names};

/// How often names that are used are looked at without a reason: 1 h. The proof of a host is good for a day.
const REVIEW: Duration = Duration::from_secs(60 * 60);

/// From when on what is known of the operator's decisions is newer than the answer that allowed a name: 0.5 s.
/// Between the two, one may have been made and another one that looks as if nothing had happened.
const CAUGHT_UP: Duration = Duration::from_millis(500);

/// What is known of the rights of a session to its names.
#[derive(Debug, Default)]
pub(super) struct Rights {
    /// Names that were taken back and whose link has not been told yet.
    lost: Mutex<HashMap<Name, Lost>>,
    /// Told of each change of `lost`.
    losing: Notify,
    /// Told when a name is claimed.
    claiming: Notify,
}

/// Why a name was taken back.
#[derive(Debug)]
pub(in crate::gate) struct Lost {
    pub(in crate::gate) code: RefusalCode,
    pub(in crate::gate) message: String,
}

impl Rights {
    /// A name was claimed; it is looked at once more.
    pub(super) fn claimed(&self, name: &Name) {
        self.lost().remove(name);
        self.claiming.notify_one();
    }

    /// Nobody is to be told any more what was lost so far.
    pub(super) fn forget(&self) {
        self.lost().clear();
    }

    /// What was lost of the names that are `bound` on a link.
    fn take_lost(&self, bound: &HashMap<TunnelId, Name>) -> Option<(TunnelId, Lost)> {
        let mut lost = self.lost();
        // Nearly always there is nothing.
        if lost.is_empty() {
            return None;
        }
        let mut bound = bound.iter();
        bound.find_map(|(id, name)| Some((*id, lost.remove(name)?)))
    }

    fn lost(&self) -> MutexGuard<'_, HashMap<Name, Lost>> {
        self.lost.lock().expect("nothing panics under this lock")
    }
}

impl Opened {
    /// Resolves when a name that is `bound` on this link was taken back, and says why. Cancel safety: safe.
    pub(in crate::gate) async fn loses(&self, bound: &HashMap<TunnelId, Name>) -> (TunnelId, Lost) {
        let rights = &self.session.rights;
        let mut losing = pin!(rights.losing.notified());
        loop {
            // In this order no loss falls between looking and waiting.
            losing.as_mut().enable();
            if let Some(lost) = rights.take_lost(bound) {
                return lost;
            }
            losing.as_mut().await;
            losing.set(rights.losing.notified());
        }
    }
}

impl Owned {
    /// Takes names back that the account may not have any more. Never resolves. Cancel safety: safe.
    pub(super) async fn review(&self, names: &Names) -> Infallible {
        let (mut decisions, mut rules) = (names.changes(), self.grant.changes());
        loop {
            for name in self.in_doubt(names) {
                // Boxed, because what DNS needs is large, and it is seldom asked.
                if let Err(refused) = Box::pin(names.check(&self.grant, &name)).await {
                    self.take_back(&name, &refused);
                }
            }
            tokio::select! {
                Ok(()) = decisions.changed() => {}
                Ok(()) = rules.changed() => {}
                () = self.rights.claiming.notified() => sleep(CAUGHT_UP).await,
                () = sleep(REVIEW) => {}
            }
        }
    }

    fn in_doubt(&self, names: &Names) -> Vec<Name> {
        let held = self.names();
        let held = held.iter().flat_map(HashMap::keys);
        held.filter(|name| names.is_in_doubt(&self.grant, name))
            .cloned()
            .collect()
    }

    fn take_back(&self, name: &Name, refused: &NameRefused) {
        let mut names = self.names();
        let Some(_held) = names.as_mut().and_then(|names| names.remove(name)) else {
            return;
        };
        if self.log.admits() {
            info!(session = %self.session.id(), %name, %refused, "name taken back");
        }
        let lost = Lost {
            code: refused.code(),
            message: refused.to_string(),
        };
        self.rights.lost().insert(name.clone(), lost);
        self.rights.losing.notify_waiters();
    }
}
