#![warn(missing_docs)]
//! The server of ngrnotok: one door for visitors, one for tunnel clients.
//!
//! The crate doc of `ngrnotok-common` tells the whole story of a request. In here:
//!
//! - [`server`] starts and stops everything in order; a `shard` is one of its threads.
//! - [`gate`] is the door for tunnel clients: who may come in ([`auth`], kept in the [`store`]), which
//!   names they may have ([`names`]), and which they hold ([`registry`]).
//! - [`session`] is the handle to a client that has come in. It sits below both doors.
//! - [`edge`] is the door for visitors. `edge/handle.rs` is the page to read first.
//! - [`admin`] answers health probes; `certificates` warns of those that visitors refuse.
//! - [`cli`] holds the words as typed, [`config`] the checked types, [`token_command`], [`name_command`] and
//!   [`domain_command`] are what `ngrnotok-server token …`, `… name …` and `… domain …` do.

pub mod admin;
pub mod auth;
mod certificates;
pub mod cli;
pub mod config;
mod console;
pub mod domain_command;
pub mod edge;
pub mod gate;
mod listener;
pub mod name_command;
pub mod names;
pub mod registry;
pub mod server;
pub mod session;
mod shard;
pub mod store;
pub mod token_command;
pub mod urls;

pub use config::Config;
pub use server::{Addresses, Server, StartError};
