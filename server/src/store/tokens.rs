//! Tokens and the accounts they belong to.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{OptionalExtension, TransactionBehavior, params};

use super::{Store, StoreError, UnixSeconds};
use crate::auth::token::{TokenHash, TokenId};

/// A stored token: all there is to know but its secret.
#[derive(Clone, Debug)]
pub struct TokenRow {
    /// The name of the account that the token stands for.
    pub account: Arc<str>,
    /// What the secret part of the token hashes to.
    pub hash: TokenHash,
    /// When somebody was last let in by it, to the minute.
    pub last_used: Option<UnixSeconds>,
}

impl TokenRow {
    /// Whether a use at `now` is worth writing down: a minute or more from the one on record.
    /// That may be a minute before it, after the clock was set back.
    pub fn is_due(&self, now: UnixSeconds) -> bool {
        self.last_used
            .is_none_or(|last| last.0.abs_diff(now.0) >= SECONDS_BETWEEN_USES.into())
    }
}

const SECONDS_BETWEEN_USES: u32 = 60;

impl Store {
    /// Looks up a token.
    ///
    /// # Errors
    ///
    /// When SQLite cannot read.
    pub async fn find_token(&self, id: TokenId) -> Result<Option<TokenRow>, StoreError> {
        self.read("look up a token in", move |db| {
            db.prepare_cached(
                "SELECT accounts.name, tokens.hash, tokens.last_used
                 FROM tokens JOIN accounts ON accounts.id = tokens.account_id
                 WHERE tokens.id = ?1",
            )?
            .query_row([id.to_string()], |row| {
                Ok(TokenRow {
                    account: row.get(0)?,
                    hash: TokenHash::from_bytes(row.get(1)?),
                    last_used: row.get::<_, Option<i64>>(2)?.map(UnixSeconds),
                })
            })
            .optional()
        })
        .await
    }

    /// Whether there is any token.
    ///
    /// # Errors
    ///
    /// When SQLite cannot read.
    pub async fn has_tokens(&self) -> Result<bool, StoreError> {
        self.read("look for tokens in", |db| {
            db.prepare_cached("SELECT EXISTS (SELECT 1 FROM tokens)")?
                .query_row([], |row| row.get(0))
        })
        .await
    }

    /// Adds a token, and its account if there is none of that name. The token is on the disk when
    /// this returns.
    ///
    /// # Errors
    ///
    /// When SQLite cannot write, or there is a token of that id.
    pub(crate) async fn add_token(
        &self,
        account: Arc<str>,
        id: TokenId,
        hash: TokenHash,
        now: UnixSeconds,
    ) -> Result<(), StoreError> {
        self.write("add a token to", move |db| {
            let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            transaction.execute(
                "INSERT INTO accounts (name, created) VALUES (?1, ?2) ON CONFLICT (name) DO NOTHING",
                params![account, now.0],
            )?;
            transaction.execute(
                "INSERT INTO tokens (id, account_id, hash, created)
                 SELECT ?1, accounts.id, ?2, ?3 FROM accounts WHERE accounts.name = ?4",
                params![id.to_string(), hash.as_bytes(), now.0, account],
            )?;
            transaction.commit()
        })
        .await
    }

    /// Writes down when tokens were last used, all at once. Passes over those that are gone and,
    /// because callers decide by a row that may be out of date, those that are not due.
    ///
    /// # Errors
    ///
    /// When SQLite cannot write; then none is written.
    pub(crate) async fn note_uses(
        &self,
        uses: HashMap<TokenId, UnixSeconds>,
    ) -> Result<(), StoreError> {
        self.write("note the use of tokens in", move |db| {
            let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            {
                let mut update = transaction.prepare_cached(
                    "UPDATE tokens SET last_used = ?2
                     WHERE id = ?1 AND (last_used IS NULL OR abs(last_used - ?2) >= ?3)",
                )?;
                for (id, at) in &uses {
                    update.execute(params![id.to_string(), at.0, SECONDS_BETWEEN_USES])?;
                }
            }
            transaction.commit()
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::super::scratch::Scratch;
    use super::*;
    use crate::auth::token::Token;

    #[tokio::test]
    async fn an_added_token_is_found_by_another_handle_on_the_file() {
        let scratch = Scratch::new();
        let server = Store::open(scratch.path()).unwrap();
        let cli = Store::open(scratch.path()).unwrap();
        assert!(!server.has_tokens().await.unwrap());

        let (id, _, hash) = Token::generate();
        cli.add_token("ann".into(), id, hash, UnixSeconds(7))
            .await
            .unwrap();

        assert!(server.has_tokens().await.unwrap());
        let row = server.find_token(id).await.unwrap().unwrap();
        assert_eq!(&*row.account, "ann");
        assert_eq!(row.last_used, None);
        assert!(row.hash.matches(&hash));

        let (unknown, _, _) = Token::generate();
        assert!(server.find_token(unknown).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn an_account_has_many_tokens_and_one_row() {
        let store = Store::in_memory().unwrap();
        for created in 0..3 {
            let (id, _, hash) = Token::generate();
            store
                .add_token("ann".into(), id, hash, UnixSeconds(created))
                .await
                .unwrap();
        }

        let counts: (i64, i64) = store
            .read("count in", |db| {
                db.query_row(
                    "SELECT (SELECT count(*) FROM accounts), (SELECT count(*) FROM tokens)",
                    [],
                    |row| Ok((row.get(0)?, row.get(1)?)),
                )
            })
            .await
            .unwrap();
        assert_eq!(counts, (1, 3));
    }

    #[tokio::test]
    async fn a_token_that_cannot_be_added_leaves_no_account() {
        let store = Store::in_memory().unwrap();
        let (id, _, hash) = Token::generate();
        store
            .add_token("ann".into(), id, hash, UnixSeconds(0))
            .await
            .unwrap();

        let refused = store
            .add_token("bob".into(), id, hash, UnixSeconds(0))
            .await;

        assert!(matches!(refused, Err(StoreError::Query { .. })));
        let accounts: i64 = store
            .read("count in", |db| {
                db.query_row("SELECT count(*) FROM accounts", [], |row| row.get(0))
            })
            .await
            .unwrap();
        assert_eq!(accounts, 1);
    }

    #[tokio::test]
    async fn a_use_is_noted_once_a_minute_in_either_direction_of_the_clock() {
        let store = Store::in_memory().unwrap();
        let (id, _, hash) = Token::generate();
        store
            .add_token("ann".into(), id, hash, UnixSeconds(0))
            .await
            .unwrap();

        for (at, noted) in [
            (1000, 1000),
            (1059, 1000),
            (1060, 1060),
            (1001, 1060),
            (1000, 1000),
        ] {
            let due = store
                .find_token(id)
                .await
                .unwrap()
                .unwrap()
                .is_due(UnixSeconds(at));
            store
                .note_uses(HashMap::from([(id, UnixSeconds(at))]))
                .await
                .unwrap();

            let row = store.find_token(id).await.unwrap().unwrap();
            assert_eq!(row.last_used, Some(UnixSeconds(noted)), "at {at}");
            assert_eq!(due, at == noted, "at {at}");
        }
    }
}
