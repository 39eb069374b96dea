//! Asking a client that runs: status, logs, resend, wait-for-request.

use insta::assert_snapshot;
use ngrnotok_tests::origin::Origin;
use ngrnotok_tests::program::{Ended, Running, Scratch};
use ngrnotok_tests::{run, soon};
use serde_json::Value;

use crate::{event, ngrnotok, steady, visit};

/// A client with a web interface, its URL, and an app that says what it was asked.
struct Asked {
    client: Running,
    url: String,
    web: String,
}

impl Asked {
    async fn start(scratch: &Scratch, app: &Origin) -> Self {
        let target = app.target().to_string();
        let args = ["http", &target, "--name", "app", "--output", "json"];
        let args = [&args[..], &["--web", "127.0.0.1:0"]].concat();
        let mut client = ngrnotok(scratch, &args).start();
        let ready = event(&mut client).await;
        let text = |name: &str| ready[name].as_str().expect("text").to_owned();
        let (url, web) = (text("url"), text("web"));
        Self { client, url, web }
    }

    /// Visits a path, and waits until that is over.
    async fn visit(&mut self, path: &str) {
        visit(&self.url, path).await;
        event(&mut self.client).await;
    }
}

async fn ask(scratch: &Scratch, args: &[&str]) -> Ended {
    ngrnotok(scratch, args).output().await
}

/// What it says as JSON, if that ends well.
async fn json(scratch: &Scratch, args: &[&str]) -> Value {
    let said = ask(scratch, &[args, &["--json"]].concat()).await;
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    serde_json::from_str(&said.stdout).expect("JSON")
}

#[test]
fn a_running_client_says_how_it_stands() {
    run(async {
        let (scratch, app) = (Scratch::new(), Origin::saying("the app").await);
        let mut asked = Asked::start(&scratch, &app).await;
        asked.visit("/").await;
        let status = json(&scratch, &["status"]).await;
        assert_eq!(status["state"], "online");
        assert_eq!(status["tunnels"][0]["url"], asked.url);
        assert_eq!(status["recorder"]["newest"], 1);
        let shown = ask(&scratch, &["status"]).await.shown();
        // The link may be too new.
        let shown = shown.lines().filter(|line| !line.starts_with("Latency"));
        let shown: Vec<_> = shown.collect();
        assert_snapshot!(steady(&shown.join("\n"), &scratch));
    });
}

#[test]
fn a_client_is_found_as_long_as_it_runs() {
    run(async {
        let (scratch, app) = (Scratch::new(), Origin::saying("the app").await);
        let nobody = ask(&scratch, &["status"]).await;
        assert_eq!(nobody.code, Some(6));
        assert!(nobody.stderr.contains("ngrnotok http"), "{}", nobody.stderr);

        let asked = Asked::start(&scratch, &app).await;
        let folder = scratch.path().join("ngrnotok/web");
        let notes = || std::fs::read_dir(&folder).unwrap().count();
        assert_eq!(notes(), 1);
        asked.client.signal("INT").await;
        asked.client.ended().await;
        assert_eq!(notes(), 0, "it goes with its client");

        let mut killed = Asked::start(&scratch, &app).await;
        killed.client.kill();
        killed.client.ended().await;
        assert_eq!(notes(), 1);
        assert_eq!(ask(&scratch, &["status"]).await.code, Some(6));
    });
}

#[test]
fn of_several_clients_one_is_chosen() {
    run(async {
        let (scratch, app) = (Scratch::new(), Origin::saying("the app").await);
        let one = Asked::start(&scratch, &app).await;
        let _other = Asked::start(&scratch, &app).await;
        let address = one.web.trim_start_matches("http://").trim_end_matches('/');
        let unclear = ask(&scratch, &["status"]).await;
        assert_eq!(unclear.code, Some(2));
        assert!(unclear.stderr.contains("--web-address") && unclear.stderr.contains(address));
        let status = json(&scratch, &["status", "--web-address", address]).await;
        assert_eq!(status["tunnels"][0]["url"], one.url);
    });
}

#[test]
fn a_request_is_awaited_from_a_point_that_is_named() {
    run(async {
        let (scratch, app) = (Scratch::new(), Origin::saying("the app").await);
        let mut asked = Asked::start(&scratch, &app).await;
        for path in ["/hooks/a?x=1", "/other", "/hooks/b"] {
            asked.visit(path).await;
        }
        for (after, path, found) in [
            ("0", "/hooks/*", 1),
            ("1", "/hooks/*", 3),
            ("0", "/other", 2),
        ] {
            let args = ["wait-for-request", "--after", after, "--path", path];
            assert_eq!(
                json(&scratch, &args).await["id"],
                found,
                "{path} after {after}"
            );
        }
        // Those that have come before do not count unless they are asked for.
        for more in [
            &["--timeout", "50ms"][..],
            &["--after", "0", "--method", "PUT", "--timeout", "0"],
        ] {
            let args = [&["wait-for-request", "--path", "/hooks/*"], more].concat();
            let late = ask(&scratch, &args).await;
            assert_eq!((late.code, late.stdout.as_str()), (Some(7), ""), "{more:?}");
        }
        let args = [
            "wait-for-request",
            "--after",
            "3",
            "--status",
            "2xx",
            "--path",
            "/new",
            "--json",
        ];
        let waiting = ngrnotok(&scratch, &args).start();
        for path in ["/old", "/new"] {
            asked.visit(path).await;
        }
        let (code, said) = soon("the wait", waiting.ended()).await;
        assert_eq!(code, Some(0));
        let found: Value = serde_json::from_str(&said[0]).unwrap();
        assert_eq!((&found["id"], &found["path"]), (&5.into(), &"/new".into()));
    });
}

#[test]
fn what_went_through_is_listed_and_shown() {
    run(async {
        let (scratch, app) = (Scratch::new(), Origin::saying("the app").await);
        let mut asked = Asked::start(&scratch, &app).await;
        for path in ["/a", "/b", "/c?secret=1"] {
            asked.visit(path).await;
        }
        let lines = ask(&scratch, &["logs", "-n", "2"]).await.stdout;
        assert_snapshot!(steady(&lines, &scratch).replace("N.Nms", "Nms"));
        let body = ask(&scratch, &["logs", "2", "--body", "answer"]).await;
        assert_eq!(body.stdout, "the app");
        let whole = ask(&scratch, &["logs", "2"]).await.stdout;
        assert!(
            whole.contains("/b") && whole.ends_with("the app\n"),
            "{whole}"
        );
        let gone = ask(&scratch, &["logs", "9"]).await;
        assert_eq!(gone.code, Some(1));
        assert!(gone.stderr.contains("no such exchange"), "{}", gone.stderr);

        let mut following = ngrnotok(&scratch, &["logs", "--follow", "-n", "1", "--json"]).start();
        assert_eq!(event(&mut following).await["id"], 3);
        asked.visit("/d").await;
        assert_eq!(event(&mut following).await["path"], "/d");
        asked.client.signal("INT").await;
        asked.client.ended().await;
        let (code, _) = following.ended().await;
        assert_eq!(code, Some(6), "its client has ended");
    });
}

#[test]
fn a_request_is_sent_again_as_it_was_or_changed() {
    run(async {
        let (origin, mut seen) = Origin::witness().await;
        let scratch = Scratch::new();
        let mut asked = Asked::start(&scratch, &origin).await;
        asked.visit("/orders?x=1").await;
        seen.recv().await.unwrap();
        let sent = json(&scratch, &["resend"]).await;
        assert_eq!((&sent["id"], &sent["resent_of"]), (&2.into(), &1.into()));
        assert_eq!(seen.recv().await.unwrap().uri(), "/orders?x=1");

        let body = scratch.file("body", "otter");
        let change = ["--method", "PUT", "--path", "/edited", "--body-file"];
        let args = [&["resend", "1"], &change[..], &[body.to_str().unwrap()]].concat();
        let sent = json(&scratch, &args).await;
        assert_eq!((&sent["id"], &sent["edited"]), (&3.into(), &true.into()));
        let edited = seen.recv().await.unwrap();
        assert_eq!(
            (edited.method().as_str(), edited.uri().path()),
            ("PUT", "/edited")
        );
        assert_eq!(edited.body(), "otter");

        let gone = ask(&scratch, &["resend", "9"]).await;
        assert_eq!(gone.code, Some(1), "{}", gone.stderr);
    });
}

#[test]
fn what_others_can_reach_has_a_password() {
    run(async {
        let scratch = Scratch::new();
        let args = ["http", "--hello", "--output", "json", "--web", "0.0.0.0:0"];
        let open = ask(&scratch, &args).await;
        assert_eq!(open.code, Some(2));
        assert!(
            open.stderr.contains("--web-password-file"),
            "{}",
            open.stderr
        );
        let closed = ngrnotok(&scratch, &args).env("NGRNOTOK_WEB_PASSWORD", "sesame");
        let mut closed = closed.start();
        let ready = event(&mut closed).await;
        let answer = visit(ready["web"].as_str().unwrap().trim_end_matches('/'), "/").await;
        assert_eq!(answer.status, 401);
        // The note has more than the password.
        assert_eq!(json(&scratch, &["status"]).await["state"], "online");
    });
}
