//! Telling the local app who really called: `X-Forwarded-*` and `Forwarded` (RFC 7239).
//!
//! A visitor's own claims are replaced, or they could pose as anybody. Only a proxy that the operator
//! trusts keeps its word: its list is continued, its other fields stand.

use std::fmt::Write as _;

use http::header::{FORWARDED, HeaderMap, HeaderName, HeaderValue};
use ngrnotok_common::hostname::HostPort;

use super::visitor::{Scheme, Visitor};

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Writes the whole family into a request for `written`, the host as the visitor wrote it.
pub(super) fn stamp(
    headers: &mut HeaderMap,
    visitor: &Visitor,
    written: &HeaderValue,
    host: &HostPort<'_>,
) {
    let proto = HeaderValue::from_static(visitor.scheme.name());
    // A connection that asks for one host after the other is rare.
    let first = visitor
        .first_stamp
        .get_or_init(|| Stamp::of(visitor, written, host));
    let Stamp {
        written,
        forwarded,
        port,
    } = match first.written == *written {
        true => first.clone(),
        false => Stamp::of(visitor, written, host),
    };
    if visitor.trusted {
        continue_list(headers, FOR, &visitor.address);
        continue_list(headers, FORWARDED, &forwarded);
        headers.entry(HOST).or_insert(written);
        headers.entry(PORT).or_insert(port);
        headers.entry(PROTO).or_insert(proto);
    } else {
        headers.insert(FOR, visitor.address.clone());
        headers.insert(FORWARDED, forwarded);
        headers.insert(HOST, written);
        headers.insert(PORT, port);
        headers.insert(PROTO, proto);
    }
}

/// What all requests of a connection for one host say.
#[derive(Debug, Clone)]
pub(super) struct Stamp {
    written: HeaderValue,
    forwarded: HeaderValue,
    port: HeaderValue,
}

impl Stamp {
    fn of(visitor: &Visitor, written: &HeaderValue, host: &HostPort<'_>) -> Self {
        let mut forwarded = String::with_capacity(visitor.forwarded.len() + written.len() + 8);
        let _ = write!(forwarded, "{};host=\"", visitor.forwarded);
        // A checked host has no character that a quoted string would have to escape.
        forwarded.push_str(written.to_str().unwrap_or_default());
        forwarded.push('"');
        Self {
            // A clone would keep the whole head in memory that it is a part of, as long as the connection.
            written: HeaderValue::from_bytes(written.as_bytes()).expect("it was one"),
            forwarded: HeaderValue::try_from(forwarded).expect("made of visible ASCII"),
            port: port(visitor, host),
        }
    }
}

fn continue_list(headers: &mut HeaderMap, name: HeaderName, item: &HeaderValue) {
    let mut list: Vec<&[u8]> = headers
        .get_all(&name)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    list.push(item.as_bytes());
    if let Ok(list) = HeaderValue::from_bytes(&list.join(&b", "[..])) {
        headers.insert(name, list);
    }
}

/// The port that the visitor used, which behind a port mapping is not the one we listen on.
fn port(visitor: &Visitor, host: &HostPort<'_>) -> HeaderValue {
    match (host.port, visitor.scheme) {
        (None | Some(443), Scheme::Https) => HeaderValue::from_static("443"),
        (None | Some(80), Scheme::Http) => HeaderValue::from_static("80"),
        (Some(port), _) => HeaderValue::from(port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamped(trusted: bool, claims: &[(&'static str, &'static str)]) -> HeaderMap {
        let visitor = Visitor::new(
            "192.0.2.7:5000".parse().unwrap(),
            Scheme::Https,
            None,
            trusted,
        );
        let mut headers = HeaderMap::new();
        for (name, value) in claims {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let written = HeaderValue::from_static("a.test:8443");
        let host = HostPort::parse("a.test:8443").unwrap();
        stamp(&mut headers, &visitor, &written, &host);
        headers
    }

    #[test]
    fn a_visitor_cannot_pose_as_another() {
        let headers = stamped(
            false,
            &[
                ("x-forwarded-for", "127.0.0.1"),
                ("x-forwarded-for", "10.0.0.1"),
                ("x-forwarded-proto", "http"),
                ("forwarded", "for=127.0.0.1"),
            ],
        );
        assert_eq!(headers.get_all(FOR).iter().count(), 1);
        assert_eq!(headers[FOR], "192.0.2.7");
        assert_eq!(headers[PROTO], "https");
        assert_eq!(headers[HOST], "a.test:8443");
        assert_eq!(headers[PORT], "8443");
        assert_eq!(
            headers[FORWARDED],
            "for=192.0.2.7;proto=https;host=\"a.test:8443\""
        );
    }

    #[test]
    fn a_trusted_proxy_keeps_its_word() {
        let headers = stamped(
            true,
            &[
                ("x-forwarded-for", "203.0.113.9"),
                ("x-forwarded-proto", "http"),
            ],
        );
        assert_eq!(headers[FOR], "203.0.113.9, 192.0.2.7");
        assert_eq!(headers[PROTO], "http");
        assert_eq!(headers[PORT], "8443");
    }

    #[test]
    fn addresses_are_written_as_rfc_7239_wants_them() {
        let visitor = |peer: &str| Visitor::new(peer.parse().unwrap(), Scheme::Http, None, false);
        assert_eq!(
            visitor("[2001:db8::1]:1").forwarded,
            "for=\"[2001:db8::1]\";proto=http"
        );
        assert_eq!(visitor("192.0.2.1:1").forwarded, "for=192.0.2.1;proto=http");
    }
}
