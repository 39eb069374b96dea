//! Where a program keeps what must outlive it, and where it looks for what its user wrote.

use std::path::PathBuf;

/// The state folder of `program` when nobody named one: what systemd set up for the service
/// (`STATE_DIRECTORY`), else the user's own by the XDG rules, `%LOCALAPPDATA%` on Windows, and the
/// working folder where there is no home at all. It may not exist yet.
pub fn state(program: &str) -> PathBuf {
    if let Some(service) = folder_in("STATE_DIRECTORY") {
        return service;
    }
    folder_in("XDG_STATE_HOME")
        .or_else(|| folder_in("HOME").map(|home| home.join(".local").join("state")))
        .or_else(|| folder_in("LOCALAPPDATA"))
        .unwrap_or_default()
        .join(program)
}

/// The folder of `program` for what its user configures: `$XDG_CONFIG_HOME`, else where the system has
/// it: `~/.config`, `~/Library/Application Support` on macOS, `%APPDATA%` on Windows. It may not exist
/// yet. `None` where there is no home at all: a file that happens to lie in the working folder must not
/// configure anything.
pub fn config(program: &str) -> Option<PathBuf> {
    config_from(folder_in).map(|folder| folder.join(program))
}

fn config_from(folder_in: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    folder_in("XDG_CONFIG_HOME").or_else(|| match std::env::consts::OS {
        "windows" => folder_in("APPDATA"),
        "macos" => folder_in("HOME").map(|home| home.join("Library").join("Application Support")),
        _ => folder_in("HOME").map(|home| home.join(".config")),
    })
}

/// A variable of the environment that names a folder; relative ones are not to be used, by the XDG
/// rules.
fn folder_in(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(all(unix, not(target_os = "macos")))]
    #[test]
    fn the_config_folder_is_the_users_own() {
        let with = |variables: &'static [(&str, &str)]| {
            config_from(|wanted| {
                let found = variables.iter().find(|(name, _)| *name == wanted);
                found.map(|(_, path)| PathBuf::from(path))
            })
        };
        let both = &[("HOME", "/home/ann"), ("XDG_CONFIG_HOME", "/cfg")];
        assert_eq!(with(both), Some("/cfg".into()));
        let home = &[("HOME", "/home/ann")];
        assert_eq!(with(home), Some("/home/ann/.config".into()));
        assert_eq!(with(&[]), None);
    }
}
