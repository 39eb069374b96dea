//! What is answered instead of what was asked for: RFC 9457, and its detail says what to do.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

/// `application/problem+json`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Problem {
    /// `about:blank`: the code tells what kind it is.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The status of the answer.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What kind of problem it is, in a word that stays.
    code: &'static str,
    /// What kind of problem it is, for people.
    title: &'static str,
    /// What to do about it.
    detail: String,
    /// When to try again.
    #[serde(skip)]
    retry_after: Option<Duration>,
}

impl Problem {
    pub(super) fn new(
        status: StatusCode,
        code: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            kind: "about:blank",
            status: status.as_u16(),
            code,
            title,
            detail: detail.into(),
            retry_after: None,
        }
    }

    /// Tells when to try again.
    pub(super) fn retry_after(self, wait: Duration) -> Self {
        Self {
            retry_after: Some(wait),
            ..self
        }
    }

    pub(super) fn code(&self) -> &'static str {
        self.code
    }

    /// The request is not one that is understood here.
    pub(super) fn bad(detail: impl Into<String>) -> Self {
        let title = "The request cannot be understood";
        Self::new(StatusCode::BAD_REQUEST, "bad_request", title, detail)
    }

    /// What an error says, as a sentence.
    pub(super) fn sentence(error: &dyn std::fmt::Display) -> String {
        let mut text = format!("{error}.");
        if let Some(first) = text.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        text
    }

    /// An exchange that is gone or never was.
    pub(super) fn no_exchange(id: impl std::fmt::Display) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "no_exchange",
            "There is no such exchange",
            format!(
                "Exchange {id} is not kept (any more). GET /api/exchanges lists those that are."
            ),
        )
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let text = serde_json::to_string(&self).expect("plain words");
        let mut answer = Response::new(text.into());
        *answer.status_mut() = StatusCode::from_u16(self.status).expect("it was one");
        answer.headers_mut().insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(wait) = self.retry_after {
            let seconds = HeaderValue::from(wait.as_secs() + 1);
            answer.headers_mut().insert(RETRY_AFTER, seconds);
        }
        answer
    }
}
