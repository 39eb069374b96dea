//! The list of requests, newest first.

use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};

use super::super::entry::Entry;
use super::super::panel::Panel;
use super::super::text::{plain, shortened, width, wrapped};
use crate::output::{clock, duration};

/// A heading and as many requests as fit.
pub(super) fn lines(panel: &Panel, columns: usize, room: usize) -> Vec<Line<'static>> {
    let mut heading = vec![Span::styled("HTTP Requests", Style::new().bold())];
    if panel.missed > 0 {
        let missed = format!("  {} more came too fast to be listed", panel.missed);
        heading.push(Span::styled(missed, panel.theme.aside()));
    }
    let mut lines = vec![Line::from(heading)];
    if panel.entries.is_empty() {
        let none = match panel.is_online() && !panel.tunnels.is_empty() {
            true => "none yet; open the URL in a browser",
            false => "none yet",
        };
        lines.push(Line::styled(none, panel.theme.aside()));
        return lines;
    }
    let marked = panel.place();
    // The one that is marked stays in sight, with room for what is wrong with it.
    let top = marked.map_or(0, |place| (place + 2).saturating_sub(room));
    for (place, entry) in panel.entries.iter().enumerate().skip(top) {
        if lines.len() > room {
            break;
        }
        let is_marked = marked == Some(place);
        lines.push(line(panel, entry, is_marked, columns));
        // Of the newest it is said what is wrong, and of the one that is asked about.
        if let Some(trouble) = &entry.trouble
            && (is_marked || place == 0)
        {
            let most = columns.saturating_sub(INDENT).max(8);
            for piece in wrapped(&plain(trouble), most).into_iter().take(3) {
                let text = format!("{:INDENT$}{piece}", "");
                lines.push(Line::styled(text, panel.theme.aside()));
            }
        }
    }
    lines.truncate(room + 1);
    lines
}

/// Where the lines go on.
const INDENT: usize = 2;

/// `12:04:55.120  GET /api/items                200 OK          12ms`
fn line(panel: &Panel, entry: &Entry, is_marked: bool, columns: usize) -> Line<'static> {
    let theme = panel.theme;
    let wide = columns >= 60;
    let at = clock(entry.at);
    let at = if wide {
        at.as_str()
    } else {
        at.split('.').next().unwrap_or(&at)
    };
    let status = entry.status.map_or_else(String::new, |status| match wide {
        true => format!(
            "{} {}",
            status.as_u16(),
            status.canonical_reason().unwrap_or("")
        ),
        false => status.as_u16().to_string(),
    });
    let status = match (entry.remark, entry.status) {
        (Some(remark), Some(_)) if wide => format!("{}, {remark}", status.trim_end()),
        (Some(remark), None) if wide => remark.to_owned(),
        (None, None) => "…".to_owned(),
        _ => status,
    };
    let took = entry.took.map_or_else(String::new, duration);
    let (status_room, took_room) = match columns {
        ..60 => (3, 7),
        60..100 => (24, 7),
        _ => (36, 8),
    };
    let mark = match (is_marked, wide) {
        (true, true) => "› ",
        (false, true) => "  ",
        (true, false) => "›",
        (false, false) => " ",
    };
    let tunnel = tunnel_column(panel, entry, columns);
    let used = width(at) + width(mark) + width(&tunnel) + 2 + status_room + took_room;
    let what_room = columns.saturating_sub(used).max(8);
    let what = format!("{} {}", entry.method, plain(&entry.path));
    let what = pad(&shortened(&what, what_room), what_room);
    let status = pad(&shortened(&status, status_room), status_room);
    let of_status = entry
        .status
        .map_or_else(|| theme.aside(), |status| theme.status(status));
    let mut line = Line::from(vec![
        Span::styled(at.to_owned(), theme.aside()),
        Span::raw(mark),
        Span::raw(tunnel),
        Span::raw(what),
        Span::raw(if wide { "  " } else { " " }),
        Span::styled(status, of_status),
        Span::styled(format!("{took:>took_room$}"), theme.aside()),
    ]);
    if is_marked {
        line = line.patch_style(Style::new().add_modifier(Modifier::BOLD));
    }
    line
}

/// Which of several tunnels it came through, in the words of the config file.
fn tunnel_column(panel: &Panel, entry: &Entry, columns: usize) -> String {
    let words = &panel.opening.words;
    if panel.tunnels.len() < 2 || columns < 80 {
        return String::new();
    }
    let word = words.get(&entry.tunnel);
    let word = word.map_or_else(|| entry.tunnel.as_str(), String::as_str);
    let longest = words.values().map(|word| width(word)).max();
    let room = longest.unwrap_or(12).clamp(4, 12);
    format!("{}  ", pad(&shortened(word, room), room))
}

/// The text with spaces up to a width.
fn pad(text: &str, room: usize) -> String {
    format!("{text}{}", " ".repeat(room.saturating_sub(width(text))))
}
