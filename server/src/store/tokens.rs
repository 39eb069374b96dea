//! Tokens and the accounts they belong to.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};

use super::{Store, StoreError, UnixSeconds};
use crate::auth::rules::{Allowed, Caps, Rules};
use crate::auth::token::{TokenHash, TokenId};

/// A stored token: all there is to know but its secret, and the hash of that.
#[derive(Clone, Debug)]
pub struct TokenRow {
    /// Which one.
    pub id: TokenId,
    /// The name of the account that the token stands for.
    pub account: Arc<str>,
    /// What its maker wanted to remember; often nothing.
    pub note: String,
    /// When it was made.
    pub created: UnixSeconds,
    /// When somebody was last let in by it, to the minute.
    pub last_used: Option<UnixSeconds>,
    /// From when on nobody is let in by it any more.
    pub expires: Option<UnixSeconds>,
    /// When it was revoked.
    pub revoked: Option<UnixSeconds>,
    /// What its holder may do.
    pub rules: Rules,
}

impl TokenRow {
    /// Whether a use at `now` is worth writing down: a minute or more from the one on record.
    /// That may be a minute before it, after the clock was set back.
    pub fn is_due(&self, now: UnixSeconds) -> bool {
        self.last_used
            .is_none_or(|last| last.0.abs_diff(now.0) >= SECONDS_BETWEEN_USES.into())
    }

    /// Whether its time is over.
    pub fn is_expired(&self, now: UnixSeconds) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let time =
            |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.map(UnixSeconds));
        let allowed = |column| {
            let patterns: Option<String> = row.get(column)?;
            Ok::<_, rusqlite::Error>(Allowed::from_stored(patterns.as_deref()))
        };
        Ok(Self {
            id: row.get("id")?,
            account: row.get("account")?,
            note: row.get("note")?,
            created: UnixSeconds(row.get("created")?),
            last_used: time("last_used")?,
            expires: time("expires")?,
            revoked: time("revoked")?,
            rules: Rules {
                names: allowed("names")?,
                kinds: allowed("kinds")?,
                max_links: row.get("max_links")?,
                max_tunnels: row.get("max_tunnels")?,
                caps: Caps {
                    streams: row.get("max_streams")?,
                    requests_per_minute: row.get("max_requests_per_minute")?,
                    bytes_per_second: row.get("max_bytes_per_second")?,
                },
            },
        })
    }
}

const SECONDS_BETWEEN_USES: u32 = 60;

/// What [`TokenRow::read`] reads, of all tokens.
const SELECT: &str = "SELECT tokens.*, accounts.name AS account
     FROM tokens JOIN accounts ON accounts.id = tokens.account_id";

impl FromSql for TokenId {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Self::parse(value.as_str()?).ok_or(FromSqlError::InvalidType)
    }
}

/// A token that is to be stored.
#[derive(Clone, Debug)]
pub(crate) struct TokenToAdd {
    /// Which one.
    pub(crate) id: TokenId,
    /// Whose it is.
    pub(crate) account: Arc<str>,
    /// What its secret part hashes to.
    pub(crate) hash: TokenHash,
    /// Whatever its maker wants to remember.
    pub(crate) note: String,
    /// From when on nobody is let in by it.
    pub(crate) expires: Option<UnixSeconds>,
    /// What its holder may do.
    pub(crate) rules: Rules,
}

/// What there was to revoke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// Whose token it is.
    pub account: Arc<str>,
    /// When it was revoked before, if it was.
    pub before: Option<UnixSeconds>,
}

/// Stands for the content of the database: while two of them are equal, nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    /// Changes whenever another connection has committed, be it of another process.
    others: i64,
    /// Counts rows that this connection has changed; matters where it is the only one.
    own: u64,
}

impl Store {
    /// What the secret part of a token hashes to. For a token that does not exist it is `unknown`,
    /// found out in the same way and time.
    ///
    /// # Errors
    ///
    /// When SQLite cannot read.
    pub(crate) async fn hash_of_token(
        &self,
        id: TokenId,
        unknown: TokenHash,
    ) -> Result<TokenHash, StoreError> {
        self.read("look up a token in", move |db| {
            db.prepare_cached("SELECT ifnull((SELECT hash FROM tokens WHERE id = ?1), ?2)")?
                .query_row(params![id.to_string(), unknown.as_bytes()], |row| {
                    Ok(TokenHash::from_bytes(row.get(0)?))
                })
        })
        .await
    }

    /// Looks up a token.
    ///
    /// # Errors
    ///
    /// When SQLite cannot read.
    pub async fn find_token(&self, id: TokenId) -> Result<Option<TokenRow>, StoreError> {
        self.read("look up a token in", move |db| find(db, id))
            .await
    }

    /// Looks up tokens, all as they are at one moment. Those that do not exist are not in the answer.
    ///
    /// # Errors
    ///
    /// When SQLite cannot read.
    pub(crate) async fn find_tokens(
        &self,
        ids: Vec<TokenId>,
    ) -> Result<HashMap<TokenId, TokenRow>, StoreError> {
        self.read("look up tokens in", move |db| {
            let snapshot = db.unchecked_transaction()?;
            let mut found = HashMap::with_capacity(ids.len());
            for id in ids {
                found.extend(find(&snapshot, id)?.map(|row| (id, row)));
            }
            Ok(found)
        })
        .await
    }

    /// All tokens, also those that are no longer good, in the order in which they were made.
    ///
    /// # Errors
    ///
    /// When SQLite cannot read.
    pub async fn list_tokens(&self) -> Result<Vec<TokenRow>, StoreError> {
        self.read("list the tokens in", |db| {
            db.prepare(&format!("{SELECT} ORDER BY tokens.created, tokens.rowid"))?
                .query_map([], TokenRow::read)?
                .collect()
        })
        .await
    }

    /// Whether there is any token, or ever was one: tokens that are revoked or expired count, too, and
    /// accounts are made with their first token.
    ///
    /// # Errors
    ///
    /// When SQLite cannot read.
    pub async fn has_tokens(&self) -> Result<bool, StoreError> {
        self.read("look for tokens in", |db| {
            db.prepare_cached("SELECT EXISTS (SELECT 1 FROM accounts)")?
                .query_row([], |row| row.get(0))
        })
        .await
    }

    /// Which content the database has now.
    ///
    /// # Errors
    ///
    /// When SQLite cannot read.
    pub(crate) async fn version(&self) -> Result<Version, StoreError> {
        self.read("look for changes in", |db| {
            Ok(Version {
                others: db.pragma_query_value(None, "data_version", |row| row.get(0))?,
                own: db.total_changes(),
            })
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
        token: TokenToAdd,
        now: UnixSeconds,
    ) -> Result<(), StoreError> {
        self.write("add a token to", move |db| {
            let TokenToAdd {
                id,
                account,
                hash,
                note,
                expires,
                rules,
            } = token;
            let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            transaction.execute(
                "INSERT INTO accounts (name, created) VALUES (?1, ?2) ON CONFLICT (name) DO NOTHING",
                params![account, now.0],
            )?;
            transaction.execute(
                "INSERT INTO tokens (
                     id, account_id, hash, created, note, expires, names, kinds, max_links,
                     max_tunnels, max_streams, max_requests_per_minute, max_bytes_per_second
                 )
                 SELECT ?1, accounts.id, ?2, ?3, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13
                 FROM accounts WHERE accounts.name = ?4",
                params![
                    id.to_string(),
                    hash.as_bytes(),
                    now.0,
                    account,
                    note,
                    expires.map(|at| at.0),
                    rules.names.to_stored(),
                    rules.kinds.to_stored(),
                    rules.max_links,
                    rules.max_tunnels,
                    rules.caps.streams,
                    rules.caps.requests_per_minute,
                    rules.caps.bytes_per_second,
                ],
            )?;
            transaction.commit()
        })
        .await
    }

    /// Takes a token's power for good; `None` if there is no such token. One that was revoked before
    /// stays as it is. On the disk when this returns.
    ///
    /// # Errors
    ///
    /// When SQLite cannot write.
    pub(crate) async fn revoke_token(
        &self,
        id: TokenId,
        now: UnixSeconds,
    ) -> Result<Option<Revoked>, StoreError> {
        self.write("revoke a token in", move |db| {
            let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let revoked = find(&transaction, id)?.map(|row| Revoked {
                account: row.account,
                before: row.revoked,
            });
            transaction.execute(
                "UPDATE tokens SET revoked = ?2 WHERE id = ?1 AND revoked IS NULL",
                params![id.to_string(), now.0],
            )?;
            transaction.commit()?;
            Ok(revoked)
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

fn find(db: &Connection, id: TokenId) -> rusqlite::Result<Option<TokenRow>> {
    db.prepare_cached(&format!("{SELECT} WHERE tokens.id = ?1"))?
        .query_row([id.to_string()], TokenRow::read)
        .optional()
}

#[cfg(test)]
impl TokenToAdd {
    /// A new token of this account that may do everything.
    pub(crate) fn of(account: &str) -> Self {
        let (id, _, hash) = crate::auth::token::Token::generate();
        Self {
            id,
            account: account.into(),
            hash,
            note: String::new(),
            expires: None,
            rules: Rules::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::super::scratch::Scratch;
    use super::*;

    /// Adds a token of this account at time 0.
    async fn add(store: &Store, account: &str) -> TokenId {
        let token = TokenToAdd::of(account);
        let id = token.id;
        store.add_token(token, UnixSeconds(0)).await.unwrap();
        id
    }

    #[tokio::test]
    async fn an_added_token_is_found_by_another_handle_on_the_file() {
        let scratch = Scratch::new();
        let server = Store::open(scratch.path()).unwrap();
        let cli = Store::open(scratch.path()).unwrap();
        assert!(!server.has_tokens().await.unwrap());

        let max = NonZeroU32::new;
        let token = TokenToAdd {
            note: "for the café".into(),
            expires: Some(UnixSeconds(1000)),
            rules: Rules {
                names: Allowed::only(["api", "ann-*"]),
                kinds: Allowed::only(["http"]),
                max_links: max(1),
                max_tunnels: max(2),
                caps: Caps {
                    streams: max(3),
                    requests_per_minute: max(4),
                    bytes_per_second: max(u32::MAX),
                },
            },
            ..TokenToAdd::of("ann")
        };
        cli.add_token(token.clone(), UnixSeconds(7)).await.unwrap();

        assert!(server.has_tokens().await.unwrap());
        let row = server.find_token(token.id).await.unwrap().unwrap();
        assert_eq!(row.id, token.id);
        assert_eq!(&*row.account, "ann");
        assert_eq!(row.note, "for the café");
        assert_eq!(row.created, UnixSeconds(7));
        assert_eq!(row.last_used, None);
        assert_eq!(row.expires, Some(UnixSeconds(1000)));
        assert_eq!(row.revoked, None);
        assert_eq!(row.rules, token.rules);

        let hash = |id| server.hash_of_token(id, TokenHash::from_bytes([0; 32]));
        assert!(hash(token.id).await.unwrap().matches(&token.hash));

        let unknown = TokenToAdd::of("ann").id;
        assert_eq!(hash(unknown).await.unwrap().as_bytes(), &[0; 32]);
        assert!(server.find_token(unknown).await.unwrap().is_none());
        let found = server.find_tokens(vec![unknown, token.id]).await.unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[&token.id].rules, token.rules);
    }

    #[tokio::test]
    async fn tokens_are_listed_in_the_order_of_their_making() {
        let store = Store::in_memory().unwrap();
        assert_eq!(store.list_tokens().await.unwrap().len(), 0);
        let mut made = Vec::new();
        for account in ["bob", "ann", "bob", "zoe", "ann"] {
            made.push((add(&store, account).await, account));
        }
        let listed = store.list_tokens().await.unwrap();
        let listed: Vec<_> = listed.iter().map(|row| (row.id, &*row.account)).collect();
        assert_eq!(listed, made);
    }

    #[tokio::test]
    async fn a_token_is_revoked_once_and_never_forgotten() {
        let store = Store::in_memory().unwrap();
        let (id, other) = (add(&store, "ann").await, add(&store, "ann").await);

        for (at, before) in [(50, None), (60, Some(UnixSeconds(50)))] {
            let revoked = store.revoke_token(id, UnixSeconds(at)).await.unwrap();
            let account = "ann".into();
            assert_eq!(revoked, Some(Revoked { account, before }));
            let row = store.find_token(id).await.unwrap().unwrap();
            assert_eq!(row.revoked, Some(UnixSeconds(50)));
        }
        let row = store.find_token(other).await.unwrap().unwrap();
        assert_eq!(row.revoked, None);
        store.revoke_token(other, UnixSeconds(70)).await.unwrap();
        assert!(store.has_tokens().await.unwrap());

        let unknown = TokenToAdd::of("ann").id;
        let revoked = store.revoke_token(unknown, UnixSeconds(80)).await.unwrap();
        assert_eq!(revoked, None);
    }

    #[tokio::test]
    async fn the_version_changes_with_every_change_whoever_makes_it() {
        let scratch = Scratch::new();
        let server = Store::open(scratch.path()).unwrap();
        let cli = Store::open(scratch.path()).unwrap();
        let alone = Store::in_memory().unwrap();
        for (watcher, writer) in [(&server, &cli), (&server, &server), (&alone, &alone)] {
            let mut known = watcher.version().await.unwrap();
            assert_eq!(watcher.version().await.unwrap(), known);
            let id = add(writer, "ann").await;
            for _ in 0..2 {
                let version = watcher.version().await.unwrap();
                assert_ne!(version, known);
                known = version;
                assert_eq!(watcher.version().await.unwrap(), known);
                writer.revoke_token(id, UnixSeconds(1)).await.unwrap();
            }
        }
    }

    #[tokio::test]
    async fn an_account_has_many_tokens_and_one_row() {
        let store = Store::in_memory().unwrap();
        for _ in 0..3 {
            add(&store, "ann").await;
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
        let id = add(&store, "ann").await;

        let again = TokenToAdd {
            id,
            ..TokenToAdd::of("bob")
        };
        let refused = store.add_token(again, UnixSeconds(0)).await;

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
        let id = add(&store, "ann").await;

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
