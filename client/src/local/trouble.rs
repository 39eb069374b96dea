//! What can go wrong with the local app, in words for the developer.

use std::io;

use http::HeaderMap;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use ngrnotok_certs::failure::Failure;
use ngrnotok_common::protocol::cause::Cause;

use super::Target;

/// How much of a field's value is shown, in characters.
const SHOWN: usize = 64;

/// Why the local app gave no answer.
#[derive(Debug, Clone)]
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

    /// The fields of an answer do not say clearly where it ends.
    pub(super) fn framing(target: &Target, fields: &HeaderMap) -> Self {
        let said = [TRANSFER_ENCODING, CONTENT_LENGTH].map(|name| {
            let values = fields.get_all(&name).iter();
            let values = values.map(|value| {
                let value = String::from_utf8_lossy(value.as_bytes());
                let shown = value.chars().take(SHOWN).collect::<String>();
                format!("{name}: {}", shown.escape_debug())
            });
            values.take(2).collect::<Vec<_>>()
        });
        let reason = format!(
            "it does not say clearly where its answer ends: {}",
            said.concat().join(", ")
        );
        Self::new(Cause::LocalBadResponse, target, &reason)
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
        let reason = in_words(error);
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

/// What hyper says of a failure, with what is behind it.
pub(super) fn in_words(error: &hyper::Error) -> String {
    let source = std::error::Error::source(error);
    source.map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn an_answer_without_a_clear_end_names_its_fields() {
        let long: &'static str = "9".repeat(1000).leak();
        let fields = [
            (CONTENT_LENGTH, HeaderValue::from_static(long)),
            (
                TRANSFER_ENCODING,
                HeaderValue::from_bytes(b"gzip\t\xff").unwrap(),
            ),
        ];
        let target = "3000".parse().unwrap();
        let told = Trouble::framing(&target, &fields.into_iter().collect()).detail;
        let nines = "9".repeat(SHOWN);
        assert_eq!(
            told,
            format!(
                "http://localhost:3000: it does not say clearly where its answer ends: \
                 transfer-encoding: gzip\\t\u{fffd}, content-length: {nines}"
            )
        );
    }
}
