//! The page and the API for who works on this machine: what goes through the tunnels, to look at, to send
//! again, to take away.
//!
//! 1. [`Place`] is where it is wished for, [`Web::bind`] listens there.
//! 2. `guard` lets nobody in but programs and browsers of the same user, and who knows the password.
//! 3. `shell` is the page, `api` what it is filled from; programs use the same. `api::ngrok` says it in the
//!    words of ngrok's own API.
//! 4. [`har`] writes exchanges down in the format of browsers and reads them again.
//! 5. [`note`] is a small file that tells other programs of the same user where this is.
//!
//! It costs the tunnels nothing: nothing is done before somebody asks, what takes long is done on another
//! thread, and nothing waits in a queue for one who does not read.

#[expect(unused_qualifications, reason = "utoipa spells out what it is given")]
mod api;
mod guard;
pub mod har;
pub mod note;
mod place;
mod problem;
mod shell;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use ngrnotok_common::secret::Secret;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use crate::connections::Connections;
use crate::inspect::Recorder;
use crate::opener::Opener;
use crate::resend::Resender;
use crate::sign_in::SignIn;
use crate::status::Status;
use guard::Guard;
use note::Note;

pub(crate) use guard::KEY;
pub use place::{InvalidPlace, Place};

/// Where it is, unless that is taken.
pub const PORT: u16 = 4040;

/// How many ports after it are tried before any free one is taken.
const NEXT_PORTS: u16 = 20;

/// What there is to see.
#[derive(Debug, Clone)]
pub struct Shown {
    /// The client's state.
    pub status: watch::Receiver<Status>,
    /// How much goes through its tunnels.
    pub connections: Connections,
    /// What goes through its tunnels.
    pub recorder: Recorder,
    /// What sends recorded requests again.
    pub resender: Resender,
    /// What opens and closes further tunnels.
    pub opener: Opener,
}

/// Listens, and has not begun to serve.
#[derive(Debug)]
pub struct Web {
    listener: TcpListener,
    address: SocketAddr,
    guard: Guard,
    note: Option<Note>,
    allows_unix: bool,
}

/// Why there is no page.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WebError {
    /// The address is taken, or not ours.
    #[error(
        "failed to listen on {address} for the web interface: {source}; choose another with --web, or none with --web off"
    )]
    Listen {
        /// As wished for.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// Everybody could look.
    #[error(
        "--web {address} can be reached from other machines; protect it with --web-password-file FILE or NGRNOTOK_WEB_PASSWORD"
    )]
    Open {
        /// As wished for.
        address: SocketAddr,
    },
}

impl Web {
    /// Listens where it is wished for; `None` if nowhere. An address that others can reach takes a password.
    ///
    /// Without a wish it is the usual port or the next free one. A note of it is left in `notes`, if that can
    /// be written.
    pub async fn bind(
        place: Place,
        password: Option<Secret>,
        notes: Option<&Path>,
    ) -> Result<Option<Self>, WebError> {
        let candidates: Vec<SocketAddr> = match place {
            Place::Off => return Ok(None),
            Place::At(address) if !address.ip().is_loopback() && password.is_none() => {
                return Err(WebError::Open { address });
            }
            Place::At(address) => vec![address],
            Place::Usual => (PORT..=PORT + NEXT_PORTS)
                .chain([0])
                .map(|port| (IpAddr::from(Ipv4Addr::LOCALHOST), port).into())
                .collect(),
        };
        let (last, others) = candidates.split_last().expect("there is one at least");
        let mut bound = None;
        for address in others {
            if let Ok(listener) = TcpListener::bind(address).await {
                bound = Some(listener);
                break;
            }
        }
        let failed = |source| WebError::Listen {
            address: *last,
            source,
        };
        let listener = match bound {
            Some(listener) => listener,
            None => TcpListener::bind(last).await.map_err(failed)?,
        };
        let address = listener.local_addr().map_err(failed)?;
        let guard = Guard::new(address, password);
        let note = notes.and_then(|folder| Note::leave(folder, address, guard.key()));
        Ok(Some(Self {
            listener,
            address,
            guard,
            note,
            allows_unix: false,
        }))
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The links that let a browser in.
    pub fn sign_in(&self) -> &SignIn {
        self.guard.sign_in()
    }

    /// Whether programs may open tunnels to Unix sockets.
    #[must_use]
    pub fn allow_unix(self, allowed: bool) -> Self {
        Self {
            allows_unix: allowed,
            ..self
        }
    }

    /// Serves for ever. Cancel safety: dropping the future ends it, and its note is gone.
    pub async fn serve(self, shown: Shown) {
        let guard = Arc::new(self.guard);
        let desk = api::Desk {
            shown,
            began: SystemTime::now(),
            run: Arc::from(guard::random()),
            guard: Arc::clone(&guard),
            allows_unix: self.allows_unix,
            searches: Arc::new(Semaphore::new(1)),
        };
        let app = api::router(desk).merge(shell::router(&guard));
        let app = guard::around(guard, app).into_make_service_with_connect_info::<SocketAddr>();
        let _note = self.note;
        // It retries what an accept can fail with, and so never ends.
        let _ = axum::serve(self.listener, app).await;
    }
}

#[cfg(test)]
mod tests;
