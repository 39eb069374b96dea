//! Who may open a link, and what those are told who may not.

use ngrnotok::client::ClientError;
use ngrnotok_common::secret::Secret;
use ngrnotok_server::auth::{Anonymous, Auth, create_token};
use ngrnotok_server::store::Store;
use ngrnotok_tests::origin::Origin;
use ngrnotok_tests::raw_link::{REQUEST, ask};
use ngrnotok_tests::run;
use ngrnotok_tests::visitor::{Answer, Via};
use ngrnotok_tests::world::{RunningClient, World};

/// A server that asks for tokens as `anonymous` says, and its store.
async fn asking(anonymous: Anonymous) -> (World, Store) {
    let store = Store::in_memory().expect("memory");
    let auth = Auth::new(Some(store.clone()), anonymous);
    let plan = World::plan().server(move |config| config.auth = auth);
    (plan.start().await, store)
}

/// A client with a token, or what it is told instead of a session.
async fn client(world: &World, token: Option<&Secret>) -> Result<RunningClient, ClientError> {
    let mut config = world.client("app", "127.0.0.1:9".parse().expect("a target"));
    config.token = token.cloned();
    RunningClient::start(config).await
}

/// What the gate answers to literal bytes with this field.
async fn told(world: &World, field: &str) -> Answer {
    let request = REQUEST.replace("User-Agent", &format!("{field}\r\nUser-Agent"));
    ask(world, &request).await.0
}

#[test]
fn without_a_token_nobody_comes_in() {
    run(async {
        let (world, _store) = asking(Anonymous::Never).await;
        let refused = ask(&world, REQUEST).await.0;
        assert_eq!(refused.problem(), "401 token_missing");
        let refused = told(&world, "Authorization: Basic YTpi").await;
        assert_eq!(refused.problem(), "401 token_missing");

        let refused = client(&world, None).await.unwrap_err();
        let ClientError::Refused(problem) = &refused else {
            panic!("{refused:?}");
        };
        assert_eq!(problem.code, "token_missing");
        assert!(refused.to_string().contains("--token-file"), "{refused}");
    });
}

#[test]
fn a_wrong_token_is_refused_and_never_repeated() {
    run(async {
        let (world, store) = asking(Anonymous::Never).await;
        let right = create_token(&store, "ann").await.unwrap();
        let right = right.expose();
        for wrong in [
            right.replace("ngrt_", "ngrt_x"),
            right[..right.len() - 1].to_owned(),
            right.to_uppercase(),
            "nonsense".to_owned(),
        ] {
            let refused = told(&world, &format!("Authorization: Bearer {wrong}")).await;
            assert_eq!(refused.problem(), "403 token_refused");
            assert!(!refused.text().contains(&wrong), "{}", refused.text());

            let refused = client(&world, Some(&Secret::new(wrong.as_str()))).await;
            let refused = refused.unwrap_err().to_string();
            assert!(refused.contains("does not accept this token"), "{refused}");
            assert!(!refused.contains(&wrong), "{refused}");
        }
    });
}

#[test]
fn the_last_digit_of_a_token_counts() {
    run(async {
        let (world, store) = asking(Anonymous::Never).await;
        let right = create_token(&store, "ann").await.unwrap();
        let (start, last) = right.expose().split_at(right.expose().len() - 1);
        let other = if last == "0" { "1" } else { "0" };
        let refused = told(&world, &format!("Authorization: Bearer {start}{other}")).await;
        assert_eq!(refused.problem(), "403 token_refused");
        let let_in = told(&world, &format!("Authorization: bearer {start}{last}")).await;
        assert_eq!(let_in.status, 101);
    });
}

#[test]
fn the_owner_of_a_token_comes_in_under_their_name() {
    run(async {
        let (world, store) = asking(Anonymous::Never).await;
        let token = create_token(&store, "ann").await.unwrap();
        let mut config = world.client("app", Origin::saying("ann's").await.target());
        config.token = Some(token);
        let client = RunningClient::start(config).await.unwrap();
        let status = client.status.borrow().clone();
        assert_eq!(status.session.unwrap().account, "ann");
        assert_eq!(world.names(), 1);
    });
}

#[test]
fn a_server_for_everybody_still_checks_the_tokens_it_is_shown() {
    run(async {
        let (world, store) = asking(Anonymous::Always).await;
        create_token(&store, "ann").await.unwrap();
        assert_eq!(ask(&world, REQUEST).await.0.status, 101);
        let refused = told(&world, "Authorization: Bearer nonsense").await;
        assert_eq!(refused.problem(), "403 token_refused");
    });
}

#[test]
fn the_first_token_ends_the_time_without_tokens() {
    run(async {
        let (world, store) = asking(Anonymous::WhileNoTokenExists).await;
        assert_eq!(ask(&world, REQUEST).await.0.status, 101);
        create_token(&store, "ann").await.unwrap();
        assert_eq!(ask(&world, REQUEST).await.0.problem(), "401 token_missing");
    });
}

#[test]
fn no_token_is_asked_of_visitors() {
    run(async {
        let (world, store) = asking(Anonymous::Never).await;
        let token = create_token(&store, "ann").await.unwrap();
        let app = Origin::mirror().await;
        let mut config = world.client("app", app.target());
        config.token = Some(token.clone());
        let _client = RunningClient::start(config).await.unwrap();
        for via in Via::ALL {
            let arrived = world.visit(via).await.get("/").await;
            assert_eq!(arrived.status, 200, "{via:?}");
            assert!(!arrived.text().contains(token.expose()));
        }
    });
}
