//! Telling the server which of our shared tunnels are well.

use std::sync::Arc;
use std::time::Duration;

use ngrnotok_common::id::TunnelId;
use ngrnotok_common::protocol::control::ClientMessage;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::client::Served;

/// From one look at the local app to the next: 2 s.
const EVERY: Duration = Duration::from_secs(2);

/// Looks at the local apps of shared tunnels until it is dropped.
pub(super) struct Checks {
    _looking: JoinSet<()>,
    news: mpsc::Receiver<ClientMessage>,
}

impl Checks {
    /// The first finding is always told: the session may remember an older one.
    pub(super) fn of(tunnels: &Arc<[Served]>) -> Self {
        let mut looking = JoinSet::new();
        let (tell, news) = mpsc::channel(1);
        for (id, place) in (0..).map(TunnelId).zip(0..tunnels.len()) {
            let Some(pool) = tunnels[place].pool.clone() else {
                continue;
            };
            let (tell, tunnels) = (tell.clone(), Arc::clone(tunnels));
            looking.spawn(async move {
                let mut told = None;
                let mut ticks = interval(EVERY);
                ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                loop {
                    ticks.tick().await;
                    let healthy = tunnels[place].local.is_well(pool.health.as_ref()).await;
                    if told == Some(healthy) {
                        continue;
                    }
                    told = Some(healthy);
                    if tell
                        .send(ClientMessage::Health { id, healthy })
                        .await
                        .is_err()
                    {
                        return;
                    }
                }
            });
        }
        Self {
            _looking: looking,
            news,
        }
    }

    /// The next finding that is news. Never resolves when there is nothing to look at. Cancel safety: safe.
    pub(super) async fn changed(&mut self) -> ClientMessage {
        match self.news.recv().await {
            Some(change) => change,
            None => std::future::pending().await,
        }
    }
}
