//! The secret with which a client comes back.

use std::fs;
use std::path::PathBuf;

use ngrnotok_tests::program::{Overheard, Program};
use ngrnotok_tests::run;
use serde_json::Value;

use super::stage::{LOGS, Stage};

/// The only file below the client's state, and what stands in it.
fn kept(stage: &Stage) -> (PathBuf, Value) {
    let folder = stage.client_file("ngrnotok/sessions");
    let mut files = fs::read_dir(folder).expect("a folder");
    let file = files.next().expect("a file").expect("an entry").path();
    assert!(files.next().is_none());
    let text = fs::read_to_string(&file).expect("a file of text");
    (file, serde_json::from_str(&text).expect("a line of JSON"))
}

fn client(stage: &Stage) -> Program {
    let args = ["--hello", "--name", "app"];
    stage
        .client("http", &args)
        .env("NGRNOTOK_TOKEN", &stage.token)
}

/// Comes online; the secret of the session is looked for from now on.
async fn online(stage: &mut Stage, what: &str) -> (Overheard, Value) {
    let client = client(stage);
    let client = stage.online(client).await;
    let (_, line) = kept(stage);
    let secret = line["secret"].as_str().expect("a string").to_owned();
    stage.knows(what, &secret);
    (client, line)
}

#[test]
fn the_right_to_come_back_stands_in_one_file() {
    for log in LOGS {
        run(async {
            let mut stage = Stage::open(log).await;
            let (killed, first) = online(&mut stage, "the first secret").await;
            killed.kill().await;
            let (killed, second) = online(&mut stage, "the second secret").await;
            assert_eq!(first["session"], second["session"], "it came back");
            assert_ne!(first["secret"], second["secret"]);

            // A thief with the right session, the wrong secret and a running owner.
            killed.kill().await;
            let (file, _) = kept(&stage);
            let wrong = [stage.canary("a wrong secret"), stage.canary("more of it")].concat();
            let right = second["secret"].as_str().expect("a string");
            let line = fs::read_to_string(&file).unwrap().replace(right, &wrong);
            fs::write(&file, line).unwrap();
            let refused = client(&stage);
            assert_eq!(stage.runs(refused).await, Some(4), "the name is taken");

            // Scribbles, of which some look like a line.
            let scribble = stage.canary("a scribble");
            for text in [
                scribble.clone(),
                format!(r#"{{"session":"{scribble}","secret":"{scribble}"}}"#),
                format!(
                    r#"{{"session":"{}","secret":["{scribble}"]}}"#,
                    uuid::Uuid::nil()
                ),
            ] {
                fs::write(&file, text).unwrap();
                let refused = client(&stage);
                assert_eq!(stage.runs(refused).await, Some(4), "the name is taken");
            }
            // A goodbye leaves no right behind.
            fs::write(&file, second.to_string()).unwrap();
            let (leaving, third) = online(&mut stage, "the third secret").await;
            assert_eq!(third["session"], second["session"], "it came back");
            let folder = stage.client_file("ngrnotok/sessions");
            leaving.stop().await;
            assert_eq!(fs::read_dir(folder).unwrap().count(), 0);

            let (killed, _) = online(&mut stage, "the last secret").await;
            killed.kill().await;
            stage
                .search(|what, path| what == "the last secret" && path.contains("/sessions/"))
                .await;
        });
    }
}
