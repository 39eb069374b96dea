//! Saying what is wrong in a config file: where, and in whose words.

use toml_edit::{Document, Item, Key, TableLike};

use super::{ConfigFile, FileError};
use crate::config::spelling;

/// What the parser says of text without quotes, which it takes for what the first letter suggests.
const UNQUOTED: [&str; 7] = [
    "string values must be quoted",
    "invalid boolean",
    "invalid date",
    "invalid float",
    "invalid fraction",
    "invalid integer",
    "invalid time",
];

impl ConfigFile {
    /// An error about the value of a key.
    pub fn wrong_at(&self, keys: &[&str], message: impl Into<String>) -> FileError {
        self.wrong(self.place_of(keys).unwrap_or(0), message.into())
    }

    pub(super) fn wrong(&self, at: usize, message: String) -> FileError {
        let before = self.text.get(..at).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        FileError::Wrong {
            file: self.path.clone(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            message,
        }
    }

    /// Where a key begins, in bytes.
    fn place_of(&self, keys: &[&str]) -> Option<usize> {
        let document = Document::parse(self.text.as_str()).ok()?;
        let (last, tables) = keys.split_last()?;
        let mut table: &dyn TableLike = document.as_table();
        for name in tables {
            table = entry(table, name)?.1.as_table_like()?;
        }
        let (key, _) = entry(table, last)?;
        key.span().map(|span| span.start)
    }

    /// What the parser says, for people. It never shows the line: that could be the one with the token.
    pub(super) fn in_words(&self, error: &toml_edit::de::Error) -> String {
        let message = error.message();
        let mut words = message.split('`').skip(1).step_by(2);
        let kind = match () {
            () if message.starts_with("unknown field") => "unknown key",
            () if message.starts_with("unknown variant") => "unknown word",
            () => return self.in_other_words(error),
        };
        let word = words.next().unwrap_or_default();
        let known: Vec<&str> = words.filter(|word| !word.contains('_')).collect();
        match spelling::nearest(word, &known) {
            Some(similar) => format!("{kind} {word:?}{}", spelling::suggested(Some(similar))),
            None => format!("{kind} {word:?}; there are: {}", spelling::list(&known)),
        }
    }

    fn in_other_words(&self, error: &toml_edit::de::Error) -> String {
        let document = Document::parse(self.text.as_str()).ok();
        let token = document.and_then(|document| document.get("token")?.span());
        if token.is_some() && token == error.span() {
            return "token is the token itself, in quotes".to_owned();
        }
        let message = error.message().trim_end().replace('\n', ", ");
        if UNQUOTED.iter().any(|start| message.starts_with(start)) {
            return "this is no value; text must be in quotes".to_owned();
        }
        [
            ("expected a string", "expected text in quotes"),
            ("expected path string", "expected a path in quotes"),
            ("expected a boolean", "expected true or false"),
            (
                "expected u16",
                "expected a port, 1 to 65535, without quotes",
            ),
            ("expected usize", "expected a number without quotes"),
            ("expected a map", "expected a table such as [tunnels.web]"),
            ("duplicate key", "this key is here twice; keep one of them"),
        ]
        .into_iter()
        .fold(message, |message, (theirs, ours)| {
            message.replace(theirs, ours)
        })
    }
}

/// A key and its value, with the hyphens of the flags or with underscores.
pub(in crate::config) fn entry<'a>(
    table: &'a dyn TableLike,
    word: &str,
) -> Option<(&'a Key, &'a Item)> {
    table
        .get_key_value(word)
        .or_else(|| table.get_key_value(&word.replace('-', "_")))
}
