//! The way to the server as the environment and the arguments say: proxies, and whom to trust.

use std::net::SocketAddr;

use ngrnotok_certs::dev::DevAuthority;
use ngrnotok_tests::program::{Program, Scratch};
use ngrnotok_tests::proxy::{Manner, Proxy};
use ngrnotok_tests::run;

use crate::{RunningServer, ngrnotok};

/// A server and a proxy in front of it.
async fn behind(manner: Manner, scratch: &Scratch) -> (RunningServer, Proxy) {
    let server = RunningServer::start(scratch, &[]).await;
    let gate: SocketAddr = server.https.parse().expect("an address");
    (server, Proxy::start(manner, gate).await)
}

/// A client of a server that only the proxy finds.
fn far(server: &RunningServer, scratch: &Scratch, args: &[&str]) -> Program {
    let way = ["http", "--hello", "--server", "tunnel.test", "--server-pin"];
    ngrnotok(scratch, &way).args([&server.pin]).args(args)
}

/// Comes online and leaves.
async fn works(program: Program) {
    let mut client = program.start();
    client.line_of("Forwarding").await;
    client.signal("INT").await;
    client.ended().await;
}

#[test]
fn a_proxy_comes_from_an_argument_from_our_variable_or_from_everybodys() {
    run(async {
        let scratch = Scratch::new();
        let (server, proxy) = behind(Manner::Http(None), &scratch).await;
        let url = format!("http://{}", proxy.address());
        works(far(&server, &scratch, &["--proxy", &url])).await;
        for variable in [
            "NGRNOTOK_PROXY",
            "HTTPS_PROXY",
            "https_proxy",
            "ALL_PROXY",
            "all_proxy",
        ] {
            works(far(&server, &scratch, &[]).env(variable, &url)).await;
        }
        assert_eq!(proxy.asked().len(), 6);
        assert!(
            proxy
                .asked()
                .iter()
                .all(|head| head.starts_with("CONNECT tunnel.test:443 "))
        );

        let none = far(&server, &scratch, &["--proxy", "none"]).env("HTTPS_PROXY", &url);
        let exempt = far(&server, &scratch, &[])
            .env("HTTPS_PROXY", &url)
            .env("NO_PROXY", ".test");
        for direct in [none, exempt] {
            let ended = direct.output().await;
            assert_eq!(ended.code, Some(5), "{}", ended.stderr);
            assert!(
                ended.stderr.contains("tunnel.test cannot be found"),
                "{}",
                ended.stderr
            );
        }
        assert_eq!(proxy.asked().len(), 6);
    });
}

#[test]
fn the_file_names_a_proxy_too_and_the_check_shows_which_it_is() {
    run(async {
        let scratch = Scratch::new();
        let file = scratch.file("config.toml", "proxy = 'http://ann:secret@file.test:1'\n");
        let base = ["config", "check", "--server", "tunnel.test", "--config"];
        let check = |args: &[&str]| ngrnotok(&scratch, &base).args([&file]).args(args);
        let none = check(&["--proxy", "none"]);
        let ours = check(&[]).env("NGRNOTOK_PROXY", "https://ours.test");
        let written = check(&[]).env("HTTPS_PROXY", "http://theirs.test");
        for (program, through) in [
            (none, None),
            (ours, Some("https://ours.test:443 (NGRNOTOK_PROXY)")),
            (
                written,
                Some("http://file.test:1 (proxy in the config file)"),
            ),
        ] {
            let shown = program.output().await.stdout;
            let line = shown.lines().find_map(|line| line.strip_prefix("through"));
            assert_eq!(line.map(str::trim), through, "{shown}");
            assert!(!shown.contains("secret"), "{shown}");
        }
    });
}

#[test]
fn a_server_on_this_machine_is_reached_without_the_proxy() {
    run(async {
        let scratch = Scratch::new();
        let (server, proxy) = behind(Manner::Http(None), &scratch).await;
        let url = format!("http://{}", proxy.address());
        works(
            server
                .client(&scratch, &["--hello"])
                .env("HTTPS_PROXY", &url),
        )
        .await;
        works(ngrnotok(&scratch, &["http", "--hello"]).env("ALL_PROXY", &url)).await;
        assert_eq!(proxy.asked(), [""; 0]);
    });
}

#[test]
fn credentials_come_from_the_environment_only() {
    run(async {
        let scratch = Scratch::new();
        let manner = Manner::Http(Some("Basic YW5uOnNlY3JldA=="));
        let (server, proxy) = behind(manner, &scratch).await;
        let url = format!("http://ann:secret@{}", proxy.address());
        for program in [
            far(&server, &scratch, &["--log", "trace"]).env("NGRNOTOK_PROXY", &url),
            far(&server, &scratch, &["--log", "trace"]).env("HTTPS_PROXY", &url),
        ] {
            works(program).await;
        }
        let typed = far(&server, &scratch, &["--proxy", &url, "--log", "trace"])
            .output()
            .await;
        assert_eq!(typed.code, Some(2), "{}", typed.stderr);
        assert!(typed.stderr.contains("NGRNOTOK_PROXY"), "{}", typed.stderr);
        let wrong = url.replace("secret", "secrets");
        let refused = far(&server, &scratch, &["--log", "trace"]).env("HTTPS_PROXY", &wrong);
        let refused = refused.output().await;
        assert_eq!(refused.code, Some(5), "{}", refused.stderr);
        assert!(refused.stderr.contains("407"), "{}", refused.stderr);
        for said in [typed, refused] {
            let said = said.shown();
            let shown = ["secret", "YW5u", "c2VjcmV0"]
                .iter()
                .find(|word| said.contains(**word));
            assert_eq!(shown, None, "{said}");
        }
    });
}

#[test]
fn what_is_no_proxy_is_refused_before_anybody_is_asked() {
    run(async {
        let scratch = Scratch::new();
        let server = ["http", "--hello", "--server", "tunnel.test"];
        for (variable, word) in [
            ("HTTPS_PROXY", "socks4://p:1"),
            ("NGRNOTOK_PROXY", "http://"),
        ] {
            let ended = ngrnotok(&scratch, &server)
                .env(variable, word)
                .output()
                .await;
            assert_eq!(ended.code, Some(2), "{}", ended.stderr);
            assert!(ended.stderr.contains(variable), "{}", ended.stderr);
            assert!(ended.stderr.contains("--proxy none"), "{}", ended.stderr);
        }
    });
}

#[test]
fn an_https_proxy_has_to_prove_itself_too() {
    run(async {
        let scratch = Scratch::new();
        let server = RunningServer::start(&scratch, &[]).await;
        let gate = server.https.parse().unwrap();
        let authority = DevAuthority::generate().unwrap();
        let trusted = scratch.file("trusted.pem", authority.certificate_pem());
        for (name, is_trusted) in [("localhost", true), ("proxy.test", false)] {
            let identity = authority.issue(&[name.to_owned()]).unwrap();
            let proxy = Proxy::start_tls(identity, Manner::Http(None), gate).await;
            let url = format!("https://localhost:{}", proxy.address().port());
            let client = far(&server, &scratch, &[]);
            let client = client
                .env("HTTPS_PROXY", &url)
                .env("SSL_CERT_FILE", &trusted);
            if is_trusted {
                works(client).await;
                assert_eq!(proxy.asked().len(), 1);
            } else {
                let refused = client.output().await;
                assert_eq!(refused.code, Some(5), "{}", refused.stderr);
                let text = "failed: its certificate is for proxy.test, not for localhost";
                assert!(refused.stderr.contains(text), "{}", refused.stderr);
                assert_eq!(proxy.asked(), [""; 0]);
            }
        }
    });
}

#[test]
fn without_a_word_the_client_trusts_what_the_machine_trusts() {
    run(async {
        let scratch = Scratch::new();
        let server = RunningServer::start(&scratch, &[]).await;
        let authority = scratch.path().join("ngrnotok-server").join("dev-ca.pem");
        let port = server.https.rsplit(':').next().unwrap();
        let address = format!("localhost:{port}");
        let args = ["http", "--hello", "--server", &address];
        works(ngrnotok(&scratch, &args).env("SSL_CERT_FILE", &authority)).await;
        let stranger = ngrnotok(&scratch, &args).output().await;
        assert_eq!(stranger.code, Some(5), "{}", stranger.stderr);
        // The named authority, and no other, is the trusted one.
        let other = DevAuthority::generate().unwrap();
        let other = scratch.file("other.pem", other.certificate_pem());
        let named = ngrnotok(&scratch, &args).args(["--server-ca".as_ref(), other.as_os_str()]);
        let named = named.env("SSL_CERT_FILE", &authority).output().await;
        assert_eq!(named.code, Some(5), "{}", named.stderr);
    });
}

#[test]
fn a_machine_that_trusts_nobody_is_told_what_to_do() {
    run(async {
        let scratch = Scratch::new();
        let args = ["http", "--hello", "--server", "tunnel.test"];
        let nobody = ngrnotok(&scratch, &args).env("SSL_CERT_FILE", "/dev/null");
        let nobody = nobody.env("SSL_CERT_DIR", scratch.path()).output().await;
        assert_eq!(nobody.code, Some(2), "{}", nobody.stderr);
        for part in ["No CA certificates", "ca-certificates", "--server-ca FILE"] {
            assert!(nobody.stderr.contains(part), "{}", nobody.stderr);
        }
    });
}

#[test]
fn a_certificate_for_another_name_is_told_with_what_to_do() {
    run(async {
        let scratch = Scratch::new();
        let (server, proxy) = behind(Manner::Http(None), &scratch).await;
        let authority = scratch.path().join("ngrnotok-server").join("dev-ca.pem");
        let args = [
            "http",
            "--hello",
            "--server",
            "elsewhere.test",
            "--server-ca",
        ];
        let client = ngrnotok(&scratch, &args).args([authority]);
        let client = client.env("HTTPS_PROXY", proxy.address().to_string());
        let refused = client.output().await;
        assert_eq!(refused.code, Some(5), "{}", refused.stderr);
        for part in [
            "is for ",
            "tunnel.test",
            "not for elsewhere.test",
            "Give --server one of",
        ] {
            assert!(refused.stderr.contains(part), "{}", refused.stderr);
        }
        drop(server);
    });
}
