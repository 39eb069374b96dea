//! `ngrnotok run -- npm run dev`: a command that runs beside the tunnel to the port it opens.
//!
//! The order is this. A session is opened and the name taken, because only the server can say what the
//! URL will be. The command starts and finds that in `NGRNOTOK_URL`. [`port`] finds out where it listens.
//! Then the tunnel leads there, and `follow` notices when the command listens elsewhere. Whichever of the two ends first takes the other along; `course` tells that,
//! and [`child`] has the signals.

pub mod child;
mod course;
mod follow;
pub mod port;

use std::ffi::OsString;
use std::io;
use std::path::Path;

use thiserror::Error;

pub use course::{Plan, run};

/// The variable in which the command finds the public URL.
pub const URL: &str = "NGRNOTOK_URL";

/// Why a command cannot run beside a tunnel.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BesideError {
    /// It cannot be started.
    #[error("failed to start {command}: {source}{}", hint(source))]
    Start {
        /// What it is.
        command: String,
        /// Why not.
        source: io::Error,
    },
    /// No signal can be waited for.
    #[error("failed to prepare for signals: {0}")]
    Signals(io::Error),
    /// No port is free.
    #[error("failed to choose a port for the command: {0}")]
    Port(io::Error),
}

fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::NotFound => {
            ". Is it installed, and on the PATH? What a shell knows needs one: sh -c \"…\""
        }
        _ => "",
    }
}

/// The command as one line, as it would be typed.
pub fn shown(command: &[OsString]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,+".contains(c);
    let words = command.iter().map(|word| {
        let word = word.to_string_lossy();
        match !word.is_empty() && word.chars().all(plain) {
            true => word.into_owned(),
            false => format!("'{}'", word.replace('\'', r"'\''")),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// What the name of its tunnel is derived from. The port is another one every day, so it is the folder
/// and the command: two projects have two names, and so have two commands of one project.
pub fn identity(command: &[OsString], folder: &Path) -> String {
    let words = command.iter().map(|word| word.to_string_lossy());
    let words = std::iter::once(folder.to_string_lossy()).chain(words);
    format!("run {}", words.collect::<Vec<_>>().join("\0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_it_would_be_typed() {
        let words = ["sh", "-c", "it's $HOME", ""].map(OsString::from);
        assert_eq!(shown(&words), r"sh -c 'it'\''s $HOME' ''");
    }

    #[test]
    fn folder_and_command_make_the_name_and_words_do_not_run_together() {
        let of = |command: &[&str], folder: &str| {
            let command: Vec<OsString> = command.iter().map(OsString::from).collect();
            identity(&command, Path::new(folder))
        };
        let dev = of(&["npm", "run", "dev"], "/shop");
        assert_eq!(dev, of(&["npm", "run", "dev"], "/shop"));
        for other in [
            of(&["npm", "run", "dev"], "/blog"),
            of(&["npm", "run", "api"], "/shop"),
            of(&["npm", "run dev"], "/shop"),
        ] {
            assert_ne!(dev, other);
        }
    }
}
