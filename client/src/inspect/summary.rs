//! Exchanges in short, for lists.

use std::net::IpAddr;
use std::time::SystemTime;

use http::{Method, StatusCode};
use ngrnotok_common::hostname::Name;

use super::exchange::{ExchangeId, Kind, Origin, State, Timing};

/// What a line of a list shows of an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "see the fields of Exchange with the same names"
)]
pub struct Summary {
    pub id: ExchangeId,
    pub tunnel: Name,
    pub at: SystemTime,
    pub visitor: Option<IpAddr>,
    pub origin: Origin,
    pub method: Method,
    /// Scheme, host and path as the visitor wrote them.
    pub uri: Box<str>,
    /// Of the app's answer.
    pub status: Option<StatusCode>,
    pub state: State,
    pub timing: Timing,
    pub kind: Kind,
    /// The length of the request's body so far.
    pub request_bytes: u64,
    /// The length of the answer's body so far.
    pub answer_bytes: u64,
    /// How many messages there were so far.
    pub messages: u64,
}

/// What is new since somebody last looked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// Ask with this the next time.
    pub revision: u64,
    /// The exchanges that are new or have changed, oldest first.
    pub changed: Vec<Summary>,
    /// All exchanges before this one are gone, but for those in `older`.
    pub oldest: ExchangeId,
    /// Those that have gone on for longer than others of their age.
    pub older: Vec<ExchangeId>,
}
