//! `/api/exchanges/{id}/body`: the bytes of a body.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::ask::{Asked, Named};
use super::{Desk, aside};
use crate::inspect::{ExchangeId, decoded};
use crate::web::problem::Problem;

/// Which body, and how.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Whose body.
    #[param(inline)]
    part: Part,
    /// Unpack it as its `Content-Encoding` says.
    #[serde(default)]
    #[param(inline, required = false)]
    decoded: Flag,
}

/// Whose body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Part {
    Request,
    Answer,
}

/// Yes or no, in the ways people say it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
enum Flag {
    #[default]
    #[serde(rename = "0", alias = "false")]
    No,
    #[serde(rename = "1", alias = "true")]
    Yes,
}

/// The most that a body is unpacked to: 16 MiB.
const UNPACKED: usize = 16 * 1024 * 1024;

const TROUBLE: HeaderName = HeaderName::from_static("x-ngrnotok-trouble");
const CUT: HeaderName = HeaderName::from_static("x-ngrnotok-cut");

/// The bytes of a body, as far as they are kept
///
/// Never with their own type: a browser shall save them and not show them. `X-Ngrnotok-Cut: 1` says that there
/// was more, `X-Ngrnotok-Trouble` why it could not be unpacked.
#[utoipa::path(get, path = "/api/exchanges/{id}/body", tag = "exchanges",
    params(("id" = u64, Path, description = "The exchange's number"), Wanted),
    responses(
        (status = 200, body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn body(
    State(desk): State<Desk>,
    Named(id): Named<u64>,
    Asked(wanted): Asked<Wanted>,
) -> Result<Response, Problem> {
    let exchange = desk.shown.recorder.get(ExchangeId(id));
    let exchange = exchange.ok_or_else(|| Problem::no_exchange(id))?;
    let (body, fields) = match wanted.part {
        Part::Request => (exchange.request.body, exchange.request.fields),
        Part::Answer => {
            let answer = exchange.answer.ok_or_else(|| {
                Problem::new(
                    StatusCode::NOT_FOUND,
                    "no_answer",
                    "This exchange has no answer",
                    "Ask for part=request, or once more when the app has answered.",
                )
            })?;
            (answer.body, answer.fields)
        }
    };
    let mut cut = body.is_cut();
    let mut trouble = None;
    let bytes = if wanted.decoded == Flag::Yes {
        let unpacked = aside(move || decoded(&body.bytes, &fields, UNPACKED)).await;
        cut |= unpacked.cut;
        trouble = unpacked.trouble;
        unpacked.bytes
    } else {
        body.bytes
    };
    let mut answer = bytes.into_response();
    let fields = answer.headers_mut();
    for (name, value) in [
        (CONTENT_TYPE, "application/octet-stream"),
        (CONTENT_DISPOSITION, "attachment"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox"),
    ] {
        fields.insert(name, HeaderValue::from_static(value));
    }
    if cut {
        fields.insert(CUT, HeaderValue::from_static("1"));
    }
    if let Some(trouble) = trouble.and_then(|trouble| HeaderValue::try_from(trouble).ok()) {
        fields.insert(TROUBLE, trouble);
    }
    Ok(answer)
}
