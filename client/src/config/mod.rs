//! Checked wishes: from words as typed, and as written in the config [`mod@file`], to what a client is made
//! of.

pub mod file;
mod spelling;
pub mod store;
pub mod summary;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use ngrnotok_certs::pem::{self, PemError};
use ngrnotok_certs::tls::Trust;
use ngrnotok_common::folders;
use ngrnotok_common::secret::{Secret, shows_token};
use ngrnotok_common::telemetry::{self, InvalidLevel};
use thiserror::Error;
use tracing::warn;
use uuid::Uuid;

use crate::accounts::Accounts;
use crate::beside;
use crate::cli::{Run, Start};
use crate::client::{Pool, Tunnel};
use crate::connect::{Connector, ConnectorError, authority};
use crate::inspect::{Keep, KeepError, Limits, Recorder};
use crate::local::{HostHeader, InvalidTarget, Options, Protocol, Sharing, Target};
use crate::names;
use crate::proxy::{self, InvalidProxy, Wish};
use crate::secrets;
use crate::settings::{
    InspectWord, Links, ProtocolWord, ServerAddress, Settings, SharingWord, Size, Time,
    TunnelSettings,
};
use crate::web::Place;
use file::{ConfigFile, FileError};

/// What is wrong with the wishes; each text says what to do.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Nothing to make public.
    #[error(
        "what should be public? Name the port of your local app, for example\n\n  \
         ngrnotok http -p 3000\n\n\
         or try it without an app:\n\n  ngrnotok http --hello"
    )]
    NoTarget,
    /// Something in the config file.
    #[error("{0}")]
    File(#[from] FileError),
    /// Not a level of the log.
    #[error("{0}")]
    Log(#[from] InvalidLevel),
    /// A tunnel that contradicts itself.
    #[error("{0}")]
    Tunnel(#[from] TunnelError),
    /// Nobody to log in to.
    #[error("which server? ngrnotok login --server tunnel.example.com")]
    NoServer,
    /// Nowhere to keep a token.
    #[error("there is no home folder for the config file; name one with --config FILE")]
    NoHome,
    /// A way to know nobody.
    #[error(
        "--server-ca and --server-pin say how to know a server, but no server is named; add --server HOST"
    )]
    TrustInNobody,
    /// The server cannot be dialed.
    #[error("{0}")]
    Connector(#[from] ConnectorError),
    /// Not a proxy.
    #[error("{0}")]
    Proxy(#[from] InvalidProxy),
    /// Not a certificate.
    #[error("--server-ca: {0}")]
    Authority(#[from] PemError),
    /// A token where the name of its file belongs.
    #[error("the token file is not named: there is a token in the place of its name")]
    TokenForFile,
    /// No token in the file.
    #[error("failed to read the token file {}: {source}", file.display())]
    TokenFile {
        /// As given.
        file: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// No password in the file.
    #[error("failed to read the password file {}: {source}", file.display())]
    PasswordFile {
        /// As given.
        file: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// An empty password.
    #[error("the password of the web interface is empty")]
    EmptyPassword,
    /// An empty token.
    #[error("the token {0} is empty")]
    EmptyToken(String),
    /// Something else than a token.
    #[error("the token {0} is not one word, as tokens are; copy it again")]
    OddToken(String),
    /// A body would have no room.
    #[error(
        "a body may take {body} (--inspect-body), but everything together only {memory} (--inspect-memory)"
    )]
    InspectSizes {
        /// Of each body.
        body: Size,
        /// Of everything.
        memory: Size,
    },
    /// The file for what is recorded.
    #[error("--inspect-store: {0}")]
    InspectStore(#[from] KeepError),
    /// Tunnels are wished for and there are none.
    #[error(
        "there are no tunnels in {}. Add one:\n\n  [tunnels.web]\n  port = 3000",
        in_words(file.as_deref())
    )]
    NoTunnels {
        /// The config file, there or not.
        file: Option<PathBuf>,
    },
    /// No tunnel is wished for, and no way to open one.
    #[error("with --none and --web off nobody could ever open a tunnel; keep one of them")]
    NobodyOpens,
    /// None of the tunnels is wished for.
    #[error("which tunnels? Name some of {there_are}, or say --all")]
    WhichTunnels {
        /// The tunnels of the file.
        there_are: String,
    },
    /// A tunnel that is not in the file.
    #[error(
        "there is no tunnel {name:?} in the config file, only {there_are}{}",
        spelling::suggested(similar.as_deref())
    )]
    UnknownTunnel {
        /// As typed.
        name: String,
        /// What was meant, perhaps.
        similar: Option<String>,
        /// The tunnels of the file.
        there_are: String,
    },
}

/// Why words make no tunnel.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TunnelError {
    /// Nothing to make public.
    #[error("it has no target; add port = 3000, target = \"HOST:PORT\" or hello = true")]
    NoTarget,
    /// More than one thing to make public.
    #[error("it has several targets; keep one of target, port and hello")]
    Targets,
    /// Not a target.
    #[error("{0}")]
    Target(#[from] InvalidTarget),
    /// Two ways to say which host the app sees.
    #[error("dev sets the host that the app sees; keep one of dev and host-header")]
    Hosts,
    /// Every installation would share a name of its own.
    #[error(
        "a shared name must be chosen: give the same --name NAME (`name` in the file) to all clients with --pool"
    )]
    PoolWithoutName,
    /// There is nobody to leave visitors to.
    #[error("health is for shared names; add pool = true")]
    HealthAlone,
}

/// What the user says, wherever it is said.
#[derive(Debug)]
pub struct Wishes {
    /// Where the config file is or would be; `None`: this user has no home.
    pub path: Option<PathBuf>,
    /// The config file, if it is there.
    pub file: Option<ConfigFile>,
    /// By flag or in the environment.
    pub given: Settings,
    /// By flag, in the environment or in the file; the first wins.
    pub settings: Settings,
}

impl Wishes {
    /// Reads the environment and the config file: the one that is named, or the user's own if there is
    /// one.
    pub fn read(named: Option<PathBuf>, given: Settings) -> Result<Self, ConfigError> {
        let was_named = named.is_some();
        let wishes = Self::read_new(named, given)?;
        match (&wishes.path, &wishes.file) {
            (Some(path), None) if was_named => {
                Err(FileError::Missing { file: path.clone() }.into())
            }
            _ => Ok(wishes),
        }
    }

    /// The same for who is about to make the config file: one that is named need not be there yet.
    pub fn read_new(named: Option<PathBuf>, given: Settings) -> Result<Self, ConfigError> {
        let path = named.or_else(file::usual_path);
        let file = match &path {
            Some(path) => ConfigFile::read(path)?,
            None => None,
        };
        // What the environment can say and a flag cannot, or not all of it.
        let secret = |name: &str| {
            let text = std::env::var_os(name)?.to_string_lossy().into_owned();
            (!text.is_empty()).then(|| Secret::new(text))
        };
        let proxy = secret(proxy::VARIABLE).map(Wish::in_environment);
        let given = Settings {
            token: secret(secrets::TOKEN),
            web_password: secret(secrets::WEB_PASSWORD),
            proxy: given.proxy.or(proxy),
            ..given
        };
        let written = file.as_ref().map(|file| file.settings.clone());
        let settings = given.clone().or(written.unwrap_or_default());
        if let Some(name) = &settings.token_file
            && shows_token(&name.to_string_lossy())
        {
            return Err(ConfigError::TokenForFile);
        }
        Ok(Self {
            settings,
            path,
            file,
            given,
        })
    }

    /// Starts the log.
    pub fn start_log(&self) -> Result<(), ConfigError> {
        let level = self.settings.log.as_deref().unwrap_or("warn");
        telemetry::start(level).map_err(|error| match (&self.file, &self.given.log) {
            (Some(file), None) => file.wrong_at(&["log"], error.to_string()).into(),
            _ => error.into(),
        })
    }
}

fn in_words(file: Option<&Path>) -> String {
    file.map_or_else(
        || "the config file".to_owned(),
        |file| file.display().to_string(),
    )
}

/// Where the local app is.
pub fn target(words: &TunnelSettings) -> Result<Target, TunnelError> {
    let mut targets = [
        words.target.clone(),
        words.port.map(Target::port).transpose()?,
        words.hello.then_some(Target::Hello),
    ]
    .into_iter()
    .flatten();
    match (targets.next(), targets.next()) {
        (None, _) => Err(TunnelError::NoTarget),
        (Some(_), Some(_)) => Err(TunnelError::Targets),
        (Some(_), None) if words.dev && words.host_header.is_some() => Err(TunnelError::Hosts),
        (Some(_), None) if words.pool && words.name.is_none() => Err(TunnelError::PoolWithoutName),
        (Some(_), None) if words.health.is_some() && !words.pool => Err(TunnelError::HealthAlone),
        (Some(target), None) => Ok(target),
    }
}

/// The tunnel that `ngrnotok http` is asked for.
pub fn tunnel(words: &TunnelSettings, accounts: Option<&Accounts>) -> Result<Tunnel, ConfigError> {
    match tunnel_of(words, || installation(accounts)) {
        Err(TunnelError::NoTarget) => Err(ConfigError::NoTarget),
        tunnel => Ok(tunnel?),
    }
}

/// The tunnel that `ngrnotok run` is asked for. Where it leads is not known before the command runs.
pub fn tunnel_of_command(wanted: &Run, accounts: Option<&Accounts>) -> Result<Tunnel, ConfigError> {
    let mut words = wanted.tunnel.clone();
    words.port = words.port.or(Some(UNKNOWN_PORT));
    target(&words)?;
    if words.name.is_none() {
        let folder = std::env::current_dir().unwrap_or_default();
        let identity = beside::identity(&wanted.command, &folder);
        words.name = Some(names::derived(installation(accounts), &identity));
    }
    Ok(tunnel_of(&words, || installation(accounts))?)
}

/// Nobody listens there, so a visitor who comes too early is told that the app is not up.
const UNKNOWN_PORT: u16 = 1;

fn tunnel_of(
    words: &TunnelSettings,
    installation: impl FnOnce() -> Uuid,
) -> Result<Tunnel, TunnelError> {
    let target = target(words)?;
    let name = match &words.name {
        Some(name) => name.clone(),
        None => names::derived(installation(), &target.to_string()),
    };
    Ok(Tunnel {
        name,
        target,
        options: Options {
            protocol: match words.local_protocol {
                ProtocolWord::Auto => Protocol::Auto,
                ProtocolWord::Http1 => Protocol::Http1,
                ProtocolWord::H2c => Protocol::H2c,
            },
            insecure: words.insecure_local,
            host: words.host_header.clone().unwrap_or(HostHeader::Keep),
            dev: words.dev,
            sharing: match words.local_connections {
                SharingWord::Auto => Sharing::Auto,
                SharingWord::Shared => Sharing::Shared,
                SharingWord::PerVisitor => Sharing::PerVisitor,
                SharingWord::None => Sharing::None,
            },
        },
        pool: words.pool.then(|| Pool {
            health: words.health.clone(),
        }),
    })
}

/// What names are derived from, besides the target: this installation, and the account if it has had others
/// on the server before.
fn installation(accounts: Option<&Accounts>) -> Uuid {
    let id = client_id();
    match accounts.and_then(Accounts::other) {
        Some(account) => names::of_account(id, &account),
        None => id,
    }
}

fn client_id() -> Uuid {
    let Some(folder) = state() else {
        warn!(
            "there is no home folder (HOME is not set), so the name is for this run only; choose one with --name"
        );
        return Uuid::new_v4();
    };
    names::installation(&folder).unwrap_or_else(|error| {
        warn!(folder = %folder.display(), %error, "no id can be kept; names are for this run only");
        Uuid::new_v4()
    })
}

/// Where to keep what must outlive the program; `None`: this user has no home.
fn state() -> Option<PathBuf> {
    folders::state("ngrnotok")
}

/// The tunnels that `ngrnotok start` is asked for, each with what the config file calls it.
pub fn tunnels(
    wanted: &Start,
    wishes: &Wishes,
    accounts: Option<&Accounts>,
) -> Result<Vec<(String, Tunnel)>, ConfigError> {
    if wanted.none {
        return match wishes.settings.web {
            Some(Place::Off) => Err(ConfigError::NobodyOpens),
            _ => Ok(Vec::new()),
        };
    }
    let all = &wishes.settings.tunnels;
    let there_are = || spelling::list(all.keys());
    if all.is_empty() {
        let file = wishes.path.clone();
        return Err(ConfigError::NoTunnels { file });
    }
    let mut names: Vec<&String> = match wanted.all {
        true => all.keys().collect(),
        false => wanted.names.iter().collect(),
    };
    if names.is_empty() {
        let there_are = there_are();
        return Err(ConfigError::WhichTunnels { there_are });
    }
    // Said twice is said.
    let mut seen = std::collections::HashSet::new();
    names.retain(|name| seen.insert(*name));
    // One for all: where none can be kept, each call makes another.
    let installation = installation(accounts);
    let tunnel = |name: &String| {
        let words = all.get(name).ok_or_else(|| ConfigError::UnknownTunnel {
            name: name.clone(),
            similar: spelling::nearest(name, all.keys()).cloned(),
            there_are: there_are(),
        })?;
        Ok((name.clone(), tunnel_of(words, || installation)?))
    };
    names.into_iter().map(tunnel).collect()
}

/// The way to the server; `None`: one of our own in this process.
pub fn connector(settings: &Settings) -> Result<Option<Connector>, ConfigError> {
    if settings.local_only {
        return Ok(None);
    }
    let Some(ServerAddress { host, port }) = &settings.server else {
        if settings.token_file.is_some() {
            warn!("the token file is not used: without a server there is nobody to show it to");
        }
        return match (&settings.server_ca, &settings.server_pin) {
            (None, None) => Ok(None),
            _ => Err(ConfigError::TrustInNobody),
        };
    };
    let trust = match (&settings.server_ca, settings.server_pin) {
        (Some(file), _) => Trust::Roots(pem::load_chain(file)?),
        (None, Some(pin)) => Trust::Pin(pin),
        (None, None) => Trust::Platform,
    };
    let env = |name: &str| std::env::var_os(name).map(|value| Secret::new(value.to_string_lossy()));
    let proxy = proxy::choose(settings.proxy.as_ref(), host, *port, env)?;
    Ok(Some(Connector::new(host, *port, trust)?.through(proxy)))
}

/// Connections to the server.
pub fn links(settings: &Settings) -> NonZeroUsize {
    settings
        .links
        .map_or(NonZeroUsize::MIN, |Links(links)| links)
}

/// How much to record; `None`: nothing.
pub fn limits(settings: &Settings) -> Result<Option<Limits>, ConfigError> {
    if settings.inspect == Some(InspectWord::Off) {
        return Ok(None);
    }
    let usual = Limits::default();
    let memory = settings.inspect_memory.unwrap_or(Size(usual.total_bytes));
    // With less memory for all, each takes less of it by itself.
    let usual = Size(usual.body_bytes.min(memory.0 / 4));
    let body = settings.inspect_body.unwrap_or(usual);
    match body > memory {
        true => Err(ConfigError::InspectSizes { body, memory }),
        false => Ok(Some(Limits {
            total_bytes: memory.0,
            body_bytes: body.0,
        })),
    }
}

/// The file for what is recorded.
pub fn keep(settings: &Settings) -> Option<Keep> {
    let file = settings.inspect_store.clone()?;
    let time = settings.inspect_keep.map_or(Keep::TIME, |Time(time)| time);
    Some(Keep { file, time })
}

/// What records what goes by. Blocks on the disk if there is a file for it.
pub fn recorder(settings: &Settings) -> Result<Recorder, ConfigError> {
    Ok(match (limits(settings)?, keep(settings)) {
        (None, _) => Recorder::off(),
        (Some(limits), None) => Recorder::new(limits),
        (Some(limits), Some(keep)) => Recorder::kept(limits, &keep)?,
    })
}

/// Where to keep what a restarted client needs to have its names again at once; `None`: nowhere.
pub fn sessions() -> Option<PathBuf> {
    Some(state()?.join("sessions"))
}

/// Who we are on the server.
#[derive(Debug, Clone, Default)]
pub struct Identity {
    /// What we show it.
    pub token: Option<Secret>,
    /// What is known of our accounts there; `None` where there is no home to keep it in.
    pub accounts: Option<Accounts>,
}

/// Who we are on the server; nobody without one. The token is read once: its file may be a pipe.
pub fn identity(settings: &Settings) -> Result<Identity, ConfigError> {
    let Some(ServerAddress { host, port }) =
        settings.server.as_ref().filter(|_| !settings.local_only)
    else {
        return Ok(Identity::default());
    };
    let token = token(settings)?;
    let server = authority(host, *port);
    let accounts = state().map(|state| Accounts::kept_in(&state, &server, token.as_ref()));
    Ok(Identity { token, accounts })
}

/// The token. Of a file that is named and a token that is given in the same breath, the file wins.
pub fn token(settings: &Settings) -> Result<Option<Secret>, ConfigError> {
    match (&settings.token_file, &settings.token) {
        (Some(file), _) => {
            let text = std::fs::read_to_string(file).map_err(|source| ConfigError::TokenFile {
                file: file.clone(),
                source,
            })?;
            warn_if_readable_by_others(file);
            let place = format!("in {}", file.display());
            check_token(Secret::new(text), &place).map(Some)
        }
        (None, Some(token)) => check_token(token.clone(), "that is given").map(Some),
        (None, None) => Ok(None),
    }
}

/// Where running clients leave a note of their web interface; `None`: nowhere.
pub fn web_notes() -> Option<PathBuf> {
    Some(state()?.join("web"))
}

/// What the web interface asks for, if anything.
pub fn web_password(settings: &Settings) -> Result<Option<Secret>, ConfigError> {
    let password = match (&settings.web_password_file, &settings.web_password) {
        (Some(file), _) => {
            let text =
                std::fs::read_to_string(file).map_err(|source| ConfigError::PasswordFile {
                    file: file.clone(),
                    source,
                })?;
            warn_if_readable_by_others(file);
            Secret::new(text)
        }
        (None, Some(password)) => password.clone(),
        (None, None) => return Ok(None),
    };
    match password.expose().is_empty() {
        true => Err(ConfigError::EmptyPassword),
        false => Ok(Some(password)),
    }
}

/// Whether this can be a token at all; `place` says whose it is: "in FILE".
pub fn check_token(token: Secret, place: &str) -> Result<Secret, ConfigError> {
    let text = token.expose();
    if text.is_empty() {
        return Err(ConfigError::EmptyToken(place.to_owned()));
    }
    match text.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(token),
        false => Err(ConfigError::OddToken(place.to_owned())),
    }
}

fn warn_if_readable_by_others(file: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        if std::fs::metadata(file).is_ok_and(|data| data.permissions().mode() & 0o077 != 0) {
            let file = file.display();
            warn!("other users can read this secret; run: chmod 600 {file}");
        }
    }
    #[cfg(not(unix))]
    let _ = file;
}
