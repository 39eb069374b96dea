//! What the store says about names, in memory.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use ngrnotok_common::hostname::Name;

use crate::store::{Domain, Store, StoreError};

/// What the operator has decided about names, as it was a moment ago.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Known {
    reserved: HashMap<Box<str>, Arc<str>>,
    hosts: HashMap<Box<str>, Domain>,
}

impl Known {
    /// Reads it.
    pub(super) async fn read(store: &Store) -> Result<Self, StoreError> {
        let hosts = store.list_domains().await?.into_iter();
        Ok(Self {
            reserved: store.list_reserved().await?,
            hosts: hosts
                .map(|domain| (domain.host.as_str().into(), domain))
                .collect(),
        })
    }

    /// The account that a label is reserved for.
    pub(super) fn reserved_for(&self, label: &Name) -> Option<&str> {
        self.reserved.get(label.as_str()).map(|account| &**account)
    }

    /// A host outside the server's domain.
    pub(super) fn host(&self, host: &Name) -> Option<&Domain> {
        self.hosts.get(host.as_str())
    }

    /// The hosts that were proved to be their accounts'.
    pub(super) fn verified(&self) -> HashSet<Box<str>> {
        let verified = self.hosts.iter();
        let verified = verified.filter(|(_, domain)| domain.verified.is_some());
        verified.map(|(host, _)| host.clone()).collect()
    }
}
