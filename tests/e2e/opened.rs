//! Tunnels come and go while the client runs.

use ngrnotok::Tunnel;
use ngrnotok::opener::OpenError;
use ngrnotok_tests::body::pieces;
use ngrnotok_tests::origin::Origin;
use ngrnotok_tests::raw_link::{HELLO, RawClient};
use ngrnotok_tests::relay::Relay;
use ngrnotok_tests::visitor::Via;
use ngrnotok_tests::world::{RunningClient, World, tunnel};
use ngrnotok_tests::{eventually, run};

use crate::names::{at, name};

fn to(app: &Origin, name: &str) -> Tunnel {
    tunnel(name, app.target())
}

/// A server, an app, and its client with the tunnel `app`.
async fn online() -> (World, Origin, RunningClient) {
    let world = World::plan().start().await;
    let app = Origin::saying("the app").await;
    let client = world.join("app", &app).await;
    (world, app, client)
}

fn names(client: &RunningClient) -> Vec<String> {
    let status = client.status.borrow();
    let names = status.online.iter().map(|tunnel| tunnel.name.to_string());
    names.collect()
}

#[test]
fn a_tunnel_can_be_opened_and_closed_while_another_goes_on() {
    run(async {
        let (world, _app, client) = online().await;
        let shop = Origin::saying("the shop").await;
        for _ in 0..2 {
            let online = client.opener.open(to(&shop, "shop")).await.unwrap();
            assert_eq!(online.name, name("shop"));
            assert_eq!(names(&client), ["app", "shop"]);
            assert_eq!(at(&world, "shop").await, "the shop");
            client.opener.close(&name("shop")).await.unwrap();
            assert_eq!(names(&client), ["app"]);
            assert_eq!(at(&world, "shop").await, "404 tunnel_not_found");
            assert_eq!(at(&world, "app").await, "the app");
        }
    });
}

#[test]
fn a_name_that_was_given_back_is_free_for_others() {
    run(async {
        let (world, app, client) = online().await;
        let other = Origin::saying("another").await;
        client.opener.open(to(&app, "shop")).await.unwrap();
        client.opener.close(&name("shop")).await.unwrap();
        let _other = world.join("shop", &other).await;
        assert_eq!(at(&world, "shop").await, "another");
    });
}

#[test]
fn a_client_goes_on_without_any_tunnel_and_with_others_than_it_was_started_with() {
    run(async {
        let (world, _app, client) = online().await;
        let shop = Origin::saying("the shop").await;
        client.opener.close(&name("app")).await.unwrap();
        assert_eq!(at(&world, "app").await, "404 tunnel_not_found");
        client.opener.open(to(&shop, "shop")).await.unwrap();
        assert_eq!(at(&world, "shop").await, "the shop");
        client.leave().await;
    });
}

#[test]
fn a_client_may_begin_without_any_tunnel() {
    run(async {
        let world = World::plan().start().await;
        let app = Origin::saying("the app").await;
        let mut config = world.client("app", app.target());
        config.tunnels.clear();
        let client = RunningClient::start(config).await.unwrap();
        assert_eq!(names(&client), [""; 0]);
        client.opener.open(to(&app, "app")).await.unwrap();
        assert_eq!(at(&world, "app").await, "the app");
    });
}

#[test]
fn what_was_opened_is_there_again_after_a_loss_and_what_was_closed_is_not() {
    run(async {
        let world = World::plan().start().await;
        let app = Origin::saying("the app").await;
        let relay = Relay::to(world.gate()).await;
        let mut config = world.client("app", app.target());
        config.connector = relay.connector(&world);
        let mut client = RunningClient::start(config).await.unwrap();
        client.opener.open(to(&app, "shop")).await.unwrap();
        client.opener.close(&name("app")).await.unwrap();
        relay.break_one();
        client
            .is("offline", |status| status.online.is_empty())
            .await;
        client
            .is("online", |status| !status.online.is_empty())
            .await;
        assert_eq!(names(&client), ["shop"]);
        assert_eq!(at(&world, "shop").await, "the app");
        assert_eq!(at(&world, "app").await, "404 tunnel_not_found");
    });
}

#[test]
fn a_tunnel_that_the_server_refuses_is_not_wanted_any_more_and_ends_nothing() {
    run(async {
        let (world, app, client) = online().await;
        let other = world.join("shop", &app).await;
        let refused = client.opener.open(to(&app, "shop")).await;
        assert!(matches!(&refused, Err(OpenError::Refused(why)) if why.contains("shop")));
        // For good.
        let refused = client.opener.open(to(&app, "www")).await;
        assert!(matches!(&refused, Err(OpenError::Refused(why)) if why.contains("www")));
        assert_eq!(at(&world, "app").await, "the app");
        assert!(client.status.borrow().refused.is_empty());
        other.leave().await;
        // It could be had now, and is.
        client.opener.open(to(&app, "shop")).await.unwrap();
    });
}

#[test]
fn no_name_is_opened_twice_and_none_closed_that_is_not_there() {
    run(async {
        let (_world, app, client) = online().await;
        let twice = client.opener.open(to(&app, "app")).await;
        assert!(matches!(twice, Err(OpenError::Exists(known)) if known == name("app")));
        let unknown = client.opener.close(&name("shop")).await;
        assert!(matches!(unknown, Err(OpenError::NoTunnel(unknown)) if unknown == name("shop")));
        let opener = client.opener.clone();
        client.leave().await;
        let late = opener.open(to(&app, "shop")).await;
        assert!(matches!(late, Err(OpenError::Ended)));
    });
}

#[test]
fn whoever_does_not_wait_for_a_tunnel_does_not_get_it() {
    run(async {
        let (world, app, client) = online().await;
        tokio::select! {
            biased;
            _ = client.opener.open(to(&app, "shop")) => panic!("nothing is as quick"),
            () = std::future::ready(()) => {}
        }
        // In the order in which they were asked for.
        client.opener.open(to(&app, "last")).await.unwrap();
        assert_eq!(names(&client), ["app", "last"]);
        assert_eq!(at(&world, "shop").await, "404 tunnel_not_found");
    });
}

#[test]
fn an_open_request_outlives_its_tunnel() {
    run(async {
        let world = World::plan().start().await;
        let (app, mut witness) = Origin::witness().await;
        let client = world.join("app", &app).await;
        client.opener.open(to(&app, "shop")).await.unwrap();
        let visitor = world.visitor(Via::Http1, "shop").await;
        let (mut upload, body) = pieces();
        upload.send_data("half ".into()).await.unwrap();
        let request = visitor.request("POST", "/").body(body).unwrap();
        let (answer, ()) = tokio::join!(visitor.send(request), async {
            let open = async || world.open_streams("shop") == Some(1);
            eventually("the upload to begin", open).await;
            client.opener.close(&name("shop")).await.unwrap();
            upload.send_data("and half".into()).await.unwrap();
            drop(upload);
        });
        assert_eq!(answer.status, 200);
        assert_eq!(witness.recv().await.unwrap().body(), "half and half");
    });
}

#[test]
fn a_server_gives_back_what_is_bound_and_nothing_else() {
    run(async {
        let world = World::plan().start().await;
        let mut client = RawClient::open(&world).await;
        client.say(HELLO);
        client.say(r#"{"t":"unbind","id":1}"#);
        client.bind(1, "http", "app");
        assert_eq!(client.hear().await["t"], "welcome");
        assert_eq!(client.hear().await["t"], "bound");
        // Another word for the same name.
        client.bind(2, "http", "app.tunnel.test");
        assert_eq!(client.hear().await["code"], "name_taken");
        client.say(r#"{"t":"unbind","id":2}"#);
        client.bind(3, "http", "shop");
        assert_eq!(client.hear().await["t"], "bound");
        assert_eq!(world.names(), 2, "what was refused is not given back");
        client.say(r#"{"t":"unbind","id":1}"#);
        client.bind(4, "http", "app");
        let bound = client.hear().await;
        assert_eq!((&bound["t"], &bound["id"]), (&"bound".into(), &4.into()));
    });
}

#[test]
fn who_comes_back_gives_free_what_is_not_wanted_any_more() {
    run(async {
        let world = World::plan().start().await;
        let mut client = RawClient::open(&world).await;
        client.say(HELLO);
        client.bind(0, "http", "app");
        client.bind(1, "http", "shop");
        let welcome = client.hear().await;
        for _ in 0..2 {
            assert_eq!(client.hear().await["t"], "bound");
        }
        let mut back = RawClient::open(&world).await;
        back.come_back(&welcome, false);
        back.bind(0, "http", "app");
        back.say(r#"{"t":"release"}"#);
        assert_eq!(back.hear().await["t"], "welcome");
        assert_eq!(back.hear().await["t"], "bound");
        eventually("the other name to be free", async || world.names() == 1).await;
        // What is late on the old link changes nothing.
        client.say(r#"{"t":"unbind","id":0}"#);
        client.say(r#"{"t":"release"}"#);
        back.bind(2, "http", "last");
        assert_eq!(back.hear().await["t"], "bound");
        assert_eq!(world.names(), 2);
    });
}

#[test]
fn what_is_closed_while_there_is_no_link_is_free_once_there_is_one() {
    run(async {
        let world = World::plan().start().await;
        let app = Origin::saying("the app").await;
        let relay = Relay::to(world.gate()).await;
        let mut config = world.client("app", app.target());
        config.connector = relay.connector(&world);
        let mut client = RunningClient::start(config).await.unwrap();
        client.opener.open(to(&app, "shop")).await.unwrap();
        relay.silence_the_old();
        client.opener.close(&name("shop")).await.unwrap();
        relay.break_one();
        client
            .is("offline", |status| status.online.is_empty())
            .await;
        assert_eq!(world.names(), 2, "the session still has it");
        client
            .is("online", |status| !status.online.is_empty())
            .await;
        eventually("the name to be free", async || world.names() == 1).await;
    });
}

#[test]
fn another_word_for_a_tunnel_that_there_is_does_it_no_harm() {
    run(async {
        let (world, app, client) = online().await;
        let alias = client.opener.open(to(&app, "app.tunnel.test")).await;
        assert!(matches!(alias, Err(OpenError::Refused(_))), "{alias:?}");
        // The server has heard all of it.
        client.opener.open(to(&app, "last")).await.unwrap();
        assert_eq!(at(&world, "app").await, "the app");
    });
}

#[test]
fn a_tunnel_that_is_closed_before_it_is_open_does_not_open() {
    run(async {
        let (world, app, client) = online().await;
        let shop = name("shop");
        let (opened, closed) = tokio::join!(
            client.opener.open(to(&app, "shop")),
            client.opener.close(&shop),
        );
        assert!(matches!(opened, Err(OpenError::Closed(_))), "{opened:?}");
        closed.unwrap();
        client.opener.open(to(&app, "shop")).await.unwrap();
        assert_eq!(at(&world, "shop").await, "the app");
    });
}

#[test]
fn several_links_have_the_tunnels_in_common() {
    run(async {
        let world = World::plan().start().await;
        let app = Origin::saying("the app").await;
        let mut config = world.client("app", app.target());
        config.links = std::num::NonZeroUsize::new(2).unwrap();
        let client = RunningClient::start(config).await.unwrap();
        client.opener.open(to(&app, "shop")).await.unwrap();
        assert_eq!(at(&world, "shop").await, "the app");
        client.opener.close(&name("shop")).await.unwrap();
        assert_eq!(at(&world, "shop").await, "404 tunnel_not_found");
        assert_eq!(at(&world, "app").await, "the app");
    });
}
