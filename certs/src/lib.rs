//! Everything about certificates in ngrnotok: where they come from, who trusts them, and the TLS
//! configurations made of them.
//!
//! - [`pem`] reads certificates and keys which an operator put into files.
//! - [`Identity`] is what a server shows: a certificate chain and its key.
//! - [`Identities`] are several of them, chosen by the name that is asked for.
//! - [`dev`] is a certificate authority for development, which issues identities on the spot.
//! - [`pin`] names a server by the hash of its public key, for servers no authority vouches for.
//! - [`failure`] tells why a handshake failed, in words; [`flaws`] what will make it fail.
//! - [`tls`] makes rustls configurations of all these. No other place in the workspace does, so
//!   that provider, cipher suites and key exchange are the same everywhere.
//!
//! All cryptography is by aws-lc-rs. The provider is handed to rustls explicitly, and never
//! installed as the default of the process.

#![warn(missing_docs)]

pub mod dev;
pub mod failure;
pub mod flaws;
mod identities;
mod identity;
pub mod pem;
pub mod pin;
pub mod tls;
pub mod validity;

#[cfg(test)]
mod testing;

pub use identities::Identities;
pub use identity::Identity;
