//! Telling the server which of our shared tunnels are well.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ngrnotok_common::id::TunnelId;
use ngrnotok_common::protocol::control::ClientMessage;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::tunnels::Served;

/// From one look at the local app to the next: 2 s.
const EVERY: Duration = Duration::from_secs(2);

/// Looks at the local apps of shared tunnels until it is dropped.
pub(super) struct Checks {
    looking: BTreeMap<TunnelId, AbortOnDropHandle<()>>,
    tasks: TaskTracker,
    tell: mpsc::Sender<ClientMessage>,
    news: mpsc::Receiver<ClientMessage>,
}

impl Default for Checks {
    /// Looks at nothing yet.
    fn default() -> Self {
        let (tell, news) = mpsc::channel(1);
        Self {
            looking: BTreeMap::new(),
            tasks: TaskTracker::new(),
            tell,
            news,
        }
    }
}

impl Checks {
    /// Looks at the local app of a tunnel from now on, if that is shared. The first finding is always told:
    /// the session may remember an older one.
    pub(super) fn begin(&mut self, id: TunnelId, tunnel: &Arc<Served>) {
        let Some(pool) = tunnel.pool.clone() else {
            return;
        };
        let (tell, tunnel) = (self.tell.clone(), Arc::clone(tunnel));
        let looking = self.tasks.spawn(async move {
            let mut told = None;
            let mut ticks = interval(EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let healthy = tunnel.local.is_well(pool.health.as_ref()).await;
                if told == Some(healthy) {
                    continue;
                }
                told = Some(healthy);
                let news = ClientMessage::Health { id, healthy };
                if tell.send(news).await.is_err() {
                    return;
                }
            }
        });
        self.looking.insert(id, AbortOnDropHandle::new(looking));
    }

    /// Looks at the local app of a tunnel no more.
    pub(super) fn end(&mut self, id: TunnelId) {
        self.looking.remove(&id);
    }

    /// The next finding that is news. Never resolves when there is nothing to look at. Cancel safety: safe.
    pub(super) async fn changed(&mut self) -> ClientMessage {
        let news = self.news.recv().await;
        news.expect("we have a sender ourselves")
    }
}
