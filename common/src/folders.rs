//! Where a program keeps what must outlive it, and where it looks for what its user wrote.

use std::path::PathBuf;

/// The state folder of `program` when nobody named one: what systemd set up for the service
/// (`STATE_DIRECTORY`), else the user's own by the XDG rules, `%LOCALAPPDATA%` on Windows. It may not exist
/// yet. `None` where there is no home at all: whatever folder we happen to work in is not ours.
pub fn state(program: &str) -> Option<PathBuf> {
    state_from(program, folder_in)
}

fn state_from(program: &str, folder_in: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    folder_in("STATE_DIRECTORY").or_else(|| {
        folder_in("XDG_STATE_HOME")
            .or_else(|| folder_in("HOME").map(|home| home.join(".local").join("state")))
            .or_else(|| folder_in("LOCALAPPDATA"))
            .map(|folder| folder.join(program))
    })
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

    /// An environment of these variables alone.
    fn with(variables: &'static [(&str, &str)]) -> impl Fn(&str) -> Option<PathBuf> {
        |wanted| {
            let found = variables.iter().find(|(name, _)| *name == wanted);
            found.map(|(_, path)| PathBuf::from(path))
        }
    }

    #[test]
    fn the_state_folder_is_the_services_or_the_users_own() {
        let state = |variables| state_from("prog", with(variables));
        let all = &[
            ("HOME", "/home/ann"),
            ("XDG_STATE_HOME", "/state"),
            ("STATE_DIRECTORY", "/var/lib/prog"),
        ];
        assert_eq!(state(all), Some("/var/lib/prog".into()));
        assert_eq!(state(&all[..2]), Some("/state/prog".into()));
        assert_eq!(state(&all[..1]), Some("/home/ann/.local/state/prog".into()));
        assert_eq!(state(&[]), None);
    }

    #[cfg(all(unix, not(target_os = "macos")))]
    #[test]
    fn the_config_folder_is_the_users_own() {
        let config = |variables| config_from(with(variables));
        let both = &[("HOME", "/home/ann"), ("XDG_CONFIG_HOME", "/cfg")];
        assert_eq!(config(both), Some("/cfg".into()));
        let home = &[("HOME", "/home/ann")];
        assert_eq!(config(home), Some("/home/ann/.config".into()));
        assert_eq!(config(&[]), None);
    }
}
