//! What somebody was let in for, and for how long.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ngrnotok_common::hostname::Name;
use ngrnotok_common::protocol::cause::{Limit, LimitName};
use ngrnotok_common::protocol::control::StopCode;
use thiserror::Error;
use tokio::sync::watch;

use super::live::{LiveToken, Standing};
use super::rules::Allowed;
use super::token::TokenId;
use crate::session::{Count, Counted, Limits};

/// On whose behalf a session runs, and what it may do. It is asked at the login, at every bind, and all
/// the time whether it still holds ([`Grant::ended`]).
#[derive(Debug)]
pub struct Grant {
    token: Arc<LiveToken>,
    /// The count of kept sessions of the same host, for those without a token.
    strangers: Option<Arc<Count>>,
    /// What was bound under it.
    bound: Arc<Mutex<Vec<Tunnel>>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Tunnel {
    kind: Box<str>,
    name: Name,
}

/// A tunnel that a token allows; forgotten when dropped.
#[derive(Debug)]
pub struct Bound {
    tunnel: Tunnel,
    among: Arc<Mutex<Vec<Tunnel>>>,
    _counted: Counted,
}

/// A session that is kept without a link; no longer one when dropped.
#[derive(Debug)]
pub struct Away {
    _of_host: Option<Counted>,
    _of_token: Counted,
}

/// Sessions that are kept for clients without a token, of one address (IPv6: one /64).
const STRANGERS_OF_ONE_HOST: NonZeroU32 = NonZeroU32::new(64).expect("not zero");

/// The same of all addresses together.
const STRANGERS: NonZeroU32 = NonZeroU32::new(16_384).expect("not zero");

/// What a token is not for.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Forbidden {
    /// Tunnels of this kind.
    #[error("this token is not for tunnels of the kind {kind:?}, only for {only}")]
    Kind {
        /// The kind.
        kind: String,
        /// What it is for.
        only: Allowed,
    },
    /// This name.
    #[error("this token is not for the name {name}, only for {only}")]
    Name {
        /// The name.
        name: Name,
        /// What it is for.
        only: Allowed,
    },
    /// More of something.
    #[error("this token has as many as it may: {0}")]
    TooMany(Limit),
}

/// Why a session must end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// For programs.
    pub code: StopCode,
    /// For people: what happened and what to do.
    pub message: String,
}

impl Grant {
    pub(super) fn new(token: Arc<LiveToken>) -> Self {
        Self {
            token,
            strangers: None,
            bound: Arc::default(),
        }
    }

    pub(super) fn of_stranger(nobody: Arc<LiveToken>, away: Arc<Count>) -> Self {
        Self {
            strangers: Some(away),
            ..Self::new(nobody)
        }
    }

    /// The account's name; `anonymous` for those without a token, and for them only.
    pub fn account(&self) -> &Arc<str> {
        &self.token.account
    }

    /// Which token it was; `None` for those without.
    pub fn token(&self) -> Option<TokenId> {
        self.token.id
    }

    /// How much all sessions of the token may carry together.
    pub fn limits(&self) -> &Arc<Limits> {
        &self.token.limits
    }

    /// Whether this is everybody who came without a token.
    pub fn is_nobody(&self) -> bool {
        self.token.id.is_none()
    }

    /// Whether the token says this very name, and not only a pattern that it fits.
    pub fn lists(&self, name: &Name) -> bool {
        self.token
            .standing
            .borrow()
            .rules
            .names
            .lists(name.as_str())
    }

    /// Whether both are by the same token, so that one may go on with what the other has begun.
    pub fn is_of_the_same_token(&self, other: &Self) -> bool {
        self.token.id == other.token.id
    }

    /// One more link, as long as the answer lives.
    ///
    /// # Errors
    ///
    /// When the token has as many as it may.
    pub fn link(&self) -> Result<Counted, Limit> {
        let max = self.token.standing.borrow().rules.max_links;
        let counted = self.token.links.take(max);
        counted.ok_or_else(|| limit(LimitName::MaxLinks, max))
    }

    /// One more link that takes the place of at least one, and so is never one too many.
    pub fn link_instead(&self) -> Counted {
        self.token.links.add()
    }

    /// One more session that is kept without a link, as long as the answer lives. `None` if there are too
    /// many already: `most` of one token; of those without a token 64 of one host, and 16,384 of all.
    pub fn away(&self, most: NonZeroU32) -> Option<Away> {
        let (of_host, most) = match &self.strangers {
            None => (None, most),
            Some(away) => {
                let counted = away.take(Some(STRANGERS_OF_ONE_HOST.min(most)))?;
                (Some(counted), STRANGERS)
            }
        };
        Some(Away {
            _of_host: of_host,
            _of_token: self.token.away.take(Some(most))?,
        })
    }

    /// One more tunnel, as long as the answer lives.
    ///
    /// # Errors
    ///
    /// When the token is not for it, or has as many as it may.
    pub fn bind(&self, kind: &str, name: &Name) -> Result<Bound, Forbidden> {
        let max = self.token.standing.borrow().rules.max_tunnels;
        let counted = self.token.tunnels.take(max);
        let counted =
            counted.ok_or_else(|| Forbidden::TooMany(limit(LimitName::MaxTunnels, max)))?;
        let tunnel = Tunnel {
            kind: kind.into(),
            name: name.clone(),
        };
        // Written down before it is judged: rules that change meanwhile are seen here, or `ended` sees
        // this tunnel.
        lock(&self.bound).push(tunnel.clone());
        let bound = Bound {
            tunnel,
            among: Arc::clone(&self.bound),
            _counted: counted,
        };
        may(&self.token.standing.borrow(), &bound.tunnel)?;
        Ok(bound)
    }

    /// Resolves when the token is over, or no longer for something that was bound under it: then the
    /// session must end.
    ///
    /// Cancel safety: safe.
    pub async fn ended(&self) -> Stop {
        let mut stop = None;
        let mut standing = self.token.standing.subscribe();
        let waited = standing.wait_for(|standing| {
            stop = self.objection(standing);
            stop.is_some()
        });
        drop(waited.await);
        stop.expect("we hold the token, and with it the other end")
    }

    /// Changes with what the token is good for.
    pub(crate) fn changes(&self) -> watch::Receiver<Standing> {
        self.token.standing.subscribe()
    }

    fn objection(&self, standing: &Standing) -> Option<Stop> {
        if let Some(code) = standing.over {
            let message = match code {
                StopCode::TokenExpired => "the token's time is over",
                _ => "the token was revoked",
            };
            let message = format!("{message}: ask the server's operator for a new one");
            return Some(Stop { code, message });
        }
        let bound = lock(&self.bound);
        let forbidden = bound
            .iter()
            .find_map(|tunnel| may(standing, tunnel).err())?;
        Some(Stop {
            code: StopCode::TokenChanged,
            message: forbidden.to_string(),
        })
    }
}

fn may(standing: &Standing, Tunnel { kind, name }: &Tunnel) -> Result<(), Forbidden> {
    let rules = &standing.rules;
    if !rules.kinds.fits(kind) {
        return Err(Forbidden::Kind {
            kind: kind.to_string(),
            only: rules.kinds.clone(),
        });
    }
    if !rules.names.fits(name.as_str()) {
        return Err(Forbidden::Name {
            name: name.clone(),
            only: rules.names.clone(),
        });
    }
    Ok(())
}

fn limit(name: LimitName, max: Option<NonZeroU32>) -> Limit {
    let number = max.map_or(u32::MAX, NonZeroU32::get);
    Limit { name, number }
}

fn lock(bound: &Mutex<Vec<Tunnel>>) -> MutexGuard<'_, Vec<Tunnel>> {
    bound.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Bound {
    fn drop(&mut self) {
        let mut bound = lock(&self.among);
        if let Some(at) = bound.iter().position(|tunnel| *tunnel == self.tunnel) {
            bound.swap_remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Poll;

    use super::super::rules::Rules;
    use super::*;

    fn name(name: &str) -> Name {
        Name::parse(name).unwrap()
    }

    /// A grant under these rules, and the token behind it.
    fn under(rules: Rules) -> (Grant, Arc<LiveToken>) {
        let token = Arc::new(LiveToken::nobody("ann".into()));
        change(&token, rules);
        (Grant::new(Arc::clone(&token)), token)
    }

    fn change(token: &LiveToken, rules: Rules) {
        token
            .standing
            .send_modify(|standing| standing.rules = rules);
    }

    fn names(patterns: &[&str]) -> Rules {
        Rules {
            names: Allowed::only(patterns.iter().copied()),
            ..Rules::default()
        }
    }

    #[test]
    fn a_token_is_for_the_names_and_kinds_that_it_is_for() {
        let (grant, token) = under(names(&["api", "ann-*"]));
        let _ann = grant.bind("http", &name("ann-1")).unwrap();
        let _api = grant.bind("http", &name("api")).unwrap();
        let refused = grant.bind("http", &name("bob-1")).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "this token is not for the name bob-1, only for api or ann-*"
        );
        change(
            &token,
            Rules {
                kinds: Allowed::only(["tcp"]),
                ..Rules::default()
            },
        );
        let refused = grant.bind("http", &name("api")).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "this token is not for tunnels of the kind \"http\", only for tcp"
        );
    }

    #[test]
    fn tunnels_and_links_are_counted_over_all_sessions_of_a_token() {
        let (first, token) = under(Rules {
            max_links: NonZeroU32::new(2),
            max_tunnels: NonZeroU32::new(2),
            ..names(&["a*"])
        });
        let second = Grant::new(token);
        let a1 = first.bind("http", &name("a1")).unwrap();
        // What is refused for another reason is not counted.
        first.bind("http", &name("b1")).unwrap_err();
        let _a2 = second.bind("http", &name("a2")).unwrap();
        for grant in [&first, &second] {
            let refused = grant.bind("http", &name("a3")).unwrap_err();
            assert!(
                refused.to_string().contains("max-tunnels is 2"),
                "{refused}"
            );
        }
        drop(a1);
        let _a3 = second.bind("http", &name("a3")).unwrap();

        let link = first.link().unwrap();
        let _other = second.link().unwrap();
        assert_eq!(first.link().unwrap_err().to_string(), "max-links is 2");
        drop(link);
        second.link().unwrap();
    }

    #[test]
    fn a_session_ends_when_what_it_has_bound_is_no_longer_allowed() {
        let (grant, token) = under(Rules::default());
        let gone = grant.bind("http", &name("gone")).unwrap();
        let _api = grant.bind("http", &name("api")).unwrap();
        drop(gone);
        let mut ended = pin!(grant.ended());
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        assert_eq!(ended.as_mut().poll(&mut cx), Poll::Pending);
        change(&token, names(&["a*"]));
        assert_eq!(ended.as_mut().poll(&mut cx), Poll::Pending);

        change(&token, names(&["b*"]));

        let Poll::Ready(stop) = ended.as_mut().poll(&mut cx) else {
            panic!("it goes on");
        };
        assert_eq!(stop.code, StopCode::TokenChanged);
        assert_eq!(
            stop.message,
            "this token is not for the name api, only for b*"
        );
    }

    #[tokio::test]
    async fn a_session_ends_with_its_token() {
        for (over, said) in [
            (StopCode::TokenRevoked, "was revoked"),
            (StopCode::TokenExpired, "time is over"),
        ] {
            let (grant, token) = under(Rules::default());
            token
                .standing
                .send_modify(|standing| standing.over = Some(over));
            let stop = grant.ended().await;
            assert_eq!(stop.code, over);
            assert!(stop.message.contains(said), "{}", stop.message);
        }
    }
}
