//! Writing down when tokens were last used, behind the back of those who use them.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::task::TaskTracker;
use tracing::warn;

use super::token::TokenId;
use crate::store::{Store, UnixSeconds};

/// Collects uses and writes them in the background, many at a time when the disk is slow. What
/// cannot be written is logged and forgotten: the next use tries again.
#[derive(Clone, Debug, Default)]
pub(super) struct LastUsed {
    pending: Arc<Mutex<HashMap<TokenId, UnixSeconds>>>,
    /// Held while writing, so that those who are next leave `pending` alone and it can fill.
    turn: Arc<tokio::sync::Mutex<()>>,
    tasks: TaskTracker,
}

impl LastUsed {
    /// Takes down that `token` was used, and returns at once.
    pub(super) fn note(&self, store: &Store, token: TokenId, now: UnixSeconds) {
        let was_empty = {
            let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
            let was_empty = pending.is_empty();
            pending.insert(token, now);
            was_empty
        };
        // Whoever finds uses pending can count on the writer who was started by the first of them.
        // So at most two are under way: one writes, one waits its turn.
        if was_empty {
            let writing = self.clone().write(store.clone());
            self.tasks.spawn(writing);
        }
    }

    async fn write(self, store: Store) {
        let _turn = self.turn.lock().await;
        let uses = mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner));
        if let Err(error) = store.note_uses(uses).await {
            warn!(
                error = &error as &dyn std::error::Error,
                "tokens were used and the store does not say so"
            );
        }
    }

    /// Waits until all that was noted is written.
    #[cfg(test)]
    pub(super) async fn written(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::TokenToAdd;

    #[tokio::test]
    async fn uses_are_written_together_by_one_task() {
        let store = Store::in_memory().unwrap();
        let last_used = LastUsed::default();
        let mut ids = Vec::new();
        for _ in 0..100 {
            let token = TokenToAdd::of("ann");
            let id = token.id;
            store.add_token(token, UnixSeconds(0)).await.unwrap();
            ids.push(id);
        }

        for &id in &ids {
            last_used.note(&store, id, UnixSeconds(1000));
        }
        assert_eq!(last_used.tasks.len(), 1);
        last_used.written().await;

        for id in ids {
            let row = store.find_token(id).await.unwrap().unwrap();
            assert_eq!(row.last_used, Some(UnixSeconds(1000)));
        }
    }

    #[tokio::test]
    async fn what_comes_after_a_writer_has_left_starts_another() {
        let store = Store::in_memory().unwrap();
        let last_used = LastUsed::default();
        let token = TokenToAdd::of("ann");
        let id = token.id;
        store.add_token(token, UnixSeconds(0)).await.unwrap();

        for at in [1000, 2000] {
            last_used.note(&store, id, UnixSeconds(at));
            last_used.written().await;
            let row = store.find_token(id).await.unwrap().unwrap();
            assert_eq!(row.last_used, Some(UnixSeconds(at)));
        }
    }
}
