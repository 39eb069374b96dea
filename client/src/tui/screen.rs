//! The terminal, taken over and given back: on every way out, also that of a panic.
//!
//! What the panel draws goes through `tokio`'s standard output and holds nothing up. Only what takes the
//! terminal over and gives it back is written on the spot.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossterm::cursor::{Hide, Show};
use crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use crossterm::{Command as _, QueueableCommand as _};
use ngrnotok_common::output;

/// How long a terminal that takes nothing may hold up the end: 1 s.
const GOODBYE: Duration = Duration::from_secs(1);

/// The terminal, for as long as the panel has it. Dropped, it is as it was, with some last words below what
/// stood there before.
#[derive(Debug)]
pub struct Screen {
    last_words: String,
    /// The log, where it would be written over the panel. After the terminal is given back.
    _log: Option<output::Hold>,
}

impl Screen {
    /// Takes over the terminal that standard output is.
    ///
    /// Errors: it is none, or none that can show a panel, or it has no size, or it belongs to another job of the shell.
    pub fn open() -> io::Result<Self> {
        let unfit = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        if !io::stdout().is_terminal() || cfg!(unix) && unfit {
            return Err(io::Error::other("standard output shows no panel"));
        }
        let (columns, rows) = crossterm::terminal::size()?;
        if columns == 0 || rows == 0 {
            // Nobody has told it, as in containers and under `script`: a panel would be drawn into nothing.
            return Err(io::Error::other("the terminal does not know its size"));
        }
        in_foreground()?;
        take_over()?;
        let log = io::stderr().is_terminal().then(output::hold);
        // A task that panics leaves the rest running, and so the panel: what it has to say is for afterwards.
        output::keep_panics();
        Ok(Self {
            last_words: String::new(),
            _log: log,
        })
    }

    /// What will be left to read on the terminal.
    pub(super) fn set_last_words(&mut self, words: String) {
        self.last_words = words;
    }

    /// Gives the terminal back, lets the shell stop this job, and takes the terminal over again once it goes
    /// on. A job that no shell could wake goes on at once.
    #[cfg(unix)]
    pub(super) fn suspend(&self) -> io::Result<()> {
        use rustix::process::{Signal, kill_current_process_group};
        give_back("");
        // All of the job, as the terminal would do it: whoever waits for us has to stop, too.
        kill_current_process_group(Signal::TSTP)?;
        take_over()
    }

    /// There is no such thing.
    #[cfg(not(unix))]
    pub(super) fn suspend(&self) -> io::Result<()> {
        Ok(())
    }

    /// Takes the terminal over once more: whoever had it meanwhile may have changed it.
    pub(super) fn resume(&self) -> io::Result<()> {
        in_foreground()?;
        take_over()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back(&self.last_words);
    }
}

/// A job in the background that touches the terminal is stopped for it.
#[cfg(unix)]
fn in_foreground() -> io::Result<()> {
    let ours = rustix::process::getpgrp();
    match rustix::termios::tcgetpgrp(io::stdout()) {
        Ok(theirs) if theirs == ours => Ok(()),
        Ok(_) => Err(io::Error::other("another job has the terminal")),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(unix))]
fn in_foreground() -> io::Result<()> {
    Ok(())
}

fn take_over() -> io::Result<()> {
    // Otherwise what is known from before counts, and nothing would be done.
    let _ = disable_raw_mode();
    enable_raw_mode()?;
    let mut stdout = io::stdout().lock();
    stdout.queue(EnterAlternateScreen)?.queue(Hide)?;
    stdout.flush()
}

fn give_back(last_words: &str) {
    let _ = disable_raw_mode();
    let mut bytes = String::new();
    let _ = LeaveAlternateScreen.write_ansi(&mut bytes);
    let _ = Show.write_ansi(&mut bytes);
    bytes.push_str(last_words);
    let (done, wait) = sync_channel(1);
    // A terminal that takes nothing, as over a network that is gone, must not keep the program here.
    std::thread::spawn(move || {
        let mut stdout = io::stdout().lock();
        let _ = stdout.write_all(bytes.as_bytes());
        let _ = stdout.flush();
        let _ = done.send(());
    });
    let _ = wait.recv_timeout(GOODBYE);
}

/// What has been drawn and is not written yet.
#[derive(Debug, Clone, Default)]
pub(super) struct Drawn(Arc<Mutex<Vec<u8>>>);

impl Drawn {
    /// All of it.
    pub(super) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl io::Write for Drawn {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut drawn = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        drawn.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
