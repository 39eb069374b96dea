//! What went through the tunnels, for those who want to look: recorded as it flows, in bounded memory.
//!
//! [`Exchange`] is what is known of one request and its answer, [`Recorder`] keeps the newest of them
//! (with [`Keep`] also in a file),
//! `recording` is the hand that writes one down while it goes on, `kept` the form in which it lies in
//! memory meanwhile, and `log` that in which it lies when it is over; `look` takes it out of either. `reader`
//! finds the messages of `events`, `grpc` and `websocket` in it. [`mask`] hides what is secret, [`decoded`]
//! unpacks a body; neither touches what is recorded.
//!
//! Recording never holds up a visitor: nothing in here waits, a body is copied up to a limit, and what
//! is too much leaves with the oldest exchange.

mod decode;
mod events;
mod exchange;
mod grpc;
mod heard;
mod kept;
mod log;
mod look;
mod mask;
mod pieces;
mod reader;
mod recorder;
mod recording;
mod store;
mod summary;
mod websocket;

pub use decode::{Decoded, decoded};
pub use exchange::{
    Answer, Captured, Direction, Exchange, ExchangeId, Kind, Message, MessageKind, Origin, Request,
    State, Timing,
};
pub(crate) use heard::Heard;
pub use mask::{MASK, SECRET, mask};
pub use recorder::{Limits, Recorder};
pub(crate) use recording::{Arrival, Recording, Tap};
pub use store::{Keep, KeepError};
pub use summary::{Changes, Summary};
