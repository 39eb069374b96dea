//! Asking a client that runs: status, logs, resend, wait-for-request.

use insta::assert_snapshot;
use ngrnotok_tests::body::full;
use ngrnotok_tests::origin::Origin;
use ngrnotok_tests::program::{Ended, Program, Running, Scratch};
use ngrnotok_tests::{run, soon};
use serde_json::Value;

use crate::{event, key_of, ngrnotok, steady, visit, visitor_of};

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
        let shown = steady(&without_words(&shown.join("\n")), &scratch);
        assert_snapshot!(shown);
    });
}

/// Puts a word in the place of those that links have.
fn without_words(text: &str) -> String {
    let mut parts = text.split("#once=");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let word = part.find(char::is_whitespace).unwrap_or(part.len());
        text.push_str("#once=WORD");
        text.push_str(&part[word..]);
    }
    text
}

/// Asks a web interface as another user: prints the status and the body of each answer.
const STRANGER: &str = r#"
import http.client, os, sys
"".encode("idna")  # what is loaded late may be for us alone
os.setgid(65534)
os.setuid(65534)
for request in sys.argv[2:]:
    method, path, body = request.split(" ", 2)
    connection = http.client.HTTPConnection(sys.argv[1], timeout=10)
    connection.request(method, path, body or None, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    print(answer.status, answer.read().decode())
"#;

#[test]
fn another_user_of_the_machine_gets_nothing() {
    run(async {
        let (scratch, app) = (Scratch::new(), Origin::saying("a secret").await);
        let mut asked = Asked::start(&scratch, &app).await;
        asked.visit("/").await;
        let status = ask(&scratch, &["status"]).await.stdout;
        let link = status.lines().find_map(|line| line.strip_prefix("Inspect"));
        let link = link.expect("a link").trim();
        let (page, word) = link.split_once("#once=").expect("a word");
        assert_eq!(page, asked.web);
        let sign_in = serde_json::json!({ "word": word }).to_string();
        let key = key_of(&scratch, &asked.web);

        let address = asked
            .web
            .trim_start_matches("http://")
            .trim_end_matches('/');
        let stranger = Program::new("python3", "python3", &scratch)
            .args(["-c", STRANGER, address])
            .args(["GET / ", "GET /api/tunnels ", "GET /api/exchanges "])
            .args(["GET /api/exchanges/1/body?part=answer ", "GET /api/har "])
            .args([&format!("POST /api/sign-in {sign_in}")])
            .args([r#"POST /api/tunnels {"addr": 80}"#]);
        let said = stranger.output().await;
        if said.stderr.contains("PermissionError") {
            eprintln!("skipped: only root can become another user");
            return;
        }
        assert_eq!(said.code, Some(0), "{}", said.stderr);
        assert!(!said.stdout.contains(&key) && !said.stdout.contains("a secret"));
        let codes: Vec<&str> = ["another_user", "key_missing"]
            .into_iter()
            .flat_map(|code| said.stdout.matches(code))
            .collect();
        assert_eq!(codes.len(), 6, "{}", said.stdout);

        // Nothing is used up: the word is for the user.
        let visitor = visitor_of(asked.web.trim_end_matches('/')).await;
        let request = visitor.request("POST", "/api/sign-in");
        let request = request.header("content-type", "application/json");
        let given = visitor.send(request.body(full(sign_in)).unwrap()).await;
        assert_eq!(given.json()["key"], key);
    });
}

/// Runs a program on a terminal of its own and prints what is to be seen there.
const ON_A_TERMINAL: &str = r#"
import pty, sys
status = pty.spawn(sys.argv[1:])
sys.exit(status >> 8)
"#;

#[test]
fn what_strangers_send_does_not_steer_the_terminal() {
    run(async {
        let text = "\x1b]52;c;cm0=\x07\u{9b}2J ot\u{202e}ter\r\n\ttwo\n";
        let app = Origin::http(move |request| async move {
            let bytes = request.uri().path() == "/bytes";
            let body = if bytes {
                b"\xff\x1b[2J".to_vec()
            } else {
                text.as_bytes().to_vec()
            };
            http::Response::builder()
                .header(
                    "x-odd",
                    http::HeaderValue::from_bytes(b"a\xc2\x9b31m\xe2\x80\xae").unwrap(),
                )
                .body(full(body))
                .unwrap()
        });
        let (scratch, app) = (Scratch::new(), app.await);
        let mut asked = Asked::start(&scratch, &app).await;
        for path in ["/", "/bytes"] {
            asked.visit(path).await;
        }
        let shown = "\\u001b]52;c;cm0=\\u0007\\u009b2J ot\\u202eter\n\ttwo\n";
        let steers = |c: char| c.is_control() && c != '\n' && c != '\t' || c == '\u{202e}';
        for args in [&["logs", "1"][..], &["logs", "1", "--json"], &["logs"]] {
            let said = ask(&scratch, args).await.stdout;
            assert!(!said.contains(steers), "{args:?} {said:?}");
        }
        let whole = ask(&scratch, &["logs", "1"]).await.stdout;
        assert!(
            whole.contains(r"x-odd: a\u009b31m\u202e") && whole.ends_with(shown),
            "{whole}"
        );
        // A pipe gets the bytes; a terminal does not.
        let args = ["logs", "1", "--body", "answer"];
        assert_eq!(ask(&scratch, &args).await.stdout, text);
        let on_terminal = async |args: &[&str]| {
            let program = Program::new("python3", "python3", &scratch);
            let client = env!("CARGO_BIN_EXE_cli-ngrnotok");
            let program = program.args(["-c", ON_A_TERMINAL, client]).args(args);
            let said = program.output().await;
            (said.code, said.stdout.replace("\r\n", "\n"))
        };
        assert_eq!(on_terminal(&args).await, (Some(0), shown.to_owned()));
        let (code, refused) = on_terminal(&["logs", "2", "--body", "answer"]).await;
        assert_eq!(code, Some(1), "{refused}");
        assert!(
            refused.contains("> FILE") && !refused.contains('\x1b'),
            "{refused:?}"
        );
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
