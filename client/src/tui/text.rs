//! Text in a given width. Nothing that somebody may want to copy is lost on the way.

use ngrnotok_common::printable;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Columns that a text takes.
pub(super) fn width(text: &str) -> usize {
    text.width()
}

/// The text in one line, without what could steer the terminal. A tab becomes two spaces.
pub(super) fn plain(text: &str) -> String {
    printable::line(text).replace('\t', "  ")
}

/// The text, with an ellipsis in the place of what does not fit.
pub(super) fn shortened(text: &str, most: usize) -> String {
    if width(text) <= most {
        return text.to_owned();
    }
    let mut short = head(text, most.saturating_sub(1)).to_owned();
    if most > 0 {
        short.push('…');
    }
    short
}

/// The text in pieces that fit, all of it.
pub(super) fn broken(text: &str, most: usize) -> Vec<String> {
    let (mut pieces, mut rest) = (Vec::new(), text);
    while width(rest) > most.max(2) {
        let piece = head(rest, most.max(2));
        pieces.push(piece.to_owned());
        rest = &rest[piece.len()..];
    }
    pieces.push(rest.to_owned());
    pieces
}

/// The text in lines, parted between words, and within those that are too long.
pub(super) fn wrapped(text: &str, most: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is one from the beginning");
        if line.is_empty() || width(line) + 1 + width(word) <= most {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
        if lines.last().is_some_and(|line| width(line) > most) {
            let long = lines.pop().expect("it was looked at");
            lines.extend(broken(&long, most));
        }
    }
    lines
}

/// As much of the beginning as fits; at least one character, which alone may be too wide.
fn head(text: &str, most: usize) -> &str {
    let mut columns = 0;
    for (at, c) in text.char_indices() {
        columns += c.width().unwrap_or(0);
        if columns > most {
            return &text[..at];
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_broken_can_be_put_together_again() {
        let url = "https://calm-otter-3f9c.tunnel.example.com/a/long/path";
        for most in 1..70 {
            let pieces = broken(url, most);
            assert_eq!(pieces.concat(), url);
            assert!(pieces.iter().all(|piece| width(piece) <= most.max(2)));
            let lines = wrapped(&format!("see {url} now"), most);
            assert_eq!(lines.concat().replace(' ', ""), format!("see{url}now"));
        }
        assert_eq!(broken("漢字", 3), ["漢", "字"]);
    }

    #[test]
    fn lines_part_between_words() {
        assert_eq!(wrapped("one two three", 8), ["one two", "three"]);
        assert_eq!(wrapped("", 8), [""]);
        assert_eq!(shortened("one two", 5), "one …");
        assert_eq!(shortened("one", 3), "one");
    }

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(plain("a\x1b[2Jb\u{202e}c\td"), r"a\u001b[2Jb\u202ec  d");
    }
}
