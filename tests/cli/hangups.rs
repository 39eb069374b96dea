//! The end of the terminal: a goodbye of the client, unless it was told to outlive it; nothing to a server.

use ngrnotok_tests::program::{Program, Scratch};
use ngrnotok_tests::run;

use crate::{RunningServer, ngrnotok, visit};

/// The same program as `nohup` starts it.
fn under_nohup(scratch: &Scratch, args: &[&str]) -> Program {
    let nohup = Program::new("nohup", "nohup", scratch);
    nohup.args([env!("CARGO_BIN_EXE_cli-ngrnotok")]).args(args)
}

#[test]
fn the_end_of_the_terminal_is_a_goodbye() {
    run(async {
        let (scratch, other) = (Scratch::new(), Scratch::new());
        let server = RunningServer::start(&scratch, &[]).await;
        let mut client = server
            .client(&scratch, &["--hello", "--name", "app"])
            .start();
        client.line_of("Forwarding").await;
        // The kernel tells of it, and the shell does.
        client.signal("HUP").await;
        client.signal("HUP").await;
        assert_eq!(client.ended().await.0, Some(0));
        // The name is free at once, also for others.
        let mut next = server.client(&other, &["--hello", "--name", "app"]).start();
        next.line_of("Forwarding").await;
    });
}

#[test]
fn a_client_under_nohup_outlives_its_terminal() {
    run(async {
        let scratch = Scratch::new();
        let args = ["http", "--hello", "--local-only"];
        let mut client = under_nohup(&scratch, &args).start();
        let url = client.line_of("Forwarding").await;
        client.line_of("Go public").await;
        client.signal("HUP").await;
        let url = url.split(' ').next().unwrap();
        assert_eq!(visit(url, "/").await.status, 200);
        client.signal("TERM").await;
        assert_eq!(client.ended().await.0, Some(0));
    });
}

#[test]
fn a_command_under_nohup_outlives_its_terminal_with_its_tunnel() {
    run(async {
        let scratch = Scratch::new();
        // It says what it is told, and what nobody must tell it.
        let script =
            "trap 'echo told' HUP; trap 'exit 7' TERM; echo up; while :; do sleep 0.1; done";
        let args = ["run", "--local-only", "--", "sh", "-c", script];
        let mut both = under_nohup(&scratch, &args).start();
        both.line_of("up").await;
        both.signal("HUP").await;
        both.signal("TERM").await;
        let (code, rest) = both.ended().await;
        assert_eq!((code, rest), (Some(7), Vec::new()));
    });
}

#[test]
fn a_command_is_told_of_the_end_of_its_terminal_and_not_killed_for_hearing_it_twice() {
    run(async {
        let scratch = Scratch::new();
        let script = "trap 'sleep 0.3; exit 7' HUP; echo up; while :; do sleep 0.1; done";
        let args = ["run", "--local-only", "--", "sh", "-c", script];
        let mut both = ngrnotok(&scratch, &args).start();
        both.line_of("up").await;
        both.signal("HUP").await;
        both.signal("HUP").await;
        assert_eq!(both.ended().await.0, Some(7));
    });
}

#[test]
fn a_hangup_is_no_end_of_a_server() {
    run(async {
        let scratch = Scratch::new();
        let mut server = RunningServer::start(&scratch, &[]).await.program;
        server.signal("HUP").await;
        server.complaint_with("SIGHUP changes nothing").await;
        server.signal("TERM").await;
        assert_eq!(server.ended().await.0, Some(0));
    });
}
