//! Hosts that accounts have proved to be their own, or are about to.

use std::sync::Arc;

use ngrnotok_common::hostname::Name;
use rusqlite::{OptionalExtension, Row, TransactionBehavior, params};

use super::{Store, StoreError, UnixSeconds};

/// A host of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    /// Which one.
    pub host: String,
    /// Whose.
    pub account: Arc<str>,
    /// What a TXT record must say to prove it.
    pub proof: String,
    /// When the operator added it.
    pub added: UnixSeconds,
    /// When the record was last seen; `None`: never.
    pub verified: Option<UnixSeconds>,
}

/// What became of the wish to add a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Adding {
    /// It is there now.
    Done(Domain),
    /// It was before, for the same account.
    Already(Domain),
    /// It is another account's.
    ByOther(Arc<str>),
    /// There is no account of that name.
    NoAccount,
}

impl Store {
    /// Adds a host for an account, to be proved by a record that says `proof`. On the disk when this
    /// returns.
    ///
    /// # Errors
    ///
    /// When SQLite cannot write.
    pub async fn add_domain(
        &self,
        host: &Name,
        account: &str,
        proof: &str,
        now: UnixSeconds,
    ) -> Result<Adding, StoreError> {
        let (host, account, proof) = (host.to_string(), account.to_owned(), proof.to_owned());
        self.write("add a domain to", move |db| {
            let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let find = |host: &str| {
                transaction
                    .prepare(&format!("{SELECT} WHERE domains.host = ?1"))?
                    .query_row([host], Domain::read)
                    .optional()
            };
            match find(&host)? {
                Some(domain) if *domain.account == *account => {
                    return Ok(Adding::Already(domain));
                }
                Some(domain) => return Ok(Adding::ByOther(domain.account)),
                None => {}
            }
            transaction.execute(
                "INSERT INTO domains (host, account_id, proof, added)
                 SELECT ?1, id, ?3, ?4 FROM accounts WHERE accounts.name = ?2",
                params![host, account, proof, now.0],
            )?;
            let added = find(&host)?;
            transaction.commit()?;
            Ok(added.map_or(Adding::NoAccount, Adding::Done))
        })
        .await
    }

    /// Looks up a host.
    ///
    /// # Errors
    ///
    /// When SQLite cannot read.
    pub async fn find_domain(&self, host: &Name) -> Result<Option<Domain>, StoreError> {
        let host = host.to_string();
        self.read("look up a domain in", move |db| {
            db.prepare_cached(&format!("{SELECT} WHERE domains.host = ?1"))?
                .query_row([host], Domain::read)
                .optional()
        })
        .await
    }

    /// Writes down that the record of a host was seen; passes over one that was removed meanwhile, or
    /// added anew.
    ///
    /// # Errors
    ///
    /// When SQLite cannot write.
    pub(crate) async fn note_domain_verified(
        &self,
        domain: &Domain,
        now: UnixSeconds,
    ) -> Result<(), StoreError> {
        let (host, proof) = (domain.host.clone(), domain.proof.clone());
        self.write("note a verified domain in", move |db| {
            db.execute(
                "UPDATE domains SET verified = ?3 WHERE host = ?1 AND proof = ?2",
                params![host, proof, now.0],
            )?;
            Ok(())
        })
        .await
    }

    /// Takes a host away from its account; `None` if it is nobody's. On the disk when this returns.
    ///
    /// # Errors
    ///
    /// When SQLite cannot write.
    pub async fn remove_domain(&self, host: &Name) -> Result<Option<Domain>, StoreError> {
        let host = host.to_string();
        self.write("remove a domain from", move |db| {
            let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let removed = transaction
                .prepare(&format!("{SELECT} WHERE domains.host = ?1"))?
                .query_row([&host], Domain::read)
                .optional()?;
            transaction.execute("DELETE FROM domains WHERE host = ?1", [&host])?;
            transaction.commit()?;
            Ok(removed)
        })
        .await
    }

    /// All hosts of accounts, in the order of the alphabet.
    ///
    /// # Errors
    ///
    /// When SQLite cannot read.
    pub async fn list_domains(&self) -> Result<Vec<Domain>, StoreError> {
        self.read("list the domains in", |db| {
            db.prepare(&format!("{SELECT} ORDER BY domains.host"))?
                .query_map([], Domain::read)?
                .collect()
        })
        .await
    }
}

/// What [`Domain::read`] reads.
const SELECT: &str = "SELECT domains.*, accounts.name AS account
     FROM domains JOIN accounts ON accounts.id = domains.account_id";

impl Domain {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            host: row.get("host")?,
            account: row.get("account")?,
            proof: row.get("proof")?,
            added: UnixSeconds(row.get("added")?),
            verified: row.get::<_, Option<i64>>("verified")?.map(UnixSeconds),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::TokenToAdd;
    use super::*;

    #[tokio::test]
    async fn a_host_is_added_verified_and_removed() {
        let store = Store::in_memory().unwrap();
        let host = Name::parse("app.example.com").unwrap();
        let add = async |account, proof| {
            let adding = store
                .add_domain(&host, account, proof, UnixSeconds(7))
                .await;
            adding.unwrap()
        };
        assert_eq!(add("ann", "one").await, Adding::NoAccount);
        assert_eq!(store.list_domains().await.unwrap(), []);
        for account in ["ann", "bob"] {
            let token = TokenToAdd::of(account);
            store.add_token(token, UnixSeconds(0)).await.unwrap();
        }
        let mut domain = Domain {
            host: "app.example.com".into(),
            account: "ann".into(),
            proof: "one".into(),
            added: UnixSeconds(7),
            verified: None,
        };
        assert_eq!(add("ann", "one").await, Adding::Done(domain.clone()));
        // What is to be proved does not change under the hands of who has just set the record.
        assert_eq!(add("ann", "two").await, Adding::Already(domain.clone()));
        assert_eq!(add("bob", "two").await, Adding::ByOther("ann".into()));

        let verified = store.note_domain_verified(&domain, UnixSeconds(9)).await;
        verified.unwrap();
        domain.verified = Some(UnixSeconds(9));
        assert_eq!(
            store.find_domain(&host).await.unwrap(),
            Some(domain.clone())
        );
        assert_eq!(store.list_domains().await.unwrap(), [domain.clone()]);

        let removed = store.remove_domain(&host).await.unwrap();
        assert_eq!(removed, Some(domain.clone()));
        assert_eq!(store.remove_domain(&host).await.unwrap(), None);
        let Adding::Done(anew) = add("bob", "two").await else {
            panic!("it is free");
        };
        // The record of the one before proves nothing for who comes after.
        let verified = store.note_domain_verified(&domain, UnixSeconds(9)).await;
        verified.unwrap();
        assert_eq!(store.find_domain(&host).await.unwrap(), Some(anew));
    }
}
