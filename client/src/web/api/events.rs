//! `/api/events`: what happens, as it happens.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{Stream, unfold};
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::sleep;
use utoipa::{IntoParams, ToSchema};

use super::ask::Asked;
use super::shape::Line;
use super::state::StatusShape;
use super::{Desk, aside};
use crate::inspect::Summary;

/// News is told at most so often, 10 times a second; what changes in between is told at once.
const PACE: Duration = Duration::from_millis(100);

/// How many lines one event has at most.
const LINES: usize = 500;

/// From where on.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub(super) struct Since {
    /// The `id` of an event: only what is newer. `now`: nothing that there is already. Browsers say the same
    /// in `Last-Event-ID`.
    since: Option<String>,
}

/// The data of an event `exchanges`.
#[derive(Debug, Serialize, ToSchema)]
struct News {
    /// Those that are new or have changed, oldest first.
    changed: Vec<Line>,
    /// All before this one are gone, but for those in `older`.
    oldest: u64,
    /// Those that have gone on for longer than others of their age.
    older: Vec<u64>,
}

/// One who listens. Nothing is kept for it but where it is: what changes while it does not read is looked up
/// when it does.
struct Follower {
    desk: Desk,
    status: watch::Receiver<crate::status::Status>,
    revision: watch::Receiver<u64>,
    since: u64,
    ready: VecDeque<Event>,
    /// There may be news.
    due: bool,
    recording: bool,
    pause: bool,
}

/// What happens, as server-sent events
///
/// `status` has the data of `/api/status`, at first and whenever it changes. `exchanges` has the lines that are
/// new or have changed, at first all of them.
#[utoipa::path(get, path = "/api/events", tag = "exchanges", params(Since), responses(
    (status = 200, body = String, content_type = "text/event-stream"),
))]
pub(super) async fn events(
    State(desk): State<Desk>,
    fields: HeaderMap,
    Asked(Since { since }): Asked<Since>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let last = fields.get("last-event-id").and_then(|id| id.to_str().ok());
    let since = match last.or(since.as_deref()) {
        Some("now") => desk.shown.recorder.changed_since(u64::MAX).revision,
        // What another start of the client has said means nothing here.
        Some(id) => id
            .strip_prefix(&*desk.run)
            .and_then(|rest| rest.strip_prefix('-')?.parse().ok())
            .unwrap_or(0),
        None => 0,
    };
    let mut follower = Follower {
        status: desk.shown.status.clone(),
        revision: desk.shown.recorder.revision(),
        since,
        ready: VecDeque::new(),
        due: true,
        recording: desk.shown.recorder.is_on(),
        pause: false,
        desk,
    };
    follower.tell_status();
    let stream = unfold(follower, async |mut follower| {
        let event = follower.next().await?;
        Some((Ok(event), follower))
    });
    Sse::new(stream).keep_alive(KeepAlive::default())
}

impl Follower {
    /// `None` when the client is gone.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if std::mem::take(&mut self.due) {
                let (desk, since) = (self.desk.clone(), self.since);
                (self.since, self.ready) = aside(move || news(&desk, since)).await;
                self.pause = true;
                continue;
            }
            if std::mem::take(&mut self.pause) {
                sleep(PACE).await;
            }
            tokio::select! {
                changed = self.status.changed() => {
                    changed.ok()?;
                    self.tell_status();
                }
                changed = self.revision.changed(), if self.recording => match changed {
                    Ok(()) => self.due = true,
                    Err(_) => self.recording = false,
                }
            }
        }
    }

    fn tell_status(&mut self) {
        self.status.mark_unchanged();
        let status = StatusShape::of(&self.desk);
        let event = Event::default().event("status").json_data(status);
        self.ready.push_back(event.expect("plain words"));
    }
}

/// What is new since a revision, and up to which.
fn news(desk: &Desk, since: u64) -> (u64, VecDeque<Event>) {
    let changes = desk.shown.recorder.changed_since(since);
    let older: Vec<u64> = changes.older.iter().map(|id| id.0).collect();
    let mut events = VecDeque::new();
    let mut rest = &changes.changed[..];
    loop {
        let (some, more) = rest.split_at(rest.len().min(LINES));
        let event = lines(some, changes.oldest.0, older.clone());
        if more.is_empty() {
            // Only the last one has all that there is up to this revision.
            let id = format!("{}-{}", desk.run, changes.revision);
            events.push_back(event.id(id));
            return (changes.revision, events);
        }
        events.push_back(event);
        rest = more;
    }
}

fn lines(some: &[Summary], oldest: u64, older: Vec<u64>) -> Event {
    let changed = some.iter().map(Line::of).collect();
    let news = News {
        changed,
        oldest,
        older,
    };
    let event = Event::default().event("exchanges").json_data(news);
    event.expect("plain words")
}
