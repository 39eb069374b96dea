//! Who may have which name.

use std::time::Duration;

use ngrnotok::client::ClientError;
use ngrnotok_common::hostname::Name;
use ngrnotok_common::secret::Secret;
use ngrnotok_server::auth::rules::{Allowed, Rules};
use ngrnotok_server::store::{Reserving, UnixSeconds};
use ngrnotok_tests::origin::Origin;
use ngrnotok_tests::raw_link::{HELLO, RawClient};
use ngrnotok_tests::visitor::Via;
use ngrnotok_tests::world::{RunningClient, World};
use ngrnotok_tests::{eventually, run};
use serde_json::Value;

use crate::office::Office;

pub(crate) fn name(name: &str) -> Name {
    Name::parse(name).expect("a good name")
}

/// What the user of a client is told whose name is another account's.
fn taken(started: Result<RunningClient, ClientError>) -> String {
    match started {
        Err(error @ ClientError::NameTaken(_)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

/// The text at a name, or status and code of a problem.
pub(crate) async fn at(world: &World, name: &str) -> String {
    let answer = world.visitor(Via::Http1, name).await.get("/").await;
    match answer.status.as_u16() {
        200 => answer.text().to_owned(),
        _ => answer.problem(),
    }
}

#[test]
fn nobody_is_taken_for_the_operator() {
    run(async {
        let app = Origin::saying("not the operator").await;
        let world = World::plan().start().await;
        let mut client = RawClient::open(&world).await;
        client.say(HELLO);
        assert_eq!(client.hear().await["t"], "welcome");
        for (id, name) in (0..).zip(["www", "Admin", "login", "l0gin", "adrnin", "mail"]) {
            client.bind(id, "http", name);
            let refused = client.hear().await;
            assert_eq!(refused["code"], "name_forbidden", "{name}");
            assert_eq!(
                at(&world, &name.to_lowercase()).await,
                "404 tunnel_not_found"
            );
        }
        let refused = RunningClient::start(world.client("admin", app.target())).await;
        let Err(ClientError::NameForbidden(said)) = refused else {
            panic!("{refused:?}");
        };
        assert!(
            said.contains("the name admin is one that visitors"),
            "{said}"
        );
        assert!(said.contains("token create --name admin"), "{said}");
        // The session goes on all the same.
        client.bind(9, "http", "app");
        assert_eq!(client.hear().await["t"], "bound");
    });
}

#[test]
fn after_a_restart_a_name_that_was_in_use_is_offline_and_not_unknown() {
    run(async {
        let mut office = Office::open_with(|config| {
            config.offline_wait = Duration::from_millis(100);
        })
        .await;
        let app = Origin::saying("the app").await;
        let token = office.token_of("ann").await;
        let left = office.client(&token, "left", &app).await.unwrap();
        left.leave().await;
        let is_over = |used: UnixSeconds| used <= UnixSeconds::now();
        eventually("the end of its use to be noted", async || {
            let names = office.store.list_names().await.unwrap();
            names.iter().all(|name| name.used.is_some_and(is_over))
        })
        .await;
        let client = office.client(&token, "app", &app).await.unwrap();
        office.world.stop_server();
        office.world.server_ended().await;
        // It does not come back, and has not said so.
        drop(client);
        office.world.restart_server().await;

        eventually("the server to remember", async || {
            at(&office.world, "app").await == "503 client_offline"
        })
        .await;
        for name in ["left", "never"] {
            assert_eq!(at(&office.world, name).await, "404 tunnel_not_found");
        }
        let client = office.client(&token, "app", &app).await.unwrap();
        assert_eq!(at(&office.world, "app").await, "the app");
        client.leave().await;
        eventually("the name to be free", async || office.world.names() == 0).await;
        assert_eq!(at(&office.world, "app").await, "404 tunnel_not_found");
    });
}

#[test]
fn a_token_that_lists_a_name_of_the_operator_has_it() {
    run(async {
        let office = Office::open().await;
        let app = Origin::saying("the operator's own").await;
        let rules = |patterns: &[&str]| Rules {
            names: Allowed::only(patterns.iter().copied()),
            ..Rules::default()
        };
        let any = office.token(rules(&["*"])).await;
        let refused = office.client(&any, "www", &app).await;
        assert!(
            matches!(refused, Err(ClientError::NameForbidden(_))),
            "{refused:?}"
        );
        let listed = office.token(rules(&["www", "x-*"])).await;
        let _client = office.client(&listed, "www", &app).await.unwrap();
        assert_eq!(at(&office.world, "www").await, "the operator's own");
    });
}

#[test]
fn a_name_that_is_reserved_while_the_server_runs_is_for_its_account_alone() {
    run(async {
        let office = Office::open().await;
        let (anns, bobs) = (Origin::saying("ann's").await, Origin::saying("bob's").await);
        let (ann, bob) = (office.token_of("ann").await, office.token_of("bob").await);
        let (shop, now) = (name("shop"), UnixSeconds::now());
        let reserving = office.store.reserve_name(&shop, "ann", now).await;
        assert_eq!(reserving.unwrap(), Reserving::Done(None));

        let said = taken(office.client(&bob, "shop", &bobs).await);
        assert_eq!(
            said,
            "the name shop is reserved for another account; choose another with --name, or with name = \"…\" in the config file"
        );
        let mut raw = RawClient::open_as(&office.world, &bob).await;
        raw.say(HELLO);
        raw.bind(1, "http", "shop");
        assert_eq!(raw.hear().await["t"], "welcome");
        assert_eq!(raw.hear().await["code"], "name_reserved");
        assert_eq!(at(&office.world, "shop").await, "404 tunnel_not_found");

        let client = office.client(&ann, "shop", &anns).await.unwrap();
        assert_eq!(at(&office.world, "shop").await, "ann's");
        client.leave().await;
        office.store.release_name(&shop).await.unwrap().unwrap();
        let said = taken(office.client(&bob, "shop", &bobs).await);
        assert!(
            said.contains("is held for it for another 24 h 0 min"),
            "{said}"
        );
        office.store.release_name(&shop).await.unwrap().unwrap();
        let _client = office.client(&bob, "shop", &bobs).await.unwrap();
        assert_eq!(at(&office.world, "shop").await, "bob's");
    });
}

/// What a client hears that has a name when something is decided about it.
async fn heard(office: &Office, token: &Secret, wanted: &str, decide: impl AsyncFnOnce()) -> Value {
    let mut client = RawClient::open_as(&office.world, token).await;
    client.say(HELLO);
    client.bind(1, "http", wanted);
    assert_eq!(client.hear().await["t"], "welcome");
    assert_eq!(client.hear().await["t"], "bound");
    decide().await;
    let heard = client.hear().await;
    assert_eq!(at(&office.world, wanted).await, "404 tunnel_not_found");
    heard
}

#[test]
fn who_has_a_name_loses_it_when_it_is_for_others_only() {
    run(async {
        let office = Office::open().await;
        let (_ann, bob) = (office.token_of("ann").await, office.token_of("bob").await);
        let reserve = async |wanted: &str, account: &str| {
            let (wanted, now) = (name(wanted), UnixSeconds::now());
            let reserving = office.store.reserve_name(&wanted, account, now).await;
            assert!(matches!(reserving.unwrap(), Reserving::Done(_)));
        };
        let shop = async || reserve("shop", "ann").await;
        let unbound = heard(&office, &bob, "shop", shop).await;
        assert_eq!(
            (&unbound["t"], &unbound["id"]),
            (&"unbound".into(), &1.into())
        );
        assert_eq!(unbound["code"], "name_reserved");
        let said = unbound["message"].as_str().unwrap();
        assert_eq!(said, "the name shop is reserved for another account");

        // What an account had by a reservation alone.
        reserve("admin", "bob").await;
        let release = async || drop(office.store.release_name(&name("admin")).await.unwrap());
        let unbound = heard(&office, &bob, "admin", release).await;
        assert_eq!(unbound["code"], "name_forbidden", "{unbound}");

        // What a token had because it lists it.
        let listed = Rules {
            names: Allowed::only(["www", "*"]),
            ..Rules::default()
        };
        let listed = office.token(listed).await;
        let unlist =
            async || office.tamper("UPDATE tokens SET names = '*' WHERE names IS NOT NULL");
        let unbound = heard(&office, &listed, "www", unlist).await;
        assert_eq!(unbound["code"], "name_forbidden", "{unbound}");
    });
}

#[test]
fn a_name_that_was_used_comes_back_to_its_account_at_once_and_to_no_other() {
    run(async {
        let office = Office::open().await;
        let app = Origin::saying("the app").await;
        let (ann, bob) = (office.token_of("ann").await, office.token_of("bob").await);
        let client = office.client(&ann, "app", &app).await.unwrap();
        // As long as somebody has it, that is what the others are told.
        let said = taken(office.client(&bob, "app", &app).await);
        assert!(said.contains("another client that is online"), "{said}");
        client.leave().await;

        let mut raw = RawClient::open_as(&office.world, &bob).await;
        raw.say(HELLO);
        raw.bind(1, "http", "app");
        raw.bind(2, "http", "bobs");
        assert_eq!(raw.hear().await["t"], "welcome");
        let refused = raw.hear().await;
        assert_eq!(refused["code"], "name_held");
        let message = refused["message"].as_str().unwrap();
        assert!(message.contains("for another 24 h 0 min"), "{message}");
        assert_eq!(raw.hear().await["t"], "bound");
        assert_eq!(at(&office.world, "app").await, "404 tunnel_not_found");

        // Another token of the account is as good.
        let ann_too = office.token_of("ann").await;
        let _client = office.client(&ann_too, "app", &app).await.unwrap();
        assert_eq!(at(&office.world, "app").await, "the app");
    });
}

#[test]
fn who_leaves_while_a_name_is_looked_up_keeps_nothing() {
    run(async {
        let office = Office::open().await;
        let ann = office.token_of("ann").await;
        for round in 0..20 {
            let mut client = RawClient::open_as(&office.world, &ann).await;
            client.say(HELLO);
            client.bind(1, "http", &format!("app-{round}"));
            client.say(r#"{"t":"bye"}"#);
            assert_eq!(client.hear().await["t"], "welcome");
        }
        // Not only when the grace time is over.
        eventually("all names to be free", async || office.world.names() == 0).await;
    });
}

#[test]
fn a_name_is_free_for_all_when_its_time_is_over() {
    run(async {
        let office = Office::holding(Duration::from_secs(2)).await;
        let app = Origin::saying("the app").await;
        let (ann, bob) = (office.token_of("ann").await, office.token_of("bob").await);
        office
            .client(&ann, "app", &app)
            .await
            .unwrap()
            .leave()
            .await;
        let said = taken(office.client(&bob, "app", &app).await);
        assert!(said.contains("is held for it for another"), "{said}");
        let free = async || office.client(&bob, "app", &app).await.is_ok();
        eventually("the name to be free", free).await;
    });
}

#[test]
fn a_name_that_a_token_is_not_for_is_not_held_for_its_account() {
    run(async {
        let office = Office::open().await;
        let app = Origin::saying("the app").await;
        let rules = Rules {
            names: Allowed::only(["ann-*"]),
            ..Rules::default()
        };
        let (ann, bob) = (office.token(rules).await, office.token_of("bob").await);
        office.client(&ann, "bob-1", &app).await.unwrap_err();
        let _client = office.client(&bob, "bob-1", &app).await.unwrap();
    });
}
