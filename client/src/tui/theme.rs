//! Colours. None of them says anything that no word says.

use http::StatusCode;
use ratatui::style::{Color, Style};

/// The colours of a terminal's own palette, which its user has chosen, or none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Theme {
    /// There may be colours.
    pub(super) colours: bool,
}

impl Theme {
    /// None with `NO_COLOR` (<https://no-color.org>).
    pub(super) fn of_environment() -> Self {
        let forbidden = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            colours: !forbidden,
        }
    }

    fn colour(self, colour: Color) -> Style {
        match self.colours {
            true => Style::new().fg(colour),
            false => Style::new(),
        }
    }

    /// All is well.
    pub(super) fn good(self) -> Style {
        self.colour(Color::Green)
    }

    /// It will be.
    pub(super) fn waiting(self) -> Style {
        self.colour(Color::Yellow)
    }

    /// It is not.
    pub(super) fn bad(self) -> Style {
        self.colour(Color::Red)
    }

    /// What one has come for.
    pub(super) fn address(self) -> Style {
        self.colour(Color::Cyan)
    }

    /// Beside the point.
    pub(super) fn aside(self) -> Style {
        Style::new().dim()
    }

    /// What an app answered.
    pub(super) fn status(self, status: StatusCode) -> Style {
        match status.as_u16() {
            200..300 => self.good(),
            400..500 => self.waiting(),
            500.. => self.bad(),
            _ => self.address(),
        }
    }
}
