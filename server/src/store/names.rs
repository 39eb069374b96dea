//! Names that are kept for accounts: by the operator's word, or because they were used.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use ngrnotok_common::hostname::Name;
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};

use super::{Store, StoreError, UnixSeconds};
use crate::auth::token::TokenId;

/// What there is to know about a name before somebody binds it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameRecord {
    /// The account that it is reserved for.
    pub reserved_for: Option<Arc<str>>,
    /// Who has used it last.
    pub used: Option<NameUse>,
}

/// The last use of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameUse {
    /// Who used it.
    pub account: Arc<str>,
    /// Until when, as far as is known. It lies ahead while somebody uses the name: a server that is
    /// killed has said beforehand what it could not say afterwards.
    pub until: UnixSeconds,
}

/// A name that is kept for an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptName {
    /// Which one.
    pub name: String,
    /// Whose.
    pub account: Arc<str>,
    /// Since when it is reserved; `None` if it was only used.
    pub reserved: Option<UnixSeconds>,
    /// Until when the account has used it.
    pub used: Option<UnixSeconds>,
}

/// What became of the wish to reserve a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reserving {
    /// It is reserved now; whoever else has used it last.
    Done(Option<Arc<str>>),
    /// It was before, for the same account.
    Already,
    /// It is reserved for this one.
    ByOther(Arc<str>),
    /// There is no account of that name.
    NoAccount,
}

/// Names that are held by one token: 1000. Whoever uses more of them loses the hold on the oldest. Not of an
/// account: a token for some names must not push out what others of its account hold.
const MOST_HELD: u32 = 1000;

/// Names that are taken for used after a restart: 65,536, some 6 MB for a minute.
const MOST_IN_USE: u32 = 65_536;

/// Uses that are written in one transaction, so that nobody who binds a name waits long for it.
const AT_ONCE: usize = 1000;

impl Store {
    /// What there is to know about a name.
    ///
    /// # Errors
    ///
    /// When SQLite cannot read.
    pub(crate) async fn find_name(&self, name: &Name) -> Result<NameRecord, StoreError> {
        let name = name.to_string();
        self.read("look up a name in", move |db| {
            let snapshot = db.unchecked_transaction()?;
            Ok(NameRecord {
                reserved_for: owner(&snapshot, &name)?,
                used: last_use(&snapshot, &name)?,
            })
        })
        .await
    }

    /// Holds a name for an account that uses it until then by this token. False if it is held for another one, whose
    /// last use was after `lapsed`: of two who race, also from two processes, one gets it. On the disk
    /// when this returns.
    ///
    /// # Errors
    ///
    /// When SQLite cannot write.
    pub(crate) async fn hold_name(
        &self,
        name: &Name,
        account: &Arc<str>,
        token: Option<TokenId>,
        until: UnixSeconds,
        lapsed: UnixSeconds,
    ) -> Result<bool, StoreError> {
        let (name, account) = (name.to_string(), Arc::clone(account));
        let token = token.map(|id| id.to_string());
        self.write("hold a name in", move |db| {
            let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let held = transaction
                .prepare_cached(
                    "INSERT INTO held_names (name, account, token, used_until) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT (name) DO UPDATE SET account = ?2, token = ?3, used_until = ?4
                     WHERE account = ?2 OR used_until <= ?5",
                )?
                .execute(params![name, account, token, until.0, lapsed.0])?;
            transaction
                .prepare_cached(
                    "DELETE FROM held_names WHERE rowid IN (
                         SELECT rowid FROM held_names WHERE account = ?1 AND token IS ?2
                         ORDER BY used_until DESC, rowid DESC LIMIT -1 OFFSET ?3
                     )",
                )?
                .execute(params![account, token, MOST_HELD])?;
            transaction.commit()?;
            Ok(held == 1)
        })
        .await
    }

    /// Names whose use goes on, as far as was written down: those of a server that has ended meanwhile. At
    /// most 65,536.
    ///
    /// # Errors
    ///
    /// When SQLite cannot read.
    pub(crate) async fn names_in_use(
        &self,
        now: UnixSeconds,
    ) -> Result<HashSet<Box<str>>, StoreError> {
        self.read("look up the names that are used in", move |db| {
            db.prepare(
                "SELECT name FROM held_names WHERE used_until > ?1
                 ORDER BY used_until DESC LIMIT ?2",
            )?
            .query_map(params![now.0, MOST_IN_USE], |row| row.get(0))?
            .collect()
        })
        .await
    }

    /// Writes down until when names are used, or were, and passes over those that are no longer held for
    /// who used them.
    ///
    /// # Errors
    ///
    /// When SQLite cannot write.
    pub(crate) async fn note_name_uses(
        &self,
        uses: Vec<(Box<str>, Arc<str>)>,
        until: UnixSeconds,
    ) -> Result<(), StoreError> {
        for uses in uses.chunks(AT_ONCE).map(<[_]>::to_vec) {
            self.write("note the use of names in", move |db| {
                let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
                {
                    let mut update = transaction.prepare_cached(
                        "UPDATE held_names SET used_until = ?3 WHERE name = ?1 AND account = ?2",
                    )?;
                    for (name, account) in &uses {
                        update.execute(params![name, account, until.0])?;
                    }
                }
                transaction.commit()
            })
            .await?;
        }
        Ok(())
    }

    /// Forgets uses that ended before `lapsed`. None can last beyond `latest`; those that seem to were
    /// written under a clock that was wrong.
    ///
    /// # Errors
    ///
    /// When SQLite cannot write.
    pub(crate) async fn forget_name_uses(
        &self,
        lapsed: UnixSeconds,
        latest: UnixSeconds,
    ) -> Result<(), StoreError> {
        self.write("forget names in", move |db| {
            db.execute("DELETE FROM held_names WHERE used_until <= ?1", [lapsed.0])?;
            db.execute(
                "UPDATE held_names SET used_until = ?1 WHERE used_until > ?1",
                [latest.0],
            )?;
            Ok(())
        })
        .await
    }

    /// Reserves a name for an account. On the disk when this returns.
    ///
    /// # Errors
    ///
    /// When SQLite cannot write.
    pub async fn reserve_name(
        &self,
        name: &Name,
        account: &str,
        now: UnixSeconds,
    ) -> Result<Reserving, StoreError> {
        let (name, account) = (name.to_string(), account.to_owned());
        self.write("reserve a name in", move |db| {
            let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            match owner(&transaction, &name)? {
                Some(owner) if *owner == *account => return Ok(Reserving::Already),
                Some(owner) => return Ok(Reserving::ByOther(owner)),
                None => {}
            }
            let reserved = transaction.execute(
                "INSERT INTO reserved_names (name, account_id, created)
                 SELECT ?1, id, ?3 FROM accounts WHERE accounts.name = ?2",
                params![name, account, now.0],
            )?;
            if reserved == 0 {
                return Ok(Reserving::NoAccount);
            }
            let used = last_use(&transaction, &name)?.map(|used| used.account);
            transaction.commit()?;
            Ok(Reserving::Done(used.filter(|user| **user != *account)))
        })
        .await
    }

    /// Gives a name back that was reserved, or else one that is held because it was used. What it was, and
    /// what is left; `None` if it was neither.
    ///
    /// # Errors
    ///
    /// When SQLite cannot write.
    pub async fn release_name(
        &self,
        name: &Name,
    ) -> Result<Option<(KeptName, NameRecord)>, StoreError> {
        let name = name.to_string();
        self.write("release a name in", move |db| {
            let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let Some(kept) = transaction
                .prepare(&format!("{SELECT} WHERE kept.name = ?1"))?
                .query_row([&name], KeptName::read)
                .optional()?
            else {
                return Ok(None);
            };
            let table = match kept.reserved {
                Some(_) => "reserved_names",
                None => "held_names",
            };
            transaction.execute(&format!("DELETE FROM {table} WHERE name = ?1"), [&name])?;
            let left = NameRecord {
                reserved_for: None,
                used: last_use(&transaction, &name)?,
            };
            transaction.commit()?;
            Ok(Some((kept, left)))
        })
        .await
    }

    /// All names that are reserved, and the accounts that they are for.
    ///
    /// # Errors
    ///
    /// When SQLite cannot read.
    pub(crate) async fn list_reserved(&self) -> Result<HashMap<Box<str>, Arc<str>>, StoreError> {
        self.read("list the reserved names in", |db| {
            db.prepare_cached(
                "SELECT reserved_names.name, accounts.name FROM reserved_names
                 JOIN accounts ON accounts.id = reserved_names.account_id",
            )?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect()
        })
        .await
    }

    /// All names that are kept for accounts, in the order of the alphabet.
    ///
    /// # Errors
    ///
    /// When SQLite cannot read.
    pub async fn list_names(&self) -> Result<Vec<KeptName>, StoreError> {
        self.read("list the names in", |db| {
            db.prepare(&format!("{SELECT} ORDER BY kept.name"))?
                .query_map([], KeptName::read)?
                .collect()
        })
        .await
    }
}

/// What [`KeptName::read`] reads. Of a reserved name that another account has used, the use is left out.
const SELECT: &str = "SELECT * FROM (
         SELECT reserved_names.name AS name, accounts.name AS account,
                reserved_names.created AS reserved, held_names.used_until AS used
         FROM reserved_names
         JOIN accounts ON accounts.id = reserved_names.account_id
         LEFT JOIN held_names
             ON held_names.name = reserved_names.name AND held_names.account = accounts.name
         UNION ALL
         SELECT name, account, NULL, used_until FROM held_names
         WHERE name NOT IN (SELECT name FROM reserved_names)
     ) AS kept";

impl KeptName {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let time =
            |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.map(UnixSeconds));
        Ok(Self {
            name: row.get("name")?,
            account: row.get("account")?,
            reserved: time("reserved")?,
            used: time("used")?,
        })
    }
}

fn owner(db: &Connection, name: &str) -> rusqlite::Result<Option<Arc<str>>> {
    db.prepare_cached(
        "SELECT accounts.name FROM reserved_names
         JOIN accounts ON accounts.id = reserved_names.account_id
         WHERE reserved_names.name = ?1",
    )?
    .query_row([name], |row| row.get(0))
    .optional()
}

fn last_use(db: &Connection, name: &str) -> rusqlite::Result<Option<NameUse>> {
    db.prepare_cached("SELECT account, used_until FROM held_names WHERE name = ?1")?
        .query_row([name], |row| {
            Ok(NameUse {
                account: row.get(0)?,
                until: UnixSeconds(row.get(1)?),
            })
        })
        .optional()
}

#[cfg(test)]
mod tests {
    use super::super::{TokenToAdd, scratch::Scratch};
    use super::*;
    use crate::auth::token::Token;

    fn name(name: &str) -> Name {
        Name::parse(name).unwrap()
    }

    async fn hold(store: &Store, wanted: &str, account: &str, until: i64, lapsed: i64) -> bool {
        hold_by(store, None, wanted, account, until, lapsed).await
    }

    async fn hold_by(
        store: &Store,
        token: Option<TokenId>,
        wanted: &str,
        account: &str,
        until: i64,
        lapsed: i64,
    ) -> bool {
        let (account, until, lapsed) = (account.into(), UnixSeconds(until), UnixSeconds(lapsed));
        let held = store
            .hold_name(&name(wanted), &account, token, until, lapsed)
            .await;
        held.unwrap()
    }

    async fn accounts(store: &Store, accounts: &[&str]) {
        for account in accounts {
            let token = TokenToAdd::of(account);
            store.add_token(token, UnixSeconds(0)).await.unwrap();
        }
    }

    async fn reserve(store: &Store, wanted: &str, account: &str) -> Reserving {
        let reserving = store
            .reserve_name(&name(wanted), account, UnixSeconds(7))
            .await;
        reserving.unwrap()
    }

    #[tokio::test]
    async fn a_held_name_goes_to_another_account_when_its_time_is_over() {
        let store = Store::in_memory().unwrap();
        assert!(hold(&store, "app", "ann", 100, 0).await);
        assert!(hold(&store, "app", "ann", 200, 0).await);
        assert!(!hold(&store, "app", "bob", 300, 199).await);
        let used = store.find_name(&name("app")).await.unwrap().used.unwrap();
        assert_eq!((&*used.account, used.until), ("ann", UnixSeconds(200)));
        assert!(hold(&store, "app", "bob", 300, 200).await);
    }

    #[tokio::test]
    async fn a_token_holds_a_thousand_names_and_loses_the_oldest() {
        let store = Store::in_memory().unwrap();
        assert!(hold(&store, "bobs", "bob", 0, 0).await);
        for n in 0..i64::from(MOST_HELD) {
            // All at once, but for the first.
            assert!(hold(&store, &format!("n{n}"), "ann", n.min(1), 0).await);
        }
        assert_eq!(store.list_names().await.unwrap().len(), 1001);
        assert!(hold(&store, "one-more", "ann", 1, 0).await);
        let left = store.list_names().await.unwrap();
        assert_eq!(left.len(), 1001);
        let has = |name| left.iter().any(|kept| kept.name == name);
        assert!(has("one-more") && has("bobs") && has("n1") && !has("n0"));
    }

    #[tokio::test]
    async fn a_token_pushes_out_nothing_that_others_of_its_account_hold() {
        let store = Store::in_memory().unwrap();
        let [(some, ..), (other, ..)] = [(); 2].map(|()| Token::generate());
        assert!(hold_by(&store, Some(other), "others", "ann", 0, 0).await);
        assert!(hold(&store, "nobodys", "ann", 0, 0).await);
        for n in 0..=MOST_HELD {
            let name = format!("ann-{n}");
            assert!(hold_by(&store, Some(some), &name, "ann", 1, 0).await);
        }
        let left = store.list_names().await.unwrap();
        assert_eq!(left.len(), 1002);
        let has = |name| left.iter().any(|kept| kept.name == name);
        assert!(has("others") && has("nobodys") && has("ann-1000") && !has("ann-0"));
    }

    #[tokio::test]
    async fn uses_are_noted_for_those_who_hold_the_names() {
        let store = Store::in_memory().unwrap();
        for name in ["a", "b"] {
            assert!(hold(&store, name, "ann", 100, 0).await);
        }
        let uses = vec![
            ("a".into(), "ann".into()),
            ("b".into(), "bob".into()),
            ("c".into(), "ann".into()),
        ];
        store.note_name_uses(uses, UnixSeconds(50)).await.unwrap();
        let until = async |wanted| {
            let used = store.find_name(&name(wanted)).await.unwrap().used;
            used.map(|used| used.until.0)
        };
        assert_eq!(until("a").await, Some(50));
        assert_eq!(until("b").await, Some(100));
        assert_eq!(until("c").await, None);
    }

    #[tokio::test]
    async fn names_whose_use_goes_on_are_in_use() {
        let store = Store::in_memory().unwrap();
        for (name, until) in [("over", 100), ("on", 101), ("longer", 900)] {
            assert!(hold(&store, name, "ann", until, 0).await);
        }
        let in_use = store.names_in_use(UnixSeconds(100)).await.unwrap();
        assert_eq!(in_use, ["on", "longer"].map(Into::into).into());
    }

    #[tokio::test]
    async fn a_name_is_reserved_listed_and_released() {
        let scratch = Scratch::new();
        let store = Store::open(scratch.path()).unwrap();
        assert_eq!(reserve(&store, "shop", "ann").await, Reserving::NoAccount);
        accounts(&store, &["ann", "bob"]).await;
        assert_eq!(reserve(&store, "shop", "ann").await, Reserving::Done(None));
        assert_eq!(reserve(&store, "shop", "ann").await, Reserving::Already);
        let by_other = Reserving::ByOther("ann".into());
        assert_eq!(reserve(&store, "shop", "bob").await, by_other);
        for (name, account) in [("shop", "ann"), ("demo", "bob"), ("app", "anonymous")] {
            assert!(hold(&store, name, account, 100, 0).await);
        }
        let used = Reserving::Done(Some("bob".into()));
        assert_eq!(reserve(&store, "demo", "ann").await, used);

        let kept = |name: &str, account: &str, reserved, used| KeptName {
            name: name.into(),
            account: account.into(),
            reserved,
            used,
        };
        let (seven, hundred) = (Some(UnixSeconds(7)), Some(UnixSeconds(100)));
        let all = [
            kept("app", "anonymous", None, hundred),
            kept("demo", "ann", seven, None),
            kept("shop", "ann", seven, hundred),
        ];
        assert_eq!(store.list_names().await.unwrap(), all);

        // First what the operator has said, then what is left.
        for (what, left) in [
            (kept("shop", "ann", seven, hundred), Some("ann")),
            (kept("shop", "ann", None, hundred), None),
        ] {
            let (was, now) = store.release_name(&name("shop")).await.unwrap().unwrap();
            assert_eq!(was, what);
            assert_eq!(now.used.map(|used| used.account), left.map(Into::into));
        }
        assert_eq!(store.release_name(&name("shop")).await.unwrap(), None);
        assert_eq!(store.list_names().await.unwrap(), all[..2]);
    }
}
