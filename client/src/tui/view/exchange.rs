//! One request with its answer: how it went, heads and bodies.

use bytes::Bytes;
use http::{HeaderMap, Uri};
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::super::panel::{Look, Page, Panel};
use super::super::text::{broken, plain};
use super::super::theme::Theme;
use super::{heading, row, title, url_row};
use crate::inspect::{
    Captured, Direction, Exchange, Message, MessageKind, Origin, State, decoded, mask,
};
use crate::output::{clock, duration};

/// How much of a body is unpacked to be shown: 64 KiB.
const MOST_SHOWN: usize = 64 * 1024;

/// How many messages of a WebSocket or the like are shown, the last ones.
const MOST_MESSAGES: usize = 200;

/// The page: a head that stays, and below it what can be scrolled.
pub(super) fn lines(panel: &mut Panel, columns: usize, rows: usize) -> Vec<Line<'static>> {
    let Page::Exchange(look) = &panel.page else {
        return Vec::new();
    };
    let exchange = &look.exchange;
    let head = format!(
        "{} {}",
        exchange.request.method,
        path(&exchange.request.uri)
    );
    let mut lines = vec![title(&plain(&head), "(Esc to go back)", columns, panel)];
    lines.push(Line::default());
    let body = scrolled(panel, look, columns);
    let room = rows.saturating_sub(lines.len());
    let beyond = body.len().saturating_sub(room);
    let from = look.scrolled.min(beyond);
    lines.extend(body.into_iter().skip(from).take(room));
    panel.room = room.max(1);
    if let Page::Exchange(look) = &mut panel.page {
        (look.scrolled, look.beyond) = (from, beyond);
    }
    lines
}

fn path(uri: &Uri) -> &str {
    uri.path_and_query().map_or("/", |path| path.as_str())
}

fn scrolled(panel: &Panel, look: &Look, columns: usize) -> Vec<Line<'static>> {
    let (theme, exchange) = (panel.theme, &look.exchange);
    let none = Style::default();
    let address = plain(&exchange.request.uri.to_string());
    let styles = (theme.address(), none);
    let mut lines = url_row("Address", &address, "", styles, columns);
    let mut fact = |label: &str, text: &str, style: Style| {
        lines.extend(row(label, &plain(text), style, columns));
    };
    let word = panel.opening.words.get(&exchange.tunnel);
    let through = word.map_or_else(|| exchange.tunnel.as_str(), String::as_str);
    fact(
        "Came",
        &format!("{} through {through}", clock(exchange.at)),
        none,
    );
    if let Some(visitor) = exchange.visitor {
        fact("Visitor", &visitor.to_string(), none);
    }
    match exchange.origin {
        Origin::Visitor => {}
        Origin::Resent { of, edited } => {
            let edited = if edited { ", edited" } else { "" };
            fact(
                "Resent",
                &format!("once more what number {of} was{edited}"),
                none,
            );
        }
        Origin::Imported => fact("Imported", "from a file", none),
    }
    let (answer, style) = answer(exchange, theme);
    fact("Answer", &answer, style);
    fact("Timing", &timing(exchange), none);
    let request = &exchange.request;
    lines.push(Line::default());
    let text = format!("Request  {:?}, {}", request.version, size(&request.body));
    lines.extend(heading(&text, columns));
    let trailers = request.trailers.as_ref();
    let parts = (&request.fields, &request.body, trailers);
    lines.extend(message(parts, look.secrets, theme, columns));
    if let Some(answer) = &exchange.answer {
        lines.push(Line::default());
        let text = format!("Answer  {:?}, {}", answer.version, size(&answer.body));
        lines.extend(heading(&text, columns));
        let parts = (&answer.fields, &answer.body, answer.trailers.as_ref());
        lines.extend(message(parts, look.secrets, theme, columns));
    }
    if !exchange.messages.is_empty() {
        lines.push(Line::default());
        lines.extend(messages(exchange, theme, columns));
    }
    lines
}

fn answer(exchange: &Exchange, theme: Theme) -> (String, Style) {
    let status = exchange.answer.as_ref().map(|answer| answer.status);
    let word = status.map(|status| status.to_string());
    let style = status.map_or_else(Style::default, |status| theme.status(status));
    match (&exchange.state, word) {
        (State::Done, Some(word)) => (word, style),
        (State::Open, Some(word)) => (format!("{word}, still open"), style),
        (State::Open, None) => ("not yet".to_owned(), theme.waiting()),
        (State::Broken(reason), Some(word)) => {
            (format!("{word}, broken off: {reason}"), theme.bad())
        }
        (State::Broken(reason), None) => (format!("broken off: {reason}"), theme.bad()),
        (State::Trouble(cause, detail), _) => {
            let text = format!("{}, {cause}: {detail}. {}", cause.status(), cause.fix());
            (text, theme.bad())
        }
        (State::VisitorLeft, Some(word)) => (format!("{word}, the visitor left"), style),
        (State::VisitorLeft, None) => ("the visitor left before it".to_owned(), theme.waiting()),
        (State::Done, None) => ("none".to_owned(), style),
    }
}

fn timing(exchange: &Exchange) -> String {
    let timing = exchange.timing;
    let mut parts = Vec::new();
    let mut part = |word: &str, time: Option<std::time::Duration>| {
        if let Some(time) = time {
            parts.push(format!("{word} {}", duration(time)));
        }
    };
    part("request whole", timing.request_ended);
    part("answer", timing.answered);
    part("over", timing.ended);
    part("link there and back", timing.round_trip);
    part("held by the server", timing.edge);
    parts.join(", ")
}

fn size(body: &Captured) -> String {
    let cut = match body.is_cut() {
        true => format!(", the first {} are kept", body.bytes.len()),
        false => String::new(),
    };
    match body.total {
        0 => "no body".to_owned(),
        1 => "1 byte".to_owned(),
        total => format!("{total} bytes{cut}"),
    }
}

/// Fields, body and trailers.
fn message(
    (fields, body, trailers): (&HeaderMap, &Captured, Option<&HeaderMap>),
    secrets: bool,
    theme: Theme,
    columns: usize,
) -> Vec<Line<'static>> {
    let mut lines = field_lines(fields, secrets, theme, columns);
    if !body.bytes.is_empty() {
        lines.push(Line::default());
        let unpacked = decoded(&body.bytes, fields, MOST_SHOWN);
        lines.extend(content(&unpacked.bytes, columns));
        if let Some(trouble) = unpacked.trouble {
            let text = format!("  it cannot be unpacked: {}", plain(&trouble));
            lines.push(Line::styled(text, theme.aside()));
        }
        if unpacked.cut || body.is_cut() {
            lines.push(Line::styled("  … and so on", theme.aside()));
        }
    }
    if let Some(trailers) = trailers {
        lines.push(Line::default());
        lines.extend(field_lines(trailers, secrets, theme, columns));
    }
    lines
}

fn field_lines(
    fields: &HeaderMap,
    secrets: bool,
    theme: Theme,
    columns: usize,
) -> Vec<Line<'static>> {
    let mut fields = fields.clone();
    if !secrets {
        mask(&mut fields);
    }
    let mut lines = Vec::new();
    for (name, value) in &fields {
        let value = plain(&String::from_utf8_lossy(value.as_bytes()));
        let name = format!("  {name}: ");
        let most = columns.saturating_sub(4).max(8);
        let mut pieces = broken(&format!("{name}{value}"), most).into_iter();
        let first = pieces.next().unwrap_or_default();
        let (name, rest) = first.split_at(name.len().min(first.len()));
        lines.push(Line::from(vec![
            Span::styled(name.to_owned(), theme.aside()),
            Span::raw(rest.to_owned()),
        ]));
        lines.extend(pieces.map(|piece| Line::from(format!("    {piece}"))));
    }
    lines
}

/// Text as it is; anything else by its first bytes.
fn content(bytes: &Bytes, columns: usize) -> Vec<Line<'static>> {
    let most = columns.saturating_sub(2).max(8);
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        // A character may have been cut in two at the end.
        Err(error) if bytes.len() - error.valid_up_to() < 4 && error.valid_up_to() > 0 => {
            std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return hex(bytes, columns),
    };
    let lines = text.lines().flat_map(|line| broken(&plain(line), most));
    lines.map(|line| Line::from(format!("  {line}"))).collect()
}

/// The first bytes of what is no text.
fn hex(bytes: &[u8], columns: usize) -> Vec<Line<'static>> {
    let in_a_row = if columns >= 70 { 16 } else { 8 };
    let rows = bytes.chunks(in_a_row).take(16);
    let rows = rows.map(|row| {
        let digits: String = row.iter().map(|byte| format!("{byte:02x} ")).collect();
        let text = row.iter().map(|byte| match byte {
            b' '..=b'~' => char::from(*byte),
            _ => '.',
        });
        let text: String = text.collect();
        Line::from(format!("  {digits:<width$} {text}", width = in_a_row * 3))
    });
    rows.collect()
}

/// What a WebSocket and the like said.
fn messages(exchange: &Exchange, theme: Theme, columns: usize) -> Vec<Line<'static>> {
    let mut lines = vec![Line::styled("Messages", Style::new().bold())];
    let not_shown = exchange.messages.len().saturating_sub(MOST_MESSAGES);
    let before = exchange.messages_gone + not_shown as u64;
    if before > 0 {
        lines.push(Line::styled(
            format!("  … {before} before these"),
            theme.aside(),
        ));
    }
    for message in exchange.messages.iter().skip(not_shown) {
        let arrow = match message.direction {
            Direction::FromVisitor => "visitor →",
            Direction::FromApp => "app     →",
        };
        let head = format!("  {:>8} {arrow} {}", duration(message.at), kind(message));
        lines.push(Line::styled(head, theme.aside()));
        if !message.payload.bytes.is_empty() {
            let text = content(&message.payload.bytes, columns.saturating_sub(2));
            lines.extend(text.into_iter().map(|line| {
                let text: String = line
                    .spans
                    .iter()
                    .map(|span| span.content.as_ref())
                    .collect();
                Line::from(format!("  {text}"))
            }));
        }
    }
    lines
}

fn kind(message: &Message) -> String {
    match &message.kind {
        MessageKind::Text => "text".to_owned(),
        MessageKind::Binary => format!("{} bytes", message.payload.total),
        MessageKind::Ping => "ping".to_owned(),
        MessageKind::Pong => "pong".to_owned(),
        MessageKind::Close { code: Some(code) } => format!("close {code}"),
        MessageKind::Close { code: None } => "close".to_owned(),
        MessageKind::Event { event, .. } => format!("event {}", plain(event)),
        MessageKind::Packed => format!("{} packed bytes", message.payload.total),
        MessageKind::Grpc { .. } => format!("message of {} bytes", message.payload.total),
    }
}
