//! Data streams: one public request each.
//!
//! Method, path and authority are the visitor's, untouched. A request that asks for an upgrade travels
//! as extended CONNECT (RFC 8441), whichever version the visitor speaks. Both ends strip every field under
//! [`PRIVATE_PREFIX`](crate::headers::PRIVATE_PREFIX) from what visitors and local apps send, so the
//! fields below can be believed.

use http::HeaderName;

/// On requests: the decimal [`TunnelId`](crate::id::TunnelId) under which the client bound the name.
pub const TUNNEL: HeaderName = HeaderName::from_static("ngrnotok-tunnel");

/// On requests, `?1`: the visitor can be given interim answers (1xx), so the app's are wanted.
pub const INTERIM: HeaderName = HeaderName::from_static("ngrnotok-interim");

/// On requests, if the client's `hello` asked for `times`: for how many microseconds the server has held the
/// request before it sent it on, in decimal.
pub const HELD: HeaderName = HeaderName::from_static("ngrnotok-held");

/// On requests, if the client's `hello` asked for `visitors`: the [`VisitorId`](crate::id::VisitorId) of the
/// visitor's connection. Usually only there from the moment at which the local app could tie something to it:
/// one of its requests had a body, or a login that holds for a connection ([`login`](crate::login)).
pub const VISITOR: HeaderName = HeaderName::from_static("ngrnotok-visitor");

/// On the answer to an extended CONNECT: the local app has switched to this protocol, and the rest of
/// the stream is its bytes. Without this field the answer is an ordinary one: the app refused.
pub const SWITCHED: HeaderName = HeaderName::from_static("ngrnotok-switched");

/// On an extended CONNECT: the method of the visitor's request, where it was not `GET`.
pub const METHOD: HeaderName = HeaderName::from_static("ngrnotok-method");

/// On an extended CONNECT, if the client's `hello` said `upgrade_bodies`: the length of the request's body in
/// bytes, in decimal. So much of the stream is HTTP still, and what follows belongs to the other protocol.
///
/// `Content-Length` cannot say it: HTTP/2 compares that with the whole stream (RFC 9113 §8.1.1).
pub const BODY_LENGTH: HeaderName = HeaderName::from_static("ngrnotok-body-length");

/// On responses: the reason phrase of the local app, where it is not the usual one of the status.
pub const REASON: HeaderName = HeaderName::from_static("ngrnotok-reason");

/// On responses: the code of a [`Cause`](super::cause::Cause). Its presence says that the tunnel
/// client made this answer itself because the local app gave none.
pub const CAUSE: HeaderName = HeaderName::from_static("ngrnotok-cause");
