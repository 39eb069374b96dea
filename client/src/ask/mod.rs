//! Asking a client that runs on this machine: the commands `status`, `logs`, `resend` and
//! `wait-for-request`, for people, scripts and agents.
//!
//! They find the client by the note that its web interface leaves, and speak its API.

mod logs;
mod resend;
mod running;
mod status;
mod wait;
pub mod words;

use std::io;
use std::net::SocketAddr;

use ngrnotok_common::printable;
use serde_json::Value;
use thiserror::Error;

pub use logs::logs;
pub use resend::resend;
pub use status::status;
pub use wait::wait_for_request;

/// Why there is no answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AskError {
    /// Nobody to ask.
    #[error(
        "no client with a web interface runs here; start one, for example with: ngrnotok http -p 3000"
    )]
    NoClient,
    /// Nobody where somebody was said to be.
    #[error("no client answers at {address}: {source}")]
    NotThere {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// It is not clear whom to ask.
    #[error("several clients run here; choose one with --web-address:{}", listed(.0))]
    Several(Vec<SocketAddr>),
    /// The client says no, and what to do.
    #[error("{0}")]
    Problem(String),
    /// Something else answers there.
    #[error("what answers at {0} is no ngrnotok client, or one of another version")]
    Odd(SocketAddr),
    /// The client has ended meanwhile.
    #[error("the client at {0} has ended")]
    Gone(SocketAddr),
    /// Nothing that fits came in time.
    #[error("no such request in {0:?}")]
    TimedOut(std::time::Duration),
    /// The app gave no answer to what was sent again.
    #[error("exchange {id} got no answer: {reason}")]
    NoAnswer {
        /// Its number.
        id: u64,
        /// Why.
        reason: String,
    },
    /// Nobody reads what is printed.
    #[error("failed to write: {0}")]
    Write(#[from] io::Error),
}

impl AskError {
    /// The documented exit codes.
    pub fn code(&self) -> u8 {
        match self {
            Self::Several(_) => 2,
            Self::NoClient | Self::NotThere { .. } | Self::Gone(_) => 6,
            Self::TimedOut(_) => 7,
            _ => 1,
        }
    }
}

fn listed(addresses: &[SocketAddr]) -> String {
    addresses
        .iter()
        .map(|address| format!("\n  {address}"))
        .collect()
}

/// A line of the list for people: when, which, what, what came of it.
fn shown(line: &Value) -> String {
    let text = |name: &str| line[name].as_str().unwrap_or_default();
    let at = text("at").parse::<jiff::Timestamp>().ok();
    let at = at.map(|at| at.to_zoned(jiff::tz::TimeZone::system()));
    let clock = at.map_or_else(String::new, |at| at.strftime("%H:%M:%S.%3f").to_string());
    let state = match (line["status"].as_u64(), text("state")) {
        (Some(status), "done") => status.to_string(),
        (Some(status), state) => format!("{status} {state}"),
        (None, "trouble") => format!("{}: {}", text("cause"), text("reason")),
        (None, state) => state.to_owned(),
    };
    let took = line["duration_ms"].as_f64();
    let took = took.map_or_else(String::new, |ms| match ms < 10.0 {
        true => format!("  {ms:.1}ms"),
        false => format!("  {ms:.0}ms"),
    });
    let number = format!("#{}", line["id"]);
    let method = text("method");
    // Secrets travel in queries, and lines stay in terminals.
    let path = match text("path").split_once('?') {
        Some((path, _)) => format!("{path}?…"),
        None => text("path").to_owned(),
    };
    let line = format!("{clock}  {number:<6} {method:<7} {path:<38} {state}{took}");
    printable::line(&line).into_owned()
}
