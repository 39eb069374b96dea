//! `ngrnotok doctor`: what works and what does not between this machine and visitors, one line each.
//!
//! `checks` makes the report. What depends on something that has failed is skipped and not tried, so one
//! trouble is one line. Tokens and passwords are in it nowhere: it can be shown to anybody who helps.

mod checks;

use std::fmt::{self, Write as _};

use ngrnotok_common::printable;
use serde::Serialize;

pub use checks::examine;

/// What was found.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Whether nothing has failed.
    pub ok: bool,
    /// Our own version.
    pub version: &'static str,
    /// What was looked at, in the order of the way to the server.
    pub checks: Vec<Check>,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
pub struct Check {
    /// What it is: a stable word.
    pub component: String,
    /// How it stands.
    pub state: State,
    /// What was found.
    pub detail: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// How something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is good.
    Ok,
    /// It may matter.
    Warn,
    /// It is not good.
    Fail,
    /// It was not looked at.
    Skip,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "OK",
            Self::Warn => "WARN",
            Self::Fail => "FAIL",
            Self::Skip => "SKIP",
        })
    }
}

impl Report {
    fn new() -> Self {
        Self {
            ok: true,
            version: env!("CARGO_PKG_VERSION"),
            checks: Vec::new(),
        }
    }

    /// One object for programs.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("strings serialise")
    }

    fn add(
        &mut self,
        component: &str,
        state: State,
        detail: impl Into<String>,
        next: Option<String>,
    ) {
        self.ok &= state != State::Fail;
        self.checks.push(Check {
            component: component.to_owned(),
            state,
            detail: detail.into(),
            next,
        });
    }

    fn good(&mut self, component: &str, detail: impl Into<String>) {
        self.add(component, State::Ok, detail, None);
    }

    fn warn(&mut self, component: &str, detail: impl Into<String>, next: impl Into<String>) {
        self.add(component, State::Warn, detail, Some(next.into()));
    }

    fn fail(&mut self, component: &str, detail: impl Into<String>, next: impl Into<String>) {
        self.add(component, State::Fail, detail, Some(next.into()));
    }

    /// One reason for all of these.
    fn skip(&mut self, components: &[&str], reason: &str) {
        for component in components {
            self.add(component, State::Skip, reason, None);
        }
    }
}

/// A table for people.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self
            .checks
            .iter()
            .map(|check| check.component.chars().count());
        let width = widths.chain([TITLE.len()]).max().unwrap_or(0);
        writeln!(f, "{TITLE:<width$}  STATE  DETAIL")?;
        for check in &self.checks {
            let Check {
                component,
                state,
                detail,
                next,
            } = check;
            let detail = printable::line(detail);
            writeln!(f, "{component:<width$}  {state:<5}  {detail}")?;
            if let Some(next) = next {
                let next = printable::line(next);
                writeln!(f, "{:width$}         {next}", "")?;
            }
        }
        let count = |state| {
            self.checks
                .iter()
                .filter(|check| check.state == state)
                .count()
        };
        let mut end = match count(State::Fail) {
            0 => "Nothing has failed".to_owned(),
            1 => "One thing has failed".to_owned(),
            failed => format!("{failed} things have failed"),
        };
        if count(State::Skip) > 0 {
            write!(end, ", {} not looked at", count(State::Skip))?;
        }
        writeln!(f, "\n{end}.")
    }
}

const TITLE: &str = "COMPONENT";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_server_says_steers_the_terminal_or_makes_a_line() {
        let mut report = Report::new();
        report.fail("token", "\x1b[2Jno", "do\nversions  OK  yes");
        let table = report.to_string();
        assert!(
            !table.contains('\x1b') && table.lines().count() == 5,
            "{table}"
        );
    }

    #[test]
    fn a_report_is_a_table_and_fails_with_one_of_its_checks() {
        let mut report = Report::new();
        report.good("dns", "a.test is 192.0.2.7");
        report.warn("clock", "7 minutes ahead", "Set it.");
        assert!(report.ok);
        report.fail("reachability", "refused", "Start it.");
        report.skip(&["tls", "token"], "the server cannot be reached");
        assert!(!report.ok);
        assert_eq!(
            report.to_string(),
            "COMPONENT     STATE  DETAIL\n\
             dns           OK     a.test is 192.0.2.7\n\
             clock         WARN   7 minutes ahead\n\
             \x20                    Set it.\n\
             reachability  FAIL   refused\n\
             \x20                    Start it.\n\
             tls           SKIP   the server cannot be reached\n\
             token         SKIP   the server cannot be reached\n\
             \n\
             One thing has failed, 2 not looked at.\n"
        );
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["ok"], false);
        assert_eq!(json["checks"][2]["state"], "fail");
        assert_eq!(json["checks"][2]["next"], "Start it.");
        assert!(json["checks"][3].get("next").is_none());
    }
}
