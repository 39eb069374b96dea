//! `ngrnotok-server domain …`, as typed.

use std::str::FromStr;

use clap::Subcommand;
use ngrnotok_common::hostname::{InvalidName, Name};
use thiserror::Error;

use super::Resolver;

/// Hosts outside the server's domain, for accounts that prove to own them.
#[derive(Debug, Subcommand)]
pub enum DomainCommand {
    /// Add a host for an account, and print the TXT record that proves it
    #[command(after_help = "\
It works while the server runs. The server looks for the record when a client asks for the host, and \
again when the last time is 24 h ago.\n\n\
Example:\n  \
ngrnotok-server domain add app.example.com --account ann")]
    Add {
        /// The whole host name, as visitors write it
        host: Host,
        /// Whose it is to be; there must be a token of this account, or have been one
        #[arg(long, value_name = "ACCOUNT")]
        account: String,
    },
    /// Look now whether the record is there; exit code 1 if it is not
    Verify {
        /// The host
        host: Host,
        /// Whom to ask [default: whom the server asks]
        #[arg(long, value_name = "IP[:PORT]")]
        resolver: Option<Resolver>,
    },
    /// List the hosts, verified or not
    List {
        /// As one JSON array
        #[arg(long)]
        json: bool,
    },
    /// Take a host away from its account
    Remove {
        /// The host
        host: Host,
    },
}

/// A whole host name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host(pub Name);

/// What is no whole host name.
#[derive(Debug, Error)]
pub enum InvalidHost {
    /// It cannot be a name at all.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// It is a single label.
    #[error("give a whole host name such as app.example.com")]
    Label,
}

impl FromStr for Host {
    type Err = InvalidHost;

    fn from_str(word: &str) -> Result<Self, InvalidHost> {
        let name = Name::parse(word)?;
        match name.is_host() {
            true => Ok(Self(name)),
            false => Err(InvalidHost::Label),
        }
    }
}
