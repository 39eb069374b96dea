//! Who may open a link: the holders of tokens and, where the server says so, anybody.

mod create;
mod last_used;
pub mod token;

use std::sync::Arc;

use ngrnotok_common::secret::Secret;
use thiserror::Error;

pub use self::create::{CreateTokenError, create_token};
use self::last_used::LastUsed;
use self::token::{Token, TokenHash};
use crate::store::{Store, StoreError, UnixSeconds};

/// Decides who may open a link. Clones share what they know.
#[derive(Clone, Debug)]
pub struct Auth {
    store: Option<Store>,
    anonymous: Anonymous,
    nobody: Account,
    last_used: LastUsed,
}

/// Whether clients without a token are let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anonymous {
    /// Not at all: a server that strangers can reach.
    Never,
    /// All of them: `--allow-anonymous`.
    Always,
    /// As long as there is no token: a server on loopback that nobody has set up yet.
    WhileNoTokenExists,
}

/// On whose behalf a link is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The account's name; `anonymous` for those without a token, and for them only.
    pub name: Arc<str>,
}

impl Account {
    /// Whether this is everybody who came without a token.
    pub fn is_nobody(&self) -> bool {
        &*self.name == ANONYMOUS
    }
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
            nobody: Account {
                name: Arc::from(ANONYMOUS),
            },
            last_used: LastUsed::default(),
        }
    }

    /// Whose link it is that comes with `token`. A token that was presented must be right even
    /// where none is needed: its owner believes to be somebody.
    ///
    /// That a token was used is written down in the background, at most once a minute. Dropping
    /// the future is safe.
    ///
    /// # Errors
    ///
    /// When a token is needed and missing, when one was presented and is not right, and when the
    /// store cannot be read.
    pub async fn admit(&self, token: Option<&Secret>) -> Result<Account, AuthError> {
        self.admit_at(token, UnixSeconds::now()).await
    }

    async fn admit_at(
        &self,
        token: Option<&Secret>,
        now: UnixSeconds,
    ) -> Result<Account, AuthError> {
        match token {
            Some(text) => self.admit_token(text, now).await,
            None => self.admit_anonymous().await,
        }
    }

    async fn admit_token(&self, text: &Secret, now: UnixSeconds) -> Result<Account, AuthError> {
        let Some(store) = &self.store else {
            return Err(AuthError::TokenRefused);
        };
        let token = Token::parse(text.expose()).ok_or(AuthError::TokenRefused)?;

        let row = store.find_token(token.id).await?;
        let expected = row.as_ref().map_or(TokenHash::DUMMY, |row| row.hash);
        let is_right = token.hash.matches(&expected);

        let Some(row) = row.filter(|_| is_right) else {
            return Err(AuthError::TokenRefused);
        };
        if row.is_due(now) {
            self.last_used.note(store, token.id, now);
        }
        Ok(Account { name: row.account })
    }

    async fn admit_anonymous(&self) -> Result<Account, AuthError> {
        let welcome = match (self.anonymous, &self.store) {
            (Anonymous::Never, _) => false,
            (Anonymous::Always, _) | (Anonymous::WhileNoTokenExists, None) => true,
            (Anonymous::WhileNoTokenExists, Some(store)) => !store.has_tokens().await?,
        };
        if !welcome {
            return Err(AuthError::TokenMissing);
        }
        Ok(self.nobody.clone())
    }
}

/// The name of those without a token, which no account may have.
const ANONYMOUS: &str = "anonymous";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rusqlite::Connection;

    use super::*;
    use crate::store::scratch::Scratch;

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
            assert_eq!(&*auth.admit(Some(&token)).await.unwrap().name, "ann");
        }
    }

    #[tokio::test]
    async fn a_token_made_by_another_process_is_admitted_at_once() {
        let scratch = Scratch::new();
        let server = Store::open(scratch.path()).unwrap();
        let auth = Auth::new(Some(server), Anonymous::WhileNoTokenExists);
        assert_eq!(&*auth.admit(None).await.unwrap().name, "anonymous");

        let cli = Store::open(scratch.path()).unwrap();
        let token = create_token(&cli, "ann").await.unwrap();

        assert_eq!(&*auth.admit(Some(&token)).await.unwrap().name, "ann");
        assert!(matches!(
            auth.admit(None).await,
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
                    let refused = auth.admit(Some(token)).await.unwrap_err();
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
            match Auth::new(store, anonymous).admit(None).await {
                Ok(account) => {
                    assert!(welcome, "{case}");
                    assert_eq!(&*account.name, "anonymous");
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
    async fn a_use_is_noted_at_most_once_a_minute() {
        let store = Store::in_memory().unwrap();
        let token = create_token(&store, "ann").await.unwrap();
        let id = Token::parse(token.expose()).unwrap().id;
        let auth = Auth::new(Some(store.clone()), Anonymous::Never);

        for (at, noted) in [(1000, 1000), (1030, 1000), (1061, 1061)] {
            auth.admit_at(Some(&token), UnixSeconds(at)).await.unwrap();
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
        auth.admit(Some(&wrong)).await.unwrap_err();
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
                auth.admit_at(Some(token), UnixSeconds(1000)).await.unwrap();
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
            auth.admit(Some(&token)).await.unwrap();
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
        other.execute_batch("DROP TABLE tokens").unwrap();

        for presented in [Some(&token), None] {
            let refused = auth.admit(presented).await.unwrap_err();
            assert!(matches!(refused, AuthError::Unavailable(_)), "{refused:?}");
            assert!(!refused.to_string().contains("server.db"), "{refused}");
        }
    }

    fn flip_last(secret: &str) -> String {
        let (rest, last) = secret.split_at(secret.len() - 1);
        format!("{rest}{}", if last == "0" { "1" } else { "0" })
    }
}
