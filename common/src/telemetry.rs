//! Log set-up shared by both binaries.

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use thiserror::Error;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, fmt};

/// The wish for a log level cannot be understood.
#[derive(Debug, Error)]
#[error(
    "--log {wish:?} is not a level: use off, error, warn, info, debug or trace, or a filter such as ngrnotok=debug"
)]
pub struct InvalidLevel {
    wish: String,
}

/// Sends the log to standard error, so that standard output stays a contract for scripts.
///
/// `wish` is a level (`info`) or a filter (`ngrnotok=debug,h2=warn`). A bare level speaks of our
/// own crates; what others such as rustls say below a warning is asked for by name. Nobody gets h2 to say
/// more than that.
pub fn start(wish: &str) -> Result<(), InvalidLevel> {
    let invalid = || InvalidLevel { wish: wish.into() };
    let directives = match wish.parse::<tracing::level_filters::LevelFilter>() {
        Ok(level) => format!(
            "{others},rustls_platform_verifier=off,ngrnotok={level},ngrnotok_server={level},ngrnotok_common={level},ngrnotok_certs={level}",
            others = level.min(tracing::level_filters::LevelFilter::WARN),
        ),
        // A single word that is no level is a typing error, not the name of a module.
        Err(_) if !wish.contains('=') => return Err(invalid()),
        Err(_) => wish.to_owned(),
    };
    let filter = EnvFilter::builder()
        .parse(directives)
        .map_err(|_| invalid())?;
    let ansi = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let lines = fmt::layer()
        .with_writer(|| Destination)
        .with_ansi(ansi)
        .with_target(false)
        .with_filter(filter.and(filter_fn(keeps_secrets)));
    // A second start in one process (tests) keeps the first log.
    let _ = tracing_subscriber::registry().with(lines).try_init();
    Ok(())
}

/// Lines that are held back: 200, and then the oldest goes.
const MOST_HELD: usize = 200;

/// What is held back; `None` while the log goes to standard error.
static HELD: Mutex<Option<VecDeque<String>>> = Mutex::new(None);

fn held() -> MutexGuard<'static, Option<VecDeque<String>>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Holds the log back until the answer is dropped, and writes it then: the screen belongs to something else
/// meanwhile. The newest 200 lines are kept.
#[must_use]
pub fn hold() -> Hold {
    held().get_or_insert_default();
    Hold(())
}

/// Keeps a line for later; false if the log is not held back.
pub fn keep(line: &str) -> bool {
    let mut held = held();
    let Some(lines) = held.as_mut() else {
        return false;
    };
    if lines.len() == MOST_HELD {
        lines.pop_front();
    }
    lines.push_back(line.trim_end().to_owned());
    true
}

/// The log is held back.
#[derive(Debug)]
pub struct Hold(());

impl Drop for Hold {
    fn drop(&mut self) {
        let mut stderr = io::stderr().lock();
        for line in held().take().unwrap_or_default() {
            // Nobody is left to be told.
            let _ = writeln!(stderr, "{line}");
        }
    }
}

/// Where a line of the log goes. It comes in one piece.
struct Destination;

impl Write for Destination {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if keep(&String::from_utf8_lossy(line)) {
            return Ok(line.len());
        }
        io::stderr().write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Below a warning h2 repeats what strangers say: a path that it does not like, with the query; what they
/// give as their reason to leave.
fn keeps_secrets(line: &Metadata<'_>) -> bool {
    line.target().split("::").next() != Some("h2") || *line.level() <= Level::WARN
}
