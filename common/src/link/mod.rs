//! The link: one TLS connection with HTTP/2 in reversed roles on it.
//!
//! [`open`] turns a connected stream into an end of a link, [`serving`] is the HTTP/2 server role that
//! the client's end shares with the edge, [`settings`] holds every number of it,
//! [`body`] moves bytes between streams and HTTP bodies under back-pressure, [`ping`] notices when
//! the other end is gone, and [`io`] sits between h2, TLS and the socket so that many small frames
//! cost one write.

pub mod body;
pub mod io;
pub mod open;
pub mod ping;
pub mod serving;
pub mod settings;
