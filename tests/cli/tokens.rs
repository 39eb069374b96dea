//! `ngrnotok-server token …`, and what it does to programs that run.

use std::path::PathBuf;

use insta::assert_snapshot;
use ngrnotok_common::secret::Secret;
use ngrnotok_server::auth::{Anonymous, Auth, NewToken, create_token};
use ngrnotok_server::store::Store;
use ngrnotok_tests::program::{Ended, Program, Scratch};
use ngrnotok_tests::{run, soon};
use serde_json::Value;
use tokio::time::{Duration, Instant, sleep};

use crate::{RunningServer, ngrnotok_server, steady};

/// Runs `token ARGS…` to its end.
async fn token(scratch: &Scratch, args: &[&str]) -> Ended {
    let args = [&["token"], args].concat();
    ngrnotok_server(scratch, &args).output().await
}

/// Makes a token for `ann`; its id, and its text.
async fn create(scratch: &Scratch, args: &[&str]) -> (String, String) {
    let made = token(scratch, &[&["create", "--account", "ann"], args].concat()).await;
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let text = made.stdout.trim_end().to_owned();
    (id_of(&text).to_owned(), text)
}

fn id_of(token: &str) -> &str {
    token.split('_').nth(1).expect("ngrt_ID_SECRET")
}

/// Where the programs keep the database.
fn state_dir(scratch: &Scratch) -> PathBuf {
    scratch.path().join("ngrnotok-server")
}

/// What differs from run to run taken out: ids in the order of their making, then all numbers.
fn same(text: &str, ids: &[&str], scratch: &Scratch) -> String {
    let mut text = text.to_owned();
    for (id, word) in ids.iter().zip(["IDENTITY-ONE", "IDENTITY-TWO"]) {
        text = text.replace(id, word);
    }
    steady(&text, scratch)
}

const EVERY_LIMIT: [&str; 22] = [
    "--name",
    "ann-*",
    "--name",
    "demo",
    "--expires",
    "30d",
    "--kind",
    "http",
    "--max-links",
    "2",
    "--max-tunnels",
    "3",
    "--max-streams",
    "100",
    "--max-requests-per-minute",
    "600",
    "--max-bytes-per-second",
    "500k",
    "--note",
    "for the café",
    "--log",
    "off",
];

#[test]
fn a_token_is_made_listed_and_revoked() {
    run(async {
        let scratch = Scratch::new();
        let none = token(&scratch, &["list"]).await;
        assert_snapshot!(same(&none.shown(), &[], &scratch));
        assert!(!state_dir(&scratch).exists(), "looking makes nothing");

        let words = [&["create", "--account", "ann"], &EVERY_LIMIT[..]].concat();
        let made = token(&scratch, &words).await;
        let text = made.stdout.trim_end().to_owned();
        let one = id_of(&text);
        assert_snapshot!(same(&made.stderr, &[one], &scratch));
        let (two, other) = create(&scratch, &[]).await;

        let listed = token(&scratch, &["list"]).await;
        assert_snapshot!(same(&listed.shown(), &[one, &two], &scratch));
        for _ in 0..2 {
            let revoked = token(&scratch, &["revoke", one]).await;
            assert_snapshot!(same(&revoked.shown(), &[one], &scratch));
        }
        let listed = token(&scratch, &["list", "--json"]).await;
        assert_snapshot!(same(&listed.shown(), &[one, &two], &scratch));
        for secret in [&text, &other] {
            let secret = secret.rsplit('_').next().unwrap();
            assert!(!listed.stdout.contains(secret));
        }
    });
}

#[test]
fn what_is_no_token_cannot_be_revoked_and_is_not_repeated() {
    run(async {
        let scratch = Scratch::new();
        let unknown = token(&scratch, &["revoke", "00000000002a"]).await;
        assert_snapshot!(same(&unknown.shown(), &["00000000002a"], &scratch));
        assert!(!state_dir(&scratch).exists(), "asking makes nothing");

        let (_, text) = create(&scratch, &[]).await;
        for no_id in [&text, "", "2a"] {
            let refused = token(&scratch, &["revoke", no_id]).await;
            assert_eq!(refused.code, Some(1));
            assert!(
                refused.stderr.contains("12 hex digits"),
                "{}",
                refused.stderr
            );
            assert!(!refused.stderr.contains(&text), "{}", refused.stderr);
        }
    });
}

#[test]
fn what_no_token_can_be_is_refused_with_an_example() {
    run(async {
        let scratch = Scratch::new();
        for (option, value, example) in [
            ("--name", "a*b", "ann-*"),
            ("--expires", "tomorrow", "30d"),
            ("--expires", "2020-01-01", "over already"),
            ("--kind", "smtp", "http"),
            ("--max-links", "0", "from 1 to"),
            ("--max-streams", "many", "from 1 to"),
            ("--max-bytes-per-second", "5", "1k is 1000"),
        ] {
            let words = ["create", "--account", "ann", option, value];
            let refused = token(&scratch, &words).await;
            assert_eq!(refused.code, Some(2), "{option} {value}");
            assert!(refused.stderr.contains(example), "{}", refused.stderr);
            assert_eq!(refused.stdout, "");
        }
    });
}

#[test]
fn revoking_a_token_ends_a_client_of_another_process_with_code_3() {
    run(async {
        let scratch = Scratch::new();
        let (id, text) = create(&scratch, &[]).await;
        let server = RunningServer::start(&scratch, &[]).await;
        let client = server.client(&scratch, &["--hello", "--name", "app"]);
        let mut client = client.env("NGRNOTOK_TOKEN", &text).start();
        client.line_of("Forwarding").await;

        let revoked = token(&scratch, &["revoke", &id]).await;
        let began = Instant::now();
        assert_eq!(revoked.code, Some(0), "{}", revoked.stderr);
        let ended = client.ended_with_complaints().await;
        println!("from the end of `token revoke`: {:?}", began.elapsed());

        assert_eq!(ended.code, Some(3), "{}", ended.stderr);
        let last = ended.stderr.lines().last().unwrap();
        assert_eq!(
            last,
            "ngrnotok: the server has ended the session: the token was revoked: ask the server's operator for a new one"
        );
        let again = server.client(&scratch, &["--hello", "--name", "app"]);
        let again = again.env("NGRNOTOK_TOKEN", &text).output().await;
        assert_eq!(again.code, Some(3));
        assert!(again.stderr.contains("was revoked"), "{}", again.stderr);
    });
}

#[test]
fn a_name_that_the_token_is_not_for_is_3() {
    run(async {
        let scratch = Scratch::new();
        let (_, text) = create(&scratch, &["--name", "ann-*"]).await;
        let server = RunningServer::start(&scratch, &[]).await;
        let client = server.client(&scratch, &["--hello", "--name", "bob"]);
        let refused = client.env("NGRNOTOK_TOKEN", &text).output().await;
        assert_eq!(refused.code, Some(3));
        assert!(
            refused.stderr.contains("only for ann-*"),
            "{}",
            refused.stderr
        );
        assert!(refused.stderr.contains("--name"), "{}", refused.stderr);
    });
}

#[test]
fn no_token_that_was_printed_is_lost_to_kill_9() {
    run(async {
        let scratch = Scratch::new();
        let (mut printed, mut killed) = (Vec::new(), 0);
        let mut life = Duration::ZERO;
        // Four at a time, who then stand in each other's way, too.
        for round in 0..50 {
            if round % 5 == 0 {
                let began = Instant::now();
                printed.push(create(&scratch, &[]).await.1);
                life = began.elapsed();
            }
            let cut_short = async |n: u32| {
                let words = ["token", "create", "--account", "ann"];
                let mut program = ngrnotok_server(&scratch, &words).start();
                // From its first step to a little after its last.
                sleep(life * ((4 * round + n) % 20) / 8).await;
                let was_killed = program.kill();
                (was_killed, program.ended().await.1)
            };
            let four = tokio::join!(cut_short(0), cut_short(1), cut_short(2), cut_short(3));
            for (was_killed, lines) in [four.0, four.1, four.2, four.3] {
                killed += usize::from(was_killed);
                printed.extend(lines);
            }
        }
        println!("{killed} of 200 killed, {} printed", printed.len());
        assert!(killed > 50, "the times were well chosen");

        let store = Store::open(&state_dir(&scratch)).expect("it opens");
        let auth = Auth::new(Some(store), Anonymous::Never);
        let here = [127, 0, 0, 1].into();
        for token in &printed {
            let token = Secret::new(token.as_str());
            auth.admit(Some(&token), here).await.expect("it is there");
        }
        let database = rusqlite::Connection::open(state_dir(&scratch).join("server.db"));
        let verdict: String = database
            .expect("a database")
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .expect("an answer");
        assert_eq!(verdict, "ok");
    });
}

/// A program that can make no file longer than 32 KiB: what it writes beyond that fails as on a full
/// disk.
fn on_a_full_disk(scratch: &Scratch, args: &[&str]) -> Program {
    // In blocks of 512 bytes. The signal that comes along would end the program instead.
    let script = "trap '' XFSZ; ulimit -f 64; exec \"$0\" \"$@\"";
    let server = env!("CARGO_BIN_EXE_cli-ngrnotok-server");
    Program::new("/bin/sh", "sh", scratch)
        .args(["-c", script, server])
        .args(args)
}

#[test]
fn a_full_disk_is_told_and_costs_no_token_that_was_there() {
    run(async {
        let scratch = Scratch::new();
        let (_, text) = create(&scratch, &[]).await;
        // What is written goes to the log first, which is kept when the database cannot grow any more.
        let store = Store::open(&state_dir(&scratch)).expect("it opens");
        for _ in 0..150 {
            let mut long = NewToken::from("ann");
            long.note = "x".repeat(200);
            create_token(&store, long).await.expect("there is room");
        }
        drop(store);
        let words = ["token", "create", "--account", "ann"];
        let mut printed = Vec::new();
        let refused = loop {
            let ended = on_a_full_disk(&scratch, &words).output().await;
            if ended.code != Some(0) {
                break ended;
            }
            printed.push(ended.stdout.trim_end().to_owned());
        };
        println!("{} tokens before the disk was full", printed.len());
        assert_eq!(refused.stdout, "");
        assert!(
            refused.stderr.contains("the disk is full"),
            "{}",
            refused.stderr
        );
        assert!(refused.stderr.contains("server.db"), "{}", refused.stderr);

        // With room again everything is as it was.
        let (id, _) = create(&scratch, &[]).await;
        let listed = token(&scratch, &["list", "--json"]).await;
        let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
        let has = |id: &str| listed.as_array().unwrap().iter().any(|row| row["id"] == id);
        assert!(has(id_of(&text)) && has(&id));
        assert!(printed.iter().all(|text| has(id_of(text))));
    });
}

#[test]
fn a_server_on_a_full_disk_serves_on_and_says_so() {
    run(async {
        let scratch = Scratch::new();
        let mut tokens = Vec::new();
        for _ in 0..12 {
            tokens.push(create(&scratch, &[]).await.1);
        }
        let args = ["--domain", "tunnel.test", "--admin", "off", "--dev-cert"];
        // The authority is made before there is no more room.
        let check = ["--https", "127.0.0.1:0", "config", "check"];
        let checked = ngrnotok_server(&scratch, &[&args[..], &check].concat());
        assert_eq!(checked.output().await.code, Some(0));
        let listen = ["--https", "127.0.0.1:0", "--log", "warn"];
        let mut server = on_a_full_disk(&scratch, &[&args[..], &listen].concat()).start();
        let https = server.line_of("https").await;
        let pin = server.line_of("pin").await;
        for text in &tokens {
            let words = ["http", "--hello", "--server", &https, "--server-pin", &pin];
            let client = crate::ngrnotok(&scratch, &words).env("NGRNOTOK_TOKEN", text);
            let mut client = client.start();
            client.line_of("Forwarding").await;
            client.signal("INT").await;
            assert_eq!(client.ended().await.0, Some(0));
        }
        let warning = soon("a warning", server.complaint_with("does not say so")).await;
        assert!(warning.contains("the disk is full"), "{warning}");
        server.signal("TERM").await;
        assert_eq!(server.ended().await.0, Some(0));
    });
}
