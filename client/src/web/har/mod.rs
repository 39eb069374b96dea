//! Exchanges in the format of browsers' network panels, HAR 1.2, and back.
//!
//! What HAR has no place for stands in fields that begin with `_`, as its text allows: `_webSocketMessages` as
//! Chrome writes them, and `_ngrnotok` with what is needed to read the very same exchange again. Bodies that
//! were cut say so in a `comment`.

mod read;
mod write;

use thiserror::Error;

pub use read::{Import, LeftOut, import};
pub use write::export;

/// Why a file cannot be read as exchanges.
#[derive(Debug, Error)]
#[error("this is no HAR file: {0}")]
pub struct HarError(#[from] serde_json::Error);

#[cfg(test)]
mod tests;
