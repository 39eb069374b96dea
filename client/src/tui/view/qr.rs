//! A URL for a phone.

use qrcode::{Color as Module, QrCode};
use ratatui::style::{Color, Style};
use ratatui::text::Line;

use super::super::panel::Panel;
use super::super::text::broken;
use super::{title, wrapped};
use crate::status::OnlineTunnel;

/// Light modules around a code: the standard wants 4, and every phone reads 2.
const MARGIN: usize = 2;

/// The page, if the code fits into it; else what would be needed.
pub(super) fn lines(panel: &Panel, columns: usize, rows: usize) -> Vec<Line<'static>> {
    let mut lines = vec![title("QR code", "(Esc to go back)", columns, panel)];
    lines.push(Line::default());
    let Some(url) = panel.tunnel().and_then(OnlineTunnel::web_url) else {
        return lines;
    };
    let url_lines = broken(&url, columns);
    let Ok(code) = QrCode::new(url.as_bytes()) else {
        lines.push(Line::from("The URL is too long for a QR code."));
        return lines;
    };
    let side = code.width() + 2 * MARGIN;
    let needed = (side, lines.len() + side.div_ceil(2) + 1 + url_lines.len());
    if needed.0 > columns || needed.1 > rows {
        let text = format!(
            "The code needs {} columns and {} rows, and this terminal has {columns} and {}. Make it larger, or press c to copy the URL:",
            needed.0,
            needed.1 + 1,
            rows + 1,
        );
        lines.extend(wrapped(&text, columns).into_iter().map(Line::from));
        lines.push(Line::default());
    } else {
        // Black on white, whatever the terminal's own colours are; without colours, on a dark terminal.
        let style = match panel.theme.colours {
            true => Style::new()
                .fg(Color::Rgb(255, 255, 255))
                .bg(Color::Rgb(0, 0, 0)),
            false => Style::new(),
        };
        lines.extend(
            drawn(&code)
                .into_iter()
                .map(|line| Line::styled(line, style)),
        );
        lines.push(Line::default());
    }
    lines.extend(
        url_lines
            .into_iter()
            .map(|line| Line::styled(line, panel.theme.address())),
    );
    lines
}

/// Two rows of modules in one line of text; what is light is drawn.
fn drawn(code: &QrCode) -> Vec<String> {
    let inside = code.width();
    let side = inside + 2 * MARGIN;
    let is_light = |x: usize, y: usize| {
        let (x, y) = (x.wrapping_sub(MARGIN), y.wrapping_sub(MARGIN));
        x >= inside || y >= inside || code[(x, y)] == Module::Light
    };
    let line = |y: usize| {
        (0..side)
            .map(
                |x| match (is_light(x, y), y + 1 < side && is_light(x, y + 1)) {
                    (true, true) => '█',
                    (true, false) => '▀',
                    (false, true) => '▄',
                    (false, false) => ' ',
                },
            )
            .collect()
    };
    (0..side).step_by(2).map(line).collect()
}
