//! Whole hosts, which accounts have to prove to be their own: by a TXT record, which only the owner of
//! a domain can set.
//!
//! A proof is good for a day. Then DNS is asked again, for who uses the host or by the next client that wants
//! it. If nobody answers, the account keeps it: an outage of DNS must not take tunnels down. If the record is gone, the
//! account keeps it for three days after it was last seen, so that a mistake can be mended.

use std::time::Duration;

use ngrnotok_common::hostname::Name;
use thiserror::Error;
use tracing::warn;
use uuid::Uuid;

use super::dns::{Dns, Unanswered};
use super::notices::Notices;
use crate::store::{Domain, Store, StoreError, UnixSeconds};

/// For how long a record that was seen is believed to be there: 24 h.
const GOOD_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// For how long a host is still its account's when the record is gone, from when it was last seen: 72 h.
const LOST_AFTER: Duration = Duration::from_secs(72 * 60 * 60);

/// The name of the record that proves a host.
pub fn record_of(host: &str) -> String {
    format!("_ngrnotok.{host}")
}

/// What a record must say, different for each account and host.
pub fn new_proof() -> String {
    format!("ngrnotok-verification={}", Uuid::new_v4().simple())
}

/// Why a host is not proved to be an account's.
#[derive(Debug, Error)]
pub enum NotVerified {
    /// There is no record, or it says something else.
    #[error("{0}")]
    Wrong(#[from] WrongRecord),
    /// Nobody knows what it says.
    #[error("failed to {0}")]
    Unanswered(#[from] Unanswered),
    /// That it was seen cannot be written down.
    #[error("failed to {0}")]
    Store(#[from] StoreError),
}

/// There is no record, or it says something else.
#[derive(Debug, Error)]
#[error("the TXT record {} must say \"{proof}\" and {found}", record_of(host), found = found(*records))]
pub struct WrongRecord {
    /// Of which host.
    pub host: String,
    /// What it must say.
    pub proof: String,
    /// How many there are that say something else.
    pub records: usize,
}

fn found(records: usize) -> String {
    match records {
        0 => "is not there (changes in DNS take a while to be seen everywhere)".to_owned(),
        1 => "says something else".to_owned(),
        _ => format!("none of the {records} there says so"),
    }
}

/// Asks DNS whether a host is still its account's, and writes down that it is.
///
/// # Errors
///
/// When it is not, and when that cannot be found out.
pub async fn verify(store: &Store, dns: &Dns, domain: &Domain) -> Result<(), NotVerified> {
    verify_at(store, dns, domain, UnixSeconds::now()).await
}

async fn verify_at(
    store: &Store,
    dns: &Dns,
    domain: &Domain,
    now: UnixSeconds,
) -> Result<(), NotVerified> {
    let records = dns.txt(&record_of(&domain.host)).await?;
    if !records.contains(&domain.proof) {
        let wrong = WrongRecord {
            host: domain.host.clone(),
            proof: domain.proof.clone(),
            records: records.len(),
        };
        return Err(wrong.into());
    }
    Ok(store.note_domain_verified(domain, now).await?)
}

/// Whether the record of a host was seen so short a while ago that DNS need not be asked.
pub(super) fn is_fresh(domain: &Domain, now: UnixSeconds) -> bool {
    let age = domain.verified.map(|at| now.0.abs_diff(at.0));
    age.is_some_and(|age| age < GOOD_FOR.as_secs())
}

/// Whether an account may have a host now; `false` if it is none of its domains.
pub(super) async fn is_verified(
    store: &Store,
    dns: &Dns,
    notices: &Notices,
    account: &str,
    host: &Name,
    now: UnixSeconds,
) -> Result<bool, NotVerified> {
    let domain = store.find_domain(host).await?;
    let Some(domain) = domain.filter(|domain| *domain.account == *account) else {
        return Ok(false);
    };
    if is_fresh(&domain, now) {
        return Ok(true);
    }
    let age = domain.verified.map(|at| now.0.abs_diff(at.0));
    let kept = match verify_at(store, dns, &domain, now).await {
        Ok(()) => return Ok(true),
        // It was seen: that the next one must look again is no reason to refuse this one.
        Err(error @ NotVerified::Store(_)) => (true, error),
        Err(error @ NotVerified::Unanswered(_)) => (age.is_some(), error),
        Err(error @ NotVerified::Wrong(_)) => {
            (age.is_some_and(|age| age < LOST_AFTER.as_secs()), error)
        }
    };
    match kept {
        (true, error) => {
            if notices.admit(host.as_str()) {
                warn!(%host, account, %error, "a host is served on the strength of an older proof");
            }
            Ok(true)
        }
        (false, error) => Err(error),
    }
}
