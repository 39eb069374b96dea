//! Several clients of one account share a name.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;

use http::{Response, StatusCode};
use ngrnotok::client::{ClientError, Config, Pool};
use ngrnotok_common::secret::Secret;
use ngrnotok_server::auth::{Anonymous, Auth, create_token};
use ngrnotok_server::store::Store;
use ngrnotok_tests::body::full;
use ngrnotok_tests::origin::Origin;
use ngrnotok_tests::program::Scratch;
use ngrnotok_tests::visitor::{Via, Visitor};
use ngrnotok_tests::world::{RunningClient, World};
use ngrnotok_tests::{eventually, run, soon};
use tokio::sync::{mpsc, watch};

/// A server that knows two accounts.
async fn world() -> (World, [Secret; 2]) {
    let store = Store::in_memory().expect("memory");
    let auth = Auth::new(Some(store.clone()), Anonymous::Always);
    let ann = create_token(&store, "ann").await.expect("a token");
    let bob = create_token(&store, "bob").await.expect("a token");
    let plan = World::plan().server(move |config| config.auth = auth);
    (plan.start().await, [ann, bob])
}

async fn client(
    world: &World,
    app: &Origin,
    token: Option<&Secret>,
    pool: Option<Pool>,
) -> Result<RunningClient, ClientError> {
    let mut config: Config = world.client("app", app.target());
    config.token = token.cloned();
    config.tunnels[0].pool = pool;
    RunningClient::start(config).await
}

/// An app that says `one`, and at `/health` whether it is well now.
async fn patient(well: watch::Receiver<bool>) -> Origin {
    Origin::http(move |request| {
        let well = well.clone();
        async move {
            let mut answer = Response::new(full("one"));
            if request.uri() == "/health" && !*well.borrow() {
                *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            }
            answer
        }
    })
    .await
}

/// Who answers a few requests.
async fn who(visitor: &Visitor) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for _ in 0..8 {
        let answer = soon("an answer", visitor.get("/")).await;
        all.insert(answer.text().to_owned());
    }
    all
}

/// How many of twelve requests each member answers, all on one connection or each on its own.
async fn share(world: &World, via: Via, keeps: bool) -> BTreeMap<String, u32> {
    let mut share = BTreeMap::new();
    let mut visitor = world.visit(via).await;
    for _ in 0..12 {
        let answer = soon("an answer", visitor.get("/")).await;
        *share.entry(answer.text().to_owned()).or_default() += 1;
        if !keeps {
            visitor = world.visit(via).await;
        }
    }
    share
}

/// Both, over each protocol.
async fn shares(world: &World) -> Vec<BTreeMap<String, u32>> {
    let mut shares = Vec::new();
    for via in Via::ALL {
        for keeps in [true, false] {
            shares.push(share(world, via, keeps).await);
        }
    }
    shares
}

#[test]
fn every_member_gets_the_same_share_of_kept_and_of_new_connections() {
    run(async {
        let (world, [ann, _]) = world().await;
        let (well, now) = watch::channel(true);
        let mut apps = vec![patient(now).await];
        for name in ["two", "three", "four"] {
            apps.push(Origin::saying(name).await);
        }
        let mut clients = Vec::new();
        for app in &apps {
            let pool = Some(Pool {
                health: Some("/health".parse().unwrap()),
            });
            clients.push(client(&world, app, Some(&ann), pool).await.unwrap());
            let alike = 12 / u32::try_from(clients.len()).unwrap();
            for share in shares(&world).await {
                assert_eq!(share.len(), clients.len(), "{share:?}");
                assert!(share.values().all(|got| *got == alike), "{share:?}");
            }
        }
        well.send_replace(false);
        let visitor = world.visit(Via::Http1).await;
        let others = async || who(&visitor).await == set(["two", "three", "four"]);
        eventually("the sick one to be passed over", others).await;
        for share in shares(&world).await {
            let alike = ["two", "three", "four"].map(|name| (name.to_owned(), 4));
            assert_eq!(share, alike.into());
        }
    });
}

#[test]
fn a_member_with_fewer_open_requests_is_chosen_first() {
    run(async {
        let (world, [ann, _]) = world().await;
        // It answers nobody.
        let (asked, mut requests) = mpsc::channel(16);
        let busy = Origin::http(move |_| {
            let asked = asked.clone();
            async move {
                asked.send(()).await.expect("the test goes on");
                pending().await
            }
        })
        .await;
        let shared = || Some(Pool::default());
        let _busy = client(&world, &busy, Some(&ann), shared()).await.unwrap();
        let waiting = world.visit(Via::Http1).await;
        let waiting = waiting.get("/");
        tokio::pin!(waiting);
        tokio::select! {
            _ = &mut waiting => panic!("nobody answers"),
            _ = requests.recv() => {}
        }
        let free = Origin::saying("free").await;
        let _free = client(&world, &free, Some(&ann), shared()).await.unwrap();
        for via in Via::ALL {
            let visitor = world.visit(via).await;
            assert_eq!(who(&visitor).await, set(["free"]), "{via:?}");
        }
    });
}

fn set<const N: usize>(words: [&str; N]) -> BTreeSet<String> {
    words.map(ToOwned::to_owned).into()
}

#[test]
fn members_take_turns_and_a_lost_one_is_passed_over() {
    run(async {
        let (world, [ann, _]) = world().await;
        let (one, two) = (Origin::saying("one").await, Origin::saying("two").await);
        let shared = || Some(Pool::default());
        let first = client(&world, &one, Some(&ann), shared()).await.unwrap();
        let second = client(&world, &two, Some(&ann), shared()).await.unwrap();
        for via in Via::ALL {
            let visitor = world.visit(via).await;
            assert_eq!(who(&visitor).await, set(["one", "two"]), "{via:?}");
        }
        let visitor = world.visit(Via::Http2).await;
        first.leave().await;
        assert_eq!(who(&visitor).await, set(["two"]));
        // Lost without a word, its share is kept and not used.
        let first = client(&world, &one, Some(&ann), shared()).await.unwrap();
        drop(second);
        eventually("the loss to be seen", async || {
            who(&visitor).await == set(["one"])
        })
        .await;
        first.leave().await;
    });
}

#[test]
fn what_a_lost_member_was_asked_another_one_answers_at_once() {
    run(async {
        let (world, [ann, _]) = world().await;
        // It answers nobody.
        let (asked, mut requests) = mpsc::channel(16);
        let silent = Origin::http(move |_| {
            let asked = asked.clone();
            async move {
                asked.send(()).await.expect("the test goes on");
                pending().await
            }
        })
        .await;
        let two = Origin::saying("two").await;
        let shared = || Some(Pool::default());
        for via in Via::ALL {
            let first = client(&world, &silent, Some(&ann), shared()).await.unwrap();
            let _second = client(&world, &two, Some(&ann), shared()).await.unwrap();
            let (one, other) = (world.visit(via).await, world.visit(via).await);
            let lose = async {
                requests.recv().await;
                drop(first);
            };
            // One of them is the turn of the silent one.
            let (one, other, ()) = tokio::join!(one.get("/"), other.get("/"), lose);
            assert_eq!((one.text(), other.text()), ("two", "two"), "{via:?}");
        }
    });
}

#[test]
fn a_member_whose_app_is_not_well_is_passed_over() {
    run(async {
        let (world, [ann, _]) = world().await;
        let (well, now) = watch::channel(true);
        let checked = Some(Pool {
            health: Some("/health".parse().unwrap()),
        });
        let one = patient(now).await;
        let _first = client(&world, &one, Some(&ann), checked).await.unwrap();
        let two = Origin::saying("two").await;
        let shared = Some(Pool::default());
        let _second = client(&world, &two, Some(&ann), shared).await.unwrap();
        let visitor = world.visit(Via::Http1).await;
        assert_eq!(who(&visitor).await, set(["one", "two"]));
        well.send_replace(false);
        let only_two = async || who(&visitor).await == set(["two"]);
        eventually("the sick one to be passed over", only_two).await;
        well.send_replace(true);
        let both = async || who(&visitor).await == set(["one", "two"]);
        eventually("it to be back", both).await;
    });
}

#[test]
fn a_name_is_shared_only_within_an_account_and_when_all_say_so() {
    run(async {
        let (world, [ann, bob]) = world().await;
        let app = Origin::saying("one").await;
        let shared = || Some(Pool::default());
        let refused = async |token: Option<&Secret>, pool, words: &str| {
            let refused = client(&world, &app, token, pool).await.unwrap_err();
            assert!(refused.to_string().contains(words), "{refused}");
        };
        refused(None, shared(), "--pool needs a token").await;
        let first = client(&world, &app, Some(&ann), shared()).await.unwrap();
        refused(Some(&bob), shared(), "taken by another client").await;
        refused(Some(&ann), None, "to share it start both with --pool").await;
        first.leave().await;
        let _alone = client(&world, &app, Some(&ann), None).await.unwrap();
        refused(Some(&ann), shared(), "to share it start both with --pool").await;
    });
}

#[test]
fn a_client_that_comes_back_may_have_changed_its_mind_about_sharing() {
    run(async {
        let (world, [ann, _]) = world().await;
        let (app, kept) = (Origin::saying("one").await, Scratch::new());
        let start = async |pool| {
            let mut config: Config = world.client("app", app.target());
            config.token = Some(ann.clone());
            config.state = Some(kept.path().to_owned());
            config.tunnels[0].pool = pool;
            RunningClient::start(config).await
        };
        let shared = || Some(Pool::default());
        let first = start(None).await.unwrap();
        let session = first.session();
        first.kill(kept.path()).await;
        let first = start(shared()).await.unwrap();
        assert_eq!(first.session(), session);
        let second = client(&world, &app, Some(&ann), shared()).await.unwrap();

        first.kill(kept.path()).await;
        let refused = start(None).await.unwrap_err().to_string();
        assert!(
            refused.contains("to share it start both with --pool"),
            "{refused}"
        );
        second.leave().await;
        let _alone = start(None).await.unwrap();
        let refused = client(&world, &app, Some(&ann), shared()).await;
        assert!(refused.is_err());
    });
}

#[test]
fn an_app_that_got_well_while_its_client_was_away_is_used_again() {
    run(async {
        let (world, [ann, _]) = world().await;
        let (well, now) = watch::channel(false);
        let (one, kept) = (patient(now).await, Scratch::new());
        let start = async || {
            let mut config: Config = world.client("app", one.target());
            config.token = Some(ann.clone());
            config.state = Some(kept.path().to_owned());
            config.tunnels[0].pool = Some(Pool {
                health: Some("/health".parse().unwrap()),
            });
            RunningClient::start(config).await.unwrap()
        };
        let first = start().await;
        let two = Origin::saying("two").await;
        let shared = Some(Pool::default());
        let _second = client(&world, &two, Some(&ann), shared).await.unwrap();
        let visitor = world.visit(Via::Http1).await;
        eventually("the sick one to be passed over", async || {
            who(&visitor).await == set(["two"])
        })
        .await;
        first.kill(kept.path()).await;
        well.send_replace(true);
        let _first = start().await;
        eventually("it to be used again", async || {
            who(&visitor).await == set(["one", "two"])
        })
        .await;
    });
}
