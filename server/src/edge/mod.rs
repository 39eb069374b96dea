//! The door for visitors.
//!
//! `sniff` waits for the first bytes of a plain connection, `handover` moves it to the shard of its
//! tunnel, `serve` opens it and `http1` or `http2` runs it, `handle` is the line every request walks,
//! `forward` changes what a proxy must change, `respond` turns causes into pages. `watched` and `activity`
//! note what happens on a connection, and `patience` judges it by them.

mod activity;
mod bond;
mod forward;
mod forwarded;
mod handle;
mod handover;
mod host;
mod http1;
mod http2;
mod last_words;
mod patience;
mod refusal;
mod resets;
mod respond;
mod serve;
mod sniff;
mod source;
#[cfg(test)]
mod tests;
mod upgrade;
mod upload;
mod visitor;
mod visitor_end;
mod watched;

pub use handover::{Detached, Handover, Visit};
pub use serve::{Arrival, Edge, HttpMode};
pub use sniff::Opening;
