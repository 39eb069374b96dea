//! Noticing that a token in use was revoked, was changed or has expired.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;

use super::Auth;
use super::live::LiveToken;
use crate::store::{Store, StoreError, UnixSeconds, Version};

/// How often to look. SQLite tells other processes of a change only when asked; the question costs some
/// microseconds, and nothing while no token is in use.
const EVERY: Duration = Duration::from_millis(200);

impl Auth {
    /// Keeps what was granted in step with the store and the clock. Never resolves; belongs beside the
    /// shards and not on one, like all that reads the store.
    ///
    /// While the store cannot be read, sessions live on: a failing disk must not take every tunnel down.
    /// It is logged, and expiry goes on.
    ///
    /// Cancel safety: safe; what was granted is no longer watched then.
    pub async fn watch(&self) -> Infallible {
        let Some(store) = &self.store else {
            return pending().await;
        };
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut known = None;
        let mut failing = false;
        loop {
            ticks.tick().await;
            // Before the list is made: whoever comes in after this is in the next one.
            let unchecked = self.live.take_unchecked();
            let live = self.live.all();
            if live.is_empty() {
                continue;
            }
            match refresh(store, known.filter(|_| !unchecked), &live).await {
                Ok(version) => {
                    known = Some(version);
                    failing = false;
                }
                Err(error) => {
                    known = None;
                    if !failing {
                        failing = true;
                        warn!(
                            error = &error as &dyn std::error::Error,
                            "cannot see whether tokens were revoked; sessions live on"
                        );
                    }
                }
            }
            let now = UnixSeconds::now();
            live.iter().for_each(|token| token.expire(now));
        }
    }
}

/// Looks tokens up again unless the content of the database is `known` to them. Says which content they
/// have seen.
async fn refresh(
    store: &Store,
    known: Option<Version>,
    live: &[Arc<LiveToken>],
) -> Result<Version, StoreError> {
    // Before the rows: a change between the two is found again the next time.
    let version = store.version().await?;
    if known != Some(version) {
        let ids = live.iter().filter_map(|token| token.id).collect();
        let rows = store.find_tokens(ids).await?;
        for token in live {
            token.update(token.id.and_then(|id| rows.get(&id)));
        }
    }
    Ok(version)
}
