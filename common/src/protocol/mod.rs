//! The wire between a tunnel client and its server. `PROTOCOL.md` beside this crate tells it whole;
//! here is the order of events with the module that knows each step:
//!
//! 1. The client opens TCP and TLS 1.3 and offers the ALPN protocol [`ALPN`].
//! 2. It sends one HTTP/1.1 request with `Upgrade: ptth` and its token ([`handshake`]). The server
//!    refuses with a plain HTTP status, or answers 101.
//! 3. The roles turn round: on the same bytes the *server* becomes the HTTP/2 client. Nothing of
//!    HTTP/2 exists before the client is known.
//! 4. The server opens the control stream, one POST to [`CONTROL_PATH`] that lives as long as the
//!    link; both its bodies are lines of JSON ([`control`]).
//! 5. Every public request is one more stream ([`stream`]). What went wrong before an answer of the
//!    local app is named by a [`cause`].

pub mod cause;
pub mod control;
pub mod handshake;
pub mod resume;
pub mod stream;
mod words;

/// The ALPN protocol that tells links from visitors on one port.
pub const ALPN: &[u8] = b"ngrnotok/1";

/// The version of everything after the TLS handshake. Either end refuses another one.
pub const VERSION: &str = "1";

/// Where the client asks for a link.
pub const LINK_PATH: &str = "/.well-known/ngrnotok/link";

/// Where the server opens the control stream.
pub const CONTROL_PATH: &str = "/.well-known/ngrnotok/control";
