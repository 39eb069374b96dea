//! What the tests stand on: everything around a tunnel that is not the tunnel.
//!
//! ```text
//! visitor ──► server ══ link ══ client ──► origin
//! Visitor     └─────── World ────────┘     Origin
//! Wire        RawClient speaks the link from literal bytes    Wire
//! ```
//!
//! A [`World`](world::World) is a server and its clients in this process, on ports that the system
//! chose. [`Visitor`](visitor::Visitor)s speak every version of HTTP, [`Origin`](origin::Origin)s
//! are local apps, [`Wire`](wire::Wire) is for those who speak bytes, and
//! [`RawClient`](raw_link::RawClient) is a tunnel client made of nothing of ours.
//! [`Program`](program::Program) runs the two binaries.
//!
//! Everything stops when it is dropped. Nothing sleeps: what a test waits for is an event, and
//! [`soon`] says which one did not come.

pub mod body;
pub mod canary;
pub mod dice;
pub mod dns;
pub mod frames;
pub mod head;
pub mod origin;
pub mod patience;
pub mod pipes;
pub mod program;
pub mod proxy;
pub mod raw_link;
pub mod relay;
pub mod sockets;
pub mod strict;
pub mod tasks;
pub mod visitor;
pub mod wire;
pub mod world;

pub use patience::{eventually, run, run_within, soon, still, within};
