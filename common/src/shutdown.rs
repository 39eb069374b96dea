//! The end of a process, asked for by its user.

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
