//! The lines of the client's program: for people, and for programs.

use insta::assert_snapshot;
use ngrnotok_tests::origin::Origin;
use ngrnotok_tests::program::Scratch;
use ngrnotok_tests::run;
use serde_json::Value;

use crate::{event, ngrnotok, steady, visit};

#[test]
fn the_first_line_for_programs_has_a_url_that_works() {
    run(async {
        let (scratch, app) = (Scratch::new(), Origin::saying("the app").await);
        let target = app.target().to_string();
        let args = ["http", &target, "--output", "json"];
        let mut client = ngrnotok(&scratch, &args).start();
        let ready = event(&mut client).await;
        assert_eq!(ready["event"], "ready");
        assert_eq!(ready["target"], target);
        assert_eq!(ready["local_only"], true);
        let url = ready["url"].as_str().unwrap();
        assert_eq!(visit(url, "/a?b=c").await.text(), "the app");

        let request = event(&mut client).await;
        assert_eq!(request["event"], "request");
        assert_eq!(request["method"], "GET");
        assert_eq!(request["path"], "/a", "queries hold secrets");
        assert_eq!(request["status"], 200);
        assert!(request["took_ms"].as_f64().unwrap() > 0.0);
    });
}

#[test]
fn every_line_for_programs_begins_with_its_event() {
    run(async {
        let (scratch, app) = (Scratch::new(), Origin::refusing());
        let target = app.target().to_string();
        let args = ["http", &target, "--output", "json", "--name", "app"];
        let mut client = ngrnotok(&scratch, &args).start();
        let line = client.line().await;
        assert!(line.starts_with(r#"{"event":"ready","#), "{line}");
        let ready: Value = serde_json::from_str(&line).unwrap();
        visit(ready["url"].as_str().unwrap(), "/").await;
        let line = client.line().await;
        assert!(line.starts_with(r#"{"event":"request","#), "{line}");
        let request: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(request["cause"], "local_refused");
        assert_eq!(request["name"], "app");
        assert!(request["detail"].as_str().unwrap().contains(&target));
    });
}

#[test]
fn the_last_lines_are_shown_too() {
    run(async {
        let (scratch, app) = (Scratch::new(), Origin::refusing());
        let target = app.target().to_string();
        for (form, leaving) in [
            ("json", r#"{"event":"leaving"}"#),
            (
                "plain",
                "Session     closing; Ctrl-C again to leave at once",
            ),
        ] {
            let args = ["http", &target, "--output", form];
            let mut client = ngrnotok(&scratch, &args).start();
            let url = match form {
                "json" => client.line_of(r#"{"event":"ready","url":""#).await,
                _ => client.line_of("Forwarding").await,
            };
            if form == "plain" {
                client.line_of("Go public").await;
            }
            // Lines come in batches, and the next one is not due when the end comes.
            visit(url.split(['"', ' ']).next().unwrap(), "/").await;
            assert!(client.line().await.contains("GET"));
            client.signal("INT").await;
            let (code, mut rest) = client.ended().await;
            assert_eq!(code, Some(0));
            // Said only if something else of ours listens on this machine.
            rest.retain(|line| !line.contains("Hint  ") && !line.contains(r#""event":"hint""#));
            assert_eq!(rest.last().map(String::as_str), Some(leaving));
        }
    });
}

#[test]
fn the_lines_for_people() {
    run(async {
        let (scratch, app) = (Scratch::new(), Origin::saying("the app").await);
        let target = app.target().to_string();
        let args = ["http", &target, "--name", "app"];
        let mut client = ngrnotok(&scratch, &args).start();
        let mut lines = vec![client.line().await];
        while !lines.last().unwrap().starts_with("Go public") {
            lines.push(client.line().await);
        }
        // Said only if another test has the usual port.
        lines.retain(|line| !line.contains("is taken by another program"));
        let url = lines[2].split_whitespace().nth(1).unwrap().to_owned();
        visit(&url, "/search?q=otter").await;
        lines.push(client.line().await);
        assert_snapshot!(steady(&lines.join("\n"), &scratch).replace("N.Nms", "Nms"));
    });
}

#[test]
fn trouble_with_the_app_is_explained() {
    run(async {
        let (scratch, app) = (Scratch::new(), Origin::refusing());
        let target = app.target().to_string();
        let mut client = ngrnotok(&scratch, &["http", &target, "--name", "app"]).start();
        let url = client.line_of("Forwarding").await;
        client.line_of("Go public").await;
        visit(url.split(' ').next().unwrap(), "/").await;
        let lines = [client.line().await, client.line().await].join("\n");
        assert_snapshot!(steady(&lines, &scratch).replace("N.Nms", "Nms"));
    });
}

#[test]
fn no_request_is_lost_when_the_client_ends() {
    run(async {
        let (scratch, app) = (Scratch::new(), Origin::refusing());
        let target = app.target().to_string();
        let args = ["http", &target, "--output", "json"];
        let mut client = ngrnotok(&scratch, &args).start();
        let ready = event(&mut client).await;
        let url = ready["url"].as_str().unwrap();
        for _ in 0..3 {
            visit(url, "/").await;
        }
        client.signal("INT").await;
        let (_, rest) = client.ended().await;
        let requests = rest.iter().filter(|line| line.contains("request"));
        assert_eq!(requests.count(), 3, "{rest:#?}");
    });
}

#[test]
fn a_client_whose_lines_nobody_reads_any_more_ends() {
    run(async {
        let (scratch, app) = (Scratch::new(), Origin::saying("the app").await);
        let target = app.target().to_string();
        let mut client = ngrnotok(&scratch, &["http", &target, "--name", "app"]).start();
        let url = client.line_of("Forwarding").await;
        client.line_of("Go public").await;
        let visit = async {
            visit(url.split(' ').next().unwrap(), "/").await;
        };
        // The line about the visit is the first that nobody takes.
        let (code, ()) = tokio::join!(client.ended_unheard(), visit);
        assert_eq!(code, Some(0));
    });
}
