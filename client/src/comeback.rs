//! What a client needs to come back to its session after a loss: in memory while it runs, and in a file, so
//! that a client that was killed has its names again at once when it is restarted.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use ngrnotok_common::files;
use ngrnotok_common::hostname::Name;
use ngrnotok_common::id::SessionId;
use ngrnotok_common::protocol::control::Resume;
use ngrnotok_common::protocol::resume::{ChannelBinding, Verifier, key_of, new_secret};
use ngrnotok_common::secret::Secret;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tracing::{debug, warn};

/// The right to the newest session.
#[derive(Debug)]
pub(crate) struct Comeback {
    right: Mutex<Option<Right>>,
    /// Counts the sessions' secrets, for those who wait for a new one.
    generation: watch::Sender<u64>,
    kept: Option<Kept>,
}

#[derive(Debug, Clone)]
struct Right {
    session: SessionId,
    secret: Secret,
    /// How often it was claimed.
    turn: u64,
}

impl Comeback {
    /// Lost with the program.
    pub(crate) fn in_memory() -> Self {
        Self {
            right: Mutex::new(None),
            generation: watch::Sender::new(0),
            kept: None,
        }
    }

    /// Kept in a file below `folder`, one for each server and set of names, readable by this user alone.
    ///
    /// While another client has the file, or when there can be none, it is lost with the program.
    pub(crate) fn kept_in(folder: &Path, server: &str, names: &[&Name]) -> Self {
        let path = folder.join(file_name(server, names));
        match Kept::open(folder, path.clone()) {
            Ok((kept, right)) => Self {
                right: Mutex::new(right),
                kept: Some(kept),
                ..Self::in_memory()
            },
            Err(error) => {
                if error.kind() == io::ErrorKind::WouldBlock {
                    debug!("another client with the same names is running");
                } else {
                    warn!(file = %path.display(), %error, "a restart cannot take its names over at once");
                }
                Self::in_memory()
            }
        }
    }

    /// The claim to make on a connection: to the session that there is, or else to one that is about to be.
    /// `None` for a link that would join and knows of no session.
    pub(crate) fn claim(&self, binding: &ChannelBinding, join: bool) -> Option<Resume> {
        let known = self.right().clone();
        let Right {
            session,
            secret,
            turn,
        } = match join {
            true => known?,
            false => self.next_turn(known),
        };
        Some(Resume {
            session,
            proof: Verifier::of(&secret).prove(session, binding),
            key: (!join).then(|| key_of(&secret)),
            turn: (!join).then_some(turn),
            join,
        })
    }

    /// The right with which a link is to take the place of others. Also that of a new session is remembered
    /// before the server hears of it, because its `welcome` may be lost.
    fn next_turn(&self, known: Option<Right>) -> Right {
        let right = known.unwrap_or_else(|| Right {
            session: SessionId::random(),
            secret: new_secret(),
            turn: 0,
        });
        let turn = right.turn + 1;
        self.remember(Right { turn, ..right })
    }

    /// Remembers what a `welcome` said.
    pub(crate) fn learn(&self, session: SessionId, secret: Secret) {
        let turn = self.right().as_ref().map_or(0, |right| right.turn);
        self.remember(Right {
            session,
            secret,
            turn,
        });
        self.generation.send_modify(|generation| *generation += 1);
    }

    fn remember(&self, right: Right) -> Right {
        if let Some(kept) = &self.kept
            && let Err(error) = kept.write(&right)
        {
            warn!(file = %kept.path.display(), %error, "a restart cannot take its names over at once");
        }
        *self.right() = Some(right.clone());
        right
    }

    /// After a goodbye there is nothing to come back to.
    pub(crate) fn forget(&self) {
        *self.right() = None;
        if let Some(kept) = &self.kept {
            let _ = fs::remove_file(&kept.path);
        }
    }

    /// Changes whenever the server has given a new secret.
    pub(crate) fn generation(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    fn right(&self) -> MutexGuard<'_, Option<Right>> {
        self.right.lock().expect("nothing panics under this lock")
    }
}

/// The file, locked against other clients until it is dropped.
#[derive(Debug)]
struct Kept {
    path: PathBuf,
    file: Mutex<File>,
}

/// What stands in it. Always of the same length, so that one write replaces it and a client that is killed
/// leaves the old one or the new one.
#[derive(Serialize, Deserialize)]
struct Line {
    session: SessionId,
    secret: String,
    /// 16 hex digits.
    #[serde(default)]
    turn: String,
}

impl Kept {
    fn open(folder: &Path, path: PathBuf) -> io::Result<(Self, Option<Right>)> {
        files::private_folder(folder)?;
        let mut file = files::private_options().read(true).open(&path)?;
        file.try_lock()?;
        let mut text = Vec::new();
        (&mut file).take(4096).read_to_end(&mut text)?;
        let right = serde_json::from_slice(&text).ok().map(|line: Line| Right {
            session: line.session,
            secret: Secret::new(line.secret),
            turn: u64::from_str_radix(&line.turn, 16).unwrap_or(0),
        });
        if right.is_none() {
            if !text.is_empty() {
                warn!(file = %path.display(), "it is broken, so an earlier session is not taken up again");
            }
            // What is not ours could be longer than a line and stand behind the next one.
            file.set_len(0)?;
        }
        let file = Mutex::new(file);
        Ok((Self { path, file }, right))
    }

    fn write(&self, right: &Right) -> io::Result<()> {
        let line = Line {
            session: right.session,
            secret: right.secret.expose().to_owned(),
            turn: format!("{:016x}", right.turn),
        };
        let mut text = serde_json::to_vec(&line)?;
        text.push(b'\n');
        let mut file = self.file.lock().expect("nothing panics under this lock");
        file.rewind()?;
        file.write_all(&text)
    }
}

fn file_name(server: &str, names: &[&Name]) -> String {
    let mut names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
    names.sort_unstable();
    let hash = digest(&SHA256, format!("{server} {}", names.join(" ")).as_bytes());
    format!("{}.json", HEXLOWER.encode(&hash.as_ref()[..8]))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            let name = format!("ngrnotok-comeback-{}", SessionId::random());
            Self(std::env::temp_dir().join(name))
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_right_outlives_the_program_but_not_a_goodbye() {
        let folder = Folder::new();
        let name = Name::parse("app").unwrap();
        let open = || Comeback::kept_in(&folder.0, "tunnel.test:443", &[&name]);
        let first = open();
        assert!(first.right().is_none());
        let (session, secret) = (SessionId::random(), new_secret());
        first.learn(session, secret.clone());
        // A second client of the same names must not take the first one's session away.
        assert!(open().kept.is_none());
        drop(first);

        let second = open();
        let right = second.right().clone().unwrap();
        assert_eq!((right.session, right.secret), (session, secret));
        second.learn(SessionId::random(), new_secret());
        second.forget();
        drop(second);
        assert!(open().right().is_none());
    }

    #[test]
    fn a_session_is_remembered_before_the_server_hears_of_it() {
        let folder = Folder::new();
        let open = || Comeback::kept_in(&folder.0, "tunnel.test:443", &[]);
        let first = open();
        let begun = first.next_turn(None);
        assert_eq!(*first.generation().borrow(), 0, "nobody can join it yet");
        drop(first);
        // Its welcome was lost, and then the program.
        let second = open();
        let right = second.right().clone().unwrap();
        assert_eq!((right.session, right.secret), (begun.session, begun.secret));
        // Nor does it ever claim the same turn twice.
        second.learn(SessionId::random(), new_secret());
        let known = second.right().clone();
        assert_eq!(second.next_turn(known).turn, 2);
        drop(second);
        assert_eq!(open().right().clone().unwrap().turn, 2);
    }

    #[test]
    fn a_file_that_was_scribbled_on_is_used_again() {
        let folder = Folder::new();
        let open = || Comeback::kept_in(&folder.0, "tunnel.test:443", &[]);
        let path = open().kept.as_ref().unwrap().path.clone();
        for scribble in [vec![0xff; 10], vec![b'x'; 5000]] {
            fs::write(&path, scribble).unwrap();
            let first = open();
            assert!(first.right().is_none());
            let (session, secret) = (SessionId::random(), new_secret());
            first.learn(session, secret);
            drop(first);
            assert_eq!(open().right().clone().unwrap().session, session);
        }
    }

    #[test]
    fn other_servers_and_other_names_are_other_files() {
        let [a, b] = ["a", "b"].map(|name| Name::parse(name).unwrap());
        assert_eq!(file_name("s", &[&a, &b]), file_name("s", &[&b, &a]));
        assert_ne!(file_name("s", &[&a]), file_name("s", &[&b]));
        assert_ne!(file_name("s", &[&a]), file_name("t", &[&a]));
    }

    #[cfg(unix)]
    #[test]
    fn nobody_else_can_read_it() {
        use std::os::unix::fs::PermissionsExt as _;

        let folder = Folder::new();
        let name = Name::parse("app").unwrap();
        let comeback = Comeback::kept_in(&folder.0, "tunnel.test:443", &[&name]);
        comeback.learn(SessionId::random(), new_secret());
        let path = &comeback.kept.as_ref().unwrap().path;
        assert_eq!(
            fs::metadata(path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
}
