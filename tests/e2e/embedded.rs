//! Without a server of one's own: one in the same process, for this machine alone.

use ngrnotok::client::{ClientError, Config};
use ngrnotok::embedded::{self, Embedded};
use ngrnotok_server::server::Server;
use ngrnotok_tests::origin::Origin;
use ngrnotok_tests::run;
use ngrnotok_tests::visitor::{Via, Visitor};
use ngrnotok_tests::world::{RunningClient, tunnel};
use tokio::net::TcpStream;

/// An embedded server with tunnels to `app`; both live as long as the answer.
async fn serving(app: &Origin, names: &[&str]) -> (Server, RunningClient, u16) {
    let Embedded {
        server,
        connector,
        token,
        port,
    } = embedded::start().await.expect("a free port");
    let tunnels = names.iter().map(|name| tunnel(name, app.target()));
    let config = Config::new(connector, Some(token), tunnels.collect());
    let client = RunningClient::start(config).await.expect("our own token");
    (server, client, port)
}

async fn visitor(port: u16, host: &str) -> Visitor {
    let stream = TcpStream::connect(("127.0.0.1", port)).await;
    let stream = stream.expect("the embedded server listens");
    Visitor::on(stream, Via::PlainHttp1, host.to_owned()).await
}

#[test]
fn the_only_tunnel_answers_under_every_name_of_this_machine() {
    run(async {
        let app = Origin::mirror().await;
        let (_server, client, port) = serving(&app, &["app"]).await;
        assert_eq!(client.url(), format!("http://app.localhost:{port}"));
        for host in [
            "app.localhost",
            "localhost",
            "127.0.0.1",
            "127.1.2.3",
            "[::1]",
        ] {
            let host = format!("{host}:{port}");
            let arrived = visitor(port, &host).await.get("/").await;
            let line = format!("\nhost: {host}\n");
            assert!(arrived.text().contains(&line), "{host}: {}", arrived.text());
        }
    });
}

#[test]
fn both_loopback_addresses_are_served() {
    run(async {
        let app = Origin::saying("here").await;
        let (server, _client, port) = serving(&app, &["app"]).await;
        assert_eq!(server.addresses().http.len(), 2);
        for address in &server.addresses().http {
            assert!(address.ip().is_loopback());
            let stream = TcpStream::connect(address).await.unwrap();
            let host = format!("localhost:{port}");
            let visitor = Visitor::on(stream, Via::PlainHttp1, host).await;
            assert_eq!(visitor.get("/").await.text(), "here", "{address}");
        }
    });
}

#[test]
fn a_page_of_another_site_finds_nothing() {
    run(async {
        // Such a site can make its own name resolve to 127.0.0.1.
        let app = Origin::saying("private").await;
        let (_server, _client, port) = serving(&app, &["app"]).await;
        for host in [
            "evil.example",
            "app.evil.example",
            "localhost.evil.example",
            "192.168.0.1",
        ] {
            let answer = visitor(port, host).await.get("/").await;
            assert_eq!(answer.problem(), "400 foreign_host", "{host}");
        }
    });
}

#[test]
fn of_two_tunnels_the_bare_machine_is_neither() {
    run(async {
        let app = Origin::saying("either").await;
        let (_server, _client, port) = serving(&app, &["one", "two"]).await;
        for host in ["localhost", "127.0.0.1"] {
            let answer = visitor(port, host).await.get("/").await;
            assert_eq!(answer.problem(), "404 tunnel_not_found", "{host}");
        }
        assert_eq!(
            visitor(port, "two.localhost").await.get("/").await.text(),
            "either"
        );
    });
}

#[test]
fn two_embedded_servers_take_two_ports() {
    run(async {
        let (one, two) = (Origin::saying("one").await, Origin::saying("two").await);
        let (_first, _one, first) = serving(&one, &["app"]).await;
        let (_second, _two, second) = serving(&two, &["app"]).await;
        assert_ne!(first, second);
        assert_eq!(
            visitor(first, "localhost").await.get("/").await.text(),
            "one"
        );
        assert_eq!(
            visitor(second, "localhost").await.get("/").await.text(),
            "two"
        );
    });
}

#[test]
fn other_users_of_the_machine_open_no_tunnels_here() {
    run(async {
        let embedded = embedded::start().await.unwrap();
        let tunnels = vec![tunnel("app", Origin::refusing().target())];
        let config = Config::new(embedded.connector, None, tunnels);
        let refused = RunningClient::start(config).await.unwrap_err();
        assert!(matches!(refused, ClientError::Refused(_)), "{refused}");
    });
}
