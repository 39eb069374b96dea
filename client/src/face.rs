//! A client with all that a person sees of it: lines or the panel, and the page for the browser.

use std::io;
use std::pin::pin;
use std::time::Duration;

use ngrnotok_common::orphans;
use ngrnotok_common::shutdown::{self, Hangups};
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::client::{Client, ClientError, Config};
use crate::local::Target;
use crate::output::{self, Form, Opening};
use crate::resend::Edit;
use crate::tui::{self, Screen};
use crate::web::{Shown, Web};

/// How long the last lines may take to be written: 1 s.
const LAST_LINES: Duration = Duration::from_secs(1);

/// What a person sees of a client.
#[derive(Debug)]
pub struct Face {
    /// What is known before the first connection.
    pub opening: Opening,
    /// How to show what happens.
    pub showing: Showing,
    /// The page, unless none is wanted.
    pub web: Option<Web>,
}

/// How to show what happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Showing {
    /// As a panel, if standard output is a terminal that can show one.
    Panel,
    /// As lines.
    Lines(Form),
}

impl Showing {
    /// The same without a panel.
    pub fn as_lines(self) -> Self {
        match self {
            Self::Panel => Self::Lines(Form::Plain),
            lines => lines,
        }
    }
}

/// Why a client ended that nobody told to.
#[derive(Debug, Error)]
pub enum FaceError {
    /// It could not go on.
    #[error("{0}")]
    Client(#[from] ClientError),
    /// Nothing can be shown.
    #[error("{0}")]
    Write(io::Error),
}

/// Runs a client until Ctrl-C, SIGTERM or the end of the terminal. A second Ctrl-C or SIGTERM means that open
/// requests are not to be waited for.
pub async fn run(config: Config, face: Face) -> Result<(), FaceError> {
    let interrupts = watch::Sender::new(0);
    let (once, twice) = (interrupted(&interrupts, 1), interrupted(&interrupts, 2));
    let client = Client::new(config)?;
    tokio::select! {
        ended = show(client, face, interrupts, once) => ended,
        () = twice => Ok(()),
        never = orphans::reap(None) => match never {},
    }
}

/// Runs a client until `stop`, beside a program that has the terminal. Its first tunnel leads to whichever of
/// the `targets` came last.
pub async fn run_beside(
    config: Config,
    targets: watch::Receiver<Target>,
    face: Face,
    stop: impl Future<Output = ()>,
) -> Result<(), FaceError> {
    let name = config.tunnels[0].name.clone();
    let client = Client::new(config)?;
    let lead = client.opener().lead(name, targets);
    let showing = face.showing.as_lines();
    let face = Face { showing, ..face };
    let mut shown = pin!(show(client, face, watch::Sender::new(0), stop));
    tokio::select! {
        ended = &mut shown => ended,
        () = lead => shown.await,
    }
}

/// The panel notes Ctrl-C in `interrupts`.
async fn show(
    mut client: Client,
    face: Face,
    interrupts: watch::Sender<u32>,
    stop: impl Future<Output = ()>,
) -> Result<(), FaceError> {
    let requests = client.take_requests().expect("taken once");
    let (status, recorder) = (client.status(), client.recorder());
    let (connections, resender) = (client.connections(), client.resender());
    // It ends when this is dropped, with the client.
    let mut page = JoinSet::new();
    if let Some(web) = face.web {
        page.spawn(web.serve(Shown {
            status: status.clone(),
            connections: connections.clone(),
            recorder: recorder.clone(),
            resender: resender.clone(),
            opener: client.opener(),
        }));
    }
    // Where the terminal is none for a panel, lines are.
    let (screen, form) = match face.showing {
        Showing::Panel => (Screen::open().ok(), Form::Plain),
        Showing::Lines(form) => (None, form),
    };
    let opening = face.opening;
    let showing = async {
        let Some(screen) = screen else {
            let mut stdout = tokio::io::stdout();
            return output::show(form, opening, status, requests, &mut stdout).await;
        };
        let sources = tui::Sources {
            opening,
            status,
            requests,
            connections,
            recorder: recorder.clone(),
            resend: Some(Box::new(move |id| {
                let sent = resender.resend(id, Edit::default());
                sent.map_err(|error| error.to_string())
            })),
            interrupts,
        };
        tui::show(screen, sources).await
    };
    let leave = CancellationToken::new();
    let stop = async {
        tokio::select! {
            () = stop => {}
            () = leave.cancelled() => {}
        }
    };
    let (mut running, mut showing) = (pin!(client.run(stop)), pin!(showing));
    let mut shown = None;
    let ended = loop {
        tokio::select! {
            ended = &mut running => break ended,
            // Whoever read our lines has left (a closed pipe), or the terminal is gone: so do we, in good
            // order, unless we were told to outlive it.
            ending = &mut showing, if shown.is_none() => {
                if !(shutdown::hangups_are_ignored() && matches!(&ending, Err(error) if is_gone_terminal(error))) {
                    leave.cancel();
                }
                shown = Some(ending);
            }
        }
    };
    if shown.is_none() {
        // The client is gone, so this ends too, once all is shown.
        let _ = timeout(LAST_LINES, showing).await;
    }
    let _ = timeout(LAST_LINES, recorder.saved()).await;
    ended?;
    match shown {
        Some(Err(error)) if !is_gone(&error) => Err(FaceError::Write(error)),
        _ => Ok(()),
    }
}

/// Whether nobody is left to show anything to: the pipe is closed, or the terminal is.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe || is_gone_terminal(error)
}

/// A terminal that is closed answers each write with an error of its own.
#[cfg(unix)]
fn is_gone_terminal(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}

#[cfg(not(unix))]
fn is_gone_terminal(_: &io::Error) -> bool {
    false
}

/// Resolves when the user has asked to leave so many times: by a signal, or by a key while the panel has the
/// terminal. That the terminal closes counts once, however often it is told.
fn interrupted(keys: &watch::Sender<u32>, times: u32) -> impl Future<Output = ()> + use<> {
    let (mut keys, mut hangups) = (keys.subscribe(), Hangups::new());
    let mut signal = shutdown::signal();
    async move {
        let (mut signals, mut is_closed) = (0, false);
        while signals + *keys.borrow_and_update() < times {
            tokio::select! {
                () = signal => signals += 1,
                () = hangups.next(), if !is_closed => {
                    is_closed = true;
                    signals += 1;
                }
                Ok(()) = keys.changed() => {}
            }
            signal = shutdown::signal();
        }
    }
}
