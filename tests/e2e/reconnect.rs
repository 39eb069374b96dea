//! Clients who lose their server: when they come back, and when they do not.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use ngrnotok::client::{ClientError, Config};
use ngrnotok::connect::Connector;
use ngrnotok::status::{State, Status};
use ngrnotok_certs::tls::link_server_config;
use ngrnotok_common::protocol::ALPN;
use ngrnotok_tests::origin::{Origin, any_port};
use ngrnotok_tests::relay::Relay;
use ngrnotok_tests::tasks::Tasks;
use ngrnotok_tests::visitor::Via;
use ngrnotok_tests::wire::Wire;
use ngrnotok_tests::world::{RunningClient, World};
use ngrnotok_tests::{eventually, run, soon, within};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

/// A gate that answers every request for a link with the next of these words, the last ones for ever,
/// and keeps the connection.
struct Refusing {
    address: SocketAddr,
    /// When each request came.
    asked: mpsc::Receiver<Instant>,
    _tasks: Tasks,
}

impl Refusing {
    async fn start(world: &World, words: &'static [&'static str]) -> Self {
        let config = link_server_config(world.identity("localhost"), &[ALPN]);
        let tls = TlsAcceptor::from(config.expect("a good identity"));
        let listener = TcpListener::bind(any_port()).await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (tell, asked) = mpsc::channel(64);
        let tasks = Tasks::default();
        tasks.spawn(async move {
            let mut kept = Vec::new();
            let words = words.iter().chain(words.last().into_iter().cycle());
            for words in words {
                let Ok((stream, _)) = listener.accept().await else {
                    return;
                };
                let Ok(stream) = tls.accept(stream).await else {
                    continue;
                };
                let mut wire = Wire::new(stream);
                if wire.next_head().await.is_some() {
                    let _ = tell.send(Instant::now()).await;
                    wire.say(words).await;
                }
                kept.push(wire);
            }
        });
        Self {
            address,
            asked,
            _tasks: tasks,
        }
    }

    async fn asked(&mut self) -> Instant {
        let asked = soon("a request for a link", self.asked.recv()).await;
        asked.expect("the gate lives")
    }
}

/// A client whose way to the server the test can break and lead elsewhere.
async fn behind(world: &World, app: &Origin) -> (RunningClient, Relay) {
    let relay = Relay::to(world.gate()).await;
    let client = RunningClient::start(dialing(world, app, relay.port())).await;
    (client.expect("a way"), relay)
}

fn dialing(world: &World, app: &Origin, port: u16) -> Config {
    Config {
        connector: Connector::new("localhost", port, world.trust()).expect("a good host"),
        ..world.client("app", app.target())
    }
}

fn is_online(status: &Status) -> bool {
    status.state == State::Online
}

fn is_lost(status: &Status) -> bool {
    matches!(status.state, State::Reconnecting { .. })
}

const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\n\
    content-type: application/problem+json\r\ncontent-length: 54\r\n\r\n\
    {\"status\":503,\"code\":\"unavailable\",\"title\":\"too busy\"}";

const REFUSED: &str = "HTTP/1.1 403 Forbidden\r\n\
    content-type: application/problem+json\r\ncontent-length: 60\r\n\r\n\
    {\"status\":403,\"code\":\"token_refused\",\"title\":\"not any more\"}";

const PAGE: &str = "HTTP/1.1 404 Not Found\r\ncontent-length: 5\r\n\r\npage\n";

#[test]
fn a_herd_of_clients_comes_back_to_the_new_server() {
    run(async {
        let app = Origin::saying("the app").await;
        let mut plan = World::plan();
        for number in 0..20 {
            plan = plan.client(&format!("app-{number}"), &app);
        }
        let mut world = plan.start().await;
        let urls: Vec<_> = world.clients.iter().map(RunningClient::url).collect();
        world.stop_server();
        world.server_ended().await;
        for client in &mut world.clients {
            client.is("everybody to miss the server", is_lost).await;
        }
        world.restart_server().await;
        let back = async {
            for client in &mut world.clients {
                client.is("everybody back", is_online).await;
            }
        };
        within(Duration::from_secs(15), "everybody back", back).await;
        let again: Vec<_> = world.clients.iter().map(RunningClient::url).collect();
        assert_eq!(again, urls);
        assert_eq!(world.names(), 20);
    });
}

#[test]
fn a_server_that_is_too_busy_is_left_alone_for_as_long_as_it_asks() {
    run(async {
        let app = Origin::saying("the app").await;
        let world = World::plan().start().await;
        let mut busy = Refusing::start(&world, &[BUSY]).await;
        let (mut client, relay) = behind(&world, &app).await;
        relay.lead_to(busy.address);
        let first = busy.asked().await;
        let told = |status: &Status| match &status.state {
            State::Reconnecting { reason, retry_at } => {
                reason.contains("too busy") && retry_at.duration_since(first).as_secs() >= 1
            }
            _ => false,
        };
        client.is("the wait to be told", told).await;
        let second = busy.asked().await;
        assert!(second - first >= Duration::from_secs(1));
        relay.lead_to(world.gate());
        client.is("the client back", is_online).await;
        assert_eq!(
            world.visit(Via::Http1).await.get("/").await.text(),
            "the app"
        );
    });
}

#[test]
fn a_token_that_is_refused_later_ends_the_client_and_nothing_else_does() {
    run(async {
        let app = Origin::saying("the app").await;
        let world = World::plan().start().await;
        let strangers: &[&str] = &[
            PAGE,
            "HTTP/1.1 403 Go Away\r\ncontent-length: 0\r\n\r\n",
            REFUSED,
        ];
        let mut gate = Refusing::start(&world, strangers).await;
        let (mut client, relay) = behind(&world, &app).await;
        relay.lead_to(gate.address);
        // Two who are not our server, and then it is.
        for _ in 0..3 {
            gate.asked().await;
        }
        let over = |status: &Status| match &status.state {
            State::Ended { reason } => reason.contains("not any more"),
            _ => false,
        };
        client.is("the end to be told", over).await;
        assert_eq!(client.status.borrow().online, []);
        let ended = client.ended().await;
        assert!(matches!(ended, Err(ClientError::Refused(_))), "{ended:?}");
    });
}

#[test]
fn a_web_server_that_keeps_the_connection_is_known_for_what_it_is_at_once() {
    run(async {
        let world = World::plan().start().await;
        let stranger = Refusing::start(&world, &[PAGE]).await;
        let config = dialing(&world, &Origin::refusing(), stranger.address.port());
        let limit = Duration::from_secs(5);
        let refused = within(limit, "the verdict", RunningClient::start(config)).await;
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("404 Not Found"), "{refused}");
        assert!(refused.contains("an ngrnotok-server?"), "{refused}");
    });
}

#[test]
fn a_client_told_to_stop_is_leaving_whether_it_has_a_server_or_not() {
    run(async {
        for has_server in [true, false] {
            let mut world = World::of(&Origin::saying("the app").await).await;
            let mut client = world.clients.remove(0);
            if !has_server {
                world.stop_server();
                world.server_ended().await;
                client.is("the loss", is_lost).await;
            }
            let status = client.status.clone();
            client.leave().await;
            assert_eq!(status.borrow().state, State::Leaving);
            assert_eq!(status.borrow().online, []);
        }
    });
}

#[test]
fn a_silent_link_is_not_called_online_for_long() {
    run(async {
        let app = Origin::saying("the app").await;
        let world = World::plan().start().await;
        let (mut client, relay) = behind(&world, &app).await;
        relay.silence_the_old();
        let limit = Duration::from_secs(9);
        let told = client.status.wait_for(is_lost);
        let told = within(limit, "the silence to be told", told).await.unwrap();
        assert_eq!(told.online, []);
        drop(told);
        client.is("the client back", is_online).await;
    });
}

#[test]
fn links_that_are_replaced_one_by_one_leave_the_client_online() {
    run(async {
        let app = Origin::saying("the app").await;
        let plan = World::plan().server(|config| config.most_requests = 5);
        let world = plan.start().await;
        let config = Config {
            links: NonZeroUsize::new(3).unwrap(),
            ..world.client("app", app.target())
        };
        let mut client = RunningClient::start(config).await.unwrap();
        let all = async || world.open_links("app") == Some(3);
        eventually("all links", all).await;
        let visitor = world.visit(Via::Http2).await;
        for _ in 0..40 {
            assert_eq!(visitor.get("/").await.text(), "the app");
        }
        client.is("online again", is_online).await;
        eventually("all links again", all).await;
        assert!(is_online(&client.status.borrow()));
        assert_eq!(client.status.borrow().online.len(), 1);
    });
}
