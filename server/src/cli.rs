//! The command line of `ngrnotok-server`, as typed. `config` makes checked types of it.

mod domain;
mod name;
mod token;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::BoolishValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;
use ngrnotok_common::hostname::{InvalidName, Name};
use ngrnotok_common::manual::{Completions, Man};
use serde::{Deserialize, Deserializer};

pub use self::domain::{DomainCommand, Host};
pub use self::name::NameCommand;
pub use self::token::{CreateToken, KindWord, TokenCommand};
use crate::urls::Scheme;

/// The public end of ngrnotok: visitors come in over HTTPS, tunnel clients carry their requests away.
#[derive(Debug, Parser)]
#[command(
    name = "ngrnotok-server",
    version,
    after_help = "\
Every option can also stand in the config file (same words, TOML) or in the environment\n\
(NGRNOTOK_SERVER_…). A flag wins over the environment, that over the file.\n\n\
Try it on this machine:\n  \
ngrnotok-server --domain tunnel.test --https 127.0.0.1:8443 --dev-cert\n\n\
Exit codes: 0 done, 1 failure, 2 wrong usage or configuration."
)]
pub struct Cli {
    /// TOML file with any of the options below
    #[arg(
        long,
        value_name = "FILE",
        env = "NGRNOTOK_SERVER_CONFIG",
        global = true
    )]
    pub config: Option<PathBuf>,

    /// What to listen on and how.
    #[command(flatten)]
    pub settings: Settings,

    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do instead of serving.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Tokens with which tunnel clients log in
    #[command(subcommand)]
    Token(TokenCommand),
    /// Names that are kept for accounts
    #[command(subcommand)]
    Name(NameCommand),
    /// Hosts outside the server's domain, for accounts that prove to own them
    #[command(subcommand)]
    Domain(DomainCommand),
    /// Look at the configuration without starting
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print a script that completes the words of ngrnotok-server in your shell
    Completions(Completions),
    /// Print the manual page, or write those of all commands into a folder
    Man(Man),
}

/// Look at the configuration without starting.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check flags, environment and file together; exit code 2 and the reason if something is wrong
    #[command(after_help = "\
Flags stand where they stand for serving:\n  \
ngrnotok-server --domain tunnel.example.com --dev-cert config check")]
    Check,
}

/// Every setting, unset unless somebody set it. The same words are flags, keys of the file and, in
/// capitals, variables of the environment.
#[derive(Debug, Default, Clone, Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    /// Domain whose single labels become tunnels: NAME.tunnel.example.com
    #[arg(long, value_name = "DOMAIN", env = "NGRNOTOK_SERVER_DOMAIN")]
    pub domain: Option<String>,

    /// Where this server is, in a word that clients show to their users, such as fra1 [default: none]
    #[arg(long, value_name = "WORD", env = "NGRNOTOK_SERVER_REGION")]
    pub region: Option<Region>,

    /// Address for visitors over TLS and, by ALPN, for tunnel clients [default: 0.0.0.0:443]
    #[arg(
        long,
        value_name = "IP:PORT",
        env = "NGRNOTOK_SERVER_HTTPS",
        value_delimiter = ','
    )]
    pub https: Option<Vec<SocketAddr>>,

    /// Address for visitors in clear [default: none]
    #[arg(
        long,
        value_name = "IP:PORT",
        env = "NGRNOTOK_SERVER_HTTP",
        value_delimiter = ','
    )]
    pub http: Option<Vec<SocketAddr>>,

    /// What the plain address does: send everybody to https, or serve tunnels in clear
    /// [default: redirect where public URLs are https, else serve]
    #[arg(long, value_enum, env = "NGRNOTOK_SERVER_HTTP_MODE")]
    pub http_mode: Option<HttpModeWord>,

    /// Separate address for tunnel clients [default: they share --https]
    #[arg(
        long,
        value_name = "IP:PORT",
        env = "NGRNOTOK_SERVER_TUNNEL",
        value_delimiter = ','
    )]
    pub tunnel: Option<Vec<SocketAddr>>,

    /// Address for /healthz and /readyz, or "off" [default: 127.0.0.1:4100]
    #[arg(long, value_name = "IP:PORT", env = "NGRNOTOK_SERVER_ADMIN")]
    pub admin: Option<String>,

    /// Port in public URLs and redirects, where visitors use another one than the server listens on
    /// [default: the one it listens on]
    #[arg(long, value_name = "PORT", env = "NGRNOTOK_SERVER_PUBLIC_PORT")]
    pub public_port: Option<u16>,

    /// Scheme of public URLs: https without --https says that a trusted proxy in front ends TLS
    /// [default: https with --https, else http]
    #[arg(long, value_enum, env = "NGRNOTOK_SERVER_PUBLIC_SCHEME")]
    pub public_scheme: Option<Scheme>,

    /// Certificate chain, PEM; a wildcard for *.DOMAIN. Further ones, each with its --key, are shown to
    /// visitors of the hosts that they are good for
    #[arg(
        long,
        value_name = "FILE",
        env = "NGRNOTOK_SERVER_CERT",
        value_delimiter = ','
    )]
    #[serde(default, deserialize_with = "one_or_more")]
    pub cert: Option<Vec<PathBuf>>,

    /// Private key of --cert, PEM
    #[arg(
        long,
        value_name = "FILE",
        env = "NGRNOTOK_SERVER_KEY",
        value_delimiter = ','
    )]
    #[serde(default, deserialize_with = "one_or_more")]
    pub key: Option<Vec<PathBuf>>,

    /// Make certificates with an authority of our own, kept in the state folder (dev-ca.pem)
    #[arg(long, env = "NGRNOTOK_SERVER_DEV_CERT", num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL", value_parser = BoolishValueParser::new(), hide_possible_values = true)]
    pub dev_cert: Option<bool>,

    /// Folder for tokens and the development authority
    /// [default: $STATE_DIRECTORY, else ~/.local/state/ngrnotok-server]
    #[arg(
        long,
        value_name = "DIR",
        env = "NGRNOTOK_SERVER_STATE_DIR",
        global = true
    )]
    pub state_dir: Option<PathBuf>,

    /// Let clients in that have no token
    #[arg(long, env = "NGRNOTOK_SERVER_ALLOW_ANONYMOUS", num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL", value_parser = BoolishValueParser::new(), hide_possible_values = true)]
    pub allow_anonymous: Option<bool>,

    /// More names like www, admin and login, which visitors would take for yours: only tokens that list
    /// them get them, and accounts that they are reserved for
    #[arg(
        long,
        value_name = "NAME",
        env = "NGRNOTOK_SERVER_DENY_NAMES",
        value_delimiter = ','
    )]
    pub deny_names: Option<Vec<Label>>,

    /// Seconds for which a name that an account has used is held back from others, 0 for not at all
    /// [default: 86400]
    #[arg(long, value_name = "SECONDS", env = "NGRNOTOK_SERVER_HOLD_NAMES")]
    pub hold_names: Option<u64>,

    /// Whom to ask for the TXT records that prove hosts of accounts (`domain add`)
    /// [default: the system's resolvers]
    #[arg(long, value_name = "IP[:PORT]", env = "NGRNOTOK_SERVER_RESOLVER")]
    pub resolver: Option<Resolver>,

    /// Networks of our own proxies, whose X-Forwarded-* is believed
    #[arg(
        long,
        value_name = "IP[/BITS]",
        env = "NGRNOTOK_SERVER_TRUSTED_PROXIES",
        value_delimiter = ','
    )]
    pub trusted_proxies: Option<Vec<Network>>,

    /// Threads, each with its own connections [default: the processor's cores]
    #[arg(long, value_name = "N", env = "NGRNOTOK_SERVER_SHARDS")]
    pub shards: Option<std::num::NonZeroUsize>,

    /// Connections held at once, visitors and clients together [default: 65536]
    #[arg(long, value_name = "N", env = "NGRNOTOK_SERVER_MAX_CONNECTIONS")]
    pub max_connections: Option<std::num::NonZeroUsize>,

    /// Seconds that open requests have to finish after SIGTERM [default: 30]
    #[arg(long, value_name = "SECONDS", env = "NGRNOTOK_SERVER_DRAIN")]
    pub drain: Option<u64>,

    /// Seconds for which a client that has lost its connection keeps its names [default: 60]
    #[arg(long, value_name = "SECONDS", env = "NGRNOTOK_SERVER_GRACE")]
    pub grace: Option<u64>,

    /// Seconds for which visitors wait for a client that has lost its connection [default: 5]
    #[arg(long, value_name = "SECONDS", env = "NGRNOTOK_SERVER_OFFLINE_WAIT")]
    pub offline_wait: Option<u64>,

    /// off, error, warn, info, debug, trace, or a filter such as ngrnotok_server=debug
    /// [default: info]
    #[arg(long, value_name = "LEVEL", env = "NGRNOTOK_SERVER_LOG", global = true)]
    pub log: Option<String>,
}

/// What the plain address does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HttpModeWord {
    /// Send everybody to https
    Redirect,
    /// Serve tunnels in clear
    Serve,
}

/// Where a server is: 1 to 32 letters, digits, `-`, `_` and `.`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Region(pub Box<str>);

impl FromStr for Region {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let is_good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        match (1..=32).contains(&word.len()) && word.chars().all(is_good) {
            true => Ok(Self(word.into())),
            false => Err(format!(
                "{word:?} is not a word such as fra1: 1 to 32 letters, digits, '-', '_' and '.'"
            )),
        }
    }
}

impl TryFrom<String> for Region {
    type Error = String;

    fn try_from(word: String) -> Result<Self, String> {
        word.parse()
    }
}

/// A network, or a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Network(pub IpNet);

impl FromStr for Network {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        word.parse::<IpNet>()
            .or_else(|_| word.parse::<IpAddr>().map(IpNet::from))
            .map(Self)
            .map_err(|_| format!("{word:?} is neither an address nor a network such as 10.0.0.0/8"))
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(word: String) -> Result<Self, String> {
        word.parse()
    }
}

/// One DNS label.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Label(pub Name);

impl FromStr for Label {
    type Err = InvalidName;

    fn from_str(word: &str) -> Result<Self, InvalidName> {
        Name::label(word).map(Self)
    }
}

impl TryFrom<String> for Label {
    type Error = InvalidName;

    fn try_from(word: String) -> Result<Self, InvalidName> {
        word.parse()
    }
}

/// A DNS resolver; without a port it listens on 53.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Resolver(pub SocketAddr);

impl FromStr for Resolver {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        word.parse::<SocketAddr>()
            .or_else(|_| word.parse::<IpAddr>().map(|address| (address, 53).into()))
            .map(Self)
            .map_err(|_| {
                format!("{word:?} is neither an address such as 127.0.0.1 nor one with a port")
            })
    }
}

impl TryFrom<String> for Resolver {
    type Error = String;

    fn try_from(word: String) -> Result<Self, String> {
        word.parse()
    }
}

/// In the file one may stand without brackets.
fn one_or_more<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Vec<PathBuf>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "the path of a file, or a list of them")]
    enum OneOrMore {
        One(PathBuf),
        More(Vec<PathBuf>),
    }
    OneOrMore::deserialize(value).map(|files| match files {
        OneOrMore::One(file) => Some(vec![file]),
        OneOrMore::More(files) => Some(files),
    })
}

impl Settings {
    /// These settings where they are set, `other`'s elsewhere.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            domain: self.domain.or(other.domain),
            region: self.region.or(other.region),
            https: self.https.or(other.https),
            http: self.http.or(other.http),
            http_mode: self.http_mode.or(other.http_mode),
            tunnel: self.tunnel.or(other.tunnel),
            admin: self.admin.or(other.admin),
            public_port: self.public_port.or(other.public_port),
            public_scheme: self.public_scheme.or(other.public_scheme),
            cert: self.cert.or(other.cert),
            key: self.key.or(other.key),
            dev_cert: self.dev_cert.or(other.dev_cert),
            state_dir: self.state_dir.or(other.state_dir),
            allow_anonymous: self.allow_anonymous.or(other.allow_anonymous),
            deny_names: self.deny_names.or(other.deny_names),
            hold_names: self.hold_names.or(other.hold_names),
            resolver: self.resolver.or(other.resolver),
            trusted_proxies: self.trusted_proxies.or(other.trusted_proxies),
            shards: self.shards.or(other.shards),
            max_connections: self.max_connections.or(other.max_connections),
            drain: self.drain.or(other.drain),
            grace: self.grace.or(other.grace),
            offline_wait: self.offline_wait.or(other.offline_wait),
            log: self.log.or(other.log),
        }
    }
}
