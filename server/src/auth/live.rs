//! Tokens while somebody uses them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use ngrnotok_common::protocol::control::StopCode;
use tokio::sync::watch;

use super::rules::Rules;
use super::token::TokenId;
use crate::session::{Count, Limits};
use crate::store::{TokenRow, UnixSeconds};

/// The tokens that are in use on this server; clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct LiveTokens(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    tokens: Mutex<HashMap<TokenId, Weak<LiveToken>>>,
    /// Somebody came in by a row that may have changed between its reading and now.
    unchecked: AtomicBool,
}

impl LiveTokens {
    /// The token of a row by which somebody comes in. All who use a token share one of these.
    pub(super) fn join(&self, row: &TokenRow) -> Arc<LiveToken> {
        let mut tokens = self.lock();
        let known = tokens.get(&row.id).and_then(Weak::upgrade);
        // Those who hold one that is over are on their way out, and nobody joins them.
        let token = known
            .filter(|token| token.over().is_none())
            .unwrap_or_else(|| Arc::new(LiveToken::of(row)));
        tokens.insert(row.id, Arc::downgrade(&token));
        drop(tokens);
        // The row is as old as its reading. What happened to it since is for the next round to find.
        self.0.unchecked.store(true, Ordering::Release);
        token
    }

    /// Those who are still in use; the others are forgotten.
    pub(super) fn all(&self) -> Vec<Arc<LiveToken>> {
        let mut tokens = self.lock();
        let all: Vec<_> = tokens.values().filter_map(Weak::upgrade).collect();
        if all.len() < tokens.len() {
            tokens.retain(|_, token| token.strong_count() > 0);
        }
        all
    }

    /// Whether somebody has come in since this was last asked.
    pub(super) fn take_unchecked(&self) -> bool {
        self.0.unchecked.swap(false, Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TokenId, Weak<LiveToken>>> {
        self.0.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A token that is in use, or what stands for it with those who have none.
#[derive(Debug)]
pub(super) struct LiveToken {
    pub(super) id: Option<TokenId>,
    pub(super) account: Arc<str>,
    pub(super) standing: watch::Sender<Standing>,
    pub(super) limits: Arc<Limits>,
    pub(super) links: Count,
    /// Sessions without a link that are kept.
    pub(super) away: Count,
    pub(super) tunnels: Count,
}

/// What a token is good for now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(super) rules: Rules,
    pub(super) expires: Option<UnixSeconds>,
    /// It is good for nothing any more, and will not be again.
    pub(super) over: Option<StopCode>,
}

impl LiveToken {
    /// Stands for clients without a token, who may do everything.
    pub(super) fn nobody(account: Arc<str>) -> Self {
        Self::new(None, account, Standing::default())
    }

    fn of(row: &TokenRow) -> Self {
        let standing = Standing {
            rules: row.rules.clone(),
            expires: row.expires,
            over: None,
        };
        Self::new(Some(row.id), Arc::clone(&row.account), standing)
    }

    fn new(id: Option<TokenId>, account: Arc<str>, standing: Standing) -> Self {
        Self {
            id,
            account,
            limits: Limits::new(standing.rules.caps),
            standing: watch::Sender::new(standing),
            links: Count::default(),
            away: Count::default(),
            tunnels: Count::default(),
        }
    }

    /// Takes over what the store says now; without a row the token is as good as revoked.
    pub(super) fn update(&self, row: Option<&TokenRow>) {
        let standing = match row {
            Some(row) if row.revoked.is_none() => Standing {
                rules: row.rules.clone(),
                expires: row.expires,
                over: None,
            },
            _ => Standing {
                over: Some(StopCode::TokenRevoked),
                ..self.standing.borrow().clone()
            },
        };
        self.limits.set(standing.rules.caps);
        self.standing.send_if_modified(|now| {
            let changes = now.over.is_none() && *now != standing;
            if changes {
                *now = standing;
            }
            changes
        });
    }

    /// Ends it when its time is over.
    pub(super) fn expire(&self, now: UnixSeconds) {
        self.standing.send_if_modified(|standing| {
            let expires = standing.over.is_none() && standing.expires.is_some_and(|at| at <= now);
            if expires {
                standing.over = Some(StopCode::TokenExpired);
            }
            expires
        });
    }

    fn over(&self) -> Option<StopCode> {
        self.standing.borrow().over
    }
}

#[cfg(test)]
mod tests {
    use super::super::rules::Allowed;
    use super::super::token::Token;
    use super::*;

    fn row() -> TokenRow {
        let (id, _, _) = Token::generate();
        TokenRow {
            id,
            account: "ann".into(),
            note: String::new(),
            created: UnixSeconds(0),
            last_used: None,
            expires: Some(UnixSeconds(100)),
            revoked: None,
            rules: Rules::default(),
        }
    }

    #[test]
    fn all_who_use_a_token_share_it_and_nobody_is_remembered() {
        let (live, row) = (LiveTokens::default(), row());
        let first = live.join(&row);
        assert!(Arc::ptr_eq(&first, &live.join(&row)));
        assert_eq!(live.all().len(), 1);
        drop(first);
        assert_eq!(live.all().len(), 0);
        assert_eq!(live.lock().len(), 0);
    }

    #[test]
    fn whoever_comes_in_is_looked_at_once_more() {
        let live = LiveTokens::default();
        assert!(!live.take_unchecked());
        let _token = live.join(&row());
        assert!(live.take_unchecked());
        assert!(!live.take_unchecked());
    }

    #[test]
    fn a_token_is_over_when_it_is_revoked_gone_or_expired_and_stays_over() {
        let good = row();
        let revoked = TokenRow {
            revoked: Some(UnixSeconds(50)),
            ..row()
        };
        for (end, code) in [
            (
                (|token, _| token.update(None)) as fn(&LiveToken, &TokenRow),
                StopCode::TokenRevoked,
            ),
            (
                |token, revoked| token.update(Some(revoked)),
                StopCode::TokenRevoked,
            ),
            (
                |token, _| token.expire(UnixSeconds(100)),
                StopCode::TokenExpired,
            ),
        ] {
            let live = LiveTokens::default();
            let token = live.join(&good);
            token.update(Some(&good));
            token.expire(UnixSeconds(99));
            assert_eq!(token.over(), None);
            end(&token, &revoked);
            assert_eq!(token.over(), Some(code));
            token.update(Some(&good));
            assert_eq!(token.over(), Some(code));
            // Whoever comes in by a row that is good has nothing to do with those who must leave.
            let next = live.join(&good);
            assert!(!Arc::ptr_eq(&token, &next));
            assert_eq!(next.over(), None);
        }
    }

    #[test]
    fn rules_change_for_those_who_are_in() {
        let mut row = row();
        let token = LiveTokens::default().join(&row);
        let mut seen = token.standing.subscribe();
        token.update(Some(&row));
        assert!(!seen.has_changed().unwrap());
        row.rules.names = Allowed::only(["api"]);
        token.update(Some(&row));
        assert!(seen.has_changed().unwrap());
        assert_eq!(seen.borrow_and_update().rules, row.rules);
    }
}
