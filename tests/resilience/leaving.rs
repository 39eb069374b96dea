//! A client that is told to stop gives its name back, finishes what is open, and goes.

use std::time::Duration;

use ngrnotok_tests::visitor::{Answer, Via};
use ngrnotok_tests::{eventually, run_within, soon};
use tokio::time::Instant;

use crate::app::App;
use crate::client::Client;
use crate::door::Door;
use crate::load::{Load, RATE};
use crate::place::Place;
use crate::{limit, rounds};

const NOBODY: &str = "404 tunnel_not_found";

#[test]
fn a_client_that_is_stopped_under_load_finishes_what_is_open_and_leaves_early() {
    run_within(limit(Duration::from_secs(10)), async {
        let place = Place::new();
        let _server = place.open().await;
        let mut app = App::start("app").await;
        let door = Door::of(&place);
        for round in 0..rounds() {
            let client = Client::start(&place, &app).await;
            let mut load = Load::start(&door, &["app"], RATE);
            let reader = door.visit(Via::Http1, "app").await.unwrap();
            let stream = reader.begin("/stream").await;
            let mut events = app.streams.recv().await.unwrap();
            load.gets(200).await;

            let told = Instant::now();
            client.stop().await;
            // Before anything else the name is given back.
            eventually("visitors to find nobody", async || {
                load.tally().failed.len() > 20
            })
            .await;
            let tally = load.stop().await;
            tally.has_nothing_wrong();
            let failed = tally.failed.iter();
            let others: Vec<_> = failed.filter(|failed| failed.what != NOBODY).collect();
            assert!(others.is_empty(), "{others:?}");
            // Soon after its start a server has visitors wait for names that it does not know.
            let asked = tally.failed.iter().map(|failed| failed.asked);
            let first = asked.min().expect("there are some") - told;

            events.send_data("the end".into()).await.unwrap();
            drop(events);
            let finished = Instant::now();
            let stream = soon("the rest of a stream", Answer::collect(stream)).await;
            assert_eq!(stream.unwrap().text(), "the end");
            assert_eq!(client.ended().await, Some(0));
            let left = finished.elapsed();
            println!(
                "stopped client {round}: name given back after {first:.2?}, gone {left:.2?} after its last answer; {tally}"
            );
            assert!(left < Duration::from_secs(3), "{left:?}");
        }
        app.has_seen_nothing_wrong();
    });
}
