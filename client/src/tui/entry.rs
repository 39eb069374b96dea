//! One line of the list of requests.

use std::time::{Duration, SystemTime};

use http::{StatusCode, Uri};
use ngrnotok_common::hostname::Name;

use crate::inspect::{ExchangeId, Kind, Origin, State, Summary};
use crate::requests::Seen;

/// One request, as the list shows it.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Which one it is, among those of the list.
    pub(super) key: u64,
    /// Where more is known of it.
    pub(super) recorded: Option<ExchangeId>,
    pub(super) at: SystemTime,
    pub(super) tunnel: Name,
    pub(super) method: String,
    /// Without the query, where secrets travel.
    pub(super) path: String,
    /// What the visitor was answered.
    pub(super) status: Option<StatusCode>,
    /// To the head of the answer.
    pub(super) took: Option<Duration>,
    /// How it stands, where that is not what one expects.
    pub(super) remark: Option<&'static str>,
    /// Why the local app gave no answer, and what to do.
    pub(super) trouble: Option<String>,
}

impl Entry {
    /// One that has only been seen going by.
    pub(super) fn seen(seen: &Seen, key: u64) -> Self {
        Self {
            key,
            recorded: None,
            at: seen.at,
            tunnel: seen.name.clone(),
            method: seen.method.to_string(),
            path: path(&seen.uri),
            status: Some(seen.status),
            took: Some(seen.took),
            remark: None,
            trouble: seen
                .trouble
                .as_ref()
                .map(|(cause, detail)| format!("{cause}: {detail}. {}", cause.fix())),
        }
    }

    /// One that has been recorded.
    pub(super) fn recorded(summary: Summary) -> Self {
        let cause = match &summary.state {
            State::Trouble(cause, _) => Some(cause.status()),
            _ => None,
        };
        let remark = match (&summary.state, &summary.origin, &summary.kind) {
            (State::Broken(_), ..) => Some("broken off"),
            (State::VisitorLeft, ..) => Some("visitor left"),
            (State::Open, _, Kind::WebSocket | Kind::Upgraded(_) | Kind::Events) => Some("open"),
            (_, Origin::Resent { .. }, _) => Some("resent"),
            (_, Origin::Imported, _) => Some("imported"),
            _ => None,
        };
        let uri: Option<Uri> = summary.uri.parse().ok();
        Self {
            key: summary.id.0,
            recorded: Some(summary.id),
            at: summary.at,
            tunnel: summary.tunnel,
            method: summary.method.to_string(),
            path: uri.map_or_else(|| summary.uri.to_string(), |uri| path(&uri)),
            status: summary.status.or(cause),
            took: summary.timing.answered.or(summary.timing.ended),
            remark,
            trouble: match &summary.state {
                State::Trouble(cause, detail) => {
                    Some(format!("{cause}: {detail}. {}", cause.fix()))
                }
                State::Broken(reason) => Some(reason.clone()),
                _ => None,
            },
        }
    }
}

/// Of a query is said only that there was one.
fn path(uri: &Uri) -> String {
    match uri.query() {
        Some(_) => format!("{}?…", uri.path()),
        None => uri.path().to_owned(),
    }
}
