//! Text that others have written, made fit for a terminal, or for a line of a log.
//!
//! A terminal obeys control characters: they move the cursor, fill the clipboard, answer questions in the
//! user's name. Characters that turn the direction of text make one thing look like another.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

/// The text without what could steer a terminal. New lines and tabs stay.
///
/// What is taken out stands there as an escape of JSON, `\u001b`: a text that is JSON stays the same JSON.
pub fn text(text: &str) -> Cow<'_, str> {
    escaped(text, |c| matches!(c, '\n' | '\t'))
}

/// The same, and all in one line.
pub fn line(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c == '\t')
}

fn escaped(text: &str, stays: impl Fn(char) -> bool) -> Cow<'_, str> {
    let is_harmless = |c: char| !steers(c) || stays(c);
    if text.chars().all(is_harmless) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let ends_line = c == '\r' && rest.peek() == Some(&'\n') && stays('\n');
        if is_harmless(c) {
            escaped.push(c);
        } else if !ends_line {
            write!(escaped, "\\u{:04x}", u32::from(c)).expect("a string takes everything");
        }
    }
    Cow::Owned(escaped)
}

/// Characters of a peer's word that are shown in a log or repeated in an answer: 64.
const SHOWN: usize = 64;

/// The text in one line and cut; see [`word`] and [`cut`].
#[derive(Debug, Clone, Copy)]
pub struct Cut<'a> {
    text: &'a str,
    most: usize,
}

/// A peer's word: at most 64 characters of it, as [`line()`] shows them, and an ellipsis if there is more.
pub fn word(text: &str) -> Cut<'_> {
    cut(text, SHOWN)
}

/// The same in as many characters as `most`.
pub fn cut(text: &str, most: usize) -> Cut<'_> {
    Cut { text, most }
}

/// An escape is this many characters: `\u001b`.
const ESCAPE: usize = 6;

impl fmt::Display for Cut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.most;
        for c in self.text.chars() {
            let width = if steers(c) { ESCAPE } else { 1 };
            let Some(rest) = left.checked_sub(width) else {
                return f.write_char('…');
            };
            left = rest;
            match steers(c) {
                true => write!(f, "\\u{:04x}", u32::from(c))?,
                false => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// Whether a terminal does something for a character but show it: control characters (C0, DEL and C1), the
/// separators of lines and paragraphs, and what sets the direction of text (Unicode's `Bidi_Control`).
pub fn steers(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{061c}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_the_terminal() {
        for (given, shown) in [
            ("an ötter 🦦\tswims", "an ötter 🦦\tswims"),
            ("\x1b[2J\x07\x7f", r"\u001b[2J\u0007\u007f"),
            (
                "\u{9b}31m\u{9d}0;title\u{9c}",
                r"\u009b31m\u009d0;title\u009c",
            ),
            (
                "gpj.\u{202e}exe\u{2066}\u{200f}\u{61c}",
                r"gpj.\u202eexe\u2066\u200f\u061c",
            ),
            ("a\u{2028}b\rc\0", r"a\u2028b\u000dc\u0000"),
        ] {
            assert_eq!(text(given), shown);
            assert_eq!(line(given), shown);
        }
    }

    #[test]
    fn a_line_is_one_and_a_text_has_lines() {
        assert_eq!(text("one\r\ntwo\n"), "one\ntwo\n");
        assert_eq!(line("one\r\ntwo\n"), r"one\u000d\u000atwo\u000a");
    }

    #[test]
    fn json_stays_the_same() {
        let value = serde_json::json!({ "a": "\x1b]0;\u{9d}\u{202e}\\\u{7f}\"" });
        let shown = text(&value.to_string()).into_owned();
        assert!(!shown.chars().any(steers), "{shown}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&shown).unwrap(),
            value
        );
    }

    #[test]
    fn a_peers_word_is_cut_and_what_steers_is_escaped() {
        for (said, shown) in [
            ("ngrnotok/0.1.0", "ngrnotok/0.1.0"),
            ("née Œ", "née Œ"),
            ("a\nb\tc", "a\\u000ab\\u0009c"),
            ("\x1b[2J\u{9b}1m", "\\u001b[2J\\u009b1m"),
            ("\u{202e}txt\u{2028}", "\\u202etxt\\u2028"),
        ] {
            assert_eq!(word(said).to_string(), shown);
        }
        let long = "é".repeat(64);
        assert_eq!(word(&long).to_string(), long);
        let longer = "é".repeat(65);
        assert_eq!(word(&longer).to_string(), long + "…");
        for (most, shown) in [(1, "a…"), (6, "a…"), (7, "a\\u000a…"), (8, "a\\u000ab")] {
            assert_eq!(cut("a\nb", most).to_string(), shown);
        }
    }
}
