//! Further tunnels of a client that runs.

use std::sync::{Arc, Weak};
use std::time::Duration;

use ngrnotok_common::hostname::Name;
use ngrnotok_common::id::TunnelId;
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::client::{Shared, Tunnel};
use crate::local::LocalError;
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

    /// Opens a tunnel, and returns when visitors can come.
    ///
    /// Cancel safety: a tunnel that is not yet open is not wanted any more.
    pub async fn open(&self, tunnel: Tunnel) -> Result<OnlineTunnel, OpenError> {
        let name = tunnel.name.clone();
        let added = {
            let client = self.client.upgrade().ok_or(OpenError::Ended)?;
            let served = Served::new(tunnel, true, &client.tasks)?;
            let id = client.tunnels.add(served);
            let id = id.ok_or_else(|| OpenError::Exists(name.clone()))?;
            Added(Some((Weak::clone(&self.client), id)))
        };
        let mut status = self.status.clone();
        let answered = async {
            loop {
                if let Some(answer) = answer(&status.borrow_and_update(), &name) {
                    return answer;
                }
                status.changed().await.map_err(|_| OpenError::Ended)?;
            }
        };
        let online = timeout(LIMIT, answered).await;
        let online = online.unwrap_or(Err(OpenError::Unanswered))?;
        added.keep();
        Ok(online)
    }

    /// Closes a tunnel, also one that the client was started with: its name is given back, and open requests
    /// go on. Returns when no visitor can come any more.
    ///
    /// Cancel safety: it closes all the same.
    pub async fn close(&self, name: &Name) -> Result<(), OpenError> {
        {
            let client = self.client.upgrade().ok_or(OpenError::Ended)?;
            let known = client.tunnels.named(name);
            let (id, _) = known.ok_or_else(|| OpenError::NoTunnel(name.clone()))?;
            client.tunnels.remove(id);
        }
        let mut status = self.status.clone();
        let gone = status.wait_for(|status| {
            let mut online = status.online.iter();
            online.all(|tunnel| tunnel.name != *name)
        });
        // No visitor reaches it from now on anyhow; all that is late is the news.
        let _ = timeout(LIMIT, gone).await;
        Ok(())
    }
}

/// What the server says of a tunnel, if it has said something.
fn answer(status: &Status, name: &Name) -> Option<Result<OnlineTunnel, OpenError>> {
    if let State::Leaving | State::Ended { .. } = status.state {
        return Some(Err(OpenError::Ended));
    }
    let mut online = status.online.iter();
    if let Some(tunnel) = online.find(|tunnel| tunnel.name == *name) {
        return Some(Ok(tunnel.clone()));
    }
    let mut refused = status.refused.iter();
    let refused = refused.find(|tunnel| tunnel.name == *name)?;
    Some(Err(OpenError::Refused(refused.reason.clone())))
}

/// A tunnel that goes again, unless somebody keeps it.
struct Added(Option<(Weak<Shared>, TunnelId)>);

impl Added {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Added {
    fn drop(&mut self) {
        if let Some((client, id)) = self.0.take()
            && let Some(client) = client.upgrade()
        {
            client.tunnels.remove(id);
        }
    }
}
