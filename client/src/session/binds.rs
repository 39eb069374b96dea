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
    /// No. It is asked again.
    Refused(SessionError),
    /// No, and whoever wanted it has heard so.
    Declined,
    /// It owes us an answer, which nobody wants any more.
    Unwanted,
}

impl Asked {
    fn is_online(&self) -> bool {
        matches!(self.stand, Stand::Online(_))
    }

    fn is_refused(&self) -> bool {
        matches!(self.stand, Stand::Refused(_))
    }
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

    /// Asks for all names that are wanted, and lets the server forget what an earlier link wanted.
    pub(super) async fn begin(
        &mut self,
        writer: &mut Writer<ClientMessage>,
    ) -> Result<(), ControlError> {
        self.follow(writer).await?;
        writer.send(&ClientMessage::Release).await
    }

    /// Asks for the names that are wanted and have not been asked for, and gives back those that are not
    /// wanted any more. Those that lead elsewhere now stay as they are.
    pub(super) async fn follow(
        &mut self,
        writer: &mut Writer<ClientMessage>,
    ) -> Result<(), ControlError> {
        let wanted = self.tunnels.all();
        let gone = self.asked.keys().filter(|id| !wanted.contains_key(id));
        // First, for one of the names may be wanted again.
        for id in gone.copied().collect::<Vec<_>>() {
            self.give_back(id, writer).await?;
        }
        for (id, tunnel) in wanted.iter() {
            if let Some(asked) = self.asked.get_mut(id) {
                if !Arc::ptr_eq(&asked.tunnel, tunnel) {
                    asked.tunnel = Arc::clone(tunnel);
                    if asked.is_online() {
                        self.checks.begin(*id, tunnel);
                    }
                }
                continue;
            }
            writer.send(&bind(*id, tunnel)).await?;
            let asked = Asked {
                tunnel: Arc::clone(tunnel),
                stand: Stand::Open,
            };
            self.asked.insert(*id, asked);
        }
        Ok(())
    }

    async fn give_back(
        &mut self,
        id: TunnelId,
        writer: &mut Writer<ClientMessage>,
    ) -> Result<(), ControlError> {
        self.checks.end(id);
        match self.asked.get_mut(&id).map(|asked| &mut asked.stand) {
            None | Some(Stand::Unwanted) => return Ok(()),
            Some(open @ Stand::Open) => *open = Stand::Unwanted,
            Some(Stand::Online(_)) => {
                self.asked.remove(&id);
            }
            Some(Stand::Refused(_) | Stand::Declined) => {
                self.asked.remove(&id);
                return Ok(());
            }
        }
        writer.send(&ClientMessage::Unbind { id }).await
    }

    /// Asks once more for those that were refused.
    pub(super) async fn ask_again(
        &mut self,
        writer: &mut Writer<ClientMessage>,
    ) -> Result<(), ControlError> {
        self.again = None;
        for (id, asked) in &mut self.asked {
            if asked.is_refused() {
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
        let asked = self.asked.get_mut(&id);
        let asked = asked.ok_or(SessionError::Protocol("bound a tunnel we did not ask for"))?;
        match asked.stand {
            Stand::Open => {}
            // That it is to be given back has been said already.
            Stand::Unwanted => {
                self.asked.remove(&id);
                return Ok(());
            }
            _ => return Err(ANSWERED_TWICE),
        }
        self.checks.begin(id, &asked.tunnel);
        asked.tunnel.answer(Ok(url.clone()));
        asked.stand = Stand::Online(url);
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
        let asked = self.asked.get_mut(&id);
        let asked = asked.ok_or(SessionError::Protocol("refused what we did not ask for"))?;
        match asked.stand {
            Stand::Open => {}
            Stand::Unwanted => {
                self.asked.remove(&id);
                return Ok(());
            }
            _ => return Err(ANSWERED_TWICE),
        }
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
        asked.stand = match asked.tunnel.answer(Err(refusal.to_string())) {
            true => Stand::Declined,
            false => Stand::Refused(refusal),
        };
        Ok(())
    }

    /// Notes that the server has taken a name back. If asking again cannot help, that ends the client as a
    /// refusal does.
    pub(super) fn unbound(
        &mut self,
        id: TunnelId,
        code: RefusalCode,
        message: &str,
    ) -> Result<(), SessionError> {
        // We may have given it back in the same moment.
        let asked = self.asked.get_mut(&id).filter(|asked| asked.is_online());
        let Some(asked) = asked else {
            return Ok(());
        };
        asked.stand = Stand::Open;
        self.checks.end(id);
        let name = &asked.tunnel.name;
        let message = format!("the server has taken the name {name} back: {message}");
        self.refused(id, code, message, false)
    }

    /// What visitors can reach and what not, once everything is answered. What is refused is asked for
    /// again after a while, longer each time.
    ///
    /// Fails if something that the client was started with is refused and nothing is online: such a link is of
    /// no use, unless it has served before.
    pub(super) fn settle(
        &mut self,
        has_served: bool,
    ) -> Result<(Vec<OnlineTunnel>, Vec<RefusedTunnel>), SessionError> {
        if !has_served && !self.asked.values().any(Asked::is_online) {
            let mut asked = self.asked.values_mut();
            let needed = asked.rfind(|asked| asked.is_refused() && !asked.tunnel.is_extra);
            let stand = needed.map(|asked| std::mem::replace(&mut asked.stand, Stand::Declined));
            if let Some(Stand::Refused(refusal)) = stand {
                return Err(refusal);
            }
        }
        if !self.asked.values().any(Asked::is_refused) {
            (self.again, self.backoff) = (None, Backoff::default());
        } else if self.again.is_none() {
            let pause = self.backoff.next(random(), Duration::ZERO);
            self.again = Some(Instant::now() + pause);
        }
        let (mut online, mut refused) = (Vec::new(), Vec::new());
        for (id, Asked { tunnel, stand }) in &self.asked {
            let name = || tunnel.name.clone();
            match (stand, self.again) {
                (Stand::Online(url), _) => online.push(OnlineTunnel {
                    id: *id,
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

/// Each answer is news to the user, and there is one for each question.
const ANSWERED_TWICE: SessionError = SessionError::Protocol("answered a request for a name twice");

fn bind(id: TunnelId, tunnel: &Served) -> ClientMessage {
    ClientMessage::Bind {
        id,
        kind: "http".to_owned(),
        name: tunnel.name.to_string(),
        pool: tunnel.pool.is_some(),
    }
}
