//! Outputs that nobody reads, or that have no room: no panic, the exit codes of the README, and what serves goes
//! on serving.

use std::fs::File;
use std::process::Stdio;

use ngrnotok_tests::origin::Origin;
use ngrnotok_tests::pipes::{Stuck, closed, no_room};
use ngrnotok_tests::program::{Program, Scratch};
use ngrnotok_tests::visitor::{Via, Visitor};
use ngrnotok_tests::{eventually, run};
use tokio::net::TcpStream;

use crate::beside::free_port;
use crate::{RunningServer, config_file, ngrnotok, ngrnotok_server};

/// Commands that say something and end, and how.
const COMMANDS: [(&[&str], i32); 7] = [
    (&["config", "path"], 0),
    (&["config", "check"], 0),
    (&["doctor"], 0),
    (&["doctor", "--json"], 0),
    (&["logout"], 0),
    (&["status"], 6),
    (&["logs"], 6),
];

/// The server's, whose words are flags first.
const CHECK: [&str; 7] = [
    "--domain",
    "tunnel.test",
    "--dev-cert",
    "--https",
    "127.0.0.1:0",
    "config",
    "check",
];

/// The exit code of a program whose standard output goes there, and what it complains of.
async fn ended(program: Program, stdout: Stdio, scratch: &Scratch) -> (i32, String) {
    let complaints = scratch.path().join("complaints");
    let stderr = File::create(&complaints).expect("a file can be made");
    let code = program.unheard(stdout, stderr).ended().await;
    let said = std::fs::read_to_string(&complaints).expect("it was made");
    assert!(!said.contains("panicked"), "{said}");
    (code.expect("no signal ends it"), said)
}

#[test]
fn a_reader_that_has_seen_enough_changes_no_exit_code() {
    run(async {
        let scratch = Scratch::new();
        for (command, code) in COMMANDS {
            let program = ngrnotok(&scratch, command);
            assert_eq!(
                ended(program, closed(), &scratch).await.0,
                code,
                "{command:?}"
            );
        }
        let check = ngrnotok_server(&scratch, &CHECK);
        assert_eq!(ended(check, closed(), &scratch).await.0, 0);
        let list = ngrnotok_server(&scratch, &["token", "list"]);
        assert_eq!(ended(list, closed(), &scratch).await.0, 0);
        // But a token that nobody has seen is lost.
        let create = ngrnotok_server(&scratch, &["token", "create", "--account", "ann"]);
        assert_eq!(ended(create, closed(), &scratch).await.0, 1);
    });
}

#[test]
fn what_finds_no_room_is_a_failure_that_says_so() {
    run(async {
        let scratch = Scratch::new();
        for (command, code) in COMMANDS.iter().filter(|(_, code)| *code == 0) {
            let program = ngrnotok(&scratch, command);
            let (found, said) = ended(program, no_room(), &scratch).await;
            assert_eq!((found, *code), (1, 0), "{command:?}");
            assert!(said.contains("failed to write"), "{said}");
        }
        let check = ngrnotok_server(&scratch, &CHECK);
        assert_eq!(ended(check, no_room(), &scratch).await.0, 1);
    });
}

#[test]
fn the_exit_code_tells_the_failure_that_nobody_can_read() {
    run(async {
        let scratch = Scratch::new();
        let (broken, stuck) = (Scratch::new(), Stuck::new());
        config_file(&broken, "prot = 3000\n");
        let nobody = format!("127.0.0.1:{}", free_port());
        type Start = fn(&Scratch, &[&str]) -> Program;
        let programs: [(&str, Start, &Scratch, &[&str], i32); 4] = [
            (
                "no server",
                ngrnotok,
                &scratch,
                &["http", "3000", "--server", &nobody],
                5,
            ),
            ("no client", ngrnotok, &scratch, &["status"], 6),
            (
                "a wrong word in the file",
                ngrnotok,
                &broken,
                &["config", "check"],
                2,
            ),
            (
                "no domain",
                ngrnotok_server,
                &scratch,
                &["config", "check"],
                2,
            ),
        ];
        for (what, program, scratch, args, code) in programs {
            for stderr in [closed(), no_room(), stuck.writer()] {
                let ended = program(scratch, args)
                    .unheard(Stdio::null(), stderr)
                    .ended();
                assert_eq!(ended.await, Some(code), "{what}");
            }
        }
    });
}

/// A visit to `app` through a server whose plain port is this one; false if it is not served.
async fn is_served(port: &str) -> bool {
    let Ok(stream) = TcpStream::connect(format!("127.0.0.1:{port}")).await else {
        return false;
    };
    let authority = format!("app.tunnel.test:{port}");
    let visitor = Visitor::on(stream, Via::PlainHttp1, authority).await;
    visitor.get("/").await.text() == "the app"
}

#[test]
fn a_server_and_a_client_serve_though_nothing_takes_what_they_say() {
    run(async {
        let stuck = Stuck::new();
        for n in 0..3 {
            let outputs = || match n {
                0 => [closed(), closed()],
                1 => [no_room(), no_room()],
                _ => [stuck.writer(), stuck.writer()],
            };
            let (scratch, app) = (Scratch::new(), Origin::saying("the app").await);
            let (https, http) = (free_port(), free_port());
            let (https, door) = (format!("127.0.0.1:{https}"), format!("127.0.0.1:{http}"));
            let ways = ["--https", &https, "--http", &door, "--http-mode", "serve"];
            let fixed = ["--domain", "tunnel.test", "--dev-cert", "--admin", "off"];
            let [stdout, stderr] = outputs();
            let server = ngrnotok_server(&scratch, &fixed).args(ways);
            let server = server.args(["--log", "debug"]).unheard(stdout, stderr);
            let authority = scratch.path().join("ngrnotok-server/dev-ca.pem");
            eventually("a server that listens", async || {
                TcpStream::connect(&door).await.is_ok()
            })
            .await;
            let [stdout, stderr] = outputs();
            // A reader of its lines who leaves takes the client along.
            let stdout = if n == 0 { stuck.writer() } else { stdout };
            let target = app.target().to_string();
            let args = ["http", &target, "--name", "app", "--log", "debug"];
            let client = ngrnotok(&scratch, &args)
                .args(["--server", &https, "--server-ca"])
                .args([authority])
                .unheard(stdout, stderr);
            eventually(&format!("a tunnel, outputs {n}"), async || {
                is_served(&http).await
            })
            .await;
            for _ in 0..20 {
                assert!(is_served(&http).await, "outputs {n}");
            }
            client.signal("TERM").await;
            assert_eq!(client.ended().await, Some(0), "outputs {n}");
            server.signal("TERM").await;
            assert_eq!(server.ended().await, Some(0), "outputs {n}");
        }
    });
}

#[test]
fn a_reader_who_leaves_takes_the_client_along_and_the_name_is_free() {
    run(async {
        let (scratch, other) = (Scratch::new(), Scratch::new());
        let app = Origin::saying("the app").await;
        let http = free_port();
        let door = format!("127.0.0.1:{http}");
        let ways = ["--http", &door, "--http-mode", "serve"];
        let server = RunningServer::start(&scratch, &ways).await;
        let args = [&app.target().to_string(), "--name", "app"];
        let mut client = server.client(&scratch, &args).start();
        client.line_of("Forwarding").await;
        // The line about the visit is the first that nobody takes.
        let (code, served) = tokio::join!(client.ended_unheard(), is_served(&http));
        assert_eq!((code, served), (Some(0), true));
        let mut next = server.client(&other, &args).start();
        next.line_of("Forwarding").await;
    });
}
