//! Checked settings: whatever is in a [`Config`] can be used.

mod identities;

use std::net::{SocketAddr, TcpListener};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ipnet::IpNet;
use ngrnotok_certs::Identities;
use ngrnotok_certs::dev::{DevAuthority, DevError};
use ngrnotok_certs::pem::PemError;
use ngrnotok_certs::pin::Pin;
use ngrnotok_certs::tls::TlsError;
use ngrnotok_common::folders;
use ngrnotok_common::hostname::HostPort;
use thiserror::Error;

use self::identities::{dev_names, load, with_wildcard};
use crate::auth::{Anonymous, Auth};
use crate::cli::{HttpModeWord, Label, Network, Region, Resolver, Settings};
use crate::edge::HttpMode;
use crate::listener::is_loopback;
use crate::names::dns::Dns;
use crate::names::{NameRules, Names};
use crate::store::{Store, StoreError};
use crate::urls::{PublicUrls, Scheme};

/// Everything a server is made of.
#[derive(Debug)]
pub struct Config {
    /// Names are single labels under it.
    pub domain: String,
    /// Where it is, in a word for the clients' users; `None`: that is not told.
    pub region: Option<Box<str>>,
    /// TLS for visitors and, by ALPN, for links.
    pub https: Vec<SocketAddr>,
    /// Plain HTTP for visitors.
    pub http: Vec<SocketAddr>,
    /// What plain HTTP is for.
    pub http_mode: HttpMode,
    /// TLS for links alone; none: they share `https`.
    pub tunnel: Vec<SocketAddr>,
    /// The port in URLs and redirects; `None`: the one we listen on.
    pub public_port: Option<u16>,
    /// The scheme of URLs; `None`: https if we listen there, else http. With [`Scheme::Https`] a trusted proxy
    /// that says nothing of its visitors' scheme is taken to have ended their TLS.
    pub public_scheme: Option<Scheme>,
    /// Health and readiness; `None`: off.
    pub admin: Option<SocketAddr>,
    /// The certificates: first the one for `*.domain`, then those for hosts outside of it.
    pub identities: Option<Identities>,
    /// Who may open links.
    pub auth: Auth,
    /// Who may have which name. Default: everybody every name, but for those that visitors would take for
    /// the operator's own.
    pub names: Names,
    /// Threads. Default: the processor's cores. Each costs about 0.2 MiB.
    pub shards: NonZeroUsize,
    /// Peers whose word on the visitors behind them is believed. Default: none.
    pub trusted_proxies: Vec<IpNet>,
    /// Connections held at once; more wait in the kernel's queue. Default: 65,536. Each takes a
    /// descriptor and some 12 KiB.
    pub max_connections: usize,
    /// What open requests have to finish when the server stops. Default: 30 s.
    pub drain_limit: Duration,
    /// For how long a session that has lost its last link keeps its names. Default: 60 s.
    pub grace: Duration,
    /// How many of one token are kept so; one more is over at once. Default: 1024.
    pub most_away: NonZeroU32,
    /// How long visitors wait for its client. Default: 5 s.
    pub offline_wait: Duration,
    /// How long after its start a server lets visitors wait for names that nobody serves yet: the clients
    /// of its predecessor are on their way. Default: 10 s.
    pub settling: Duration,
    /// Sockets that were opened for this process. They take the place of those that it would open for the
    /// same ports.
    pub inherited: Vec<TcpListener>,
    /// A link that has carried so many requests is to be replaced, before its stream ids end. Default:
    /// 2²⁸, half of them.
    pub most_requests: u32,
    /// A link of this age is to be replaced. Default: 24 h.
    pub oldest_link: Duration,
}

impl Config {
    /// A server for names under `domain` that listens nowhere yet and lets in whom `auth` knows.
    pub fn new(domain: impl Into<String>, auth: Auth) -> Self {
        Self {
            domain: domain.into(),
            region: None,
            https: Vec::new(),
            http: Vec::new(),
            http_mode: HttpMode::Serve,
            tunnel: Vec::new(),
            public_port: None,
            public_scheme: None,
            admin: None,
            identities: None,
            auth,
            names: Names::new(None, NameRules::default()),
            shards: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            trusted_proxies: Vec::new(),
            max_connections: 65_536,
            drain_limit: Duration::from_secs(30),
            grace: Duration::from_secs(60),
            most_away: NonZeroU32::new(1024).expect("not zero"),
            offline_wait: Duration::from_secs(5),
            settling: Duration::from_secs(10),
            inherited: Vec::new(),
            most_requests: 1 << 28,
            oldest_link: Duration::from_secs(24 * 60 * 60),
        }
    }

    /// What visitors refuse in the certificates, or soon will, and what to do about it.
    pub fn certificate_flaws(&self, now: SystemTime) -> Vec<String> {
        let hosts = self.certified_hosts();
        let identities = self.identities.as_ref();
        identities.map_or_else(Vec::new, |identities| identities.flaws(&hosts, now))
    }

    /// What the certificates should be good for. Nothing where visitors are shown the certificate of a proxy.
    pub fn certified_hosts(&self) -> Vec<String> {
        match self.https.is_empty() {
            true => Vec::new(),
            false => with_wildcard(&self.domain),
        }
    }
}

/// What is wrong with the settings; each text says what to do.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The config file cannot be read.
    #[error("failed to read the config file {}: {source}", file.display())]
    Read {
        /// As given.
        file: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The config file is not what it should be; the text has line and column.
    #[error("the config file {} is wrong:\n{source}", file.display())]
    Parse {
        /// As given.
        file: PathBuf,
        /// What and where.
        source: toml::de::Error,
    },
    /// No domain.
    #[error(
        "--domain is missing: the domain whose names become tunnels, for example\n  ngrnotok-server --domain tunnel.example.com --cert fullchain.pem --key key.pem"
    )]
    NoDomain,
    /// Not a domain.
    #[error("--domain {0:?} is not a domain name; give it without scheme, port and '*.'")]
    Domain(String),
    /// Nowhere to keep anything.
    #[error(
        "there is no folder for the state, because HOME is not set: name one with --state-dir DIR"
    )]
    NoStateDir,
    /// Not an address.
    #[error("--admin {0:?} is neither an address such as 127.0.0.1:4100 nor \"off\"")]
    Admin(String),
    /// Half of a certificate, or two sorts of them.
    #[error("give --cert and --key together, as many of each, or --dev-cert alone")]
    Certificate,
    /// No certificate.
    #[error(
        "TLS needs a certificate: give --cert FILE and --key FILE (a wildcard for *.{domain}), or --dev-cert to try things out"
    )]
    NoCertificate {
        /// The domain.
        domain: String,
    },
    /// A redirect to nowhere.
    #[error(
        "--http-mode redirect leads to https, but public URLs are http: give --https, or --public-scheme https if a proxy in front ends TLS"
    )]
    RedirectToNowhere,
    /// Nobody ends TLS.
    #[error(
        "--public-scheme https without --https leaves TLS to a proxy in front: give that proxy's address, for example --trusted-proxies 127.0.0.1"
    )]
    NoTlsProxy,
    /// No way in for tunnel clients.
    #[error("tunnel clients need an address with TLS: give --https, or --tunnel beside --http")]
    NoTunnels,
    /// A certificate and its key cannot be used together.
    #[error("the certificate {} cannot be used: {source}", cert.display())]
    Tls {
        /// As given.
        cert: PathBuf,
        /// Why not.
        source: TlsError,
    },
    /// A PEM file.
    #[error("{0}")]
    Pem(#[from] PemError),
    /// The development authority.
    #[error("{0}")]
    Dev(#[from] DevError),
    /// The token store.
    #[error("failed to {0}")]
    Store(#[from] StoreError),
    /// Open to the world with no token to ask for.
    #[error(
        "this server can be reached from other machines ({address}), but there is no token yet.\n\
         Make one:       ngrnotok-server token create --account NAME --state-dir {state}\n\
         Or let all in:  --allow-anonymous",
        state = state_dir.display()
    )]
    NoToken {
        /// The address in question.
        address: SocketAddr,
        /// Where tokens would be.
        state_dir: PathBuf,
    },
}

/// A checked configuration, and what its operator should be told.
#[derive(Debug)]
pub struct Checked {
    /// The configuration.
    pub config: Config,
    /// Where visitors find tunnels.
    pub urls: PublicUrls,
    /// The development authority's certificate and pin, if there is one.
    pub dev: Option<(PathBuf, Pin)>,
}

/// Reads the config file, if one was named.
pub fn read_file(file: Option<&Path>) -> Result<Settings, ConfigError> {
    let Some(file) = file else {
        return Ok(Settings::default());
    };
    let text = std::fs::read_to_string(file).map_err(|source| ConfigError::Read {
        file: file.to_owned(),
        source,
    })?;
    toml::from_str(&text).map_err(|source| ConfigError::Parse {
        file: file.to_owned(),
        source,
    })
}

/// The folder of a server with these settings.
pub fn state_dir(settings: &Settings) -> Result<PathBuf, ConfigError> {
    let named = settings.state_dir.clone();
    named
        .or_else(|| folders::state("ngrnotok-server"))
        .ok_or(ConfigError::NoStateDir)
}

/// What these settings say about names.
pub fn name_rules(settings: &Settings) -> NameRules {
    let defaults = NameRules::default();
    let denied = settings.deny_names.clone().unwrap_or_default();
    let resolver = settings.resolver.map(|Resolver(address)| address);
    NameRules {
        denied: denied.into_iter().map(|Label(name)| name).collect(),
        hold: settings
            .hold_names
            .map_or(defaults.hold, Duration::from_secs),
        dns: Dns::new(resolver),
    }
}

/// Whether checking may make what is not there: the development authority, the token store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effects {
    /// To serve afterwards.
    Allowed,
    /// Just to know.
    None,
}

/// Checks settings and opens what they name: certificates, keys, the token store.
pub async fn check(settings: Settings, effects: Effects) -> Result<Checked, ConfigError> {
    let domain = domain(settings.domain.as_deref())?;
    let (state_dir, rules) = (state_dir(&settings)?, name_rules(&settings));
    let https = settings
        .https
        .unwrap_or_else(|| match settings.http.is_some() {
            true => Vec::new(),
            false => vec![SocketAddr::from(([0, 0, 0, 0], 443))],
        });
    let tunnel = settings.tunnel.unwrap_or_default();
    let http = settings.http.unwrap_or_default();
    let proxies = settings.trusted_proxies.unwrap_or_default();
    let urls = PublicUrls::new(
        &domain,
        settings.public_scheme,
        settings.public_port,
        &https,
        &http,
    );
    let http_mode = match (settings.http_mode, urls.scheme) {
        (Some(HttpModeWord::Redirect), Scheme::Http) => return Err(ConfigError::RedirectToNowhere),
        (Some(HttpModeWord::Redirect) | None, Scheme::Https) => HttpMode::Redirect,
        (Some(HttpModeWord::Serve), _) | (None, Scheme::Http) => HttpMode::Serve,
    };
    // The redirect would lead back here for ever: nobody would be believed to have come over TLS.
    if urls.tls_by_proxy && proxies.is_empty() {
        return Err(ConfigError::NoTlsProxy);
    }
    if https.is_empty() && tunnel.is_empty() {
        return Err(ConfigError::NoTunnels);
    }
    let mut dev = None;
    let certs = settings.cert.unwrap_or_default();
    let keys = settings.key.unwrap_or_default();
    let identities = match settings.dev_cert.unwrap_or(false) {
        true if certs.is_empty() && keys.is_empty() => {
            let names = dev_names(&domain, https.iter().chain(&tunnel));
            let authority = match effects {
                Effects::None if !state_dir.join("dev-ca.pem").exists() => {
                    DevAuthority::generate()?
                }
                _ => DevAuthority::load_or_create(&state_dir, &names)?,
            };
            dev = Some((state_dir.join("dev-ca.pem"), authority.pin()));
            Identities::issued(authority, names)?
        }
        false if certs.is_empty() && keys.is_empty() => {
            return Err(ConfigError::NoCertificate { domain });
        }
        false if certs.len() == keys.len() => load(&certs, &keys)?,
        _ => return Err(ConfigError::Certificate),
    };
    let store = match effects {
        Effects::None if !Store::exists(&state_dir) => Store::in_memory()?,
        _ => Store::open(&state_dir)?,
    };
    let names = Names::new(Some(store.clone()), rules);
    let auth = auth(
        https.iter().chain(&tunnel),
        settings.allow_anonymous.unwrap_or(false),
        store,
        &state_dir,
    )
    .await?;
    let defaults = Config::new(domain, auth);
    let config = Config {
        region: settings.region.map(|Region(word)| word),
        https,
        http,
        http_mode,
        tunnel,
        admin: admin(settings.admin.as_deref())?,
        identities: Some(identities),
        names,
        shards: settings.shards.unwrap_or(defaults.shards),
        trusted_proxies: proxies
            .into_iter()
            .map(|Network(network)| network)
            .collect(),
        public_port: settings.public_port,
        public_scheme: settings.public_scheme,
        max_connections: settings
            .max_connections
            .map_or(defaults.max_connections, NonZeroUsize::get),
        drain_limit: settings
            .drain
            .map_or(defaults.drain_limit, Duration::from_secs),
        grace: settings.grace.map_or(defaults.grace, Duration::from_secs),
        offline_wait: settings
            .offline_wait
            .map_or(defaults.offline_wait, Duration::from_secs),
        ..defaults
    };
    Ok(Checked { config, urls, dev })
}

fn domain(word: Option<&str>) -> Result<String, ConfigError> {
    let word = word.ok_or(ConfigError::NoDomain)?;
    match HostPort::parse(word) {
        Ok(HostPort { host, port: None }) if host.parse::<std::net::IpAddr>().is_err() => {
            Ok(host.into_owned())
        }
        _ => Err(ConfigError::Domain(word.to_owned())),
    }
}

fn admin(word: Option<&str>) -> Result<Option<SocketAddr>, ConfigError> {
    match word {
        None => Ok(Some(SocketAddr::from(([127, 0, 0, 1], 4100)))),
        Some("off") => Ok(None),
        Some(address) => address
            .parse()
            .map(Some)
            .map_err(|_| ConfigError::Admin(address.to_owned())),
    }
}

/// A server that only this machine reaches may do without tokens; any other must have one, or its
/// operator must say that everybody may come in. Which addresses are bound in the end is known only when
/// the server has them, and it looks again then.
async fn auth(
    mut doors: impl Iterator<Item = &SocketAddr>,
    allow_anonymous: bool,
    store: Store,
    state_dir: &Path,
) -> Result<Auth, ConfigError> {
    let anonymous = match doors.find(|address| !is_loopback(address)) {
        _ if allow_anonymous => Anonymous::Always,
        _ if store.has_tokens().await? => Anonymous::Never,
        None => Anonymous::WhileNoTokenExists,
        Some(address) => {
            return Err(ConfigError::NoToken {
                address: *address,
                state_dir: state_dir.to_owned(),
            });
        }
    };
    Ok(Auth::new(Some(store), anonymous))
}
