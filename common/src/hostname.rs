//! Host names as visitors and developers write them.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The host and port of a `Host` or `:authority` value, checked for form (RFC 9110 §7.2,
/// RFC 3986 §3.2.2) and nothing else: whether anybody serves it is the registry's question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort<'a> {
    /// Lower case, without a trailing dot; IPv6 literals without their brackets.
    pub host: Cow<'a, str>,
    /// The port as the visitor wrote it.
    pub port: Option<u16>,
}

/// The value is not one host with an optional port.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("not a host name with an optional port")]
pub struct InvalidHost;

impl<'a> HostPort<'a> {
    /// Parses `host`, `host:port`, `[v6]` and `[v6]:port`. Refuses userinfo, paths, lists, empty
    /// labels and whatever else a name cannot hold, so that what routes is what is sent on.
    pub fn parse(value: &'a str) -> Result<Self, InvalidHost> {
        let (host, port) = split_port(value)?;
        if let Some(literal) = host.strip_prefix('[') {
            let literal = literal.strip_suffix(']').ok_or(InvalidHost)?;
            let address: std::net::Ipv6Addr = literal.parse().map_err(|_| InvalidHost)?;
            return Ok(Self {
                host: Cow::Owned(address.to_string()),
                port,
            });
        }
        let host = host.strip_suffix('.').unwrap_or(host);
        if host.len() > 253 || !host.split('.').all(is_label) {
            return Err(InvalidHost);
        }
        let host = if host.bytes().any(|b| b.is_ascii_uppercase()) {
            Cow::Owned(host.to_ascii_lowercase())
        } else {
            Cow::Borrowed(host)
        };
        Ok(Self { host, port })
    }

    /// Whether this names the machine itself: `localhost`, 127.0.0.0/8 or ::1.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost"
            || self
                .host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    }
}

/// Whether a name is that of this machine, `localhost`, or below it. Such names are loopback by definition, and
/// no resolver is to be asked for them (RFC 6761 §6.3).
pub fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let last = name.rsplit('.').next().unwrap_or_default();
    last.eq_ignore_ascii_case("localhost")
}

fn split_port(value: &str) -> Result<(&str, Option<u16>), InvalidHost> {
    let after_literal = value.rfind(']').map_or(0, |end| end + 1);
    let Some(colon) = value[after_literal..].find(':') else {
        return Ok((value, None));
    };
    let (host, port) = value.split_at(after_literal + colon);
    let port = &port[1..];
    // RFC 3986 allows an empty port ("example.com:"); it means the default.
    if port.is_empty() {
        return Ok((host, None));
    }
    if !port.bytes().all(|b| b.is_ascii_digit()) {
        return Err(InvalidHost);
    }
    Ok((host, Some(port.parse().map_err(|_| InvalidHost)?)))
}

/// Letters, digits, hyphens; underscores too, because local networks use them.
fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label.len() <= 63
        && label
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// The name of a tunnel, lower case: one DNS label, `calm-otter-3f9c` in
/// `calm-otter-3f9c.tunnel.example.com`, or a whole host name of the client's own, `app.example.com`.
/// The dot tells them apart.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(Box<str>);

/// Why a word cannot be the name of a tunnel.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum InvalidName {
    /// Empty, or longer than DNS allows; or such a part of a host name.
    #[error("a name, and each part of a host name, has 1 to 63 characters, this one has {0}")]
    Length(usize),
    /// A host name under which no record of ours fits any more.
    #[error("a host name has at most {LONGEST_HOST} characters, this one has {0}")]
    HostLength(usize),
    /// Something other than `a-z`, `0-9` and `-`.
    #[error("a name is made of a-z, 0-9 and '-', not {0:?}")]
    Character(char),
    /// A hyphen in the first or last place.
    #[error("a name neither starts nor ends with '-'")]
    Hyphen,
    /// `xn--` and its kin: names that look like others.
    #[error("a name has no '--' in the third and fourth place (reserved for international names)")]
    Reserved,
    /// An IPv4 address, or what could be taken for one.
    #[error("a host name does not end with a number")]
    Address,
    /// A host name where a single label was asked for.
    #[error("a name under the server's domain is one word without dots")]
    Dots,
}

/// Longest host name: `_ngrnotok.` still fits before it.
const LONGEST_HOST: usize = 253 - "_ngrnotok.".len();

impl Name {
    /// Parses a name of either sort; upper case letters are folded, and a dot at the end of a host name
    /// is left out.
    pub fn parse(word: &str) -> Result<Self, InvalidName> {
        match word.contains('.') {
            true => Self::host(word),
            false => Self::label(word),
        }
    }

    /// Parses a name that is one label.
    pub fn label(word: &str) -> Result<Self, InvalidName> {
        if word.contains('.') {
            return Err(InvalidName::Dots);
        }
        let word = word.to_ascii_lowercase();
        check_label(&word)?;
        // Nobody has proved that such a one is his.
        if word.as_bytes().get(2..4) == Some(b"--") {
            return Err(InvalidName::Reserved);
        }
        Ok(Self(word.into_boxed_str()))
    }

    fn host(word: &str) -> Result<Self, InvalidName> {
        let word = word.strip_suffix('.').unwrap_or(word).to_ascii_lowercase();
        if word.len() > LONGEST_HOST {
            return Err(InvalidName::HostLength(word.chars().count()));
        }
        let mut last = "";
        for label in word.split('.') {
            check_label(label)?;
            last = label;
        }
        if last.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(InvalidName::Address);
        }
        match word.contains('.') {
            true => Ok(Self(word.into_boxed_str())),
            // It had a dot at its end and nowhere else.
            false => Err(InvalidName::Dots),
        }
    }

    /// Whether it is a whole host name.
    pub fn is_host(&self) -> bool {
        self.0.contains('.')
    }

    /// The label or host name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check_label(word: &str) -> Result<(), InvalidName> {
    if word.is_empty() || word.len() > 63 {
        return Err(InvalidName::Length(word.chars().count()));
    }
    if let Some(odd) = word
        .chars()
        .find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-'))
    {
        return Err(InvalidName::Character(odd));
    }
    match word.starts_with('-') || word.ends_with('-') {
        true => Err(InvalidName::Hyphen),
        false => Ok(()),
    }
}

/// Lets a map keyed by names be asked with a borrowed label or host.
impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for Name {
    type Err = InvalidName;

    fn from_str(word: &str) -> Result<Self, InvalidName> {
        Self::parse(word)
    }
}

impl TryFrom<String> for Name {
    type Error = InvalidName;

    fn try_from(word: String) -> Result<Self, InvalidName> {
        Self::parse(&word)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0.into_string()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(value: &str) -> Option<(String, Option<u16>)> {
        HostPort::parse(value)
            .ok()
            .map(|h| (h.host.into_owned(), h.port))
    }

    #[test]
    fn localhost_is_known_with_all_that_is_below_it() {
        for here in [
            "localhost",
            "LOCALHOST",
            "localhost.",
            "a.b.localhost",
            "A.LocalHost.",
        ] {
            assert!(is_localhost(here), "{here}");
        }
        for elsewhere in [
            "",
            ".",
            "localhost.com",
            "notlocalhost",
            "localhost..",
            "127.0.0.1",
        ] {
            assert!(!is_localhost(elsewhere), "{elsewhere}");
        }
    }

    #[test]
    fn hosts_are_folded_and_split() {
        let cases = [
            ("a.example.com", "a.example.com", None),
            ("A.Example.COM:8080", "a.example.com", Some(8080)),
            ("a.example.com.", "a.example.com", None),
            ("localhost:", "localhost", None),
            ("127.0.0.1:80", "127.0.0.1", Some(80)),
            ("[::1]:80", "::1", Some(80)),
            ("[0:0::1]", "::1", None),
            ("my_app.local", "my_app.local", None),
        ];
        for (value, name, port) in cases {
            assert_eq!(host(value), Some((name.into(), port)), "{value}");
        }
    }

    #[test]
    fn what_is_not_one_host_is_refused() {
        let long = "a".repeat(64);
        for value in [
            "",
            ".",
            "..",
            "a..b",
            ".a",
            "user@a",
            "a/b",
            "a?b",
            "a#b",
            "a,b",
            "a b",
            "a\tb",
            "a:b",
            "a:80:81",
            "a:70000",
            "a:+80",
            "a:-1",
            "*",
            "[::1",
            "::1",
            "[::1]x",
            "[a]",
            "a%00b",
            "ä.example",
            "a\\b",
            &long,
        ] {
            assert_eq!(host(value), None, "{value:?}");
        }
    }

    #[test]
    fn names_are_single_plain_labels() {
        for parse in [Name::parse, Name::label] {
            let name = parse("My-App2").unwrap();
            assert_eq!((name.as_str(), name.is_host()), ("my-app2", false));
            assert_eq!(parse(""), Err(InvalidName::Length(0)));
            assert_eq!(parse(&"a".repeat(64)), Err(InvalidName::Length(64)));
            assert_eq!(parse("a_b"), Err(InvalidName::Character('_')));
            assert_eq!(parse("-a"), Err(InvalidName::Hyphen));
            assert_eq!(parse("xn--mnchen-3ya"), Err(InvalidName::Reserved));
        }
        assert_eq!(Name::label("a.b"), Err(InvalidName::Dots));
    }

    #[test]
    fn names_with_dots_are_whole_host_names() {
        for (word, host) in [
            ("App.Example.com", "app.example.com"),
            ("example.com.", "example.com"),
            ("xn--mnchen-3ya.example", "xn--mnchen-3ya.example"),
            ("1.example.com", "1.example.com"),
        ] {
            let name = Name::parse(word).unwrap();
            assert_eq!((name.as_str(), name.is_host()), (host, true));
        }
        let long = format!("{}.example", "a.".repeat(118));
        for (word, why) in [
            (".", InvalidName::Length(0)),
            ("a..b", InvalidName::Length(0)),
            (".a.b", InvalidName::Length(0)),
            ("a.b..", InvalidName::Length(0)),
            ("a.", InvalidName::Dots),
            ("a_b.example", InvalidName::Character('_')),
            ("*.example", InvalidName::Character('*')),
            ("a.example:80", InvalidName::Character(':')),
            ("münchen.example", InvalidName::Character('ü')),
            ("a.-b.example", InvalidName::Hyphen),
            ("127.0.0.1", InvalidName::Address),
            ("app.example.1", InvalidName::Address),
            (&long, InvalidName::HostLength(244)),
        ] {
            assert_eq!(Name::parse(word), Err(why), "{word}");
        }
    }
}
