//! What `ngrnotok-server token …` does, and says.

use std::io;
use std::path::{Path, PathBuf};

use ngrnotok_common::output;
use serde::Serialize;
use thiserror::Error;

use crate::auth::rules::Rules;
use crate::auth::token::{Token, TokenId};
use crate::auth::{CreateTokenError, NewToken, create_token, revoke_token};
use crate::cli::{CreateToken, TokenCommand};
use crate::console::{columns, json};
use crate::store::{Store, StoreError, TokenRow, UnixSeconds};

/// Why a command was not done.
#[derive(Debug, Error)]
pub enum TokenCommandError {
    /// The store cannot be opened or read.
    #[error("failed to {0}")]
    Store(#[from] StoreError),
    /// No token was made.
    #[error("failed to make a token: {0}")]
    Create(#[from] CreateTokenError),
    /// What was given is no id. It is not repeated, for it may hold a secret.
    #[error(
        "a token's id is the 12 hex digits after \"ngrt_\", as `ngrnotok-server token list` shows them; the secret behind it is never needed"
    )]
    NotAnId,
    /// There is no such token.
    #[error(
        "there is no token {id} in {}; `ngrnotok-server token list` shows those there are",
        state_dir.display()
    )]
    Unknown {
        /// What was asked for.
        id: TokenId,
        /// Where.
        state_dir: PathBuf,
    },
    /// The token could not be shown, and nobody will ever see it.
    #[error(
        "the token {id} was made, but could not be printed: {source}. It is lost; revoke it with `ngrnotok-server token revoke {id}` and make another"
    )]
    Lost {
        /// Which one.
        id: TokenId,
        /// Why not.
        source: io::Error,
    },
    /// Standard output does not take what there is to say.
    #[error("failed to print: {0}")]
    Print(io::Error),
}

/// Does one command with the tokens in `state_dir`. Works beside a server that runs there.
///
/// # Errors
///
/// When it was not done; then nothing has changed, but for a token that could not be shown.
pub async fn run(command: TokenCommand, state_dir: &Path) -> Result<(), TokenCommandError> {
    match command {
        TokenCommand::Create(words) => create(&words, state_dir).await,
        TokenCommand::List { json } => list(json, state_dir).await,
        TokenCommand::Revoke { id } => revoke(&id, state_dir).await,
    }
}

async fn create(words: &CreateToken, state_dir: &Path) -> Result<(), TokenCommandError> {
    let store = Store::open(state_dir)?;
    let rules = words.rules();
    let expires = words.expires.map(|expiry| expiry.0);
    let may = may(&rules);
    let token = NewToken {
        account: words.account.as_str().into(),
        expires,
        rules,
        note: words.note.clone(),
    };
    let token = create_token(&store, token).await?;
    let id = Token::parse(token.expose())
        .expect("we have just made it")
        .id;
    // The token alone on standard output, so that it can be piped into a file.
    output::hand_over(format!("{}\n", token.expose()))
        .map_err(|source| TokenCommandError::Lost { id, source })?;
    let until = expires.map_or_else(String::new, |at| format!(", until {at}"));
    output::complain(&format!(
        "Token {id} for account {account}, kept as a hash in {state_dir}. It is shown only now.\n\
         It is good for: {may}{until}.\n\
         Clients use it so: ngrnotok login --server HOST, or NGRNOTOK_TOKEN=…, or --token-file FILE.",
        account = words.account,
        state_dir = state_dir.display()
    ));
    Ok(())
}

async fn list(as_json: bool, state_dir: &Path) -> Result<(), TokenCommandError> {
    let rows = match Store::open_existing(state_dir)? {
        Some(store) => store.list_tokens().await?,
        None => Vec::new(),
    };
    let now = UnixSeconds::now();
    let listed: Vec<_> = rows.iter().map(|row| Listed::new(row, now)).collect();
    let text = if as_json {
        json(&listed)
    } else if listed.is_empty() {
        format!(
            "There are no tokens in {}. Make one: ngrnotok-server token create --account NAME\n",
            state_dir.display()
        )
    } else {
        table(&rows, &listed)
    };
    output::print(&text).map_err(TokenCommandError::Print)
}

async fn revoke(id: &str, state_dir: &Path) -> Result<(), TokenCommandError> {
    let id = TokenId::parse(id).ok_or(TokenCommandError::NotAnId)?;
    let revoked = match Store::open_existing(state_dir)? {
        Some(store) => revoke_token(&store, id).await?,
        None => None,
    };
    let revoked = revoked.ok_or_else(|| TokenCommandError::Unknown {
        id,
        state_dir: state_dir.to_owned(),
    })?;
    let account = revoked.account;
    let said = match revoked.before {
        None => {
            format!("Revoked token {id} of account {account}; its sessions end within a second.\n")
        }
        Some(before) => format!(
            "Token {id} of account {account} was revoked already, {before}. Nothing has changed.\n"
        ),
    };
    output::print(&said).map_err(TokenCommandError::Print)
}

/// A token as programs see it. These names are a contract.
#[derive(Debug, Serialize)]
struct Listed<'a> {
    id: String,
    account: &'a str,
    /// `good`, `expired` or `revoked`.
    state: &'static str,
    created: UnixSeconds,
    last_used: Option<UnixSeconds>,
    expires: Option<UnixSeconds>,
    revoked: Option<UnixSeconds>,
    /// `null`: any.
    names: Option<&'a [Box<str>]>,
    kinds: Option<&'a [Box<str>]>,
    max_links: Option<u32>,
    max_tunnels: Option<u32>,
    max_streams: Option<u32>,
    max_requests_per_minute: Option<u32>,
    max_bytes_per_second: Option<u32>,
    note: &'a str,
}

impl<'a> Listed<'a> {
    fn new(row: &'a TokenRow, now: UnixSeconds) -> Self {
        let Rules {
            names,
            kinds,
            max_links,
            max_tunnels,
            caps,
        } = &row.rules;
        Self {
            id: row.id.to_string(),
            account: &row.account,
            state: match row.revoked {
                Some(_) => "revoked",
                None if row.is_expired(now) => "expired",
                None => "good",
            },
            created: row.created,
            last_used: row.last_used,
            expires: row.expires,
            revoked: row.revoked,
            names: names.patterns(),
            kinds: kinds.patterns(),
            max_links: max_links.map(Into::into),
            max_tunnels: max_tunnels.map(Into::into),
            max_streams: caps.streams.map(Into::into),
            max_requests_per_minute: caps.requests_per_minute.map(Into::into),
            max_bytes_per_second: caps.bytes_per_second.map(Into::into),
            note: &row.note,
        }
    }
}

/// For people: one line a token.
fn table(rows: &[TokenRow], listed: &[Listed<'_>]) -> String {
    let or = |time: Option<UnixSeconds>, none: &str| {
        time.map_or_else(|| none.to_owned(), |time| time.to_string())
    };
    let heads = [
        "ID",
        "ACCOUNT",
        "STATE",
        "CREATED",
        "LAST USED",
        "EXPIRES",
        "GOOD FOR",
        "NOTE",
    ];
    let mut lines = vec![heads.map(ToOwned::to_owned)];
    lines.extend(rows.iter().zip(listed).map(|(row, listed)| {
        [
            listed.id.clone(),
            listed.account.to_owned(),
            listed.state.to_owned(),
            row.created.to_string(),
            or(row.last_used, "never"),
            or(row.expires, "never"),
            may(&row.rules),
            row.note.clone(),
        ]
    }));
    columns(&lines)
}

/// What the holder of a token may do, in the words of `token create`.
fn may(rules: &Rules) -> String {
    let Rules {
        names,
        kinds,
        max_links,
        max_tunnels,
        caps,
    } = rules;
    let mut words = Vec::new();
    for (what, allowed) in [("name", names), ("kind", kinds)] {
        if allowed.patterns().is_some() {
            words.push(format!("{what} {allowed}"));
        }
    }
    for (what, cap) in [
        ("max-links", *max_links),
        ("max-tunnels", *max_tunnels),
        ("max-streams", caps.streams),
        ("max-requests-per-minute", caps.requests_per_minute),
        ("max-bytes-per-second", caps.bytes_per_second),
    ] {
        words.extend(cap.map(|cap| format!("{what} {cap}")));
    }
    match words.is_empty() {
        true => "everything".to_owned(),
        false => words.join(", "),
    }
}
