//! The way to the server through proxies: what they carry, what they see, and what is said when they do
//! not carry.

use std::future::pending;
use std::net::SocketAddr;
use std::time::Duration;

use ngrnotok::client::{Client, ClientError, Config};
use ngrnotok::connect::Connector;
use ngrnotok::proxy;
use ngrnotok::status::State;
use ngrnotok_certs::dev::DevAuthority;
use ngrnotok_certs::tls::Trust;
use ngrnotok_common::secret::Secret;
use ngrnotok_tests::origin::{Origin, any_port};
use ngrnotok_tests::proxy::{Manner, Proxy};
use ngrnotok_tests::visitor::Via;
use ngrnotok_tests::world::{DOMAIN, RunningClient, World};
use ngrnotok_tests::{run, within};
use tokio::net::TcpSocket;

/// A client on a way through `url` to the server by its name, which only a proxy can resolve.
fn client(world: &World, app: &Origin, url: &str) -> Config {
    let mut config = world.client("app", app.target());
    let gate = world.gate().port();
    let connector = Connector::new(DOMAIN, gate, world.trust()).expect("a good host");
    config.connector = connector.through(Some(way(url)));
    config
}

fn way(url: &str) -> proxy::Proxy {
    proxy::Proxy::parse(&Secret::new(url), "HTTPS_PROXY").expect("a good URL")
}

/// Why a client does not come online through `url`.
async fn failure(world: &World, url: &str) -> String {
    let app = Origin::refusing();
    let refused = RunningClient::start(client(world, &app, url)).await;
    let refused = refused.expect_err("no way");
    assert!(matches!(refused, ClientError::Unreachable(_)), "{refused}");
    let text = refused.to_string();
    assert!(text.contains("(HTTPS_PROXY)"), "{text}");
    assert!(
        !text.contains("s:cret") && !text.contains("s%3Acret"),
        "{text}"
    );
    text
}

/// A client behind a proxy, and that it works.
async fn carried(manner: Manner, url: impl Fn(SocketAddr) -> String) -> (World, Proxy) {
    let app = Origin::saying("behind a proxy").await;
    let world = World::plan().start().await;
    let proxy = Proxy::start(manner, world.gate()).await;
    let client = client(&world, &app, &url(proxy.address()));
    let client = RunningClient::start(client).await.expect("a way");
    let answer = world.visit(Via::Http2).await.get("/").await;
    assert_eq!(answer.text(), "behind a proxy");
    client.leave().await;
    (world, proxy)
}

#[test]
fn an_http_proxy_sees_one_connect_and_then_tls() {
    run(async {
        let basic = "Basic YW5uOnM6Y3JldA==";
        for (credentials, userinfo) in [(None, ""), (Some(basic), "ann:s%3Acret@")] {
            let url = |at| format!("http://{userinfo}{at}");
            let (world, proxy) = carried(Manner::Http(credentials), url).await;
            let server = format!("{DOMAIN}:{}", world.gate().port());
            let line = credentials.map(|value| format!("proxy-authorization: {value}\r\n"));
            let line = line.unwrap_or_default();
            let head = format!("CONNECT {server} HTTP/1.1\r\nhost: {server}\r\n{line}\r\n");
            assert_eq!(proxy.asked(), [head]);
            assert_tls(&proxy.carried());
        }
    });
}

#[test]
fn a_socks_proxy_sees_the_name_and_then_tls() {
    run(async {
        for (credentials, userinfo, who) in [
            (None, "", ""),
            // It is offered credentials, and does not want them.
            (None, "ann:s%3Acret@", ""),
            (Some(("ann", "s:cret")), "ann:s%3Acret@", "ann:s:cret "),
        ] {
            let url = |at| format!("socks5h://{userinfo}{at}");
            let (world, proxy) = carried(Manner::Socks(credentials), url).await;
            let server = format!("{DOMAIN}:{}", world.gate().port());
            assert_eq!(proxy.asked(), [format!("{who}{server}")]);
            assert_tls(&proxy.carried());
        }
    });
}

/// Nothing but TLS records, from the first byte to the last.
fn assert_tls(mut bytes: &[u8]) {
    assert!(bytes.len() > 1000, "a handshake and more");
    while let [kind, 3, 1 | 3, high, low, rest @ ..] = bytes {
        assert!((20..=23).contains(kind), "a record of kind {kind}");
        let size = usize::from(u16::from_be_bytes([*high, *low]));
        bytes = &rest[size.min(rest.len())..];
    }
    assert!(bytes.is_empty(), "{bytes:?}");
}

#[test]
fn socks5_resolves_here_and_passes_an_address_on() {
    run(async {
        let authority = DevAuthority::generate().unwrap();
        // An address of nobody (RFC 5737), which the proxy takes to the server all the same.
        let names = [DOMAIN.to_owned(), "192.0.2.7".to_owned()];
        let identity = authority.issue(&names).unwrap();
        let plan = World::plan().server(move |config| {
            config.identities = Some(identity.try_into().expect("a key that fits"));
            config.tunnel = vec![any_port()];
        });
        let world = plan.start().await;
        let proxy = Proxy::start(Manner::Socks(None), world.gate()).await;
        let url = format!("socks5://{}", proxy.address());
        let app = Origin::refusing();
        let mut config = world.client("app", app.target());
        let trust = Trust::Roots(vec![authority.certificate()]);
        let connector = Connector::new("192.0.2.7", 443, trust).unwrap();
        config.connector = connector.through(Some(way(&url)));
        RunningClient::start(config).await.unwrap().leave().await;
        assert_eq!(proxy.asked(), ["192.0.2.7:443"]);

        // What cannot be resolved here is not asked of the proxy.
        let unknown = RunningClient::start(client(&world, &app, &url)).await;
        let unknown = unknown.unwrap_err().to_string();
        assert!(unknown.contains("tunnel.test cannot be found"), "{unknown}");
        assert!(unknown.contains("socks5h://"), "{unknown}");
        assert_eq!(proxy.asked().len(), 1);
    });
}

#[test]
fn a_proxy_that_refuses_is_named_with_its_own_words_and_what_to_do() {
    run(async {
        let world = World::plan().start().await;
        let server = format!("{DOMAIN}:{}", world.gate().port());
        let refused = "refuses to connect to";
        for (scheme, says, told, todo) in [
            (
                "http",
                "HTTP/1.1 403 Forbidden\r\n\r\n",
                refused,
                "--proxy none",
            ),
            (
                "http",
                "HTTP/1.0 405 No\r\n\r\nlong text",
                refused,
                "operator",
            ),
            (
                "http",
                "HTTP/1.1 302 Found\r\nlocation: http://login/\r\n\r\n",
                "302 Found",
                "operator",
            ),
            (
                "http",
                "HTTP/1.1 502 Bad Gateway\r\n\r\n",
                "cannot reach the server",
                "address of the server",
            ),
            (
                "http",
                "HTTP/1.1 504 Late\r\n\r\n",
                "504 Gateway Timeout",
                "address of the server",
            ),
            (
                "http",
                "HTTP/1.1 407 Who\r\n\r\n",
                "asks for credentials",
                "USER:PASSWORD@",
            ),
            (
                "socks5h",
                "\x05\x00\x05\x02\x00\x01\0\0\0\0\0\0",
                refused,
                "operator",
            ),
            (
                "socks5h",
                "\x05\x00\x05\x04\x00\x01\0\0\0\0\0\0",
                "cannot reach the server",
                "address of the server",
            ),
            (
                "socks5h",
                "\x05\x00\x05\x01\x00\x03\x01x\0\0",
                "cannot reach the server",
                "--proxy none",
            ),
            (
                "socks5h",
                "\x05\u{7f}",
                "does not speak SOCKS5",
                "address of the proxy",
            ),
            (
                "socks5h",
                "\x05\x02",
                "asks for credentials",
                "USER:PASSWORD@",
            ),
        ] {
            let proxy = Proxy::start(Manner::Says(says.as_bytes()), world.gate()).await;
            let text = failure(&world, &format!("{scheme}://{}", proxy.address())).await;
            assert!(
                text.contains(&format!("{scheme}://{}", proxy.address())),
                "{text}"
            );
            assert!(text.contains(told), "{says:?}: {text}");
            assert!(text.contains(todo), "{says:?}: {text}");
            let names_the_server = !text.contains("credentials") && !text.contains("speak");
            assert_eq!(text.contains(&server), names_the_server, "{text}");
        }
    });
}

#[test]
fn wrong_credentials_are_told_from_missing_ones_and_never_repeated() {
    run(async {
        let world = World::plan().start().await;
        let http = Manner::Http(Some("Basic eHh4"));
        let socks = Manner::Socks(Some(("ann", "other")));
        for (scheme, manner) in [("http", http), ("socks5h", socks)] {
            let proxy = Proxy::start(manner, world.gate()).await;
            let none = format!("{scheme}://{}", proxy.address());
            let text = failure(&world, &none).await;
            assert!(text.contains("asks for credentials"), "{text}");
            let wrong = format!("{scheme}://ann:s%3Acret@{}", proxy.address());
            let text = failure(&world, &wrong).await;
            assert!(text.contains("does not accept its credentials"), "{text}");
        }
    });
}

#[test]
fn garbage_is_no_proxy_and_no_way_to_fill_the_memory() {
    run(async {
        let world = World::plan().start().await;
        let endless: &[u8] = Box::leak(vec![b'x'; 4 << 20].into_boxed_slice());
        let head = [b"HTTP/1.1 200 OK\r\nx: ".as_slice(), &endless[..1 << 20]].concat();
        let head: &[u8] = Box::leak(head.into_boxed_slice());
        for says in [
            b"".as_slice(),
            b"\x16\x03\x01\0\x05hello",
            b"SSH-2.0-OpenSSH_9.2\r\n",
            b"HTTP/1.1 200 OK\r\n\r\nand more",
            b"HTTP/2.0 200 OK\r\n\r\n",
            endless,
            head,
        ] {
            for scheme in ["http", "socks5h"] {
                let proxy = Proxy::start(Manner::Says(says), world.gate()).await;
                let text = failure(&world, &format!("{scheme}://{}", proxy.address())).await;
                assert!(text.contains("does not speak"), "{text}");
                assert!(text.len() < 400, "{text}");
            }
        }
    });
}

#[test]
fn a_proxy_that_is_not_there_or_silent_is_told_from_a_server_that_is() {
    run(async {
        let world = World::plan().start().await;
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(any_port()).unwrap();
        let nobody = socket.local_addr().unwrap();
        for scheme in ["http", "https", "socks5h"] {
            let text = failure(&world, &format!("{scheme}://{nobody}")).await;
            assert!(text.contains("the proxy"), "{text}");
            assert!(text.contains("cannot be reached"), "{text}");
            assert!(text.contains("--proxy none"), "{text}");
        }
        let text = failure(&world, "http://proxy.invalid:3128").await;
        assert!(
            text.contains("http://proxy.invalid:3128 (HTTPS_PROXY) cannot be reached"),
            "{text}"
        );
    });
}

#[test]
fn a_silent_proxy_is_given_up_after_10_s() {
    run(async {
        let world = World::plan().start().await;
        let (first, second) = tokio::join!(
            Proxy::start(Manner::Silent, world.gate()),
            Proxy::start(Manner::Silent, world.gate()),
        );
        let (http, socks) = (
            format!("http://{}", first.address()),
            format!("socks5h://{}", second.address()),
        );
        let app = Origin::refusing();
        let given_up = async |url| {
            let client = Client::new(client(&world, &app, url)).expect("a good client");
            client.run(pending()).await.expect_err("no way").to_string()
        };
        let both = async { tokio::join!(given_up(&http), given_up(&socks)) };
        let limit = Duration::from_secs(15);
        let (http, socks) = within(limit, "the end of the patience", both).await;
        for text in [http, socks] {
            assert!(text.contains("within 10 s"), "{text}");
            assert!(text.contains("(HTTPS_PROXY)"), "{text}");
        }
    });
}

#[test]
fn a_client_that_loses_its_proxy_says_so_and_comes_back_with_it() {
    run(async {
        let app = Origin::saying("the app").await;
        let world = World::plan().start().await;
        let proxy = Proxy::start(Manner::Http(None), world.gate()).await;
        let url = format!("http://{}", proxy.address());
        let client = client(&world, &app, &url);
        let mut client = RunningClient::start(client).await.unwrap();
        let no = b"HTTP/1.1 407 Who\r\ncontent-length: 0\r\n\r\n";
        proxy.cut(Manner::Says(no));
        let told = |state: &State| match state {
            State::Reconnecting { reason, .. } => reason.contains("asks for credentials"),
            _ => false,
        };
        client
            .is("the refusal to be told", |status| told(&status.state))
            .await;
        assert_eq!(client.status.borrow().online, []);
        proxy.cut(Manner::Http(None));
        client
            .is("the client back", |status| status.state == State::Online)
            .await;
        let answer = world.visit(Via::Http1).await.get("/").await;
        assert_eq!(answer.text(), "the app");
    });
}
