//! The exit codes of the client's program, each for what its user can do about it.

use ngrnotok_tests::program::{Ended, Program, Scratch};
use ngrnotok_tests::{run, soon};
use tokio::net::TcpSocket;

use crate::{RunningServer, ngrnotok, token};

/// What a program that cannot go on has said.
async fn gives_up(program: Program, code: i32) -> Ended {
    let ended = program.output().await;
    assert_eq!(ended.code, Some(code), "{}", ended.stderr);
    assert!(ended.stderr.starts_with("ngrnotok: "), "{}", ended.stderr);
    assert!(!ended.stdout.contains("Forwarding"), "{}", ended.stdout);
    ended
}

#[test]
fn refused_credentials_are_3() {
    run(async {
        let scratch = Scratch::new();
        let token = token(&scratch).await;
        let server = RunningServer::start(&scratch, &[]).await;
        let none = gives_up(server.client(&scratch, &["-p", "1"]), 3).await;
        assert!(none.stderr.contains("NGRNOTOK_TOKEN"), "{}", none.stderr);

        let wrong = token.replace("ngrt_", "ngrt_0");
        let with = server
            .client(&scratch, &["-p", "1"])
            .env("NGRNOTOK_TOKEN", &wrong);
        let refused = gives_up(with, 3).await;
        assert!(!refused.stderr.contains(&wrong), "{}", refused.stderr);
    });
}

#[test]
fn the_right_token_comes_from_the_environment_or_a_file() {
    run(async {
        let scratch = Scratch::new();
        let token = token(&scratch).await;
        let server = RunningServer::start(&scratch, &[]).await;
        let file = scratch.file("token", &format!("{token}\n"));
        let from_file = ["--hello", "--token-file", file.to_str().unwrap()];
        for program in [
            server
                .client(&scratch, &["--hello"])
                .env("NGRNOTOK_TOKEN", &token),
            server.client(&scratch, &from_file),
        ] {
            let mut client = program.start();
            let session = client.line_of("Session").await;
            assert_eq!(session, "online (account ann)");
            client.signal("INT").await;
            client.ended().await;
        }
    });
}

#[test]
fn a_taken_name_is_4() {
    run(async {
        let scratch = Scratch::new();
        let server = RunningServer::start(&scratch, &[]).await;
        let args = ["--hello", "--name", "mine"];
        let mut holder = server.client(&scratch, &args).start();
        holder.line_of("Forwarding").await;
        let refused = gives_up(server.client(&scratch, &args), 4).await;
        assert!(refused.stderr.contains("--name"), "{}", refused.stderr);
        holder.signal("INT").await;
        assert_eq!(holder.ended().await.0, Some(0));
        let mut heir = server.client(&scratch, &args).start();
        heir.line_of("Forwarding").await;
    });
}

#[test]
fn a_server_that_is_not_there_is_5() {
    run(async {
        let scratch = Scratch::new();
        // Bound and not listening: refused, and nobody else gets it.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let nobody = socket.local_addr().unwrap().to_string();
        let args = ["http", "-p", "1", "--server", &nobody];
        let refused = gives_up(ngrnotok(&scratch, &args), 5).await;
        assert!(refused.stderr.contains(&nobody), "{}", refused.stderr);
    });
}

#[test]
fn a_server_that_nobody_vouches_for_is_5_and_says_what_to_do() {
    run(async {
        let scratch = Scratch::new();
        let server = RunningServer::start(&scratch, &[]).await;
        let args = ["http", "-p", "1", "--server", &server.https];
        let unknown = gives_up(ngrnotok(&scratch, &args), 5).await;
        assert!(
            unknown.stderr.contains("--server-ca FILE"),
            "{}",
            unknown.stderr
        );
        let pin = format!("sha256:{}", "0".repeat(64));
        let pinned = [&args[..], &["--server-pin", &pin]].concat();
        let other = gives_up(ngrnotok(&scratch, &pinned), 5).await;
        assert!(
            other.stderr.contains("not the pinned one"),
            "{}",
            other.stderr
        );
    });
}

#[test]
fn an_interrupted_client_ends_with_0() {
    run(async {
        let scratch = Scratch::new();
        let server = RunningServer::start(&scratch, &[]).await;
        for signal in ["INT", "TERM"] {
            let mut client = server.client(&scratch, &["--hello"]).start();
            client.line_of("Forwarding").await;
            client.signal(signal).await;
            let (code, _) = soon("its end", client.ended()).await;
            assert_eq!(code, Some(0), "SIG{signal}");
        }
    });
}

#[test]
fn the_url_is_the_same_tomorrow_and_another_for_another_target() {
    run(async {
        let scratch = Scratch::new();
        let server = RunningServer::start(&scratch, &[]).await;
        let mut urls = Vec::new();
        for target in ["1", "1", "2"] {
            let mut client = server.client(&scratch, &["-p", target]).start();
            let line = client.line_of("Forwarding").await;
            urls.push(line.split(' ').next().unwrap().to_owned());
            client.signal("INT").await;
            client.ended().await;
        }
        assert_eq!(urls[0], urls[1]);
        assert_ne!(urls[0], urls[2]);
    });
}

#[test]
fn without_a_home_a_client_serves_and_keeps_nothing_in_the_working_folder() {
    run(async {
        let scratch = Scratch::new();
        let client = ngrnotok(&scratch, &["http", "--hello", "--output", "json"]);
        let mut client = client.homeless(scratch.path()).start();
        let ready = client.line().await;
        assert!(ready.contains("\"event\":\"ready\""), "{ready}");
        client.signal("INT").await;
        let ended = client.ended_with_complaints().await;
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let said = "the name is for this run only; choose one with --name";
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
    });
}
