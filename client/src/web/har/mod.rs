//! Exchanges in the format of browsers' network panels, HAR 1.2, and back.
//!
//! What HAR has no place for stands in fields that begin with `_`, as its text allows: `_webSocketMessages` as
//! Chrome writes them, and `_ngrnotok` with what is needed to read the very same exchange again. Bodies that
//! were cut say so in a `comment`.

mod read;
mod write;

use thiserror::Error;

pub use read::import;
pub use write::export;

/// Why a file cannot be read as exchanges.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HarError {
    /// No JSON, or not that of an archive.
    #[error("this is no HAR file: {0}")]
    Syntax(#[from] serde_json::Error),
    /// One entry makes no sense.
    #[error("entry {place} of the HAR file has {what}")]
    Entry {
        /// Counted from 0.
        place: usize,
        /// What is wrong with it.
        what: String,
    },
}

#[cfg(test)]
mod tests;
