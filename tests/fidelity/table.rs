//! Plays a table: every case straight to the app, then through tunnels, from every kind of visitor to
//! every kind of app.

use std::time::Duration;

use ngrnotok_common::socket::Socket;
use ngrnotok_tests::visitor::Via;
use tokio::time::{Instant, timeout};

use crate::case::{Case, Speakers};
use crate::compare::{self, Hops};
use crate::message::{End, Message};
use crate::stage::Stage;
use crate::{http1, http2};

/// No dialogue takes longer.
const DIALOGUE: Duration = Duration::from_secs(6);

/// What both sides wrote down.
#[derive(Debug, Default)]
struct Outcome {
    seen: Vec<Message>,
    got: Vec<Message>,
    /// How many the visitor needed.
    connections: usize,
}

/// How a visitor comes to the app.
#[derive(Debug, Clone, Copy)]
enum Way {
    Direct,
    Tunnel(Via),
}

/// Plays every case, and fails with the list of those that a tunnel changes.
pub(crate) async fn play(cases: Vec<Case>) {
    let began = Instant::now();
    let (mut runs, mut failures) = (0, Vec::new());
    let mut stage = Stage::build().await;
    for case in &cases {
        for http2_app in [false, true] {
            // What HTTP/2 cannot say cannot be said to an app of HTTP/2 without a tunnel either.
            if !case.apps.include(http2_app) || (http2_app && case.visitors == Speakers::Http1) {
                continue;
            }
            let direct = one(&mut stage, case, Way::Direct, http2_app).await;
            let app = if http2_app { "h2c" } else { "h1" };
            let direct =
                direct.unwrap_or_else(|| panic!("{}: hangs without a tunnel to {app}", case.name));
            for via in Via::ALL {
                if !case.visitors.include(via.is_http2()) {
                    continue;
                }
                runs += 1;
                let hops = Hops {
                    http2_visitor: via.is_http2(),
                    http2_app,
                };
                let differences = match one(&mut stage, case, Way::Tunnel(via), http2_app).await {
                    Some(tunnelled) => compared(case, &direct, &tunnelled, hops),
                    None => vec!["hangs".to_owned()],
                };
                if differences.is_empty() {
                    continue;
                }
                failures.push(format!(
                    "{} ({via:?} to {app}): {}",
                    case.name,
                    differences.join("; ")
                ));
                stage = Stage::build().await;
            }
        }
    }
    println!(
        "{} cases, {runs} tunnels, {:.1?}, {} changed",
        cases.len(),
        began.elapsed(),
        failures.len()
    );
    assert!(
        failures.is_empty(),
        "tunnels change:\n{}",
        failures.join("\n")
    );
}

async fn one(stage: &mut Stage, case: &Case, way: Way, http2_app: bool) -> Option<Outcome> {
    let answers = case.exchanges.iter().map(|(_, answer)| answer.clone());
    stage.app(http2_app).plays(answers);
    let mut outcome = Outcome::default();
    let (via, authority) = match way {
        Way::Direct if http2_app => (Via::PlainHttp2, "app.test".to_owned()),
        Way::Direct => (Via::PlainHttp1, "app.test".to_owned()),
        Way::Tunnel(via) => (via, stage.authority(via, http2_app)),
    };
    let dialogue = async {
        let mut door = Door {
            stage,
            way,
            http2_app,
            opened: 0,
        };
        // A connection of HTTP/2 lives until the app has seen all that was said on it.
        let mut shared = None;
        outcome.got = match via.is_http2() {
            true => in_http2(case, &mut door, via, &authority, &mut shared).await,
            false => in_http1(case, &mut door, &authority).await,
        };
        outcome.connections = door.opened;
        for _ in &case.exchanges {
            outcome.seen.push(stage.app(http2_app).saw(case.name).await);
        }
    };
    timeout(DIALOGUE, dialogue).await.ok()?;
    while let Some(more) = stage.app(http2_app).saw_more() {
        outcome.seen.push(more);
    }
    for host in outcome
        .seen
        .iter_mut()
        .flat_map(|seen| seen.fields.get_mut("host"))
    {
        for host in host.iter_mut().filter(|host| **host == authority) {
            *host = "as the visitor wrote it".to_owned();
        }
    }
    Some(outcome)
}

/// Where a visitor comes in, as often as it likes.
struct Door<'a> {
    stage: &'a mut Stage,
    way: Way,
    http2_app: bool,
    opened: usize,
}

impl Door<'_> {
    async fn open(&mut self) -> Box<dyn Socket> {
        self.opened += 1;
        match self.way {
            Way::Direct => self.stage.direct(self.http2_app).await,
            Way::Tunnel(via) => self.stage.tunnel(via, self.http2_app).await,
        }
    }
}

async fn in_http2(
    case: &Case,
    door: &mut Door<'_>,
    via: Via,
    authority: &str,
    shared: &mut Option<http2::Connection>,
) -> Vec<Message> {
    let scheme = if via.is_tls() { "https" } else { "http" };
    let opened = http2::Connection::open(door.open().await, scheme).await;
    let connection = shared.insert(opened);
    let mut got = Vec::new();
    for (ask, answer) in &case.exchanges {
        got.push(connection.ask(ask, authority, answer.switches()).await);
    }
    got
}

async fn in_http1(case: &Case, door: &mut Door<'_>, authority: &str) -> Vec<Message> {
    let asks = case
        .exchanges
        .iter()
        .map(|(ask, _)| ask.for_host(authority));
    if case.in_one_breath {
        let connection = http1::Connection::new(door.open().await);
        return connection
            .ask_in_one_breath(&asks.collect::<Vec<_>>(), authority)
            .await;
    }
    let (mut got, mut connection) = (Vec::new(), None);
    for (ask, (_, answer)) in asks.zip(&case.exchanges) {
        let open = match connection.take() {
            Some(open) => open,
            None => http1::Connection::new(door.open().await),
        };
        let (message, again) = open.ask(&ask, authority, answer.switches()).await;
        got.push(message);
        connection = again;
    }
    got
}

fn compared(case: &Case, direct: &Outcome, tunnelled: &Outcome, hops: Hops) -> Vec<String> {
    let counts = |outcome: &Outcome| (outcome.seen.len(), outcome.got.len());
    if counts(direct) != counts(tunnelled) {
        return vec![format!("{tunnelled:?} instead of {direct:?}")];
    }
    let mut found = Vec::new();
    if tunnelled.connections > direct.connections {
        found.push(format!(
            "{} connections instead of {}",
            tunnelled.connections, direct.connections
        ));
    }
    for (at, (ask, answer)) in case.exchanges.iter().enumerate() {
        found.extend(compare::requests(
            ask,
            answer,
            &direct.seen[at],
            &tunnelled.seen[at],
            hops,
        ));
        let (direct, tunnelled) = (&direct.got[at], &tunnelled.got[at]);
        // RFC 9110 §15.6.3: nothing of the answer came, or a 502 in its place.
        let overtaken = case.breaks_at_once
            && (matches!(tunnelled.end, End::Nothing | End::Broken) || tunnelled.start == "502");
        if !overtaken {
            found.extend(compare::answers(ask, direct, tunnelled, hops));
        }
    }
    found
}
