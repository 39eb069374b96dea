//! What a peer's words must be like before anybody gets to see them: rules for the strings of messages.

use http::Uri;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serializer};

use crate::printable::{cut, steers};

/// Characters of a message for people: 1000.
const MESSAGE: usize = 1000;

/// Reads a word of at most `MOST` characters, none of which does something when it is printed.
pub(super) fn word<'de, D: Deserializer<'de>, const MOST: usize>(
    from: D,
) -> Result<String, D::Error> {
    let word = String::deserialize(from)?;
    match fits(&word, MOST) {
        true => Ok(word),
        false => Err(D::Error::custom(format_args!(
            "a word is longer than {MOST} characters or has control characters"
        ))),
    }
}

/// [`word`] where there may be none.
pub(super) fn optional_word<'de, D: Deserializer<'de>, const MOST: usize>(
    from: D,
) -> Result<Option<String>, D::Error> {
    // What is null is none, as it is everywhere in these messages.
    let word = Option::<String>::deserialize(from)?;
    match word.as_ref().is_none_or(|word| fits(word, MOST)) {
        true => Ok(word),
        false => Err(D::Error::custom(format_args!(
            "a word is longer than {MOST} characters or has control characters"
        ))),
    }
}

/// Reads the address of a web page: `http` or `https`, with a host and without a user.
pub(super) fn web_url<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let url = String::deserialize(from)?;
    let is_of_the_web = fits(&url, MESSAGE)
        && url.parse::<Uri>().is_ok_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.host().is_some_and(|host| !host.is_empty())
                && uri
                    .authority()
                    .is_some_and(|host| !host.as_str().contains('@'))
        });
    match is_of_the_web {
        true => Ok(url),
        false => Err(D::Error::custom(
            "a URL is not one of http or https with a host",
        )),
    }
}

fn fits(word: &str, most: usize) -> bool {
    word.chars().nth(most).is_none() && !word.contains(steers)
}

/// A message for people. Ours are cut where they are written, so that no line is too long for its reader.
pub(super) mod message {
    use super::*;

    pub(in super::super) fn serialize<S: Serializer>(
        message: &str,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        // With the ellipsis it has as many characters as may be read.
        to.collect_str(&cut(message, MESSAGE - 1))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<String, D::Error> {
        word::<D, MESSAGE>(from)
    }
}
