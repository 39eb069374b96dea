//! What a proxy hop does to header fields, and nothing else.
//!
//! Fields that belong to one connection stay there (RFC 9110 §7.6.1). Our own fields between the two ends of a
//! link, and those with which proxies tell who called, cannot be forged. Trailers hold nothing that belongs into
//! a head (RFC 9110 §6.5.1). Cookies that HTTP/2 split are joined again (RFC 9113 §8.2.3).
//!
//! Many apps read `_` in a name as `-`, because CGI and WSGI do: a name is ours in either spelling.

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, FORWARDED, HeaderMap, HeaderName, HeaderValue, TE,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{Response, StatusCode};

/// Prefix of the fields with which the two ends of a link speak to each other on data streams.
/// Whatever a visitor or a local app sends under it is dropped: it could only be forged.
pub const PRIVATE_PREFIX: &str = "ngrnotok-";

/// Prefix of the fields with which proxies tell of their visitors, beside `Forwarded` (RFC 7239).
const FORWARDED_PREFIX: &str = "x-forwarded-";

/// Fields that stay even when `Connection` lists them: removing them would change whom the request
/// is for, where it ends, or who is said to have sent it.
const END_TO_END: [&str; 6] = [
    "authorization",
    "content-length",
    "content-type",
    "cookie",
    "forwarded",
    "host",
];

/// Fields that mean nothing behind a body, or the wrong thing: those that frame, route and authenticate a
/// message, modify a request, control a response or tell the form of the content (RFC 9110 §6.5.1).
const HEAD_ONLY: [&str; 33] = [
    "age",
    "authorization",
    "cache-control",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "expect",
    "expires",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "location",
    "max-forwards",
    "pragma",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "range",
    "retry-after",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "vary",
    "warning",
    "www-authenticate",
];

/// Removes what must not cross to the next hop: the fields of this connection, the ones
/// `Connection` lists, `TE` other than `trailers`, and our private fields.
///
/// Most messages carry few of them, so the names are looked at once before anything is touched.
pub fn strip_hop(headers: &mut HeaderMap) {
    let mut leaving = chosen(headers, belongs_to_hop);
    if leaving.is_empty() {
        return;
    }
    // `keep-alive` is what most say, and names no field that stays otherwise.
    let listed = headers
        .get_all(CONNECTION)
        .iter()
        .filter(|value| *value != "keep-alive")
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
        .filter(|name| !is_end_to_end(name));
    leaving.extend(listed);
    for name in leaving.iter().filter(|name| **name != TE) {
        headers.remove(name);
    }
    keep_only_trailers(headers);
}

/// Does to an answer what [`strip_hop`] does to fields, and takes the length from one that never has a body: in
/// HTTP/2 it would be malformed (RFC 9110 §8.6, RFC 9113 §8.1.1).
pub fn strip_answer<B>(answer: &mut Response<B>) {
    let status = answer.status();
    if status.is_informational() || status == StatusCode::NO_CONTENT {
        answer.headers_mut().remove(CONTENT_LENGTH);
    }
    strip_hop(answer.headers_mut());
}

/// Removes what a visitor says in place of a proxy. What a proxy of our own has said stays in the spelling that
/// proxies use.
pub fn strip_forwarded(headers: &mut HeaderMap, by_own_proxy: bool) {
    let leaving = chosen(headers, |name| {
        is_forwarded(name) && (!by_own_proxy || name.as_str().contains('_'))
    });
    for name in &leaving {
        headers.remove(name);
    }
}

/// Leaves in trailers what may stand there: nothing of the connection, of proxies, of ours, and nothing that
/// an app would read as part of the head.
pub fn strip_trailers(trailers: &mut HeaderMap) {
    let leaving = chosen(trailers, |name| {
        let text = name.as_str();
        belongs_to_hop(name)
            || is_forwarded(name)
            || HEAD_ONLY.iter().any(|known| reads_as(text, known))
    });
    for name in &leaving {
        trailers.remove(name);
    }
}

fn chosen(headers: &HeaderMap, of: impl Fn(&HeaderName) -> bool) -> Vec<HeaderName> {
    headers.keys().filter(|name| of(name)).cloned().collect()
}

fn belongs_to_hop(name: &HeaderName) -> bool {
    let text = name.as_str();
    // Every name in question starts with one of these; a byte is cheaper than six comparisons.
    match text.as_bytes()[0] {
        // A second length could be hidden so; the first one is no business of the connection.
        b'c' => name == CONNECTION || text == "content_length",
        b'k' => reads_as(text, "keep-alive"),
        b'p' => reads_as(text, "proxy-connection"),
        b't' => name == TE || reads_as(text, "transfer-encoding"),
        b'u' => name == UPGRADE,
        b'n' => begins_as(text, PRIVATE_PREFIX),
        _ => false,
    }
}

fn is_end_to_end(name: &HeaderName) -> bool {
    END_TO_END.contains(&name.as_str()) || name.as_str().starts_with(FORWARDED_PREFIX)
}

/// Whether a field tells who called.
fn is_forwarded(name: &HeaderName) -> bool {
    match name.as_str().as_bytes()[0] {
        b'f' => name == FORWARDED,
        b'x' => begins_as(name.as_str(), FORWARDED_PREFIX),
        _ => false,
    }
}

fn reads_as(name: &str, known: &str) -> bool {
    name.len() == known.len() && begins_as(name, known)
}

fn begins_as(name: &str, known: &str) -> bool {
    let mut pairs = name.bytes().zip(known.bytes());
    name.len() >= known.len() && pairs.all(|(a, b)| a == b || (a == b'_' && b == b'-'))
}

/// `TE: trailers` is the one transfer coding wish that HTTP/2 carries (RFC 9113 §8.2.2).
fn keep_only_trailers(headers: &mut HeaderMap) {
    if !headers.contains_key(TE) {
        return;
    }
    let wants_trailers = headers
        .get_all(TE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|coding| {
            let coding = coding.split(';').next().unwrap_or_default();
            coding.trim().eq_ignore_ascii_case("trailers")
        });
    if wants_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    } else {
        headers.remove(TE);
    }
}

/// Where a body ends is not said clearly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ambiguous;

/// Leaves one meaning to what frames a body, or none: at most one `Content-Length`, written as a plain
/// number, and no transfer coding but `chunked` (RFC 9112 §6). What the next hop reads must be what we
/// have read.
pub fn settle_framing(headers: &mut HeaderMap) -> Result<(), Ambiguous> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next()
        && (codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
    {
        return Err(Ambiguous);
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let Some(first) = lengths.next() else {
        return Ok(());
    };
    let repeated = lengths.next().is_some();
    if headers
        .get_all(CONTENT_LENGTH)
        .iter()
        .any(|other| other != first)
    {
        return Err(Ambiguous);
    }
    let digits = first.as_bytes();
    let plain = digits == b"0" || (digits.len() < 19 && digits.first() != Some(&b'0'));
    if plain && !repeated && digits.iter().all(u8::is_ascii_digit) {
        return Ok(());
    }
    let length = first
        .to_str()
        .ok()
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|text| text.parse::<u64>().ok())
        .ok_or(Ambiguous)?;
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    Ok(())
}

/// Joins the cookie crumbs of HTTP/2 into the one field that HTTP/1.1 knows.
pub fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if let Ok(joined) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripped(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        strip_hop(&mut headers);
        let mut left: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();
        left.sort();
        left
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.into(), value.into())
    }

    #[test]
    fn fields_of_the_connection_stay_behind() {
        let left = stripped(&[
            ("accept", "*/*"),
            ("connection", "close, X-Private , x-other"),
            ("x-private", "1"),
            ("x-other", "2"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("te", "gzip"),
        ]);
        assert_eq!(left, [pair("accept", "*/*")]);
    }

    #[test]
    fn connection_cannot_remove_what_routes_or_frames() {
        let left = stripped(&[
            (
                "connection",
                "host, content-length, x-forwarded-for, cookie",
            ),
            ("content-length", "3"),
            ("cookie", "a=1"),
            ("host", "a.example"),
            ("x-forwarded-for", "10.0.0.1"),
        ]);
        assert_eq!(
            left,
            [
                pair("content-length", "3"),
                pair("cookie", "a=1"),
                pair("host", "a.example"),
                pair("x-forwarded-for", "10.0.0.1"),
            ]
        );
    }

    #[test]
    fn trailers_survive_in_te() {
        let left = stripped(&[("te", "gzip;q=0.5, Trailers"), ("connection", "te")]);
        assert_eq!(left, [pair("te", "trailers")]);
    }

    #[test]
    fn private_fields_cannot_be_forged_in_either_spelling() {
        let left = stripped(&[
            ("ngrnotok-cause", "x"),
            ("ngrnotok-tunnel", "1"),
            ("ngrnotok_tunnel", "1"),
            ("keep_alive", "timeout=5"),
            ("proxy_connection", "keep-alive"),
            ("transfer_encoding", "chunked"),
            ("content_length", "7"),
            ("x_own", "x"),
            ("via", "x"),
        ]);
        assert_eq!(left, [pair("via", "x"), pair("x_own", "x")]);
    }

    #[test]
    fn trailers_hold_nothing_that_belongs_into_a_head() {
        let kept = ["etag", "grpc-status", "x-sum", "x_sum"];
        let gone = [
            "connection",
            "keep-alive",
            "te",
            "upgrade",
            "forwarded",
            "x-forwarded-for",
            "x_forwarded_for",
            "x-forwarded-client-cert",
            "ngrnotok-cause",
            "ngrnotok_cause",
            "content_type",
        ];
        let mut trailers = HeaderMap::new();
        for name in kept.iter().chain(&gone).chain(&HEAD_ONLY) {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            trailers.insert(name, HeaderValue::from_static("1"));
        }
        strip_trailers(&mut trailers);
        let mut left: Vec<_> = trailers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, kept);
    }

    #[test]
    fn an_answer_without_a_body_has_no_length() {
        let kept = |status: u16| {
            let mut answer = Response::builder().status(status);
            answer = answer.header(CONTENT_LENGTH, "5");
            let mut answer = answer.body(()).unwrap();
            strip_answer(&mut answer);
            answer.headers().contains_key(CONTENT_LENGTH)
        };
        for (status, with_length) in [
            (100, false),
            (103, false),
            (204, false),
            (200, true),
            (304, true),
        ] {
            assert_eq!(kept(status), with_length, "{status}");
        }
    }

    #[test]
    fn a_body_has_one_end() {
        let settled = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(*name, HeaderValue::from_static(value));
            }
            settle_framing(&mut headers).map(|()| {
                let lengths = headers.get_all(CONTENT_LENGTH).iter();
                lengths
                    .map(|length| length.to_str().unwrap().to_owned())
                    .collect::<Vec<_>>()
            })
        };
        assert_eq!(settled(&[]), Ok(vec![]));
        assert_eq!(settled(&[("content-length", "0")]), Ok(vec!["0".into()]));
        assert_eq!(settled(&[("content-length", "057")]), Ok(vec!["57".into()]));
        let twice = [("content-length", "57"), ("content-length", "57")];
        assert_eq!(settled(&twice), Ok(vec!["57".into()]));
        assert_eq!(settled(&[("transfer-encoding", "Chunked")]), Ok(vec![]));
        for bad in [
            &[("content-length", "57"), ("content-length", "057")][..],
            &[("content-length", "5, 5")],
            &[("content-length", "+5")],
            &[("content-length", "99999999999999999999")],
            &[("transfer-encoding", "gzip, chunked")],
            &[
                ("transfer-encoding", "chunked"),
                ("transfer-encoding", "chunked"),
            ],
        ] {
            assert_eq!(settled(bad), Err(Ambiguous), "{bad:?}");
        }
    }

    #[test]
    fn cookie_crumbs_are_joined() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("a=1"));
        headers.append(COOKIE, HeaderValue::from_static("b=2"));
        join_cookies(&mut headers);
        assert_eq!(headers.get_all(COOKIE).iter().count(), 1);
        assert_eq!(headers[COOKIE], "a=1; b=2");
    }
}
