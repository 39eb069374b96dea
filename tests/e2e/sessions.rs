//! A session outlives its links: its owner comes back at once, and nobody else gets its names.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use h2::Reason;
use ngrnotok::client::{ClientError, Config};
use ngrnotok::status::{State, Status};
use ngrnotok_tests::body::{empty, full};
use ngrnotok_tests::origin::{Origin, any_port};
use ngrnotok_tests::program::Scratch;
use ngrnotok_tests::raw_link::{HELLO, Next, RawClient, answer};
use ngrnotok_tests::relay::Relay;
use ngrnotok_tests::visitor::{Via, Visitor};
use ngrnotok_tests::world::{RunningClient, World, tunnel};
use ngrnotok_tests::{eventually, run, soon, within};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
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

/// An id that a client gives its session.
const SESSION: &str = "cbf04a22-7fd5-4502-820f-cdb790525f3c";

#[test]
fn what_a_lost_connection_delivers_late_takes_nothing_from_its_successor() {
    run(async {
        let world = World::plan().start().await;
        let secret = "5".repeat(64);
        let mut successor = RawClient::open(&world).await;
        successor.begin(SESSION, &secret, 2);
        successor.bind(0, "http", "app");
        assert_eq!(successor.hear().await["t"], "welcome");
        assert_eq!(successor.hear().await["t"], "bound");
        for late in [1, 2] {
            let mut lost = RawClient::open(&world).await;
            lost.begin(SESSION, &secret, late);
            assert_eq!(lost.hear().await["code"], "replaced");
        }
        successor.bind(1, "http", "other");
        assert_eq!(successor.hear().await["t"], "bound");
    });
}

#[test]
fn who_has_been_replaced_adds_no_link_to_the_session_of_its_successor() {
    run(async {
        let world = World::plan().start().await;
        let (_replaced, before) = welcomed(&world).await;
        let mut successor = RawClient::open(&world).await;
        successor.come_back(&before, false);
        let newest = successor.hear().await;
        assert_eq!(newest["t"], "welcome");
        for (secret, says) in [(&before, "stop"), (&newest, "welcome")] {
            let mut link = RawClient::open(&world).await;
            link.come_back(secret, true);
            assert_eq!(link.hear().await["t"], says);
        }
    });
}

#[test]
fn a_client_that_has_never_heard_of_its_session_has_its_names_again_at_once() {
    run(async {
        let world = World::plan().start().await;
        let (secret, wrong) = ("5".repeat(64), "6".repeat(64));
        let mut unheard = RawClient::open(&world).await;
        unheard.begin(SESSION, &secret, 1);
        unheard.bind(0, "http", "app");
        eventually("the name to be bound", async || world.names() == 1).await;

        let mut stranger = RawClient::open(&world).await;
        stranger.begin(SESSION, &wrong, 2);
        stranger.bind(0, "http", "app");
        assert_ne!(stranger.hear().await["session"], SESSION);
        assert_eq!(stranger.hear().await["code"], "name_taken");

        // Whatever the first one read of all that, its successor has read nothing.
        for turn in 2..4 {
            let mut again = RawClient::open(&world).await;
            again.begin(SESSION, &secret, turn);
            again.bind(0, "http", "app");
            assert_eq!(again.hear().await["session"], SESSION);
            assert_eq!(again.hear().await["t"], "bound");
            drop(again);
        }
    });
}

#[test]
fn a_client_that_could_not_say_goodbye_has_its_names_again_at_once() {
    run(async {
        let world = World::plan().start().await;
        let relay = Relay::to(world.gate()).await;
        let (scratch, app) = (Scratch::new(), Origin::saying("mine").await);
        let config = || Config {
            state: Some(scratch.path().to_owned()),
            ..behind(&relay, &world, "app", &app)
        };
        let mut client = RunningClient::start(config()).await.unwrap();
        let session = client.session();
        // Its user ends it while it has no link.
        relay.lead_to(nobody().await);
        let offline = |status: &Status| matches!(status.state, State::Reconnecting { .. });
        client.is("offline", offline).await;
        client.leave().await;
        eventually("the server to wait for it", async || {
            world.open_links("app") == Some(0)
        })
        .await;
        relay.lead_to(world.gate());
        let again = RunningClient::start(config()).await.unwrap();
        assert_eq!(again.session(), session);
        // A goodbye that was heard ends the session.
        again.leave().await;
        let third = RunningClient::start(config()).await.unwrap();
        assert_ne!(third.session(), session);
    });
}

#[test]
fn a_name_that_was_taken_meanwhile_keeps_no_other_one_offline() {
    run(async {
        let plan = World::plan().server(|config| config.grace = Duration::from_millis(100));
        let world = plan.start().await;
        let relay = Relay::to(world.gate()).await;
        let (app, other) = (Origin::saying("mine").await, Origin::saying("theirs").await);
        let mut config = behind(&relay, &world, "web", &app);
        config.tunnels.push(tunnel("shop", app.target()));
        let mut client = RunningClient::start(config).await.unwrap();
        relay.lead_to(nobody().await);
        eventually("the grace to be over", async || world.names() == 0).await;
        let stranger = world.join("shop", &other).await;
        relay.lead_to(world.gate());
        client
            .is("back", |status| status.state == State::Online)
            .await;
        let status = client.status.borrow().clone();
        assert_eq!(status.online.len(), 1);
        assert_eq!(status.refused[0].name.as_str(), "shop");
        let [web, shop] = [
            world.visitor(Via::Http2, "web").await,
            world.visitor(Via::Http2, "shop").await,
        ];
        assert_eq!(
            (says(&web).await, says(&shop).await),
            ("mine".into(), "theirs".into())
        );
        stranger.leave().await;
        client.is("whole", |status| status.online.len() == 2).await;
        assert_eq!(client.status.borrow().refused, []);
        assert_eq!(says(&shop).await, "mine");
    });
}

/// An address at which nobody listens.
async fn nobody() -> SocketAddr {
    let listener = TcpListener::bind(any_port()).await.expect("a free port");
    listener.local_addr().expect("it is bound")
}

#[test]
fn a_client_whose_session_was_taken_over_says_so_and_ends() {
    run(async {
        let world = World::plan().start().await;
        let (one, two) = (Origin::saying("one").await, Origin::saying("two").await);
        let (kept, copied) = (Scratch::new(), Scratch::new());
        let start = async |app: &Origin, state: &Scratch| {
            let config = Config {
                state: Some(state.path().to_owned()),
                ..world.client("app", app.target())
            };
            RunningClient::start(config).await.unwrap()
        };
        let first = start(&one, &kept).await;
        for file in std::fs::read_dir(kept.path()).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), copied.path().join(file.file_name())).unwrap();
        }
        let second = start(&two, &copied).await;
        assert_eq!(second.session(), first.session());
        let ended = first.ended().await.unwrap_err();
        assert!(matches!(ended, ClientError::TakenOver), "{ended}");
        let visitor = world.visitor(Via::Http1, "app").await;
        assert_eq!(says(&visitor).await, "two");
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
            let mut client = RunningClient::start(config).await.unwrap();
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
            client
                .is("online", |status| status.state == State::Online)
                .await;
        }
    });
}

#[test]
fn no_upload_is_lost_when_links_are_replaced() {
    run(async {
        let app = Origin::saying("hello").await;
        let plan = World::plan().server(|config| config.most_requests = 10);
        let world = plan.start().await;
        let config = Config {
            links: NonZeroUsize::new(3).unwrap(),
            ..world.client("app", app.target())
        };
        let _client = RunningClient::start(config).await.unwrap();
        let mut visitors = JoinSet::new();
        for via in Via::ALL {
            for _ in 0..3 {
                let visitor = world.visitor(via, "app").await;
                visitors.spawn(async move {
                    for _ in 0..200 {
                        let post = visitor.request("POST", "/").body(full("once")).unwrap();
                        let answer = soon("an answer", visitor.send(post)).await;
                        assert!(answer.status.is_success(), "{}", answer.problem());
                    }
                });
            }
        }
        within(Duration::from_secs(25), "all uploads", visitors.join_all()).await;
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
        world.stop_server();
        assert!(world.server_ended().await);
        let lost = |status: &Status| matches!(status.state, State::Reconnecting { .. });
        world.clients[0].is("offline", lost).await;
        world.restart_server().await;
        let back = world.clients[0].is("online again", |status| status.state == State::Online);
        within(Duration::from_secs(20), "the client", back).await;
        let visitor = world.visitor(Via::Http1, "app").await;
        assert_eq!(says(&visitor).await, "hello");
    });
}

/// Opens a session and tells what its `welcome` said.
async fn welcomed(world: &World) -> (RawClient, Value) {
    let mut client = RawClient::open(world).await;
    client.say(HELLO);
    let welcome = client.hear().await;
    assert_eq!(welcome["t"], "welcome");
    (client, welcome)
}

/// Answers a visitor, or hears that another link has taken the place of this one.
async fn serve_until_replaced(mut client: RawClient) -> Option<RawClient> {
    loop {
        match client.next().await {
            Next::Line(line) if line["t"] == "stop" => {
                assert_eq!(line["code"], "replaced");
                return None;
            }
            Next::Line(_) => {}
            Next::Request(request) => {
                answer(request.1, "served");
                return Some(client);
            }
        }
    }
}

#[test]
fn of_several_owners_who_come_back_at_once_one_wins() {
    run(async {
        let world = World::plan().start().await;
        for round in 0..10 {
            let (mut old, welcome) = welcomed(&world).await;
            let name = format!("app-{round}");
            old.bind(0, "http", &name);
            assert_eq!(old.hear().await["t"], "bound");
            let mut owners = Vec::new();
            for _ in 0..4 {
                owners.push(RawClient::open(&world).await);
            }
            for owner in &mut owners {
                owner.come_back(&welcome, false);
                owner.bind(0, "http", &name);
            }
            let mut ends = JoinSet::new();
            for mut owner in owners {
                assert_eq!(owner.hear().await["session"], welcome["session"]);
                ends.spawn(serve_until_replaced(owner));
            }
            ends.spawn(serve_until_replaced(old));
            let visitor = world.visitor(Via::Http1, &name).await;
            assert_eq!(says(&visitor).await, "served");
            let ends = soon("all to know", ends.join_all()).await;
            assert_eq!(ends.iter().flatten().count(), 1);
        }
    });
}

#[test]
fn a_link_that_was_replaced_cannot_end_the_session_of_its_successor() {
    run(async {
        let world = World::plan().start().await;
        for round in 0..100 {
            let (mut old, welcome) = welcomed(&world).await;
            let name = format!("app-{round}");
            old.bind(0, "http", &name);
            assert_eq!(old.hear().await["t"], "bound");
            let mut successor = RawClient::open(&world).await;
            // Whichever comes first, the name is there for the successor.
            successor.come_back(&welcome, false);
            old.say(r#"{"t":"bye"}"#);
            successor.bind(0, "http", &name);
            assert_eq!(successor.hear().await["t"], "welcome");
            let bound = successor.hear().await;
            assert_eq!(bound["t"], "bound", "round {round}: {bound}");
        }
    });
}

#[test]
fn a_session_has_a_bounded_number_of_links() {
    run(async {
        let world = World::plan().start().await;
        let (mut first, welcome) = welcomed(&world).await;
        first.bind(0, "http", "app");
        assert_eq!(first.hear().await["t"], "bound");
        let mut links = vec![first];
        for count in 2.. {
            let mut link = RawClient::open(&world).await;
            link.come_back(&welcome, true);
            let heard = link.hear().await;
            if heard["t"] == "stop" {
                assert_eq!(heard["code"], "over_limit");
                break;
            }
            assert_eq!(heard["t"], "welcome");
            assert_eq!(world.open_links("app"), Some(count));
            links.push(link);
        }
        assert_eq!(links.len(), 64);
    });
}

#[test]
fn what_one_link_has_not_looked_at_is_asked_on_another() {
    run(async {
        let world = World::plan().start().await;
        let (mut one, welcome) = welcomed(&world).await;
        one.bind(0, "http", "app");
        assert_eq!(one.hear().await["t"], "bound");
        let mut two = RawClient::open(&world).await;
        two.come_back(&welcome, true);
        assert_eq!(two.hear().await["t"], "welcome");
        let visitor = world.visit(Via::Http2).await;
        for method in ["GET", "POST"] {
            let request = visitor.request(method, "/").body(empty()).unwrap();
            // The one that is asked first refuses, and is asked no more.
            let refuse_and_answer = async {
                let (first, second) = (one.request(), two.request());
                let ((_, mut refused), other) = tokio::select! {
                    request = first => (request, &mut two),
                    request = second => (request, &mut one),
                };
                refused.send_reset(Reason::REFUSED_STREAM);
                answer(other.request().await.1, "the other");
            };
            let (answer, ()) = tokio::join!(visitor.send(request), refuse_and_answer);
            assert_eq!(answer.text(), "the other", "{method}");
        }
    });
}

#[test]
fn what_came_after_the_goodbye_of_a_link_is_asked_on_the_next_one() {
    run(async {
        let world = World::plan().start().await;
        for via in Via::ALL {
            let (mut old, welcome) = welcomed(&world).await;
            old.bind(0, "http", "app");
            assert_eq!(old.hear().await["t"], "bound");
            let visitor = world.visit(via).await;
            let post = visitor.request("POST", "/").body(empty()).unwrap();
            let asked = visitor.send(post);
            old.freeze();
            let next = async {
                eventually("the request to be on its way", async || {
                    world.open_streams("app") == Some(1)
                })
                .await;
                // The last stream that it has looked at is the control stream.
                old.close();
                let mut new = RawClient::open(&world).await;
                new.come_back(&welcome, false);
                answer(new.request().await.1, "the next one");
                new
            };
            let (answer, mut new) = tokio::join!(asked, next);
            assert_eq!(answer.text(), "the next one", "{via:?}");
            new.say(r#"{"t":"bye"}"#);
            eventually("the name to be free", async || world.names() == 0).await;
        }
    });
}

#[test]
fn of_one_token_a_bounded_number_of_lost_sessions_is_kept() {
    run(async {
        let plan = World::plan().server(|config| config.most_away = NonZeroU32::new(3).unwrap());
        let world = plan.start().await;
        let mut clients = Vec::new();
        for place in 0..5 {
            clients.push(RawClient::bound(&world, &format!("app-{place}")).await);
        }
        assert_eq!(world.names(), 5, "those who are there are no matter");
        drop(clients);
        eventually("the rest to be given up", async || world.names() == 3).await;
    });
}

#[test]
fn a_session_without_names_ends_with_its_link_and_takes_nobodys_place() {
    run(async {
        let plan = World::plan().server(|config| config.most_away = NonZeroU32::MIN);
        let world = plan.start().await;
        let (nameless, welcome) = welcomed(&world).await;
        drop(nameless);
        eventually("a session of that id to be gone", async || {
            let mut guest = RawClient::open(&world).await;
            guest.come_back(&welcome, true);
            guest.hear().await["code"] == "no_session"
        })
        .await;
        // There is one place for those who are away, and it is free.
        drop(RawClient::bound(&world, "app").await);
        eventually("the loss to be seen", async || {
            world.open_links("app") == Some(0)
        })
        .await;
        assert_eq!(world.names(), 1);
    });
}
