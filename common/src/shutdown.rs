//! The end of a process, asked for by its user.

/// Resolves when the user or the service manager asks this process to stop: Ctrl-C anywhere,
/// SIGTERM on Unix. May be awaited again for the second, impatient signal.
///
/// Cancel safety: safe; a signal that comes between two calls is not lost once the first call has
/// been polled, because the handlers stay installed.
pub async fn signal() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            },
            // Without a handler SIGTERM ends the process the rude way; Ctrl-C may still work.
            Err(_) => interrupt().await,
        }
    }
    #[cfg(not(unix))]
    interrupt().await;
}

async fn interrupt() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
