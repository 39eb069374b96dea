//! The proxy on the way to the server, if there is one: what the user says, or the environment.

use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt::{self, Write as _};

use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use ngrnotok_common::hostname::{HostPort, is_localhost};
use ngrnotok_common::secret::Secret;
use thiserror::Error;

/// Where programs look for a proxy to https servers, the first one that is there.
const VARIABLES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];

/// Where they look for the hosts that are reached without one.
const EXCEPTIONS: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// Where we look before, and where credentials can stand.
pub(crate) const VARIABLE: &str = "NGRNOTOK_PROXY";

const ARGUMENT: &str = "--proxy";

/// The word for no proxy at all.
const NONE: &str = "none";

/// A proxy. It prints without its credentials.
#[derive(Debug, Clone)]
pub struct Proxy {
    pub(crate) kind: Kind,
    pub(crate) host: String,
    pub(crate) port: u16,
    given_by: &'static str,
    /// For its credentials, which its own `Debug` leaves out, too.
    parsed: Intercept,
}

/// What a proxy speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// HTTP CONNECT (RFC 9110 §9.3.6).
    Http,
    /// The same inside TLS.
    Https,
    /// SOCKS5 (RFC 1928); the server's name is resolved here.
    Socks5,
    /// SOCKS5; the proxy resolves it.
    Socks5h,
}

/// What is wrong with the proxy that was given. The texts never repeat it: it may hold a password.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidProxy {
    /// Not a URL.
    #[error(
        "{0} is not the URL of a proxy, such as http://proxy.example.com:3128; \
         to do without one use --proxy none"
    )]
    NotAUrl(&'static str),
    /// Another kind.
    #[error(
        "{0} names a proxy of an unknown kind; there are http://, https://, socks5:// and \
         socks5h:// (the proxy resolves names). To do without one use --proxy none"
    )]
    Kind(&'static str),
    /// Its user or password ends its host.
    #[error(
        "{0} has a /, ? or # in its user or password, where a URL ends; \
         write them as %2F, %3F and %23 there"
    )]
    Unescaped(&'static str),
    /// SOCKS5 has one byte for each length (RFC 1929).
    #[error("{0} has credentials that SOCKS5 cannot carry: user and password have 1 to 255 bytes")]
    Credentials(&'static str),
    /// Every user of the machine can read arguments.
    #[error(
        "{ARGUMENT} must not hold credentials, every user of this machine could read them; \
         put the URL into the environment variable {VARIABLE} instead"
    )]
    Secret,
}

/// What somebody says of the proxy: its URL, or that there shall be none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    word: Secret,
    /// Where it stands, for people.
    said_in: &'static str,
}

impl Wish {
    /// An argument. It is checked later, for a complaint here would repeat the word.
    pub fn typed(word: &str) -> Result<Self, Infallible> {
        Ok(Self {
            word: Secret::new(word),
            said_in: ARGUMENT,
        })
    }

    /// In the config file.
    pub fn written(word: String) -> Self {
        Self {
            word: Secret::new(word),
            said_in: "proxy in the config file",
        }
    }

    /// In a variable of ours.
    pub fn in_environment(word: Secret) -> Self {
        Self {
            word,
            said_in: VARIABLE,
        }
    }

    /// The wish; `None` for no proxy at all.
    pub fn check(&self) -> Result<Option<Proxy>, InvalidProxy> {
        if self.word.expose() == NONE {
            return Ok(None);
        }
        let proxy = Proxy::parse(&self.word, self.said_in)?;
        if self.said_in == ARGUMENT && proxy.has_credentials() {
            return Err(InvalidProxy::Secret);
        }
        Ok(Some(proxy))
    }

    /// Whether it is a secret.
    pub fn may_hold_credentials(&self) -> bool {
        self.word.expose().contains('@')
    }
}

/// The proxy for a server: as wished, else what the variables say that all programs know. `None`: none.
/// A server on this machine is always reached directly.
///
/// `env` reads a variable.
pub fn choose(
    wish: Option<&Wish>,
    host: &str,
    port: u16,
    env: impl Fn(&str) -> Option<Secret>,
) -> Result<Option<Proxy>, InvalidProxy> {
    if let Some(wish) = wish {
        let proxy = wish.check()?;
        return Ok(proxy.filter(|_| !is_here(host)));
    }
    let set = |name: &'static str| {
        let value = env(name).filter(|value| !value.expose().is_empty())?;
        Some((value, name))
    };
    let exceptions = || EXCEPTIONS.into_iter().find_map(set);
    if is_here(host) || exceptions().is_some_and(|(list, _)| is_in(&list, host, port)) {
        return Ok(None);
    }
    let found = VARIABLES.into_iter().find_map(set);
    found
        .map(|(url, variable)| Proxy::parse(&url, variable))
        .transpose()
}

fn is_here(host: &str) -> bool {
    let named = HostPort {
        host: host.into(),
        port: None,
    };
    named.is_loopback() || is_localhost(host)
}

/// Whether a NO_PROXY list has the server. The matcher knows names with all that is below them, addresses
/// and networks; what it takes in another way than other programs is put into its words before.
fn is_in(list: &Secret, host: &str, port: u16) -> bool {
    let entries = list.expose().split([',', ' ']).filter_map(|entry| {
        let (name, of_port) = exception(entry);
        of_port.is_none_or(|of| of == port).then_some(name)
    });
    let entries: Vec<&str> = entries.collect();
    let host = match host.contains(':') {
        true => format!("https://[{host}]"),
        false => format!("https://{host}"),
    };
    let matcher = Matcher::builder().all("http://any").no(entries.join(","));
    let asked = |host: Uri| matcher.build().intercept(&host).is_none();
    // It takes * for every name, and not for addresses.
    entries.contains(&"*") || host.parse().is_ok_and(asked)
}

/// One entry of a NO_PROXY list: a name, an address or a network, for all ports or one. `[::1]:443` is read as
/// Go does it; curl knows no ports there.
fn exception(entry: &str) -> (&str, Option<u16>) {
    let (host, port) = match entry
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        Some((address, "")) => (address, None),
        Some((address, port)) => (address, port.strip_prefix(':')),
        None => match entry.split_once(':') {
            // More than one colon is an address.
            Some((host, port)) if !port.contains(':') => (host, Some(port)),
            _ => (entry, None),
        },
    };
    let under = host.strip_prefix('*').filter(|rest| rest.starts_with('.'));
    match port.map(str::parse) {
        // What is no port makes it no exception for any server.
        Some(Err(_)) => ("", None),
        Some(Ok(port)) => (under.unwrap_or(host), Some(port)),
        None => (under.unwrap_or(host), None),
    }
}

/// A URL whose user and password have no characters that the parser would stop at. The last `@` ends them, as
/// in curl and Go.
fn escaped<'a>(url: &'a str, given_by: &'static str) -> Result<Cow<'a, str>, InvalidProxy> {
    let start = url.find("://").map_or(0, |at| at + 3);
    let (scheme, rest) = url.split_at(start);
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if path.contains('@') {
        return Err(InvalidProxy::Unescaped(given_by));
    }
    let Some((userinfo, host)) = authority.rsplit_once('@') else {
        return Ok(url.into());
    };
    let mut escaped = scheme.to_owned();
    for byte in userinfo.bytes() {
        // RFC 3986 §3.2.1.
        match byte {
            _ if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:%".contains(&byte) => {
                escaped.push(byte.into());
            }
            _ => write!(escaped, "%{byte:02X}").expect("a String takes everything"),
        }
    }
    Ok(format!("{escaped}@{host}{path}").into())
}

impl Proxy {
    /// Parses `http://`, `https://`, `socks5://` or `socks5h://`, with `USER:PASSWORD@` before the host
    /// if need be (what would end the URL, `/`, `?`, `#` and `%`, percent-encoded). Without a scheme it is `http://`; without a port 80, 443 or 1080.
    /// `given_by` tells people where it stands.
    pub fn parse(url: &Secret, given_by: &'static str) -> Result<Self, InvalidProxy> {
        let anywhere = Uri::from_static("https://any");
        let known = |scheme: &str| matches!(scheme, "http" | "https" | "socks5" | "socks5h");
        match url.expose().split_once("://") {
            Some((scheme, _)) if !known(scheme) => return Err(InvalidProxy::Kind(given_by)),
            _ => {}
        }
        let escaped = escaped(url.expose(), given_by)?;
        let parsed = Matcher::builder().all(&*escaped).build();
        let parsed = parsed.intercept(&anywhere);
        let parsed = parsed.ok_or(InvalidProxy::NotAUrl(given_by))?;
        let (kind, usual) = match parsed.uri().scheme_str() {
            Some("https") => (Kind::Https, 443),
            Some("socks5") => (Kind::Socks5, 1080),
            Some("socks5h") => (Kind::Socks5h, 1080),
            _ => (Kind::Http, 80),
        };
        let fits = |word: &str| (1..=255).contains(&word.len());
        if parsed
            .raw_auth()
            .is_some_and(|(user, password)| !fits(user) || !fits(password))
        {
            return Err(InvalidProxy::Credentials(given_by));
        }
        let authority = parsed.uri().authority().map_or("", |all| all.as_str());
        let host = parsed.uri().host().unwrap_or_default();
        // A number that is no port would pass for none at all.
        let port = match authority.strip_prefix(host).unwrap_or_default() {
            "" | ":" => Some(usual),
            port => port[1..].parse().ok().filter(|port| *port != 0),
        };
        let (Some(port), false) = (port, host.is_empty()) else {
            return Err(InvalidProxy::NotAUrl(given_by));
        };
        Ok(Self {
            kind,
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
            given_by,
            parsed,
        })
    }

    /// The value of `Proxy-Authorization`.
    pub(crate) fn basic_credentials(&self) -> Option<&HeaderValue> {
        self.parsed.basic_auth()
    }

    /// User and password for SOCKS5.
    pub(crate) fn credentials(&self) -> Option<(&str, &str)> {
        self.parsed.raw_auth()
    }

    pub(crate) fn has_credentials(&self) -> bool {
        self.basic_credentials().is_some() || self.credentials().is_some()
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.parsed.uri().scheme_str().unwrap_or("http");
        let (open, close) = match self.host.contains(':') {
            true => ("[", "]"),
            false => ("", ""),
        };
        let Self {
            host,
            port,
            given_by,
            ..
        } = self;
        write!(f, "{scheme}://{open}{host}{close}:{port} ({given_by})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is chosen for a server in an environment.
    fn chosen(wish: Option<&Wish>, host: &str, env: &[(&str, &str)]) -> String {
        let read = |name: &str| {
            let found = env.iter().find(|(known, _)| *known == name)?;
            Some(Secret::new(found.1))
        };
        match choose(wish, host, 443, read) {
            Ok(Some(proxy)) => proxy.to_string(),
            Ok(None) => "none".into(),
            Err(error) => error.to_string(),
        }
    }

    fn typed(word: &str) -> Wish {
        Wish::typed(word).unwrap()
    }

    const HOST: &str = "tunnel.example.com";

    #[test]
    fn the_nearest_wish_counts() {
        let env = [
            ("HTTPS_PROXY", "http://theirs:3128"),
            ("all_proxy", "http://last"),
        ];
        for (wish, shown) in [
            (typed("https://us"), "https://us:443 (--proxy)"),
            (
                Wish::in_environment(Secret::new("socks5h://us")),
                "socks5h://us:1080 (NGRNOTOK_PROXY)",
            ),
            (
                Wish::written("us:8080".into()),
                "http://us:8080 (proxy in the config file)",
            ),
            (typed("none"), "none"),
            (Wish::in_environment(Secret::new("none")), "none"),
        ] {
            assert_eq!(chosen(Some(&wish), HOST, &env), shown);
        }
        assert_eq!(chosen(None, HOST, &env), "http://theirs:3128 (HTTPS_PROXY)");
        assert_eq!(chosen(None, HOST, &env[1..]), "http://last:80 (all_proxy)");
        assert_eq!(chosen(None, HOST, &[]), "none");
        // For https servers this variable says nothing.
        assert_eq!(chosen(None, HOST, &[("HTTP_PROXY", "http://x")]), "none");
        let empty = [("HTTPS_PROXY", ""), env[1]];
        assert_eq!(chosen(None, HOST, &empty), "http://last:80 (all_proxy)");
    }

    #[test]
    fn this_machine_is_reached_directly() {
        let everywhere = [("ALL_PROXY", "http://p"), ("HTTPS_PROXY", "nonsense://p")];
        for host in ["localhost", "a.localhost", "127.0.0.1", "127.8.8.8", "::1"] {
            assert_eq!(chosen(None, host, &everywhere), "none", "{host}");
            assert_eq!(
                chosen(Some(&typed("http://p")), host, &[]),
                "none",
                "{host}"
            );
        }
        assert_ne!(chosen(Some(&typed("http://p")), "10.0.0.1", &[]), "none");
    }

    #[test]
    fn exceptions_are_names_with_all_below_them_addresses_and_networks() {
        let goes = |list: &str, host: &str| {
            let env = [("HTTPS_PROXY", "http://p"), ("no_proxy", list)];
            chosen(None, host, &env) == "none"
        };
        for (list, host) in [
            ("example.com", "example.com"),
            ("example.com", HOST),
            (".example.com", HOST),
            ("*.example.com", HOST),
            ("EXAMPLE.com", HOST),
            ("other.test, example.com", HOST),
            ("other.test example.com", HOST),
            ("*", HOST),
            ("*", "10.1.2.3"),
            ("10.0.0.0/8", "10.1.2.3"),
            ("10.1.2.3", "10.1.2.3"),
            ("2001:db8::/32", "2001:db8::7"),
            ("2001:db8::7", "2001:db8::7"),
            ("[2001:db8::7]", "2001:db8::7"),
            ("[2001:db8::7]:443", "2001:db8::7"),
            ("10.1.2.3:443", "10.1.2.3"),
            ("other.test:80,example.com:443", HOST),
            ("*.example.com:443", HOST),
        ] {
            assert!(goes(list, host), "{host} is in {list:?}");
        }
        for (list, host) in [
            ("", HOST),
            ("ample.com", HOST),
            ("tunnel", HOST),
            ("com.example", HOST),
            ("10.0.0.0/8", "11.1.2.3"),
            ("10.1.2.3", HOST),
            ("example.com:8443", HOST),
            ("example.com:https", HOST),
            ("10.1.2.3:80", "10.1.2.3"),
            ("[2001:db8::7]:80", "2001:db8::7"),
            ("[2001:db8::7", "2001:db8::7"),
        ] {
            assert!(!goes(list, host), "{host} is not in {list:?}");
        }
        // What was said to us alone has no exceptions.
        let env = [("NO_PROXY", "*")];
        assert_ne!(chosen(Some(&typed("http://p")), HOST, &env), "none");
    }

    #[test]
    fn what_cannot_be_used_is_an_error_and_never_a_direct_way() {
        for nonsense in [
            "http://",
            "http://:80",
            "http://a:b:c",
            "a b",
            "http://p:99999",
            "http://p:0",
            "socks5://u:p@h:1x",
        ] {
            let told = chosen(None, HOST, &[("HTTPS_PROXY", nonsense)]);
            assert!(
                told.starts_with("HTTPS_PROXY is not the URL"),
                "{nonsense}: {told}"
            );
        }
        for kind in ["socks4://p", "ftp://p", "quic://p"] {
            let told = chosen(None, HOST, &[("ALL_PROXY", kind)]);
            assert!(told.contains("unknown kind"), "{kind}: {told}");
        }
        let long = format!("socks5://{}:x@p", "u".repeat(256));
        for carried in [long.as_str(), "socks5://user@p", "socks5h://:x@p"] {
            let told = chosen(None, HOST, &[("ALL_PROXY", carried)]);
            assert!(told.contains("1 to 255 bytes"), "{carried}: {told}");
        }
        assert_eq!(
            chosen(None, HOST, &[("ALL_PROXY", "p:3128")]),
            "http://p:3128 (ALL_PROXY)"
        );
        let v6 = [("ALL_PROXY", "socks5://[2001:db8::1]")];
        assert_eq!(
            chosen(None, HOST, &v6),
            "socks5://[2001:db8::1]:1080 (ALL_PROXY)"
        );
    }

    #[test]
    fn credentials_are_carried_and_never_shown() {
        let url = Secret::new("http://ann:s%3Acret@p:1");
        let http = Proxy::parse(&url, "HTTPS_PROXY").unwrap();
        assert_eq!(http.basic_credentials().unwrap(), "Basic YW5uOnM6Y3JldA==");
        let url = Secret::new("socks5h://ann:s%3Acret@p:1");
        let socks = Proxy::parse(&url, "HTTPS_PROXY").unwrap();
        assert_eq!(socks.credentials(), Some(("ann", "s:cret")));
        for proxy in [http, socks] {
            let shown = format!("{proxy} {proxy:?} {proxy:#?}");
            for secret in ["ann", "cret", "YW5u"] {
                assert!(!shown.contains(secret), "{shown}");
            }
        }
        for wrong in [
            "http://ann:s%3Acret@",
            "socks4://ann:s%3Acret@p",
            "http://ann:s%3Acret@p:x",
        ] {
            let told = chosen(None, HOST, &[("HTTPS_PROXY", wrong)]);
            assert!(
                told.contains("HTTPS_PROXY") && !told.contains("cret"),
                "{told}"
            );
        }
    }

    #[test]
    fn a_password_may_have_any_characters_but_those_that_end_a_url() {
        for (word, user, password) in [
            ("ann:p@ss@p:1", "ann", "p@ss"),
            ("ann@corp.example:s3cret@p:1", "ann@corp.example", "s3cret"),
            (r#"ann:a b"<>^`{|}\[]ü@p:1"#, "ann", r#"a b"<>^`{|}\[]ü"#),
            ("ann:a:b%40c@p:1", "ann", "a:b@c"),
        ] {
            let url = Secret::new(format!("socks5://{word}"));
            let proxy = Proxy::parse(&url, "ALL_PROXY").unwrap();
            assert_eq!(proxy.credentials(), Some((user, password)), "{word}");
            assert_eq!(proxy.to_string(), "socks5://p:1 (ALL_PROXY)");
        }
        let http = Proxy::parse(&Secret::new("http://ann:p@ss@p:1"), "HTTPS_PROXY").unwrap();
        assert_eq!(http.basic_credentials().unwrap(), "Basic YW5uOnBAc3M=");
        // Without the password's end the host would be `ann`, and its port a part of the password.
        for wrong in ["http://ann:1#s@p:1", "ann:1/s@p:1", "socks5h://ann:1?s@p:1"] {
            let told = chosen(None, HOST, &[("HTTPS_PROXY", wrong)]);
            assert!(told.starts_with("HTTPS_PROXY has a /, ? or #"), "{told}");
        }
    }

    #[test]
    fn credentials_are_no_argument() {
        for url in ["http://ann:secret@p", "http://token@p", "socks5h://a:b@p"] {
            let told = chosen(Some(&typed(url)), HOST, &[]);
            assert!(told.contains("NGRNOTOK_PROXY"), "{told}");
            assert!(!told.contains("secret"), "{told}");
            let written = Wish::written(url.into());
            assert!(written.may_hold_credentials());
            assert!(chosen(Some(&written), HOST, &[]).contains("(proxy in the config file)"));
            assert!(!format!("{written:?}").contains("secret"));
        }
    }
}
