//! Further tunnels of a client that runs.

use std::sync::{Arc, Weak};
use std::time::Duration;

use ngrnotok_common::hostname::Name;
use ngrnotok_common::id::TunnelId;
use thiserror::Error;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;
use tracing::warn;

use crate::accounts::Accounts;
use crate::client::{Shared, Tunnel};
use crate::local::{LocalError, Target};
use crate::status::{OnlineTunnel, State, Status};
use crate::tunnels::Served;

/// What the server may take to answer: 10 s. It may have to ask DNS.
const LIMIT: Duration = Duration::from_secs(10);

/// Opens and closes tunnels of a client while it runs; clones do the same.
///
/// What it has opened is like what the client was started with: it is there again after a loss of the link,
/// and gone with the client.
#[derive(Debug, Clone)]
pub struct Opener {
    /// The client ends although somebody could still want to open something.
    client: Weak<Shared>,
    status: watch::Receiver<Status>,
}

/// Why there is no further tunnel, or one more than there should be.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The client has one with this name.
    #[error("this client has a tunnel {0} already")]
    Exists(Name),
    /// The client has none with this name.
    #[error("this client has no tunnel {0}")]
    NoTunnel(Name),
    /// The local app cannot be served.
    #[error("{0}")]
    Local(#[from] LocalError),
    /// The server does not want it.
    #[error("{0}")]
    Refused(String),
    /// Somebody has closed it again.
    #[error("the tunnel {0} was closed before it was open")]
    Closed(Name),
    /// The server has not answered, or there is no link to it.
    #[error("the server has not answered within {} s", LIMIT.as_secs())]
    Unanswered,
    /// The client has ended.
    #[error("the client has ended")]
    Ended,
}

#[cfg(test)]
impl Opener {
    /// One whose client has ended.
    pub(crate) fn of_nobody() -> Self {
        Self {
            client: Weak::new(),
            status: watch::channel(Status::default()).1,
        }
    }
}

impl Opener {
    pub(crate) fn new(client: &Arc<Shared>, status: watch::Receiver<Status>) -> Self {
        Self {
            client: Arc::downgrade(client),
            status,
        }
    }

    /// What is known of the client's accounts on its server.
    pub(crate) fn accounts(&self) -> Option<Accounts> {
        self.client.upgrade()?.accounts.clone()
    }

    /// Opens a tunnel, and returns when visitors can come.
    ///
    /// Cancel safety: a tunnel that is not yet open is not wanted any more.
    pub async fn open(&self, tunnel: Tunnel) -> Result<OnlineTunnel, OpenError> {
        let (name, target) = (tunnel.name.clone(), tunnel.target.to_string());
        let (asker, answer) = oneshot::channel();
        let added = {
            let client = self.client.upgrade().ok_or(OpenError::Ended)?;
            let served = Served::new(tunnel, Some(asker), &client.tasks)?;
            let id = client.tunnels.add(served);
            let id = id.ok_or_else(|| OpenError::Exists(name.clone()))?;
            Added {
                client: Weak::clone(&self.client),
                id,
                stays: false,
            }
        };
        let mut status = self.status.clone();
        let url = tokio::select! {
            answer = timeout(LIMIT, answer) => match answer {
                Ok(Ok(answer)) => answer.map_err(OpenError::Refused),
                Ok(Err(_)) => Err(OpenError::Closed(name.clone())),
                Err(_) => Err(OpenError::Unanswered),
            },
            // Also when the client is gone.
            _ = status.wait_for(|status| ends(&status.state)) => Err(OpenError::Ended),
        }?;
        Ok(OnlineTunnel {
            id: added.stays(),
            name,
            url,
            target,
        })
    }

    /// Leads a tunnel to each target that comes, until there is none with this name; open requests go on where
    /// they are. Cancel safety: safe.
    pub(crate) async fn lead(self, name: Name, mut targets: watch::Receiver<Target>) {
        while targets.changed().await.is_ok() {
            let target = targets.borrow_and_update().clone();
            let Some(client) = self.client.upgrade() else {
                return;
            };
            match client.tunnels.lead(&name, target, &client.tasks) {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => warn!(%error, "the tunnel stays where it leads"),
            }
        }
    }

    /// Closes a tunnel, also one that the client was started with: its name is given back, and open requests
    /// go on. Returns when no visitor can come any more and the status says so.
    ///
    /// Cancel safety: it closes all the same.
    pub async fn close(&self, name: &Name) -> Result<(), OpenError> {
        let id = {
            let client = self.client.upgrade().ok_or(OpenError::Ended)?;
            let known = client.tunnels.named(name);
            let (id, _) = known.ok_or_else(|| OpenError::NoTunnel(name.clone()))?;
            client.tunnels.remove(id);
            id
        };
        let mut status = self.status.clone();
        let gone = status.wait_for(|status| status.online.iter().all(|tunnel| tunnel.id != id));
        // No visitor reaches the app from now on anyhow; all that can be late is the news.
        let _ = timeout(LIMIT, gone).await;
        Ok(())
    }
}

fn ends(state: &State) -> bool {
    matches!(state, State::Leaving | State::Ended { .. })
}

/// A tunnel that goes again, unless it is to stay.
struct Added {
    client: Weak<Shared>,
    id: TunnelId,
    stays: bool,
}

impl Added {
    fn stays(mut self) -> TunnelId {
        self.stays = true;
        self.id
    }
}

impl Drop for Added {
    fn drop(&mut self) {
        if !self.stays
            && let Some(client) = self.client.upgrade()
        {
            client.tunnels.remove(self.id);
        }
    }
}
