//! `ngrnotok-server name …`, as typed.

use clap::Subcommand;

use super::Label;

/// Names that are kept for accounts.
#[derive(Debug, Subcommand)]
pub enum NameCommand {
    /// Keep a name for an account, for good; no other account gets it from now on
    #[command(after_help = "\
It works while the server runs. A client of another account that has the name loses it within a second.\n\n\
Example:\n  \
ngrnotok-server name reserve shop --account ann")]
    Reserve {
        /// The name: 1 to 63 of a-z, 0-9 and '-'
        name: Label,
        /// Whose it is from now on; there must be a token of this account, or have been one
        #[arg(long, value_name = "ACCOUNT")]
        account: String,
    },
    /// List the names that are reserved, and those that are held because they are or were used
    List {
        /// As one JSON array
        #[arg(long)]
        json: bool,
    },
    /// Give a reserved name back; one that is only held is free for everybody at once
    Release {
        /// The name
        name: Label,
    },
}
