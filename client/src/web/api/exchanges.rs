//! `/api/exchanges`: the list, one of them, and forgetting all.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use utoipa::{IntoParams, ToSchema};

use super::ask::{Asked, Named};
use super::filter::{Filter, READ};
use super::shape::{Line, Whole};
use super::{Desk, aside};
use crate::inspect::ExchangeId;
use crate::web::problem::Problem;

/// A part of the list, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Page {
    exchanges: Vec<Line>,
    /// There may be more: ask with this as `before`. Where bodies are searched, one answer goes only so far.
    next_before: Option<u64>,
    /// Whether anything is recorded at all.
    recording: bool,
}

/// The exchanges that pass a filter
#[utoipa::path(get, path = "/api/exchanges", tag = "exchanges", params(Filter), responses(
    (status = 200, body = Page),
    (status = 400, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(
    State(desk): State<Desk>,
    Asked(filter): Asked<Filter>,
) -> Result<Json<Page>, Problem> {
    filter.check()?;
    let recorder = desk.shown.recorder;
    let recording = recorder.is_on();
    // One search at a time: each takes a core for a while.
    let _turn = match filter.looks_inside() {
        true => Some(desk.searches.acquire().await.expect("it is never closed")),
        false => None,
    };
    let (asked, left) = {
        let left = CancellationToken::new();
        (left.clone().drop_guard(), left)
    };
    let found = aside(move || filter.newest(&recorder, READ, &left)).await;
    drop(asked);
    Ok(Json(Page {
        next_before: found.next_before.map(|id| id.0),
        exchanges: found.summaries.iter().map(Line::of).collect(),
        recording,
    }))
}

/// Forget all exchanges
#[utoipa::path(delete, path = "/api/exchanges", tag = "exchanges", responses(
    (status = 204),
    (status = 403, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn clear(State(desk): State<Desk>) -> StatusCode {
    desk.shown.recorder.clear();
    StatusCode::NO_CONTENT
}

/// How an exchange is to be shown.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub(super) struct Look {
    /// Show the fields that hold secrets as they are.
    pub(super) secrets: bool,
}

/// One exchange, without its bodies
#[utoipa::path(get, path = "/api/exchanges/{id}", tag = "exchanges",
    params(("id" = u64, Path, description = "Its number"), Look),
    responses(
        (status = 200, body = Whole),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn one(
    State(desk): State<Desk>,
    Named(id): Named<u64>,
    Asked(look): Asked<Look>,
) -> Result<Json<Whole>, Problem> {
    let exchange = desk.shown.recorder.get(ExchangeId(id));
    let exchange = exchange.ok_or_else(|| Problem::no_exchange(id))?;
    Ok(Json(
        aside(move || Whole::of(&exchange, look.secrets)).await,
    ))
}
