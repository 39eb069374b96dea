//! A client that is killed and started again has its name at once, whether the server has noticed or not.

use std::time::Duration;

use ngrnotok_tests::relay::Relay;
use ngrnotok_tests::{run_within, soon};
use tokio::time::Instant;

use crate::app::App;
use crate::client::Client;
use crate::door::Door;
use crate::load::{Load, RATE};
use crate::place::Place;
use crate::{limit, rounds};

#[test]
fn a_client_that_is_killed_under_load_has_its_name_again_at_once_and_no_answer_is_wrong() {
    run_within(limit(Duration::from_secs(10)), async {
        let place = Place::new();
        let _server = place.open().await;
        let relay = Relay::to(place.address).await;
        let (app, other) = (App::start("app").await, App::start("other").await);
        let mut client = Client::start_by(&place, &app, relay.port(), None).await;
        let _other = Client::start(&place, &other).await;
        let (url, session) = (client.url(), client.event("ready").await["session"].clone());
        let door = Door::of(&place);
        let mut load = Load::start(&door, &["app", "other"], RATE);
        let mut slowest = Duration::ZERO;
        for round in 0..rounds() {
            load.gets(300).await;
            let unnoticed = round % 2 == 0;
            if unnoticed {
                relay.silence_the_old();
            }
            let killed = Instant::now();
            client = client.again().await;
            let back = killed.elapsed();
            let how = if unnoticed { "in silence" } else { "plainly" };
            println!("killed client {round}, {how}: another one is ready after {back:.2?}");
            slowest = slowest.max(back);
            assert_eq!(client.url(), url);
            assert_eq!(client.event("ready").await["session"], session);
            soon("the tunnel to answer", door.answers("app")).await;
        }
        let tally = load.stop().await;
        println!("killed clients: ready after {slowest:.2?} at most; {tally}");
        tally.has_nothing_wrong();
        app.has_seen_nothing_wrong();
        other.has_seen_nothing_wrong();
        // Not by the limit of silence.
        assert!(slowest < Duration::from_secs(3), "{slowest:?}");
    });
}
