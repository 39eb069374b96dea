use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::Identity;
use crate::tls::{TlsError, certified};

/// What a server shows that goes by several names: whoever asks for one of them sees the identity that
/// is good for it, everybody else the first. Clones share the keys.
#[derive(Clone, Debug)]
pub struct Identities {
    first: Arc<CertifiedKey>,
    hosts: HashMap<Box<str>, Arc<CertifiedKey>>,
    /// By what stands behind the star and its dot.
    wildcards: HashMap<Box<str>, Arc<CertifiedKey>>,
}

impl Identities {
    /// An identity for everybody, and others for those who ask for a name that they are good for. One for
    /// the very name goes before a wildcard, and of two alike the one that stands before.
    ///
    /// # Errors
    ///
    /// When a chain and its key cannot be used together, or one of the others has no name to be asked for
    /// by.
    pub fn new(
        first: Identity,
        others: impl IntoIterator<Item = Identity>,
    ) -> Result<Self, TlsError> {
        let names = names(&first);
        let mut identities = Self {
            first: Arc::new(certified(first)?),
            hosts: HashMap::new(),
            wildcards: HashMap::new(),
        };
        let first = Arc::clone(&identities.first);
        identities.add(names, &first);
        for identity in others {
            let names = self::names(&identity);
            let key = certified(identity)?;
            if names.is_empty() {
                return Err(TlsError::Nameless);
            }
            identities.add(names, &Arc::new(key));
        }
        Ok(identities)
    }

    fn add(&mut self, names: Vec<String>, key: &Arc<CertifiedKey>) {
        for name in names {
            let place = match name.strip_prefix("*.") {
                Some(parent) => self.wildcards.entry(parent.into()),
                None => self.hosts.entry(name.into()),
            };
            if let Entry::Vacant(place) = place {
                place.insert(Arc::clone(key));
            }
        }
    }

    /// Whether there is a certificate for this host, lower case.
    pub fn covers(&self, host: &str) -> bool {
        self.find(host).is_some()
    }

    fn find(&self, host: &str) -> Option<&Arc<CertifiedKey>> {
        let wildcard = || {
            let (_, parent) = host.split_once('.')?;
            self.wildcards.get(parent)
        };
        self.hosts.get(host).or_else(wildcard)
    }
}

impl TryFrom<Identity> for Identities {
    type Error = TlsError;

    fn try_from(identity: Identity) -> Result<Self, TlsError> {
        Self::new(identity, [])
    }
}

impl ResolvesServerCert for Identities {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(str::to_ascii_lowercase);
        let found = name.and_then(|name| self.find(&name));
        Some(Arc::clone(found.unwrap_or(&self.first)))
    }
}

/// The names that a certificate says it is good for, lower case.
fn names(identity: &Identity) -> Vec<String> {
    let Some(leaf) = identity.chain.first() else {
        return Vec::new();
    };
    let Ok((_, leaf)) = X509Certificate::from_der(leaf) else {
        return Vec::new();
    };
    let Ok(Some(names)) = leaf.subject_alternative_name() else {
        return Vec::new();
    };
    let names = names.value.general_names.iter();
    names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev::DevAuthority;
    use crate::testing::{handshake, issue};
    use crate::tls::{Trust, client_config, link_server_config, server_config};

    #[test]
    fn each_visitor_sees_the_certificate_of_the_name_he_asks_for() {
        let authority = DevAuthority::generate().unwrap();
        let of = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            authority.issue(&names).unwrap()
        };
        let tunnels = of(&["*.tunnel.test", "tunnel.test"]);
        let others = [
            of(&["app.example.com", "shop.example.com"]),
            of(&["*.example.com"]),
            // Somebody who wants everything gets what is left.
            of(&["app.example.com", "x.tunnel.test", "example.org"]),
        ];
        let identities = Identities::new(tunnels, others).unwrap();
        let client = client_config(Trust::Roots(vec![authority.certificate()]), &[]).unwrap();
        for server in [
            server_config(identities.clone(), &[]).unwrap(),
            link_server_config(identities.clone(), &[]).unwrap(),
        ] {
            let seen = |name: &str| {
                let (client, _) = handshake(&client, &server, name).ok()?;
                let leaf = client.peer_certificates()?.first()?.clone();
                Some(leaf.into_owned())
            };
            for (name, like) in [
                ("a.tunnel.test", "tunnel.test"),
                ("x.tunnel.test", "x.tunnel.test"),
                ("APP.example.com", "shop.example.com"),
                ("other.example.com", "more.example.com"),
                ("example.org", "example.org"),
            ] {
                let leaf = seen(name);
                assert!(leaf.is_some(), "{name}");
                assert_eq!(leaf, seen(like), "{name}");
                assert!(identities.covers(&name.to_lowercase()), "{name}");
            }
            assert_ne!(seen("app.example.com"), seen("other.example.com"));
            assert_ne!(seen("app.example.com"), seen("example.org"));
            for name in ["example.com", "a.app.example.com", "elsewhere.test"] {
                assert_eq!(seen(name), None, "{name}");
                assert!(!identities.covers(name), "{name}");
            }
        }
    }

    #[test]
    fn whoever_asks_for_nothing_sees_the_first() {
        let authority = DevAuthority::generate().unwrap();
        let first = issue(&authority, "127.0.0.1");
        let others = [issue(&authority, "app.example.com")];
        let server = server_config(Identities::new(first, others).unwrap(), &[]).unwrap();
        let client = client_config(Trust::Roots(vec![authority.certificate()]), &[]).unwrap();
        handshake(&client, &server, "127.0.0.1").unwrap();
    }

    #[test]
    fn an_identity_that_cannot_be_used_is_refused() {
        let authority = DevAuthority::generate().unwrap();
        let first = issue(&authority, "localhost");
        let mixed = Identity {
            chain: first.chain.clone(),
            key: issue(&authority, "localhost").key,
        };
        let nameless = issue(&authority, "127.0.0.1");
        for (other, why) in [
            (mixed, TlsError::KeyMismatch),
            (nameless, TlsError::Nameless),
        ] {
            let refused = Identities::new(first.clone(), [other]).unwrap_err();
            assert_eq!(refused, why);
        }
    }
}
