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

const STEPS: &[M<'static>] = &[
    M::up(ACCOUNTS_AND_TOKENS),
    M::up(RULES_OF_TOKENS),
    M::up(KEPT_NAMES),
    M::up(DOMAINS),
    M::up(HOLDERS),
];

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

/// What tokens may do. NULL is no limit; names and kinds are patterns with spaces between them. A
/// revoked token keeps its row: its id is never free again, and that there was a token is not
/// forgotten.
const RULES_OF_TOKENS: &str = "
    ALTER TABLE tokens ADD COLUMN note TEXT NOT NULL DEFAULT '';
    ALTER TABLE tokens ADD COLUMN expires INTEGER;
    ALTER TABLE tokens ADD COLUMN revoked INTEGER;
    ALTER TABLE tokens ADD COLUMN names TEXT;
    ALTER TABLE tokens ADD COLUMN kinds TEXT;
    ALTER TABLE tokens ADD COLUMN max_links INTEGER
        CHECK (max_links BETWEEN 1 AND 4294967295);
    ALTER TABLE tokens ADD COLUMN max_tunnels INTEGER
        CHECK (max_tunnels BETWEEN 1 AND 4294967295);
    ALTER TABLE tokens ADD COLUMN max_streams INTEGER
        CHECK (max_streams BETWEEN 1 AND 4294967295);
    ALTER TABLE tokens ADD COLUMN max_requests_per_minute INTEGER
        CHECK (max_requests_per_minute BETWEEN 1 AND 4294967295);
    ALTER TABLE tokens ADD COLUMN max_bytes_per_second INTEGER
        CHECK (max_bytes_per_second BETWEEN 1 AND 4294967295);
";

/// Names that are kept for accounts. The account of a held name is told by its name alone, because those
/// without a token have no row.
const KEPT_NAMES: &str = "
    CREATE TABLE reserved_names (
        name       TEXT NOT NULL PRIMARY KEY,
        account_id INTEGER NOT NULL REFERENCES accounts (id),
        created    INTEGER NOT NULL
    ) STRICT;

    CREATE TABLE held_names (
        name       TEXT NOT NULL PRIMARY KEY,
        account    TEXT NOT NULL,
        used_until INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX held_names_by_use ON held_names (account, used_until);
";

/// Hosts of accounts. What proves one is the text of a TXT record.
const DOMAINS: &str = "
    CREATE TABLE domains (
        host       TEXT NOT NULL PRIMARY KEY,
        account_id INTEGER NOT NULL REFERENCES accounts (id),
        proof      TEXT NOT NULL,
        added      INTEGER NOT NULL,
        verified   INTEGER
    ) STRICT;
";

/// By which token a held name was used last: each has a share of its own. NULL for those without a token, and
/// for what was used before this was written down.
const HOLDERS: &str = "
    ALTER TABLE held_names ADD COLUMN token TEXT;
    DROP INDEX held_names_by_use;
    CREATE INDEX held_names_by_use ON held_names (account, token, used_until);
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
    fn tokens_from_before_there_were_rules_may_do_everything() {
        let mut old = Connection::open_in_memory().unwrap();
        MIGRATIONS.to_version(&mut old, 1).unwrap();
        old.execute_batch(
            "INSERT INTO accounts VALUES (1, 'ann', 0);
             INSERT INTO tokens VALUES ('00000000002a', 1, zeroblob(32), 5, 6);",
        )
        .unwrap();

        MIGRATIONS.to_latest(&mut old).unwrap();

        let kept: (i64, i64, Option<i64>, Option<String>, Option<i64>) = old
            .query_row(
                "SELECT created, last_used, expires, names, max_links FROM tokens",
                [],
                |row| {
                    Ok((
                        row.get(0)?,
                        row.get(1)?,
                        row.get(2)?,
                        row.get(3)?,
                        row.get(4)?,
                    ))
                },
            )
            .unwrap();
        assert_eq!(kept, (5, 6, None, None, None));
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
