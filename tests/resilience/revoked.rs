//! A token that is revoked by another process ends the client that runs with it.

use std::time::Duration;

use ngrnotok_tests::visitor::{Answer, Via};
use ngrnotok_tests::{run_within, soon};
use tokio::time::Instant;

use crate::app::App;
use crate::client::Client;
use crate::door::Door;
use crate::place::Place;
use crate::{limit, ngrnotok_server, rounds};

#[test]
fn a_token_that_is_revoked_by_another_process_ends_its_client_and_what_is_open_at_once() {
    run_within(limit(Duration::from_secs(10)), async {
        let place = Place::new();
        let _server = place.open().await;
        let mut app = App::start("app").await;
        let door = Door::of(&place);
        let mut slowest = Duration::ZERO;
        for round in 0..rounds() {
            let create = ["token", "create", "--account", "ann"];
            let made = ngrnotok_server(&place.scratch, &create).output().await;
            let token = made.stdout.trim();
            let file = place.scratch.file("token", token);
            let client = Client::start_by(&place, &app, place.address.port(), Some(file)).await;
            let visitor = door.visit(Via::Http2, "app").await.unwrap();
            let stream = visitor.begin("/stream").await;
            let _events = app.streams.recv().await.unwrap();

            let id = token.split('_').nth(1).expect("a token has an id");
            let began = Instant::now();
            let revoke = ["token", "revoke", id];
            let revoked = ngrnotok_server(&place.scratch, &revoke).output().await;
            assert_eq!(revoked.code, Some(0), "{}", revoked.stderr);
            let done = Instant::now();
            assert_eq!(client.ended().await, Some(3));
            let (took, after) = (began.elapsed(), done.elapsed());
            println!(
                "revoked token {round}: its client is gone {after:.2?} after the command, {took:.2?} after its start"
            );
            slowest = slowest.max(after);
            let cut = soon("the stream to be cut", Answer::collect(stream)).await;
            assert!(cut.is_err(), "{cut:?}");
        }
        assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    });
}
