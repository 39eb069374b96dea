//! The API: what the page is filled from, and what programs ask. `/api/openapi.json` describes it.

mod again;
mod ask;
mod bodies;
mod events;
mod exchanges;
mod filter;
mod hars;
mod ngrok;
mod shape;
mod sign_in;
mod state;

use std::sync::Arc;
use std::time::SystemTime;

use axum::Json;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use http::{StatusCode, Uri};
use tokio::sync::Semaphore;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Shown;
use super::guard::{Guard, need_key};
use super::problem::Problem;

/// What every answer is made from.
#[derive(Debug, Clone)]
pub(super) struct Desk {
    pub(super) shown: Shown,
    /// When this began to serve.
    pub(super) began: SystemTime,
    /// Names this start: revisions of another one mean nothing here.
    pub(super) run: Arc<str>,
    pub(super) guard: Arc<Guard>,
    /// Whether tunnels to Unix sockets are opened.
    pub(super) allows_unix: bool,
    /// Who searches through bodies.
    pub(super) searches: Arc<Semaphore>,
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "ngrnotok",
        description = "What goes through the tunnels of a running ngrnotok client, on its own machine.\n\n\
            Everything needs the field `X-Ngrnotok-Key` with the key of this start, which stands in the folder \
            `web` of ngrnotok's state folder, in the file named after the port. Not so: where the web interface \
            has a password, reading with that instead; on Linux, reading `/api/tunnels` by programs of the same \
            user; this description. Errors are `application/problem+json`; their `detail` says what to do.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    tags(
        (name = "client", description = "How the client stands"),
        (name = "exchanges", description = "What went through the tunnels"),
        (name = "ngrok", description = "The same in the words of ngrok's agent API")
    ),
    components(schemas(Problem))
)]
struct Description;

/// Everything below `/api`.
pub(super) fn router(desk: Desk) -> Router {
    let guard = Arc::clone(&desk.guard);
    let closed = OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(state::status))
        .routes(routes!(exchanges::list, exchanges::clear))
        .routes(routes!(exchanges::one))
        .routes(routes!(bodies::body))
        .routes(routes!(again::resend))
        .routes(routes!(events::events))
        .routes(routes!(hars::export, hars::import))
        .routes(routes!(ngrok::tunnels::list, ngrok::tunnels::open))
        .routes(routes!(ngrok::tunnels::one, ngrok::tunnels::close))
        .routes(routes!(ngrok::requests, ngrok::clear, ngrok::replay))
        .routes(routes!(ngrok::request))
        .routes(routes!(sign_in::new_link));
    let (closed, mut described) = closed.split_for_parts();
    let closed = closed
        .fallback(nothing_there)
        .method_not_allowed_fallback(not_so)
        .layer(from_fn_with_state(guard, need_key));
    let (open, also) = OpenApiRouter::new()
        .routes(routes!(sign_in::sign_in))
        .split_for_parts();
    described.merge(also);
    let described = Json(described);
    closed
        .merge(open)
        .route("/api/openapi.json", get(async move || described.clone()))
        .method_not_allowed_fallback(not_so)
        .layer(DefaultBodyLimit::max(LARGEST))
        .with_state(desk)
}

/// What a body that is not a file may have: 32 MiB.
const LARGEST: usize = 32 * 1024 * 1024;

async fn nothing_there(uri: Uri) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "no_such_page",
        "There is nothing under this address",
        format!(
            "{} is not known here. The page is at /, the API is described at /api/openapi.json.",
            uri.path()
        ),
    )
}

async fn not_so() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "wrong_method",
        "This address does not take that method",
        "The field Allow names those that it takes; /api/openapi.json describes them.",
    )
}

/// Does what takes a while on another thread: this one carries the tunnels.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let done = tokio::task::spawn_blocking(work).await;
    done.expect("it neither panics nor is it cancelled")
}
