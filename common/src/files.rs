//! Files and folders that a program keeps for itself: closed to other users, and written whole or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use tempfile::{Builder, NamedTempFile};

/// Who may read a file; only its owner may write it. Elsewhere than on Unix a file is as private as its folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Its owner.
    Owner,
    /// Everybody who may look into its folder.
    All,
}

impl Readers {
    #[cfg(unix)]
    fn mode(self) -> u32 {
        match self {
            Self::Owner => 0o600,
            Self::All => 0o644,
        }
    }
}

/// Makes a folder, and those above it, for this user alone where they are missing. One that is there stays
/// as it is.
///
/// # Errors
///
/// When it cannot be made.
pub fn make_folder(folder: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// The same for a folder of nothing but our own files. One that is there is closed to other users who could
/// write to it: they could put files of theirs in the place of ours.
///
/// # Errors
///
/// When it cannot be made or closed, and when it is shared on purpose, as `/tmp` is.
pub fn private_folder(folder: &Path) -> io::Result<()> {
    make_folder(folder)?;
    close(folder)
}

/// The same for a service's folder, which may be a volume that root has made and keeps open to the service.
/// False if it is one, and others can write to it, too.
///
/// # Errors
///
/// Those of [`private_folder`], but for a volume that only root could close.
pub fn service_folder(folder: &Path) -> io::Result<bool> {
    make_folder(folder)?;
    match close(folder) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && is_volume(folder) => {
            Ok(false)
        }
        closed => closed.map(|()| true),
    }
}

#[cfg(unix)]
fn is_volume(folder: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;

    fs::metadata(folder).is_ok_and(|found| is_roots_volume(found.uid(), found.mode()))
}

#[cfg(not(unix))]
fn is_volume(_folder: &Path) -> bool {
    false
}

/// Root could put files of its own anywhere, so a folder of root's is as good as ours, unless it is for
/// everybody, as `/tmp` is.
#[cfg(unix)]
fn is_roots_volume(owner: u32, mode: u32) -> bool {
    owner == 0 && mode & SHARED == 0
}

/// The sticky bit.
#[cfg(unix)]
const SHARED: u32 = 0o1000;

#[cfg(unix)]
fn close(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;

    const WRITABLE_BY_OTHERS: u32 = 0o022;

    let mut permissions = fs::metadata(folder)?.permissions();
    let mode = permissions.mode();
    if mode & WRITABLE_BY_OTHERS == 0 {
        return Ok(());
    }
    permissions.set_mode(mode & !WRITABLE_BY_OTHERS);
    let closed = match mode & SHARED {
        0 => fs::set_permissions(folder, permissions),
        _ => Err(io::ErrorKind::PermissionDenied.into()),
    };
    closed.map_err(|error| {
        let folder = folder.display();
        let what = format!(
            "other users can write to {folder}; name another folder, or run: chmod go-w {folder}"
        );
        io::Error::new(error.kind(), what)
    })
}

#[cfg(not(unix))]
fn close(_folder: &Path) -> io::Result<()> {
    Ok(())
}

/// Puts a file in its place in one step: whoever reads sees the old one or the new one, also after a full
/// disk, a kill or a power cut.
///
/// # Errors
///
/// When it cannot be written. Then the old one is still there.
pub fn replace(file: &Path, content: &[u8], readers: Readers) -> io::Result<()> {
    let new = written_beside(file, content, readers)?;
    new.persist(file).map_err(|error| error.error)?;
    settle(file);
    Ok(())
}

/// The same for a file that is to be made only if there is none. False if there is one.
///
/// # Errors
///
/// When it cannot be written. Then there is none.
pub fn create(file: &Path, content: &[u8], readers: Readers) -> io::Result<bool> {
    let new = written_beside(file, content, readers)?;
    match new.persist_noclobber(file) {
        Ok(_) => {
            settle(file);
            Ok(true)
        }
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error.error),
    }
}

/// Opens a file that is rewritten in place, for this user alone where it is missing.
pub fn private_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, Readers::Owner.mode());
    options
}

/// Takes a file away from other users who can read or write it; one from a backup is often open to all.
///
/// # Errors
///
/// When it is not there, and when it belongs to another user, who may have put it there.
#[cfg(unix)]
pub fn withdraw(file: &Path) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    let found = fs::metadata(file)?;
    let trusted = [
        rustix::process::geteuid().as_raw(),
        fs::metadata(folder_of(file))?.uid(),
        0,
    ];
    if !trusted.contains(&found.uid()) {
        let file = file.display();
        return Err(io::Error::other(format!(
            "it belongs to another user; if you know how it came there, run: chown --reference=. {file}"
        )));
    }
    match found.permissions().mode() & 0o077 {
        0 => Ok(()),
        _ => fs::set_permissions(file, fs::Permissions::from_mode(Readers::Owner.mode())),
    }
}

/// Elsewhere a file is as private as its folder makes it.
///
/// # Errors
///
/// When it is not there.
#[cfg(not(unix))]
pub fn withdraw(file: &Path) -> io::Result<()> {
    fs::metadata(file).map(drop)
}

/// Gone if we do not come to the end.
fn written_beside(file: &Path, content: &[u8], readers: Readers) -> io::Result<NamedTempFile> {
    let mut builder = Builder::new();
    builder.prefix(".new-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(readers.mode()));
    #[cfg(not(unix))]
    let _ = readers;
    let mut new = builder.tempfile_in(folder_of(file))?;
    new.write_all(content)?;
    new.as_file().sync_all()?;
    Ok(new)
}

/// A name outlives a power cut when its folder is on the disk. Not every system can be told so.
fn settle(file: &Path) {
    let _ = File::open(folder_of(file)).and_then(|folder| folder.sync_all());
}

fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        assert!(create(&file, b"one", Readers::Owner).unwrap());
        assert!(!create(&file, b"two", Readers::Owner).unwrap());
        assert_eq!(fs::read(&file).unwrap(), b"one");
        replace(&file, b"three", Readers::Owner).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"three");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_written_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        // A folder is in the way.
        let file = folder.path().join("file");
        fs::create_dir(&file).unwrap();
        assert!(replace(&file, b"one", Readers::Owner).is_err());
        assert!(!create(&file, b"one", Readers::Owner).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    mod unix {
        use std::os::unix::fs::PermissionsExt as _;

        use super::*;

        fn mode(path: &Path) -> u32 {
            fs::metadata(path).unwrap().permissions().mode() & 0o7777
        }

        fn set_mode(path: &Path, mode: u32) {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }

        #[test]
        fn files_are_born_with_their_readers() {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("file");
            create(&file, b"", Readers::Owner).unwrap();
            assert_eq!(mode(&file), 0o600);
            replace(&file, b"", Readers::All).unwrap();
            assert_eq!(mode(&file) & !0o044, 0o600);
            withdraw(&file).unwrap();
            assert_eq!(mode(&file), 0o600);
        }

        #[test]
        fn a_folder_is_closed_to_others_who_could_write_to_it() {
            let scratch = tempfile::tempdir().unwrap();
            let folder = scratch.path().join("made").join("on the way");
            private_folder(&folder).unwrap();
            assert_eq!(mode(&folder), 0o700);
            for (before, after) in [
                (0o777, 0o755),
                (0o775, 0o755),
                (0o750, 0o750),
                (0o700, 0o700),
            ] {
                set_mode(&folder, before);
                private_folder(&folder).unwrap();
                assert_eq!(mode(&folder), after);
            }
        }

        #[test]
        fn only_a_volume_of_roots_may_stay_open() {
            for (owner, mode, may) in [
                (0, 0o40777, true),
                (0, 0o42775, true),
                (0, 0o41777, false),
                (1000, 0o40777, false),
            ] {
                assert_eq!(is_roots_volume(owner, mode), may, "{owner} {mode:o}");
            }
            let folder = tempfile::tempdir().unwrap();
            set_mode(folder.path(), 0o777);
            assert!(service_folder(folder.path()).unwrap());
            assert_eq!(
                mode(folder.path()),
                0o755,
                "one that can be closed is closed"
            );
            set_mode(folder.path(), 0o1777);
            service_folder(folder.path()).unwrap_err();
        }

        #[test]
        fn a_folder_that_is_shared_on_purpose_is_refused_with_the_next_step() {
            let folder = tempfile::tempdir().unwrap();
            set_mode(folder.path(), 0o1777);
            let refused = private_folder(folder.path()).unwrap_err().to_string();
            let next = format!("chmod go-w {}", folder.path().display());
            assert!(refused.contains(&next), "{refused}");
            assert_eq!(mode(folder.path()), 0o1777);
        }
    }
}
