//! Names that are in use, and those that were until a moment ago.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ngrnotok_common::hostname::Name;
use tokio::sync::Notify;

/// A name that an account uses. When dropped, the time begins after which others may have it.
#[derive(Debug)]
pub struct Hold {
    name: Box<str>,
    account: Arc<str>,
    released: Arc<Released>,
}

/// What has been released and is to be written down. There are no more of them than names that were
/// taken since, each of which has cost the one who took it a look into the store.
#[derive(Debug, Default)]
pub(super) struct Released {
    names: Mutex<HashMap<Box<str>, Arc<str>>>,
    some: Notify,
}

impl Released {
    /// One more name that is in use.
    pub(super) fn hold(self: &Arc<Self>, name: &Name, account: &Arc<str>) -> Hold {
        Hold {
            name: name.as_str().into(),
            account: Arc::clone(account),
            released: Arc::clone(self),
        }
    }

    /// Waits until some names are released, and takes them.
    ///
    /// Cancel safety: safe.
    pub(super) async fn next(&self) -> Vec<(Box<str>, Arc<str>)> {
        loop {
            let names = mem::take(&mut *self.lock());
            if !names.is_empty() {
                return names.into_iter().collect();
            }
            self.some.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Arc<str>>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let (name, account) = (mem::take(&mut self.name), Arc::clone(&self.account));
        self.released.lock().insert(name, account);
        self.released.some.notify_one();
    }
}
