//! Sockets that wait for connections.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::time::Duration;

use listenfd::ListenFd;
use ngrnotok_common::socket::optional;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tracing::warn;

/// Connections that may wait to be accepted. The kernel caps it (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// How long accepting rests when the process or the machine is out of something.
const REST: Duration = Duration::from_millis(100);

/// Binds `address` once for each of `copies` shards. Port 0 is chosen once and is the same for all.
///
/// On Linux each copy has a queue of its own (SO_REUSEPORT); elsewhere, and where that cannot be had, they share
/// one.
pub(crate) fn bind(address: SocketAddr, copies: usize) -> io::Result<Vec<StdListener>> {
    let first = open(address)?;
    // Before SO_REUSEPORT is set: with it, a second server of the same user would get the port too
    // and take away half of the visitors.
    first.bind(&address.into())?;
    let address: SocketAddr = first
        .local_addr()?
        .as_socket()
        .expect("an internet socket has an internet address");
    let mut sockets = vec![first];
    let has_own_queues = cfg!(target_os = "linux") && copies > 1 && share_port(&sockets[0]).is_ok();
    for _ in 1..copies {
        sockets.push(match has_own_queues {
            true => bind_beside(address)?,
            false => sockets[0].try_clone()?,
        });
    }
    for socket in &sockets {
        tune(socket);
        socket.listen(BACKLOG)?;
    }
    Ok(sockets.into_iter().map(StdListener::from).collect())
}

/// Sockets that whoever started this process has opened for it: systemd's socket activation
/// (`LISTEN_FDS`). They outlive the process, so that a restart refuses nobody.
pub fn inherited() -> io::Result<Vec<StdListener>> {
    let mut passed = ListenFd::from_env();
    let listeners =
        (0..passed.len()).filter_map(|place| passed.take_tcp_listener(place).transpose());
    let listeners = listeners.collect::<io::Result<Vec<_>>>()?;
    for listener in &listeners {
        listener.set_nonblocking(true)?;
    }
    Ok(listeners)
}

/// Takes the inherited socket for `address` and shares it among `copies` shards. A socket for every
/// address serves for any one with the same port.
pub(crate) fn inherit(
    address: SocketAddr,
    copies: usize,
    inherited: &mut Vec<StdListener>,
) -> io::Result<Option<Vec<StdListener>>> {
    let fits = |listener: &StdListener| {
        listener.local_addr().is_ok_and(|found| {
            found.port() == address.port()
                && (found.ip() == address.ip() || found.ip().is_unspecified())
        })
    };
    let Some(place) = inherited.iter().position(fits) else {
        return Ok(None);
    };
    let socket = inherited.remove(place);
    tune(&SockRef::from(&socket));
    let copies = (1..copies).map(|_| socket.try_clone());
    let mut shared = copies.collect::<io::Result<Vec<_>>>()?;
    shared.push(socket);
    Ok(Some(shared))
}

/// Whether only this machine reaches what listens on an address.
pub(crate) fn is_loopback(address: &SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// Sets what every accepted connection inherits, so that it costs none of them a call: small things go
/// out at once, because somebody waits for them; and a peer that vanished without a word is noticed after
/// 2 min of silence, also behind a WebSocket on which nothing is ever said.
/// None of that is worth refusing to serve for.
fn tune(socket: &Socket) {
    let silence = TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(15));
    optional("TCP_NODELAY", socket.set_tcp_nodelay(true));
    optional("SO_KEEPALIVE", socket.set_tcp_keepalive(&silence));
    // Windows has it since version 1703 of Windows 10, and asks ten times without it.
    let probes = silence.with_retries(4);
    optional("TCP_KEEPCNT", socket.set_tcp_keepalive(&probes));
}

/// A further socket for an address that is bound already, with a queue of its own.
fn bind_beside(address: SocketAddr) -> io::Result<Socket> {
    let socket = open(address)?;
    share_port(&socket)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(unix)]
fn share_port(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_port(true)
}

#[cfg(not(unix))]
fn share_port(_: &Socket) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

fn open(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // A restart must not wait for connections of the last run to time out. On Windows the option
    // means something else: it would let two servers share the port.
    #[cfg(unix)]
    optional("SO_REUSEADDR", socket.set_reuse_address(true));
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// The next connection. Accepting never fails: what is wrong with one connection is its own matter,
/// and when descriptors run out the loop rests and goes on.
pub(crate) async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // A dual-stack socket shows IPv4 peers as ::ffff:192.0.2.1.
                let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                return (stream, peer);
            }
            Err(error) if is_the_peers(&error) => {}
            Err(error) => {
                warn!(%error, "cannot accept connections; trying again");
                tokio::time::sleep(REST).await;
            }
        }
    }
}

fn is_the_peers(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inherited_socket_serves_its_address_on_every_shard() {
        let mut inherited = Vec::new();
        for _ in 0..2 {
            inherited.push(StdListener::bind("127.0.0.1:0").unwrap());
        }
        let second = inherited[1].local_addr().unwrap();
        let shared = inherit(second, 3, &mut inherited).unwrap().unwrap();
        assert_eq!((shared.len(), inherited.len()), (3, 1));
        for copy in shared {
            assert_eq!(copy.local_addr().unwrap(), second);
        }
        assert!(inherit(second, 3, &mut inherited).unwrap().is_none());

        let everywhere = StdListener::bind("0.0.0.0:0").unwrap();
        let port = everywhere.local_addr().unwrap().port();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        assert!(
            inherit(address, 1, &mut vec![everywhere])
                .unwrap()
                .is_some()
        );
    }

    #[test]
    fn only_this_machine_reaches_loopback() {
        for (address, expected) in [
            ("127.0.0.1:1", true),
            ("127.1.2.3:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("0.0.0.0:1", false),
            ("[::]:1", false),
            ("192.0.2.1:1", false),
            ("[::ffff:192.0.2.1]:1", false),
        ] {
            assert_eq!(
                is_loopback(&address.parse().unwrap()),
                expected,
                "{address}"
            );
        }
    }

    #[tokio::test]
    async fn accepted_connections_wait_for_nothing_and_notice_a_peer_that_vanished() {
        let any = "127.0.0.1:0".parse().unwrap();
        let own = bind(any, 1).unwrap();
        let mut passed = vec![StdListener::bind(any).unwrap()];
        passed[0].set_nonblocking(true).unwrap();
        let address = passed[0].local_addr().unwrap();
        let passed = inherit(address, 1, &mut passed).unwrap().unwrap();
        for listener in own.into_iter().chain(passed) {
            let listener = TcpListener::from_std(listener).unwrap();
            let visitor = TcpStream::connect(listener.local_addr().unwrap());
            let (_visitor, (accepted, _)) = tokio::join!(visitor, accept(&listener));
            let accepted = SockRef::from(&accepted);
            assert!(accepted.tcp_nodelay().unwrap());
            assert!(accepted.keepalive().unwrap());
            let silence = accepted.tcp_keepalive_time().unwrap();
            assert_eq!(silence, Duration::from_secs(60));
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_socket_that_has_none_of_the_options_serves_all_the_same() {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        assert!(socket.set_tcp_nodelay(true).is_err());
        tune(&socket);
        let (pair, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        pair.set_nonblocking(true).unwrap();
        let stream = std::net::TcpStream::from(std::os::fd::OwnedFd::from(pair));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let _entered = runtime.as_ref().unwrap().enter();
        let stream = TcpStream::from_std(stream).unwrap();
        assert!(stream.set_nodelay(true).is_err());
        ngrnotok_common::link::io::tune(&stream);
    }

    #[test]
    fn copies_share_one_port_and_nobody_else_gets_it() {
        let copies = bind("127.0.0.1:0".parse().unwrap(), 3).unwrap();
        let address = copies[0].local_addr().unwrap();
        for copy in &copies {
            assert_eq!(copy.local_addr().unwrap(), address);
        }
        for others in [1, 2] {
            let refused = bind(address, others).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
        }
    }
}
