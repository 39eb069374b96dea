//! Data streams: one public request each.
//!
//! Method, path and authority are the visitor's, untouched. Both ends strip every field under
//! [`PRIVATE_PREFIX`](crate::headers::PRIVATE_PREFIX) from what visitors and local apps send, so the
//! two fields below can be believed.

use http::HeaderName;

/// On requests: the decimal [`TunnelId`](crate::id::TunnelId) under which the client bound the name.
pub const TUNNEL: HeaderName = HeaderName::from_static("ngrnotok-tunnel");

/// On responses: the code of a [`Cause`](super::cause::Cause). Its presence says that the tunnel
/// client made this answer itself because the local app gave none.
pub const CAUSE: HeaderName = HeaderName::from_static("ngrnotok-cause");
