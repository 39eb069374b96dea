//! The command itself: started, told what we are told, and ended with us.
//!
//! Away from a terminal it has a process group of its own, and signals go to all of that. On a terminal it
//! stays in ours: it may read what is typed there, which a group in the background must not, and Ctrl-C and
//! Ctrl-Z reach it from the terminal itself, as if it had been started alone.

use std::ffi::OsString;
use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use ngrnotok_common::orphans;
use ngrnotok_common::shutdown::Hangups;
use tokio::process::{Child as Process, Command};
use tokio::time::timeout;

use super::{BesideError, URL, shown};
use crate::secrets;

/// What a command has to end by itself, once it is told to: 10 s, as open requests have.
const LEAVE_LIMIT: Duration = Duration::from_secs(10);

/// A command that runs.
#[derive(Debug)]
pub struct Child {
    process: Process,
    has_own_group: bool,
}

/// What a user or a service manager tells us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// The polite request to end.
    Terminate,
    /// The terminal is gone.
    Hangup,
}

impl Signal {
    /// The exit status of a program that has ended by it, as shells tell it.
    pub fn status(self) -> u8 {
        128 + match self {
            Self::Hangup => 1,
            Self::Interrupt => 2,
            Self::Terminate => 15,
        }
    }
}

impl Child {
    /// Starts a command, whose output and input are ours, and whose environment is without our secrets. It finds the public URL in `NGRNOTOK_URL`, and
    /// where it should listen, if that is chosen for it, in `PORT`.
    pub fn start(command: &[OsString], url: &str, port: Option<u16>) -> Result<Self, BesideError> {
        let (program, args) = command.split_first().expect("clap wants a word");
        let mut process = Command::new(program);
        process.args(args).env(URL, url).kill_on_drop(true);
        for secret in secrets::ALL {
            process.env_remove(secret);
        }
        if let Some(port) = port {
            process.env("PORT", port.to_string());
        }
        let has_own_group = cfg!(unix) && !io::IsTerminal::is_terminal(&io::stdin());
        #[cfg(unix)]
        if has_own_group {
            process.process_group(0);
        }
        let process = process.spawn().map_err(|source| BesideError::Start {
            command: shown(command),
            source,
        })?;
        Ok(Self {
            process,
            has_own_group,
        })
    }

    /// Its process id; `None` once it has ended.
    pub fn id(&self) -> Option<u32> {
        self.process.id()
    }

    /// Waits for its end; returns the exit status that tells it, as shells do. In a container whose first process
    /// this is, the orphans of the command are ours to wait for meanwhile. Cancel safety: safe.
    pub async fn ended(&mut self) -> u8 {
        let own = self.id();
        tokio::select! {
            // That it cannot be waited for does not happen to a child of ours.
            ended = self.process.wait() => ended.map_or(1, status),
            never = orphans::reap(own) => match never {},
        }
    }

    /// Passes a signal on. Ctrl-C on a terminal has reached it already.
    pub fn pass_on(&self, signal: Signal) {
        if self.has_own_group || signal != Signal::Interrupt {
            self.send(signal);
        }
    }

    /// Ends it: politely, and if that takes too long, not. Returns its exit status.
    pub async fn end(&mut self) -> u8 {
        self.send(Signal::Terminate);
        if let Ok(code) = timeout(LEAVE_LIMIT, self.ended()).await {
            return code;
        }
        self.kill().await;
        self.ended().await
    }

    /// Ends it where it stands, with all of its group.
    pub async fn kill(&mut self) {
        #[cfg(unix)]
        if self.has_own_group
            && let Some(group) = self.pid()
        {
            // An error means that it is gone.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = self.process.kill().await;
    }

    #[cfg(unix)]
    fn send(&self, signal: Signal) {
        use rustix::process::{Signal as Unix, kill_process, kill_process_group};
        let Some(pid) = self.pid() else {
            return;
        };
        let signal = match signal {
            Signal::Interrupt => Unix::INT,
            Signal::Terminate => Unix::TERM,
            Signal::Hangup => Unix::HUP,
        };
        // An error means that it is gone.
        let _ = match self.has_own_group {
            true => kill_process_group(pid, signal),
            false => kill_process(pid, signal),
        };
    }

    /// Elsewhere nothing can be said to a process, and Ctrl-C reaches it from the console.
    #[cfg(not(unix))]
    fn send(&self, _signal: Signal) {}

    #[cfg(unix)]
    fn pid(&self) -> Option<rustix::process::Pid> {
        rustix::process::Pid::from_raw(i32::try_from(self.id()?).ok()?)
    }
}

fn status(status: ExitStatus) -> u8 {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return u8::try_from(128 + signal).unwrap_or(u8::MAX);
    }
    // Of the 32 bits of other systems all but the last eight are lost; what was a failure stays one.
    let code = status.code().unwrap_or(1);
    u8::try_from(code).unwrap_or(1)
}

/// What this process is told from outside.
#[derive(Debug)]
pub struct Signals {
    #[cfg(unix)]
    kinds: [(Signal, tokio::signal::unix::Signal); 2],
    hangups: Hangups,
}

impl Signals {
    /// From now on signals wait to be passed on.
    pub fn new() -> Result<Self, BesideError> {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            let of = |ours, kind| Ok((ours, signal(kind).map_err(BesideError::Signals)?));
            Ok(Self {
                kinds: [
                    of(Signal::Interrupt, SignalKind::interrupt())?,
                    of(Signal::Terminate, SignalKind::terminate())?,
                ],
                hangups: Hangups::new(),
            })
        }
        #[cfg(not(unix))]
        Ok(Self {
            hangups: Hangups::new(),
        })
    }

    /// The next one. Cancel safety: safe.
    pub async fn next(&mut self) -> Signal {
        #[cfg(unix)]
        {
            let [(_, interrupt), (_, terminate)] = &mut self.kinds;
            tokio::select! {
                _ = interrupt.recv() => Signal::Interrupt,
                _ = terminate.recv() => Signal::Terminate,
                () = self.hangups.next() => Signal::Hangup,
            }
        }
        #[cfg(not(unix))]
        tokio::select! {
            Ok(()) = tokio::signal::ctrl_c() => Signal::Interrupt,
            () = self.hangups.next() => Signal::Hangup,
        }
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    fn child(script: &str) -> Child {
        let command = ["sh", "-c", script].map(OsString::from);
        Child::start(&command, "http://app.test", Some(4711)).unwrap()
    }

    #[tokio::test]
    async fn the_exit_status_is_told_as_shells_do() {
        assert_eq!(child("exit 7").ended().await, 7);
        assert_eq!(child("kill -TERM $$").ended().await, 143);
        assert_eq!(child("kill -KILL $$").ended().await, 137);
    }

    #[tokio::test]
    async fn the_command_knows_url_and_port() {
        let script = r#"[ "$NGRNOTOK_URL $PORT" = "http://app.test 4711" ]"#;
        assert_eq!(child(script).ended().await, 0);
    }

    #[tokio::test]
    async fn a_command_that_is_not_there_is_named() {
        let command = [OsString::from("no-such-program-anywhere")];
        let error = Child::start(&command, "", None).unwrap_err().to_string();
        assert!(error.contains("failed to start no-such-program-anywhere"));
        assert!(error.contains("PATH"), "{error}");
    }

    #[tokio::test]
    async fn it_ends_when_it_is_told_to() {
        let mut child = child("exec sleep 1000");
        assert_eq!(child.end().await, 143);
    }
}
