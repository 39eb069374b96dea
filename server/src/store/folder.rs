//! The state folder and the files of the store in it, private to the user who runs the server.

use std::fs::File;
use std::io;
use std::path::Path;

use ngrnotok_common::files::{self, Readers};
use tracing::warn;

use super::StoreError;

/// Makes the state folder where it is missing, and closes it to others who could write to it, unless only
/// root can.
pub(super) fn make(folder: &Path) -> Result<(), StoreError> {
    let is_closed =
        files::service_folder(folder).map_err(files_error("make the state folder", folder))?;
    if !is_closed {
        warn!(
            folder = %folder.display(),
            "the state folder belongs to root and other users can write to it; let nobody else have this volume"
        );
    }
    Ok(())
}

/// Waits until no other process has `file` locked, and locks it until the answer is dropped.
pub(super) fn lock(file: &Path) -> Result<File, StoreError> {
    let lock = files::private_options()
        .open(file)
        .map_err(files_error("make the lock file", file))?;
    lock.lock().map_err(files_error("lock", file))?;
    Ok(lock)
}

/// Makes `file` where it is missing, and takes it away from other users where they had it.
pub(super) fn make_private(file: &Path) -> Result<(), StoreError> {
    // Opening and closing a database behind SQLite's back would drop the POSIX locks that this
    // process holds on it, so a file that is there already is only looked at.
    match files::create(file, &[], Readers::Owner).map_err(files_error("make", file))? {
        true => Ok(()),
        false => files::withdraw(file).map_err(files_error("make private", file)),
    }
}

fn files_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    move |source| StoreError::Files {
        doing,
        path: path.to_path_buf(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::Store;
    use super::super::scratch::Scratch;
    use super::*;

    #[cfg(unix)]
    fn mode(path: &Path) -> u32 {
        use std::os::unix::fs::PermissionsExt;
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[cfg(unix)]
    #[test]
    fn a_new_folder_and_all_in_it_are_private() {
        let scratch = Scratch::new();
        let folder = scratch.path().join("state");

        let _store = Store::open(&folder).unwrap();

        assert_eq!(mode(&folder), 0o700);
        let files: Vec<_> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        // The database, its log, the log's index, and the lock.
        assert_eq!(files.len(), 4, "{files:?}");
        for file in files {
            assert_eq!(mode(&file), 0o600, "{}", file.display());
        }
    }

    #[cfg(unix)]
    #[test]
    fn what_others_could_read_or_replace_is_taken_from_them() {
        use std::os::unix::fs::PermissionsExt;

        let scratch = Scratch::new();
        let file = scratch.path().join("server.db");
        drop(Store::open(scratch.path()).unwrap());
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        for (before, after) in [(0o750, 0o750), (0o777, 0o755)] {
            fs::set_permissions(scratch.path(), fs::Permissions::from_mode(before)).unwrap();

            drop(Store::open(scratch.path()).unwrap());

            assert_eq!(mode(&file), 0o600);
            assert_eq!(mode(scratch.path()), after);
        }
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let scratch = Scratch::new();
        let folder = scratch.path().join("file");
        fs::write(&folder, "in the way").unwrap();

        let refused = Store::open(&folder).unwrap_err();

        assert!(matches!(refused, StoreError::Files { .. }), "{refused:?}");
        let text = refused.to_string();
        assert!(text.contains(&folder.display().to_string()), "{text}");
    }
}
