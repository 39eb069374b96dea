//! `/api/har`: exchanges to take away, and to bring back.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ask::{Archive, Asked};
use super::{Desk, aside};
use crate::inspect::{ExchangeId, Recorder};
use crate::web::har;
use crate::web::problem::Problem;

/// What to export.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub(super) struct Wanted {
    /// Only these exchanges, by their numbers with commas in between.
    #[param(pattern = "^[0-9]+(,[0-9]+)*$")]
    id: Option<String>,
    /// With the values of fields that hold secrets.
    secrets: bool,
}

/// Exchanges as a HAR 1.2 file
#[utoipa::path(get, path = "/api/har", tag = "exchanges", params(Wanted), responses(
    (status = 200, body = Object),
    (status = 400, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn export(
    State(desk): State<Desk>,
    Asked(wanted): Asked<Wanted>,
) -> Result<Response, Problem> {
    let recorder = desk.shown.recorder;
    let ids: Vec<ExchangeId> = match &wanted.id {
        Some(list) => list
            .split(',')
            .map(|id| id.trim().parse())
            .collect::<Result<_, _>>()
            .map_err(|_| Problem::bad("id must be numbers of exchanges, such as id=3,4."))?,
        None => {
            let all = recorder.summaries(None, usize::MAX);
            all.iter().map(|summary| summary.id).collect()
        }
    };
    if wanted.id.is_some()
        && let Some(gone) = ids.iter().find(|id| recorder.get(**id).is_none())
    {
        return Err(Problem::no_exchange(gone));
    }
    let archive = aside(move || {
        // One after the other: each is a copy of what lies in memory.
        let exchanges = ids.into_iter().filter_map(|id| recorder.get(id));
        har::export(exchanges, wanted.secrets)
    });
    let fields = [
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (
            CONTENT_DISPOSITION,
            HeaderValue::from_static("attachment; filename=\"ngrnotok.har\""),
        ),
    ];
    Ok((fields, archive.await).into_response())
}

/// What came of an import.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Imported {
    /// So many exchanges were read.
    imported: usize,
    /// The number that the first of them was given.
    first: Option<u64>,
    /// The number that the last of them was given.
    last: Option<u64>,
    /// So many entries of the file make no exchange and were left out.
    left_out: usize,
    /// Why, for the first hundred of them.
    reasons: Vec<Reason>,
}

/// Why an entry of the file was left out.
#[derive(Debug, Serialize, ToSchema)]
struct Reason {
    /// Its place in the file, counted from 0.
    entry: usize,
    /// What is wrong with it.
    reason: String,
}

/// Add the exchanges of a HAR file to those that are recorded
#[utoipa::path(post, path = "/api/har", tag = "exchanges",
    request_body(content = Object, content_type = "application/json"),
    responses(
        (status = 200, body = Imported),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 403, body = Problem, content_type = "application/problem+json"),
        (status = 409, body = Problem, content_type = "application/problem+json"),
        (status = 413, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn import(
    State(desk): State<Desk>,
    Archive(archive): Archive,
) -> Result<Json<Imported>, Problem> {
    let recorder = desk.shown.recorder;
    if !recorder.is_on() {
        return Err(not_recording());
    }
    let imported = aside(move || add(&recorder, &archive)).await?;
    Ok(Json(imported))
}

fn add(recorder: &Recorder, archive: &Bytes) -> Result<Imported, Problem> {
    let import = har::import(archive).map_err(|error| Problem::bad(error.to_string()))?;
    let exchanges = import.exchanges.into_iter();
    let ids: Vec<ExchangeId> = exchanges
        .filter_map(|exchange| recorder.insert(exchange))
        .collect();
    let reasons = import.left_out.into_iter();
    Ok(Imported {
        imported: ids.len(),
        first: ids.first().map(|id| id.0),
        last: ids.last().map(|id| id.0),
        left_out: import.left_out_count,
        reasons: reasons
            .map(|har::LeftOut { entry, reason }| Reason { entry, reason })
            .collect(),
    })
}

/// There is nothing to work with.
pub(super) fn not_recording() -> Problem {
    Problem::new(
        StatusCode::CONFLICT,
        "not_recording",
        "This client records nothing",
        "Start it without the option that turns recording off.",
    )
}
