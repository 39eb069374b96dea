//! Checked wishes: from words as typed to what a client is made of.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use http::HeaderValue;
use ngrnotok_certs::pem::{self, PemError};
use ngrnotok_certs::pin::PinError;
use ngrnotok_certs::tls::Trust;
use ngrnotok_common::folders;
use ngrnotok_common::hostname::{HostPort, InvalidName, Name};
use ngrnotok_common::secret::Secret;
use thiserror::Error;
use tracing::warn;
use uuid::Uuid;

use crate::cli;
use crate::client::Tunnel;
use crate::connect::{Connector, ConnectorError};
use crate::local::{HostHeader, InvalidTarget, Options, Protocol, Target};
use crate::names;

/// What is wrong with the command line; each text says what to do.
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
    /// Not a target.
    #[error("{0}")]
    Target(#[from] InvalidTarget),
    /// Not a name.
    #[error("--name {word:?} cannot be a name: {source}")]
    Name {
        /// As typed.
        word: String,
        /// Why not.
        source: InvalidName,
    },
    /// Not a host.
    #[error("--host-header {0:?} is neither \"rewrite\" nor a host name with an optional port")]
    HostHeader(String),
    /// Not a server.
    #[error(
        "--server {0:?} is not a host name with an optional port, such as tunnel.example.com or tunnel.example.com:8443"
    )]
    Server(String),
    /// The server cannot be dialed.
    #[error("{0}")]
    Connector(#[from] ConnectorError),
    /// Not a pin.
    #[error("--server-pin: {0}")]
    Pin(#[from] PinError),
    /// Not a certificate.
    #[error("--server-ca: {0}")]
    Authority(#[from] PemError),
    /// No token in the file.
    #[error("failed to read the token file {}: {source}", file.display())]
    TokenFile {
        /// As given.
        file: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// An empty token.
    #[error("the token {0} is empty")]
    EmptyToken(String),
}

/// A remote server, checked.
#[derive(Debug)]
pub struct Remote {
    /// The way to it.
    pub connector: Connector,
    /// Who we are there.
    pub token: Option<Secret>,
    /// Connections to it.
    pub links: NonZeroUsize,
    /// Where to keep what a restarted client needs to have its names again at once.
    pub state: Option<PathBuf>,
}

/// What to make public.
pub fn tunnel(args: &cli::Http) -> Result<Tunnel, ConfigError> {
    let target = match (&args.target, args.port) {
        _ if args.hello => Target::Hello,
        (Some(word), _) => word.parse()?,
        (None, Some(port)) => Target::port(port)?,
        (None, None) => return Err(ConfigError::NoTarget),
    };
    let name = match &args.name {
        Some(word) => Name::parse(word).map_err(|source| ConfigError::Name {
            word: word.clone(),
            source,
        })?,
        None => names::derived(installation(), &target.to_string()),
    };
    Ok(Tunnel {
        name,
        target,
        options: Options {
            protocol: match args.local_protocol {
                cli::ProtocolWord::Auto => Protocol::Auto,
                cli::ProtocolWord::Http1 => Protocol::Http1,
                cli::ProtocolWord::H2c => Protocol::H2c,
            },
            insecure: args.insecure_local,
            host: host_header(args.host_header.as_deref())?,
            dev: args.dev,
        },
        pool: None,
    })
}

fn host_header(word: Option<&str>) -> Result<HostHeader, ConfigError> {
    match word {
        None => Ok(HostHeader::Keep),
        Some("rewrite") => Ok(HostHeader::Rewrite),
        Some(word) => HostPort::parse(word)
            .ok()
            .and_then(|_| HeaderValue::from_str(word).ok())
            .map(HostHeader::Value)
            .ok_or_else(|| ConfigError::HostHeader(word.to_owned())),
    }
}

fn installation() -> Uuid {
    let folder = folders::state("ngrnotok");
    names::installation(&folder).unwrap_or_else(|error| {
        warn!(folder = %folder.display(), %error, "no id can be kept; the name is for this run only");
        Uuid::new_v4()
    })
}

/// The server to use; `None`: one of our own in this process.
pub fn remote(args: &cli::Http) -> Result<Option<Remote>, ConfigError> {
    let Some(word) = args.server.as_deref().filter(|word| !word.is_empty()) else {
        if args.token_file.is_some() {
            warn!("the token file is not used: without --server there is nobody to show it to");
        }
        return Ok(None);
    };
    let HostPort { host, port } =
        HostPort::parse(word).map_err(|_| ConfigError::Server(word.to_owned()))?;
    let trust = match (&args.server_ca, &args.server_pin) {
        (Some(file), _) => Trust::Roots(pem::load_chain(file)?),
        (None, Some(pin)) => Trust::Pin(pin.parse()?),
        (None, None) => Trust::Platform,
    };
    Ok(Some(Remote {
        connector: Connector::new(&host, port.unwrap_or(443), trust)?,
        token: token(args.token_file.as_deref())?,
        links: args.links,
        state: Some(folders::state("ngrnotok").join("sessions")),
    }))
}

/// From the file if one is named, else from the environment: never from the command line, where every
/// user of the machine could read it.
fn token(file: Option<&Path>) -> Result<Option<Secret>, ConfigError> {
    let (token, source) = match file {
        Some(file) => {
            let text = std::fs::read_to_string(file).map_err(|source| ConfigError::TokenFile {
                file: file.to_owned(),
                source,
            })?;
            warn_if_readable_by_others(file);
            (Secret::new(text), format!("in {}", file.display()))
        }
        None => match std::env::var("NGRNOTOK_TOKEN") {
            Ok(text) => (Secret::new(text), "in NGRNOTOK_TOKEN".to_owned()),
            Err(_) => return Ok(None),
        },
    };
    if token.expose().is_empty() {
        return Err(ConfigError::EmptyToken(source));
    }
    Ok(Some(token))
}

fn warn_if_readable_by_others(file: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        if std::fs::metadata(file).is_ok_and(|data| data.permissions().mode() & 0o077 != 0) {
            warn!(file = %file.display(), "other users can read this token; run: chmod 600 FILE");
        }
    }
    #[cfg(not(unix))]
    let _ = file;
}
