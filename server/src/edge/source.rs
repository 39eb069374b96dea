//! Who a request comes from: one answer, on which fields, redirects and limits agree.
//!
//! For a visitor who reached us directly the connection tells all. One of our own proxies tells it in
//! `X-Forwarded-*`, or else in `Forwarded`. Never in both: most proxies set one family and pass on what
//! their visitor has written into the other.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::header::{FORWARDED, HeaderMap, HeaderName, HeaderValue};
use ngrnotok_common::hostname::HostPort;

use super::visitor::Visitor;
use crate::urls::Scheme;

pub(super) const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(super) const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub(super) const PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
pub(super) const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Who sent a request, and how.
#[derive(Debug)]
pub(super) struct Source {
    /// The visitor's own address, as far as our proxies can tell.
    pub(super) address: IpAddr,
    pub(super) scheme: Scheme,
    /// The word of a trusted proxy; `None` for a visitor who reached us directly.
    pub(super) relayed: Option<Box<Relayed>>,
}

/// What a trusted proxy says of a request.
#[derive(Debug, Default)]
pub(super) struct Relayed {
    /// The stations of the request before the proxy, the visitor first. `None` hides its address.
    pub(super) path: Vec<Option<IpAddr>>,
    /// It was told in `Forwarded`.
    pub(super) in_forwarded: bool,
    scheme: Option<Scheme>,
    /// The host that the visitor asked for, where it is not `Host`.
    pub(super) host: Option<HeaderValue>,
    pub(super) port: Option<u16>,
}

impl Source {
    /// Reads the fields of a request as they came. `trusts` knows the addresses of our own proxies.
    pub(super) fn of(
        visitor: &Visitor,
        headers: &HeaderMap,
        trusts: impl Fn(IpAddr) -> bool,
    ) -> Self {
        if !visitor.trusted {
            return Self {
                address: visitor.peer,
                scheme: visitor.scheme,
                relayed: None,
            };
        }
        let (address, relayed) = match [FOR, HOST, PORT, PROTO]
            .iter()
            .any(|name| headers.contains_key(name))
        {
            true => told_in_x_forwarded(visitor.peer, headers, trusts),
            false => told_in_forwarded(visitor.peer, headers, trusts),
        };
        Self {
            address,
            scheme: relayed.scheme.unwrap_or(visitor.scheme),
            relayed: Some(Box::new(relayed)),
        }
    }
}

fn told_in_x_forwarded(
    proxy: IpAddr,
    headers: &HeaderMap,
    trusts: impl Fn(IpAddr) -> bool,
) -> (IpAddr, Relayed) {
    let path: Vec<_> = items(headers, &FOR)
        .filter(|station| !station.trim_ascii().is_empty())
        .map(|station| text(station).and_then(address))
        .collect();
    // Proxies set these; where one appends, the visitor's own comes first.
    let first = |name| items(headers, name).find_map(text).map(str::trim);
    let relayed = Relayed {
        scheme: first(&PROTO).and_then(scheme),
        host: first(&HOST).and_then(host),
        port: first(&PORT).and_then(|port| port.parse().ok()),
        ..Relayed::default()
    };
    let (address, _) = visitor_in(&path, proxy, trusts);
    (address, Relayed { path, ..relayed })
}

fn told_in_forwarded(
    proxy: IpAddr,
    headers: &HeaderMap,
    trusts: impl Fn(IpAddr) -> bool,
) -> (IpAddr, Relayed) {
    let lists = headers.get_all(FORWARDED).iter().rev();
    let mut elements: Vec<Element<'_>> = lists
        .flat_map(|list| from_the_last(list.as_bytes()))
        .map(Element::parse)
        .collect();
    elements.reverse();
    let path: Vec<_> = elements
        .iter()
        .map(|element| element.node.and_then(address))
        .collect();
    let (address, place) = visitor_in(&path, proxy, trusts);
    let own = place.and_then(|place| elements.get(place));
    let relayed = Relayed {
        in_forwarded: !elements.is_empty(),
        scheme: own.and_then(|own| own.scheme),
        host: own.and_then(|own| own.host.and_then(host)),
        path,
        port: None,
    };
    (address, relayed)
}

/// The visitor among the stations of a request: the last one that is none of our proxies, for everything
/// before it is only what that one has claimed. Also says at which place it stands.
fn visitor_in(
    path: &[Option<IpAddr>],
    proxy: IpAddr,
    trusts: impl Fn(IpAddr) -> bool,
) -> (IpAddr, Option<usize>) {
    let (mut visitor, mut place) = (proxy, None);
    for (at, station) in path.iter().enumerate().rev() {
        let Some(station) = *station else {
            // Hidden (RFC 7239 §6.3); who reported it is as far as we see.
            place = Some(at);
            break;
        };
        (visitor, place) = (station, Some(at));
        if !trusts(station) {
            break;
        }
    }
    (visitor, place)
}

/// One element of `Forwarded` (RFC 7239 §4).
#[derive(Debug, Default)]
struct Element<'a> {
    node: Option<&'a str>,
    scheme: Option<Scheme>,
    host: Option<&'a str>,
}

impl<'a> Element<'a> {
    /// Hidden if it is no text, or if it leaves a quote open: then nobody knows where it ends.
    fn parse(element: &'a [u8]) -> Self {
        let whole = text(element).filter(|text| text.matches('"').count().is_multiple_of(2));
        let pairs = whole.into_iter().flat_map(pairs);
        let mut element = Self::default();
        for (name, value) in pairs.filter_map(|pair| pair.split_once('=')) {
            let (name, value) = (name.trim(), value.trim().trim_matches('"'));
            if name.eq_ignore_ascii_case("for") {
                element.node = Some(value);
            } else if name.eq_ignore_ascii_case("proto") {
                element.scheme = scheme(value);
            } else if name.eq_ignore_ascii_case("host") {
                element.host = Some(value);
            }
        }
        element
    }
}

/// The elements of a list, the last one first: a quote that the visitor has left open may then take in what
/// stands before it, and never what our proxy has added after it.
fn from_the_last(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut quoted = false;
    list.rsplit(move |byte| {
        quoted ^= *byte == b'"';
        *byte == b',' && !quoted
    })
}

/// The pairs of an element, which are not split inside quotes.
fn pairs(element: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    element.split(move |c| {
        quoted ^= c == '"';
        c == ';' && !quoted
    })
}

/// The items of a field's lists. Only then may they be read as text: what is none must not hide the others.
fn items<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    let lists = headers.get_all(name).iter();
    lists.flat_map(|list| list.as_bytes().split(|byte| *byte == b','))
}

fn text(item: &[u8]) -> Option<&str> {
    str::from_utf8(item).ok().filter(|text| text.is_ascii())
}

/// The address of a station, which may come with a port and, if it is IPv6, in brackets.
fn address(node: &str) -> Option<IpAddr> {
    let node = node.trim();
    let bare = || node.parse::<IpAddr>().ok();
    let with_port = || node.parse::<SocketAddr>().ok().map(|node| node.ip());
    let bracketed = || {
        let literal = node.strip_prefix('[')?.strip_suffix(']')?;
        literal.parse::<Ipv6Addr>().ok().map(IpAddr::from)
    };
    let address = bare().or_else(with_port).or_else(bracketed)?;
    Some(address.to_canonical())
}

/// Some proxies name the scheme of WebSockets.
fn scheme(word: &str) -> Option<Scheme> {
    let is = |one: &str| word.eq_ignore_ascii_case(one);
    match () {
        () if is("https") || is("wss") => Some(Scheme::Https),
        () if is("http") || is("ws") => Some(Scheme::Http),
        () => None,
    }
}

fn host(text: &str) -> Option<HeaderValue> {
    HostPort::parse(text).ok()?;
    HeaderValue::from_str(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is made of a request that 10.0.0.1, one of our proxies in 10.0.0.0/8, has sent in clear.
    fn source(fields: &[(&'static str, &'static str)]) -> Source {
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| (*name, value.as_bytes()))
            .collect();
        source_of(&fields)
    }

    /// The same of fields that need not be text.
    fn source_of(fields: &[(&'static str, &[u8])]) -> Source {
        let proxy = "10.0.0.1:5000".parse().unwrap();
        let visitor = Visitor::new(proxy, Scheme::Http, None, true);
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        let ours: ipnet::IpNet = "10.0.0.0/8".parse().unwrap();
        Source::of(&visitor, &headers, |address| ours.contains(&address))
    }

    fn address_in(fields: &[(&'static str, &'static str)]) -> String {
        source(fields).address.to_string()
    }

    #[test]
    fn the_visitor_is_the_last_station_that_is_no_proxy_of_ours() {
        for (list, visitor) in [
            ("203.0.113.9", "203.0.113.9"),
            ("127.0.0.1, 203.0.113.9", "203.0.113.9"),
            ("127.0.0.1, 203.0.113.9, 10.1.1.1", "203.0.113.9"),
            ("203.0.113.9:4711, 10.1.1.1:80", "203.0.113.9"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("::ffff:203.0.113.9", "203.0.113.9"),
            ("10.2.2.2, 10.1.1.1", "10.2.2.2"),
            ("127.0.0.1, unknown, 10.1.1.1", "10.1.1.1"),
            ("nonsense", "10.0.0.1"),
            ("", "10.0.0.1"),
        ] {
            assert_eq!(address_in(&[("x-forwarded-for", list)]), visitor, "{list}");
        }
        let twice = [
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-for", "203.0.113.9"),
        ];
        assert_eq!(address_in(&twice), "203.0.113.9");
        let forwarded = "for=1.1.1.1;proto=http, for=\"[2001:db8::1]:99\";proto=https;host=a.test, for=10.1.1.1";
        let told = source(&[("forwarded", forwarded)]);
        assert_eq!(told.address.to_string(), "2001:db8::1");
        assert_eq!(told.scheme, Scheme::Https);
        assert_eq!(told.relayed.unwrap().host.unwrap(), "a.test");
    }

    #[test]
    fn nothing_that_a_visitor_writes_hides_what_a_proxy_adds_on_the_same_line() {
        for own in [
            "for=9.9.9.9;x=\"",
            "for=9.9.9.9;x=\"\\\"",
            "for=9.9.9.9, \"",
            "\"\"\", for=9.9.9.9;host=\"",
            "",
        ] {
            for (added, visitor) in [
                ("for=203.0.113.9;proto=https", "203.0.113.9"),
                ("for=\"[2001:db8::1]:4711\";proto=https", "2001:db8::1"),
            ] {
                let list = format!("{own}, {added}");
                let told = source_of(&[("forwarded", list.as_bytes())]);
                assert_eq!(told.address.to_string(), visitor, "{list}");
                assert_eq!(told.scheme, Scheme::Https, "{list}");
            }
        }
        assert_eq!(address_in(&[("forwarded", "for=9.9.9.9;x=\"")]), "10.0.0.1");

        let list: &[u8] = b"1.1.1.1, \xff, 203.0.113.9";
        let told = source_of(&[
            ("x-forwarded-for", list),
            ("x-forwarded-proto", &b"\xff, https"[..]),
        ]);
        assert_eq!(told.address.to_string(), "203.0.113.9");
        assert_eq!(told.scheme, Scheme::Https);
        assert_eq!(told.relayed.unwrap().path.len(), 3);
    }

    #[test]
    fn one_family_is_believed_and_the_other_is_the_visitors_own() {
        let both = [
            ("forwarded", "for=127.0.0.1;proto=http;host=evil.example"),
            ("x-forwarded-for", "203.0.113.9"),
            ("x-forwarded-proto", "https"),
        ];
        let told = source(&both);
        assert_eq!(told.address.to_string(), "203.0.113.9");
        assert_eq!(told.scheme, Scheme::Https);
        assert!(told.relayed.unwrap().host.is_none());
        let scheme_alone = [both[0], both[2]];
        assert_eq!(address_in(&scheme_alone), "10.0.0.1");
    }

    #[test]
    fn a_scheme_that_is_none_of_ours_says_nothing() {
        for (word, scheme) in [
            ("https", Scheme::Https),
            ("HTTPS", Scheme::Https),
            ("wss", Scheme::Https),
            ("https, http", Scheme::Https),
            ("http", Scheme::Http),
            ("gopher", Scheme::Http),
        ] {
            assert_eq!(
                source(&[("x-forwarded-proto", word)]).scheme,
                scheme,
                "{word}"
            );
        }
    }

    #[test]
    fn a_visitor_who_reached_us_directly_is_not_asked() {
        let peer = "203.0.113.9:5000".parse().unwrap();
        let visitor = Visitor::new(peer, Scheme::Http, None, false);
        let mut headers = HeaderMap::new();
        headers.insert(FOR, HeaderValue::from_static("127.0.0.1"));
        headers.insert(PROTO, HeaderValue::from_static("https"));
        let source = Source::of(&visitor, &headers, |_| true);
        assert_eq!(source.address, visitor.peer);
        assert_eq!(source.scheme, Scheme::Http);
        assert!(source.relayed.is_none());
    }
}
