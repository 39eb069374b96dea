//! The tables, as the steps that lead to them. A step that was released is never edited: files
//! out there have taken it.

use std::path::Path;

use rusqlite::Connection;
use rusqlite_migration::{Error, M, MigrationDefinitionError, Migrations};

use super::StoreError;

/// Brings the tables of `file` up to date. The caller sees to it that nobody else does so at the
/// same time: the version is read outside the transaction that raises it.
pub(super) fn apply(connection: &mut Connection, file: &Path) -> Result<(), StoreError> {
    MIGRATIONS
        .to_latest(connection)
        .map_err(|source| match source {
            Error::MigrationDefinition(MigrationDefinitionError::DatabaseTooFarAhead) => {
                StoreError::Newer {
                    file: file.to_path_buf(),
                }
            }
            source => StoreError::Migrate {
                file: file.to_path_buf(),
                source,
            },
        })
}

const MIGRATIONS: Migrations<'static> = Migrations::from_slice(STEPS);

const STEPS: &[M<'static>] = &[M::up(ACCOUNTS_AND_TOKENS)];

/// Times are seconds since 1970; a token's hash is the SHA-256 of its secret part.
const ACCOUNTS_AND_TOKENS: &str = "
    CREATE TABLE accounts (
        id      INTEGER PRIMARY KEY,
        name    TEXT NOT NULL UNIQUE,
        created INTEGER NOT NULL
    ) STRICT;

    CREATE TABLE tokens (
        id         TEXT NOT NULL PRIMARY KEY,
        account_id INTEGER NOT NULL REFERENCES accounts (id),
        hash       BLOB NOT NULL CHECK (length(hash) = 32),
        created    INTEGER NOT NULL,
        last_used  INTEGER
    ) STRICT;
";

#[cfg(test)]
mod tests {
    use super::super::Store;
    use super::super::scratch::Scratch;
    use super::*;

    #[test]
    fn every_step_can_be_taken() {
        MIGRATIONS.validate().unwrap();
    }

    #[test]
    fn a_file_of_a_newer_server_is_refused_by_name() {
        let scratch = Scratch::new();
        drop(Store::open(scratch.path()).unwrap());
        let file = scratch.path().join("server.db");
        let newer = Connection::open(&file).unwrap();
        newer.pragma_update(None, "user_version", 1000).unwrap();
        drop(newer);

        let refused = Store::open(scratch.path()).unwrap_err();

        assert!(matches!(refused, StoreError::Newer { .. }), "{refused:?}");
        let text = refused.to_string();
        assert!(text.contains(&file.display().to_string()), "{text}");
        assert!(
            text.contains("was written by a newer ngrnotok-server"),
            "{text}"
        );
    }

    #[test]
    fn opening_again_keeps_the_tables() {
        let scratch = Scratch::new();
        let file = scratch.path().join("server.db");
        drop(Store::open(scratch.path()).unwrap());
        let first = Connection::open(&file).unwrap();
        first
            .execute("INSERT INTO accounts (name, created) VALUES ('ann', 0)", [])
            .unwrap();

        drop(Store::open(scratch.path()).unwrap());

        let names: i64 = first
            .query_row("SELECT count(*) FROM accounts", [], |row| row.get(0))
            .unwrap();
        assert_eq!(names, 1);
    }
}
