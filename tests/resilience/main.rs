//! Both programs as processes that are killed, restarted, replaced and silenced under checked load: every
//! answer carries a hash of its request, and none may ever be wrong.
//!
//! ```console
//! $ cargo test -p ngrnotok-tests --test resilience -- --nocapture
//! $ NGRNOTOK_TEST_ROUNDS=20 cargo test -p ngrnotok-tests --test resilience -- --nocapture --test-threads=1
//! ```
//!
//! Each test prints what it has measured. `NGRNOTOK_TEST_ROUNDS` is how often a test does what it is about,
//! 3 times without it.

mod app;
mod client;
mod client_killed;
mod door;
mod flapping;
mod herd;
mod leaving;
mod load;
mod place;
mod revoked;
mod rolling;
mod server_killed;
mod silence;
mod tally;

use std::time::Duration;

use ngrnotok_tests::program::{Program, Scratch};

/// `ngrnotok ARGS…`
fn ngrnotok(scratch: &Scratch, args: &[&str]) -> Program {
    let file = env!("CARGO_BIN_EXE_cli-ngrnotok");
    Program::new(file, "ngrnotok", scratch).args(args)
}

/// `ngrnotok-server ARGS…`
fn ngrnotok_server(scratch: &Scratch, args: &[&str]) -> Program {
    let file = env!("CARGO_BIN_EXE_cli-ngrnotok-server");
    Program::new(file, "ngrnotok-server", scratch).args(args)
}

/// How often a test does what it is about.
fn rounds() -> u32 {
    let rounds = std::env::var("NGRNOTOK_TEST_ROUNDS").ok();
    rounds.map_or(3, |rounds| rounds.parse().expect("a number of rounds"))
}

/// What a test has at most, with so much for each round.
fn limit(each: Duration) -> Duration {
    Duration::from_secs(40) + each * rounds()
}
