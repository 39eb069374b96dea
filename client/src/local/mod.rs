//! The app on the developer's port.
//!
//! [`Target`] says where it is, `dial` opens a connection to it, `connection` speaks HTTP/1.1 on it, with
//! notes on its `wire`, `pool` keeps the ones that can be used again, `body` is what a request brings, `http` has the exchange itself (`http2` for apps that speak it), `rewrite` joins the public
//! origin with the app's own, `webpack` also within its scripts, `upgrade` has the exchange that leaves HTTP,
//! [`Trouble`] says what went wrong, in words for the developer, and [`explain`] why, where that is known.
//! The target is fixed when the tunnel is opened: nothing that a visitor or the server sends can make the
//! client dial anything else.

mod body;
mod connection;
mod dial;
pub mod explain;
mod hangup;
mod health;
mod hello;
mod http;
mod http2;
mod odd_field;
mod pool;
mod rewrite;
mod target;
mod trouble;
pub(crate) mod upgrade;
mod webpack;
mod wire;

pub use self::body::{Ready, RequestBody, Tapped};
pub use self::http::{BodyError, Caller, Local, LocalBody, Options, Protocol};
pub use dial::LocalError;
pub use explain::Explanation;
pub use pool::Sharing;
pub use rewrite::{HostHeader, InvalidHostHeader};
pub use target::{InvalidTarget, Target};
pub use trouble::{Lead, Trouble};
pub use upgrade::{Switch, Switched};
pub use webpack::Script;
