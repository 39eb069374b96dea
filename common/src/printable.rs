//! Text that others have written, made fit for a terminal.
//!
//! A terminal obeys control characters: they move the cursor, fill the clipboard, answer questions in the
//! user's name. Characters that turn the direction of text make one thing look like another.

use std::borrow::Cow;
use std::fmt::Write as _;

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

/// Whether a terminal does something for a character but show it: control characters (C0, DEL and C1), the
/// separators of lines and paragraphs, and what sets the direction of text (Unicode's `Bidi_Control`).
fn steers(c: char) -> bool {
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
}
