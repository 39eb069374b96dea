//! The panel as lines. What does not fit into the width goes on in the next line, or is cut with an
//! ellipsis if nobody would copy it.

mod exchange;
mod help;
mod overview;
mod qr;
mod requests;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::panel::{Page, Panel};
use super::text::{broken, plain, shortened, width, wrapped};

/// Draws all of it.
pub(super) fn draw(frame: &mut Frame<'_>, panel: &mut Panel) {
    let columns = usize::from(frame.area().width);
    let room = usize::from(frame.area().height).max(1);
    let mut lines = match panel.page {
        Page::Overview => overview::lines(panel, columns, room - 1),
        Page::Exchange(_) => exchange::lines(panel, columns, room - 1),
        Page::Help => help::lines(panel, columns),
        Page::Qr => qr::lines(panel, columns, room - 1),
    };
    lines.truncate(room - 1);
    lines.resize_with(room - 1, Line::default);
    lines.push(footer(panel, columns));
    for (line, y) in lines.iter().zip(0..) {
        if y < frame.area().height {
            let area = Rect::new(0, y, frame.area().width, 1);
            frame.render_widget(line, area);
        }
    }
}

/// What just happened for a key, or which keys there are.
fn footer(panel: &Panel, columns: usize) -> Line<'static> {
    if let Some((notice, _)) = &panel.notice {
        return Line::from(shortened(&plain(notice), columns));
    }
    let keys: &[&str] = match panel.page {
        Page::Overview => &[
            "? keys",
            "↑↓ Enter look into a request",
            "q QR code",
            "o open",
        ],
        Page::Exchange(_) => &["Esc back", "↑↓ scroll", "←→ next", "r resend", "s secrets"],
        Page::Help => &["Esc back"],
        Page::Qr if panel.tunnels.len() > 1 => &["Esc back", "←→ other tunnels", "c copy"],
        Page::Qr => &["Esc back", "c copy"],
    };
    let mut text = String::new();
    for key in keys {
        let more = format!("{}{key}", if text.is_empty() { "" } else { "   " });
        if width(&text) + width(&more) <= columns {
            text.push_str(&more);
        }
    }
    Line::styled(text, panel.theme.aside())
}

/// A heading with something at the right end.
fn title(left: &str, right: &str, columns: usize, panel: &Panel) -> Line<'static> {
    let left = shortened(left, columns);
    let right = match width(&left) + 2 + width(right) <= columns {
        true => right,
        false => "",
    };
    let gap = columns.saturating_sub(width(&left) + width(right));
    Line::from(vec![
        Span::styled(left, Style::new().bold()),
        Span::raw(" ".repeat(gap)),
        Span::styled(right.to_owned(), panel.theme.aside()),
    ])
}

/// Columns that the names of rows take.
fn label_width(columns: usize) -> usize {
    if columns >= 60 { 19 } else { 16 }
}

/// A row with a name, whose text goes on below where it is too long.
fn row(label: &str, text: &str, style: Style, columns: usize) -> Vec<Line<'static>> {
    let indent = label_width(columns);
    let pieces = wrapped(text, columns.saturating_sub(indent).max(8));
    let mut label = label.to_owned();
    let mut lines = Vec::new();
    for piece in pieces {
        let name = std::mem::take(&mut label);
        lines.push(Line::from(vec![
            Span::raw(format!("{name:<indent$}")),
            Span::styled(piece, style),
        ]));
    }
    lines
}

/// A row with a URL and more about it. A URL that does not fit beside the name has lines of its own, from the
/// first column on, and none of it is left out.
fn url_row(
    label: &str,
    url: &str,
    more: &str,
    styles: (Style, Style),
    columns: usize,
) -> Vec<Line<'static>> {
    let indent = label_width(columns);
    let room = columns.saturating_sub(indent);
    let (of_url, of_more) = styles;
    let name = Span::raw(format!("{label:<indent$}"));
    let url_span = |text: &str| Span::styled(text.to_owned(), of_url);
    if width(url) + width(more) < room && !more.is_empty() {
        let more = Span::styled(format!(" {more}"), of_more);
        return vec![Line::from(vec![name, url_span(url), more])];
    }
    if width(url) <= room {
        let mut lines = vec![Line::from(vec![name, url_span(url)])];
        if !more.is_empty() {
            lines.extend(row("", more, of_more, columns));
        }
        return lines;
    }
    let mut lines = vec![Line::from(label.to_owned())];
    let pieces = broken(url, columns);
    lines.extend(pieces.iter().map(|piece| Line::from(url_span(piece))));
    if !more.is_empty() {
        let pieces = wrapped(more, columns.saturating_sub(2).max(8));
        let pieces = pieces.into_iter().map(|piece| format!("  {piece}"));
        lines.extend(pieces.map(|piece| Line::styled(piece, of_more)));
    }
    lines
}

/// A heading within a page.
fn heading(text: &str, columns: usize) -> Vec<Line<'static>> {
    let pieces = wrapped(text, columns.max(8)).into_iter();
    let bold = Style::new().bold();
    pieces.map(|piece| Line::styled(piece, bold)).collect()
}
