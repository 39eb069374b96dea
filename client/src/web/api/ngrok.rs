//! What ngrok's agent says at this place, in its words: tools that were made for it work here, too.
//! `tunnels` has the tunnels, this the requests.

pub(super) mod tunnels;

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use bytes::BytesMut;
use data_encoding::BASE64;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ask::{Asked, Given, Named};
use super::filter::path_of;
use super::shape::{rfc3339, text, version_word};
use super::{Desk, aside};
use crate::inspect::{Exchange, ExchangeId, mask};
use crate::resend::Edit;
use crate::web::problem::Problem;

/// Recorded requests.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Requests {
    uri: &'static str,
    requests: Vec<Captured>,
}

/// A recorded request.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NgrokRequest)]
pub(super) struct Captured {
    uri: String,
    id: String,
    tunnel_name: String,
    remote_addr: String,
    #[schema(format = DateTime)]
    start: String,
    /// In nanoseconds.
    duration: u64,
    request: RequestHalf,
    response: Option<ResponseHalf>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NgrokRequestHalf)]
struct RequestHalf {
    method: String,
    proto: &'static str,
    headers: BTreeMap<String, Vec<String>>,
    uri: String,
    /// Head and body in base64.
    raw: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NgrokResponseHalf)]
struct ResponseHalf {
    status: String,
    status_code: u16,
    proto: &'static str,
    headers: BTreeMap<String, Vec<String>>,
    /// Head and body in base64.
    raw: String,
}

/// Which requests.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub(super) struct Wanted {
    /// So many at most, the newest; 50 if not said.
    #[param(minimum = 0, maximum = 65535)]
    limit: Option<u16>,
    /// Only those of this tunnel.
    tunnel_name: Option<String>,
    /// With the values of fields that hold secrets.
    secrets: bool,
}

/// Recorded requests, newest first, as ngrok says it
#[utoipa::path(get, path = "/api/requests/http", tag = "ngrok", params(Wanted), responses(
    (status = 200, body = Requests),
    (status = 400, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn requests(
    State(desk): State<Desk>,
    Asked(wanted): Asked<Wanted>,
) -> Json<Requests> {
    let recorder = desk.shown.recorder;
    let requests = aside(move || {
        let newest = recorder.newest(None, usize::MAX).into_iter();
        let name = wanted.tunnel_name.as_deref();
        let ours = newest.filter(|one| name.is_none_or(|name| one.tunnel.as_str() == name));
        let limit = usize::from(wanted.limit.unwrap_or(50));
        let exchanges = ours.take(limit).filter_map(|one| recorder.get(one.id));
        exchanges
            .map(|exchange| Captured::of(exchange, wanted.secrets))
            .collect()
    });
    Json(Requests {
        uri: "/api/requests/http",
        requests: requests.await,
    })
}

/// Forget all requests, as ngrok says it
#[utoipa::path(delete, path = "/api/requests/http", tag = "ngrok", operation_id = "ngrok_clear", responses(
    (status = 204),
    (status = 403, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn clear(State(desk): State<Desk>) -> StatusCode {
    desk.shown.recorder.clear();
    StatusCode::NO_CONTENT
}

/// What to send again.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct Replay {
    /// The number of a recorded request.
    id: String,
    /// The tunnel is that of the request.
    #[expect(dead_code, reason = "ngrok takes it, so its tools send it")]
    tunnel_name: Option<String>,
}

/// Send a request again, as ngrok says it
#[utoipa::path(post, path = "/api/requests/http", tag = "ngrok", request_body = Replay, responses(
    (status = 204),
    (status = 400, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 409, body = Problem, content_type = "application/problem+json"),
    (status = 413, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn replay(
    State(desk): State<Desk>,
    Given(wanted): Given<Replay>,
) -> Result<StatusCode, Problem> {
    let id = wanted.id.parse();
    let id = id.map_err(|_| Problem::no_exchange(format_args!("{:?}", wanted.id)))?;
    let sent = desk.shown.resender.resend(id, Edit::default());
    sent.map_err(|error| super::again::refused(&error))?;
    Ok(StatusCode::NO_CONTENT)
}

/// One recorded request, as ngrok says it
#[utoipa::path(get, path = "/api/requests/http/{id}", tag = "ngrok",
    params(("id" = u64, Path, description = "Its number"), super::exchanges::Look),
    responses(
        (status = 200, body = Captured),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn request(
    State(desk): State<Desk>,
    Named(id): Named<u64>,
    Asked(look): Asked<super::exchanges::Look>,
) -> Result<Json<Captured>, Problem> {
    let exchange = desk.shown.recorder.get(ExchangeId(id));
    let exchange = exchange.ok_or_else(|| Problem::no_exchange(id))?;
    let captured = aside(move || Captured::of(exchange, look.secrets));
    Ok(Json(captured.await))
}

impl Captured {
    fn of(mut exchange: Exchange, secrets: bool) -> Self {
        if !secrets {
            mask(&mut exchange.request.fields);
            if let Some(answer) = &mut exchange.answer {
                mask(&mut answer.fields);
            }
        }
        let request = &exchange.request;
        let uri = path_of(&request.uri.to_string()).to_owned();
        let proto = version_word(request.version);
        let line = format!("{} {uri} {proto}", request.method);
        let visitor = exchange.visitor;
        let taken = exchange.timing.ended.unwrap_or_default();
        let response = exchange.answer.as_ref().map(|answer| {
            let status = answer.status.to_string();
            let proto = version_word(answer.version);
            let line = format!("{proto} {status}");
            ResponseHalf {
                raw: raw(&line, &answer.fields, &answer.body.bytes),
                status_code: answer.status.as_u16(),
                headers: headers(&answer.fields),
                status,
                proto,
            }
        });
        Self {
            uri: format!("/api/requests/http/{}", exchange.id),
            id: exchange.id.to_string(),
            tunnel_name: exchange.tunnel.to_string(),
            remote_addr: visitor.map_or_else(String::new, |visitor| visitor.to_string()),
            start: rfc3339(exchange.at),
            duration: u64::try_from(taken.as_nanos()).unwrap_or(u64::MAX),
            request: RequestHalf {
                raw: raw(&line, &request.fields, &request.body.bytes),
                method: request.method.to_string(),
                headers: headers(&request.fields),
                uri,
                proto,
            },
            response,
        }
    }
}

/// Names as ngrok, which is written in Go, spells them: `Content-Type`.
fn headers(fields: &HeaderMap) -> BTreeMap<String, Vec<String>> {
    let mut headers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in fields {
        let values = headers.entry(spelled(name.as_str())).or_default();
        values.push(text(value.as_bytes()));
    }
    headers
}

fn spelled(name: &str) -> String {
    let parts = name.split('-').map(|part| match part.split_at_checked(1) {
        Some((first, rest)) => first.to_ascii_uppercase() + rest,
        None => part.to_owned(),
    });
    parts.collect::<Vec<_>>().join("-")
}

/// Head and body as one text.
fn raw(line: &str, fields: &HeaderMap, body: &[u8]) -> String {
    let mut raw = BytesMut::from(line.as_bytes());
    for (name, value) in fields {
        raw.extend_from_slice(b"\r\n");
        raw.extend_from_slice(spelled(name.as_str()).as_bytes());
        raw.extend_from_slice(b": ");
        raw.extend_from_slice(value.as_bytes());
    }
    raw.extend_from_slice(b"\r\n\r\n");
    raw.extend_from_slice(body);
    BASE64.encode(&raw)
}
