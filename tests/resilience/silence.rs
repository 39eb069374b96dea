//! A link that falls silent is noticed at both ends, and nobody waits for it for long.

use std::time::Duration;

use ngrnotok_tests::relay::Relay;
use ngrnotok_tests::{eventually, run_within, soon, within};
use tokio::time::Instant;

use crate::app::App;
use crate::client::Client;
use crate::door::Door;
use crate::load::Load;
use crate::place::Place;

/// Within 8 s, and the machine may have other things to do.
const NOTICED: Duration = Duration::from_secs(9);

/// Within 10 s, likewise.
const TOLD: Duration = Duration::from_secs(11);

/// So slow that everybody who comes has a place to wait.
const RATE: u32 = 40;

#[test]
fn a_silent_link_is_noticed_at_both_ends_and_the_client_comes_back_when_it_heals() {
    run_within(Duration::from_secs(60), async {
        let place = Place::new();
        let _server = place.open().await;
        let relay = Relay::to(place.address).await;
        let app = App::start("app").await;
        let client = Client::start_by(&place, &app, relay.port(), None).await;
        let door = Door::of(&place);
        let mut load = Load::start(&door, &["app"], RATE);
        load.gets(20).await;

        let silent = Instant::now();
        relay.fall_silent();
        let client_notices = async {
            client.event("reconnecting").await;
            silent.elapsed()
        };
        let server_notices = async {
            let mut lost = None;
            eventually("somebody to be told", async || {
                let tally = load.tally();
                let mut failed = tally.failed.iter();
                lost = failed
                    .find(|failed| failed.what == "502 link_lost")
                    .map(|lost| lost.told);
                lost.is_some()
            })
            .await;
            lost.expect("it was found") - silent
        };
        let both = async { tokio::join!(client_notices, server_notices) };
        let (by_client, by_server) = within(NOTICED, "both ends to notice", both).await;
        // Who came at the beginning may have waited longest, and is told by now or within a moment.
        eventually("those who waited to be told", async || {
            let offline = "503 client_offline";
            load.tally()
                .failed
                .iter()
                .any(|failed| failed.what == offline)
        })
        .await;

        let healed = Instant::now();
        relay.heal();
        soon("the tunnel to answer", door.answers("app")).await;
        let back = healed.elapsed();
        let tally = load.stop().await;
        println!(
            "silence: noticed by the client after {by_client:.2?}, by the server after {by_server:.2?}; back {back:.2?} after it healed; {tally}"
        );
        tally.has_nothing_wrong();
        app.has_seen_nothing_wrong();
        assert!(tally.slowest < TOLD, "{:?}", tally.slowest);
        client.url();
    });
}
