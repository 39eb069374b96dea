//! The part of an address that tells one host from another.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// What one host has of addresses: one of IPv4, 64 bits of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Prefix(u128);

impl Prefix {
    /// That of the host with this address.
    pub fn of(address: IpAddr) -> Self {
        // A socket for both shows IPv4 as IPv6.
        match address.to_canonical() {
            IpAddr::V4(address) => Self(address.to_ipv6_mapped().to_bits()),
            IpAddr::V6(address) => Self(address.to_bits() >> 64 << 64),
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = Ipv6Addr::from_bits(self.0);
        match address.to_ipv4_mapped() {
            Some(address) => write!(f, "{address}"),
            None => write!(f, "{address}/64"),
        }
    }
}
