//! Plays a table: every case straight to the app, then through tunnels, from every kind of visitor to
//! every kind of app.

use std::time::Duration;

use ngrnotok_common::socket::Socket;
use ngrnotok_tests::visitor::Via;
use tokio::time::{Instant, timeout};

use crate::case::{Case, Speakers};
use crate::compare::{self, Hops};
use crate::message::Message;
use crate::stage::Stage;
use crate::{http1, http2};

/// No dialogue takes longer.
const DIALOGUE: Duration = Duration::from_secs(6);

/// What both sides wrote down.
#[derive(Debug, Default)]
struct Outcome {
    seen: Vec<Message>,
    got: Vec<Message>,
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
            let direct = direct.unwrap_or_else(|| panic!("{}: hangs without a tunnel", case.name));
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
                let app = if http2_app { "h2c" } else { "h1" };
                failures.push(format!("{} ({via:?} to {app}): {}", case.name, differences.join("; ")));
                stage = Stage::build().await;
            }
        }
    }
    println!("{} cases, {runs} tunnels, {:.1?}, {} changed", cases.len(), began.elapsed(), failures.len());
    assert!(failures.is_empty(), "tunnels change:\n{}", failures.join("\n"));
}

async fn one(stage: &mut Stage, case: &Case, way: Way, http2_app: bool) -> Option<Outcome> {
    let answers = case.exchanges.iter().map(|(_, answer)| answer.clone());
    stage.app(http2_app).plays(answers);
    let mut outcome = Outcome::default();
    let mut authority = "app.test".to_owned();
    let dialogue = async {
        let (socket, via) = match way {
            Way::Direct if http2_app => (stage.direct(http2_app).await, Via::PlainHttp2),
            Way::Direct => (stage.direct(http2_app).await, Via::PlainHttp1),
            Way::Tunnel(via) => {
                let socket;
                (socket, authority) = stage.tunnel(via, http2_app).await;
                (socket, via)
            }
        };
        outcome.got = match via.is_http2() {
            true => in_http2(case, socket, via, &authority).await,
            false => in_http1(case, socket, &authority).await,
        };
        for _ in &case.exchanges {
            outcome.seen.push(stage.app(http2_app).saw(case.name).await);
        }
    };
    timeout(DIALOGUE, dialogue).await.ok()?;
    while let Some(more) = stage.app(http2_app).saw_more() {
        outcome.seen.push(more);
    }
    for host in outcome.seen.iter_mut().flat_map(|seen| seen.fields.get_mut("host")) {
        for host in host.iter_mut().filter(|host| **host == authority) {
            *host = "as the visitor wrote it".to_owned();
        }
    }
    Some(outcome)
}

/// Plays the visitor's side.
async fn in_http2(case: &Case, socket: Box<dyn Socket>, via: Via, authority: &str) -> Vec<Message> {
    let scheme = if via.is_tls() { "https" } else { "http" };
    let mut connection = http2::Connection::open(socket, scheme).await;
    let mut got = Vec::new();
    for (ask, answer) in &case.exchanges {
        got.push(connection.ask(ask, authority, answer.switches()).await);
    }
    got
}

async fn in_http1(case: &Case, socket: Box<dyn Socket>, authority: &str) -> Vec<Message> {
    let connection = http1::Connection::new(socket);
    let asks = case.exchanges.iter().map(|(ask, _)| ask.for_host(authority));
    if case.in_one_breath {
        return connection.ask_in_one_breath(&asks.collect::<Vec<_>>(), authority).await;
    }
    let (mut got, mut connection) = (Vec::new(), Some(connection));
    for (ask, (_, answer)) in asks.zip(&case.exchanges) {
        let Some(open) = connection.take() else {
            break;
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
    for (at, (ask, answer)) in case.exchanges.iter().enumerate() {
        found.extend(compare::requests(ask, answer, &direct.seen[at], &tunnelled.seen[at], hops));
        found.extend(compare::answers(ask, &direct.got[at], &tunnelled.got[at], hops));
    }
    found
}
