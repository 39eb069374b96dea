//! What can go wrong with the local app, in words for the developer.

use std::io;

use ngrnotok_certs::failure::Failure;
use ngrnotok_common::protocol::cause::Cause;

use super::Target;

/// Why the local app gave no answer.
#[derive(Debug)]
pub struct Trouble {
    /// What the visitor is told.
    pub cause: Cause,
    /// What the developer is told on top: addresses, the system's own words.
    pub detail: String,
    /// What may be behind it.
    pub lead: Option<Lead>,
}

/// What may be behind a trouble, to be looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lead {
    /// Nobody listens.
    Refused,
    /// The app may not speak TLS.
    NotTls,
    /// Its certificate is not trusted.
    Certificate,
    /// It may speak something else than plain HTTP.
    NotHttp,
}

impl Trouble {
    /// The connection could not be opened.
    pub(super) fn dialing(target: &Target, error: &io::Error) -> Self {
        let cause = match error.kind() {
            io::ErrorKind::ConnectionRefused => Cause::LocalRefused,
            io::ErrorKind::TimedOut => Cause::LocalTimeout,
            // A socket path without a file is a server that does not run.
            io::ErrorKind::NotFound if matches!(target, Target::Unix(_)) => Cause::LocalRefused,
            _ => Cause::LocalUnreachable,
        };
        let lead = (cause == Cause::LocalRefused).then_some(Lead::Refused);
        Self {
            lead,
            ..Self::new(cause, target, error)
        }
    }

    /// Some other failure with a target.
    pub(super) fn new(cause: Cause, target: &Target, reason: &dyn std::fmt::Display) -> Self {
        Self {
            cause,
            detail: format!("{target}: {reason}"),
            lead: None,
        }
    }

    /// TLS could not be opened.
    pub(super) fn tls(target: &Target, error: &io::Error) -> Self {
        let failure = Failure::of(error);
        let lead = match failure {
            Failure::NotTls | Failure::HungUp => Some(Lead::NotTls),
            Failure::UnknownAuthority
            | Failure::SelfSigned
            | Failure::OtherName { .. }
            | Failure::Expired(_)
            | Failure::NotYetValid(_)
            | Failure::Certificate(_) => Some(Lead::Certificate),
            _ => None,
        };
        Self {
            lead,
            ..Self::new(Cause::LocalTls, target, &failure)
        }
    }

    /// The exchange broke before the answer's head.
    pub(super) fn exchange(target: &Target, error: &hyper::Error) -> Self {
        let cause = if error.is_parse_too_large() {
            Cause::LocalHeadTooLarge
        } else if error.is_parse() {
            Cause::LocalBadResponse
        } else {
            Cause::LocalClosed
        };
        let reason = std::error::Error::source(error)
            .map_or_else(|| error.to_string(), |source| format!("{error}: {source}"));
        let lead = match (cause, target) {
            (Cause::LocalBadResponse | Cause::LocalClosed, Target::Http { .. }) => {
                Some(Lead::NotHttp)
            }
            _ => None,
        };
        Self {
            lead,
            ..Self::new(cause, target, &reason)
        }
    }
}
