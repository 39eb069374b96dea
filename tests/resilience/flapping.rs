//! A link that breaks again and again costs what is on its way, and nothing else.

use std::time::Duration;

use ngrnotok_tests::relay::Relay;
use ngrnotok_tests::{run_within, within};
use tokio::time::Instant;

use crate::app::App;
use crate::client::Client;
use crate::door::Door;
use crate::load::{Load, RATE};
use crate::place::Place;
use crate::{limit, rounds};

/// The longest wait of a client between two tries, and some more.
const BACK: Duration = Duration::from_secs(18);

#[test]
fn a_link_that_breaks_again_and_again_gives_no_wrong_answer_and_comes_back() {
    run_within(limit(Duration::from_secs(20)), async {
        let place = Place::new();
        let _server = place.open().await;
        let relay = Relay::to(place.address).await;
        let app = App::start("app").await;
        let client = Client::start_by(&place, &app, relay.port(), None).await;
        let door = Door::of(&place);
        let mut load = Load::start(&door, &["app"], RATE);
        let mut slowest = Duration::ZERO;
        for round in 0..rounds() {
            load.gets(100).await;
            let broken = Instant::now();
            match round % 2 {
                0 => relay.reset(),
                _ => relay.heal(),
            }
            // A visitor who comes now is later than the break.
            within(BACK, "the tunnel to answer", door.answers("app")).await;
            slowest = slowest.max(broken.elapsed());
        }
        let tally = load.stop().await;
        println!(
            "{} breaks: back after {slowest:.2?} at most; {tally}",
            rounds()
        );
        tally.has_nothing_wrong();
        app.has_seen_nothing_wrong();
        client.url();
    });
}
