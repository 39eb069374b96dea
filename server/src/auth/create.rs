//! Making tokens.

use ngrnotok_common::secret::Secret;
use thiserror::Error;

use super::ANONYMOUS;
use super::rules::Rules;
use super::token::Token;
use crate::store::{Store, StoreError, TokenToAdd, UnixSeconds};

/// A token that is to be made. From an account's name alone comes one that may do everything, for ever.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// Whose it is: the account is made if there is none of that name.
    pub account: Box<str>,
    /// From when on nobody is let in by it any more.
    pub expires: Option<UnixSeconds>,
    /// What its holder may do.
    pub rules: Rules,
    /// Whatever helps to know it again in a list.
    pub note: String,
}

impl From<&str> for NewToken {
    fn from(account: &str) -> Self {
        Self {
            account: account.into(),
            expires: None,
            rules: Rules::default(),
            note: String::new(),
        }
    }
}

/// Makes a token. The answer is its whole text and the only copy of it: the store keeps a hash.
///
/// Dropping the future may leave a token that nobody has seen, and so nobody can use.
///
/// # Errors
///
/// When no account may be called that, the note is no line, or the store cannot write.
pub async fn create_token(
    store: &Store,
    token: impl Into<NewToken>,
) -> Result<Secret, CreateTokenError> {
    let NewToken {
        account,
        expires,
        rules,
        note,
    } = token.into();
    check(&account)?;
    if note.chars().count() > LONGEST_NOTE || note.chars().any(char::is_control) {
        return Err(CreateTokenError::BadNote);
    }
    let (id, text, hash) = Token::generate();
    let token = TokenToAdd {
        id,
        account: account.into(),
        hash,
        note,
        expires,
        rules,
    };
    store.add_token(token, UnixSeconds::now()).await?;
    Ok(text)
}

/// Why a token was not made.
#[derive(Debug, Error)]
pub enum CreateTokenError {
    /// The name is empty, too long, or has a character that names do not have.
    #[error(
        "name an account {name:?}: give a name of 1 to {LONGEST} characters from a-z, 0-9, '.', '_' and '-'"
    )]
    BadName {
        /// What was asked for.
        name: String,
    },
    /// The name stands for the clients that have no token.
    #[error(
        "name an account {ANONYMOUS:?}, which stands for clients without a token: give another name"
    )]
    ReservedName,
    /// The note is too long, or is not one line of text.
    #[error("keep a note with the token: give one line of at most {LONGEST_NOTE} characters")]
    BadNote,
    /// The token could not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

const LONGEST: usize = 64;
const LONGEST_NOTE: usize = 200;

fn check(name: &str) -> Result<(), CreateTokenError> {
    let allowed = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
    if name.is_empty() || name.len() > LONGEST || !name.bytes().all(allowed) {
        return Err(CreateTokenError::BadName {
            name: name.to_owned(),
        });
    }
    if name == ANONYMOUS {
        return Err(CreateTokenError::ReservedName);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::store::scratch::Scratch;

    #[tokio::test]
    async fn the_file_has_the_hash_and_not_the_token() {
        let scratch = Scratch::new();
        let store = Store::open(scratch.path()).unwrap();

        let text = create_token(&store, "ann").await.unwrap();

        let (head, secret) = text.expose().rsplit_once('_').unwrap();
        let token = Token::parse(text.expose()).unwrap();
        // While the store is open the row is in the log; closing it moves it to the database.
        let while_open = all_bytes(&scratch);
        drop(store);
        for bytes in [while_open, all_bytes(&scratch)] {
            let has = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
            assert!(has(token.hash.as_bytes()));
            assert!(has(token.id.to_string().as_bytes()));
            assert!(!has(secret.as_bytes()));
            assert!(!has(&raw(secret)));
            assert!(!has(head.as_bytes()));
        }
    }

    #[tokio::test]
    async fn names_are_checked_and_the_error_says_what_is_allowed() {
        let store = Store::in_memory().unwrap();
        let longest = "x".repeat(64);
        for name in ["a", "ann", "ann.b_c-9", "-", &longest] {
            create_token(&store, name).await.unwrap();
        }

        let too_long = "x".repeat(65);
        for name in ["", "Ann", "an n", "ann\n", "änn", "a/b", &too_long] {
            let refused = create_token(&store, name).await.unwrap_err();
            assert!(
                matches!(refused, CreateTokenError::BadName { .. }),
                "{refused:?}"
            );
            let text = refused.to_string();
            assert!(text.contains(&format!("{name:?}")), "{text}");
            assert!(
                text.contains("1 to 64 characters from a-z, 0-9, '.', '_' and '-'"),
                "{text}"
            );
        }

        let refused = create_token(&store, "anonymous").await.unwrap_err();
        assert!(matches!(refused, CreateTokenError::ReservedName));
        assert!(refused.to_string().contains("\"anonymous\""), "{refused}");
    }

    fn all_bytes(scratch: &Scratch) -> Vec<u8> {
        fs::read_dir(scratch.path())
            .unwrap()
            .flat_map(|entry| fs::read(entry.unwrap().path()).unwrap())
            .collect()
    }

    fn raw(hex: &str) -> Vec<u8> {
        (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
            .collect()
    }
}
