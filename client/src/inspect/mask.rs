//! What is not shown unless somebody asks for it.

use http::HeaderValue;
use http::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderName, PROXY_AUTHORIZATION, SET_COOKIE};

/// The fields whose values are secrets.
pub const SECRET: [HeaderName; 4] = [AUTHORIZATION, COOKIE, SET_COOKIE, PROXY_AUTHORIZATION];

/// What stands in the place of a secret.
pub const MASK: HeaderValue = HeaderValue::from_static("********");

/// Puts [`MASK`] in the place of each secret. How many values a field has stays to be seen.
pub fn mask(fields: &mut HeaderMap) {
    for name in &SECRET {
        if let http::header::Entry::Occupied(mut field) = fields.entry(name) {
            for value in field.iter_mut() {
                *value = MASK;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_and_nothing_else() {
        let mut fields = HeaderMap::new();
        for (name, value) in [
            ("authorization", "Bearer secret"),
            ("set-cookie", "a=secret"),
            ("set-cookie", "b=secret"),
            ("cookie", "a=secret"),
            ("accept", "text/html"),
        ] {
            let value = HeaderValue::from_static(value);
            fields.append(HeaderName::from_static(name), value);
        }
        mask(&mut fields);
        assert!(
            fields
                .values()
                .all(|value| value != "secret" && *value != "a=secret")
        );
        assert_eq!(fields.get_all(SET_COOKIE).iter().count(), 2);
        assert_eq!(fields[AUTHORIZATION], MASK);
        assert_eq!(fields["accept"], "text/html");
        assert_eq!(fields.len(), 5);
    }
}
