//! Who may open a link, and what for: the holders of tokens and, where the server says so, anybody.
//!
//! [`Auth::admit`] answers once, at the login. What it gives, a [`Grant`], is asked at every bind, and
//! says by itself when it no longer holds: [`Auth::watch`] looks several times a second whether a token
//! that is in use was revoked or changed, in whichever process, or has expired.

mod create;
mod grant;
mod last_used;
mod live;
pub mod rules;
mod strangers;
pub mod token;
mod watch;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ngrnotok_common::failures::{self, Failures, Verdict};
use ngrnotok_common::secret::Secret;
use thiserror::Error;
use tracing::warn;

pub use self::create::{CreateTokenError, NewToken, create_token};
pub use self::grant::{Bound, Forbidden, Grant, Stop};
use self::last_used::LastUsed;
use self::live::{LiveToken, LiveTokens};
use self::strangers::Strangers;
use self::token::{Token, TokenHash, TokenId};
use crate::store::{Revoked, Store, StoreError, UnixSeconds};

/// Decides who may open a link. Clones share what they know.
#[derive(Clone, Debug)]
pub struct Auth {
    store: Option<Store>,
    anonymous: Anonymous,
    nobody: Arc<LiveToken>,
    strangers: Arc<Strangers>,
    live: LiveTokens,
    failures: Arc<Mutex<Failures>>,
    last_used: LastUsed,
}

/// Whether clients without a token are let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anonymous {
    /// Not at all: a server that strangers can reach.
    Never,
    /// All of them: `--allow-anonymous`.
    Always,
    /// As long as there has never been a token: a server on loopback that nobody has set up yet; one that
    /// other machines can reach does not start with it. Once there was a token they stay out, also when it
    /// is revoked or expired.
    WhileNoTokenExists,
}

/// Why a link was not opened. The texts are fit for the client's eyes: they name no file of the
/// server.
#[derive(Debug, Error)]
pub enum AuthError {
    /// There was no token, and anonymous clients are not let in.
    #[error(
        "open a link without a token, which this server asks for: give one with --token-file or NGRNOTOK_TOKEN"
    )]
    TokenMissing,
    /// The token is unknown, malformed or wrong; which of them is nobody's business.
    #[error(
        "open a link with a token that this server does not accept: check what --token-file or NGRNOTOK_TOKEN gives, or ask the server's operator for a new one"
    )]
    TokenRefused,
    /// The token is right and was revoked. Only its holder is told so.
    #[error("open a link with a token that was revoked: ask the server's operator for a new one")]
    TokenRevoked,
    /// The token is right and its time is over. Only its holder is told so.
    #[error("open a link with a token whose time is over: ask the server's operator for a new one")]
    TokenExpired,
    /// The token is not right, like many before it from the same address.
    #[error(
        "open a link with a token that this server does not accept, as often before from this address: check what --token-file or NGRNOTOK_TOKEN gives, and try again in {} s",
        retry_after.as_secs()
    )]
    TooManyFailures {
        /// When the address begins anew.
        retry_after: Duration,
    },
    /// The store could not be asked.
    #[error(
        "open a link while the server cannot look up tokens: try again, and if that does not help ask the server's operator to read its log"
    )]
    Unavailable(#[from] StoreError),
}

impl Auth {
    /// Lets in who has a token in `store`, and others as `anonymous` says. Without a store no
    /// token exists.
    pub fn new(store: Option<Store>, anonymous: Anonymous) -> Self {
        Self {
            store,
            anonymous,
            nobody: Arc::new(LiveToken::nobody(Arc::from(ANONYMOUS))),
            strangers: Arc::default(),
            live: LiveTokens::default(),
            failures: Arc::default(),
            last_used: LastUsed::default(),
        }
    }

    /// Whether strangers are let in until somebody makes a token, which is not for servers that other
    /// machines can reach.
    pub(crate) fn is_open_until_there_is_a_token(&self) -> bool {
        self.anonymous == Anonymous::WhileNoTokenExists
    }

    /// Whose link it is that comes with `token` from `address`, and what it may do. A token that was
    /// presented must be right even where none is needed: its owner believes to be somebody.
    ///
    /// Takes a second more from an address with many failures. That a token was used is written down in
    /// the background, at most once a minute. Dropping the future is safe.
    ///
    /// # Errors
    ///
    /// When a token is needed and missing, when one was presented and is not right or not good any more,
    /// and when the store cannot be read.
    pub async fn admit(&self, token: Option<&Secret>, address: IpAddr) -> Result<Grant, AuthError> {
        self.admit_at(token, address, UnixSeconds::now()).await
    }

    async fn admit_at(
        &self,
        token: Option<&Secret>,
        address: IpAddr,
        now: UnixSeconds,
    ) -> Result<Grant, AuthError> {
        let Some(text) = token else {
            return self.admit_anonymous(address).await;
        };
        if self.failures().must_wait(address) {
            tokio::time::sleep(failures::WAIT).await;
        }
        let refused = match self.admit_token(text, now).await {
            Err(refused) if !matches!(refused, AuthError::Unavailable(_)) => refused,
            admitted => return admitted,
        };
        match self.failures().note(address) {
            Verdict::Failed => Err(refused),
            Verdict::LastFree => {
                warn!(%address, "many wrong tokens from one address within a minute; more of them are answered 429");
                Err(refused)
            }
            Verdict::TooMany(retry_after) => Err(AuthError::TooManyFailures { retry_after }),
        }
    }

    async fn admit_token(&self, text: &Secret, now: UnixSeconds) -> Result<Grant, AuthError> {
        let Some(store) = &self.store else {
            return Err(AuthError::TokenRefused);
        };
        let token = Token::parse(text.expose()).ok_or(AuthError::TokenRefused)?;

        let expected = store.hash_of_token(token.id, TokenHash::DUMMY).await?;
        if !token.hash.matches(&expected) {
            return Err(AuthError::TokenRefused);
        }
        // Only for its holder: to read all of it takes longer than to find nothing.
        let row = store.find_token(token.id).await?;
        let row = row.ok_or(AuthError::TokenRefused)?;
        if row.revoked.is_some() {
            return Err(AuthError::TokenRevoked);
        }
        if row.is_expired(now) {
            return Err(AuthError::TokenExpired);
        }
        if row.is_due(now) {
            self.last_used.note(store, token.id, now);
        }
        Ok(Grant::new(self.live.join(&row)))
    }

    async fn admit_anonymous(&self, address: IpAddr) -> Result<Grant, AuthError> {
        let welcome = match (self.anonymous, &self.store) {
            (Anonymous::Never, _) => false,
            (Anonymous::Always, _) | (Anonymous::WhileNoTokenExists, None) => true,
            (Anonymous::WhileNoTokenExists, Some(store)) => !store.has_tokens().await?,
        };
        if !welcome {
            return Err(AuthError::TokenMissing);
        }
        let nobody = Arc::clone(&self.nobody);
        Ok(Grant::of_stranger(nobody, self.strangers.away(address)))
    }

    fn failures(&self) -> MutexGuard<'_, Failures> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a token's power for good, in this process and every other; `None` if there is no such token.
/// Sessions that run on it end within a second, wherever they are.
///
/// # Errors
///
/// When the store cannot write.
pub async fn revoke_token(store: &Store, id: TokenId) -> Result<Option<Revoked>, StoreError> {
    store.revoke_token(id, UnixSeconds::now()).await
}

/// The name of those without a token, which no account may have.
pub(crate) const ANONYMOUS: &str = "anonymous";

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::num::NonZeroU32;
    use std::time::Duration;

    use ngrnotok_common::hostname::Name;
    use ngrnotok_common::protocol::control::StopCode;
    use rusqlite::Connection;

    use super::*;
    use crate::store::scratch::Scratch;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    const EVERY: [Anonymous; 3] = [
        Anonymous::Never,
        Anonymous::Always,
        Anonymous::WhileNoTokenExists,
    ];

    #[tokio::test]
    async fn a_created_token_is_admitted_as_its_account() {
        let store = Store::in_memory().unwrap();
        let token = create_token(&store, "ann").await.unwrap();

        for anonymous in EVERY {
            let auth = Auth::new(Some(store.clone()), anonymous);
            assert_eq!(
                &**auth.admit(Some(&token), HERE).await.unwrap().account(),
                "ann"
            );
        }
    }

    #[tokio::test]
    async fn a_token_made_by_another_process_is_admitted_at_once() {
        let scratch = Scratch::new();
        let server = Store::open(scratch.path()).unwrap();
        let auth = Auth::new(Some(server), Anonymous::WhileNoTokenExists);
        assert_eq!(
            &**auth.admit(None, HERE).await.unwrap().account(),
            "anonymous"
        );

        let cli = Store::open(scratch.path()).unwrap();
        let token = create_token(&cli, "ann").await.unwrap();

        assert_eq!(
            &**auth.admit(Some(&token), HERE).await.unwrap().account(),
            "ann"
        );
        assert!(matches!(
            auth.admit(None, HERE).await,
            Err(AuthError::TokenMissing)
        ));
    }

    #[tokio::test]
    async fn wrong_unknown_and_malformed_tokens_are_refused_alike_in_every_mode() {
        let store = Store::in_memory().unwrap();
        let right = create_token(&store, "ann").await.unwrap();
        let (head, secret) = right.expose().rsplit_once('_').unwrap();
        let (_, unknown, _) = Token::generate();
        let bad = [
            Secret::new(format!("{head}_{}", "0".repeat(64))),
            Secret::new(format!("{head}_{}", flip_last(secret))),
            unknown,
            Secret::new("ngrt_nonsense"),
            Secret::new(""),
        ];

        for anonymous in EVERY {
            for store in [Some(store.clone()), None] {
                let auth = Auth::new(store, anonymous);
                for token in &bad {
                    let refused = auth.admit(Some(token), HERE).await.unwrap_err();
                    assert!(matches!(refused, AuthError::TokenRefused), "{refused:?}");
                    assert_eq!(refused.to_string(), AuthError::TokenRefused.to_string());
                }
            }
        }
    }

    #[tokio::test]
    async fn a_missing_token_is_answered_by_the_mode() {
        let empty = || Some(Store::in_memory().unwrap());
        let used = Store::in_memory().unwrap();
        create_token(&used, "ann").await.unwrap();
        let used = || Some(used.clone());

        for (store, anonymous, welcome) in [
            (None, Anonymous::Never, false),
            (empty(), Anonymous::Never, false),
            (used(), Anonymous::Never, false),
            (None, Anonymous::Always, true),
            (empty(), Anonymous::Always, true),
            (used(), Anonymous::Always, true),
            (None, Anonymous::WhileNoTokenExists, true),
            (empty(), Anonymous::WhileNoTokenExists, true),
            (used(), Anonymous::WhileNoTokenExists, false),
        ] {
            let case = format!("{store:?} {anonymous:?}");
            match Auth::new(store, anonymous).admit(None, HERE).await {
                Ok(grant) => {
                    assert!(welcome, "{case}");
                    assert_eq!(&**grant.account(), "anonymous");
                }
                Err(refused) => {
                    assert!(!welcome, "{case}");
                    let text = refused.to_string();
                    assert!(text.contains("--token-file"), "{text}");
                    assert!(text.contains("NGRNOTOK_TOKEN"), "{text}");
                }
            }
        }
    }

    #[tokio::test]
    async fn strangers_who_are_away_are_counted_by_host() {
        let auth = Auth::new(None, Anonymous::Always);
        let most = NonZeroU32::new(1024).unwrap();
        let from = async |address: &str| auth.admit(None, address.parse().unwrap()).await.unwrap();
        let mut flood = Vec::new();
        for n in 0..1100 {
            // One host has many addresses of IPv6.
            let grant = from(&format!("2001:db8:0:1::{n:x}")).await;
            flood.extend(grant.away(most).map(|away| (grant, away)));
        }
        assert_eq!(flood.len(), 64);
        assert!(from("2001:db8:0:1::").await.away(most).is_none());
        assert!(from("2001:db8:0:2::1").await.away(most).is_some());
        assert!(from("192.0.2.1").await.away(most).is_some());
        flood.pop();
        assert!(from("2001:db8:0:1::").await.away(most).is_some());
    }

    #[tokio::test]
    async fn whoever_has_many_hosts_does_not_fill_the_server() {
        let auth = Auth::new(None, Anonymous::Always);
        let most = NonZeroU32::new(1024).unwrap();
        let mut flood = Vec::new();
        for n in 0..300_u32 {
            let address = Ipv4Addr::from(n).into();
            let grant = auth.admit(None, address).await.unwrap();
            let away: Vec<_> = (0..100).map_while(|_| grant.away(most)).collect();
            flood.push((grant, away));
        }
        let away: usize = flood.iter().map(|(_, away)| away.len()).sum();
        assert_eq!(away, 16_384);
    }

    #[tokio::test]
    async fn a_use_is_noted_at_most_once_a_minute() {
        let store = Store::in_memory().unwrap();
        let token = create_token(&store, "ann").await.unwrap();
        let id = Token::parse(token.expose()).unwrap().id;
        let auth = Auth::new(Some(store.clone()), Anonymous::Never);

        for (at, noted) in [(1000, 1000), (1030, 1000), (1061, 1061)] {
            auth.admit_at(Some(&token), HERE, UnixSeconds(at))
                .await
                .unwrap();
            auth.last_used.written().await;
            let row = store.find_token(id).await.unwrap().unwrap();
            assert_eq!(row.last_used, Some(UnixSeconds(noted)), "at {at}");
        }
    }

    #[tokio::test]
    async fn a_refused_token_is_not_noted() {
        let store = Store::in_memory().unwrap();
        let token = create_token(&store, "ann").await.unwrap();
        let (head, secret) = token.expose().rsplit_once('_').unwrap();
        let auth = Auth::new(Some(store.clone()), Anonymous::Never);

        let wrong = Secret::new(format!("{head}_{}", flip_last(secret)));
        auth.admit(Some(&wrong), HERE).await.unwrap_err();
        auth.last_used.written().await;

        let id = Token::parse(token.expose()).unwrap().id;
        let row = store.find_token(id).await.unwrap().unwrap();
        assert_eq!(row.last_used, None);
    }

    #[tokio::test]
    async fn a_process_that_holds_the_write_lock_delays_nobody() {
        let scratch = Scratch::new();
        let store = Store::open(scratch.path()).unwrap();
        let tokens = [
            create_token(&store, "ann").await.unwrap(),
            create_token(&store, "bob").await.unwrap(),
        ];
        let auth = Auth::new(Some(store.clone()), Anonymous::Never);
        let other = Connection::open(scratch.path().join("server.db")).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();

        // Less than the busy timeout, so that waiting for the lock would be found out.
        let admissions = async {
            for token in tokens.iter().cycle().take(20) {
                auth.admit_at(Some(token), HERE, UnixSeconds(1000))
                    .await
                    .unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(4), admissions)
            .await
            .unwrap();

        other.execute_batch("COMMIT").unwrap();
        auth.last_used.written().await;
        for token in &tokens {
            let id = Token::parse(token.expose()).unwrap().id;
            let row = store.find_token(id).await.unwrap().unwrap();
            assert_eq!(row.last_used, Some(UnixSeconds(1000)));
        }
    }

    #[tokio::test]
    async fn a_use_that_cannot_be_noted_fails_no_admission() {
        let scratch = Scratch::new();
        let store = Store::open(scratch.path()).unwrap();
        let token = create_token(&store, "ann").await.unwrap();
        let auth = Auth::new(Some(store), Anonymous::Never);
        let other = Connection::open(scratch.path().join("server.db")).unwrap();
        other
            .execute_batch(
                "CREATE TRIGGER full BEFORE UPDATE ON tokens
                 BEGIN SELECT raise(ABORT, 'disk full'); END",
            )
            .unwrap();

        for _ in 0..2 {
            auth.admit(Some(&token), HERE).await.unwrap();
            auth.last_used.written().await;
        }
    }

    #[tokio::test]
    async fn a_store_that_cannot_be_read_lets_nobody_in_and_tells_the_client_no_path() {
        let scratch = Scratch::new();
        let store = Store::open(scratch.path()).unwrap();
        let token = create_token(&store, "ann").await.unwrap();
        let auth = Auth::new(Some(store), Anonymous::WhileNoTokenExists);
        let other = Connection::open(scratch.path().join("server.db")).unwrap();
        other
            .execute_batch("DROP TABLE tokens; DROP TABLE accounts")
            .unwrap();

        for presented in [Some(&token), None] {
            let refused = auth.admit(presented, HERE).await.unwrap_err();
            assert!(matches!(refused, AuthError::Unavailable(_)), "{refused:?}");
            assert!(!refused.to_string().contains("server.db"), "{refused}");
        }
    }

    #[tokio::test]
    async fn only_the_holder_learns_that_a_token_was_revoked_or_has_expired() {
        let store = Store::in_memory().unwrap();
        let revoked = create_token(&store, "ann").await.unwrap();
        let id = Token::parse(revoked.expose()).unwrap().id;
        revoke_token(&store, id).await.unwrap().unwrap();
        let expired = NewToken {
            expires: Some(UnixSeconds(1000)),
            ..NewToken::from("ann")
        };
        let expired = create_token(&store, expired).await.unwrap();
        let auth = Auth::new(Some(store), Anonymous::Always);

        let at = async |token: &Secret, now| {
            let now = UnixSeconds(now);
            auth.admit_at(Some(token), HERE, now).await
        };
        at(&expired, 999).await.unwrap();
        let refused = at(&expired, 1000).await.unwrap_err();
        assert!(matches!(refused, AuthError::TokenExpired), "{refused:?}");
        let refused = at(&revoked, 0).await.unwrap_err();
        assert!(matches!(refused, AuthError::TokenRevoked), "{refused:?}");
        for token in [&expired, &revoked] {
            let (head, secret) = token.expose().rsplit_once('_').unwrap();
            let wrong = Secret::new(format!("{head}_{}", flip_last(secret)));
            let refused = at(&wrong, 1000).await.unwrap_err();
            assert!(matches!(refused, AuthError::TokenRefused), "{refused:?}");
        }
    }

    #[tokio::test]
    async fn those_without_a_token_stay_out_once_there_was_one() {
        let store = Store::in_memory().unwrap();
        let auth = Auth::new(Some(store.clone()), Anonymous::WhileNoTokenExists);
        auth.admit(None, HERE).await.unwrap();
        let token = create_token(&store, "ann").await.unwrap();
        let id = Token::parse(token.expose()).unwrap().id;
        revoke_token(&store, id).await.unwrap().unwrap();
        let refused = auth.admit(None, HERE).await.unwrap_err();
        assert!(matches!(refused, AuthError::TokenMissing), "{refused:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn wrong_tokens_are_counted_and_right_ones_get_in_all_the_same() {
        let store = Store::in_memory().unwrap();
        let right = create_token(&store, "ann").await.unwrap();
        let (_, wrong, _) = Token::generate();
        let auth = Auth::new(Some(store), Anonymous::Never);
        let took = async |token: &Secret, address| {
            let began = tokio::time::Instant::now();
            (auth.admit(Some(token), address).await, began.elapsed())
        };
        for _ in 0..10 {
            let (refused, took) = took(&wrong, HERE).await;
            let refused = refused.unwrap_err();
            assert!(matches!(refused, AuthError::TokenRefused), "{refused:?}");
            assert_eq!(took, Duration::ZERO);
        }
        // From now on the right one takes as long as the wrong one.
        let (refused, wait) = took(&wrong, HERE).await;
        let Err(AuthError::TooManyFailures { retry_after }) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(retry_after + wait, Duration::from_secs(60));
        let (admitted, same_wait) = took(&right, HERE).await;
        assert_eq!(&**admitted.unwrap().account(), "ann");
        assert_eq!(same_wait, wait);
        // A missing token is no wrong one, and another address is another one.
        let refused = auth.admit(None, HERE).await.unwrap_err();
        assert!(matches!(refused, AuthError::TokenMissing), "{refused:?}");
        let (refused, took) = took(&wrong, Ipv4Addr::new(192, 0, 2, 1).into()).await;
        assert!(matches!(refused, Err(AuthError::TokenRefused)));
        assert_eq!(took, Duration::ZERO);
    }

    #[tokio::test]
    async fn an_unknown_token_takes_as_long_as_a_wrong_one() {
        const RUNS: u32 = 400;

        let scratch = Scratch::new();
        let store = Store::open(scratch.path()).unwrap();
        let right = create_token(&store, "ann").await.unwrap();
        let (head, secret) = right.expose().rsplit_once('_').unwrap();
        let wrong = Secret::new(format!("{head}_{}", flip_last(secret)));
        let (_, unknown, _) = Token::generate();
        let auth = Auth::new(Some(store), Anonymous::Never);

        let mut times = [Vec::new(), Vec::new()];
        let mut said = [String::new(), String::new()];
        for run in 0..RUNS {
            // In turns, so that both meet the same machine.
            for (at, token) in [&unknown, &wrong].into_iter().enumerate() {
                let address = IpAddr::V4(run.into());
                let began = tokio::time::Instant::now();
                let refused = auth.admit(Some(token), address).await.unwrap_err();
                times[at].push(began.elapsed());
                said[at] = format!("{refused:?} {refused}");
            }
        }
        assert_eq!(said[0], said[1]);
        let [unknown, wrong] = times.map(|mut times| {
            times.sort();
            times[times.len() / 2].as_secs_f64()
        });
        let ratio = unknown / wrong;
        println!("unknown {unknown:.6} s, wrong {wrong:.6} s, ratio {ratio:.2}");
        assert!((0.4..2.5).contains(&ratio), "{unknown} s and {wrong} s");
    }

    #[tokio::test(start_paused = true)]
    async fn what_another_process_does_to_a_token_reaches_those_who_use_it() {
        let scratch = Scratch::new();
        let auth = Auth::new(Some(Store::open(scratch.path()).unwrap()), Anonymous::Never);
        let cli = Store::open(scratch.path()).unwrap();
        let other = Connection::open(scratch.path().join("server.db")).unwrap();
        let mut watch = std::pin::pin!(auth.watch());
        for (change, code) in [
            ("SET revoked = 1", StopCode::TokenRevoked),
            ("SET expires = 1", StopCode::TokenExpired),
            ("SET names = 'b*'", StopCode::TokenChanged),
            ("SET kinds = 'tcp'", StopCode::TokenChanged),
            ("SET id = 'lost'", StopCode::TokenRevoked),
        ] {
            let token = create_token(&cli, "ann").await.unwrap();
            let grant = auth.admit(Some(&token), HERE).await.unwrap();
            let _api = grant.bind("http", &Name::parse("api").unwrap()).unwrap();
            // All that has happened so far is known.
            let quiet = async {
                tokio::select! {
                    stop = grant.ended() => panic!("{stop:?}"),
                    never = &mut watch => match never {},
                }
            };
            let quiet = tokio::time::timeout(Duration::from_secs(1), quiet).await;
            assert!(quiet.is_err());

            let change = format!("UPDATE tokens {change} WHERE revoked IS NULL AND id <> 'lost'");
            other.execute_batch(&change).unwrap();

            let ended = async {
                tokio::select! {
                    stop = grant.ended() => stop,
                    never = &mut watch => match never {},
                }
            };
            let ended = tokio::time::timeout(Duration::from_secs(1), ended);
            assert_eq!(ended.await.expect(&change).code, code, "{change}");
            drop(grant);
            other
                .execute_batch("UPDATE tokens SET revoked = 1")
                .unwrap();
        }
    }

    #[tokio::test]
    async fn a_token_that_is_revoked_between_two_looks_at_it_does_not_slip_through() {
        let store = Store::in_memory().unwrap();
        let auth = Auth::new(Some(store.clone()), Anonymous::Never);
        let token = create_token(&store, "ann").await.unwrap();
        let id = Token::parse(token.expose()).unwrap().id;
        // Somebody else keeps the watch busy, so that it has seen all changes.
        let other = create_token(&store, "bob").await.unwrap();
        let _bob = auth.admit(Some(&other), HERE).await.unwrap();
        let stale = store.find_token(id).await.unwrap().unwrap();
        revoke_token(&store, id).await.unwrap();
        let mut watch = std::pin::pin!(auth.watch());
        let seen = tokio::time::timeout(Duration::from_millis(500), &mut watch).await;
        assert!(seen.is_err(), "it never ends");

        let grant = Grant::new(auth.live.join(&stale));

        let ended = async {
            tokio::select! {
                stop = grant.ended() => stop.code,
                never = watch => match never {},
            }
        };
        let code = tokio::time::timeout(Duration::from_secs(10), ended).await;
        assert_eq!(code.unwrap(), StopCode::TokenRevoked);
    }

    #[tokio::test]
    async fn a_store_that_fails_ends_nobodys_session() {
        let scratch = Scratch::new();
        let store = Store::open(scratch.path()).unwrap();
        let token = create_token(&store, "ann").await.unwrap();
        let auth = Auth::new(Some(store), Anonymous::Never);
        let grant = auth.admit(Some(&token), HERE).await.unwrap();
        let other = Connection::open(scratch.path().join("server.db")).unwrap();
        other
            .execute_batch("ALTER TABLE accounts RENAME TO lost")
            .unwrap();
        let ended = async {
            tokio::select! {
                stop = grant.ended() => stop,
                never = auth.watch() => match never {},
            }
        };
        let mut ended = std::pin::pin!(ended);
        let quiet = tokio::time::timeout(Duration::from_secs(1), &mut ended).await;
        assert!(quiet.is_err(), "{quiet:?}");
        // And when it works again, the watch goes on.
        other
            .execute_batch("ALTER TABLE lost RENAME TO accounts; UPDATE tokens SET revoked = 1")
            .unwrap();
        let stop = tokio::time::timeout(Duration::from_secs(10), ended).await;
        assert_eq!(stop.unwrap().code, StopCode::TokenRevoked);
    }

    fn flip_last(secret: &str) -> String {
        let (rest, last) = secret.split_at(secret.len() - 1);
        format!("{rest}{}", if last == "0" { "1" } else { "0" })
    }
}
