//! The names that a link asks for: those that visitors can reach, and those that are asked for again
//! because somebody else has them for the moment.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use ngrnotok_common::id::TunnelId;
use ngrnotok_common::protocol::control::{ClientMessage, ControlError, RefusalCode, Writer};
use tokio::time::{Instant, sleep_until};

use super::SessionError;
use super::health::Checks;
use crate::backoff::{Backoff, random};
use crate::status::{OnlineTunnel, RefusedTunnel};
use crate::tunnels::{Served, Tunnels};

/// What became of the names so far.
pub(super) struct Binds<'a> {
    tunnels: &'a Tunnels,
    asked: BTreeMap<TunnelId, Asked>,
    checks: Checks,
    backoff: Backoff,
    again: Option<Instant>,
}

/// A tunnel whose name was asked for.
struct Asked {
    tunnel: Arc<Served>,
    stand: Stand,
}

/// What the server says of it.
enum Stand {
    /// It owes us an answer.
    Open,
    /// Visitors can come, to this URL.
    Online(String),
    /// No.
    Refused(SessionError),
    /// It owes us an answer, which nobody wants any more.
    Unwanted,
}

/// What there is to say next.
pub(super) enum Next {
    /// How a local app fares.
    Health(ClientMessage),
    /// The names that were refused, once more.
    AskAgain,
}

impl<'a> Binds<'a> {
    /// None of them has been asked for.
    pub(super) fn of(tunnels: &'a Tunnels) -> Self {
        Self {
            tunnels,
            asked: BTreeMap::new(),
            checks: Checks::default(),
            backoff: Backoff::default(),
            again: None,
        }
    }

    /// Asks for the names that are wanted and have not been asked for, and gives back those that are not
    /// wanted any more.
    ///
    /// A name that is given back while the link breaks may stay with the session as long as that lives.
    pub(super) async fn follow(
        &mut self,
        writer: &mut Writer<ClientMessage>,
    ) -> Result<(), ControlError> {
        // First, for one of them may be wanted again.
        for name in self.tunnels.take_gone() {
            let name = name.to_string();
            writer.send(&ClientMessage::Unbind { name }).await?;
        }
        let wanted = self.tunnels.all();
        self.asked.retain(|id, asked| {
            if wanted.contains_key(id) {
                return true;
            }
            self.checks.end(*id);
            let is_open = matches!(asked.stand, Stand::Open | Stand::Unwanted);
            asked.stand = Stand::Unwanted;
            is_open
        });
        for (id, tunnel) in wanted.iter() {
            if self.asked.contains_key(id) {
                continue;
            }
            writer.send(&bind(*id, tunnel)).await?;
            self.checks.begin(*id, tunnel);
            let asked = Asked {
                tunnel: Arc::clone(tunnel),
                stand: Stand::Open,
            };
            self.asked.insert(*id, asked);
        }
        Ok(())
    }

    /// Asks once more for those that were refused.
    pub(super) async fn ask_again(
        &mut self,
        writer: &mut Writer<ClientMessage>,
    ) -> Result<(), ControlError> {
        self.again = None;
        for (id, asked) in &mut self.asked {
            if let Stand::Refused(_) = asked.stand {
                asked.stand = Stand::Open;
                writer.send(&bind(*id, &asked.tunnel)).await?;
            }
        }
        Ok(())
    }

    /// What there is to say to the server next. Cancel safety: safe.
    pub(super) async fn next(&mut self) -> Next {
        let time_to_ask_again = async {
            match self.again {
                Some(again) => sleep_until(again).await,
                None => pending().await,
            }
        };
        tokio::select! {
            health = self.checks.changed() => Next::Health(health),
            () = time_to_ask_again => Next::AskAgain,
        }
    }

    /// Whether the server owes us an answer.
    pub(super) fn are_open(&self) -> bool {
        let mut stands = self.asked.values().map(|asked| &asked.stand);
        stands.any(|stand| matches!(stand, Stand::Open | Stand::Unwanted))
    }

    /// Notes that visitors can reach a tunnel.
    pub(super) fn bound(&mut self, id: TunnelId, url: String) -> Result<(), SessionError> {
        let answered = self.answered(id);
        let asked = answered.ok_or(SessionError::Protocol("bound a tunnel we did not ask for"))?;
        if let Some(asked) = asked {
            asked.stand = Stand::Online(url);
        }
        Ok(())
    }

    /// Notes why the server does not want a tunnel, unless that ends the client: on the first try, and when it
    /// is for good. A tunnel that came while the client ran never does.
    pub(super) fn refused(
        &mut self,
        id: TunnelId,
        code: RefusalCode,
        message: String,
        is_first_try: bool,
    ) -> Result<(), SessionError> {
        let answered = self.answered(id);
        let asked = answered.ok_or(SessionError::Protocol("refused what we did not ask for"))?;
        let Some(asked) = asked else {
            return Ok(());
        };
        let refusal = match code {
            RefusalCode::NameTaken => SessionError::NameTaken(message),
            RefusalCode::NameForbidden | RefusalCode::DomainUnverified => {
                SessionError::NameForbidden(message)
            }
            RefusalCode::NameReserved | RefusalCode::NameHeld => SessionError::NameKept(message),
            RefusalCode::Unavailable => SessionError::Unavailable(message),
            _ => SessionError::TunnelRefused(format!("{}: {message}", asked.tunnel.name)),
        };
        if !asked.tunnel.is_extra && (is_first_try || refusal.is_permanent()) {
            return Err(refusal);
        }
        asked.stand = Stand::Refused(refusal);
        Ok(())
    }

    /// The one that the server has answered for; within it `None` where nobody wants it any more.
    fn answered(&mut self, id: TunnelId) -> Option<Option<&mut Asked>> {
        if let Stand::Unwanted = self.asked.get(&id)?.stand {
            self.asked.remove(&id);
            return Some(None);
        }
        Some(self.asked.get_mut(&id))
    }

    /// What visitors can reach and what not, once everything is answered. What is refused is asked for
    /// again after a while, longer each time.
    ///
    /// Fails if everything that the client was started with is refused and nothing else is online: such a
    /// link is of no use.
    pub(super) fn settle(
        &mut self,
    ) -> Result<(Vec<OnlineTunnel>, Vec<RefusedTunnel>), SessionError> {
        let stands = || self.asked.iter();
        let is_online = |asked: &Asked| matches!(asked.stand, Stand::Online(_));
        let is_needed =
            |asked: &Asked| matches!(asked.stand, Stand::Refused(_)) && !asked.tunnel.is_extra;
        let needed = stands().rfind(|(_, asked)| is_needed(asked));
        if let Some(id) = needed.map(|(id, _)| *id)
            && !stands().any(|(_, asked)| is_online(asked))
            && let Some(Asked {
                stand: Stand::Refused(refusal),
                ..
            }) = self.asked.remove(&id)
        {
            return Err(refusal);
        }
        let is_refused = |asked: &Asked| matches!(asked.stand, Stand::Refused(_));
        self.again = self.asked.values().any(is_refused).then(|| {
            let pause = self.backoff.next(random(), Duration::ZERO);
            Instant::now() + pause
        });
        let (mut online, mut refused) = (Vec::new(), Vec::new());
        for Asked { tunnel, stand } in self.asked.values() {
            let name = || tunnel.name.clone();
            match (stand, self.again) {
                (Stand::Online(url), _) => online.push(OnlineTunnel {
                    name: name(),
                    url: url.clone(),
                    target: tunnel.local.to_string(),
                }),
                (Stand::Refused(refusal), Some(retry_at)) => refused.push(RefusedTunnel {
                    name: name(),
                    reason: refusal.to_string(),
                    retry_at,
                }),
                _ => {}
            }
        }
        Ok((online, refused))
    }
}

fn bind(id: TunnelId, tunnel: &Served) -> ClientMessage {
    ClientMessage::Bind {
        id,
        kind: "http".to_owned(),
        name: tunnel.name.to_string(),
        pool: tunnel.pool.is_some(),
    }
}
