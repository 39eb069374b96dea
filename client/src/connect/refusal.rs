//! The server's no, as it comes over the wire.

use std::time::{Duration, SystemTime};

use http::header::{DATE, HeaderName, RETRY_AFTER};
use http::{HeaderMap, Response};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use ngrnotok_common::protocol::handshake::Problem;

/// A refusal's text is short; 16 KiB of it are read.
const PROBLEM_LIMIT: usize = 16 * 1024;

/// A server that asks for more time than this is tried again all the same: it may have been mended.
const RETRY_AFTER_LIMIT: Duration = Duration::from_secs(5 * 60);

/// Reads why the server said no; whatever is not our problem+json is told by its status.
pub(super) async fn problem(answer: Response<Incoming>) -> Problem {
    let status = answer.status();
    let body = Limited::new(answer.into_body(), PROBLEM_LIMIT)
        .collect()
        .await
        .map(|body| body.to_bytes())
        .unwrap_or_default();
    serde_json::from_slice::<Problem>(&body)
        .unwrap_or_else(|_| Problem::new(status, Problem::UNKNOWN, format!("HTTP status {status}")))
}

/// How long the server wants to be left alone (RFC 9110 §10.2.3): seconds, or a date. A date is
/// measured by the server's own clock if it tells the time. Nonsense means nothing.
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Duration {
    let text = |name: HeaderName| headers.get(name)?.to_str().ok();
    let date = |text: &str| httpdate::parse_http_date(text).ok();
    let Some(asked) = text(RETRY_AFTER) else {
        return Duration::ZERO;
    };
    let asked = match asked.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let now = text(DATE).and_then(date).unwrap_or(now);
            let until = date(asked).unwrap_or(now);
            until.duration_since(now).unwrap_or_default()
        }
    };
    asked.min(RETRY_AFTER_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(fields: &[(HeaderName, &'static str)]) -> u64 {
        let fields = fields.iter().cloned();
        let headers: HeaderMap = fields
            .map(|(name, value)| (name, http::HeaderValue::from_static(value)))
            .collect();
        let now = httpdate::parse_http_date("Mon, 23 Nov 2026 00:00:00 GMT").unwrap();
        retry_after(&headers, now).as_secs()
    }

    #[test]
    fn seconds_and_dates_are_understood() {
        assert_eq!(asked(&[]), 0);
        assert_eq!(asked(&[(RETRY_AFTER, "7")]), 7);
        let in_a_minute = (RETRY_AFTER, "Mon, 23 Nov 2026 00:01:00 GMT");
        assert_eq!(asked(std::slice::from_ref(&in_a_minute)), 60);
        // Our clock is half an hour ahead of the server's, or behind.
        for (server_time, then) in [
            (
                "Sun, 22 Nov 2026 23:30:00 GMT",
                "Sun, 22 Nov 2026 23:30:20 GMT",
            ),
            (
                "Mon, 23 Nov 2026 00:30:00 GMT",
                "Mon, 23 Nov 2026 00:30:20 GMT",
            ),
        ] {
            assert_eq!(asked(&[(RETRY_AFTER, then), (DATE, server_time)]), 20);
        }
        assert_eq!(asked(&[in_a_minute, (DATE, "yesterday")]), 60);
    }

    #[test]
    fn nobody_is_told_to_wait_for_ever() {
        for far in [
            "99999",
            "18446744073709551615",
            "Tue, 23 Nov 2027 00:00:00 GMT",
        ] {
            assert_eq!(asked(&[(RETRY_AFTER, far)]), 300, "{far}");
        }
    }

    #[test]
    fn nonsense_means_nothing() {
        for nonsense in [
            "",
            "-5",
            "soon",
            "1.5",
            "99999999999999999999999",
            "Sun, 22 Nov 2026 00:00:00 GMT",
        ] {
            assert_eq!(asked(&[(RETRY_AFTER, nonsense)]), 0, "{nonsense:?}");
        }
    }
}
