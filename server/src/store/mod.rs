//! What the server remembers between runs: one SQLite file, `server.db`, in its state folder.

mod domains;
mod folder;
mod migrations;
mod names;
#[cfg(test)]
pub(crate) mod scratch;
mod tokens;
mod unix_seconds;

use std::fmt;
use std::io;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};
use thiserror::Error;
use tokio::sync::Mutex;

pub use self::domains::{Adding, Domain};
pub use self::names::{KeptName, NameRecord, NameUse, Reserving};
pub use self::tokens::{Revoked, TokenRow};
pub(crate) use self::tokens::{TokenToAdd, Version};
pub use self::unix_seconds::UnixSeconds;

/// A handle to the server's database; clones share its connections.
///
/// Several processes may have the same file open: `ngrnotok-server token create` works while the
/// server runs. SQLite blocks, so every verb is async and does its work on tokio's blocking
/// threads.
///
/// Dropping a verb's future is safe: work that has not begun is forgotten, work that has begun
/// goes on to its end, and a change is made whole or not at all.
#[derive(Clone)]
pub struct Store {
    file: Arc<Path>,
    // In WAL mode a reader never waits for a writer. With a connection of its own, looking up a
    // token waits neither for the disk nor for another process that holds the write lock.
    reader: Arc<Mutex<Connection>>,
    writer: Arc<Mutex<Connection>>,
}

const FILE: &str = "server.db";

/// Why the store could not do what it was asked to.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The state folder or a file in it could not be made or kept private.
    #[error("{doing} {} (this user must own it, or the folder it is to be in)", path.display())]
    Files {
        /// What was being done, as the start of a sentence that goes on with the path.
        doing: &'static str,
        /// The folder or file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// SQLite could not open the file.
    #[error("open {} (it must be a database that this user may write)", file.display())]
    Open {
        /// The database.
        file: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The file has tables that this binary does not know.
    #[error(
        "open {}, which was written by a newer ngrnotok-server: run that version, or use another state folder",
        file.display()
    )]
    Newer {
        /// The database.
        file: PathBuf,
    },
    /// The tables could not be brought up to date; they are as they were.
    #[error("bring {} up to date with this version", file.display())]
    Migrate {
        /// The database.
        file: PathBuf,
        /// What went wrong.
        source: rusqlite_migration::Error,
    },
    /// SQLite could not read or write.
    #[error("{doing} {}{hint}", file.display(), hint = hint(source))]
    Query {
        /// What was being done, as the start of a sentence that goes on with the file.
        doing: &'static str,
        /// The database.
        file: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The runtime is shutting down and takes no new work.
    #[error("{doing} {} while the server stops", file.display())]
    Stopping {
        /// What was to be done, as the start of a sentence that goes on with the file.
        doing: &'static str,
        /// The database.
        file: PathBuf,
    },
}

fn hint(error: &rusqlite::Error) -> &'static str {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure) => {
            " (the disk is full or failing; what was there before is still there)"
        }
        _ => "",
    }
}

impl Store {
    /// Opens `server.db` in `state_dir`, making both where they are missing and bringing older
    /// tables up to date.
    ///
    /// On Unix a new folder gets mode 0700 and the file always has 0600. A folder that is already
    /// there is closed to others who could write to it; who may read it is its owner's business.
    ///
    /// Blocks on the disk, and while another process opens the same file: call it at startup.
    ///
    /// # Errors
    ///
    /// When the folder or file cannot be made, is no database, or was written by a newer
    /// ngrnotok-server.
    pub fn open(state_dir: &Path) -> Result<Self, StoreError> {
        let file = state_dir.join(FILE);

        folder::make(state_dir)?;
        // Neither the switch to WAL nor the choice of migrations bears company: of two processes
        // that both find a new file, one would fail.
        let _alone = folder::lock(&state_dir.join("server.db.lock"))?;
        folder::make_private(&file)?;

        let mut writer = connect(&file).map_err(|source| open_error(&file, source))?;
        migrations::apply(&mut writer, &file)?;

        let reader = connect(&file).map_err(|source| open_error(&file, source))?;
        reader
            .pragma_update(None, "query_only", true)
            .map_err(|source| open_error(&file, source))?;

        Ok(Self {
            file: file.into(),
            reader: Arc::new(Mutex::new(reader)),
            writer: Arc::new(Mutex::new(writer)),
        })
    }

    /// Opens the store in `state_dir` if there is one: looking must not make it.
    ///
    /// # Errors
    ///
    /// As for [`Store::open`].
    pub fn open_existing(state_dir: &Path) -> Result<Option<Self>, StoreError> {
        match Self::exists(state_dir) {
            true => Self::open(state_dir).map(Some),
            false => Ok(None),
        }
    }

    /// Whether there is a store in `state_dir`, which opening it would make.
    pub fn exists(state_dir: &Path) -> bool {
        state_dir.join(FILE).exists()
    }

    /// An empty store that is gone with its last clone.
    ///
    /// # Errors
    ///
    /// When SQLite has no memory left.
    pub fn in_memory() -> Result<Self, StoreError> {
        let file = Path::new(":memory:");

        let mut connection = Connection::open_in_memory()
            .and_then(configure)
            .map_err(|source| open_error(file, source))?;
        migrations::apply(&mut connection, file)?;

        // A second connection would be a second, empty database.
        let connection = Arc::new(Mutex::new(connection));
        Ok(Self {
            file: file.into(),
            reader: Arc::clone(&connection),
            writer: connection,
        })
    }

    /// Runs `work` on the connection for reading. `doing` begins the error's sentence.
    async fn read<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.run(&self.reader, doing, |connection| work(connection))
            .await
    }

    /// Runs `work` on the connection for writing. `doing` begins the error's sentence.
    async fn write<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.run(&self.writer, doing, work).await
    }

    async fn run<T: Send + 'static>(
        &self,
        connection: &Arc<Mutex<Connection>>,
        doing: &'static str,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        // The turn is awaited out here and the guard moves inside, so that however many callers
        // wait, each connection occupies one thread.
        let mut connection = Arc::clone(connection).lock_owned().await;

        match tokio::task::spawn_blocking(move || work(&mut connection)).await {
            Ok(result) => result.map_err(|source| StoreError::Query {
                doing,
                file: self.file.to_path_buf(),
                source,
            }),
            Err(ended) => match ended.try_into_panic() {
                // Unwinding rolled the transaction back; the bug belongs to the caller's task.
                Ok(panic) => resume_unwind(panic),
                Err(_) => Err(StoreError::Stopping {
                    doing,
                    file: self.file.to_path_buf(),
                }),
            },
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

fn connect(file: &Path) -> rusqlite::Result<Connection> {
    // Without CREATE, because a file that SQLite makes has the umask's mode; without URI, because
    // the path is a path even when it begins with `file:`.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(file, flags).and_then(configure)
}

fn configure(connection: Connection) -> rusqlite::Result<Connection> {
    // First, because the others may already meet another process's lock.
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // A token is shown once: what was committed must outlive a power cut, and under WAL the
    // usual NORMAL does not promise that.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    Ok(connection)
}

fn open_error(file: &Path, source: rusqlite::Error) -> StoreError {
    StoreError::Open {
        file: file.to_path_buf(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::thread;

    use super::scratch::Scratch;
    use super::*;

    #[tokio::test]
    async fn both_connections_are_configured_for_durability() {
        let scratch = Scratch::new();
        let store = Store::open(scratch.path()).unwrap();

        for connection in [&store.reader, &store.writer] {
            let settings = store
                .run(connection, "inspect", |connection| {
                    let number = |name| connection.pragma_query_value(None, name, |row| row.get(0));
                    let mode: String =
                        connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
                    Ok((
                        mode,
                        number("synchronous")?,
                        number("foreign_keys")?,
                        number("busy_timeout")?,
                    ))
                })
                .await
                .unwrap();
            assert_eq!(settings, ("wal".to_owned(), 2, 1, 5000));
        }
    }

    #[tokio::test]
    async fn the_reader_cannot_write() {
        let scratch = Scratch::new();
        let store = Store::open(scratch.path()).unwrap();

        let refused = store
            .read("write into", |db| db.execute("DELETE FROM tokens", []))
            .await
            .unwrap_err();

        assert!(matches!(refused, StoreError::Query { .. }), "{refused:?}");
        let database = scratch.path().join("server.db");
        assert_eq!(
            refused.to_string(),
            format!("write into {}", database.display())
        );
    }

    #[tokio::test]
    async fn a_panic_reaches_the_caller_and_leaves_the_store_usable() {
        let store = Store::in_memory().unwrap();

        let caller = store.clone();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move {
            caller
                .write("panic in", |db| -> rusqlite::Result<()> {
                    let transaction = db.transaction()?;
                    transaction.execute("INSERT INTO accounts VALUES (1, 'ann', 0)", [])?;
                    panic!("on purpose");
                })
                .await
        });
        assert!(tasks.join_next().await.unwrap().unwrap_err().is_panic());

        let accounts: i64 = store
            .read("count in", |db| {
                db.query_row("SELECT count(*) FROM accounts", [], |row| row.get(0))
            })
            .await
            .unwrap();
        assert_eq!(accounts, 0);
    }

    #[test]
    fn a_new_file_can_be_opened_by_many_at_once() {
        let scratch = Scratch::new();
        let folder = scratch.path().join("new");

        let opened = thread::scope(|scope| {
            let openers: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| Store::open(&folder)))
                .collect();
            openers
                .into_iter()
                .map(|opener| opener.join().unwrap())
                .collect::<Result<Vec<_>, _>>()
        });

        assert_eq!(opened.unwrap().len(), 8);
    }

    #[test]
    fn what_is_no_database_is_refused_by_name() {
        let scratch = Scratch::new();
        let database = scratch.path().join("server.db");
        fs::write(
            &database,
            "not a database, but long enough to be read as one",
        )
        .unwrap();

        let refused = Store::open(scratch.path()).unwrap_err();

        assert!(matches!(refused, StoreError::Open { .. }), "{refused:?}");
        assert!(
            refused
                .to_string()
                .contains(&database.display().to_string())
        );
    }
}
