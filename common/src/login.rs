//! Logins that hold for a connection, and not for a request as HTTP wants it: NTLM and Negotiate (RFC 4559).
//!
//! After such a login a server takes everything that comes on the connection for its user's.

use http::header::{AUTHORIZATION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, StatusCode};

/// The schemes that do so.
const SCHEMES: [&str; 3] = ["ntlm", "negotiate", "kerberos"];

/// Whether a request logs its connection in, or tries to.
pub fn is_in_request(fields: &HeaderMap) -> bool {
    names_scheme(fields, &AUTHORIZATION) || names_scheme(fields, &PROXY_AUTHORIZATION)
}

/// Whether an answer asks for such a login, or goes on with one.
pub fn is_in_answer(status: StatusCode, fields: &HeaderMap) -> bool {
    match status {
        StatusCode::UNAUTHORIZED => names_scheme(fields, &WWW_AUTHENTICATE),
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => names_scheme(fields, &PROXY_AUTHENTICATE),
        _ => false,
    }
}

/// Whether one of the challenges or credentials in a field has such a scheme. A field may list several
/// challenges (RFC 9110 §11.6.1); a comma within one is harmless, for what follows it is a parameter.
fn names_scheme(fields: &HeaderMap, name: &HeaderName) -> bool {
    fields
        .get_all(name)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|one| one.trim_ascii_start().split(u8::is_ascii_whitespace).next())
        .any(|first| {
            SCHEMES
                .iter()
                .any(|scheme| first.eq_ignore_ascii_case(scheme.as_bytes()))
        })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn logins_of_connections_are_told_from_those_of_requests() {
        for (credentials, expected) in [
            ("NTLM TlRMTVNTUAAB", true),
            ("negotiate YIIJvwYGKwYBBQUC", true),
            ("Kerberos x", true),
            ("Basic TlRMTQ==", false),
            ("Bearer ntlm", false),
            ("Digest username=\"ntlm\", realm=\"negotiate\"", false),
        ] {
            let value = HeaderValue::from_static(credentials);
            for name in [AUTHORIZATION, PROXY_AUTHORIZATION] {
                let fields = HeaderMap::from_iter([(name, value.clone())]);
                assert_eq!(is_in_request(&fields), expected, "{credentials}");
            }
        }
    }

    #[test]
    fn challenges_count_where_a_status_gives_them_a_meaning() {
        let fields = |values: &[&'static str]| -> HeaderMap {
            let pair = |value: &&'static str| (WWW_AUTHENTICATE, HeaderValue::from_static(value));
            values.iter().map(pair).collect()
        };
        for (values, expected) in [
            (&["Negotiate", "NTLM"][..], true),
            (&["Basic realm=\"a, b\", NTLM"], true),
            (&["Basic realm=\"a\"", "NTLM TlRMTVNTUAAC"], true),
            (&["Basic realm=\"NTLM\""], false),
            (&[], false),
        ] {
            let fields = fields(values);
            assert_eq!(
                is_in_answer(StatusCode::UNAUTHORIZED, &fields),
                expected,
                "{values:?}"
            );
            assert!(!is_in_answer(StatusCode::OK, &fields));
            assert!(!is_in_answer(
                StatusCode::PROXY_AUTHENTICATION_REQUIRED,
                &fields
            ));
        }
    }
}
