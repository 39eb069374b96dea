//! The body of a visitor's request on its way to the tunnel client.

use std::convert::Infallible;

use ngrnotok_common::protocol::cause::Cause;

/// Why the body of a request did not come whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadError {
    /// The body broke off, or is not what its head says.
    Broken,
    /// Nothing of the body came for too long.
    Stalled,
}

/// A body that is there from the beginning.
impl From<Infallible> for UploadError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl From<UploadError> for Cause {
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::Broken => Self::BadFraming,
            UploadError::Stalled => Self::RequestTimeout,
        }
    }
}
