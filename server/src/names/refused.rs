//! Why somebody may not have a name.

use std::fmt;
use std::time::Duration;

use ngrnotok_common::hostname::Name;
use ngrnotok_common::protocol::control::RefusalCode;
use thiserror::Error;

use super::domains::WrongRecord;
use crate::store::StoreError;

/// Why somebody may not have a name. The texts are fit for the client's eyes.
#[derive(Debug, Error)]
pub enum NameRefused {
    /// It would be taken for the operator's own.
    #[error(
        "the name {name} {is} visitors would take for the server's own; its operator can allow it, with a token for exactly this name (token create --name {name}) or by reserving it",
        is = alike(name, word)
    )]
    Denied {
        /// The name.
        name: Name,
        /// What it looks like.
        word: Box<str>,
    },
    /// The operator keeps it for another account.
    #[error("the name {0} is reserved for another account")]
    Reserved(Name),
    /// Another account has used it a short while ago.
    #[error("the name {name} was used by another account and is held for it for another {left}")]
    Held {
        /// The name.
        name: Name,
        /// Until it is free.
        left: TimeLeft,
    },
    /// It is a host that no account has, or another one.
    #[error(
        "the host {0} is none of your account's domains; the server's operator can add it: ngrnotok-server domain add {0} --account NAME"
    )]
    ForeignDomain(Name),
    /// It is a host of the account, and DNS does not say so.
    #[error("the host {host} is not verified: {wrong}")]
    Unverified {
        /// The host.
        host: Name,
        /// What is wrong with its record.
        wrong: WrongRecord,
    },
    /// It is a host of the account, and DNS does not answer whether it still is.
    #[error("the host {0} cannot be verified now, because DNS gives no answer: try again")]
    DnsSilent(Name),
    /// The store could not be asked.
    #[error("the server cannot look up names now: try again")]
    Unavailable(#[from] StoreError),
}

impl NameRefused {
    /// The same for programs.
    pub(crate) fn code(&self) -> RefusalCode {
        match self {
            Self::Denied { .. } => RefusalCode::NameForbidden,
            Self::Reserved(_) => RefusalCode::NameReserved,
            Self::Held { .. } => RefusalCode::NameHeld,
            Self::ForeignDomain(_) | Self::Unverified { .. } => RefusalCode::DomainUnverified,
            Self::DnsSilent(_) | Self::Unavailable(_) => RefusalCode::Unavailable,
        }
    }
}

fn alike(name: &Name, word: &str) -> String {
    match name.as_str() == word {
        true => "is one that".to_owned(),
        false => format!("looks like {word}, which"),
    }
}

/// `23 h 59 min`, rounded up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeLeft(pub Duration);

impl fmt::Display for TimeLeft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_secs() {
            seconds @ 0..60 => write!(f, "{seconds} s"),
            seconds => match seconds.div_ceil(60) {
                minutes @ 0..60 => write!(f, "{minutes} min"),
                minutes => write!(f, "{} h {} min", minutes / 60, minutes % 60),
            },
        }
    }
}
