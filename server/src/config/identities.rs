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

/// Names for which a development certificate is good: all tunnels, and the ways to the server itself.
pub(super) fn dev_names<'a>(
    domain: &str,
    addresses: impl Iterator<Item = &'a SocketAddr>,
) -> Vec<String> {
    let mut names = vec![
        domain.to_owned(),
        format!("*.{domain}"),
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
        "::1".to_owned(),
    ];
    for address in addresses.filter(|address| !address.ip().is_unspecified()) {
        names.push(address.ip().to_string());
    }
    names.sort();
    names.dedup();
    names
}
