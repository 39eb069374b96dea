//! Both programs as the first process of a container.

use std::process::Command;

use ngrnotok_tests::program::{Program, Scratch};
use ngrnotok_tests::run;

/// Runs a program as the first process of a container in which it is root, after some words of a shell; `None`,
/// said aloud, where this machine does not let us.
fn first_process(scratch: &Scratch, before: &str, program: &[&str]) -> Option<Program> {
    let container = [
        "--user",
        "--map-root-user",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
    ];
    let tried = Command::new("unshare").args(container).arg("true").output();
    if !tried.is_ok_and(|tried| tried.status.success()) {
        eprintln!("skipped: unshare cannot make a container here");
        return None;
    }
    let line = format!("{before} exec \"$0\" \"$@\"");
    let unshare = Program::new("unshare", "unshare", scratch).args(container);
    Some(unshare.args(["sh", "-c", &line]).args(program))
}

/// Starts what becomes an orphan of process 1, and waits until it is gone, a zombie no more.
const ORPHAN: &str = "orphan=$(sh -c 'sleep 0.2 >/dev/null & echo $!'); while [ -e /proc/$orphan ]; do sleep 0.05; done; echo gone";

#[test]
fn orphans_of_a_command_are_waited_for_and_its_exit_status_is_its_own() {
    run(async {
        let scratch = Scratch::new();
        let script = format!("{ORPHAN}; exit 7");
        let run = [NGRNOTOK, "run", "--local-only", "--", "sh", "-c", &script];
        let Some(both) = first_process(&scratch, "", &run) else {
            return;
        };
        let mut both = both.start();
        both.line_of("gone").await;
        assert_eq!(both.ended().await.0, Some(7));
    });
}

#[test]
fn orphans_in_the_container_of_a_server_or_a_client_are_waited_for() {
    run(async {
        let scratch = Scratch::new();
        let ways = ["--https", "127.0.0.1:0", "--admin", "off"];
        let server = [
            &[NGRNOTOK_SERVER, "--domain", "tunnel.test", "--dev-cert"][..],
            &ways,
        ]
        .concat();
        let client = [NGRNOTOK, "http", "--hello", "--local-only"];
        for program in [&server[..], &client] {
            // Whoever looks on is a child of what the shell becomes.
            let before = format!("({ORPHAN}) &");
            let Some(first) = first_process(&scratch, &before, program) else {
                return;
            };
            first.start().line_of("gone").await;
        }
    });
}

const NGRNOTOK: &str = env!("CARGO_BIN_EXE_cli-ngrnotok");
const NGRNOTOK_SERVER: &str = env!("CARGO_BIN_EXE_cli-ngrnotok-server");
