//! Exchanges that outlive the program: one SQLite file, which one client at a time may have.
//!
//! A thread of its own writes. What is over waits for it in a short queue; what does not fit there is
//! counted and not written, for nothing may hold up a visitor.

mod written;

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, SystemTime};

use rusqlite::{Connection, OpenFlags};
use thiserror::Error;
use tokio::sync::oneshot;
use tracing::warn;

use super::exchange::{Exchange, ExchangeId};
use super::recorder::Records;

/// Where to keep exchanges, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keep {
    /// The file; made where it is missing, and only its owner can read it.
    pub file: PathBuf,
    /// How long an exchange stays in the file. 7 days unless said otherwise.
    pub time: Duration,
}

impl Keep {
    /// For 7 days.
    pub const TIME: Duration = Duration::from_secs(7 * 24 * 60 * 60);
}

/// Why the file cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeepError {
    /// The system does not let us.
    #[error("failed to open {}: {source}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another client has it.
    #[error(
        "another ngrnotok keeps its exchanges in {}; give this one another file with --inspect-store",
        file.display()
    )]
    InUse {
        /// The file.
        file: PathBuf,
    },
    /// It is no database, or it is broken.
    #[error("failed to open {}: {source}", file.display())]
    Database {
        /// The file.
        file: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// It was written by a newer version.
    #[error("{} was written by a newer ngrnotok; run that, or name another file", file.display())]
    Newer {
        /// The file.
        file: PathBuf,
    },
}

/// Exchanges that wait to be written: 1024.
const QUEUE: usize = 1024;

/// Written at once, at most.
const BATCH: usize = 256;

/// How often what is too old is removed: once an hour.
const SWEEP: Duration = Duration::from_secs(60 * 60);

/// The version of the tables.
const VERSION: i64 = 1;

/// The way to the thread that writes. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Store {
    jobs: SyncSender<Job>,
    shared: Arc<Shared>,
}

/// What the file holds at the start.
pub(super) struct Known {
    /// The newest, oldest first.
    pub(super) exchanges: Vec<Exchange>,
    /// The largest number that has been given.
    pub(super) last: u64,
}

#[derive(Debug, Default)]
struct Shared {
    /// What did not fit into the queue, or could not be written.
    missed: AtomicU64,
    /// All exchanges up to this one are to be forgotten.
    cleared: AtomicU64,
}

#[derive(Debug)]
enum Job {
    /// This one is over.
    Write(Arc<Records>, ExchangeId),
    /// Something is to be forgotten.
    Clear,
    /// Tell when all before this is done.
    Tell(oneshot::Sender<()>),
}

impl Store {
    /// Opens the file and reads from it the newest exchanges, up to `bytes` of bodies, oldest first.
    ///
    /// Blocks on the disk: call it at startup.
    pub(super) fn open(keep: &Keep, bytes: usize) -> Result<(Self, Known), KeepError> {
        let file = &keep.file;
        let lock = private(file).map_err(|source| match source {
            None => KeepError::InUse { file: file.clone() },
            Some(source) => KeepError::File {
                file: file.clone(),
                source,
            },
        })?;
        let database = |source| KeepError::Database {
            file: file.clone(),
            source,
        };
        // Without URI: a path is a path even when it begins with `file:`.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(file, flags).map_err(database)?;
        if !prepare(&mut connection).map_err(database)? {
            return Err(KeepError::Newer { file: file.clone() });
        }
        sweep(&connection, keep.time).map_err(database)?;
        let known = Known {
            exchanges: written::newest(&connection, bytes).map_err(database)?,
            last: written::last(&connection).map_err(database)?,
        };
        let (sender, jobs) = sync_channel(QUEUE);
        let shared = Arc::<Shared>::default();
        let writer = Writer {
            connection,
            jobs,
            shared: Arc::clone(&shared),
            time: keep.time,
            cleared: 0,
            _lock: lock,
        };
        std::thread::Builder::new()
            .name("inspect-store".into())
            .spawn(move || writer.run())
            .map_err(|source| KeepError::File {
                file: file.clone(),
                source,
            })?;
        let store = Self {
            jobs: sender,
            shared,
        };
        Ok((store, known))
    }

    /// Has an exchange written that is over.
    pub(super) fn write(&self, records: &Arc<Records>, id: ExchangeId) {
        let job = Job::Write(Arc::clone(records), id);
        if let Err(TrySendError::Full(_)) = self.jobs.try_send(job) {
            self.shared.missed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Forgets all exchanges up to this one, also those that wait to be written.
    pub(super) fn clear(&self, last: ExchangeId) {
        self.shared.cleared.fetch_max(last.0, Ordering::AcqRel);
        // A full queue means that the thread will look at it anyway.
        let _ = self.jobs.try_send(Job::Clear);
    }

    /// Resolves when all that waits is written; hears nothing from a thread that is gone or too busy.
    pub(super) fn saved(&self) -> Option<oneshot::Receiver<()>> {
        let (tell, told) = oneshot::channel();
        self.jobs.try_send(Job::Tell(tell)).ok()?;
        Some(told)
    }

    pub(super) fn missed(&self) -> u64 {
        self.shared.missed.load(Ordering::Relaxed)
    }
}

/// Makes the file where it is missing, for its owner alone, and takes the lock beside it. `None`: somebody
/// else has that.
fn private(file: &Path) -> Result<File, Option<io::Error>> {
    let options = || {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options
    };
    let mut beside = file.as_os_str().to_owned();
    beside.push(".lock");
    let lock = options().open(PathBuf::from(beside))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(None),
        Err(TryLockError::Error(error)) => return Err(Some(error)),
    }
    let opened = options().open(file)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        opened.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    }
    drop(opened);
    Ok(lock)
}

/// False if the tables are newer than this program.
fn prepare(connection: &mut Connection) -> rusqlite::Result<bool> {
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // The last exchanges before a power cut are no great loss.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version == 0 {
        let change = connection.transaction()?;
        change.execute_batch(written::TABLES)?;
        change.pragma_update(None, "user_version", VERSION)?;
        change.commit()?;
    }
    Ok(version <= VERSION)
}

/// Removes what is too old.
fn sweep(connection: &Connection, time: Duration) -> rusqlite::Result<()> {
    let limit = SystemTime::now()
        .checked_sub(time)
        .unwrap_or(SystemTime::UNIX_EPOCH);
    let sql = "DELETE FROM exchanges WHERE at < ?1";
    connection.execute(sql, [written::micros(limit)])?;
    Ok(())
}

struct Writer {
    connection: Connection,
    jobs: Receiver<Job>,
    shared: Arc<Shared>,
    time: Duration,
    /// Up to which all has been forgotten.
    cleared: u64,
    _lock: File,
}

impl Writer {
    fn run(mut self) {
        loop {
            let first = match self.jobs.recv_timeout(SWEEP) {
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let rest = self.jobs.try_iter().take(BATCH);
            let jobs: Vec<Job> = first.into_iter().chain(rest).collect();
            if let Err(error) = self.work(&jobs) {
                let lost = jobs.iter().filter(|job| matches!(job, Job::Write(..)));
                let lost = lost.count() as u64;
                self.shared.missed.fetch_add(lost, Ordering::Relaxed);
                warn!(%error, lost, "exchanges cannot be stored");
            }
            for job in jobs {
                if let Job::Tell(tell) = job {
                    let _ = tell.send(());
                }
            }
        }
    }

    fn work(&mut self, jobs: &[Job]) -> rusqlite::Result<()> {
        let change = self.connection.transaction()?;
        let cleared = self.shared.cleared.load(Ordering::Acquire);
        if cleared > self.cleared {
            change.execute(
                "DELETE FROM exchanges WHERE id <= ?1",
                [cleared.cast_signed()],
            )?;
            self.cleared = cleared;
        }
        if jobs.is_empty() {
            sweep(&change, self.time)?;
        }
        for job in jobs {
            let Job::Write(records, id) = job else {
                continue;
            };
            if id.0 <= self.cleared {
                continue;
            }
            // There may be no room for it any more.
            match records.look(*id, |look| look.exchange()) {
                Some(exchange) => written::write(&change, &exchange)?,
                None => {
                    self.shared.missed.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        change.commit()
    }
}

#[cfg(test)]
mod tests;
