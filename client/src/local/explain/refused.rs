//! Nobody listens on the target: who does nearby?

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Explanation, Kind, is_loopback};
use crate::local::Target;
use crate::ports::{self, Listener};

pub(super) const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
pub(super) const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// Where the tools of web developers listen unless told otherwise.
const USUAL: [u16; 22] = [
    3000, 5173, 8080, 8000, 4200, 5000, 4321, 3001, 5174, 4000, 8888, 8081, 9000, 1313, 4173, 3333,
    6006, 7000, 8001, 5001, 8088, 1234,
];

/// From here on the system gives ports to whoever wants any: no app is looked for there.
const ANY_PORTS: u16 = 32768;

/// How many ports are named.
const NAMED: usize = 4;

/// A port of this machine answers at once, or a firewall swallows what is sent there.
const KNOCK_LIMIT: Duration = Duration::from_millis(300);

/// Looks who listens near `target`.
pub(super) async fn explain(target: &Target) -> Option<Explanation> {
    let (Target::Http { host, port } | Target::Https { host, port }) = target else {
        return None;
    };
    if !is_loopback(target) {
        return None;
    }
    let wanted = *port;
    let listed = tokio::task::spawn_blocking(move || {
        let listeners = ports::listeners()?;
        let ours = ports::sockets_of("self");
        Some(nearby(&listeners, wanted, &ours, ports::own_user()))
    });
    let others = match listed.await.ok()? {
        Some(others) => others,
        None => knocked(*port).await,
    };
    found(target, host, *port, &others)
}

/// The addresses behind which the developer's app could be: whoever has the wanted port, and elsewhere
/// listeners of the same user that are not our own.
fn nearby(
    listeners: &[Listener],
    wanted: u16,
    ours: &HashSet<u64>,
    user: Option<u32>,
) -> Vec<SocketAddr> {
    let likely = listeners.iter().filter(|one| {
        let is_users = user.is_none_or(|user| user == one.owner);
        one.address.port() == wanted || (is_users && !ours.contains(&one.socket))
    });
    likely
        .flat_map(|one| {
            let heard = [V4, V6].into_iter().filter(|address| one.hears(*address));
            let mut heard: Vec<IpAddr> = heard.collect();
            if heard.is_empty() {
                heard.push(one.address.ip());
            }
            let port = one.address.port();
            heard
                .into_iter()
                .map(move |address| SocketAddr::new(address, port))
        })
        .collect()
}

/// Where the system has no list: who answers on the wanted port and the usual ones.
async fn knocked(wanted: u16) -> Vec<SocketAddr> {
    let mut knocks = JoinSet::new();
    for port in std::iter::once(wanted).chain(USUAL) {
        for address in [V4, V6] {
            let address = SocketAddr::new(address, port);
            knocks.spawn(async move {
                let knocked = timeout(KNOCK_LIMIT, TcpStream::connect(address)).await;
                matches!(knocked, Ok(Ok(_))).then_some(address)
            });
        }
    }
    knocks.join_all().await.into_iter().flatten().collect()
}

/// What `others`, who listen, have to do with a target where nobody does.
fn found(target: &Target, host: &str, port: u16, others: &[SocketAddr]) -> Option<Explanation> {
    let at = |host: &str, port: u16| match target {
        Target::Https { .. } => Target::Https {
            host: host.to_owned(),
            port,
        },
        _ => Target::Http {
            host: host.to_owned(),
            port,
        },
    };
    let mut same_port = others.iter().filter(|other| other.port() == port);
    if let Some(other) = same_port.next() {
        let is_local = [V4, V6].contains(&other.ip());
        if other.ip().to_string() == host || (host == "localhost" && is_local) {
            // It has come up meanwhile.
            return None;
        }
        let what = format!(
            "nothing listens on {}, but something does on {other}",
            authority(host, port)
        );
        return Some(match is_local {
            true => {
                let both = at("localhost", port);
                Explanation::other_target(Kind::OtherFamily, what, &both)
            }
            false => {
                let there = at(&other.ip().to_string(), port);
                Explanation::other_target(Kind::OtherAddress, what, &there)
            }
        });
    }
    let is_apps =
        |other: &&SocketAddr| (1024..ANY_PORTS).contains(&other.port()) && other.ip().is_loopback();
    let mut ports: Vec<u16> = others
        .iter()
        .filter(is_apps)
        .map(SocketAddr::port)
        .collect();
    ports.sort_by_key(|port| {
        let usual = USUAL.iter().position(|usual| usual == port);
        (usual.unwrap_or(USUAL.len()), *port)
    });
    ports.dedup();
    let first = *ports.first()?;
    let named: Vec<String> = ports.iter().take(NAMED).map(ToString::to_string).collect();
    let more = match ports.len() > NAMED {
        true => " and others",
        false => "",
    };
    Some(Explanation::mended_by(
        Kind::OtherPort,
        format!(
            "nothing listens on port {port}, but something does on {}{more}",
            named.join(", ")
        ),
        &format!("-p {first} if that is your app"),
        &format!("port = {first}"),
    ))
}

fn authority(host: &str, port: u16) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(target: &str, others: &[&str]) -> Option<(Kind, String)> {
        let target: Target = target.parse().unwrap();
        let (Target::Http { host, port } | Target::Https { host, port }) = &target else {
            panic!("a port");
        };
        let others: Vec<SocketAddr> = others.iter().map(|other| other.parse().unwrap()).collect();
        let explanation = found(&target, host, *port, &others)?;
        Some((explanation.kind, explanation.to_string()))
    }

    #[test]
    fn the_same_port_of_the_other_family_is_found() {
        for (target, other) in [
            ("127.0.0.1:3000", "[::1]:3000"),
            ("[::1]:3000", "127.0.0.1:3000"),
        ] {
            let (kind, told) = explained(target, &["127.0.0.1:5173", other]).unwrap();
            assert_eq!(kind, Kind::OtherFamily);
            assert!(
                told.contains(&format!("something does on {other}")),
                "{told}"
            );
            assert!(
                told.contains("with the target http://localhost:3000"),
                "{told}"
            );
        }
        let (_, told) = explained("https://127.0.0.1:3000", &["[::1]:3000"]).unwrap();
        assert!(
            told.contains("target = \"https://localhost:3000\""),
            "{told}"
        );
    }

    #[test]
    fn the_same_port_on_another_address_is_found() {
        let (kind, told) = explained("3000", &["192.0.2.7:3000"]).unwrap();
        assert_eq!(kind, Kind::OtherAddress);
        assert_eq!(explained("3000", &["127.0.0.1:3000"]), None, "it is up now");
        assert_eq!(explained("127.0.0.1:3000", &["127.0.0.1:3000"]), None);
        assert!(
            told.contains("with the target http://192.0.2.7:3000"),
            "{told}"
        );
    }

    #[test]
    fn other_ports_are_named_the_usual_ones_first() {
        let others = [
            "127.0.0.1:2222",
            "127.0.0.1:8000",
            "[::1]:8000",
            "[::1]:5173",
        ];
        let (kind, told) = explained("3000", &others).unwrap();
        assert_eq!(kind, Kind::OtherPort);
        assert_eq!(
            told,
            "nothing listens on port 3000, but something does on 5173, 8000, 2222; start ngrnotok with \
             -p 5173 if that is your app, or put port = 5173 into the config file"
        );
        let many: Vec<String> = (2000..2009)
            .map(|port| format!("127.0.0.1:{port}"))
            .collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let (_, told) = explained("3000", &many).unwrap();
        assert!(
            told.contains("on 2000, 2001, 2002, 2003 and others;"),
            "{told}"
        );
    }

    #[test]
    fn what_is_no_app_of_the_developer_is_not_named() {
        let others = ["127.0.0.1:22", "127.0.0.1:49152", "192.0.2.7:8000"];
        assert_eq!(explained("3000", &others), None);
        let listener = |owner, socket| Listener {
            address: "0.0.0.0:8000".parse().unwrap(),
            owner,
            socket,
        };
        let listeners = [listener(7, 1), listener(8, 2)];
        let nearby = |wanted, ours: &[u64]| {
            let ours = ours.iter().copied().collect();
            nearby(&listeners, wanted, &ours, Some(7)).len()
        };
        assert_eq!(nearby(3000, &[]), 1, "that of the user");
        assert_eq!(nearby(3000, &[1]), 0, "it is our own");
        assert_eq!(nearby(8000, &[1]), 2, "whoever has the port");
    }

    #[tokio::test]
    async fn without_a_list_who_answers_is_found_by_knocking() {
        let app = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = app.local_addr().unwrap();
        assert!(knocked(address.port()).await.contains(&address));
    }
}
