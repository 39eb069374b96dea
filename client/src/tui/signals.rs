//! The signals that concern the terminal.

use std::future::pending;

/// What a signal says to the panel.
pub(super) enum Signal {
    /// The job goes on after a stop.
    Resumed,
    /// Somebody wants us gone at once.
    Quit,
}

/// The signals that concern the terminal.
#[cfg(unix)]
pub(super) struct Signals([Option<tokio::signal::unix::Signal>; 2]);

#[cfg(unix)]
impl Signals {
    pub(super) fn new() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        let resumed = SignalKind::from_raw(rustix::process::Signal::CONT.as_raw());
        let kinds = [resumed, SignalKind::quit()];
        Self(kinds.map(|kind| signal(kind).ok()))
    }

    pub(super) async fn next(&mut self) -> Signal {
        async fn comes(signal: &mut Option<tokio::signal::unix::Signal>) {
            match signal {
                Some(signal) => drop(signal.recv().await),
                None => pending().await,
            }
        }
        let [resumed, quit] = &mut self.0;
        tokio::select! {
            () = comes(resumed) => Signal::Resumed,
            () = comes(quit) => Signal::Quit,
        }
    }
}

#[cfg(not(unix))]
pub(super) struct Signals;

#[cfg(not(unix))]
impl Signals {
    pub(super) fn new() -> Self {
        Self
    }

    pub(super) async fn next(&mut self) -> Signal {
        pending().await
    }
}
