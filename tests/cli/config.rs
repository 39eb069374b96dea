//! The client's config file: what it gives together with flags and environment, and what is said of a
//! wrong one.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt as _;

use insta::assert_snapshot;
use ngrnotok_tests::program::{Program, Scratch};
use ngrnotok_tests::run;

use crate::{config_file, ngrnotok, ngrnotok_server, without_folder};

const GOOD: &str = "\
server = 'tunnel.example.com'
token = 'ngrt_hidden'

[tunnels.web]
port = 3000

[tunnels.backend]
target = 'https://localhost:8443'
insecure-local = true
name = 'api'
";

/// `ngrnotok config check ARGS…`
fn check(scratch: &Scratch, args: &[&str]) -> Program {
    ngrnotok(scratch, &["config", "check"]).args(args)
}

/// What a program says, and that it never says the token.
async fn shown(scratch: &Scratch, program: Program) -> String {
    let shown = program.output().await.shown();
    assert!(!shown.contains("ngrt_"), "{shown}");
    without_folder(&shown, scratch)
}

/// One line of what `config check` says.
async fn line(program: Program, label: &str) -> String {
    let said = program.output().await;
    let mut lines = said.stdout.lines();
    let line = lines.find_map(|line| line.strip_prefix(label));
    line.unwrap_or_else(|| panic!("{}", said.shown()))
        .trim()
        .to_owned()
}

#[test]
fn config_check_shows_what_would_be_used() {
    run(async {
        let scratch = Scratch::new();
        assert_snapshot!(shown(&scratch, check(&scratch, &[])).await);
        config_file(&scratch, GOOD);
        assert_snapshot!(shown(&scratch, check(&scratch, &[])).await);
        let elsewhere = check(&scratch, &["--server", "other.test:8443"]);
        assert_snapshot!(shown(&scratch, elsewhere).await);
        assert_snapshot!(shown(&scratch, check(&scratch, &["--local-only"])).await);
    });
}

#[test]
fn what_is_wrong_is_found_by_file_line_and_column() {
    run(async {
        let scratch = Scratch::new();
        for wrong in [
            "server = 'tunnel.example.com'\n\n[tunnels.web]\n  prot = 3000\n",
            "token = 'ngrt_hidden\n",
            "log = 'loud'\n",
            "[tunnels.a]\nhello = true\n[tunnels.b]\nhello = true\n",
        ] {
            config_file(&scratch, wrong);
            assert_snapshot!(shown(&scratch, check(&scratch, &[])).await);
            // Nothing runs with half an understanding.
            let hello = ngrnotok(&scratch, &["http", "--hello"]).output().await;
            assert_eq!(hello.code, Some(2), "{}", hello.stderr);
        }
    });
}

#[test]
fn a_token_that_others_can_read_is_not_used() {
    run(async {
        let scratch = Scratch::new();
        let file = config_file(&scratch, GOOD);
        for mode in [0o644, 0o640, 0o604] {
            set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            let exposed = check(&scratch, &[]).output().await;
            assert_eq!(exposed.code, Some(2));
            let way_out = format!("Run: chmod 600 {}\n", file.display());
            assert!(exposed.stderr.ends_with(&way_out), "{}", exposed.stderr);
        }
        set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        assert_eq!(check(&scratch, &[]).output().await.code, Some(0));

        // A password is as good as a token; without either there is nothing to hide.
        let open = GOOD.replace("token = 'ngrt_hidden'", "proxy = 'http://ann:x@p'");
        set_permissions(config_file(&scratch, &open), Permissions::from_mode(0o644)).unwrap();
        assert_eq!(check(&scratch, &[]).output().await.code, Some(2));
        let open = GOOD.replace("token = 'ngrt_hidden'", "proxy = 'http://p'");
        set_permissions(config_file(&scratch, &open), Permissions::from_mode(0o644)).unwrap();
        assert_eq!(check(&scratch, &[]).output().await.code, Some(0));
    });
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    run(async {
        let scratch = Scratch::new();
        config_file(&scratch, GOOD);
        let file = check(&scratch, &[]);
        assert_eq!(line(file, "server").await, "tunnel.example.com:443");
        let environment = |args: &[&str]| {
            let program = check(&scratch, args).env("NGRNOTOK_SERVER", "environment.test");
            program.env("NGRNOTOK_TOKEN", "ngrt_environment")
        };
        let server = line(environment(&[]), "server").await;
        assert_eq!(server, "environment.test:443");
        let flag = ["--server", "flag.test"];
        assert_eq!(line(environment(&flag), "server").await, "flag.test:443");

        let token = line(environment(&[]), "token").await;
        assert_eq!(token, "in NGRNOTOK_TOKEN");
        let other = scratch.file("token", "ngrt_flag");
        let flag = ["--token-file", other.to_str().unwrap()];
        let token = line(environment(&flag), "token").await;
        assert_eq!(token, format!("in {}", other.display()));
    });
}

#[test]
fn empty_variables_count_as_not_set() {
    run(async {
        let scratch = Scratch::new();
        config_file(&scratch, GOOD);
        let mut client = check(&scratch, &[]);
        for variable in [
            "CONFIG",
            "SERVER",
            "SERVER_CA",
            "SERVER_PIN",
            "TOKEN",
            "TOKEN_FILE",
            "LOG",
            "OUTPUT",
        ] {
            client = client.env(&format!("NGRNOTOK_{variable}"), "");
        }
        assert_eq!(line(client, "token").await, "in the config file");
        let http = ngrnotok(&scratch, &["http", "--hello", "--local-only"]);
        let mut http = http.env("NGRNOTOK_NAME", "").start();
        http.line_of("Forwarding").await;

        let args = ["--domain", "tunnel.test", "--dev-cert", "config", "check"];
        let mut server =
            ngrnotok_server(&scratch, &args).env("NGRNOTOK_SERVER_HTTPS", "127.0.0.1:0");
        for variable in [
            "HTTP",
            "PUBLIC_PORT",
            "SHARDS",
            "ALLOW_ANONYMOUS",
            "CERT",
            "CONFIG",
        ] {
            server = server.env(&format!("NGRNOTOK_SERVER_{variable}"), "");
        }
        let checked = server.output().await;
        assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    });
}

#[test]
fn the_file_can_be_named() {
    run(async {
        let scratch = Scratch::new();
        let file = scratch.file("mine.toml", "server = 'mine.test'\n");
        let file = file.to_str().unwrap();
        for program in [
            check(&scratch, &["--config", file]),
            check(&scratch, &[]).env("NGRNOTOK_CONFIG", file),
        ] {
            assert_eq!(line(program, "server").await, "mine.test:443");
        }
        let path = ["config", "path", "--config", file];
        let path = ngrnotok(&scratch, &path).output().await;
        assert_eq!(path.stdout, format!("{file}\n"));
        let usual = ngrnotok(&scratch, &["config", "path"]).output().await;
        let there = scratch.path().join("config/ngrnotok/config.toml");
        assert_eq!(usual.stdout, format!("{}\n", there.display()));

        let missing = check(&scratch, &["--config", "/nonexistent/config.toml"]);
        assert_snapshot!(shown(&scratch, missing).await);
    });
}

#[test]
fn a_way_to_know_no_server_is_refused() {
    run(async {
        let scratch = Scratch::new();
        let pin = format!("sha256:{}", "0".repeat(64));
        let program = ngrnotok(&scratch, &["http", "--hello", "--server-pin", &pin]);
        assert_snapshot!(shown(&scratch, program).await);
    });
}
