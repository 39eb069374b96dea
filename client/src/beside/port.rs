//! Where a command listens: the port that it, or a process it has started, opens.

use std::collections::{BTreeMap, HashSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::BesideError;
use crate::local::Target;
use crate::local::explain::spoken;
use crate::ports::{self, Listener};

/// How often a command is looked at: quick at first, for those that start quickly.
const LOOK: Duration = Duration::from_millis(100);
const LOOK_LATER: Duration = Duration::from_millis(500);
const LATER: Duration = Duration::from_secs(10);

/// When the user is told what is waited for: after 15 s.
const PATIENCE: Duration = Duration::from_secs(15);

/// The first answer of a dev server may have to wait for a build: 60 s.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// A port that does not answer is asked again after this.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// Node's debugger speaks HTTP, too.
const DEBUGGER: u16 = 9229;

/// How the port is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// The user says which one it is.
    Known(u16),
    /// We have chosen one, and the command has it in `PORT`.
    Given(u16),
    /// The system tells what the command opens.
    Seen,
}

impl Wish {
    /// What the user wishes for: `port` by its number, `by_variable` in `PORT`.
    pub fn new(port: Option<u16>, by_variable: bool) -> Result<Self, BesideError> {
        match port {
            Some(port) => Ok(Self::Known(port)),
            None if by_variable || ports::listeners().is_none() => {
                let free = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
                let free = free.and_then(|free| free.local_addr());
                Ok(Self::Given(free.map_err(BesideError::Port)?.port()))
            }
            None => Ok(Self::Seen),
        }
    }

    /// What belongs into `PORT`.
    pub fn variable(self) -> Option<u16> {
        match self {
            Self::Given(port) => Some(port),
            Self::Known(_) | Self::Seen => None,
        }
    }
}

/// Where a command listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The local app.
    pub target: Target,
    /// Its port.
    pub port: u16,
    /// What else it has open.
    pub others: Vec<u16>,
}

/// Something to tell the user meanwhile, one sentence.
pub type Tell<'a> = &'a (dyn Fn(String) + Send + Sync);

/// Whether somebody listens on a port of this machine already.
pub async fn is_open(port: u16) -> bool {
    let there = Target::Http {
        host: "localhost".to_owned(),
        port,
    };
    spoken::accepts(&there).await
}

/// How the port of a command is looked for.
#[derive(Clone, Copy)]
pub(super) struct Search<'a> {
    /// The command; `None` if it has ended, and whoever waits for that knows.
    pub(super) process: Option<u32>,
    /// How the port is known.
    pub(super) wish: Wish,
    /// An app need not answer HTTP; it is enough that it accepts connections.
    pub(super) any_protocol: bool,
    /// Hears what is waited for, after a while.
    pub(super) tell: Tell<'a>,
}

impl Search<'_> {
    /// Waits until the command answers on a port of the wish. Those of `passed_over` do not count, unless they
    /// are closed and opened again. Cancel safety: safe.
    pub(super) async fn find(&self, mut passed_over: HashSet<u16>) -> Found {
        let began = Instant::now();
        let mut told = false;
        let mut tries = JoinSet::new();
        let mut asked_of = HashSet::new();
        loop {
            let open = self.open().await;
            passed_over.retain(|port| open.contains_key(port));
            for (port, address) in &open {
                let is_debugger = self.wish == Wish::Seen && *port == DEBUGGER;
                let counts = !is_debugger && !passed_over.contains(port);
                if counts && asked_of.insert(*port) {
                    tries.spawn(asked(*port, *address, self.any_protocol));
                }
            }
            let pause = match began.elapsed() < LATER {
                true => LOOK,
                false => LOOK_LATER,
            };
            tokio::select! {
                Some(Ok((port, answered))) = tries.join_next() => match answered {
                    Some(target) => {
                        let others = open.into_keys().filter(|other| *other != port);
                        return Found { target, port, others: others.collect() };
                    }
                    // It may listen before it is able to answer, or be no web server at all.
                    None => drop(asked_of.remove(&port)),
                },
                () = sleep(pause) => {}
            }
            if !told && began.elapsed() >= PATIENCE {
                told = true;
                let open: Vec<u16> = open.into_keys().collect();
                (self.tell)(waiting(self.wish, &open));
            }
        }
    }

    /// The ports on which it may answer.
    async fn open(&self) -> BTreeMap<u16, SocketAddr> {
        match (self.wish, self.process) {
            (Wish::Known(port) | Wish::Given(port), _) => {
                let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
                BTreeMap::from([(port, address)])
            }
            (Wish::Seen, Some(process)) => {
                let open = opened_by(process).await.into_iter();
                open.map(|(port, listener)| (port, listener.address))
                    .collect()
            }
            (Wish::Seen, None) => BTreeMap::new(),
        }
    }
}

/// What is waited for, after a while.
fn waiting(wish: Wish, open: &[u16]) -> String {
    match (wish, open) {
        (Wish::Known(port), _) => {
            format!("nothing answers HTTP on port {port} yet; still waiting")
        }
        (Wish::Given(port), _) => format!(
            "nothing answers HTTP on port {port} yet, which the command has in PORT; still waiting. If it \
             listens elsewhere, name that with -p PORT"
        ),
        (Wish::Seen, []) => {
            "the command has opened no port yet; still waiting. If it listens where \
             ngrnotok cannot see it, in a container for example, name the port with -p PORT"
                .to_owned()
        }
        (Wish::Seen, open) => format!(
            "the command has opened {}, but does not answer HTTP there yet; still waiting. Another port \
             can be named with -p PORT",
            listed(open)
        ),
    }
}

/// `port 1` or `ports 1, 2`
pub fn listed(ports: &[u16]) -> String {
    let numbers: Vec<String> = ports.iter().map(ToString::to_string).collect();
    match ports.len() {
        1 => format!("port {}", numbers[0]),
        _ => format!("ports {}", numbers.join(", ")),
    }
}

/// Asks a port once: the target, if it answers. If not, that is told when it is time to ask again.
async fn asked(port: u16, address: SocketAddr, any_protocol: bool) -> (u16, Option<Target>) {
    let host = match address.ip() {
        ip if ip.is_loopback() || ip.is_unspecified() => "localhost".to_owned(),
        ip => ip.to_string(),
    };
    let plain = Target::Http {
        host: host.clone(),
        port,
    };
    let answered = match any_protocol {
        true => spoken::accepts(&plain).await,
        false => spoken::plain_http(&plain, ANSWER_LIMIT).await,
    };
    if answered {
        return (port, Some(plain));
    }
    let over_tls = spoken::tls(&plain).await;
    if !over_tls {
        sleep(ASK_AGAIN).await;
    }
    (port, over_tls.then_some(Target::Https { host, port }))
}

/// What a process and all that it has started listen on.
pub(super) async fn opened_by(process: u32) -> BTreeMap<u16, Listener> {
    let looked = tokio::task::spawn_blocking(move || {
        let listeners = ports::listeners()?;
        let mut sockets = HashSet::new();
        for process in family(process, &parents()) {
            sockets.extend(ports::sockets_of(&process.to_string()));
        }
        Some(of_sockets(&listeners, &sockets))
    });
    looked.await.ok().flatten().unwrap_or_default()
}

/// The listeners behind these sockets; of two on one port, the one that this machine reaches by the name
/// `localhost`.
fn of_sockets(listeners: &[Listener], sockets: &HashSet<u64>) -> BTreeMap<u16, Listener> {
    let mut open = BTreeMap::new();
    for listener in listeners {
        if !sockets.contains(&listener.socket) {
            continue;
        }
        let address = listener.address;
        let is_local = address.ip().is_loopback() || address.ip().is_unspecified();
        if is_local || !open.contains_key(&address.port()) {
            open.insert(address.port(), *listener);
        }
    }
    open
}

/// Every process with its parent and its group.
struct Process {
    id: u32,
    parent: u32,
    group: u32,
}

fn parents() -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    ids.filter_map(|id: u32| {
        process(
            id,
            &std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?,
        )
    })
    .collect()
}

/// Reads `/proc/ID/stat`: the name in brackets may hold anything, so what counts comes after the last one.
fn process(id: u32, stat: &str) -> Option<Process> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(1);
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    Some(Process { id, parent, group })
}

/// A process and all below it, and those of its group, whose parent may be gone.
fn family(head: u32, all: &[Process]) -> HashSet<u32> {
    let mut family = HashSet::from([head]);
    loop {
        let known = family.len();
        for process in all {
            if process.group == head || family.contains(&process.parent) {
                family.insert(process.id);
            }
        }
        if family.len() == known {
            return family;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descendants_and_orphans_of_the_group_are_family() {
        let stat = |id, stat| process(id, stat).unwrap();
        let all = [
            stat(12, "12 (node) S 11 10 1"),
            stat(11, "11 (sh (a) b) S 10 10 1"),
            stat(10, "10 (npm) S 1 10 1"),
            stat(20, "20 (orphan) S 1 10 1"),
            stat(30, "30 (other) S 1 30 1"),
        ];
        assert_eq!(family(10, &all), HashSet::from([10, 11, 12, 20]));
    }

    #[test]
    fn a_port_is_reached_by_the_address_that_is_local() {
        let listener = |address: &str, socket| Listener {
            address: address.parse().unwrap(),
            owner: 0,
            socket,
        };
        let listeners = [
            listener("192.0.2.7:3000", 1),
            listener("127.0.0.1:3000", 2),
            listener("192.0.2.7:3001", 3),
            listener("127.0.0.1:4000", 4),
        ];
        let open = of_sockets(&listeners, &HashSet::from([1, 2, 3]));
        let open: Vec<String> = open
            .values()
            .map(|listener| listener.address.to_string())
            .collect();
        assert_eq!(open, ["127.0.0.1:3000", "192.0.2.7:3001"]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_in_vain_is_told_once_and_waits_on() {
        let told = std::sync::Mutex::new(Vec::new());
        let tell = |text| told.lock().unwrap().push(text);
        let search = Search {
            process: None,
            wish: Wish::Seen,
            any_protocol: false,
            tell: &tell,
        };
        let finding = search.find(HashSet::new());
        let minute = Duration::from_secs(60);
        assert!(tokio::time::timeout(minute, finding).await.is_err());
        let told = told.into_inner().unwrap();
        assert_eq!(told.len(), 1);
        assert!(told[0].contains("has opened no port yet"), "{told:?}");
    }

    #[test]
    fn what_is_waited_for_is_said() {
        for (wish, open, said) in [
            (Wish::Seen, vec![], "name the port with -p PORT"),
            (Wish::Seen, vec![5432], "has opened port 5432, but"),
            (Wish::Known(3000), vec![3000], "on port 3000 yet"),
            (Wish::Given(4711), vec![4711], "has in PORT"),
        ] {
            let text = waiting(wish, &open);
            assert!(
                text.contains(said) && text.contains("still waiting"),
                "{text}"
            );
        }
    }
}
