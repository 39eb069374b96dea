//! What `ngrnotok-server name …` does, and says.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ngrnotok_common::hostname::Name;
use ngrnotok_common::output;
use serde::Serialize;
use thiserror::Error;

use crate::cli::{Label, NameCommand};
use crate::console::{columns, json};
use crate::store::{KeptName, Reserving, Store, StoreError, UnixSeconds};

/// Why a command was not done.
#[derive(Debug, Error)]
pub enum NameCommandError {
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
        "the name {name} is reserved for {owner}; to give it to somebody else, first: ngrnotok-server name release {name}"
    )]
    Reserved {
        /// Which one.
        name: Name,
        /// Whose it is.
        owner: String,
    },
    /// Nobody has it.
    #[error(
        "the name {name} is neither reserved nor held in {}; `ngrnotok-server name list` shows those that are",
        state_dir.display()
    )]
    NotKept {
        /// What was asked for.
        name: Name,
        /// Where.
        state_dir: PathBuf,
    },
    /// Standard output does not take what there is to say.
    #[error("failed to print: {0}")]
    Print(#[from] io::Error),
}

/// Does one command with the names in `state_dir`. Works beside a server that runs there and holds names
/// for `hold` after their last use.
///
/// # Errors
///
/// When it was not done; then nothing has changed.
pub async fn run(
    command: NameCommand,
    state_dir: &Path,
    hold: Duration,
) -> Result<(), NameCommandError> {
    let said = match command {
        NameCommand::Reserve {
            name: Label(name),
            account,
        } => reserve(name, account, state_dir).await?,
        NameCommand::List { json } => list(json, state_dir, hold).await?,
        NameCommand::Release { name: Label(name) } => release(name, state_dir, hold).await?,
    };
    Ok(output::print(&said)?)
}

async fn reserve(
    name: Name,
    account: String,
    state_dir: &Path,
) -> Result<String, NameCommandError> {
    let reserving = match Store::open_existing(state_dir)? {
        Some(store) => {
            let now = UnixSeconds::now();
            store.reserve_name(&name, &account, now).await?
        }
        None => Reserving::NoAccount,
    };
    match reserving {
        Reserving::Done(user) => {
            let mut said = format!("Reserved the name {name} for {account}.\n");
            if let Some(user) = user {
                said.push_str(&format!(
                    "It was last used by {user}; a client of {user} that has it now loses it within a second.\n"
                ));
            }
            Ok(said)
        }
        Reserving::Already => Ok(format!(
            "The name {name} is reserved for {account} already. Nothing has changed.\n"
        )),
        Reserving::ByOther(owner) => Err(NameCommandError::Reserved {
            name,
            owner: owner.to_string(),
        }),
        Reserving::NoAccount => Err(NameCommandError::NoAccount {
            account,
            state_dir: state_dir.to_owned(),
        }),
    }
}

async fn list(as_json: bool, state_dir: &Path, hold: Duration) -> Result<String, NameCommandError> {
    let names = match Store::open_existing(state_dir)? {
        Some(store) => store.list_names().await?,
        None => Vec::new(),
    };
    let now = UnixSeconds::now();
    let listed: Vec<_> = names
        .iter()
        .map(|name| Listed::new(name, now, hold))
        .filter(|name| name.reserved.is_some() || name.held_until.is_some())
        .collect();
    Ok(if as_json {
        json(&listed)
    } else if listed.is_empty() {
        format!(
            "No names are kept in {}. Reserve one: ngrnotok-server name reserve NAME --account ACCOUNT\n",
            state_dir.display()
        )
    } else {
        table(&listed)
    })
}

async fn release(name: Name, state_dir: &Path, hold: Duration) -> Result<String, NameCommandError> {
    let released = match Store::open_existing(state_dir)? {
        Some(store) => store.release_name(&name).await?,
        None => None,
    };
    let Some((kept, left)) = released else {
        return Err(NameCommandError::NotKept {
            name,
            state_dir: state_dir.to_owned(),
        });
    };
    let account = kept.account;
    if kept.reserved.is_none() {
        return Ok(format!(
            "The name {name} is no longer held for {account}.\n"
        ));
    }
    let mut said = format!("The name {name} is no longer reserved for {account}.\n");
    let now = UnixSeconds::now();
    let held = left
        .used
        .map(|used| (used.account, used.until.min(now) + hold))
        .filter(|(_, until)| *until > now);
    if let Some((user, until)) = held {
        said.push_str(&format!(
            "It is held for {user}, who has used it, until {until}. To give it to everybody at once, once more: \
             ngrnotok-server name release {name}\n"
        ));
    }
    Ok(said)
}

/// A name as programs see it. These names are a contract.
#[derive(Debug, Serialize)]
struct Listed<'a> {
    name: &'a str,
    account: &'a str,
    /// Since when; `null`: it is only held.
    reserved: Option<UnixSeconds>,
    last_used: Option<UnixSeconds>,
    /// From when on other accounts may have it, if nobody uses it until then; `null`: it is not held.
    held_until: Option<UnixSeconds>,
}

impl<'a> Listed<'a> {
    fn new(kept: &'a KeptName, now: UnixSeconds, hold: Duration) -> Self {
        // Uses are written ahead.
        let last_used = kept.used.map(|used| used.min(now));
        Self {
            name: &kept.name,
            account: &kept.account,
            reserved: kept.reserved,
            last_used,
            held_until: last_used
                .map(|used| used + hold)
                .filter(|until| *until > now),
        }
    }
}

fn table(listed: &[Listed<'_>]) -> String {
    let mut lines = vec![["NAME", "ACCOUNT", "KEPT", "LAST USED"].map(ToOwned::to_owned)];
    lines.extend(listed.iter().map(|name| {
        [
            name.name.to_owned(),
            name.account.to_owned(),
            match (name.reserved, name.held_until) {
                (None, Some(until)) => format!("until {until}"),
                _ => "reserved".to_owned(),
            },
            name.last_used
                .map_or_else(|| "never".to_owned(), |used| used.to_string()),
        ]
    }));
    columns(&lines)
}
