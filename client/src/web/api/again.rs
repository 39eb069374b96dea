//! `/api/exchanges/{id}/resend`: a request once more, as it was or changed.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use bytes::Bytes;
use data_encoding::BASE64;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use utoipa::{IntoParams, ToSchema};

use super::Desk;
use super::ask::{Asked, Given, Named};
use super::shape::{Field, Line, summary, text};
use crate::inspect::ExchangeId;
use crate::resend::{Edit, ResendError};
use crate::web::problem::Problem;

/// What is to be different; what is left out stays as it was.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Change {
    method: Option<String>,
    /// With its query.
    #[schema(pattern = "^/")]
    path: Option<String>,
    /// In the place of all fields.
    fields: Option<Vec<Field>>,
    /// A body that is text. Without `fields`, the `Content-Encoding` of the old body is left out.
    body: Option<String>,
    /// The same for any body, in base64.
    body_base64: Option<String>,
    /// The name of the tunnel whose app gets it.
    tunnel: Option<String>,
}

impl Change {
    /// `recorded` are the fields that the change was made from.
    fn read(self, recorded: &HeaderMap) -> Result<Edit, Problem> {
        let odd = |what: &str, text: &str| Problem::bad(format!("{text:?} is no {what}."));
        let method = self
            .method
            .map(|word| Method::from_bytes(word.as_bytes()).map_err(|_| odd("method", &word)));
        let path = self.path.map(|text| {
            let path = text.parse().ok();
            path.filter(|path: &PathAndQuery| path.as_str().starts_with('/'))
                .ok_or_else(|| odd("path, which begins with /", &text))
        });
        let fields = self.fields.map(|lines| {
            let mut fields = HeaderMap::new();
            for Field { name, value } in lines {
                let word = HeaderName::from_bytes(name.as_bytes());
                let word = word.map_err(|_| odd("name of a field", &name))?;
                let value = value_of(&word, &value, recorded)
                    .ok_or_else(|| odd("value of a field", &value))?;
                fields.append(word, value);
            }
            Ok(fields)
        });
        let body = match (self.body, self.body_base64) {
            (Some(_), Some(_)) => return Err(Problem::bad("Give body or body_base64, not both.")),
            (Some(text), None) => Some(Bytes::from(text)),
            (None, Some(packed)) => {
                let unpacked = BASE64.decode(packed.as_bytes());
                let unpacked = unpacked.map_err(|_| Problem::bad("body_base64 is no base64."))?;
                Some(unpacked.into())
            }
            (None, None) => None,
        };
        let tunnel = self
            .tunnel
            .map(|name| name.parse().map_err(|_| odd("name of a tunnel", &name)));
        Ok(Edit {
            method: method.transpose()?,
            path: path.transpose()?,
            fields: fields.transpose()?,
            body,
            tunnel: tunnel.transpose()?,
        })
    }
}

/// The value that a text stands for. A recorded value is shown as text whatever its bytes are, and where that
/// text comes back unchanged, so do the bytes.
fn value_of(name: &HeaderName, value: &str, recorded: &HeaderMap) -> Option<HeaderValue> {
    let mut recorded = recorded.get_all(name).iter();
    recorded
        .find(|recorded| text(recorded.as_bytes()) == value)
        .cloned()
        .or_else(|| HeaderValue::from_bytes(value.as_bytes()).ok())
}

/// How long to wait for the end.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub(super) struct Patience {
    /// So many milliseconds at most, until the new exchange is over; 0 if not said.
    #[param(minimum = 0, maximum = 600000)]
    wait_ms: u32,
}

/// What was sent.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Sent {
    /// The number of the new exchange.
    id: u64,
    /// As it stands after the wait.
    exchange: Option<Line>,
}

/// Send a request again to the app; the answer is recorded as another exchange
#[utoipa::path(post, path = "/api/exchanges/{id}/resend", tag = "exchanges",
    params(("id" = u64, Path, description = "The number of the exchange to repeat"), Patience),
    request_body = Change,
    responses(
        (status = 200, body = Sent),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 403, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, body = Problem, content_type = "application/problem+json"),
        (status = 413, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn resend(
    State(desk): State<Desk>,
    Named(id): Named<u64>,
    Asked(patience): Asked<Patience>,
    Given(change): Given<Change>,
) -> Result<Json<Sent>, Problem> {
    let recorded = match change.fields {
        Some(_) => desk.shown.recorder.get(ExchangeId(id)),
        None => None,
    };
    let recorded = recorded.map(|exchange| exchange.request.fields);
    let edit = change.read(&recorded.unwrap_or_default())?;
    let new = desk.shown.resender.resend(ExchangeId(id), edit);
    let new = new.map_err(|error| refused(&error))?;
    let recorder = desk.shown.recorder;
    let patience = Duration::from_millis(patience.wait_ms.into());
    let _ = timeout(patience, recorder.ended(new)).await;
    let exchange = recorder.get(new);
    Ok(Json(Sent {
        id: new.0,
        exchange: exchange.map(|exchange| Line::of(&summary(&exchange))),
    }))
}

/// Why a request is not sent again.
pub(super) fn refused(error: &ResendError) -> Problem {
    if let ResendError::Gone(id) = error {
        return Problem::no_exchange(id);
    }
    Problem::new(
        StatusCode::CONFLICT,
        "not_resent",
        "This request cannot be sent again",
        Problem::sentence(error),
    )
}
