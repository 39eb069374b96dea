//! The names that a link asks for: those that visitors can reach, and those that are asked for again
//! because somebody else has them for the moment.

use std::future::pending;
use std::time::Duration;

use ngrnotok_common::id::TunnelId;
use ngrnotok_common::protocol::control::{ClientMessage, ControlError, RefusalCode, Writer};
use tokio::time::{Instant, sleep_until};

use super::SessionError;
use crate::backoff::{Backoff, random};
use crate::client::Served;
use crate::status::{OnlineTunnel, RefusedTunnel};

/// What became of the names so far.
pub(super) struct Binds<'a> {
    tunnels: &'a [Served],
    online: Vec<OnlineTunnel>,
    refused: Vec<(TunnelId, SessionError)>,
    unanswered: usize,
    backoff: Backoff,
    again: Option<Instant>,
}

impl<'a> Binds<'a> {
    /// None of them has been asked for. A tunnel's id is its place.
    pub(super) fn of(tunnels: &'a [Served]) -> Self {
        Self {
            tunnels,
            online: Vec::new(),
            refused: Vec::new(),
            unanswered: 0,
            backoff: Backoff::default(),
            again: None,
        }
    }

    /// Asks for all of them.
    pub(super) async fn ask(
        &mut self,
        writer: &mut Writer<ClientMessage>,
    ) -> Result<(), ControlError> {
        for (id, _) in (0..).map(TunnelId).zip(self.tunnels) {
            self.ask_for(id, writer).await?;
        }
        Ok(())
    }

    /// Asks once more for those that were refused.
    pub(super) async fn ask_again(
        &mut self,
        writer: &mut Writer<ClientMessage>,
    ) -> Result<(), ControlError> {
        self.again = None;
        for (id, _) in std::mem::take(&mut self.refused) {
            self.ask_for(id, writer).await?;
        }
        Ok(())
    }

    async fn ask_for(
        &mut self,
        id: TunnelId,
        writer: &mut Writer<ClientMessage>,
    ) -> Result<(), ControlError> {
        let tunnel = self.tunnel(id).expect("an id of ours");
        let bind = ClientMessage::Bind {
            id,
            kind: "http".to_owned(),
            name: tunnel.name.to_string(),
            pool: tunnel.pool.is_some(),
        };
        self.unanswered += 1;
        writer.send(&bind).await
    }

    /// Resolves when it is time to ask again. Never if there is no need. Cancel safety: safe.
    pub(super) async fn time_to_ask_again(&self) {
        match self.again {
            Some(again) => sleep_until(again).await,
            None => pending().await,
        }
    }

    /// Whether the server owes us an answer.
    pub(super) fn are_open(&self) -> bool {
        self.unanswered > 0
    }

    /// Notes that visitors can reach a tunnel.
    pub(super) fn bound(&mut self, id: TunnelId, url: String) -> Result<(), SessionError> {
        let tunnel = self.tunnel(id);
        let tunnel = tunnel.ok_or(SessionError::Protocol("bound a tunnel we did not ask for"))?;
        self.online.push(OnlineTunnel {
            name: tunnel.name.clone(),
            url,
            target: tunnel.local.to_string(),
        });
        self.unanswered = self.unanswered.saturating_sub(1);
        Ok(())
    }

    /// Notes why the server does not want a tunnel.
    pub(super) fn refused(&mut self, id: TunnelId, refusal: SessionError) {
        self.unanswered = self.unanswered.saturating_sub(1);
        self.refused.push((id, refusal));
    }

    /// A refusal in our words.
    pub(super) fn refusal(&self, id: TunnelId, code: RefusalCode, message: String) -> SessionError {
        match code {
            RefusalCode::NameTaken => SessionError::NameTaken(message),
            RefusalCode::NameForbidden | RefusalCode::DomainUnverified => {
                SessionError::NameForbidden(message)
            }
            RefusalCode::NameReserved | RefusalCode::NameHeld => SessionError::NameKept(message),
            RefusalCode::Unavailable => SessionError::Unavailable(message),
            _ => {
                let name = self.tunnel(id).map_or("?", |tunnel| tunnel.name.as_str());
                SessionError::TunnelRefused(format!("{name}: {message}"))
            }
        }
    }

    /// What visitors can reach and what not, once everything is answered. What is refused is asked for
    /// again after a while, longer each time.
    ///
    /// Fails if everything is refused: such a link is of no use.
    pub(super) fn settle(
        &mut self,
    ) -> Result<(Vec<OnlineTunnel>, Vec<RefusedTunnel>), SessionError> {
        if self.online.is_empty()
            && let Some((_, refusal)) = self.refused.pop()
        {
            return Err(refusal);
        }
        if self.refused.is_empty() {
            return Ok((self.online.clone(), Vec::new()));
        }
        let retry_at = Instant::now() + self.backoff.next(random(), Duration::ZERO);
        self.again = Some(retry_at);
        let refused = self.refused.iter().map(|(id, refusal)| RefusedTunnel {
            name: self.tunnel(*id).expect("an id of ours").name.clone(),
            reason: refusal.to_string(),
            retry_at,
        });
        Ok((self.online.clone(), refused.collect()))
    }

    fn tunnel(&self, id: TunnelId) -> Option<&'a Served> {
        let place = usize::try_from(id.0).ok()?;
        self.tunnels.get(place)
    }
}
