//! What a key means.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// What its user wants of the panel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// To leave, Ctrl-C.
    Leave,
    /// To have the shell back for a while, Ctrl-Z.
    Suspend,
    /// Everything drawn anew, Ctrl-L.
    Redraw,
    /// So many lines down, or up if negative.
    Move(i32),
    /// A screenful down, or up.
    Page(i32),
    /// To the newest, or to the beginning.
    First,
    /// To the oldest, or to the end.
    Last,
    /// The next one beside this, or the one before.
    Beside(i32),
    /// To look into a request.
    Enter,
    /// Back.
    Back,
    /// The next tunnel.
    NextTunnel,
    /// The request once more.
    Resend,
    /// The URL in a browser.
    Open,
    /// The web interface in a browser.
    Inspect,
    /// The URL in the clipboard.
    Copy,
    /// The URL for a phone.
    Qr,
    /// Secrets shown, or hidden again.
    Secrets,
    /// What the keys are.
    Help,
}

/// The keys for people, with what they do.
pub(super) const HELP: [(&str, &str); 13] = [
    ("↑ ↓ PgUp PgDn", "go through the requests, newest first"),
    ("Enter", "open a request: heads, bodies, timing"),
    ("← →", "in it: the one before, the one after"),
    ("s", "in it: show what is secret, or hide it"),
    ("r", "send the request to the local app once more"),
    ("o", "open the URL in a browser"),
    ("i", "requests in a browser"),
    ("c", "copy the URL (terminals that know OSC 52)"),
    ("q", "show the URL as a QR code for a phone"),
    ("Tab", "with several tunnels: which URL that is"),
    ("Esc", "back"),
    ("Ctrl-Z", "back to the shell; fg brings the panel back"),
    ("Ctrl-C", "leave; once more: at once"),
];

/// What a key means, if anything.
pub(super) fn wish(key: KeyEvent) -> Option<Wish> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c') => Some(Wish::Leave),
            KeyCode::Char('z') => Some(Wish::Suspend),
            KeyCode::Char('l') => Some(Wish::Redraw),
            _ => None,
        };
    }
    Some(match key.code {
        KeyCode::Up | KeyCode::Char('k') => Wish::Move(-1),
        KeyCode::Down | KeyCode::Char('j') => Wish::Move(1),
        KeyCode::PageUp => Wish::Page(-1),
        KeyCode::PageDown | KeyCode::Char(' ') => Wish::Page(1),
        KeyCode::Home | KeyCode::Char('g') => Wish::First,
        KeyCode::End | KeyCode::Char('G') => Wish::Last,
        KeyCode::Left => Wish::Beside(-1),
        KeyCode::Right => Wish::Beside(1),
        KeyCode::Enter => Wish::Enter,
        KeyCode::Esc | KeyCode::Backspace => Wish::Back,
        KeyCode::Tab => Wish::NextTunnel,
        KeyCode::Char('r') => Wish::Resend,
        KeyCode::Char('o') => Wish::Open,
        KeyCode::Char('i') => Wish::Inspect,
        KeyCode::Char('c') => Wish::Copy,
        KeyCode::Char('q') => Wish::Qr,
        KeyCode::Char('s') => Wish::Secrets,
        KeyCode::Char('?' | 'h') | KeyCode::F(1) => Wish::Help,
        _ => return None,
    })
}
