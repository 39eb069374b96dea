//! Changing the config file, and nothing in it but what has to be.
//!
//! It is its owner's text: what is not changed stays byte for byte, comments and blank lines too.

use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use ngrnotok_common::files::{self, Readers};
use ngrnotok_common::secret::Secret;
use thiserror::Error;
use toml_edit::{Document, Item, TomlError, Value};

use super::Wishes;
use super::file::{ConfigFile, entry};

/// Why the config file stays as it was.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The system does not let us.
    #[error("failed to write the config file {}: {source}", file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is not TOML any more; somebody else is writing it.
    #[error("failed to change the config file {}: {}", file.display(), source.message())]
    Changed {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: TomlError,
    },
}

/// Keeps the server and the token that it has accepted. A way to know the server that belongs to another
/// one is dropped.
pub fn log_in(path: &Path, wishes: &Wishes, token: &Secret) -> Result<(), StoreError> {
    let absolute = |file: &PathBuf| {
        let file = std::path::absolute(file).unwrap_or_else(|_| file.clone());
        file.to_string_lossy().into_owned()
    };
    let Wishes { file, given, .. } = wishes;
    let known = file.as_ref().and_then(|file| file.settings.server.as_ref());
    let server = wishes.settings.server.as_ref();
    let ca = given.server_ca.as_ref().map(absolute);
    let pin = given.server_pin.map(|pin| pin.to_string());
    let mut changes = vec![
        ("token-file", None),
        ("server", server.map(ToString::to_string)),
    ];
    if ca.is_some() || pin.is_some() || server != known {
        changes.extend([("server-ca", ca), ("server-pin", pin)]);
    }
    changes.push(("token", Some(token.expose().to_owned())));
    change(path, file.as_ref().map_or("", ConfigFile::text), changes)
}

/// Removes the token.
pub fn log_out(file: &ConfigFile) -> Result<(), StoreError> {
    change(&file.path, file.text(), vec![("token", None)])
}

fn change(path: &Path, text: &str, changes: Vec<(&str, Option<String>)>) -> Result<(), StoreError> {
    let edited = changes
        .into_iter()
        .try_fold(text.to_owned(), |text, (word, value)| match value {
            Some(value) => set(&text, word, &value),
            None => removed(&text, word),
        })
        .map_err(|source| StoreError::Changed {
            file: path.to_owned(),
            source,
        })?;
    write(path, &edited).map_err(|source| StoreError::Write {
        file: path.to_owned(),
        source,
    })
}

/// Where a key of the root and its value stand in the text.
struct Entry {
    key: Range<usize>,
    value: Range<usize>,
}

impl Entry {
    fn of(text: &str, word: &str) -> Result<Option<Self>, TomlError> {
        let document = Document::parse(text)?;
        Ok(entry(document.as_table(), word).and_then(|(key, value)| {
            Some(Self {
                key: key.span()?,
                value: value.span()?,
            })
        }))
    }
}

/// The text with a key of the root set.
fn set(text: &str, word: &str, value: &str) -> Result<String, TomlError> {
    let value = Value::from(value).to_string();
    if let Some(Entry { value: old, .. }) = Entry::of(text, word)? {
        return Ok([&text[..old.start], &value, &text[old.end..]].concat());
    }
    // Behind the last key of the root; what follows a table's head would belong to the table.
    let document = Document::parse(text)?;
    let keys = document.iter().filter_map(|(_, item)| match item {
        Item::Value(value) => value.span(),
        _ => None,
    });
    let (before, after) = match keys.map(|value| value.end).max() {
        Some(end) => text.split_at(line_end(text, end)),
        None => ("", text),
    };
    let newline = match before.is_empty() || before.ends_with('\n') {
        true => "",
        false => "\n",
    };
    let gap = match before.is_empty() && !after.is_empty() && !after.starts_with('\n') {
        true => "\n",
        false => "",
    };
    Ok(format!("{before}{newline}{word} = {value}\n{gap}{after}"))
}

/// The text without a key of the root, and without the rest of its line.
fn removed(text: &str, word: &str) -> Result<String, TomlError> {
    let Some(Entry { key, value }) = Entry::of(text, word)? else {
        return Ok(text.to_owned());
    };
    Ok([&text[..key.start], &text[line_end(text, value.end)..]].concat())
}

fn line_end(text: &str, from: usize) -> usize {
    text[from..]
        .find('\n')
        .map_or(text.len(), |newline| from + newline + 1)
}

/// Puts the new file in the place of the old one in one step, readable by its owner alone. Folders that
/// are missing are made; a link stays one.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let target = match fs::canonicalize(path) {
        Ok(target) if target.is_file() => target,
        Ok(_) => return Err(io::Error::other("it is not a file")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => std::path::absolute(path)?,
        Err(error) => return Err(error),
    };
    let folder = target.parent().unwrap_or_else(|| Path::new("/"));
    files::make_folder(folder)?;
    files::replace(&target, text.as_bytes(), Readers::Owner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(text: &str, changes: &[(&str, Option<&str>)]) -> String {
        let edit = |text: String, (word, value): &(&str, Option<&str>)| match value {
            Some(value) => set(&text, word, value),
            None => removed(&text, word),
        };
        changes.iter().try_fold(text.to_owned(), edit).unwrap()
    }

    #[test]
    fn what_is_not_changed_stays_byte_for_byte() {
        let text = "# Mine.\r\n\n server  =  'old.test'   # the old one\noutput = \"json\" # of all\n\n\
                    # Tunnels.\n[tunnels.web]\nport = 3000 # Vite\n";
        let changes = [("server", Some("new.test")), ("token", Some("ngrt_\"x"))];
        assert_eq!(
            edited(text, &changes),
            "# Mine.\r\n\n server  =  \"new.test\"   # the old one\noutput = \"json\" # of all\n\
             token = 'ngrt_\"x'\n\n# Tunnels.\n[tunnels.web]\nport = 3000 # Vite\n"
        );
    }

    #[test]
    fn new_keys_stand_before_the_tables() {
        let changes = [("server", Some("a.test")), ("token", Some("ngrt_x"))];
        let keys = "server = \"a.test\"\ntoken = \"ngrt_x\"\n";
        assert_eq!(edited("", &changes), keys);
        let table = "# Mine.\n[tunnels.web]\nport = 3000\n";
        assert_eq!(edited(table, &changes), format!("{keys}\n{table}"));
        // No line break at the end, dotted keys, keys of tables that are called the same.
        assert_eq!(
            edited("log = 'info'", &changes),
            format!("log = 'info'\n{keys}")
        );
        let dotted = "tunnels.server.port = 1\n";
        assert_eq!(edited(dotted, &changes), format!("{keys}\n{dotted}"));
    }

    #[test]
    fn a_removed_key_takes_its_line_and_no_other() {
        let text = "# Mine.\ntoken = '''\nngrt_x''' # of 2026\n# Others.\nlog = 'info'\n";
        let left = "# Mine.\n# Others.\nlog = 'info'\n";
        assert_eq!(edited(text, &[("token", None)]), left);
        assert_eq!(edited(left, &[("token", None)]), left);
        assert_eq!(edited("server_ca = 'x'", &[("server-ca", None)]), "");
    }
}
