//! `/api/sign-in`: a browser gets the key in exchange for the word of a link.

use std::net::SocketAddr;

use axum::Json;
use axum::extract::{ConnectInfo, State};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Desk;
use super::ask::Given;
use crate::web::problem::Problem;

/// A link for a browser.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SignInLink {
    /// The page, with a word in its fragment that works once. Where the page asks for a password there is no
    /// word.
    url: String,
}

/// A new link that lets a browser in, once
#[utoipa::path(post, path = "/api/sign-in/links", tag = "client", responses(
    (status = 201, body = SignInLink),
    (status = 403, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn new_link(State(desk): State<Desk>) -> (StatusCode, Json<SignInLink>) {
    let url = desk.guard.sign_in().new_link();
    (StatusCode::CREATED, Json(SignInLink { url }))
}

/// The word of a link.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct SignInWord {
    /// What follows `#once=` in the link.
    word: String,
}

/// The key of this start.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SignedIn {
    /// Send it in the field `X-Ngrnotok-Key`.
    key: String,
}

/// The key in exchange for the word of a link, which is used up
///
/// Only programs of the same user get it, where the system tells whose program asks.
#[utoipa::path(post, path = "/api/sign-in", tag = "client", request_body = SignInWord, responses(
    (status = 200, body = SignedIn),
    (status = 400, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 413, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn sign_in(
    State(desk): State<Desk>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Given(SignInWord { word }): Given<SignInWord>,
) -> Result<Json<SignedIn>, Problem> {
    // A browser that is started with a link shows it to every user in the list of processes.
    if !desk.guard.may_sign_in(peer).await {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "another_user",
            "This web interface belongs to another user",
            "Open it as the user who has started ngrnotok, or start that with --web-password-file.",
        ));
    }
    let key = desk.guard.sign_in().redeem(&word);
    let key = key.ok_or_else(|| {
        Problem::new(
            StatusCode::FORBIDDEN,
            "link_used",
            "This link has been used, or is one of another start",
            "Run ngrnotok status for a new one.",
        )
    })?;
    Ok(Json(SignedIn {
        key: key.expose().to_owned(),
    }))
}
