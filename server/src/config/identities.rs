//! The certificates that a server shows.

use std::net::SocketAddr;
use std::path::PathBuf;

use ngrnotok_certs::{Identities, Identity};

use super::ConfigError;

/// Loads certificates and keys, of which the first is for everybody and each other one for the hosts that
/// it is good for.
pub(super) fn load(certs: &[PathBuf], keys: &[PathBuf]) -> Result<Identities, ConfigError> {
    let mut loaded: Vec<Identity> = Vec::new();
    let mut identities = Err(ConfigError::Certificate);
    for (cert, key) in certs.iter().zip(keys) {
        loaded.push(Identity::load(cert, key)?);
        // Certificate and key may each be fine and not belong together.
        let usable = Identities::new(loaded[0].clone(), loaded[1..].iter().cloned());
        identities = Ok(usable.map_err(|source| ConfigError::Tls {
            cert: cert.clone(),
            source,
        })?);
    }
    identities
}

/// The domain, which clients dial, and all names under it. A wildcard needs two labels behind its star: clients
/// refuse `*.localhost`, and some of them the whole certificate that it stands in.
pub(super) fn with_wildcard(domain: &str) -> Vec<String> {
    let mut names = vec![domain.to_owned()];
    if domain.contains('.') {
        names.push(format!("*.{domain}"));
    }
    names
}

/// Names for which a development certificate is good: all tunnels, and the ways to the server itself.
pub(super) fn dev_names<'a>(
    domain: &str,
    addresses: impl Iterator<Item = &'a SocketAddr>,
) -> Vec<String> {
    let mut names = with_wildcard(domain);
    names.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
    for address in addresses.filter(|address| !address.ip().is_unspecified()) {
        names.push(address.ip().to_string());
    }
    names.sort();
    names.dedup();
    names
}
