#![no_main]
//! The rules of a proxy hop on arbitrary fields, against a second telling of the same rules.

mod script;

use http::header::{CONNECTION, COOKIE, HeaderMap, HeaderName, HeaderValue, TE};
use libfuzzer_sys::fuzz_target;
use ngrnotok_common::headers::{join_cookies, strip_hop};
use script::Script;

const NAMES: [&str; 29] = [
    "accept",
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "content_length",
    "cookie",
    "forwarded",
    "host",
    "keep-alive",
    "keep_alive",
    "ngrnotok-",
    "ngrnotok-cause",
    "ngrnotok-tunnel",
    "ngrnotok_tunnel",
    "ngrnotokx",
    "proxy-authorization",
    "proxy-connection",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "transfer_encoding",
    "upgrade",
    "via",
    "x-forwarded-for",
    "x_forwarded-for",
    "x-forwarded-port",
    "x-other",
];

/// In either spelling.
const HOP: [&str; 5] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
];

const PROTECTED: [&str; 6] = [
    "authorization",
    "content-length",
    "content-type",
    "cookie",
    "forwarded",
    "host",
];

fuzz_target!(|input: &[u8]| {
    let mut script = Script(input);
    let before = fields(&mut script);
    stripped(&before);
    joined(&before);
});

fn fields(script: &mut Script<'_>) -> HeaderMap {
    let mut fields = HeaderMap::new();
    while !script.is_over() {
        let choice = usize::from(script.byte());
        let name = match NAMES.get(choice) {
            Some(name) => HeaderName::from_static(name),
            None => match HeaderName::from_bytes(script.bytes(40)) {
                Ok(name) => name,
                Err(_) => continue,
            },
        };
        // Values that name fields are what the rules are about.
        let value = match script.byte() {
            word @ 0..64 => {
                let (first, second) = (
                    NAMES[usize::from(word) % NAMES.len()],
                    NAMES[script.below(NAMES.len())],
                );
                let between = [", ", ",", " , ", ";"][usize::from(word) / 16];
                HeaderValue::try_from(format!("{first}{between}{second}"))
            }
            64..80 => HeaderValue::try_from("gzip;q=0.5, Trailers ;x"),
            _ => HeaderValue::from_bytes(script.bytes(60)),
        };
        if let Ok(value) = value {
            fields.append(name, value);
        }
    }
    fields
}

fn values<'a>(fields: &'a HeaderMap, name: &HeaderName) -> Vec<&'a HeaderValue> {
    fields.get_all(name).iter().collect()
}

fn is_listed(fields: &HeaderMap, name: &HeaderName) -> bool {
    let mut lists = fields.get_all(CONNECTION).iter();
    lists.any(|list| {
        let list = list.to_str().unwrap_or_default();
        list.split(',')
            .any(|option| option.trim().eq_ignore_ascii_case(name.as_str()))
    })
}

fn goes(name: &HeaderName) -> bool {
    let folded = name.as_str().replace('_', "-");
    let hides_a_length = name.as_str() == "content_length";
    HOP.contains(&&*folded) || folded.starts_with("ngrnotok-") || hides_a_length
}

fn stripped(before: &HeaderMap) {
    let mut after = before.clone();
    strip_hop(&mut after);
    for name in after.keys() {
        assert!(before.contains_key(name), "{name} has come from nowhere");
        assert!(!goes(name), "{name} is left");
    }
    for name in before.keys() {
        let text = name.as_str();
        let protected = PROTECTED.contains(&text) || text.starts_with("x-forwarded-");
        if name == TE {
            let left = values(&after, name);
            assert!(left.is_empty() || left == ["trailers"]);
        } else if !goes(name) && (protected || !is_listed(before, name)) {
            assert_eq!(values(before, name), values(&after, name), "{name}");
        } else {
            assert!(!after.contains_key(name), "{name} is left");
        }
    }
    let mut again = after.clone();
    strip_hop(&mut again);
    assert_eq!(again, after);
}

fn joined(before: &HeaderMap) {
    let mut after = before.clone();
    join_cookies(&mut after);
    let crumbs: Vec<&[u8]> = before
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    let left = values(&after, &COOKIE);
    match crumbs.len() {
        0 => assert!(left.is_empty()),
        _ => {
            assert_eq!(left.len(), 1);
            assert_eq!(left[0].as_bytes(), crumbs.join(&b"; "[..]));
        }
    }
    for name in before.keys().filter(|name| *name != COOKIE) {
        assert_eq!(values(before, name), values(&after, name));
    }
    assert_eq!(before.keys_len(), after.keys_len());
}
