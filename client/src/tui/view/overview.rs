//! The session, its tunnels, and what goes through them.

use ratatui::text::{Line, Span};

use super::super::panel::Panel;
use super::super::text::{plain, shortened};
use super::{label_width, requests, row, title, url_row};
use crate::output::left;
use crate::status::{RefusedTunnel, State};

/// The page in this width, with as many requests as fit into the height.
pub(super) fn lines(panel: &mut Panel, columns: usize, rows: usize) -> Vec<Line<'static>> {
    let right = match panel.status.state {
        State::Leaving => "(Ctrl-C to leave at once)",
        _ => "(Ctrl-C to quit)",
    };
    let mut lines = vec![title("ngrnotok", right, columns, panel)];
    lines.push(Line::default());
    lines.extend(session(panel, columns));
    lines.extend(tunnels(panel, columns));
    lines.push(Line::default());
    lines.extend(connections(panel, columns));
    lines.push(Line::default());
    let room = rows.saturating_sub(lines.len() + 1);
    lines.extend(requests::lines(panel, columns, room));
    panel.room = room.max(1);
    lines
}

fn session(panel: &Panel, columns: usize) -> Vec<Line<'static>> {
    let theme = panel.theme;
    let (word, style) = match &panel.status.state {
        State::Connecting => ("connecting …".to_owned(), theme.waiting()),
        State::Online => match panel.opening.embedded_port {
            Some(_) => ("online, this machine only".to_owned(), theme.good()),
            None => ("online".to_owned(), theme.good()),
        },
        State::Draining => (
            "online, moving over: the server asks for another connection".to_owned(),
            theme.waiting(),
        ),
        State::Reconnecting { reason, retry_at } => (
            format!("reconnecting {}: {}", again(*retry_at), plain(reason)),
            theme.waiting(),
        ),
        State::Leaving => (leaving(panel), theme.waiting()),
        State::Ended { .. } => ("ended".to_owned(), theme.bad()),
    };
    let mut lines = row("Session Status", &word, style, columns);
    if let Some(session) = &panel.session {
        let mut fact = |label: &str, text: &str| {
            lines.extend(row(label, &plain(text), Default::default(), columns));
        };
        if panel.opening.embedded_port.is_none() {
            fact("Account", &session.account);
        }
        match session.server_version.as_str() {
            ours @ env!("CARGO_PKG_VERSION") => fact("Version", ours),
            theirs => {
                let ours = env!("CARGO_PKG_VERSION");
                fact("Version", &format!("{ours} (server {theirs})"));
            }
        }
        if let Some(region) = &session.region {
            fact("Region", region);
        }
        let latency = panel.latency.map_or_else(
            || "-".to_owned(),
            |latency| match latency.as_millis() {
                0 => "<1ms".to_owned(),
                ms => format!("{ms}ms"),
            },
        );
        fact("Latency", &latency);
    }
    if let Some(web) = &panel.web {
        let styles = (theme.address(), Default::default());
        lines.extend(url_row("Web Interface", web, "", styles, columns));
    }
    lines
}

fn leaving(panel: &Panel) -> String {
    match panel.numbers.opn {
        0 => "closing".to_owned(),
        1 => "closing, 1 connection may still finish".to_owned(),
        open => format!("closing, {open} connections may still finish"),
    }
}

fn tunnels(panel: &Panel, columns: usize) -> Vec<Line<'static>> {
    let theme = panel.theme;
    let mut lines = Vec::new();
    for (place, tunnel) in panel.tunnels.iter().enumerate() {
        let mut more = format!("-> {}", plain(&tunnel.target));
        if let Some(word) = panel.opening.words.get(&tunnel.name) {
            more.push_str(&format!(" ({word})"));
        }
        // Those of which no news has come since the link was lost.
        let refused = &panel.status.refused;
        let is_refused = refused.iter().any(|refused| refused.name == tunnel.name);
        let mut of_url = theme.address();
        if !panel.is_online() || is_refused {
            more.push_str(", offline");
            of_url = theme.aside();
        }
        let label = match panel.tunnels.len() > 1 && place == panel.chosen {
            true => "Forwarding      ›",
            false => "Forwarding",
        };
        let label = if columns < 60 { "Forwarding" } else { label };
        let url = plain(&tunnel.url);
        let styles = (of_url, Default::default());
        lines.extend(url_row(label, &url, &more, styles, columns));
    }
    let is_empty = panel.tunnels.is_empty() && panel.status.refused.is_empty();
    if panel.status.state == State::Online && is_empty {
        let text = panel.opening.nothing_yet();
        lines.extend(row("Forwarding", &text, theme.aside(), columns));
    }
    for refused in &panel.status.refused {
        let RefusedTunnel {
            name,
            reason,
            retry_at,
        } = refused;
        let text = format!(
            "{name}: {}; asking again {}",
            plain(reason),
            again(*retry_at)
        );
        lines.extend(row("Refused", &text, theme.bad(), columns));
    }
    lines.extend(ways(panel, columns));
    for hint in &panel.hints {
        lines.extend(row("Hint", &plain(hint), theme.waiting(), columns));
    }
    lines
}

/// What a session of this machine alone says besides.
fn ways(panel: &Panel, columns: usize) -> Vec<Line<'static>> {
    let Some(port) = panel.opening.embedded_port else {
        return Vec::new();
    };
    let mut lines = Vec::new();
    if panel.tunnels.len() == 1 {
        let too = format!("http://127.0.0.1:{port} works too, for all programs");
        lines.extend(row("", &too, panel.theme.aside(), columns));
    }
    if panel.opening.port_was_taken {
        let usual = crate::embedded::PORT;
        let taken = format!("port {usual} is taken by another program, so this is {port}");
        lines.extend(row("", &taken, panel.theme.aside(), columns));
    }
    if !panel.tunnels.is_empty() {
        let command = &panel.opening.public_command;
        lines.extend(row("Go public", command, Default::default(), columns));
    }
    lines
}

fn connections(panel: &Panel, columns: usize) -> Vec<Line<'static>> {
    let numbers = panel.numbers;
    let indent = label_width(columns);
    let wide = columns >= indent + 6 * 7;
    let (indent, column) = if wide { (indent, 8) } else { (0, 6) };
    let cells = |cells: [String; 6]| {
        let cells = cells.map(|cell| format!("{:<column$}", shortened(&cell, column - 1)));
        Line::from(cells.concat().trim_end().to_owned())
    };
    let mut head = cells(["ttl", "opn", "rt1", "rt5", "p50", "p90"].map(str::to_owned));
    head.style = panel.theme.aside();
    let mut values = cells([
        count(numbers.ttl),
        count(numbers.opn),
        decimal(numbers.rt1),
        decimal(numbers.rt5),
        decimal(numbers.p50),
        decimal(numbers.p90),
    ]);
    if wide {
        let style = head.style;
        head.style = Default::default();
        head.spans.iter_mut().for_each(|span| span.style = style);
        let label = format!("{:<indent$}", "Connections");
        head.spans.insert(0, Span::raw(label));
        values.spans.insert(0, Span::raw(" ".repeat(indent)));
        vec![head, values]
    } else {
        vec![Line::from("Connections"), head, values]
    }
}

/// At most six digits.
fn count(count: u64) -> String {
    match count {
        0..100_000 => count.to_string(),
        100_000..100_000_000 => format!("{}k", count / 1000),
        _ => format!("{}M", count / 1_000_000),
    }
}

/// As many decimals as there is room for.
fn decimal(value: f64) -> String {
    match value {
        ..99.995 => format!("{value:.2}"),
        ..9999.5 => format!("{value:.0}"),
        _ => format!("{:.0}k", value / 1000.0),
    }
}

/// When something is tried once more. Whole seconds, rounded up: they count down.
pub(super) fn again(at: tokio::time::Instant) -> String {
    match left(at).as_secs_f64().ceil() {
        0.0 => "now".to_owned(),
        seconds => format!("in {seconds} s"),
    }
}
