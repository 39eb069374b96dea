//! Opening a TCP connection to a name: every address of it, and the quickest wins.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ngrnotok_common::hostname::is_localhost;
use ngrnotok_common::link::io::tune;
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// How long one address is waited for before the next one is tried beside it (RFC 8305 §5).
const HEAD_START: Duration = Duration::from_millis(250);

/// The addresses of a host, asked for anew each time: a server may have moved, or this computer. Those of
/// `localhost` are known.
pub(super) async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if is_localhost(host) {
        return Ok(vec![
            (Ipv4Addr::LOCALHOST, port).into(),
            (Ipv6Addr::LOCALHOST, port).into(),
        ]);
    }
    let addresses: Vec<_> = lookup_host((host, port)).await?.collect();
    match addresses.is_empty() {
        true => Err(io::Error::new(io::ErrorKind::NotFound, "it has no address")),
        false => Ok(addresses),
    }
}

/// Connects to whichever address answers first.
///
/// Cancel safety: dropping the future closes every connection that was on its way.
pub(super) async fn dial(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let stream = race(addresses, TcpStream::connect).await?;
    tune(&stream);
    Ok(stream)
}

/// Happy Eyeballs (RFC 8305 §4, §5): the families take turns, each address has a head start before the
/// next one, and one that fails makes room at once.
async fn race<S, F>(addresses: Vec<SocketAddr>, connect: impl Fn(SocketAddr) -> F) -> io::Result<S>
where
    S: Send + 'static,
    F: Future<Output = io::Result<S>> + Send + 'static,
{
    let mut waiting = in_turns(addresses).into_iter().peekable();
    let mut tries = JoinSet::new();
    let mut failure = io::Error::from(io::ErrorKind::NotFound);
    loop {
        match waiting.next() {
            Some(address) => drop(tries.spawn(connect(address))),
            None if tries.is_empty() => return Err(failure),
            None => {}
        }
        let more = waiting.peek().is_some();
        tokio::select! {
            Some(tried) = tries.join_next() => match tried {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => failure = telling(failure, error),
                Err(error) => failure = error.into(),
            },
            () = sleep(HEAD_START), if more => {}
        }
    }
}

/// One family after the other, beginning with the one that the system put first (RFC 8305 §4).
fn in_turns(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let v6_first = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv6() == v6_first);
    let longer = first.len().max(second.len());
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    (0..longer)
        .flat_map(|_| [first.next(), second.next()])
        .flatten()
        .collect()
}

/// Of two failures the one that tells more: that a family has no way out is so on many computers, and
/// says nothing about the server.
fn telling(before: io::Error, now: io::Error) -> io::Error {
    let says_little = matches!(
        now.kind(),
        io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::AddrNotAvailable
    );
    match says_little && before.kind() != io::ErrorKind::NotFound {
        true => before,
        false => now,
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::{Arc, Mutex};

    use tokio::time::Instant;

    use super::*;

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        let parsed = list.iter().map(|address| address.parse().unwrap());
        parsed.collect()
    }

    /// What an address does in a test.
    #[derive(Clone, Copy)]
    enum Does {
        Answer,
        Fail(io::ErrorKind),
        Stall,
    }

    /// Races in a world where each address does something; tells the winner and when each was tried.
    async fn raced(
        world: &[(&str, Does)],
    ) -> (Result<SocketAddr, io::ErrorKind>, Vec<(SocketAddr, u128)>) {
        let (start, tried) = (Instant::now(), Arc::new(Mutex::new(Vec::new())));
        let world: Vec<(SocketAddr, Does)> = world
            .iter()
            .map(|(address, does)| (address.parse().unwrap(), *does))
            .collect();
        let addresses = world.iter().map(|(address, _)| *address).collect();
        let connect = |address| {
            let does = world.iter().find(|(known, _)| *known == address).unwrap().1;
            let at = (address, start.elapsed().as_millis());
            tried.lock().unwrap().push(at);
            async move {
                match does {
                    Does::Answer => Ok(address),
                    Does::Fail(kind) => Err(kind.into()),
                    Does::Stall => pending().await,
                }
            }
        };
        let won = race(addresses, connect).await.map_err(|error| error.kind());
        let tried = tried.lock().unwrap().clone();
        (won, tried)
    }

    #[test]
    fn families_take_turns() {
        let mixed = addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"]);
        let turns = ["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"];
        assert_eq!(in_turns(mixed), addresses(&turns));
        let v4_first = addresses(&["1.1.1.1:1", "2.2.2.2:1", "[::1]:1"]);
        let turns = ["1.1.1.1:1", "[::1]:1", "2.2.2.2:1"];
        assert_eq!(in_turns(v4_first), addresses(&turns));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stalled_ipv6_costs_a_quarter_of_a_second() {
        let stalled = ("[::1]:1", Does::Stall);
        let (won, tried) = raced(&[stalled, ("1.1.1.1:1", Does::Answer)]).await;
        assert_eq!(won, Ok("1.1.1.1:1".parse().unwrap()));
        let at: Vec<u128> = tried.iter().map(|(_, at)| *at).collect();
        assert_eq!(at, [0, 250]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_fails_makes_room_at_once_and_one_that_answers_is_enough() {
        let refused = Does::Fail(io::ErrorKind::ConnectionRefused);
        let (won, tried) = raced(&[
            ("[::1]:1", refused),
            ("[::2]:1", Does::Answer),
            ("1.1.1.1:1", refused),
            ("2.2.2.2:1", Does::Answer),
        ])
        .await;
        assert_eq!(won, Ok("[::2]:1".parse().unwrap()));
        let at: Vec<u128> = tried.iter().map(|(_, at)| *at).collect();
        assert_eq!(at, [0, 0, 0], "the fourth one is left alone");
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_was_given_up_too_soon_may_still_win() {
        let start = Instant::now();
        let connect = |address: SocketAddr| async move {
            let takes = if address.is_ipv6() { 900 } else { 3_000 };
            sleep(Duration::from_millis(takes)).await;
            Ok(address)
        };
        let won = race(addresses(&["[::1]:1", "1.1.1.1:1"]), connect).await;
        assert!(won.unwrap().is_ipv6());
        assert_eq!(start.elapsed().as_millis(), 900);
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_fail_the_failure_that_tells_most_is_told() {
        let refused = ("1.1.1.1:1", Does::Fail(io::ErrorKind::ConnectionRefused));
        let no_way = ("[::1]:1", Does::Fail(io::ErrorKind::NetworkUnreachable));
        for world in [[refused, no_way], [no_way, refused]] {
            let (failed, tried) = raced(&world).await;
            assert_eq!(failed, Err(io::ErrorKind::ConnectionRefused));
            assert_eq!(tried.len(), 2);
        }
        let (failed, _) = raced(&[no_way]).await;
        assert_eq!(failed, Err(io::ErrorKind::NetworkUnreachable));
    }

    #[tokio::test]
    async fn all_addresses_of_a_name_are_asked_for() {
        let found = resolve("127.0.0.1", 7).await.unwrap();
        assert_eq!(found, addresses(&["127.0.0.1:7"]));
        // A resolver that is asked knows no name below it, and without /etc/hosts not even this one.
        for here in ["localhost", "LocalHost.", "no-such-name.localhost"] {
            let found = resolve(here, 7).await.unwrap();
            assert_eq!(found, addresses(&["127.0.0.1:7", "[::1]:7"]), "{here}");
        }
        assert!(resolve("nowhere.invalid", 7).await.is_err());
    }
}
