//! What a dev server needs to believe that its visitors are on this machine.
//!
//! Dev servers refuse hosts and origins that they do not know, and send redirects and cookies for
//! `localhost`. With `--dev` one map joins the two origins: what a visitor says of the public one is
//! said to the app of its own, and back. Only exact matches are touched, so what the app says of third
//! parties stays as it is.

use std::ops::Range;
use std::str::FromStr;

use http::Request;
use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_LOCATION, Entry, HOST, HeaderMap, HeaderName, HeaderValue,
    LINK, LOCATION, ORIGIN, REFERER, REFRESH, SET_COOKIE,
};
use ngrnotok_common::hostname::HostPort;
use thiserror::Error;

use super::Target;

/// Which `Host` the local app sees.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum HostHeader {
    /// The visitor's.
    #[default]
    Keep,
    /// The target's own, `localhost:3000`.
    Rewrite,
    /// This one.
    Value(HeaderValue),
}

/// The word is no host that an app could be told.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{0:?} is neither \"rewrite\" nor a host name with an optional port")]
pub struct InvalidHostHeader(String);

impl FromStr for HostHeader {
    type Err = InvalidHostHeader;

    fn from_str(word: &str) -> Result<Self, InvalidHostHeader> {
        if word == "rewrite" {
            return Ok(Self::Rewrite);
        }
        HostPort::parse(word)
            .ok()
            .and_then(|_| HeaderValue::from_str(word).ok())
            .map(Self::Value)
            .ok_or_else(|| InvalidHostHeader(word.to_owned()))
    }
}

const PUBLIC_ORIGIN_FIELDS: [&str; 4] = [
    "forwarded",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
];

const DESTINATION: HeaderName = HeaderName::from_static("destination");
const IF: HeaderName = HeaderName::from_static("if");

/// A field whose value is a URL, or has URLs in it.
struct UrlField {
    name: HeaderName,
    urls: Urls,
}

/// Where in a value the URLs are.
#[derive(Clone, Copy)]
enum Urls {
    /// All of it is one.
    Whole,
    /// Behind `url=`, perhaps in quotes: `Refresh: 5; url=/login`.
    AfterWord,
    /// Between `<` and `>`: `Link: </style.css>; rel=preload`.
    InBrackets,
}

const fn field(name: HeaderName, urls: Urls) -> UrlField {
    UrlField { name, urls }
}

/// Fields in which visitors name the public origin. The last two are those of WebDAV (RFC 4918 §10.3, §10.4).
static ASKED: [UrlField; 4] = [
    field(ORIGIN, Urls::Whole),
    field(REFERER, Urls::Whole),
    field(DESTINATION, Urls::Whole),
    field(IF, Urls::InBrackets),
];

/// Fields in which an app names its own origin, those first that send a visitor there.
static ANSWERED: [UrlField; 5] = [
    field(LOCATION, Urls::Whole),
    field(REFRESH, Urls::AfterWord),
    field(CONTENT_LOCATION, Urls::Whole),
    field(LINK, Urls::InBrackets),
    field(ACCESS_CONTROL_ALLOW_ORIGIN, Urls::Whole),
];

/// Those of them that lead visitors somewhere.
const LEADING: Range<usize> = 0..4;

/// How heads are changed for one local app.
#[derive(Debug)]
pub(super) struct Rewrite {
    host: HostHeader,
    dev: bool,
    own_host: HeaderValue,
    /// What visitors' URLs become: `http://localhost:3000`.
    own_origin: String,
    own: Own,
}

/// The ways in which the app may write its own origin.
#[derive(Debug)]
struct Own {
    /// Hosts with the port, the usual one first.
    authorities: Vec<String>,
    /// Hosts alone. An app that wants https sends visitors to that of its machine, without the port.
    hosts: Vec<String>,
}

/// What the answer needs to know of its request: the public origin, `https://name.example`.
#[derive(Debug)]
pub(super) struct PublicOrigin(String);

impl Rewrite {
    pub(super) fn new(target: &Target, host: HostHeader, dev: bool) -> Self {
        let (scheme, hosts, port) = match target {
            Target::Http { host, port } => ("http", spellings(host), Some(*port)),
            Target::Https { host, port } => ("https", spellings(host), Some(*port)),
            Target::Unix(_) | Target::Hello => ("http", vec!["localhost".to_owned()], None),
        };
        let authority = |host: &String| match (scheme, port) {
            ("http", Some(80)) | ("https", Some(443)) | (_, None) => host.clone(),
            (_, Some(port)) => format!("{host}:{port}"),
        };
        let authorities: Vec<String> = hosts.iter().map(authority).collect();
        Self {
            host,
            dev,
            own_host: HeaderValue::try_from(&authorities[0])
                .unwrap_or(HeaderValue::from_static("localhost")),
            own_origin: format!("{scheme}://{}", authorities[0]),
            own: Own { authorities, hosts },
        }
    }

    /// What the app calls itself, `localhost:3000`.
    pub(super) fn own_host(&self) -> &HeaderValue {
        &self.own_host
    }

    /// Whether the two origins are joined.
    pub(super) fn is_dev(&self) -> bool {
        self.dev
    }

    /// The first field of an answer that leads visitors to the app's own origin, and how that is written.
    pub(super) fn own_origin_in<'a>(
        &self,
        headers: &'a HeaderMap,
    ) -> Option<(&'static HeaderName, &'a str)> {
        ANSWERED[LEADING].iter().find_map(|field| {
            let value = headers.get(&field.name)?.to_str().ok()?;
            let mut urls = field.urls.within(value).into_iter();
            let own = urls.find_map(|place| {
                let url = &value[place];
                let length = self.own.origin_of(url)?;
                Some(&url[..length])
            });
            Some((&field.name, own?))
        })
    }

    /// Whether the app may still refuse hosts that this could have changed.
    pub(super) fn keeps_host(&self) -> bool {
        !self.dev && self.host == HostHeader::Keep
    }

    /// Changes a request whose `Host` is set already.
    pub(super) fn request<B>(&self, request: &mut Request<B>) -> Option<PublicOrigin> {
        let public = self.public_origin(request);
        let headers = request.headers_mut();
        if let Some(PublicOrigin(public)) = &public {
            let own = |url: &str| {
                let rest = after_origin(url, public)?;
                Some(format!("{}{rest}", self.own_origin))
            };
            for field in &ASKED {
                field.change(headers, own);
            }
            // They tell the public origin, and an app that believes them would believe it is there. Who
            // the visitor is, X-Forwarded-For, stays.
            for name in PUBLIC_ORIGIN_FIELDS {
                headers.remove(name);
            }
        }
        match &self.host {
            HostHeader::Value(value) => headers.insert(HOST, value.clone()),
            HostHeader::Keep if !self.dev => None,
            _ => headers.insert(HOST, self.own_host.clone()),
        };
        public
    }

    fn public_origin<B>(&self, request: &Request<B>) -> Option<PublicOrigin> {
        if !self.dev {
            return None;
        }
        let host = request.headers().get(HOST)?.to_str().ok()?;
        let scheme = request.uri().scheme_str().unwrap_or("http");
        Some(PublicOrigin(format!("{scheme}://{host}")))
    }

    /// Changes an answer back.
    pub(super) fn answer(&self, headers: &mut HeaderMap, public: Option<&PublicOrigin>) {
        let Some(PublicOrigin(public)) = public else {
            return;
        };
        let changed = |url: &str| {
            let rest = &url[self.own.origin_of(url)?..];
            Some(format!("{public}{rest}"))
        };
        for field in &ANSWERED {
            field.change(headers, changed);
        }
        if headers.contains_key(SET_COOKIE) {
            let cookies: Vec<HeaderValue> =
                headers.get_all(SET_COOKIE).iter().map(host_only).collect();
            headers.remove(SET_COOKIE);
            for cookie in cookies {
                headers.append(SET_COOKIE, cookie);
            }
        }
    }
}

impl Own {
    /// How much of a URL is this origin, in any scheme or none: `https://localhost:3000`, `//127.0.0.1:3000`.
    fn origin_of(&self, url: &str) -> Option<usize> {
        let (scheme, rest) = url.split_once("//")?;
        let host = rest.split(['/', '?', '#']).next()?;
        let is = |own: &String| own.eq_ignore_ascii_case(host);
        let is_own = match scheme {
            "" => self.authorities.iter().any(is),
            _ if scheme.eq_ignore_ascii_case("http:") => self.authorities.iter().any(is),
            _ if scheme.eq_ignore_ascii_case("https:") => {
                self.authorities.iter().chain(&self.hosts).any(is)
            }
            _ => false,
        };
        is_own.then_some(scheme.len() + 2 + host.len())
    }
}

impl UrlField {
    /// Puts something else in the place of those URLs for which `change` has it.
    fn change(&self, headers: &mut HeaderMap, change: impl Fn(&str) -> Option<String>) {
        let Entry::Occupied(mut values) = headers.entry(&self.name) else {
            return;
        };
        for value in values.iter_mut() {
            let Ok(text) = value.to_str() else {
                continue;
            };
            let mut changed = String::with_capacity(text.len());
            let mut copied = 0;
            for place in self.urls.within(text) {
                if let Some(url) = change(&text[place.clone()]) {
                    changed.push_str(&text[copied..place.start]);
                    changed.push_str(&url);
                    copied = place.end;
                }
            }
            changed.push_str(&text[copied..]);
            if changed != text
                && let Ok(changed) = HeaderValue::try_from(changed)
            {
                *value = changed;
            }
        }
    }
}

impl Urls {
    /// Where they are in a value, from first to last, without overlap.
    fn within(self, value: &str) -> Vec<Range<usize>> {
        match self {
            Self::Whole => std::iter::once(0..value.len()).collect(),
            Self::AfterWord => {
                let word = value.to_ascii_lowercase().find("url=");
                let quoted = |byte: char| byte == '"' || byte == '\'' || byte == ' ';
                let place = word.map(|word| {
                    let url = value[word + 4..].trim_matches(quoted);
                    let start = url.as_ptr().addr() - value.as_ptr().addr();
                    start..start + url.len()
                });
                place.into_iter().collect()
            }
            Self::InBrackets => {
                let mut from = 0;
                let next = || {
                    let start = from + value[from..].find('<')? + 1;
                    let end = start + value[start..].find('>')?;
                    from = end + 1;
                    Some(start..end)
                };
                std::iter::from_fn(next).collect()
            }
        }
    }
}

/// An app that listens on a loopback address may call itself by any of its names, and by what it listens on.
fn spellings(host: &str) -> Vec<String> {
    let shown = |host: &str| match host.contains(':') {
        true => format!("[{host}]"),
        false => host.to_owned(),
    };
    let mut all = vec![shown(host)];
    if matches!(host, "localhost" | "127.0.0.1" | "::1" | "0.0.0.0" | "::") {
        for other in ["localhost", "127.0.0.1", "[::1]", "0.0.0.0", "[::]"] {
            if !all.iter().any(|known| known == other) {
                all.push(other.to_owned());
            }
        }
    }
    all
}

/// What follows the origin in a URL that is of exactly this one: `http://localhost:3000` does not match in
/// `http://localhost:30001/`.
fn after_origin<'a>(url: &'a str, origin: &str) -> Option<&'a str> {
    let rest = url.strip_prefix(origin)?;
    (rest.is_empty() || rest.starts_with(['/', '?', '#'])).then_some(rest)
}

/// A cookie for `localhost` would be refused by the browser; without `Domain` it belongs to the host
/// that the visitor sees.
fn host_only(cookie: &HeaderValue) -> HeaderValue {
    let Ok(text) = cookie.to_str() else {
        return cookie.clone();
    };
    let is_own_domain = |attribute: &str| {
        let Some((name, value)) = attribute.split_once('=') else {
            return false;
        };
        let value = value.trim().trim_start_matches('.');
        name.trim().eq_ignore_ascii_case("domain")
            && (value.eq_ignore_ascii_case("localhost") || value == "127.0.0.1")
    };
    let kept: Vec<&str> = text
        .split(';')
        .enumerate()
        .filter(|(place, attribute)| *place == 0 || !is_own_domain(attribute))
        .map(|(_, attribute)| attribute)
        .collect();
    HeaderValue::try_from(kept.join(";")).unwrap_or_else(|_| cookie.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewrite(dev: bool, host: HostHeader) -> Rewrite {
        Rewrite::new(&"5173".parse().unwrap(), host, dev)
    }

    fn request(fields: &[(&'static str, &'static str)]) -> Request<()> {
        let mut request = Request::get("https://app.example/").body(()).unwrap();
        for (name, value) in fields {
            let value = HeaderValue::from_static(value);
            request.headers_mut().append(*name, value);
        }
        request
    }

    #[test]
    fn the_two_origins_are_joined_exactly() {
        let rewrite = rewrite(true, HostHeader::Keep);
        let mut asked = request(&[
            ("host", "app.example"),
            ("origin", "https://app.example"),
            ("referer", "https://app.example/page?x=1"),
            ("x-forwarded-for", "203.0.113.7"),
            ("x-forwarded-host", "app.example"),
            ("x-forwarded-proto", "https"),
            ("forwarded", "for=203.0.113.7;host=app.example;proto=https"),
        ]);
        let public = rewrite.request(&mut asked).unwrap();
        assert_eq!(asked.headers()[HOST], "localhost:5173");
        assert_eq!(asked.headers()[ORIGIN], "http://localhost:5173");
        assert_eq!(asked.headers()[REFERER], "http://localhost:5173/page?x=1");
        assert_eq!(asked.headers()["x-forwarded-for"], "203.0.113.7");
        for told in PUBLIC_ORIGIN_FIELDS {
            assert!(!asked.headers().contains_key(told), "{told}");
        }

        let mut answer = HeaderMap::new();
        answer.insert(
            LOCATION,
            HeaderValue::from_static("http://127.0.0.1:5173/login"),
        );
        answer.insert(
            ACCESS_CONTROL_ALLOW_ORIGIN,
            HeaderValue::from_static("http://localhost:5173"),
        );
        for cookie in [
            "a=1; Domain=localhost; Path=/",
            "b=domain=localhost; Secure",
        ] {
            answer.append(SET_COOKIE, HeaderValue::from_static(cookie));
        }
        rewrite.answer(&mut answer, Some(&public));
        assert_eq!(answer[LOCATION], "https://app.example/login");
        assert_eq!(answer[ACCESS_CONTROL_ALLOW_ORIGIN], "https://app.example");
        let cookies: Vec<_> = answer.get_all(SET_COOKIE).iter().collect();
        assert_eq!(cookies, ["a=1; Path=/", "b=domain=localhost; Secure"]);
    }

    #[test]
    fn what_is_said_of_others_stays() {
        let rewrite = rewrite(true, HostHeader::Keep);
        let mut asked = request(&[
            ("host", "app.example"),
            ("origin", "https://app.example.evil"),
            ("referer", "https://other.example/"),
        ]);
        let public = rewrite.request(&mut asked).unwrap();
        assert_eq!(asked.headers()[ORIGIN], "https://app.example.evil");
        assert_eq!(asked.headers()[REFERER], "https://other.example/");
        let mut answer = HeaderMap::new();
        answer.insert(
            LOCATION,
            HeaderValue::from_static("http://localhost:51730/"),
        );
        rewrite.answer(&mut answer, Some(&public));
        assert_eq!(answer[LOCATION], "http://localhost:51730/");
    }

    fn answered(name: HeaderName, value: &'static str) -> HeaderValue {
        let rewrite = rewrite(true, HostHeader::Keep);
        let mut asked = request(&[("host", "app.example")]);
        let public = rewrite.request(&mut asked);
        let mut answer = HeaderMap::from_iter([(name.clone(), HeaderValue::from_static(value))]);
        rewrite.answer(&mut answer, public.as_ref());
        answer.remove(name).unwrap()
    }

    #[test]
    fn an_app_may_write_its_origin_in_many_ways() {
        for own in [
            "http://localhost:5173",
            "https://localhost:5173",
            "https://localhost",
            "HTTP://LocalHost:5173",
            "//localhost:5173",
            "http://0.0.0.0:5173",
            "http://[::1]:5173",
            "http://[::]:5173",
        ] {
            let url: &'static str = format!("{own}/login?a#b").leak();
            let changed = answered(LOCATION, url);
            assert_eq!(changed, "https://app.example/login?a#b", "{own}");
        }
        for other in [
            "/login",
            "localhost:5173",
            "http://localhost",
            "https://localhost:517",
            "https://localhost:5173@evil.example/",
            "//localhost",
            "ws://localhost:5173/",
            "https://app.test//localhost:5173/",
            "",
        ] {
            assert_eq!(answered(LOCATION, other), other);
        }
    }

    #[test]
    fn every_field_with_urls_is_changed() {
        for (name, said, changed) in [
            (
                CONTENT_LOCATION,
                "http://localhost:5173/a",
                "https://app.example/a",
            ),
            (
                REFRESH,
                "5; url=http://localhost:5173/",
                "5; url=https://app.example/",
            ),
            (
                REFRESH,
                "0;URL='http://0.0.0.0:5173/a'",
                "0;URL='https://app.example/a'",
            ),
            (REFRESH, "5", "5"),
            (
                LINK,
                "<http://localhost:5173/a>; rel=preload, </b>, <//127.0.0.1:5173/c>",
                "<https://app.example/a>; rel=preload, </b>, <https://app.example/c>",
            ),
            (LINK, "<http://localhost:5173/a", "<http://localhost:5173/a"),
        ] {
            assert_eq!(answered(name, said), changed);
        }
        let rewrite = rewrite(true, HostHeader::Keep);
        let mut asked = request(&[
            ("host", "app.example"),
            ("destination", "https://app.example/b?c"),
            ("if", "<https://app.example/b> (<urn:uuid:1> [\"e\"])"),
        ]);
        rewrite.request(&mut asked);
        assert_eq!(asked.headers()[DESTINATION], "http://localhost:5173/b?c");
        assert_eq!(
            asked.headers()[IF],
            "<http://localhost:5173/b> (<urn:uuid:1> [\"e\"])"
        );
    }

    #[test]
    fn urls_in_brackets_do_not_overlap() {
        for public in ["a.io", "a-name-longer-than-that-of-the-app.example"] {
            let rewrite = rewrite(true, HostHeader::Keep);
            let mut asked = request(&[("host", public)]);
            let value = format!("<https://{public}/<https://{public}/b> </c> <https://{public}/d");
            let value = HeaderValue::try_from(value).unwrap();
            asked.headers_mut().insert(IF, value);
            rewrite.request(&mut asked);
            let changed =
                format!("<http://localhost:5173/<https://{public}/b> </c> <https://{public}/d");
            assert_eq!(asked.headers()[IF], changed);
        }
    }

    #[test]
    fn a_bracket_is_looked_at_once() {
        let open = "<".repeat(1000);
        assert!(Urls::InBrackets.within(&open).is_empty());
        let closed = format!("{open}>");
        let found = Urls::InBrackets.within(&closed);
        assert_eq!((found.len(), found[0].clone()), (1, 1..1000));
        assert_eq!(Urls::InBrackets.within("><a><>"), [2..3, 5..5]);
    }

    #[test]
    fn without_the_flags_nothing_changes() {
        let fields = [("host", "app.example"), ("origin", "https://app.example")];
        let mut kept = request(&fields);
        assert!(
            rewrite(false, HostHeader::Keep)
                .request(&mut kept)
                .is_none()
        );
        assert_eq!(kept.headers(), request(&fields).headers());

        let mut rewritten = request(&fields);
        rewrite(false, HostHeader::Rewrite).request(&mut rewritten);
        assert_eq!(rewritten.headers()[HOST], "localhost:5173");
        assert_eq!(rewritten.headers()[ORIGIN], "https://app.example");

        let mut named = request(&fields);
        let value = HostHeader::Value(HeaderValue::from_static("my.test"));
        rewrite(false, value).request(&mut named);
        assert_eq!(named.headers()[HOST], "my.test");
    }
}
