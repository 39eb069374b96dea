//! What a dev server needs to believe that its visitors are on this machine.
//!
//! Dev servers refuse hosts and origins that they do not know, and send redirects and cookies for
//! `localhost`. With `--dev` one map joins the two origins: what a visitor says of the public one is
//! said to the app of its own, and back. Only exact matches are touched, so what the app says of third
//! parties stays as it is.

use std::str::FromStr;

use http::Request;
use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION, ORIGIN,
    REFERER, SET_COOKIE,
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

/// How heads are changed for one local app.
#[derive(Debug)]
pub(super) struct Rewrite {
    host: HostHeader,
    dev: bool,
    own_host: HeaderValue,
    /// The ways in which the app may write its own origin, the usual one first.
    own_origins: Vec<String>,
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
            own_origins: authorities
                .iter()
                .map(|authority| format!("{scheme}://{authority}"))
                .collect(),
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

    /// The app's own origin, if this URL begins with it.
    pub(super) fn own_origin_in(&self, url: &HeaderValue) -> Option<&str> {
        let url = url.to_str().ok()?;
        let mut own = self.own_origins.iter().map(String::as_str);
        own.find(|own| after_origin(url, own).is_some())
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
            for name in [ORIGIN, REFERER] {
                replace(headers, &name, public, &self.own_origins[0]);
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
        for own in &self.own_origins {
            for name in [LOCATION, ACCESS_CONTROL_ALLOW_ORIGIN] {
                replace(headers, &name, own, public);
            }
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

/// An app that listens on a loopback address may call itself by any of its names.
fn spellings(host: &str) -> Vec<String> {
    let shown = |host: &str| match host.contains(':') {
        true => format!("[{host}]"),
        false => host.to_owned(),
    };
    let mut all = vec![shown(host)];
    if matches!(host, "localhost" | "127.0.0.1" | "::1") {
        for other in ["localhost", "127.0.0.1", "[::1]"] {
            if !all.iter().any(|known| known == other) {
                all.push(other.to_owned());
            }
        }
    }
    all
}

/// Replaces the origin at the start of a field, if it is exactly this one: `http://localhost:3000` does
/// not match in `http://localhost:30001/`.
fn replace(headers: &mut HeaderMap, name: &HeaderName, from: &str, to: &str) {
    let Some(value) = headers.get(name).and_then(|value| value.to_str().ok()) else {
        return;
    };
    let Some(rest) = after_origin(value, from) else {
        return;
    };
    if let Ok(value) = HeaderValue::try_from(format!("{to}{rest}")) {
        headers.insert(name.clone(), value);
    }
}

/// What follows the origin in a URL that is of exactly this one.
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
