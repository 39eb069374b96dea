//! The real gate and the real client in a network that the test owns, in time that the test owns.
//!
//! ```text
//!               story: a seed says who there is and what befalls them
//!                 │
//! installation ── cable ── network ── server        visit ──► registry
//! (the client)                        (gate, registry, sessions)
//!                 │                      │
//!               judge: compares at each step what the registry says with what may be
//! ```
//!
//! Everything between the client's dial and the gate's accept is memory: TLS, HTTP/2, both control loops, the
//! store, the state folder and every limit are those of the programs. A few minutes of the clock, which is
//! paused and jumps from one timer to the next, take some milliseconds.
//!
//! turmoil simulates networks, too. It does so in ticks of a fixed length, in which every host has a turn on a
//! runtime of its own: minutes of quiet with a PING now and then cost as much as minutes of work. And a test
//! that compares a model with the registry after each step wants both in its hands, in one runtime.
//!
//! A seed decides all that befalls the cast, and when. What the client rolls itself, its waits and secrets, is
//! new each time. `SIMULATION_SEED=n` plays one seed and tells its story, with `SIMULATION_LOG=debug` in detail; `SIMULATION_SEEDS=n` plays so many.

mod installation;
mod judge;
mod network;
mod server;
mod stage;
mod story;
mod visit;

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// Enough to meet every kind of event in every order, and few enough for each run of the tests.
const SEEDS: u64 = 1000;

#[test]
fn whatever_befalls_them_names_have_one_owner_who_comes_back() {
    if let Some(seed) = number("SIMULATION_SEED") {
        let log = std::env::var("SIMULATION_LOG").unwrap_or_else(|_| "off".to_owned());
        ngrnotok_common::telemetry::start(&log).expect("SIMULATION_LOG is a level or a filter");
        let story = play(seed).err();
        assert!(story.is_none(), "{}", story.unwrap_or_default());
        return;
    }
    let seeds = number("SIMULATION_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(0);
    let work = || {
        let mut failures = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return failures;
            }
            if let Err(story) = play(seed) {
                println!("SIMULATION_SEED={seed}\n{story}\n");
                failures.push(seed);
            }
        }
    };
    let failures = thread::scope(|scope| {
        let threads = [(); 2].map(|()| scope.spawn(work));
        threads
            .map(|thread| thread.join().expect("stories do not panic"))
            .concat()
    });
    assert!(
        failures.is_empty(),
        "SIMULATION_SEED is one of {failures:?}"
    );
}

fn number(variable: &str) -> Option<u64> {
    let number = std::env::var(variable).ok()?;
    Some(number.parse().expect("a number"))
}

/// Plays one seed on a runtime of its own.
fn play(seed: u64) -> Result<Duration, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build();
    runtime
        .expect("a runtime can be had")
        .block_on(stage::play(seed))
}
