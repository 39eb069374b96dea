//! Sends attacks, and judges each by what reaches the app.

use std::collections::BTreeMap;
use std::time::Duration;

use ngrnotok::local::Protocol;
use ngrnotok::requests::Happening;
use ngrnotok_tests::frames::{self, END_STREAM, GOAWAY, HEADERS, RST_STREAM};
use ngrnotok_tests::sockets::dial;
use ngrnotok_tests::strict::{Reader, halves};
use ngrnotok_tests::visitor::Via;
use ngrnotok_tests::world::World;
use tokio::time::{Instant, timeout};

use super::log::{Arrived, Log};
use super::{Attack, Must};
use crate::stage::join;

/// Attacks go on side by side, each against an app of its own.
const LANES: usize = 24;

/// Nothing more comes after so long.
const QUIET: Duration = Duration::from_millis(250);

/// No answer takes longer.
const ANSWER: Duration = Duration::from_secs(4);

/// What became of an attack.
#[derive(Debug, Default)]
struct Outcome {
    /// Statuses, `RST`, `GOAWAY`, `closed`, `silent`.
    told: Vec<String>,
    arrived: Vec<Arrived>,
    /// Of a good request afterwards.
    next: Option<u16>,
    /// What the developer is told that the app did.
    blamed: Option<String>,
}

/// Sends every attack in every way.
pub(super) async fn all(attacks: Vec<Attack>, ways: [Via; 2]) {
    let began = Instant::now();
    let world = World::plan().start().await;
    let mut lanes = Vec::new();
    for number in 0..LANES {
        let (name, log) = (format!("lane{number}"), Log::start().await);
        let client = join(&world, &name, log.address, Protocol::Http1).await;
        lanes.push((name, log, client));
    }
    let rows: Vec<(&Attack, Via)> = attacks
        .iter()
        .flat_map(|attack| ways.map(|via| (attack, via)))
        .collect();
    let turns = lanes.iter_mut().enumerate().map(|(number, lane)| {
        let (name, log, client) = lane;
        let rows: Vec<_> = rows.iter().skip(number).step_by(LANES).collect();
        let world = &world;
        async move {
            let mut judged = Vec::new();
            for (attack, via) in rows {
                let outcome = play(world, name, log, attack, *via).await;
                let blamed = std::iter::from_fn(|| client.requests.next_now()).find_map(blame);
                let outcome = Outcome { blamed, ..outcome };
                judged.push((
                    verdict(attack, &outcome),
                    attack.name.clone(),
                    *via,
                    outcome,
                ));
            }
            judged
        }
    });
    let judged: Vec<_> = join_all(turns).await.into_iter().flatten().collect();
    let (mut counts, mut failures) = (BTreeMap::new(), Vec::new());
    for (verdict, name, via, outcome) in judged {
        match verdict {
            Ok(word) => *counts.entry(word).or_insert(0) += 1,
            Err(wrong) => failures.push(format!("{name} ({via:?}): {wrong}: {outcome:?}")),
        }
    }
    failures.sort();
    println!(
        "{} attacks in {} ways, {:.1?}: {counts:?}",
        attacks.len(),
        ways.len(),
        began.elapsed()
    );
    assert!(
        failures.is_empty(),
        "{} got through:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

/// What the app is said to have done.
fn blame(happening: Happening) -> Option<String> {
    match happening {
        Happening::Request(seen) => seen.trouble.map(|(_, detail)| detail),
        Happening::Hint(hint) => Some(hint.explanation.to_string()),
    }
}

fn verdict(attack: &Attack, outcome: &Outcome) -> Result<String, String> {
    let whole = |arrived: &&Arrived| matches!(arrived, Arrived::Whole(_));
    let wholes = outcome.arrived.iter().filter(whole).count();
    let half = outcome
        .arrived
        .iter()
        .any(|arrived| matches!(arrived, Arrived::Half(_)));
    let smuggled = |arrived: &Arrived| matches!(arrived, Arrived::Whole(line) | Arrived::Half(line) if line.contains("/smuggled"));
    let told = outcome.told.first().map_or("", String::as_str);
    if let Some(wrong) = outcome
        .arrived
        .iter()
        .find(|arrived| matches!(arrived, Arrived::Wrong(_)))
    {
        return Err(format!("the app was sent nonsense: {wrong:?}"));
    }
    if outcome.next != Some(200) {
        return Err("the next request of somebody else suffers".to_owned());
    }
    if attack.must != Must::BeTwoOrNone && (wholes > 1 || outcome.arrived.iter().any(smuggled)) {
        return Err("a request was smuggled".to_owned());
    }
    if let Some(blamed) = &outcome.blamed {
        return Err(format!("the app is blamed: {blamed}"));
    }
    match (attack.must, wholes) {
        (Must::BeRefused, 1..) => Err("it was not refused".to_owned()),
        (Must::Pass, 0) => Err("it was refused".to_owned()),
        (Must::BeTwoOrNone, 1) => Err("only one arrived".to_owned()),
        (Must::Wait, 0) if told == "silent" => Ok("waits".to_owned()),
        (_, 0) if half && told != "silent" => Ok("broken off".to_owned()),
        (_, 0) => match told {
            "400" | "405" | "414" | "421" | "431" | "501" | "505" | "closed" | "RST" | "GOAWAY" => {
                Ok(told.to_owned())
            }
            odd => Err(format!("refused by {odd}")),
        },
        (_, one) => Ok(format!("{one} at the app")),
    }
}

async fn play(world: &World, name: &str, log: &Log, attack: &Attack, via: Via) -> Outcome {
    let mut outcome = Outcome::default();
    let authority = world.authority(via, name);
    let (mut reader, mut writer) = halves(dial(world, via, name).await);
    let bytes = (attack.bytes)(&authority);
    // Whoever refuses the beginning does not read the rest.
    let saying = async {
        let _ = writer.say(bytes).await;
        std::future::pending::<()>().await;
    };
    let hearing = async {
        match via.is_http2() {
            true => hear_http2(&mut reader, &mut outcome.told).await,
            false => hear_http1(&mut reader, &mut outcome.told).await,
        }
    };
    tokio::select! {
        () = saying => {}
        () = hearing => {}
    }
    drop((reader, writer));
    outcome.next = good(world, name).await;
    log.at_rest().await;
    outcome.arrived = log.take();
    outcome
        .arrived
        .retain(|arrived| *arrived != Arrived::Whole("GET /good HTTP/1.1".to_owned()));
    outcome
}

/// Statuses, one after the other, until nothing more comes.
async fn hear_http1(reader: &mut Reader, told: &mut Vec<String>) {
    let mut limit = ANSWER;
    let closed = loop {
        match timeout(limit, reader.more()).await {
            Ok(true) => limit = QUIET,
            Ok(false) => break true,
            Err(_) => break false,
        }
    };
    let heard = reader.take_heard();
    let heard = String::from_utf8_lossy(&heard);
    let heads = heard.split("HTTP/1.").skip(1);
    let statuses = heads.filter_map(|head| head.split(' ').nth(1).map(ToOwned::to_owned));
    told.extend(statuses.filter(|status| status != "100"));
    if told.is_empty() {
        told.push(if closed { "closed" } else { "silent" }.to_owned());
    }
}

/// What is said of the first stream, until it ends.
async fn hear_http2(reader: &mut Reader, told: &mut Vec<String>) {
    let deadline = Instant::now() + ANSWER;
    loop {
        let frame = match tokio::time::timeout_at(deadline, frames::next(reader)).await {
            Ok(Some(frame)) => frame,
            Ok(None) => return told.push("closed".to_owned()),
            Err(_) => return told.push("silent".to_owned()),
        };
        match frame.kind {
            RST_STREAM => return told.push("RST".to_owned()),
            GOAWAY => return told.push("GOAWAY".to_owned()),
            HEADERS => {
                let status = frames::status(&frame.payload).unwrap_or_default();
                told.push(status.to_string());
            }
            _ => {}
        }
        let ends = matches!(frame.kind, HEADERS | frames::DATA);
        if ends && frame.flags & END_STREAM != 0 {
            return;
        }
    }
}

/// Somebody else's request to the same app.
async fn good(world: &World, name: &str) -> Option<u16> {
    let (mut reader, mut writer) = halves(dial(world, Via::PlainHttp1, name).await);
    let authority = world.authority(Via::PlainHttp1, name);
    let request = format!("GET /good HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    writer.say(request).await.ok()?;
    let head = timeout(ANSWER, reader.head()).await.ok()??;
    head.ok()?.status().ok()
}

/// All of them at once, on this task.
async fn join_all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<_> = futures.into_iter().map(Box::pin).collect();
    let mut done: Vec<Option<F::Output>> = running.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        for (future, done) in running.iter_mut().zip(&mut done) {
            if done.is_none()
                && let std::task::Poll::Ready(output) = future.as_mut().poll(cx)
            {
                *done = Some(output);
            }
        }
        match done.iter().all(Option::is_some) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
    done.into_iter().flatten().collect()
}
