//! What the keys are, and what the numbers mean.

use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::super::keys::HELP;
use super::super::panel::Panel;
use super::super::text::wrapped;
use super::title;

/// What the abbreviations of the panel stand for.
const NUMBERS: [(&str, &str); 5] = [
    (
        "ttl",
        "connections so far: requests, WebSockets and the like",
    ),
    ("opn", "those that are open"),
    (
        "rt1 rt5",
        "new ones a second, averaged over 1 and 5 minutes",
    ),
    (
        "p50 p90",
        "seconds that half, and nine in ten, of the latest took",
    ),
    (
        "Latency",
        "there and back between this machine and the server",
    ),
];

/// The page in this width.
pub(super) fn lines(panel: &Panel, columns: usize) -> Vec<Line<'static>> {
    let mut lines = vec![title("Keys", "(Esc to go back)", columns, panel)];
    lines.push(Line::default());
    lines.extend(HELP.iter().flat_map(|entry| explained(entry, columns)));
    lines.push(Line::default());
    lines.push(Line::styled("Numbers", Style::new().bold()));
    lines.push(Line::default());
    lines.extend(NUMBERS.iter().flat_map(|entry| explained(entry, columns)));
    lines
}

fn explained((word, meaning): &(&str, &str), columns: usize) -> Vec<Line<'static>> {
    let indent = if columns >= 60 { 19 } else { 15 };
    let mut word = *word;
    let pieces = wrapped(meaning, columns.saturating_sub(indent).max(8));
    let lines = pieces.into_iter().map(|piece| {
        let word = std::mem::take(&mut word);
        Line::from(vec![
            Span::styled(format!("{word:<indent$}"), Style::new().bold()),
            Span::raw(piece),
        ])
    });
    lines.collect()
}
