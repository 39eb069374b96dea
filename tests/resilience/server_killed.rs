//! A server that is killed takes requests with it, and nothing else.

use std::time::Duration;

use ngrnotok_tests::run_within;
use tokio::time::Instant;

use crate::app::App;
use crate::client::{Client, three};
use crate::door::Door;
use crate::load::{Load, RATE};
use crate::place::Place;
use crate::{limit, rounds};

/// How long each server serves: for longer than any wait that a client could come to in so short an outage.
const SERVED: Duration = Duration::from_secs(4);

/// What a client has to be back, from the moment on in which the next server listens.
const BACK: Duration = Duration::from_secs(3);

#[test]
fn a_server_that_is_killed_under_load_has_its_clients_back_at_once_and_no_answer_is_wrong() {
    run_within(limit(Duration::from_secs(10)), async {
        let place = Place::new();
        let mut server = place.open().await;
        let (apps, clients) = three(&place).await;
        let urls: Vec<_> = clients.iter().map(Client::url).collect();
        let door = Door::of(&place);
        let names: Vec<_> = apps.iter().map(|app| app.name.as_str()).collect();
        let mut load = Load::start(&door, &names, RATE);
        let mut slowest = Duration::ZERO;
        for round in 0..rounds() {
            load.goes_on(SERVED).await;
            let killed = Instant::now();
            server.kill().await;
            server = place.open().await;
            let listens = Instant::now();
            let back = door.all_answer(&apps).await;
            println!(
                "killed server {round}: listens again after {:.2?}, all clients back {back:.2?} later",
                listens - killed
            );
            slowest = slowest.max(back);
        }
        let tally = load.stop().await;
        println!("killed servers: the slowest client is back after {slowest:.2?}; {tally}");
        tally.has_nothing_wrong();
        apps.iter().for_each(App::has_seen_nothing_wrong);
        assert!(slowest < BACK, "{slowest:?}");
        assert_eq!(clients.iter().map(Client::url).collect::<Vec<_>>(), urls);
    });
}
