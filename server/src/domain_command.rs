//! What `ngrnotok-server domain …` does, and says.

use std::io;
use std::path::{Path, PathBuf};

use ngrnotok_common::hostname::Name;
use ngrnotok_common::output;
use serde::Serialize;
use thiserror::Error;

use crate::cli::{DomainCommand, Host, Resolver};
use crate::console::{columns, json};
use crate::names::dns::Dns;
use crate::names::domains::{NotVerified, new_proof, record_of, verify};
use crate::store::{Adding, Domain, Store, StoreError, UnixSeconds};

/// Why a command was not done.
#[derive(Debug, Error)]
pub enum DomainCommandError {
    /// The store cannot be opened, read or written.
    #[error("failed to {0}")]
    Store(#[from] StoreError),
    /// The account does not exist.
    #[error(
        "there is no account {account} in {}; it comes with its first token: ngrnotok-server token create --account {account}",
        state_dir.display()
    )]
    NoAccount {
        /// What was asked for.
        account: String,
        /// Where.
        state_dir: PathBuf,
    },
    /// Somebody else has it.
    #[error(
        "the host {host} is {owner}'s; to give it to somebody else, first: ngrnotok-server domain remove {host}"
    )]
    Taken {
        /// Which one.
        host: Name,
        /// Whose it is.
        owner: String,
    },
    /// It needs no proof.
    #[error(
        "the host {host} is under the server's own domain {domain}: what stands before it is the name that a client asks for"
    )]
    Own {
        /// Which one.
        host: Name,
        /// The server's domain.
        domain: String,
    },
    /// Nobody has it.
    #[error(
        "there is no host {host} in {}; `ngrnotok-server domain list` shows those there are, and `ngrnotok-server domain add {host} --account ACCOUNT` adds it",
        state_dir.display()
    )]
    Unknown {
        /// What was asked for.
        host: Name,
        /// Where.
        state_dir: PathBuf,
    },
    /// The record is not there, or not to be seen.
    #[error("{0}")]
    NotVerified(#[from] NotVerified),
    /// Standard output does not take what there is to say.
    #[error("failed to print: {0}")]
    Print(#[from] io::Error),
}

/// Does one command with the hosts in `state_dir`. Works beside a server that runs there and asks `dns`,
/// under `own` if that is known.
///
/// # Errors
///
/// When it was not done; then nothing has changed.
pub async fn run(
    command: DomainCommand,
    state_dir: &Path,
    dns: &Dns,
    own: Option<&str>,
) -> Result<(), DomainCommandError> {
    let said = match command {
        DomainCommand::Add {
            host: Host(host),
            account,
        } => add(host, account, state_dir, own).await?,
        DomainCommand::Verify {
            host: Host(host),
            resolver,
        } => {
            let own = resolver.map(|Resolver(address)| Dns::new(Some(address)));
            look(host, state_dir, own.as_ref().unwrap_or(dns)).await?
        }
        DomainCommand::List { json } => list(json, state_dir).await?,
        DomainCommand::Remove { host: Host(host) } => remove(host, state_dir).await?,
    };
    Ok(output::print(&said)?)
}

async fn add(
    host: Name,
    account: String,
    state_dir: &Path,
    own: Option<&str>,
) -> Result<String, DomainCommandError> {
    let is_under = |domain: &&str| {
        let front = host.as_str().strip_suffix(*domain);
        front.is_some_and(|front| front.is_empty() || front.ends_with('.'))
    };
    if let Some(domain) = own.filter(is_under) {
        return Err(DomainCommandError::Own {
            domain: domain.to_owned(),
            host,
        });
    }
    let adding = match Store::open_existing(state_dir)? {
        Some(store) => {
            let (proof, now) = (new_proof(), UnixSeconds::now());
            store.add_domain(&host, &account, &proof, now).await?
        }
        None => Adding::NoAccount,
    };
    let (what, domain) = match adding {
        Adding::Done(domain) => ("Added", domain),
        Adding::Already(domain) => ("Already there:", domain),
        Adding::ByOther(owner) => {
            return Err(DomainCommandError::Taken {
                host,
                owner: owner.to_string(),
            });
        }
        Adding::NoAccount => {
            return Err(DomainCommandError::NoAccount {
                account,
                state_dir: state_dir.to_owned(),
            });
        }
    };
    Ok(format!(
        "{what} {host} for {account}. This TXT record proves that it is {account}'s:\n\n\
         {record}.  TXT  \"{proof}\"\n\n\
         When it is set: ngrnotok-server domain verify {host}\n",
        record = record_of(&domain.host),
        proof = domain.proof,
    ))
}

async fn look(host: Name, state_dir: &Path, dns: &Dns) -> Result<String, DomainCommandError> {
    let store = Store::open_existing(state_dir)?;
    let domain = match &store {
        Some(store) => store.find_domain(&host).await?,
        None => None,
    };
    let (Some(store), Some(domain)) = (store, domain) else {
        return Err(DomainCommandError::Unknown {
            host,
            state_dir: state_dir.to_owned(),
        });
    };
    verify(&store, dns, &domain).await?;
    Ok(format!(
        "Verified: {host} is {account}'s, whose clients can have it with --name {host}.\n\
         Visitors need {host} to point to this server (CNAME, A or AAAA), and the server a certificate for it \
         (--cert and --key once more).\n",
        account = domain.account,
    ))
}

async fn list(as_json: bool, state_dir: &Path) -> Result<String, DomainCommandError> {
    let domains = match Store::open_existing(state_dir)? {
        Some(store) => store.list_domains().await?,
        None => Vec::new(),
    };
    let listed: Vec<_> = domains.iter().map(Listed::new).collect();
    Ok(if as_json {
        json(&listed)
    } else if listed.is_empty() {
        format!(
            "There are no hosts of accounts in {}. Add one: ngrnotok-server domain add HOST --account ACCOUNT\n",
            state_dir.display()
        )
    } else {
        table(&domains)
    })
}

async fn remove(host: Name, state_dir: &Path) -> Result<String, DomainCommandError> {
    let removed = match Store::open_existing(state_dir)? {
        Some(store) => store.remove_domain(&host).await?,
        None => None,
    };
    let Some(domain) = removed else {
        return Err(DomainCommandError::Unknown {
            host,
            state_dir: state_dir.to_owned(),
        });
    };
    Ok(format!(
        "The host {host} is no longer {account}'s; a client of {account} that has it now loses it within a second.\n",
        account = domain.account,
    ))
}

/// A host as programs see it. These names are a contract.
#[derive(Debug, Serialize)]
struct Listed<'a> {
    host: &'a str,
    account: &'a str,
    added: UnixSeconds,
    /// When the record was last seen; `null`: never.
    verified: Option<UnixSeconds>,
    /// Where the record is to be.
    record: String,
    /// What it must say.
    proof: &'a str,
}

impl<'a> Listed<'a> {
    fn new(domain: &'a Domain) -> Self {
        Self {
            host: &domain.host,
            account: &domain.account,
            added: domain.added,
            verified: domain.verified,
            record: record_of(&domain.host),
            proof: &domain.proof,
        }
    }
}

fn table(domains: &[Domain]) -> String {
    let mut lines = vec![["HOST", "ACCOUNT", "ADDED", "RECORD SEEN"].map(ToOwned::to_owned)];
    lines.extend(domains.iter().map(|domain| {
        let verified = domain.verified;
        [
            domain.host.clone(),
            domain.account.to_string(),
            domain.added.to_string(),
            verified.map_or_else(|| "never".to_owned(), |at| at.to_string()),
        ]
    }));
    columns(&lines)
}
