#![warn(missing_docs)]
//! The tunnel client of ngrnotok: a public URL for a local port.
//!
//! The crate doc of `ngrnotok-common` tells the whole story of a request. In here:
//!
//! - [`client`] is the face for programs: a [`Config`] goes in, a [`Client`] runs until told to stop.
//! - [`embedded`] is the server in the same process, for when no other is named.
//! - [`connect`] opens the connection, through a [`proxy`] if need be; `supervise` keeps it open, and
//!   `session` answers the server on it.
//! - `dispatch` takes each request to its [`local`] app. `tunnels` are those that there are; [`opener`] opens
//!   further ones while the client runs.
//! - [`inspect`] records what goes by, and [`resend`] sends it again.
//! - [`beside`] runs a command together with the tunnel to the port that it opens.
//! - [`status`], [`requests`] and [`connections`] are what there is to see; [`output`] shows them as lines,
//!   [`tui`] as a panel, [`web`] as a page and an API for browsers and programs on this machine. [`face`] is
//!   a client with all of them.
//! - [`sign_in`] has the links that let a browser in to that page, and [`ask`] the commands that ask such an
//!   API.
//! - [`cli`] holds the words as typed, [`settings`] those that the config file knows, too, [`config`] the
//!   checked types; [`doctor`] tries them out, and [`login`] is how a token gets into that file.

pub mod accounts;
pub mod ask;
mod backoff;
pub mod beside;
mod browser;
pub mod cli;
pub mod client;
mod comeback;
pub mod config;
pub mod connect;
pub mod connections;
mod course;
mod dispatch;
pub mod doctor;
pub mod embedded;
pub mod face;
pub mod inspect;
pub mod local;
pub mod login;
pub mod names;
pub mod opener;
pub mod output;
mod ports;
pub mod proxy;
pub mod requests;
pub mod resend;
mod secrets;
mod session;
pub mod settings;
pub mod sign_in;
pub mod status;
mod supervise;
pub mod tui;
mod tunnels;
mod wake;
pub mod web;

pub use client::{Client, ClientError, Config, Tunnel};
pub use connect::Connector;
pub use local::{Options, Target};
pub use ngrnotok_certs::tls::Trust;
pub use ngrnotok_common::hostname::Name;
pub use ngrnotok_common::secret::Secret;
pub use proxy::Proxy;
