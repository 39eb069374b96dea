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
        Self::new(cause, target, error)
    }

    /// Some other failure with a target.
    pub(super) fn new(cause: Cause, target: &Target, reason: &dyn std::fmt::Display) -> Self {
        Self {
            cause,
            detail: format!("{target}: {reason}"),
        }
    }

    /// TLS could not be opened.
    pub(super) fn tls(target: &Target, error: &io::Error) -> Self {
        Self::new(Cause::LocalTls, target, &Failure::of(error))
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
        Self::new(cause, target, &reason)
    }
}
