//! Logging in: what is stored, and when nothing is.

use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

use ngrnotok_tests::program::{Program, Scratch};
use ngrnotok_tests::run;
use tokio::net::TcpSocket;

use crate::{RunningServer, config_file, ngrnotok, ngrnotok_server, token, token_with};

/// `ngrnotok login --server … --server-pin …` with a token on its standard input.
fn login(server: &RunningServer, scratch: &Scratch, token: &str) -> Program {
    let args = [
        "login",
        "--server",
        &server.https,
        "--server-pin",
        &server.pin,
    ];
    let input = format!("input-{}", uuid::Uuid::new_v4());
    ngrnotok(scratch, &args).input(&scratch.file(&input, &format!("{token}\n")))
}

/// The URL that a plain `ngrnotok http` has with what is stored.
async fn url(scratch: &Scratch) -> String {
    let mut client = ngrnotok(scratch, &["http", "--hello"]).start();
    let line = client.line_of("Forwarding").await;
    client.signal("INT").await;
    assert_eq!(client.ended().await.0, Some(0));
    line.split(' ').next().expect("a URL").to_owned()
}

/// Logs in with a new token of an account.
async fn log_in(server: &RunningServer, scratch: &Scratch, account: &str) {
    let create = ["token", "create", "--account", account];
    let made = ngrnotok_server(scratch, &create).output().await;
    let done = login(server, scratch, made.stdout.trim()).output().await;
    assert_eq!(done.code, Some(0), "{}", done.stderr);
}

fn usual_file(scratch: &Scratch) -> PathBuf {
    scratch.path().join("config/ngrnotok/config.toml")
}

/// Whether a plain `ngrnotok http` comes online with what is stored, and as whom.
async fn session(scratch: &Scratch) -> String {
    let mut client = ngrnotok(scratch, &["http", "--hello"]).start();
    let session = client.line_of("Session").await;
    client.signal("INT").await;
    assert_eq!(client.ended().await.0, Some(0));
    session
}

#[test]
fn each_account_of_an_installation_has_names_of_its_own() {
    run(async {
        let scratch = Scratch::new();
        let server = RunningServer::start(&scratch, &["--allow-anonymous"]).await;
        let way = format!(
            "server = {:?}\nserver-pin = {:?}\n",
            server.https, server.pin
        );
        config_file(&scratch, &way);
        let first = url(&scratch).await;
        // What was used without a token is there for the first who logs in.
        log_in(&server, &scratch, "ann").await;
        assert_eq!(url(&scratch).await, first);
        log_in(&server, &scratch, "bob").await;
        let bobs = url(&scratch).await;
        assert_ne!(bobs, first);
        // Each login is a new token.
        log_in(&server, &scratch, "ann").await;
        assert_eq!(url(&scratch).await, first);
        log_in(&server, &scratch, "bob").await;
        assert_eq!(url(&scratch).await, bobs);
        let out = ngrnotok(&scratch, &["logout"]).output().await;
        assert_eq!(out.code, Some(0), "{}", out.stderr);
        let nobodys = url(&scratch).await;
        assert!(nobodys != first && nobodys != bobs, "{nobodys}");
    });
}

#[test]
fn a_token_that_the_server_accepts_is_kept() {
    run(async {
        let scratch = Scratch::new();
        let token = token(&scratch).await;
        let server = RunningServer::start(&scratch, &[]).await;
        let done = login(&server, &scratch, &token).output().await;
        let file = usual_file(&scratch);
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        assert_eq!(
            done.stdout,
            format!(
                "Logged in to {} as ann.\nStored  {} (only you can read it)\nNext    ngrnotok http -p 3000\n",
                server.https,
                file.display()
            )
        );
        assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        let folder = std::fs::metadata(file.parent().unwrap()).unwrap();
        assert_eq!(folder.mode() & 0o777, 0o700);
        assert_eq!(session(&scratch).await, "online (account ann)");
    });
}

#[test]
fn a_token_whose_links_are_all_in_use_is_good_all_the_same() {
    run(async {
        let scratch = Scratch::new();
        let token = token_with(&scratch, &["--max-links", "1"]).await;
        let server = RunningServer::start(&scratch, &[]).await;
        let done = login(&server, &scratch, &token).output().await;
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        let mut client = ngrnotok(&scratch, &["http", "--hello"]).start();
        client.line_of("Forwarding").await;
        let done = login(&server, &scratch, &token).output().await;
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        assert!(done.stdout.contains("in use now"), "{}", done.stdout);
    });
}

#[test]
fn what_else_is_in_the_file_stays() {
    run(async {
        let scratch = Scratch::new();
        let token = token(&scratch).await;
        let server = RunningServer::start(&scratch, &[]).await;
        let text =
            |keys: &str| format!("# Mine.\n{keys}\n# My app.\n[tunnels.web]\nport = 3000 # Vite\n");
        let before = "server = 'old.test' # at home\nserver_ca = 'old.pem'\ntoken = 'ngrt_old'\n";
        config_file(&scratch, &text(before));
        assert_eq!(
            login(&server, &scratch, &token).output().await.code,
            Some(0)
        );
        let (https, pin) = (&server.https, &server.pin);
        let after = format!(
            "server = \"{https}\" # at home\ntoken = \"{token}\"\nserver-pin = \"{pin}\"\n"
        );
        let file = usual_file(&scratch);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), text(&after));

        let out = ngrnotok(&scratch, &["logout"]).output().await;
        assert_eq!(out.code, Some(0), "{}", out.stderr);
        let left = after.replace(&format!("token = \"{token}\"\n"), "");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), text(&left));
        let again = ngrnotok(&scratch, &["logout"]).output().await;
        assert_eq!(again.stdout, "There is no token to remove.\n");

        // The server is known by now.
        let again = ngrnotok(&scratch, &["login"]).env("NGRNOTOK_TOKEN", &token);
        assert_eq!(again.output().await.code, Some(0));
        assert_eq!(session(&scratch).await, "online (account ann)");
    });
}

#[test]
fn a_file_that_lives_elsewhere_stays_there() {
    run(async {
        let scratch = Scratch::new();
        let token = token(&scratch).await;
        let server = RunningServer::start(&scratch, &[]).await;
        let (real, link) = (
            scratch.file("real.toml", ""),
            scratch.path().join("link.toml"),
        );
        symlink(&real, &link).unwrap();
        let done = login(&server, &scratch, &token).args([Path::new("--config"), &link]);
        let done = done.output().await;
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        assert!(link.is_symlink());
        assert!(std::fs::read_to_string(&real).unwrap().contains(&token));
        let nowhere = login(&server, &scratch, &token).args(["--config", "/dev/null"]);
        let nowhere = nowhere.output().await;
        assert_eq!(nowhere.code, Some(1), "{}", nowhere.stdout);
        assert!(nowhere.stderr.contains("/dev/null"), "{}", nowhere.stderr);
    });
}

#[test]
fn nothing_is_stored_when_nothing_is_accepted() {
    run(async {
        let scratch = Scratch::new();
        let token = token(&scratch).await;
        let server = RunningServer::start(&scratch, &[]).await;
        let wrong = token.replace("ngrt_", "ngrt_0");
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let nobody = socket.local_addr().unwrap().to_string();
        let unreachable = ["login", "--server", &nobody];
        let unreachable = ngrnotok(&scratch, &unreachable).env("NGRNOTOK_TOKEN", &token);
        for (program, code, said) in [
            (
                login(&server, &scratch, &wrong),
                3,
                "does not accept this token",
            ),
            (unreachable, 5, nobody.as_str()),
            (
                login(&server, &scratch, ""),
                2,
                "on standard input is empty",
            ),
            (login(&server, &scratch, "ngrt_a ngrt_b"), 2, "not one word"),
            (ngrnotok(&scratch, &["login"]), 2, "login --server"),
        ] {
            let refused = program.output().await;
            assert_eq!(refused.code, Some(code), "{}", refused.stderr);
            assert!(refused.stderr.contains(said), "{}", refused.stderr);
            assert!(!refused.stderr.contains("ngrt_"), "{}", refused.stderr);
            assert_eq!(refused.stdout, "");
            assert!(!scratch.path().join("config").exists());
        }
        let before = "token = 'ngrt_old'\n";
        let file = config_file(&scratch, before);
        let refused = login(&server, &scratch, &wrong).output().await;
        assert_eq!(refused.code, Some(3), "{}", refused.stderr);
        assert_eq!(std::fs::read_to_string(file).unwrap(), before);
    });
}

/// Runs a program on a terminal, types there once the terminal shows nothing any more, and tells all that
/// was to be seen; at the end the terminal must show again what is typed.
const TERMINAL: &str = r#"
import os, pty, sys, termios
typed, program, *args = sys.argv[1:]
child, terminal = pty.fork()
if child == 0:
    os.execv(program, ["ngrnotok", *args])
def echoes():
    return termios.tcgetattr(terminal)[3] & termios.ECHO
seen = b""
def see():
    global seen
    try:
        part = os.read(terminal, 4096)
    except OSError:
        part = b""
    seen += part
    return part
while b"not shown" not in seen and see():
    pass
while echoes():
    pass
os.write(terminal, typed.encode())
while see():
    pass
sys.stdout.write(seen.decode().replace("\r", ""))
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
sys.exit(code if echoes() else "the terminal is left mute")
"#;

#[test]
fn a_token_is_asked_for_on_the_terminal_and_not_shown() {
    run(async {
        let scratch = Scratch::new();
        let token = token(&scratch).await;
        let server = RunningServer::start(&scratch, &[]).await;
        let login = |typed: &str| {
            let program = env!("CARGO_BIN_EXE_cli-ngrnotok");
            let args = [
                "login",
                "--server",
                &server.https,
                "--server-pin",
                &server.pin,
            ];
            Program::new("python3", "python3", &scratch)
                .args(["-c", TERMINAL, typed, program])
                .args(args)
                .output()
        };
        let interrupted = login("ngrt_\u{3}").await;
        assert_eq!(interrupted.code, Some(1), "{}", interrupted.shown());
        assert!(
            interrupted.stdout.contains("nothing is stored"),
            "{}",
            interrupted.stdout
        );
        assert!(!usual_file(&scratch).exists());

        let done = login(&format!("{token}\n")).await;
        assert_eq!(done.code, Some(0), "{}", done.shown());
        let asked = format!("Token for {} (not shown): ", server.https);
        assert!(done.stdout.starts_with(&asked), "{}", done.stdout);
        assert!(!done.stdout.contains("ngrt_"), "{}", done.stdout);
        assert_eq!(session(&scratch).await, "online (account ann)");
    });
}
