//! The server's program: what it refuses to start with, and its commands.

use std::net::TcpListener;

use insta::assert_snapshot;
use ngrnotok_certs::tls::{Trust, link_client_config};
use ngrnotok_common::protocol::ALPN;
use ngrnotok_tests::program::Scratch;
use ngrnotok_tests::raw_link::{HELLO, REQUEST, RawClient};
use ngrnotok_tests::{run, soon};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::{RunningServer, ngrnotok_server, steady, without_folder};

/// Runs the server with arguments that end it, and shows what it said.
async fn shown(scratch: &Scratch, args: &[&str]) -> String {
    let ended = ngrnotok_server(scratch, args).output().await;
    without_folder(&ended.shown(), scratch)
}

#[test]
fn a_server_needs_a_domain_and_a_certificate() {
    run(async {
        let scratch = Scratch::new();
        assert_snapshot!(shown(&scratch, &[]).await);
        assert_snapshot!(shown(&scratch, &["--domain", "tunnel.test"]).await);
        let url = ["--domain", "https://tunnel.test", "--dev-cert"];
        assert_snapshot!(shown(&scratch, &url).await);
    });
}

#[test]
fn a_server_open_to_the_world_needs_a_token() {
    run(async {
        let scratch = Scratch::new();
        // Refused before it listens anywhere.
        let args = [
            "--domain",
            "tunnel.test",
            "--https",
            "0.0.0.0:0",
            "--dev-cert",
        ];
        assert_snapshot!(shown(&scratch, &args).await);
    });
}

#[test]
fn without_a_home_nothing_is_kept_in_the_working_folder() {
    run(async {
        let scratch = Scratch::new();
        for args in [
            &[
                "--domain",
                "tunnel.test",
                "--https",
                "127.0.0.1:0",
                "--dev-cert",
            ][..],
            &["token", "create", "--account", "ann"],
            &["name", "list"],
            &["domain", "list"],
        ] {
            let refused = ngrnotok_server(&scratch, args).homeless(scratch.path());
            let refused = refused.output().await;
            assert_eq!(refused.code, Some(2), "{}", refused.stderr);
            assert!(
                refused.stderr.contains("--state-dir DIR"),
                "{}",
                refused.stderr
            );
        }
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
    });
}

#[test]
fn a_state_folder_that_is_shared_is_refused_with_the_next_step() {
    run(async {
        use std::os::unix::fs::PermissionsExt as _;

        let scratch = Scratch::new();
        let shared = scratch.path().join("shared");
        std::fs::create_dir(&shared).unwrap();
        std::fs::set_permissions(&shared, std::fs::Permissions::from_mode(0o1777)).unwrap();
        let make = ["token", "create", "--account", "ann", "--state-dir"];
        let refused = ngrnotok_server(&scratch, &make).args([&shared]);
        let refused = refused.output().await;
        assert_eq!(refused.code, Some(1), "{}", refused.stderr);
        let next = format!("chmod go-w {}", shared.display());
        assert!(refused.stderr.contains(&next), "{}", refused.stderr);
        assert_eq!(std::fs::read_dir(&shared).unwrap().count(), 0);
    });
}

#[test]
fn a_passed_socket_that_is_open_to_the_world_needs_a_token_whatever_is_configured() {
    run(async {
        let scratch = Scratch::new();
        let wildcard = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = wildcard.local_addr().unwrap().port();
        let configured = format!("127.0.0.1:{port}");
        let start = || {
            let args = ["--domain", "tunnel.test", "--dev-cert", "--admin", "off"];
            let server = ngrnotok_server(&scratch, &args).args(["--https", &configured]);
            server.on_socket(&wildcard)
        };
        let refused = start().output().await;
        assert_eq!(refused.code, Some(1), "{}", refused.stderr);
        let bound = format!("listen on 0.0.0.0:{port}, which other machines can reach");
        for words in [&bound, "token create --account", "--allow-anonymous"] {
            assert!(refused.stderr.contains(words), "{}", refused.stderr);
        }

        let mut open = start().args(["--allow-anonymous"]).start();
        open.line_of("https").await;
        assert!(open.kill());
        let made = ngrnotok_server(&scratch, &["token", "create", "--account", "ann"]);
        assert_eq!(made.output().await.code, Some(0));
        let mut closed = start().start();
        closed.line_of("https").await;
    });
}

/// A tunnel client that says what the test wants.
async fn raw_client(server: &RunningServer) -> RawClient {
    let trust = Trust::Pin(server.pin.parse().expect("a pin"));
    let config = link_client_config(trust, &[ALPN]).expect("a good pin");
    let stream = TcpStream::connect(&server.https).await;
    let name = "tunnel.test".try_into().expect("a name");
    let stream = stream.expect("the server listens");
    let connecting = TlsConnector::from(config).connect(name, stream);
    let stream = soon("TLS with the server", connecting).await;
    RawClient::open_on(stream.expect("the pinned key"), REQUEST).await
}

#[test]
fn words_of_a_client_are_cut_and_escaped_in_the_log() {
    run(async {
        let scratch = Scratch::new();
        let mut server = RunningServer::start(&scratch, &[]).await;
        let mut client = raw_client(&server).await;
        let version = "x".repeat(50_000);
        client.say(&format!(
            r#"{{"t":"hello","version":"{version}","os":"a\u001b[2J\nb"}}"#
        ));
        let line = server.program.complaint_with("link open").await;
        assert!(line.len() < 500, "{line}");
        let version = format!("version={}…", &version[..64]);
        assert!(line.contains(&version), "{line}");
        assert!(line.contains(r"os=a\u001b[2J\u000ab"), "{line}");
    });
}

#[test]
fn one_client_does_not_fill_the_log() {
    run(async {
        let scratch = Scratch::new();
        let mut server = RunningServer::start(&scratch, &[]).await;
        let mut client = raw_client(&server).await;
        client.say(HELLO);
        assert_eq!(client.hear().await["t"], "welcome");
        for id in 0..520 {
            client.bind(id, "http", "login");
            assert_eq!(client.hear().await["t"], "refused");
        }
        let line = server.program.complaint_with("left out").await;
        assert!(line.contains("payer=127.0.0.1"), "{line}");
    });
}

#[test]
fn a_token_opens_the_server_to_the_world() {
    run(async {
        let scratch = Scratch::new();
        let made = ngrnotok_server(&scratch, &["token", "create", "--account", "ann"]);
        assert_eq!(made.output().await.code, Some(0));
        let args = ["config", "check"];
        let world = [
            "--domain",
            "tunnel.test",
            "--https",
            "0.0.0.0:0",
            "--dev-cert",
        ];
        let checked = ngrnotok_server(&scratch, &[&world[..], &args[..]].concat());
        let checked = checked.output().await;
        assert_eq!(checked.code, Some(0), "{}", checked.stderr);
        assert_eq!(
            checked.stdout,
            "The configuration is good.\nTunnels are at https://NAME.tunnel.test:0\n"
        );
    });
}

#[test]
fn tls_may_be_left_to_a_trusted_proxy_and_to_nobody_else() {
    run(async {
        let scratch = Scratch::new();
        let check = async |words: &str| {
            let args = "--domain tunnel.test --dev-cert --http 127.0.0.1:0 --tunnel 127.0.0.1:0";
            let args = format!("{args} {words} config check");
            shown(&scratch, &args.split_whitespace().collect::<Vec<_>>()).await
        };
        let said = check("--public-scheme https --trusted-proxies 127.0.0.1").await;
        assert!(said.contains("https://NAME.tunnel.test\n"), "{said}");
        let said = check("--public-scheme https").await;
        assert!(said.contains("--trusted-proxies 127.0.0.1"), "{said}");
        let said = check("--http-mode redirect").await;
        assert!(said.contains("--public-scheme https"), "{said}");
    });
}

#[test]
fn a_wrong_word_in_the_file_is_found_by_line_and_column() {
    run(async {
        let scratch = Scratch::new();
        let file = scratch.file(
            "server.toml",
            "domain = \"tunnel.test\"\n\nhtps = [\"127.0.0.1:0\"]\n",
        );
        let check = ["--config", file.to_str().unwrap(), "config", "check"];
        let ended = ngrnotok_server(&scratch, &check).output().await;
        assert_eq!(ended.code, Some(2));
        assert!(
            ended.stderr.contains("line 3, column 1"),
            "{}",
            ended.stderr
        );
        assert!(ended.stderr.contains("htps"), "{}", ended.stderr);
    });
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    run(async {
        let scratch = Scratch::new();
        let file = scratch.file("server.toml", "domain = \"bad domain\"\ndev-cert = true\n");
        let file = file.to_str().unwrap();
        let check = ["--config", file, "config", "check"];
        let bad = ngrnotok_server(&scratch, &check).output().await;
        assert!(bad.stderr.contains("\"bad domain\""), "{}", bad.stderr);
        let bad = ngrnotok_server(&scratch, &check).env("NGRNOTOK_SERVER_DOMAIN", "worse one");
        let bad = bad.output().await;
        assert!(bad.stderr.contains("\"worse one\""), "{}", bad.stderr);
        let check = [
            "--config",
            file,
            "--domain",
            "tunnel.test",
            "--https",
            "127.0.0.1:0",
        ];
        let good = ngrnotok_server(&scratch, &check).args(["config", "check"]);
        let good = good
            .env("NGRNOTOK_SERVER_DOMAIN", "worse one")
            .output()
            .await;
        assert_eq!(good.code, Some(0), "{}", good.stderr);
    });
}

#[test]
fn a_token_is_printed_once_and_kept_as_a_hash() {
    run(async {
        let scratch = Scratch::new();
        let state = scratch.path().join("state");
        let create = ["token", "create", "--account", "ann", "--state-dir"];
        let create = ngrnotok_server(&scratch, &create).args([&state]);
        let made = create.output().await;
        assert_eq!(made.code, Some(0), "{}", made.stderr);
        let token = made.stdout.strip_suffix('\n').unwrap();
        assert!(token.starts_with("ngrt_") && !token.contains(char::is_whitespace));
        assert!(!made.stderr.contains(token), "{}", made.stderr);
        let secret = token.rsplit('_').next().unwrap();
        let mut read = 0;
        for file in std::fs::read_dir(&state).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            read += bytes.len();
            let found = bytes
                .windows(secret.len())
                .any(|part| part == secret.as_bytes());
            assert!(!found, "the secret is on the disk");
        }
        assert!(read > 0);
    });
}

#[test]
fn a_bad_account_is_no_account() {
    run(async {
        let scratch = Scratch::new();
        for account in ["Ann", "", "anonymous", "a b"] {
            let create = ["token", "create", "--account", account];
            let ended = ngrnotok_server(&scratch, &create).output().await;
            assert_ne!(ended.code, Some(0), "{account:?}");
            assert_eq!(ended.stdout, "");
        }
    });
}

#[test]
fn a_server_says_where_it_listens_and_ends_when_told() {
    run(async {
        let scratch = Scratch::new();
        for signal in ["TERM", "INT"] {
            let server = RunningServer::start(&scratch, &[]).await;
            assert!(server.https.starts_with("127.0.0.1:"), "{}", server.https);
            assert!(server.pin.starts_with("sha256:") && server.pin.len() == 71);
            server.program.signal(signal).await;
            assert_eq!(server.program.ended().await.0, Some(0), "SIG{signal}");
        }
    });
}

#[test]
fn a_server_prints_its_addresses_in_order() {
    run(async {
        let scratch = Scratch::new();
        let args = [
            "--domain",
            "tunnel.test",
            "--https",
            "127.0.0.1:0",
            "--http",
            "127.0.0.1:0",
            "--tunnel",
            "127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
            "--dev-cert",
            "--log",
            "off",
        ];
        let mut server = ngrnotok_server(&scratch, &args).start();
        let mut lines = String::new();
        for _ in 0..8 {
            lines.push_str(&server.line().await);
            lines.push('\n');
        }
        let pin = lines.rsplit("sha256:").next().unwrap().to_owned();
        assert_snapshot!(steady(&lines.replace(&pin, "HEX\n"), &scratch));
    });
}

#[test]
fn a_port_that_is_taken_is_named() {
    run(async {
        let scratch = Scratch::new();
        let server = RunningServer::start(&scratch, &[]).await;
        let args = [
            "--domain",
            "tunnel.test",
            "--admin",
            "off",
            "--dev-cert",
            "--https",
        ];
        let second = ngrnotok_server(&scratch, &args).args([&server.https]);
        let second = second.output().await;
        assert_eq!(second.code, Some(1));
        assert!(second.stderr.contains(&server.https), "{}", second.stderr);
        assert!(
            second.stderr.contains("another program has it"),
            "{}",
            second.stderr
        );
    });
}
