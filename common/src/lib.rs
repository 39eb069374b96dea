#![warn(missing_docs)]
//! The ground of ngrnotok: what the tunnel client and the server both need.
//!
//! # One request
//!
//! A tunnel client opens one TLS connection to its server. HTTP/2 runs over it in reverse: the
//! *server* is the HTTP/2 client. Every public request becomes one stream, which the tunnel client
//! replays against the local port.
//!
//! ```text
//! visitor ──► edge::listener ──► edge::serve ──► edge::handle ──► edge::forward ──► Session::send
//!                                (whose name?   registry)                                ║
//!                                                                          one h2 stream ║
//!                                                                                        ║
//! local app ◄── local::pool ◄── local::http ◄── dispatch ◄── session::serve (client) ◄═══╝
//! ```
//!
//! The request goes down as an argument, the answer comes back as a return value; there is no channel
//! and no lock held across an await on the way. Cancelling is dropping: a visitor who leaves drops the
//! future, which resets the stream, which drops the exchange with the local app.
//!
//! # Words
//!
//! | word | meaning |
//! |---|---|
//! | visitor | whoever calls a public URL |
//! | edge | the server's door for visitors |
//! | gate | the server's door for tunnel clients |
//! | link | one TLS connection between client and server with reversed HTTP/2 on it |
//! | session | one logged-in client: it owns names |
//! | tunnel | one public name that a session serves |
//! | route | what the edge finds for a host name |
//! | local | the app on the developer's port |
//!
//! # Where things live
//!
//! Six packages. Arrows run down only; a test reads the manifests and the `use` lines and fails on a
//! new one.
//!
//! ```text
//!    tests, examples
//!     │          │
//!   client ──► certs ◄── server       client → server in `embedded.rs` alone
//!     │          ▼          │
//!     └───────► common ◄────┘         certs → common for files alone; nothing of ours is below common
//!
//! server:  edge → registry → session → common      gate → auth, registry, session
//!          edge, gate and admin never import each other
//! client:  session → dispatch → local → inspect    output → status
//! ```
//!
//! Here in `common`: [`protocol`] is the wire (`PROTOCOL.md` tells it for people who write a client in
//! another language), [`link`] turns a TLS stream into an end of a link, [`headers`] holds the rules of
//! a proxy hop, [`login`] knows logins that hold for a connection, [`splice`] joins two streams after an upgrade, [`socket`] is
//! what they end in, [`hostname`], [`id`] and [`secret`] are the small types, [`failures`] counts wrong secrets
//! by the host of [`prefix`], [`files`] writes whole files into closed folders,
//! [`splitter`] takes bytes apart into lines, [`cli`], [`folders`],
//! [`manual`], [`memory`], [`orphans`], [`output`], [`printable`], [`rewound`], [`shutdown`], [`stall`] and [`telemetry`]
//! what both binaries start, print and end with.

pub mod cli;
pub mod failures;
pub mod files;
pub mod folders;
pub mod headers;
pub mod hostname;
pub mod id;
pub mod link;
pub mod login;
pub mod manual;
pub mod memory;
pub mod orphans;
pub mod output;
pub mod prefix;
pub mod printable;
pub mod protocol;
pub mod rewound;
pub mod secret;
pub mod shutdown;
pub mod socket;
pub mod splice;
pub mod splitter;
pub mod stall;
pub mod telemetry;
