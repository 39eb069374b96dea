//! A tunnel is not to be noticed: what a visitor says to an app, and the app to its visitor, is the same
//! with a tunnel between them as without.
//!
//! A case is a dialogue as data ([`case`]). It is played straight to the app, then through the tunnel
//! from every kind of visitor to every kind of app ([`table`]), both sides write down what arrives
//! ([`message`]), and the two must be equal but for what two hops of HTTP may change ([`compare`] has
//! the list, each with its RFC).
//!
//! ```text
//!             cases
//!               │ played by
//!   http1, http2 (visitor) ──────────► stage::App (http1, http2)      direct
//!   http1, http2 (visitor) ══ tunnel ═► stage::App (http1, http2)     × 4 kinds of visitors
//! ```
//!
//! [`departures`] measures how soon an app sees its visitor leave. [`desync`] is about those who want
//! the two ends to disagree on where a request ends.

mod bodies;
mod case;
mod compare;
mod connections;
mod departures;
mod desync;
mod endings;
mod fields;
mod heads;
mod http1;
mod http2;
mod interim;
mod message;
mod stage;
mod table;
mod targets;
mod upgrades;
