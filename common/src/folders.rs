//! Where a program keeps what must outlive it.

use std::path::PathBuf;

/// The state folder of `program` when nobody named one: what systemd set up for the service
/// (`STATE_DIRECTORY`), else the user's own by the XDG rules, `%LOCALAPPDATA%` on Windows, and the
/// working folder where there is no home at all. It may not exist yet.
pub fn state(program: &str) -> PathBuf {
    let from = |variable| {
        std::env::var_os(variable)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    if let Some(service) = from("STATE_DIRECTORY") {
        return service;
    }
    from("XDG_STATE_HOME")
        .or_else(|| from("HOME").map(|home| home.join(".local").join("state")))
        .or_else(|| from("LOCALAPPDATA"))
        .unwrap_or_default()
        .join(program)
}
