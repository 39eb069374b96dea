//! A session outlives its links: its owner comes back at once, and nobody else gets its names.

use std::num::NonZeroUsize;
use std::time::Duration;

use ngrnotok::client::{ClientError, Config};
use ngrnotok::status::State;
use ngrnotok_tests::body::full;
use ngrnotok_tests::origin::Origin;
use ngrnotok_tests::program::Scratch;
use ngrnotok_tests::raw_link::RawClient;
use ngrnotok_tests::relay::Relay;
use ngrnotok_tests::visitor::{Via, Visitor};
use ngrnotok_tests::world::{RunningClient, World};
use ngrnotok_tests::{eventually, run, soon, within};
use tokio::time::Instant;

/// A client that reaches its server over a network that may fail.
fn behind(relay: &Relay, world: &World, name: &str, app: &Origin) -> Config {
    Config {
        connector: relay.connector(world),
        ..world.client(name, app.target())
    }
}

async fn says(visitor: &Visitor) -> String {
    let answer = soon("an answer", visitor.get("/")).await;
    match answer.status.is_success() {
        true => answer.text().to_owned(),
        false => answer.problem(),
    }
}

#[test]
fn visitors_wait_while_a_client_comes_back_to_its_session() {
    run(async {
        let app = Origin::saying("hello").await;
        let world = World::plan().start().await;
        for via in Via::ALL {
            let relay = Relay::to(world.gate()).await;
            let config = behind(&relay, &world, "app", &app);
            let client = RunningClient::start(config).await.unwrap();
            let session = client.session();
            let visitor = world.visitor(via, "app").await;
            assert_eq!(says(&visitor).await, "hello");
            relay.heal();
            assert_eq!(says(&visitor).await, "hello", "{via:?}");
            // What came after the loss is asked once, even if it may not be repeated.
            relay.heal();
            eventually("the loss to be seen", async || {
                world.open_links("app") == Some(0) || client.status.borrow().online.is_empty()
            })
            .await;
            let post = visitor.request("POST", "/").body(full("once")).unwrap();
            assert_eq!(soon("an answer", visitor.send(post)).await.text(), "hello");
            assert_eq!(client.session(), session, "all the time the same one");
            client.leave().await;
        }
    });
}

#[test]
fn a_client_that_was_killed_has_its_names_again_at_once() {
    run(async {
        let world = World::plan().start().await;
        let relay = Relay::to(world.gate()).await;
        let scratch = Scratch::new();
        let kept = Some(scratch.path().join("sessions"));
        let (old, new) = (Origin::saying("old").await, Origin::saying("new").await);
        let config = behind(&relay, &world, "app", &old);
        let killed = RunningClient::start(Config {
            state: kept.clone(),
            ..config
        });
        let killed = killed.await.unwrap();
        let session = killed.session();
        // The server does not learn of its end.
        relay.silence_the_old();
        killed.kill(&scratch.path().join("sessions")).await;

        let began = Instant::now();
        let config = behind(&relay, &world, "app", &new);
        let again = RunningClient::start(Config {
            state: kept,
            ..config
        });
        let again = again.await.unwrap();
        assert!(
            began.elapsed() < Duration::from_secs(3),
            "not by the limit of silence"
        );
        assert_eq!(again.session(), session);
        let visitor = world.visitor(Via::Http2, "app").await;
        assert_eq!(says(&visitor).await, "new");
    });
}

#[test]
fn strangers_get_no_name_that_is_kept_for_its_owner() {
    run(async {
        let app = Origin::saying("mine").await;
        let world = World::plan().start().await;
        let relay = Relay::to(world.gate()).await;
        let config = behind(&relay, &world, "app", &app);
        let mut owner = RunningClient::start(config).await.unwrap();
        let stranger = async |when: &str| {
            let config = world.client("app", app.target());
            let refused = RunningClient::start(config).await.unwrap_err();
            let ClientError::NameTaken(message) = refused else {
                panic!("{refused}");
            };
            assert!(message.contains(when), "{message}");
        };
        stranger("is taken by another client that is online").await;
        relay.fall_silent();
        owner.is("offline", |status| status.online.is_empty()).await;
        eventually("the server to see it", async || {
            world.open_links("app") == Some(0)
        })
        .await;
        stranger("is kept for another client").await;
        relay.heal();
        owner
            .is("back", |status| status.state == State::Online)
            .await;
        stranger("is taken by another client that is online").await;
    });
}

#[test]
fn a_name_is_free_when_its_owner_has_said_goodbye() {
    run(async {
        let app = Origin::saying("mine").await;
        let world = World::plan().start().await;
        world.join("app", &app).await.leave().await;
        world.join("app", &app).await.leave().await;
    });
}

#[test]
fn a_wrong_proof_opens_a_session_of_its_own() {
    run(async {
        let world = World::plan().start().await;
        let app = Origin::saying("mine").await;
        let owner = world.join("app", &app).await;
        let mut thief = RawClient::open(&world).await;
        let hello = format!(
            r#"{{"t":"hello","version":"1","os":"raw","resume":{{"session":"{}","proof":"{}"}}}}"#,
            owner.session(),
            "0".repeat(64)
        );
        thief.say(&hello);
        let welcome = thief.hear().await;
        assert_ne!(welcome["session"], owner.session());
        thief.bind(0, "http", "app");
        assert_eq!(thief.hear().await["code"], "name_taken");
        let visitor = world.visitor(Via::Http1, "app").await;
        assert_eq!(says(&visitor).await, "mine");

        let mut guest = RawClient::open(&world).await;
        guest.say(&hello.replace("\"}}", "\",\"join\":true}}"));
        assert_eq!(guest.hear().await["code"], "no_session");
    });
}

#[test]
fn links_are_replaced_before_they_wear_out_and_nobody_notices() {
    run(async {
        let app = Origin::saying("hello").await;
        for links in [1, 3] {
            let plan = World::plan().server(|config| config.most_requests = 20);
            let world = plan.start().await;
            let config = Config {
                links: NonZeroUsize::new(links).unwrap(),
                ..world.client("app", app.target())
            };
            let client = RunningClient::start(config).await.unwrap();
            eventually("all links", async || world.open_links("app") == Some(links)).await;
            let session = client.session();
            let mut visitors = Vec::new();
            for via in Via::ALL {
                visitors.push(world.visitor(via, "app").await);
            }
            for _ in 0..100 {
                for visitor in &visitors {
                    assert_eq!(says(visitor).await, "hello");
                }
            }
            assert_eq!(client.session(), session);
            eventually("the links it wants", async || {
                world.open_links("app") == Some(links)
            })
            .await;
        }
    });
}

#[test]
fn one_lost_link_of_several_is_not_noticed() {
    run(async {
        let app = Origin::saying("hello").await;
        let world = World::plan().start().await;
        let relay = Relay::to(world.gate()).await;
        let config = Config {
            links: NonZeroUsize::new(2).unwrap(),
            ..behind(&relay, &world, "app", &app)
        };
        let client = RunningClient::start(config).await.unwrap();
        eventually("both links", async || world.open_links("app") == Some(2)).await;
        let visitor = world.visitor(Via::Http2, "app").await;
        for round in 0..10 {
            relay.break_one();
            for _ in 0..5 {
                assert_eq!(says(&visitor).await, "hello", "round {round}");
            }
            assert!(client.status.borrow().state == State::Online);
            eventually("both links", async || world.open_links("app") == Some(2)).await;
        }
    });
}

#[test]
fn a_client_finds_its_names_free_on_a_new_server() {
    run(async {
        let app = Origin::saying("hello").await;
        let mut world = World::of(&app).await;
        let session = world.clients[0].session();
        world.stop_server();
        assert!(world.server_ended().await);
        world.restart_server().await;
        let back = world.clients[0].is("online again", |status| {
            let id = status
                .session
                .as_ref()
                .map(|session| session.id.to_string());
            status.state == State::Online && id.is_some_and(|id| id != session)
        });
        within(Duration::from_secs(20), "the client", back).await;
        let visitor = world.visitor(Via::Http1, "app").await;
        assert_eq!(says(&visitor).await, "hello");
    });
}
