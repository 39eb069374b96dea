//! The first request on a link, before HTTP/2 exists.
//!
//! Its shape follows the IETF drafts on reverse HTTP (draft-ietf-ptth): an HTTP/1.1 `GET` with
//! `Upgrade: ptth` and `ALPN: h2` (RFC 7639), so that refusals are ordinary HTTP statuses and
//! proxies that pass `Upgrade` pass us.

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderName, UPGRADE, USER_AGENT,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{LINK_PATH, VERSION, words};
use crate::secret::Secret;

/// The token of the upgrade.
pub const PTTH: &str = "ptth";

const VERSION_FIELD: HeaderName = HeaderName::from_static("ngrnotok-version");
const ALPN_FIELD: HeaderName = HeaderName::from_static("alpn");
const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// Builds the client's request. `host` is the server as the client dials it.
///
/// Fails if the token or the host holds characters that a header field cannot.
pub fn link_request(
    host: &str,
    token: Option<&Secret>,
    user_agent: &str,
) -> Result<Request<()>, http::Error> {
    let mut request = Request::get(LINK_PATH)
        .header(HOST, host)
        .header(CONNECTION, "upgrade")
        .header(UPGRADE, PTTH)
        .header(ALPN_FIELD, "h2")
        .header(VERSION_FIELD, VERSION)
        .header(USER_AGENT, user_agent);
    if let Some(token) = token {
        let mut bearer = HeaderValue::try_from(format!("Bearer {}", token.expose()))?;
        // Kept out of debug output and of HPACK-like tables.
        bearer.set_sensitive(true);
        request = request.header(AUTHORIZATION, bearer);
    }
    request.body(())
}

/// What the server reads in the client's request.
#[derive(Debug)]
pub struct LinkRequest {
    /// The bearer token, if one was presented.
    pub token: Option<Secret>,
    /// `ngrnotok/0.1.0`, for the log.
    pub user_agent: String,
}

/// The client's request is not one for a link, or for another version of it.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum NotALink {
    /// Some other path.
    #[error("there is only {LINK_PATH} here")]
    Path,
    /// Not `GET` with HTTP/1.1 and `Upgrade: ptth`.
    #[error("a link is opened by GET with HTTP/1.1 and Upgrade: {PTTH}")]
    NoUpgrade,
    /// Another protocol version.
    #[error("this server speaks version {VERSION} of the link, the client speaks {0}")]
    Version(String),
}

impl LinkRequest {
    /// Reads a request head.
    pub fn read<B>(request: &Request<B>) -> Result<Self, NotALink> {
        if request.uri().path() != LINK_PATH {
            return Err(NotALink::Path);
        }
        let headers = request.headers();
        let upgrades = request.method() == Method::GET
            && request.version() == Version::HTTP_11
            && text(headers, &UPGRADE).is_some_and(|value| value.eq_ignore_ascii_case(PTTH));
        if !upgrades {
            return Err(NotALink::NoUpgrade);
        }
        match text(headers, &VERSION_FIELD) {
            Some(VERSION) => {}
            other => return Err(NotALink::Version(number(other).to_owned())),
        }
        Ok(Self {
            token: bearer(headers),
            user_agent: text(headers, &USER_AGENT).unwrap_or("unknown").to_owned(),
        })
    }
}

fn bearer(headers: &HeaderMap) -> Option<Secret> {
    let value = text(headers, &AUTHORIZATION)?;
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| Secret::new(token))
}

/// A version as it is repeated: whatever is no number is the word of a stranger.
fn number(version: Option<&str>) -> &str {
    match version {
        Some(digits) if digits.parse::<u32>().is_ok() => digits,
        Some(_) => "another",
        None => "none",
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The server's yes. What follows on the connection is HTTP/2 with the server as its client.
pub fn switching_protocols<B: Default>() -> Response<B> {
    let mut response = Response::new(B::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static(PTTH));
    response
}

/// The server's no, as `application/problem+json` (RFC 9457).
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Problem {
    /// The HTTP status once more, for whoever sees only the body.
    pub status: u16,
    /// Stable name of the refusal, see the constants of this type.
    #[serde(deserialize_with = "words::word::<_, 64>")]
    pub code: String,
    /// What happened, one line.
    #[serde(with = "words::message")]
    pub title: String,
    /// What to do about it.
    #[serde(
        default,
        skip_serializing_if = "String::is_empty",
        with = "words::message"
    )]
    pub detail: String,
}

impl Problem {
    /// 401: the server wants a token and got none.
    pub const TOKEN_MISSING: &'static str = "token_missing";
    /// 403: the token is unknown, malformed or wrong; which of them is not told.
    pub const TOKEN_REFUSED: &'static str = "token_refused";
    /// 403: the token was revoked.
    pub const TOKEN_REVOKED: &'static str = "token_revoked";
    /// 403: the token's time is over.
    pub const TOKEN_EXPIRED: &'static str = "token_expired";
    /// 429: the token is not accepted, like many others from this address just now.
    pub const TOO_MANY_FAILURES: &'static str = "too_many_failures";
    /// 426: the two ends speak different versions.
    pub const VERSION: &'static str = "version";
    /// 400 or 404: not a request for a link.
    pub const NOT_A_LINK: &'static str = "not_a_link";
    /// Not one of ours: somebody between the two answered.
    pub const UNKNOWN: &'static str = "unknown";
    /// 503: the server cannot take links now.
    pub const UNAVAILABLE: &'static str = "unavailable";

    /// A refusal.
    pub fn new(status: StatusCode, code: &str, title: impl Into<String>) -> Self {
        Self {
            status: status.as_u16(),
            code: code.to_owned(),
            title: title.into(),
            detail: String::new(),
        }
    }

    /// Adds what to do about it.
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    /// The refusal as a response with a body of type `B`.
    pub fn into_response<B: From<String>>(self) -> Response<B> {
        let body = serde_json::to_string(&self).expect("strings and a number serialise");
        let mut response = Response::new(B::from(body));
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response.headers_mut().insert(CONTENT_TYPE, PROBLEM_JSON);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_reads_what_the_client_wrote() {
        let token = Secret::new("ngrt_x");
        let request = link_request("t.example:443", Some(&token), "ngrnotok/0.1.0").unwrap();
        let read = LinkRequest::read(&request).unwrap();
        assert_eq!(read.token, Some(token));
        assert_eq!(read.user_agent, "ngrnotok/0.1.0");
        assert!(!format!("{request:?}").contains("ngrt_x"));
    }

    #[test]
    fn other_requests_are_told_apart() {
        let plain = Request::get("/").body(()).unwrap();
        assert_eq!(LinkRequest::read(&plain).unwrap_err(), NotALink::Path);
        let get = Request::get(LINK_PATH).body(()).unwrap();
        assert_eq!(LinkRequest::read(&get).unwrap_err(), NotALink::NoUpgrade);
        let mut old = link_request("t", None, "x").unwrap();
        old.headers_mut()
            .insert(VERSION_FIELD, HeaderValue::from_static("0"));
        assert_eq!(
            LinkRequest::read(&old).unwrap_err(),
            NotALink::Version("0".into())
        );
        old.headers_mut()
            .insert(VERSION_FIELD, HeaderValue::from_static("one"));
        assert_eq!(
            LinkRequest::read(&old).unwrap_err(),
            NotALink::Version("another".into())
        );
    }
}
