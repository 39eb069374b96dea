//! Whose sockets there are on this machine, as far as the system tells.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

/// A socket that accepts connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Listener {
    /// Where it listens; an unspecified address means everywhere.
    pub(crate) address: SocketAddr,
    /// The user whose program it is.
    pub(crate) owner: u32,
    /// The name that the system has for it.
    pub(crate) socket: u64,
}

impl Listener {
    /// Whether a connection to this address of the machine would get there.
    pub(crate) fn hears(&self, address: IpAddr) -> bool {
        match self.address.ip() {
            own if own == address => true,
            own if own.is_unspecified() => own.is_ipv6() || address.is_ipv4(),
            _ => false,
        }
    }
}

/// Every listener; `None` where the system has no list of them, which is everywhere but on Linux. It
/// reads files, and on a machine with many connections that takes a while.
pub(crate) fn listeners() -> Option<Vec<Listener>> {
    let v4 = std::fs::read_to_string("/proc/net/tcp").ok()?;
    // A machine without IPv6 has no such file.
    let v6 = std::fs::read_to_string("/proc/net/tcp6").unwrap_or_default();
    Some(listed(&v4).chain(listed(&v6)).collect())
}

/// Whether the system has a list of sockets. One that cannot be looked for counts as there.
pub(crate) fn are_listed() -> bool {
    !matches!(Path::new("/proc/net/tcp").try_exists(), Ok(false))
}

/// The user whose program has the other end of a connection within this machine: of the socket at `there` that
/// is connected to `here`. `None` where the system does not tell.
pub(crate) fn owner_of(there: SocketAddr, here: SocketAddr) -> Option<u32> {
    // A socket of IPv6 that talks IPv4 is in the other table.
    ["/proc/net/tcp", "/proc/net/tcp6"]
        .into_iter()
        .find_map(|table| connected(&std::fs::read_to_string(table).ok()?, there, here))
}

/// The user whose process this is.
pub(crate) fn own_user() -> Option<u32> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        Some(std::fs::metadata("/proc/self").ok()?.uid())
    }
    #[cfg(not(unix))]
    None
}

/// The sockets of a process: a number, or "self". Those of other users' processes are not told.
pub(crate) fn sockets_of(process: &str) -> HashSet<u64> {
    let Ok(descriptors) = std::fs::read_dir(format!("/proc/{process}/fd")) else {
        return HashSet::new();
    };
    let descriptors = descriptors.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    descriptors
        .filter_map(|file| {
            let socket = file.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
            socket.parse().ok()
        })
        .collect()
}

/// The listeners in a table of `/proc/net`.
fn listed(table: &str) -> impl Iterator<Item = Listener> {
    table.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, local, _, LISTENING, _, _, _, owner, _, socket, ..] = fields[..] else {
            return None;
        };
        Some(Listener {
            address: address(local)?,
            owner: owner.parse().ok()?,
            socket: socket.parse().ok()?,
        })
    })
}

/// The owner of a connected socket in a table of `/proc/net`. In other states the system may name root for a
/// socket that nobody has any more.
fn connected(table: &str, local: SocketAddr, remote: SocketAddr) -> Option<u32> {
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, from, to, ESTABLISHED, _, _, _, owner, ..] = fields[..] else {
            return None;
        };
        let is = |text: &str, wanted: SocketAddr| {
            let address = address(text)?;
            let address = SocketAddr::new(address.ip().to_canonical(), address.port());
            (address == wanted).then_some(())
        };
        is(from, local)?;
        is(to, remote)?;
        owner.parse().ok()
    })
}

/// `TCP_LISTEN` of the kernel.
const LISTENING: &str = "0A";

/// `TCP_ESTABLISHED` of the kernel.
const ESTABLISHED: &str = "01";

/// `0100007F:0BB8`: words of the machine, each in its own order of bytes, and the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |place: usize| {
        let digits = address.get(place * 8..place * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let address: IpAddr = match address.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?].concat();
            Ipv6Addr::from(<[u8; 16]>::try_from(words).ok()?).into()
        }
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_found_and_known_for_ours() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(socket) = std::net::TcpListener::bind(address) else {
                continue;
            };
            let address = socket.local_addr().unwrap();
            let listeners = listeners().unwrap();
            let mut there = listeners.iter().filter(|one| one.address == address);
            let listener = there.next().expect("it listens");
            assert!(sockets_of("self").contains(&listener.socket));
            assert!(listener.hears(address.ip()));
        }
    }

    #[test]
    fn the_owner_of_the_other_end_is_told_while_it_is_connected() {
        use std::os::linux::fs::MetadataExt as _;
        let us = std::fs::metadata("/proc/self").unwrap().st_uid();
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = std::net::TcpListener::bind(address) else {
                continue;
            };
            let here = listener.local_addr().unwrap();
            let there = std::net::TcpStream::connect(here).unwrap();
            let (_accepted, peer) = listener.accept().unwrap();
            assert_eq!(owner_of(peer, here), Some(us));
            assert_eq!(owner_of(here, here), None);
            drop(there);
            assert_eq!(owner_of(peer, here), None);
        }
    }

    #[test]
    fn a_socket_of_ipv6_that_talks_ipv4_has_an_owner_too() {
        let row = "  1: 0000000000000000FFFF00000100007F:9000 0000000000000000FFFF00000100007F:0FC8 01 \
            00000000:00000000 00:00000000 00000000  1000        0 4712 1 0\n";
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        assert_eq!(connected(row, at(0x9000), at(4040)), Some(1000));
        assert_eq!(connected(row, at(4040), at(0x9000)), None, "the other end");
    }

    #[test]
    fn what_does_not_listen_is_left_out() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            \x20  0: 0100007F:0BB8 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0\n\
            \x20  1: 0100007F:0BB9 0100007F:9000 01 00000000:00000000 00:00000000 00000000  1000        0 4712 1 0\n";
        let found: Vec<_> = listed(table).collect();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].socket, 4711);
        assert_eq!(found[0].owner, 1000);
        assert_eq!(found[0].address.port(), 3000);
    }

    #[test]
    fn everywhere_means_one_family_or_both() {
        let hears = |address: &str, to: &str| {
            let address = address.parse().unwrap();
            let listener = Listener {
                address,
                owner: 0,
                socket: 0,
            };
            listener.hears(to.parse().unwrap())
        };
        assert!(hears("0.0.0.0:1", "127.0.0.1") && !hears("0.0.0.0:1", "::1"));
        assert!(hears("[::]:1", "127.0.0.1") && hears("[::]:1", "::1"));
        assert!(!hears("10.0.0.1:1", "127.0.0.1"));
    }
}
