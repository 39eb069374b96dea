//! The names that an authority may sign for (RFC 5280 §4.2.1.10), so that whoever steals its key, or has been
//! told to trust it, is no authority for the rest of the Internet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rcgen::{CidrSubnet, GeneralSubtree, NameConstraints};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

/// Permits these names with all that is under them, this machine itself, and nothing else.
pub(super) fn only(names: &[String]) -> NameConstraints {
    let own = names.iter().map(|name| match name.parse() {
        Ok(address) => GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(address, 128)),
        Err(_) => GeneralSubtree::DnsName(host(name).to_owned()),
    });
    let loopback = [
        GeneralSubtree::DnsName("localhost".to_owned()),
        GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(Ipv4Addr::LOCALHOST.into(), 8)),
        GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(
            Ipv6Addr::LOCALHOST.into(),
            128,
        )),
    ];
    let mut permitted_subtrees: Vec<_> = loopback.into_iter().collect();
    for subtree in own {
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
    let constraints = match authority.name_constraints() {
        Ok(Some(constraints)) => constraints.value,
        Ok(None) => return true,
        Err(_) => return false,
    };
    let permitted = constraints.permitted_subtrees.as_deref();
    permitted
        .unwrap_or_default()
        .iter()
        .any(|subtree| match (&subtree.base, name.parse()) {
            (GeneralName::IPAddress(subnet), Ok(address)) => is_in(address, subnet),
            (GeneralName::DNSName(domain), Err(_)) => {
                let above = host(name).strip_suffix(domain);
                above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
            }
            _ => false,
        })
}

/// Whether a name is an address for which an authority may not sign.
pub(super) fn is_foreign_address(authority: &X509Certificate<'_>, name: &str) -> bool {
    name.parse::<IpAddr>().is_ok() && !permit(authority, name)
}

/// Address and mask follow each other.
fn is_in(address: IpAddr, subnet: &[u8]) -> bool {
    let address = match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    subnet.len() == 2 * address.len() && {
        let (network, mask) = subnet.split_at(address.len());
        let masked = address.iter().zip(mask).map(|(byte, mask)| byte & mask);
        masked.eq(network.iter().zip(mask).map(|(byte, mask)| byte & mask))
    }
}

fn host(name: &str) -> &str {
    name.strip_prefix("*.").unwrap_or(name)
}
