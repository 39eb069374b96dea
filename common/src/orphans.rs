//! Processes whose parent has ended. The system gives them to process 1, which has to wait for their ends, or
//! they stay in its table for good. In a container that is often one of our programs.

use std::convert::Infallible;

/// Waits for the ends of orphans if this is process 1, and for nothing otherwise. `own` is a child that
/// somebody else waits for; a process with further children of its own must not call this.
///
/// Cancel safety: safe. What has ended meanwhile is found by the next call.
#[cfg(target_os = "linux")]
pub async fn reap(own: Option<u32>) -> Infallible {
    use rustix::process::{Pid, WaitOptions, waitpid};
    use tokio::signal::unix::{SignalKind, signal};
    // The handler is there before the first look, so that no end falls in between.
    if std::process::id() == 1
        && let Ok(mut ends) = signal(SignalKind::child())
    {
        loop {
            // One by one: to wait for any child would take the end of our own from whoever waits for it.
            for orphan in zombies_of(1).filter(|pid| Some(*pid) != own) {
                let pid = i32::try_from(orphan).ok().and_then(Pid::from_raw);
                // An error means that somebody was quicker.
                let _ = waitpid(pid, WaitOptions::NOHANG);
            }
            if ends.recv().await.is_none() {
                break;
            }
        }
    }
    std::future::pending().await
}

/// Elsewhere process 1 is part of the system.
#[cfg(not(target_os = "linux"))]
pub async fn reap(_own: Option<u32>) -> Infallible {
    std::future::pending().await
}

/// Children that have ended and are not waited for yet.
#[cfg(target_os = "linux")]
fn zombies_of(parent: u32) -> impl Iterator<Item = u32> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten();
    processes.filter_map(move |entry| {
        let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in brackets may hold anything, so what counts comes after the last one.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let (state, its_parent) = (fields.next()?, fields.next()?);
        (state == "Z" && its_parent.parse() == Ok(parent)).then_some(pid)
    })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_a_zombie_from_its_end_until_it_is_waited_for() {
        let ours = std::process::id();
        let mut child = std::process::Command::new("cat");
        let mut child = child.stdin(std::process::Stdio::piped()).spawn().unwrap();
        let is_zombie = |pid: u32| zombies_of(ours).any(|zombie| zombie == pid);
        assert!(!is_zombie(child.id()));
        drop(child.stdin.take());
        while !is_zombie(child.id()) {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(!is_zombie(child.id()));
    }
}
