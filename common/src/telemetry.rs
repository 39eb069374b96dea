//! Log set-up shared by both binaries.

use std::io::{self, IsTerminal as _};

use thiserror::Error;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, fmt};

use crate::output::Log;

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
        .with_writer(|| Log)
        // It would be told by `eprintln!`, which panics.
        .log_internal_errors(false)
        .with_ansi(ansi)
        .with_target(false)
        .with_filter(filter.and(filter_fn(keeps_secrets)));
    // A second start in one process (tests) keeps the first log.
    let _ = tracing_subscriber::registry().with(lines).try_init();
    Ok(())
}

/// Below a warning h2 repeats what strangers say: a path that it does not like, with the query; what they
/// give as their reason to leave.
fn keeps_secrets(line: &Metadata<'_>) -> bool {
    line.target().split("::").next() != Some("h2") || *line.level() <= Level::WARN
}
