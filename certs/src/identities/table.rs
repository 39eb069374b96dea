//! Lookup of the identity for a host name.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use rustls::sign::CertifiedKey;

use crate::Identity;
use crate::flaws::names;
use crate::tls::{TlsError, certified};

/// Identities by name.
#[derive(Debug)]
pub(super) struct Table {
    /// For those who ask for no name that is known.
    first: Arc<CertifiedKey>,
    others: Vec<Arc<CertifiedKey>>,
    hosts: HashMap<Box<str>, Arc<CertifiedKey>>,
    /// By what stands behind the star and its dot.
    wildcards: HashMap<Box<str>, Arc<CertifiedKey>>,
}

impl Table {
    pub(super) fn new(
        first: Identity,
        others: impl IntoIterator<Item = Identity>,
    ) -> Result<Self, TlsError> {
        let names_of = |identity: &Identity| identity.chain.first().map(names).unwrap_or_default();
        let names = names_of(&first);
        let first = Arc::new(certified(first)?);
        let mut table = Self {
            first: Arc::clone(&first),
            others: Vec::new(),
            hosts: HashMap::new(),
            wildcards: HashMap::new(),
        };
        table.add(names, &first);
        for identity in others {
            let names = names_of(&identity);
            let key = Arc::new(certified(identity)?);
            if names.is_empty() {
                return Err(TlsError::Nameless);
            }
            table.add(names, &key);
            table.others.push(key);
        }
        Ok(table)
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

    /// The identity that is good for a host, lower case.
    pub(super) fn find(&self, host: &str) -> Option<&Arc<CertifiedKey>> {
        let wildcard = || {
            let (_, parent) = host.split_once('.')?;
            self.wildcards.get(parent)
        };
        self.hosts.get(host).or_else(wildcard)
    }

    /// Returns the certificate for a host name in lower case.
    pub(super) fn of(&self, host: &str) -> &Arc<CertifiedKey> {
        self.find(host).unwrap_or(&self.first)
    }

    /// Every identity.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<CertifiedKey>> {
        std::iter::once(&self.first).chain(&self.others)
    }
}
