//! The names that an authority may sign for (RFC 5280 §4.2.1.10), so that whoever steals its key, or has been
//! told to trust it, is no authority for the rest of the Internet.
//!
//! Addresses are not constrained: BoringSSL, and with it gRPC and Envoy, refuses every certificate with an address
//! under an authority that has constraints on addresses.

use std::net::IpAddr;

use rcgen::{GeneralSubtree, NameConstraints};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

/// Permits these names with all that is under them, `localhost`, and no other name.
pub(super) fn only(names: &[String]) -> NameConstraints {
    let mut permitted_subtrees = vec![GeneralSubtree::DnsName("localhost".to_owned())];
    for name in names.iter().filter(|name| !is_address(name)) {
        let subtree = GeneralSubtree::DnsName(host(name).to_owned());
        if !permitted_subtrees.contains(&subtree) {
            permitted_subtrees.push(subtree);
        }
    }
    NameConstraints {
        permitted_subtrees,
        excluded_subtrees: Vec::new(),
    }
}

/// Whether an authority may sign for a name. One without constraints may sign for all: it was made when there
/// were none yet.
pub(super) fn permit(authority: &X509Certificate<'_>, name: &str) -> bool {
    if is_address(name) {
        return true;
    }
    let constraints = match authority.name_constraints() {
        Ok(Some(constraints)) => constraints.value,
        Ok(None) => return true,
        Err(_) => return false,
    };
    let permitted = constraints.permitted_subtrees.as_deref();
    permitted.unwrap_or_default().iter().any(|subtree| {
        let GeneralName::DNSName(domain) = &subtree.base else {
            return false;
        };
        let above = host(name).strip_suffix(domain);
        above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
    })
}

fn is_address(name: &str) -> bool {
    name.parse::<IpAddr>().is_ok()
}

fn host(name: &str) -> &str {
    name.strip_prefix("*.").unwrap_or(name)
}
