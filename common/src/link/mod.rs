//! The link: one TLS connection with HTTP/2 in reversed roles on it.
//!
//! [`open`] turns a connected stream into an end of a link, [`calling`] and [`serving`] are the two
//! roles of HTTP/2, shared with the edge and with local apps that speak it, [`settings`] holds every number of it,
//! [`body`] moves bytes between streams and HTTP bodies under back-pressure, [`windows`] says how far they
//! may run ahead, [`ping`] notices when
//! the other end is gone, and [`io`] sits between h2, TLS and the socket so that many small frames
//! cost one write.

pub mod body;
pub mod calling;
pub mod io;
pub mod open;
pub mod ping;
pub mod serving;
pub mod settings;
pub mod windows;
