//! The end of a process, asked for by its user.

use std::convert::Infallible;

use tracing::info;

/// Resolves when the user or the service manager asks this process to stop: Ctrl-C anywhere,
/// SIGTERM on Unix. May be called again for the second, impatient signal.
///
/// On Unix the handlers are there from the call on, so that whoever is told that a program is up can
/// stop it in good order at once. Cancel safety: safe; the handlers stay installed.
pub fn signal() -> impl Future<Output = ()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let terminate = signal(SignalKind::terminate()).ok();
        let interrupt = signal(SignalKind::interrupt()).ok();
        async {
            tokio::select! {
                () = comes(terminate) => {}
                () = comes(interrupt) => {}
            }
        }
    }
    #[cfg(not(unix))]
    async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Without a handler a signal ends the process the rude way.
#[cfg(unix)]
async fn comes(signal: Option<tokio::signal::unix::Signal>) {
    match signal {
        Some(mut signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// The word that the terminal of this process is closed: SIGHUP on Unix, the end of the console on Windows.
/// None comes where hangups [are ignored](hangups_are_ignored), and they stay so for the commands that this
/// process starts.
#[derive(Debug)]
pub struct Hangups {
    signal: Option<HangupSignal>,
}

#[cfg(unix)]
type HangupSignal = tokio::signal::unix::Signal;

#[cfg(windows)]
type HangupSignal = tokio::signal::windows::CtrlClose;

impl Hangups {
    /// From now on a hangup no longer ends this process.
    pub fn new() -> Self {
        #[cfg(unix)]
        let hangup = || tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup());
        #[cfg(windows)]
        let hangup = tokio::signal::windows::ctrl_close;
        let signal = match hangups_are_ignored() {
            // With a handler they would not be any more.
            true => None,
            false => hangup().ok(),
        };
        Self { signal }
    }

    /// The next one. A terminal that closes is told of more than once, by the kernel and by the shell. Cancel
    /// safety: safe.
    pub async fn next(&mut self) {
        match &mut self.signal {
            Some(signal) => drop(signal.recv().await),
            None => std::future::pending().await,
        }
    }

    /// Stays when the terminal is gone, and says so.
    pub async fn ignore(mut self) -> Infallible {
        loop {
            self.next().await;
            info!("SIGHUP changes nothing; settings and certificates are read at the start");
        }
    }
}

impl Default for Hangups {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether this process was started to outlive its terminal, as by `nohup`.
#[cfg(unix)]
pub fn hangups_are_ignored() -> bool {
    use std::io::{IsTerminal as _, stderr, stdin, stdout};
    use std::sync::LazyLock;
    // Looked up before the first handler is there: afterwards nothing is ignored.
    static ARE_IGNORED: LazyLock<bool> = LazyLock::new(|| {
        match std::fs::read_to_string("/proc/self/status") {
            Ok(status) => ignores_hangups(&status),
            // Without /proc only unsafe code could ask for the disposition. A program under `nohup` has no
            // terminal; any other one without a terminal is left to what the system does at a hangup.
            Err(_) => !(stdin().is_terminal() || stdout().is_terminal() || stderr().is_terminal()),
        }
    });
    *ARE_IGNORED
}

/// Whether this process was started to outlive its terminal.
#[cfg(not(unix))]
pub fn hangups_are_ignored() -> bool {
    false
}

/// Reads the mask of ignored signals in `/proc/PID/status`; SIGHUP is the first of them.
#[cfg(unix)]
fn ignores_hangups(status: &str) -> bool {
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & 1 == 1)
}

#[cfg(all(test, unix))]
mod tests {
    use super::ignores_hangups;

    #[test]
    fn the_mask_of_ignored_signals_tells_of_nohup() {
        let status =
            |mask: &str| format!("Name:\tsleep\nSigIgn:\t{mask}\nSigCgt:\t0000000000000001\n");
        assert!(ignores_hangups(&status("0000000000001001")));
        assert!(!ignores_hangups(&status("0000000000001000")));
        assert!(!ignores_hangups(""));
    }
}
