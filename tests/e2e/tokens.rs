//! What the holder of a token may do, and how it ends.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use ngrnotok::client::{ClientError, Config};
use ngrnotok_common::protocol::control::StopCode;
use ngrnotok_common::secret::Secret;
use ngrnotok_server::auth::rules::{Allowed, Rules};
use ngrnotok_server::auth::{NewToken, create_token};
use ngrnotok_server::store::UnixSeconds;
use ngrnotok_tests::body::full;
use ngrnotok_tests::origin::Origin;
use ngrnotok_tests::program::Scratch;
use ngrnotok_tests::raw_link::{HELLO, REQUEST, RawClient, answer, ask};
use ngrnotok_tests::relay::Relay;
use ngrnotok_tests::visitor::{Answer, Via};
use ngrnotok_tests::world::RunningClient;
use ngrnotok_tests::{eventually, run, soon};
use tokio::time::Instant;

use crate::office::Office;

const BYE: &str = r#"{"t":"bye"}"#;

fn names(patterns: &[&str]) -> Rules {
    Rules {
        names: Allowed::only(patterns.iter().copied()),
        ..Rules::default()
    }
}

/// Why a client was stopped.
fn stopped(ended: Result<(), ClientError>) -> (StopCode, String) {
    match ended {
        Err(ClientError::Stopped { code, message }) => (code, message),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_revoked_token_ends_all_its_sessions_and_no_other() {
    run(async {
        let office = Office::open().await;
        let app = Origin::saying("the app").await;
        let token = office.token(Rules::default()).await;
        let other = office.token(Rules::default()).await;
        let one = office.client(&token, "one", &app).await.unwrap();
        let two = office.client(&token, "two", &app).await.unwrap();
        let _three = office.client(&other, "three", &app).await.unwrap();

        let began = Instant::now();
        office.revoke(&token).await;
        for client in [one, two] {
            let (code, message) = stopped(client.ended().await);
            assert_eq!(code, StopCode::TokenRevoked);
            assert!(message.contains("was revoked"), "{message}");
        }
        println!("from the revocation to the end: {:?}", began.elapsed());

        for name in ["one", "two"] {
            let visitor = office.world.visitor(Via::Http1, name).await;
            assert_eq!(visitor.get("/").await.problem(), "404 tunnel_not_found");
        }
        let visitor = office.world.visitor(Via::Http1, "three").await;
        assert_eq!(visitor.get("/").await.text(), "the app");
        assert_eq!(
            office.told(token.expose()).await.problem(),
            "403 token_revoked"
        );
        // Nor does the last token's end let in those who have none.
        office.revoke(&other).await;
        let (refused, _) = ask(&office.world, REQUEST).await;
        assert_eq!(refused.problem(), "401 token_missing");
    });
}

/// A raw client that has bound a name.
async fn bound(office: &Office, token: &Secret, name: &str) -> RawClient {
    let mut client = RawClient::open_as(&office.world, token).await;
    client.say(HELLO);
    client.bind(1, "http", name);
    assert_eq!(client.hear().await["t"], "welcome");
    assert_eq!(client.hear().await["t"], "bound");
    client
}

#[test]
fn a_client_is_told_why_it_is_stopped_and_need_not_obey() {
    run(async {
        let office = Office::open().await;
        let token = office.token(Rules::default()).await;
        let mut told = bound(&office, &token, "told").await;
        let deaf = bound(&office, &token, "deaf").await;
        deaf.freeze();
        assert_eq!(office.world.names(), 2);

        let began = Instant::now();
        office.revoke(&token).await;
        let stop = told.hear().await;
        println!("from the revocation to the stop: {:?}", began.elapsed());
        assert_eq!(stop["t"], "stop");
        assert_eq!(stop["code"], "token_revoked");
        assert!(stop["message"].as_str().unwrap().contains("operator"));
        // It says nothing and closes nothing, and the server does not wait for that.
        soon("the end of the link", told.link_ended()).await;
        println!("from the revocation to the end: {:?}", began.elapsed());
        eventually("both names to be free", async || office.world.names() == 0).await;
    });
}

#[test]
fn what_is_open_ends_with_the_token_also_when_the_client_has_left() {
    run(async {
        let office = Office::open().await;
        for has_left in [false, true] {
            let token = office.token(Rules::default()).await;
            let mut client = bound(&office, &token, "app").await;
            let visitor = office.world.visit(Via::Http1).await;
            let serving = async {
                let (_, mut respond) = client.request().await;
                let head = http::Response::new(());
                respond.send_response(head, false).expect("a living link")
            };
            let (begun, mut body) = tokio::join!(visitor.begin("/"), serving);
            body.send_data("half".into(), false).expect("a living link");
            if has_left {
                client.say(BYE);
                eventually("the name to be free", async || office.world.names() == 0).await;
            }
            office.revoke(&token).await;
            let whole = soon("the end of the answer", Answer::collect(begun)).await;
            assert!(whole.is_err(), "half of it is no answer");
        }
    });
}

#[test]
fn a_token_ends_its_sessions_when_its_time_comes() {
    run(async {
        let office = Office::open().await;
        let expires = UnixSeconds(UnixSeconds::now().0 + 3);
        let token = NewToken {
            expires: Some(expires),
            ..NewToken::from("ann")
        };
        let token = create_token(&office.store, token).await.unwrap();
        let app = Origin::saying("the app").await;
        let client = office.client(&token, "app", &app).await.unwrap();

        let (code, message) = stopped(client.ended().await);

        assert_eq!(code, StopCode::TokenExpired);
        assert!(message.contains("time is over"), "{message}");
        assert!(UnixSeconds::now() >= expires);
        let refused = office.told(token.expose()).await;
        assert_eq!(refused.problem(), "403 token_expired");
    });
}

#[test]
fn a_token_is_for_the_names_that_fit_its_patterns() {
    run(async {
        let office = Office::open().await;
        let token = office.token(names(&["api", "ann-*"])).await;
        let mut client = RawClient::open_as(&office.world, &token).await;
        client.say(HELLO);
        assert_eq!(client.hear().await["t"], "welcome");
        for (id, name, answer) in [
            (1, "api", "bound"),
            (2, "ann-1", "bound"),
            (3, "ANN-2", "bound"),
            (4, "ann", "name_forbidden"),
            (5, "apis", "name_forbidden"),
            (6, "bob-1", "name_forbidden"),
            (7, "-", "name_invalid"),
        ] {
            client.bind(id, "http", name);
            let said = client.hear().await;
            let said = said["code"]
                .as_str()
                .unwrap_or_else(|| said["t"].as_str().unwrap());
            assert_eq!(said, answer, "{name}");
        }
        assert_eq!(office.world.names(), 3);

        let app = Origin::saying("the app").await;
        let refused = office.client(&token, "bob", &app).await.unwrap_err();
        assert!(
            matches!(refused, ClientError::NameForbidden(_)),
            "{refused:?}"
        );
        assert_eq!(
            refused.to_string(),
            "this token is not for the name bob, only for api or ann-*; choose another with --name, \
             or with name = \"…\" in the config file"
        );
    });
}

#[test]
fn a_token_for_other_kinds_opens_no_http_tunnel() {
    run(async {
        let office = Office::open().await;
        let rules = Rules {
            kinds: Allowed::only(["tcp"]),
            ..Rules::default()
        };
        let token = office.token(rules).await;
        let mut client = RawClient::open_as(&office.world, &token).await;
        client.say(HELLO);
        client.bind(1, "http", "app");
        assert_eq!(client.hear().await["t"], "welcome");
        assert_eq!(client.hear().await["code"], "kind_forbidden");
        assert_eq!(office.world.names(), 0);
    });
}

#[test]
fn a_token_has_no_more_links_than_it_may() {
    run(async {
        let office = Office::open().await;
        let rules = Rules {
            max_links: NonZeroU32::new(2),
            ..Rules::default()
        };
        let token = office.token(rules).await;
        let app = Origin::saying("the app").await;
        // A client makes do with as many as it gets.
        let config = Config {
            links: NonZeroUsize::new(4).unwrap(),
            ..office.config(&token, "one", &app)
        };
        let first = RunningClient::start(config).await.unwrap();
        let has_two = async || office.world.open_links("one") == Some(2);
        eventually("the second link", has_two).await;

        let mut third = RawClient::open_as(&office.world, &token).await;
        third.say(HELLO);
        let stop = third.hear().await;
        assert_eq!(stop["t"], "stop");
        assert_eq!(stop["code"], "over_limit");
        let message = stop["message"].as_str().unwrap();
        assert!(message.contains("max-links is 2"), "{message}");
        let refused = office.client(&token, "two", &app).await.unwrap_err();
        assert!(refused.to_string().contains("max-links is 2"), "{refused}");
        assert!(has_two().await);

        first.leave().await;
        let free = async || office.client(&token, "two", &app).await.is_ok();
        eventually("the places of the first to be free", free).await;
    });
}

#[test]
fn links_that_wear_out_are_replaced_within_the_limit() {
    run(async {
        let office = Office::open_with(|config| config.most_requests = 20).await;
        let rules = Rules {
            max_links: NonZeroU32::new(2),
            ..Rules::default()
        };
        let token = office.token(rules).await;
        let app = Origin::saying("the app").await;
        let config = Config {
            links: NonZeroUsize::new(2).unwrap(),
            ..office.config(&token, "app", &app)
        };
        let client = RunningClient::start(config).await.unwrap();
        let session = client.session();
        let both = async || office.world.open_links("app") == Some(2);
        eventually("both links", both).await;
        let visitor = office.world.visit(Via::Http2).await;
        for _ in 0..200 {
            assert_eq!(visitor.get("/").await.text(), "the app");
        }
        eventually("both links again", both).await;
        assert_eq!(client.session(), session);
    });
}

#[test]
fn the_only_link_of_a_token_can_be_replaced_by_its_owner() {
    run(async {
        let office = Office::open().await;
        let rules = Rules {
            max_links: NonZeroU32::new(1),
            ..Rules::default()
        };
        let token = office.token(rules).await;
        let app = Origin::saying("the app").await;
        let (relay, scratch) = (Relay::to(office.world.gate()).await, Scratch::new());
        let config = || Config {
            connector: relay.connector(&office.world),
            state: Some(scratch.path().join("sessions")),
            ..office.config(&token, "app", &app)
        };
        let killed = RunningClient::start(config()).await.unwrap();
        let session = killed.session();
        // The server does not learn of its end.
        relay.silence_the_old();
        killed.kill(&scratch.path().join("sessions")).await;

        let began = Instant::now();
        let again = RunningClient::start(config()).await.unwrap();

        assert_eq!(again.session(), session);
        assert!(
            began.elapsed() < Duration::from_secs(4),
            "not by the limit of silence"
        );
        let visitor = office.world.visit(Via::Http2).await;
        assert_eq!(visitor.get("/").await.text(), "the app");
    });
}

#[test]
fn sessions_that_come_back_find_no_more_links_than_their_token_may_have() {
    run(async {
        let office = Office::open().await;
        let rules = Rules {
            max_links: NonZeroU32::new(1),
            ..Rules::default()
        };
        let token = office.token(rules).await;
        let mut lost = RawClient::open_as(&office.world, &token).await;
        lost.say(HELLO);
        let welcome = lost.hear().await;
        lost.bind(1, "http", "lost");
        assert_eq!(lost.hear().await["t"], "bound");
        drop(lost);
        eventually("the server to see it", async || {
            office.world.open_links("lost") == Some(0)
        })
        .await;
        let _other = bound(&office, &token, "other").await;
        let mut back = RawClient::open_as(&office.world, &token).await;
        back.come_back(&welcome, false);
        let stop = back.hear().await;
        assert_eq!(stop["code"], "over_limit", "{stop}");
    });
}

#[test]
fn a_session_without_a_link_belongs_to_its_token_and_ends_with_it() {
    run(async {
        let office = Office::open().await;
        let token = office.token(Rules::default()).await;
        let other = office.token(Rules::default()).await;
        let app = Origin::saying("the app").await;
        let scratch = Scratch::new();
        let config = |token| Config {
            state: Some(scratch.path().join("sessions")),
            ..office.config(token, "app", &app)
        };
        let killed = RunningClient::start(config(&token)).await.unwrap();
        killed.kill(&scratch.path().join("sessions")).await;
        let away = async || office.world.open_links("app") == Some(0);
        eventually("the server to see it", away).await;

        // With the same account and the right proof, but another token.
        let refused = RunningClient::start(config(&other)).await.unwrap_err();
        assert!(matches!(refused, ClientError::NameTaken(_)), "{refused:?}");

        office.revoke(&token).await;
        eventually("the name to be free", async || office.world.names() == 0).await;
        RunningClient::start(config(&other)).await.unwrap();
    });
}

#[test]
fn the_sessions_of_a_token_have_no_more_tunnels_than_it_may() {
    run(async {
        let office = Office::open().await;
        let rules = Rules {
            max_tunnels: NonZeroU32::new(2),
            ..Rules::default()
        };
        let token = office.token(rules).await;
        let mut first = bound(&office, &token, "one").await;
        let mut second = bound(&office, &token, "two").await;
        second.bind(2, "http", "three");
        let refused = second.hear().await;
        assert_eq!(refused["code"], "over_limit");
        let message = refused["message"].as_str().unwrap();
        assert!(message.contains("max-tunnels is 2"), "{message}");

        first.say(BYE);
        eventually("a name to be free", async || office.world.names() == 1).await;
        second.bind(3, "http", "three");
        assert_eq!(second.hear().await["t"], "bound");
    });
}

#[test]
fn after_ten_wrong_tokens_the_next_is_429_and_the_right_one_gets_in() {
    run(async {
        let office = Office::open().await;
        let right = office.token(Rules::default()).await;
        let wrong = office.token(Rules::default()).await;
        let wrong = wrong.expose().replace("ngrt_", "ngrt_x");
        for _ in 0..10 {
            assert_eq!(office.told(&wrong).await.problem(), "403 token_refused");
        }
        let refused = office.told(&wrong).await;
        assert_eq!(refused.problem(), "429 too_many_failures");
        let retry_after: u32 = refused.field("retry-after").parse().unwrap();
        assert!((50..=60).contains(&retry_after), "{retry_after}");
        assert!(!refused.text().contains(&wrong), "{}", refused.text());
        assert_eq!(office.told(right.expose()).await.status, 101);
    });
}

#[test]
fn a_session_is_reached_by_what_it_has_bound_and_only_while_it_has() {
    run(async {
        let office = Office::open().await;
        let token = office.token(Rules::default()).await;
        for via in Via::ALL {
            let mut client = RawClient::open_as(&office.world, &token).await;
            client.say(HELLO);
            client.bind(7, "http", "one");
            client.bind(9, "http", "two");
            for said in ["welcome", "bound", "bound"] {
                assert_eq!(client.hear().await["t"], said);
            }
            // A connection of a visitor outlives the names; every request on it is looked at anew.
            let keep = async |name| {
                let visitor = office.world.visitor(via, name).await;
                (visitor, name)
            };
            let (one, two) = (keep("one").await, keep("two").await);
            for ((visitor, name), tunnel) in [(&one, "7"), (&two, "9")] {
                // Whose tunnel it is the visitor cannot choose.
                let request = visitor.request("GET", "/").header("ngrnotok-tunnel", "9");
                let request = visitor.send(request.body(full("")).expect("a good request"));
                let serving = async {
                    let (request, respond) = client.request().await;
                    assert_eq!(request.headers()["ngrnotok-tunnel"], tunnel, "{name}");
                    answer(respond, name);
                };
                let (answer, ()) = tokio::join!(request, serving);
                assert_eq!(answer.text(), *name);
            }
            let (three, _) = keep("three").await;
            assert_eq!(three.get("/").await.problem(), "404 tunnel_not_found");

            client.say(BYE);
            eventually("the names to be free", async || office.world.names() == 0).await;
            let mut next = bound(&office, &token, "one").await;
            assert_eq!(two.0.get("/").await.problem(), "404 tunnel_not_found");
            let serving = async { answer(next.request().await.1, "next") };
            let (answer, ()) = tokio::join!(one.0.get("/"), serving);
            assert_eq!(answer.text(), "next");
            assert!(client.is_left_alone(), "{via:?}");
            next.say(BYE);
            eventually("the name to be free", async || office.world.names() == 0).await;
        }
    });
}
