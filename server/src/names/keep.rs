//! What goes on while names are used: writing down that they are, and looking what the operator decides.

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, warn};

use super::{Known, Names};
use crate::registry::Registry;
use crate::store::{Store, StoreError, UnixSeconds};

impl Names {
    /// Writes down which names are used and which no longer are, forgets those that nobody is held back
    /// from any more, tells the registry which hosts there are, and sees what the operator decides about names
    /// within 200 ms. Never resolves; belongs beside the
    /// shards and not on one, like all that works with the store. Names that are used when this is dropped
    /// stay written ahead: their clients come back to the next server.
    ///
    /// Cancel safety: safe.
    pub async fn keep(&self, registry: &Registry) -> Infallible {
        let Some(store) = &self.store else {
            return pending().await;
        };
        let both = tokio::join!(
            self.keep_held(store, registry),
            self.keep_known(store, registry)
        );
        both.0
    }

    /// Tells a registry that is still empty which names were used when the server before this one ended. For
    /// `grace` their clients may come back.
    pub async fn recall(&self, registry: &Registry, grace: Duration) {
        let Some(store) = &self.store else {
            return;
        };
        let recalled = async {
            let mut names = store.names_in_use(UnixSeconds::now()).await?;
            let domains = store.list_domains().await?.into_iter();
            // Nobody writes down whether these are used.
            let verified = domains.filter(|domain| domain.verified.is_some());
            names.extend(verified.map(|domain| domain.host.as_str().into()));
            Ok::<_, StoreError>(names)
        };
        match recalled.await {
            Ok(names) => registry.remember(names, grace),
            Err(error) => warn!(
                error = &error as &dyn std::error::Error,
                "visitors of clients that are on their way back are told that there is no tunnel"
            ),
        }
    }

    async fn keep_held(&self, store: &Store, registry: &Registry) -> Infallible {
        if self.hold.is_zero() {
            return pending().await;
        }
        let mut ticks = interval(self.ahead() / 2);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let written = tokio::select! {
                _ = ticks.tick() => self.note_used(store, registry).await,
                released = self.released.next() => {
                    store.note_name_uses(released, UnixSeconds::now()).await
                }
            };
            if let Err(error) = written {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "names are used and the store does not say so"
                );
            }
        }
    }

    async fn note_used(&self, store: &Store, registry: &Registry) -> Result<(), StoreError> {
        let now = UnixSeconds::now();
        let until = now + self.ahead();
        store.note_name_uses(registry.names(), until).await?;
        store.forget_name_uses(now - self.hold, until).await
    }
}

/// How often to look for changes: 200 ms. It costs some microseconds.
const EVERY: Duration = Duration::from_millis(200);

impl Names {
    async fn keep_known(&self, store: &Store, registry: &Registry) -> Infallible {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = None;
        loop {
            ticks.tick().await;
            let known = async {
                let version = store.version().await?;
                if seen != Some(version) {
                    let known = Known::read(store).await?;
                    registry.expect(known.verified());
                    self.known.send_if_modified(|before| {
                        let changes = *before != known;
                        *before = known;
                        changes
                    });
                    seen = Some(version);
                }
                Ok::<_, StoreError>(())
            };
            // Others say so when the store fails. What is used goes on: a failing disk must not take every
            // tunnel down.
            if let Err(error) = known.await {
                debug!(
                    error = &error as &dyn std::error::Error,
                    "cannot see what is decided about names"
                );
            }
        }
    }
}
