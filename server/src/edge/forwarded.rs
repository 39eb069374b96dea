//! Telling the local app who really called: `X-Forwarded-*` and `Forwarded` (RFC 7239).
//!
//! A visitor's own claims are replaced, or they could pose as anybody. Behind a proxy that the operator
//! trusts, its list is continued, and both families say the same.

use std::fmt::Write as _;
use std::net::IpAddr;

use http::header::{FORWARDED, HeaderMap, HeaderName, HeaderValue};
use ngrnotok_common::headers;
use ngrnotok_common::hostname::HostPort;

use super::source::{FOR, HOST, PORT, PROTO, Relayed, Source};
use super::visitor::Visitor;
use crate::urls::Scheme;

/// Writes the whole family into a request for `written`, the host as the visitor wrote it.
pub(super) fn stamp(
    headers: &mut HeaderMap,
    visitor: &Visitor,
    source: &Source,
    written: &HeaderValue,
    host: &HostPort<'_>,
) {
    headers::strip_forwarded(headers, visitor.trusted);
    headers.insert(PROTO, HeaderValue::from_static(source.scheme.name()));
    if let Some(relayed) = &source.relayed {
        return relay(headers, visitor, source.scheme, relayed, written);
    }
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
    headers.insert(FOR, visitor.address.clone());
    headers.insert(FORWARDED, forwarded);
    headers.insert(HOST, written);
    headers.insert(PORT, port);
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
        let forwarded = element(Some(visitor.peer), visitor.scheme, written);
        Self {
            // A clone would keep the whole head in memory that it is a part of, as long as the connection.
            written: HeaderValue::from_bytes(written.as_bytes()).expect("it was one"),
            forwarded: visible(&forwarded),
            port: port(visitor.scheme, host),
        }
    }
}

/// Continues what a trusted proxy has said, and says it in the other family, too.
fn relay(
    headers: &mut HeaderMap,
    proxy: &Visitor,
    scheme: Scheme,
    relayed: &Relayed,
    written: &HeaderValue,
) {
    let asked_for = relayed.host.as_ref().unwrap_or(written);
    if relayed.in_forwarded {
        let stations = relayed.path.iter().copied().chain([Some(proxy.peer)]);
        let list =
            stations.map(|station| station.map_or_else(|| "unknown".into(), |one| one.to_string()));
        headers.insert(FOR, visible(&list.collect::<Vec<_>>().join(", ")));
        continue_list(headers, FORWARDED, node(Some(proxy.peer)).as_bytes());
    } else {
        headers.insert(FORWARDED, elements(proxy, scheme, &relayed.path, asked_for));
        continue_list(headers, FOR, proxy.address.as_bytes());
    }
    headers.insert(HOST, asked_for.clone());
    let its_port = || {
        let host = HostPort::parse(asked_for.to_str().ok()?).ok()?;
        Some(port(scheme, &host))
    };
    if let Some(port) = relayed.port.map(HeaderValue::from).or_else(its_port) {
        headers.insert(PORT, port);
    }
}

/// The whole list of `Forwarded`. Its readers take scheme and host from the first element.
fn elements(
    proxy: &Visitor,
    scheme: Scheme,
    path: &[Option<IpAddr>],
    host: &HeaderValue,
) -> HeaderValue {
    let mut stations = path.iter().copied().chain([Some(proxy.peer)]);
    let mut list = element(stations.next().flatten(), scheme, host);
    for station in stations {
        let _ = write!(list, ", {}", node(station));
    }
    visible(&list)
}

/// `for=192.0.2.1;proto=https;host="a.test"` (RFC 7239 §4). A checked host has no character that a quoted
/// string would have to escape.
fn element(station: Option<IpAddr>, scheme: Scheme, host: &HeaderValue) -> String {
    let (scheme, host) = (scheme.name(), host.to_str().unwrap_or_default());
    format!("{};proto={scheme};host=\"{host}\"", node(station))
}

fn node(station: Option<IpAddr>) -> String {
    match station {
        Some(IpAddr::V4(address)) => format!("for={address}"),
        Some(IpAddr::V6(address)) => format!("for=\"[{address}]\""),
        None => "for=unknown".to_owned(),
    }
}

fn visible(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("made of visible ASCII")
}

fn continue_list(headers: &mut HeaderMap, name: HeaderName, item: &[u8]) {
    let told = headers.get_all(&name).iter().map(HeaderValue::as_bytes);
    let list: Vec<&[u8]> = told.filter(|list| !list.is_empty()).chain([item]).collect();
    if let Ok(list) = HeaderValue::from_bytes(&list.join(&b", "[..])) {
        headers.insert(name, list);
    }
}

/// The port that the visitor used, which behind a port mapping is not the one we listen on.
fn port(scheme: Scheme, host: &HostPort<'_>) -> HeaderValue {
    match (host.port, scheme) {
        (None | Some(443), Scheme::Https) => HeaderValue::from_static("443"),
        (None | Some(80), Scheme::Http) => HeaderValue::from_static("80"),
        (Some(port), _) => HeaderValue::from(port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What 192.0.2.7, which came over TLS, has sent for `a.test:8443`; as a proxy of ours or not.
    fn stamped(trusted: bool, claims: &[(&'static str, &'static str)]) -> HeaderMap {
        let peer = "192.0.2.7:5000".parse().unwrap();
        let visitor = Visitor::new(peer, Scheme::Https, None, trusted);
        let mut headers = HeaderMap::new();
        for (name, value) in claims {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let written = HeaderValue::from_static("a.test:8443");
        let host = HostPort::parse("a.test:8443").unwrap();
        let source = Source::of(&visitor, &headers, |address| address == visitor.peer);
        stamp(&mut headers, &visitor, &source, &written, &host);
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
                ("x-forwarded-ssl", "off"),
                ("x_forwarded_for", "127.0.0.1"),
                ("x-forwarded_host", "evil.example"),
                ("forwarded", "for=127.0.0.1"),
            ],
        );
        assert_eq!(headers.len(), 5, "{headers:?}");
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
    fn what_a_proxy_says_in_one_family_is_said_in_both() {
        let headers = stamped(
            true,
            &[
                ("x-forwarded-for", "2001:db8::1"),
                ("x-forwarded-for", "nobody, 203.0.113.9"),
                ("x-forwarded-proto", "http"),
                ("x-forwarded-prefix", "/kept"),
                ("x_forwarded_proto", "https"),
                ("forwarded", "for=127.0.0.1;host=evil.example"),
            ],
        );
        assert_eq!(headers[FOR], "2001:db8::1, nobody, 203.0.113.9, 192.0.2.7");
        assert_eq!(headers[PROTO], "http");
        assert_eq!(headers[HOST], "a.test:8443");
        assert_eq!(headers[PORT], "8443");
        assert_eq!(
            headers[FORWARDED],
            "for=\"[2001:db8::1]\";proto=http;host=\"a.test:8443\", for=unknown, for=203.0.113.9, for=192.0.2.7"
        );
        assert_eq!(headers["x-forwarded-prefix"], "/kept");
        assert!(!headers.contains_key("x_forwarded_proto"));

        let told = "for=203.0.113.9;proto=http;host=b.test, for=\"[2001:db8::1]:80\", for=_hidden";
        let headers = stamped(true, &[("forwarded", told)]);
        assert_eq!(headers[FOR], "203.0.113.9, 2001:db8::1, unknown, 192.0.2.7");
        assert_eq!(headers[FORWARDED], format!("{told}, for=192.0.2.7"));
    }

    #[test]
    fn a_proxy_that_says_nothing_is_the_visitor() {
        let headers = stamped(true, &[]);
        assert_eq!(headers, stamped(false, &[]));
    }

    #[test]
    fn the_port_is_that_of_the_host_unless_the_proxy_knows_better() {
        let behind_nginx = [
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "a.test"),
        ];
        assert_eq!(stamped(true, &behind_nginx)[PORT], "443");
        let with_port = [behind_nginx[0], ("x-forwarded-port", "8443")];
        assert_eq!(stamped(true, &with_port)[PORT], "8443");
    }

    #[test]
    fn addresses_are_written_as_rfc_7239_wants_them() {
        let node = |address: &str| node(Some(address.parse().unwrap()));
        assert_eq!(node("2001:db8::1"), "for=\"[2001:db8::1]\"");
        assert_eq!(node("192.0.2.1"), "for=192.0.2.1");
    }
}
