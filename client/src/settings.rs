//! What can be said by flag, in the environment and in the config file, in the same words. `config`
//! makes checked types of it.

mod measures;

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum, value_parser};
use http::uri::PathAndQuery;
use indexmap::IndexMap;
use ngrnotok_certs::pin::Pin;
use ngrnotok_common::hostname::{HostPort, Name};
use ngrnotok_common::secret::Secret;
use serde::{Deserialize, Deserializer};
use thiserror::Error;

use crate::local::{HostHeader, Target};
use crate::proxy::Wish;
use crate::web::Place;
pub use measures::{Size, Time};

/// Every setting that is not of one tunnel, unset unless somebody set it. The same words are flags, keys
/// of the file and, in capitals, variables of the environment; in the file `server_ca` is as good as
/// `server-ca`.
#[derive(Debug, Default, Clone, Args, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    /// The server, HOST or HOST:PORT [default: one on this machine, started for you]
    #[arg(long, value_name = "HOST[:PORT]", env = "NGRNOTOK_SERVER")]
    #[serde(deserialize_with = "word")]
    pub server: Option<ServerAddress>,

    /// Stay on this machine, whatever server is configured
    #[arg(long)]
    #[serde(skip)]
    pub local_only: bool,

    /// File with your token (or NGRNOTOK_TOKEN holds the token itself)
    #[arg(long, value_name = "FILE", env = "NGRNOTOK_TOKEN_FILE")]
    #[serde(alias = "token_file")]
    pub token_file: Option<PathBuf>,

    /// The token itself, which is never an argument.
    #[arg(skip)]
    #[serde(deserialize_with = "secret")]
    pub token: Option<Secret>,

    /// Trust a server whose certificate this authority signed (PEM)
    #[arg(
        long,
        value_name = "FILE",
        env = "NGRNOTOK_SERVER_CA",
        conflicts_with = "server_pin"
    )]
    #[serde(alias = "server_ca")]
    pub server_ca: Option<PathBuf>,

    /// Trust a server by the hash of its key, as ngrnotok-server --dev-cert prints it
    #[arg(long, value_name = "sha256:HEX", env = "NGRNOTOK_SERVER_PIN")]
    #[serde(alias = "server_pin", deserialize_with = "word")]
    pub server_pin: Option<Pin>,

    /// The proxy on the way to the server: http://, https://, socks5:// or socks5h:// [default: from
    /// NGRNOTOK_PROXY, which may hold credentials, or HTTPS_PROXY, ALL_PROXY and NO_PROXY]
    #[arg(long, value_name = "URL|none", value_parser = Wish::typed)]
    #[serde(deserialize_with = "wish")]
    pub proxy: Option<Wish>,

    /// Connections to the server: more stand losses and use more of its cores [default: 1]
    #[arg(long, value_name = "N", env = "NGRNOTOK_LINKS")]
    pub links: Option<Links>,

    /// off, error, warn, info, debug, trace, or a filter such as ngrnotok=debug [default: warn]
    #[arg(long, value_name = "LEVEL", env = "NGRNOTOK_LOG")]
    pub log: Option<String>,

    /// Lines for people or one JSON object a line [default: auto]
    #[arg(long, value_enum, env = "NGRNOTOK_OUTPUT")]
    pub output: Option<OutputWord>,

    /// Where to look at what goes through: ADDRESS:PORT, or off [default: 127.0.0.1:4040, or the next free
    /// port]
    #[arg(long, value_name = "ADDRESS|off", env = "NGRNOTOK_WEB")]
    #[serde(deserialize_with = "word")]
    pub web: Option<Place>,

    /// File with the password of that page, which an address that others can reach must have (or
    /// NGRNOTOK_WEB_PASSWORD holds it)
    #[arg(long, value_name = "FILE", env = "NGRNOTOK_WEB_PASSWORD_FILE")]
    #[serde(alias = "web_password_file")]
    pub web_password_file: Option<PathBuf>,

    /// The password itself, which is never an argument.
    #[arg(skip)]
    #[serde(alias = "web_password", deserialize_with = "secret")]
    pub web_password: Option<Secret>,

    /// Let programs that have the page's key open tunnels to Unix sockets, too
    #[arg(long)]
    #[serde(alias = "web_allow_unix")]
    pub web_allow_unix: bool,

    /// Whether to record what goes by, for people to look at [default: on]
    #[arg(long, value_enum, env = "NGRNOTOK_INSPECT")]
    pub inspect: Option<InspectWord>,

    /// Memory for what is recorded; the oldest makes room [default: 64MiB]
    #[arg(long, value_name = "SIZE", env = "NGRNOTOK_INSPECT_MEMORY")]
    #[serde(alias = "inspect_memory", deserialize_with = "word")]
    pub inspect_memory: Option<Size>,

    /// How much of each body is recorded; a request with a longer one cannot be sent again
    /// [default: 1MiB]
    #[arg(long, value_name = "SIZE", env = "NGRNOTOK_INSPECT_BODY")]
    #[serde(alias = "inspect_body", deserialize_with = "word")]
    pub inspect_body: Option<Size>,

    /// Keep what is recorded in this file, too, for the next time [default: in memory alone]
    #[arg(long, value_name = "FILE", env = "NGRNOTOK_INSPECT_STORE")]
    #[serde(alias = "inspect_store")]
    pub inspect_store: Option<PathBuf>,

    /// How long it stays in that file [default: 7d]
    #[arg(long, value_name = "TIME", env = "NGRNOTOK_INSPECT_KEEP")]
    #[serde(alias = "inspect_keep", deserialize_with = "word")]
    pub inspect_keep: Option<Time>,

    /// What `ngrnotok start` can make public, in the order of the file.
    #[arg(skip)]
    pub tunnels: IndexMap<String, TunnelSettings>,
}

/// One local app and how to deal with it: options of `ngrnotok http`, and keys of a `[tunnels.NAME]`.
#[derive(Debug, Default, Clone, Args, Deserialize)]
#[serde(
    default,
    rename_all = "kebab-case",
    deny_unknown_fields,
    expecting = "a table such as [tunnels.web]"
)]
pub struct TunnelSettings {
    /// The local app: PORT, HOST:PORT, http://…, https://… or unix:/PATH
    #[arg(value_name = "TARGET", conflicts_with_all = ["port", "hello"])]
    #[serde(deserialize_with = "word")]
    pub target: Option<Target>,

    /// Port of the local app on this machine
    #[arg(short, long, value_name = "PORT", conflicts_with = "hello", value_parser = value_parser!(u16).range(1..))]
    pub port: Option<u16>,

    /// No app needed: serve a page that shows each visitor's request
    #[arg(long)]
    pub hello: bool,

    /// The name you want, or a whole host of your own such as app.example.com
    /// [default: derived from this installation and the target, so it stays]
    #[arg(long, value_name = "NAME", env = "NGRNOTOK_NAME")]
    pub name: Option<Name>,

    /// Share the name: other clients with the same account and --pool serve it, too, in turn
    #[arg(long)]
    pub pool: bool,

    /// With --pool: ask the local app for PATH every 2 s, and leave visitors to the others while it does
    /// not answer with 2xx or 3xx [default: see whether it accepts connections]
    #[arg(long, value_name = "PATH", requires = "pool", value_parser = health_path)]
    #[serde(deserialize_with = "path")]
    pub health: Option<PathAndQuery>,

    /// Accept any certificate of an https:// target
    #[arg(long)]
    #[serde(alias = "insecure_local")]
    pub insecure_local: bool,

    /// What the local app speaks: http1, h2c (HTTP/2 in clear: gRPC), or auto: http1, and over TLS what
    /// ALPN finds
    #[arg(
        long,
        value_enum,
        value_name = "PROTOCOL",
        default_value = "auto",
        hide_possible_values = true
    )]
    #[serde(alias = "local_protocol")]
    pub local_protocol: ProtocolWord,

    /// Who shares connections to an app in HTTP/1.1: shared (all visitors), per-visitor, none (a
    /// connection for each request), or auto: all visitors, until a body or a login is on a connection
    #[arg(
        long,
        value_enum,
        value_name = "WHO",
        env = "NGRNOTOK_LOCAL_CONNECTIONS",
        default_value = "auto",
        hide_possible_values = true
    )]
    #[serde(alias = "local_connections")]
    pub local_connections: SharingWord,

    /// Host that the local app sees: "rewrite" for its own (localhost:3000), or any VALUE
    /// [default: the visitor's]
    #[arg(long, value_name = "rewrite|VALUE", conflicts_with = "dev")]
    #[serde(alias = "host_header", deserialize_with = "word")]
    pub host_header: Option<HostHeader>,

    /// For dev servers (Vite, Next.js, webpack …): let the app believe that visitors are on this
    /// machine, and map its redirects, cookies and origins back
    #[arg(long)]
    pub dev: bool,
}

/// What the local app speaks.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProtocolWord {
    /// HTTP/1.1, and over TLS what ALPN finds
    #[default]
    Auto,
    /// HTTP/1.1
    Http1,
    /// HTTP/2 with prior knowledge
    H2c,
}

/// Who shares connections to the local app.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SharingWord {
    /// All visitors, until a body or a login is on a connection
    #[default]
    Auto,
    /// All visitors
    Shared,
    /// The requests of one visitor's connection
    PerVisitor,
    /// Nobody
    None,
}

/// How to show what happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutputWord {
    /// A panel on a terminal, elsewhere lines
    Auto,
    /// Lines for people
    Plain,
    /// One JSON object a line, the first one with the URL
    Json,
}

/// Whether to record what goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InspectWord {
    /// Record it
    On,
    /// Record nothing
    Off,
}

/// How many connections to the server: 1 to 16. More gain nothing and cost the server memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "usize")]
pub struct Links(pub NonZeroUsize);

impl Links {
    const MOST: usize = 16;
}

impl TryFrom<usize> for Links {
    type Error = String;

    fn try_from(links: usize) -> Result<Self, String> {
        NonZeroUsize::new(links)
            .filter(|links| links.get() <= Self::MOST)
            .map(Self)
            .ok_or_else(|| format!("{links} is not a number from 1 to {}", Self::MOST))
    }
}

impl FromStr for Links {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let links: usize = word
            .parse()
            .map_err(|_| format!("{word:?} is not a number from 1 to {}", Self::MOST))?;
        links.try_into()
    }
}

/// Where a server is. Written without its port if that is 443.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAddress {
    /// Name or address, lower case; IPv6 without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// The word names no server.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "{0:?} is not a host name with an optional port, such as tunnel.example.com or tunnel.example.com:8443"
)]
pub struct InvalidServer(String);

impl FromStr for ServerAddress {
    type Err = InvalidServer;

    fn from_str(word: &str) -> Result<Self, InvalidServer> {
        let HostPort { host, port } =
            HostPort::parse(word).map_err(|_| InvalidServer(word.to_owned()))?;
        Ok(Self {
            host: host.into_owned(),
            port: port.unwrap_or(443),
        })
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]", self.host)?,
            false => f.write_str(&self.host)?,
        }
        match self.port {
            443 => Ok(()),
            port => write!(f, ":{port}"),
        }
    }
}

/// Reads from the file what is one word on the command line, by the same rules.
fn word<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    let word = String::deserialize(deserializer)?;
    word.parse().map(Some).map_err(serde::de::Error::custom)
}

/// What an app can be asked for: `/healthz`.
fn health_path(word: &str) -> Result<PathAndQuery, String> {
    word.parse()
        .ok()
        .filter(|path: &PathAndQuery| path.as_str().starts_with('/'))
        .ok_or_else(|| format!("{word:?} is not a path such as /healthz"))
}

fn path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathAndQuery>, D::Error> {
    let word = String::deserialize(deserializer)?;
    health_path(&word)
        .map(Some)
        .map_err(serde::de::Error::custom)
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    String::deserialize(deserializer).map(|text| Some(Secret::new(text)))
}

fn wish<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Wish>, D::Error> {
    String::deserialize(deserializer).map(|text| Some(Wish::written(text)))
}

impl Settings {
    /// These settings where they are set, the file's elsewhere.
    ///
    /// What the file says of its server, above all the token, is for that server alone: with another one
    /// named by flag or environment it is left out. Ways to know the server go together, and so do ways
    /// to say who we are: `--server-pin` replaces a `server-ca` of the file.
    #[must_use]
    pub fn or(self, mut file: Self) -> Self {
        let same_server = match (&self.server, &file.server) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => true,
        };
        if !same_server || self.token_file.is_some() || self.token.is_some() {
            (file.token_file, file.token) = (None, None);
        }
        if self.web_password_file.is_some() || self.web_password.is_some() {
            (file.web_password_file, file.web_password) = (None, None);
        }
        if !same_server || self.server_ca.is_some() || self.server_pin.is_some() {
            (file.server_ca, file.server_pin) = (None, None);
        }
        Self {
            server: self.server.or(file.server),
            local_only: self.local_only,
            token_file: self.token_file.or(file.token_file),
            token: self.token.or(file.token),
            server_ca: self.server_ca.or(file.server_ca),
            server_pin: self.server_pin.or(file.server_pin),
            proxy: self.proxy.or(file.proxy),
            links: self.links.or(file.links),
            log: self.log.or(file.log),
            output: self.output.or(file.output),
            web: self.web.or(file.web),
            web_password_file: self.web_password_file.or(file.web_password_file),
            web_password: self.web_password.or(file.web_password),
            web_allow_unix: self.web_allow_unix || file.web_allow_unix,
            inspect: self.inspect.or(file.inspect),
            inspect_memory: self.inspect_memory.or(file.inspect_memory),
            inspect_body: self.inspect_body.or(file.inspect_body),
            inspect_store: self.inspect_store.or(file.inspect_store),
            inspect_keep: self.inspect_keep.or(file.inspect_keep),
            tunnels: file.tunnels,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn flags(words: &str) -> Settings {
        let words = ["ngrnotok", "http", "--hello"]
            .into_iter()
            .chain(words.split_whitespace());
        match Cli::try_parse_from(words).unwrap().command {
            Some(Command::Http(http)) => http.settings,
            other => panic!("{other:?}"),
        }
    }

    fn file() -> Settings {
        let text = "server = 'a.test'\nserver-ca = '/ca.pem'\ntoken = 'ngrt_file'\noutput = 'json'\n\
                    log = 'info'\nproxy = 'http://file:1'\ntunnels.web.port = 3000\n";
        toml_edit::de::from_str(text).unwrap()
    }

    #[test]
    fn what_is_not_said_comes_from_the_file() {
        let merged = flags("--log debug").or(file());
        assert_eq!(merged.server.unwrap().to_string(), "a.test");
        assert_eq!(merged.token.unwrap().expose(), "ngrt_file");
        assert_eq!(merged.server_ca.unwrap().to_str(), Some("/ca.pem"));
        assert_eq!(merged.output, Some(OutputWord::Json));
        assert_eq!(merged.log.as_deref(), Some("debug"));
        assert_eq!(merged.tunnels["web"].port, Some(3000));
    }

    #[test]
    fn a_proxy_is_of_this_place_and_not_of_the_server() {
        for server in ["--server a.test", "--server b.test"] {
            let merged = flags(server).or(file());
            assert_eq!(merged.proxy, Some(Wish::written("http://file:1".into())));
            let merged = flags(&format!("{server} --proxy none")).or(file());
            assert_eq!(merged.proxy, Some(Wish::typed("none").unwrap()));
        }
    }

    #[test]
    fn another_server_never_gets_the_token_of_the_file() {
        for same in ["--server a.test", "--server A.test:443"] {
            assert!(flags(same).or(file()).token.is_some(), "{same}");
        }
        for other in ["--server b.test", "--server a.test:8443"] {
            let merged = flags(other).or(file());
            assert!(merged.token.is_none(), "{other}");
            assert!(merged.server_ca.is_none(), "{other}");
            assert_eq!(merged.output, Some(OutputWord::Json));
        }
    }

    #[test]
    fn ways_to_know_the_server_and_to_be_known_go_together() {
        let pin = format!("--server-pin sha256:{}", "0".repeat(64));
        let merged = flags(&pin).or(file());
        assert!(merged.server_pin.is_some() && merged.server_ca.is_none());
        let merged = flags("--token-file /token").or(file());
        assert!(merged.token_file.is_some() && merged.token.is_none());
        let mut environment = flags("");
        environment.token = Some(Secret::new("ngrt_environment"));
        let mut file = file();
        file.token_file = file.token.take().map(|_| "/token".into());
        let merged = environment.or(file);
        assert_eq!(merged.token.unwrap().expose(), "ngrt_environment");
        assert_eq!(merged.token_file, None);
    }

    #[test]
    fn servers_are_written_as_short_as_they_can_be() {
        for (word, shown) in [
            ("A.test", "a.test"),
            ("a.test:443", "a.test"),
            ("a.test:8443", "a.test:8443"),
            ("[::1]:8443", "[::1]:8443"),
            ("[::1]", "[::1]"),
        ] {
            assert_eq!(word.parse::<ServerAddress>().unwrap().to_string(), shown);
        }
        assert!("https://a.test".parse::<ServerAddress>().is_err());
    }
}
