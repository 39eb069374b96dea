//! `ngrnotok-server name …`, and names that outlive a server.

use insta::assert_snapshot;
use ngrnotok_tests::program::{Ended, Running, Scratch};
use ngrnotok_tests::run;

use crate::{RunningServer, ngrnotok_server, steady};

/// Runs `name ARGS…` to its end.
async fn name(scratch: &Scratch, args: &[&str]) -> Ended {
    let args = [&["name"], args].concat();
    ngrnotok_server(scratch, &args).output().await
}

/// Makes a token of an account.
async fn token_of(scratch: &Scratch, account: &str) -> String {
    let create = ["token", "create", "--account", account];
    let made = ngrnotok_server(scratch, &create).output().await;
    made.stdout.trim().to_owned()
}

/// What `name ARGS…` says, with words in the place of times.
async fn said(scratch: &Scratch, args: &[&str]) -> String {
    steady(&name(scratch, args).await.shown(), scratch)
}

/// A client of the name `app`, online.
async fn online(server: &RunningServer, scratch: &Scratch, token: &str) -> Running {
    let client = server.client(scratch, &["--hello", "--name", "app"]);
    let mut client = client.env("NGRNOTOK_TOKEN", token).start();
    client.line_of("Forwarding").await;
    client
}

/// A client that does not get the name `app`.
async fn refused(server: &RunningServer, scratch: &Scratch, token: &str) -> String {
    let client = server.client(scratch, &["--hello", "--name", "app"]);
    let ended = client.env("NGRNOTOK_TOKEN", token).output().await;
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    ended.stderr
}

#[test]
fn a_name_is_reserved_listed_and_released() {
    run(async {
        let scratch = Scratch::new();
        let shop = ["reserve", "shop", "--account", "ann"];
        assert_snapshot!(said(&scratch, &["list"]).await);
        assert_snapshot!(said(&scratch, &shop).await);
        assert_snapshot!(said(&scratch, &["release", "shop"]).await);
        let state_dir = scratch.path().join("ngrnotok-server");
        assert!(!state_dir.exists(), "asking makes nothing");

        for account in ["ann", "bob"] {
            token_of(&scratch, account).await;
        }
        assert_snapshot!(said(&scratch, &shop).await);
        assert_snapshot!(said(&scratch, &shop).await);
        let bobs = ["reserve", "shop", "--account", "bob"];
        assert_snapshot!(said(&scratch, &bobs).await);
        assert_snapshot!(said(&scratch, &["list"]).await);
        assert_snapshot!(said(&scratch, &["list", "--json"]).await);
        assert_snapshot!(said(&scratch, &["release", "shop"]).await);
        assert_eq!(name(&scratch, &bobs).await.code, Some(0));
    });
}

#[test]
fn what_is_no_name_is_refused_before_anything_is_done() {
    run(async {
        let scratch = Scratch::new();
        let ended = name(&scratch, &["reserve", "Bad_Name", "--account", "ann"]).await;
        assert_eq!(ended.code, Some(2));
        assert!(
            ended.stderr.contains("a-z, 0-9 and '-'"),
            "{}",
            ended.stderr
        );
        let deny = ["--domain", "tunnel.test", "--deny-names", "shop,b@nk"];
        let ended = ngrnotok_server(&scratch, &deny).output().await;
        assert_eq!(ended.code, Some(2));
        assert!(ended.stderr.contains("b@nk"), "{}", ended.stderr);
    });
}

#[test]
fn a_name_is_held_for_its_account_also_when_the_server_was_killed() {
    run(async {
        let scratch = Scratch::new();
        let ann = token_of(&scratch, "ann").await;
        let bob = token_of(&scratch, "bob").await;
        let mut server = RunningServer::start(&scratch, &[]).await;
        let mut client = online(&server, &scratch, &ann).await;
        let listed = said(&scratch, &["list"]).await;
        assert_snapshot!(listed);

        assert!(server.program.kill() && client.kill());
        server.program.ended().await;
        client.ended().await;
        let server = RunningServer::start(&scratch, &[]).await;

        let said_to_bob = refused(&server, &scratch, &bob).await;
        assert!(
            said_to_bob.contains("held for it for another 24 h 0 min; choose another with --name"),
            "{said_to_bob}"
        );
        let client = online(&server, &scratch, &ann).await;
        client.signal("TERM").await;
        assert_eq!(client.ended().await.0, Some(0));
        // The operator may decide otherwise.
        assert_snapshot!(said(&scratch, &["release", "app"]).await);
        let _client = online(&server, &scratch, &bob).await;
    });
}

#[test]
fn the_operator_says_which_names_are_denied_and_whether_any_are_held() {
    run(async {
        let scratch = Scratch::new();
        let (ann, bob) = (
            token_of(&scratch, "ann").await,
            token_of(&scratch, "bob").await,
        );
        let settings = ["--deny-names", "shop", "--hold-names", "0"];
        let server = RunningServer::start(&scratch, &settings).await;
        let client = server.client(&scratch, &["--hello", "--name", "sh0p"]);
        let ended = client.env("NGRNOTOK_TOKEN", &ann).output().await;
        assert_eq!(ended.code, Some(3), "{}", ended.stderr);
        assert!(ended.stderr.contains("looks like shop"), "{}", ended.stderr);

        let client = online(&server, &scratch, &ann).await;
        client.signal("TERM").await;
        assert_eq!(client.ended().await.0, Some(0));
        let _client = online(&server, &scratch, &bob).await;
    });
}
