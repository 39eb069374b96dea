//! What users show to be let in: tokens, and passwords of proxies.

use std::fs;

use ngrnotok_tests::frames::{GOAWAY, SETTINGS, frame};
use ngrnotok_tests::origin::Origin;
use ngrnotok_tests::program::Program;
use ngrnotok_tests::proxy::{Manner, Proxy};
use ngrnotok_tests::raw_link::{REQUEST, RawClient, ask_on, request_with};
use ngrnotok_tests::wire::Wire;
use ngrnotok_tests::{run, soon};

use super::stage::{LOGS, Stage};

const LINK: &[u8] = b"ngrnotok/1";

/// Words that somebody could take for a token; all of them are secret to somebody.
fn wrong_tokens(stage: &mut Stage) -> Vec<String> {
    let twisted = stage.token.replace("ngrt_", "ngrt_0");
    let mut canary = |what| stage.canary(what);
    let unknown = canary("an unknown token").repeat(2);
    vec![
        format!("ngrt_{}_{unknown}", &unknown[..12]),
        twisted,
        canary("a password"),
        format!("{}\u{e9}", canary("a word that is not ASCII")),
        format!("two {}", canary("one of two words")),
        canary("a long word").repeat(3000),
    ]
}

#[test]
fn tokens_are_written_nowhere() {
    for log in LOGS {
        run(async {
            let mut stage = Stage::open(log).await;
            let wrong = wrong_tokens(&mut stage);
            for (place, token) in wrong.iter().enumerate() {
                let file = stage.gives(&format!("token-{place}"), token);
                let by_file = stage
                    .client("http", &["--hello", "--token-file"])
                    .args([file]);
                let by_variable = stage.client("http", &["--hello"]);
                let by_variable = by_variable.env("NGRNOTOK_TOKEN", token);
                let check = stage.ngrnotok(&["config", "check"]);
                let check = check.env("NGRNOTOK_TOKEN", token);
                let input = stage.gives("input", token);
                let login = stage.client("login", &[]).input(&input);
                for program in [by_file, by_variable, check, login] {
                    stage.runs(program).await;
                }
            }
            // The right one, everywhere it can stand.
            let file = stage.gives("token", &stage.token);
            let by_file = stage
                .client("http", &["--hello", "--token-file"])
                .args([file]);
            let client = stage.online(by_file).await;
            client.stop().await;
            let by_variable = stage
                .client("http", &["--hello"])
                .env("NGRNOTOK_TOKEN", &stage.token);
            let client = stage.online(by_variable).await;
            client.stop().await;
            let login = stage
                .client("login", &[])
                .input(&stage.gives("input", &stage.token));
            assert_eq!(stage.runs(login).await, Some(0));
            let stored = fs::read_to_string(stage.client_file("config/ngrnotok/config.toml"));
            assert!(stored.unwrap().contains(&stage.token));
            let check = stage.ngrnotok(&["config", "check"]);
            assert_eq!(stage.runs(check).await, Some(0));
            let again = stage.ngrnotok(&["http", "--hello"]);
            let client = stage.online(again).await;
            client.stop().await;
            let logout = stage.ngrnotok(&["logout"]);
            assert_eq!(stage.runs(logout).await, Some(0));
            let list = stage.ngrnotok_server(&["token", "list"]);
            assert_eq!(stage.runs(list).await, Some(0));
            stage.search(|_, _| false).await;
        });
    }
}

/// Words in the wrong place: typed where everybody sees them, and written with a slip.
#[test]
fn slips_are_not_repeated() {
    for log in LOGS {
        run(async {
            let mut stage = Stage::open(log).await;
            let slip = stage.canary("a slip");
            let token = format!("ngrt_0123456789ab_{}", slip.repeat(2));
            let proxy = format!("http://ann:{slip}@127.0.0.1:1");
            for text in [
                format!("token = '{token}\n"),
                format!("token = {token}\n"),
                format!("token = ['{token}']\n"),
                format!("token = '{token}' x\n"),
                format!("tokn = '{token}'\n"),
                format!("token = '{token} {slip}'\n"),
                format!("[token]\nvalue = '{token}'\n"),
                format!("[tunnels.web]\ntoken = '{token}'\n"),
                format!("proxy = '{proxy}\n"),
                format!("proxy = ['{proxy}']\n"),
                format!("proxy = 'ftp{}'\n", &proxy[4..]),
                format!("proxy = '{proxy}:x'\n"),
                format!("token-file = '{token}'\n"),
            ] {
                let file = stage.gives("config.toml", &text);
                let check = stage
                    .ngrnotok(&["config", "check", "--config"])
                    .args([file]);
                assert_eq!(stage.runs(check).await, Some(2), "{text}");
            }
            for args in [
                &["http", "--hello", "--proxy", &proxy][..],
                &["http", "--hello", "--token", &token],
                &["http", "--hello", &format!("--token={token}")],
                &["http", "--hello", "--token-file", &token],
                &["login", &token],
            ] {
                let typed = stage.client(args[0], &args[1..]);
                assert_eq!(stage.runs(typed).await, Some(2), "{args:?}");
            }
            for (variable, value) in [
                ("NGRNOTOK_TOKEN_FILE", &token),
                ("NGRNOTOK_PROXY", &format!("{proxy}:x")),
                ("HTTPS_PROXY", &format!("{proxy}:x")),
            ] {
                let slip = stage.ngrnotok(&["http", "--hello", "--server", "tunnel.test"]);
                let code = stage.runs(slip.env(variable, value)).await;
                assert_eq!(code, Some(2), "{variable}");
            }
            let revoke = stage.ngrnotok_server(&["token", "revoke", &token]);
            assert_ne!(stage.runs(revoke).await, Some(0));
            stage.search(|_, _| false).await;
        });
    }
}

#[test]
fn the_door_for_clients_repeats_nothing() {
    for log in LOGS {
        run(async {
            let mut stage = Stage::open(log).await;
            let secret = stage.canary("what a stranger says");
            let field = format!("Authorization: Bearer {secret}");
            for (what, request) in [
                ("a token", request_with(&secret)),
                (
                    "another scheme",
                    request_with(&secret).replace("Bearer", "Basic"),
                ),
                (
                    "another path",
                    request_with(&secret).replace("/link", &format!("/{secret}")),
                ),
                (
                    "a query",
                    REQUEST.replace("/link", &format!("/link?token={secret}")),
                ),
                (
                    "another version",
                    request_with(&secret).replace("Version: 1", &format!("Version: {secret}")),
                ),
                ("no upgrade", request_with(&secret).replace("ptth", &secret)),
                (
                    "two tokens",
                    request_with(&secret).replace("ALPN", &format!("{field}\r\nALPN")),
                ),
                (
                    "a bad field",
                    REQUEST.replace("ALPN", &format!("{secret} {secret}")),
                ),
                ("a long field", request_with(&secret.repeat(1000))),
                ("no HTTP", format!("{secret}\r\n\r\n")),
                (
                    "the right token and more",
                    request_with(&stage.token) + &secret,
                ),
            ] {
                let wire = Wire::new(stage.tls("localhost", LINK).await);
                stage.says_on(wire, what, &request).await;
                stage.says(what, &stage.https.clone(), &request).await;
            }
            // Behind the door.
            for line in [
                secret.clone(),
                format!(r#"{{"t":"hello","version":"{secret}""#),
                format!(r#"{{"t":"{secret}"}}"#),
                format!(r#"{{"t":"hello","version":["{secret}"],"os":"x"}}"#),
                format!(
                    r#"{{"t":"hello","version":"1","os":"x","resume":{{"session":"-{secret}","proof":"{secret}"}}}}"#
                ),
                format!(
                    r#"{{"t":"hello","version":"1","os":"x","resume":{{"session":"{}","proof":"{secret}"}}}}"#,
                    uuid::Uuid::nil()
                ),
                secret.repeat(3000),
            ] {
                let stream = stage.tls("localhost", LINK).await;
                let mut link = RawClient::open_on(stream, &request_with(&stage.token)).await;
                link.say(&line);
                if line.contains("proof") && line.contains("0000") {
                    assert_eq!(link.hear().await["t"], "welcome");
                    link.say(&secret);
                }
                soon("the end of the conversation", link.control_ended()).await;
            }
            let stream = stage.tls("localhost", LINK).await;
            let (answer, stream) = ask_on(stream, &request_with(&stage.token)).await;
            assert_eq!(answer.status, 101);
            let reason = [&[0; 7], &[2][..], secret.as_bytes()].concat();
            let frames = [frame(SETTINGS, 0, 0, &[]), frame(GOAWAY, 0, 0, &reason)].concat();
            stage.says_on(Wire::new(stream), "a goodbye", frames).await;
            stage.search(|_, _| false).await;
        });
    }
}

/// A client on its way to a server that is not there, or not itself.
#[test]
fn a_token_is_not_repeated_when_its_server_is_not_found() {
    for log in LOGS {
        run(async {
            let mut stage = Stage::open(log).await;
            let password = stage.canary("a password of a proxy");
            let noise = Origin::raw(async |mut wire| {
                wire.say("HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno")
                    .await;
            });
            let noise = noise.await;
            let address = |app: &Origin| app.target().to_string().replace("http://", "");
            let (noise, nobody) = (address(&noise), address(&Origin::refusing()));
            let pin = format!("sha256:{}", "0".repeat(64));
            let (https, token) = (stage.https.clone(), stage.token.clone());
            for (server, pin) in [(&noise, &pin), (&nobody, &pin), (&https, &pin)] {
                let way = ["http", "--hello", "--server", server, "--server-pin", pin];
                let client = stage.ngrnotok(&way).env("NGRNOTOK_TOKEN", &token);
                assert_eq!(stage.runs(client).await, Some(5), "{server}");
            }
            let untrusted = stage.ngrnotok(&["http", "--hello", "--server", &https]);
            let untrusted = untrusted.env("NGRNOTOK_TOKEN", &token);
            assert_eq!(stage.runs(untrusted).await, Some(5));
            for (scheme, manner) in [
                ("http", Manner::Http(Some("Basic bm8="))),
                ("http", Manner::Says(b"HTTP/1.1 502 No\r\n\r\n")),
                ("http", Manner::Says(b"no\r\n\r\n")),
                ("https", Manner::Says(b"no")),
                ("socks5h", Manner::Socks(Some(("ann", "x")))),
                ("socks5h", Manner::Says(b"no")),
                ("ftp", Manner::Silent),
            ] {
                let proxy = Proxy::start(manner, https.parse().unwrap()).await;
                let url = format!("{scheme}://ann:{password}@{}", proxy.address());
                let through = |program: Program| {
                    let program = program.env("NGRNOTOK_TOKEN", &token);
                    program.env("NGRNOTOK_PROXY", &url)
                };
                // To this machine itself nobody goes through a proxy.
                for command in [&["http", "--hello"][..], &["config", "check"]] {
                    let way = ["--server", "tunnel.test", "--server-pin", &stage.pin];
                    let client = through(stage.ngrnotok(command).args(way));
                    let code = stage.runs(client).await;
                    assert!(command[0] == "config" || code > Some(0), "{url}");
                }
            }
            stage.search(|_, _| false).await;
        });
    }
}
