//! Where a running client can be asked, for other programs of the same user.
//!
//! One file for each port, which only its owner can read. It goes with the client; one that was killed leaves
//! it behind, and whoever reads it sees that nobody answers there.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ngrnotok_common::files::{self, Readers};
use ngrnotok_common::secret::Secret;
use serde::{Deserialize, Serialize};
use tracing::warn;

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noted {
    /// Where the web interface listens.
    pub address: SocketAddr,
    /// The client's process.
    pub pid: u32,
    /// What has to be sent along to change something; masked nowhere, so it is not to be shown.
    pub key: String,
}

/// A note that was left; gone when this is dropped.
#[derive(Debug)]
pub(super) struct Note(PathBuf);

impl Note {
    /// Leaves a note. Without one everything works but the commands that look for it.
    pub(super) fn leave(folder: &Path, address: SocketAddr, key: &Secret) -> Option<Self> {
        let noted = Noted {
            address,
            pid: std::process::id(),
            key: key.expose().to_owned(),
        };
        let path = folder.join(format!("{}.json", address.port()));
        match write(folder, &path, &noted) {
            Ok(()) => Some(Self(path)),
            Err(error) => {
                warn!(file = %path.display(), %error, "other commands will not find this client");
                None
            }
        }
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        // Another client may have the port by now, and this its file.
        let ours = read(&self.0).is_some_and(|noted| noted.pid == std::process::id());
        if ours {
            let _ = fs::remove_file(&self.0);
        }
    }
}

fn write(folder: &Path, path: &Path, noted: &Noted) -> io::Result<()> {
    files::private_folder(folder)?;
    files::replace(path, &serde_json::to_vec(noted)?, Readers::Owner)
}

fn read(path: &Path) -> Option<Noted> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// All notes in a folder, by port; also those of clients that are gone.
pub fn all(folder: &Path) -> Vec<Noted> {
    let Ok(files) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut noted: Vec<_> = files.filter_map(|file| read(&file.ok()?.path())).collect();
    noted.sort_by_key(|noted| noted.address.port());
    noted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_its_owners_and_goes_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("web");
        let address = "127.0.0.1:4040".parse().unwrap();
        let note = Note::leave(&folder, address, &Secret::new("key")).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(&note.0).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        let noted = all(&folder);
        assert_eq!(noted.len(), 1);
        assert_eq!((noted[0].address, noted[0].key.as_str()), (address, "key"));
        fs::write(folder.join("4041.json"), "half a no").unwrap();
        drop(note);
        assert_eq!(all(&folder), []);
    }

    #[test]
    fn a_note_of_another_client_stays() {
        let folder = tempfile::tempdir().unwrap();
        let address = "127.0.0.1:4040".parse().unwrap();
        let note = Note::leave(folder.path(), address, &Secret::new("key")).unwrap();
        let mut other = all(folder.path()).remove(0);
        other.pid += 1;
        write(folder.path(), &note.0, &other).unwrap();
        drop(note);
        assert_eq!(all(folder.path()), [other]);
    }
}
