//! Tunnels of the config file, several on one link.

use std::process::Stdio;

use insta::assert_snapshot;
use ngrnotok_tests::body::full;
use ngrnotok_tests::origin::Origin;
use ngrnotok_tests::program::{Running, Scratch};
use ngrnotok_tests::{run, soon};
use tokio::process::Command;

use crate::{
    RunningServer, config_file, event, key_of, ngrnotok, steady, visit, visitor_of, without_folder,
};

/// A file with two tunnels.
fn two_tunnels(scratch: &Scratch, keys: &str, web: &Origin, api: &Origin) {
    let (web, api) = (web.target(), api.target());
    config_file(
        scratch,
        &format!(
            "{keys}\n[tunnels.web]\ntarget = '{web}'\nname = 'shop'\n\n\
             [tunnels.backend]\ntarget = '{api}'\nname = 'rest'\n\n\
             [tunnels.other]\nhello = true\n"
        ),
    );
}

/// Visits a tunnel of a server with curl.
async fn curl(scratch: &Scratch, url: &str) -> String {
    let host = url.trim_start_matches("https://");
    let authority = scratch.path().join("ngrnotok-server").join("dev-ca.pem");
    let curl = Command::new("curl")
        .args(["--silent", "--show-error", "--noproxy", "*", "--resolve"])
        .arg(format!("{host}:127.0.0.1"))
        .arg("--cacert")
        .arg(&authority)
        .arg(url)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let curl = soon("curl", curl).await.expect("there is curl");
    assert!(
        curl.status.success(),
        "{}",
        String::from_utf8_lossy(&curl.stderr)
    );
    String::from_utf8(curl.stdout).expect("our apps speak UTF-8")
}

#[test]
fn several_tunnels_share_one_link() {
    run(async {
        let scratch = Scratch::new();
        let server = RunningServer::start(&scratch, &[]).await;
        let (web, api) = (
            Origin::saying("the shop").await,
            Origin::saying("the api").await,
        );
        let keys = format!(
            "server = '{}'\nserver-pin = '{}'\noutput = 'json'",
            server.https, server.pin
        );
        two_tunnels(&scratch, &keys, &web, &api);
        let mut client = ngrnotok(&scratch, &["start", "web", "backend"]).start();
        let first = event(&mut client).await;
        let second = event(&mut client).await;
        let told = |key: &str| [&first[key], &second[key]].map(|word| word.as_str().unwrap());
        assert_eq!(told("event"), ["ready", "ready"]);
        assert_eq!(told("tunnel"), ["web", "backend"]);
        assert_eq!(told("name"), ["shop", "rest"]);
        let targets = [&web, &api].map(|app| app.target().to_string());
        assert_eq!(told("target"), [&targets[0], &targets[1]]);
        assert_eq!(first["session"], second["session"]);

        let [shop, api] = told("url");
        for (url, said, tunnel) in [
            (shop, "the shop", "web"),
            (api, "the api", "backend"),
            (shop, "the shop", "web"),
        ] {
            assert_eq!(curl(&scratch, url).await, said);
            assert_eq!(event(&mut client).await["tunnel"], tunnel);
        }
        client.signal("INT").await;
        assert_eq!(client.ended().await.0, Some(0));
    });
}

#[test]
fn without_a_server_they_are_on_this_machine() {
    run(async {
        let scratch = Scratch::new();
        let (web, api) = (
            Origin::saying("the shop").await,
            Origin::saying("the api").await,
        );
        two_tunnels(&scratch, "", &web, &api);
        let mut client = ngrnotok(&scratch, &["start", "--all"]).start();
        let mut lines = vec![client.line().await];
        while !lines.last().unwrap().starts_with("Go public") {
            lines.push(client.line().await);
        }
        // Said only if another test has the usual port.
        lines.retain(|line| !line.contains("is taken by another program"));
        let urls: Vec<String> = lines[2..5]
            .iter()
            .map(|line| line.split_whitespace().nth(1).unwrap().to_owned())
            .collect();
        assert!(visit(&urls[2], "/").await.text().contains("Hello!"));
        client.line().await;
        for (url, said) in [(&urls[0], "the shop"), (&urls[1], "the api")] {
            assert_eq!(visit(url, "/a").await.text(), said);
            lines.push(client.line().await);
        }
        let derived = urls[2].split(['/', '.']).nth(2).unwrap();
        let lines = lines.join("\n").replace(derived, "DERIVED");
        assert_snapshot!(steady(&lines, &scratch).replace("N.Nms", "Nms"));
    });
}

#[test]
fn one_tunnel_alone_needs_no_column() {
    run(async {
        let scratch = Scratch::new();
        let (web, api) = (
            Origin::saying("the shop").await,
            Origin::saying("the api").await,
        );
        two_tunnels(&scratch, "", &web, &api);
        let mut client = ngrnotok(&scratch, &["start", "web", "web"]).start();
        let line = client.line_of("Forwarding").await;
        assert!(
            line.ends_with(&format!("-> {} (web)", web.target())),
            "{line}"
        );
        client.line_of("Go public").await;
        visit(line.split(' ').next().unwrap(), "/").await;
        let request = client.line().await;
        assert!(request[12..].starts_with("  GET "), "{request}");
    });
}

#[test]
fn a_refused_tunnel_ends_the_client_and_is_named() {
    run(async {
        let scratch = Scratch::new();
        let server = RunningServer::start(&scratch, &[]).await;
        let app = Origin::saying("the app").await;
        let keys = format!("server = '{}'\nserver-pin = '{}'", server.https, server.pin);
        two_tunnels(&scratch, &keys, &app, &Origin::refusing());
        let holder: Vec<&str> = vec!["http", "--hello", "--name", "rest"];
        let mut holder: Running = ngrnotok(&scratch, &holder).start();
        holder.line_of("Forwarding").await;
        let refused = ngrnotok(&scratch, &["start", "--all"]).output().await;
        assert_eq!(refused.code, Some(4), "{}", refused.stderr);
        assert!(
            refused.stderr.contains("the name rest is taken"),
            "{}",
            refused.stderr
        );
        assert!(!refused.stdout.contains("Forwarding"), "{}", refused.stdout);
        // What the client had got already is free again.
        let mut shop = ngrnotok(&scratch, &["start", "web"]).start();
        shop.line_of("Forwarding").await;
    });
}

#[test]
fn a_tunnel_too_many_is_named() {
    run(async {
        let scratch = Scratch::new();
        let server = RunningServer::start(&scratch, &[]).await;
        let mut text = format!(
            "server = '{}'\nserver-pin = '{}'\n",
            server.https, server.pin
        );
        for number in 1..=65 {
            text.push_str(&format!(
                "tunnels.t{number} = {{ port = {number}, name = 'n{number:02}' }}\n"
            ));
        }
        config_file(&scratch, &text);
        let refused = ngrnotok(&scratch, &["start", "--all"]).output().await;
        assert_eq!(refused.code, Some(1), "{}", refused.stderr);
        assert!(refused.stderr.contains("n65"), "{}", refused.stderr);
    });
}

#[test]
fn only_tunnels_that_there_are_can_be_started() {
    run(async {
        let scratch = Scratch::new();
        let shown = async |args: &[&str]| {
            let ended = ngrnotok(&scratch, args).output().await;
            without_folder(&ended.shown(), &scratch)
        };
        assert_snapshot!(shown(&["start", "web"]).await);
        let app = Origin::refusing();
        two_tunnels(&scratch, "", &app, &Origin::refusing());
        assert_snapshot!(shown(&["start"]).await);
        assert_snapshot!(shown(&["start", "web", "beckend"]).await);
        assert_snapshot!(shown(&["start", "web", "--all"]).await);
    });
}

#[test]
fn a_client_without_tunnels_opens_those_that_a_program_asks_for() {
    run(async {
        let (scratch, app) = (Scratch::new(), Origin::saying("the app").await);
        let args = ["start", "--none", "--local-only", "--output", "json"];
        let mut client =
            ngrnotok(&scratch, &[&args[..], &["--web", "127.0.0.1:0"]].concat()).start();
        let empty = event(&mut client).await;
        assert_eq!(empty["event"], "no_tunnels");
        let web = empty["web"].as_str().expect("a URL").trim_end_matches('/');
        let key = key_of(&scratch, web);
        let ask = async |method: &str, path: &str, body: String| {
            let visitor = visitor_of(web).await;
            let request = visitor.request(method, path);
            let request = request.header("x-ngrnotok-key", &key);
            let request = request.header("content-type", "application/json");
            visitor
                .send(request.body(full(body)).expect("a good request"))
                .await
        };
        let wanted = serde_json::json!({
            "addr": app.target().to_string(), "proto": "http", "name": "shop",
        });
        let opened = ask("POST", "/api/tunnels", wanted.to_string()).await;
        assert_eq!(opened.status, 201, "{}", opened.text());
        let ready = event(&mut client).await;
        assert_eq!(
            (&ready["event"], &ready["name"]),
            (&"ready".into(), &"shop".into())
        );
        let opened = opened.json();
        assert_eq!(opened["public_url"], ready["url"]);
        let url = ready["url"].as_str().expect("a URL");
        assert_eq!(visit(url, "/").await.text(), "the app");
        assert_eq!(event(&mut client).await["event"], "request");

        let twice = ask("POST", "/api/tunnels", wanted.to_string()).await;
        assert_eq!(
            (twice.status.as_u16(), twice.problem()),
            (409, "409 tunnel_exists".into())
        );
        for (body, word) in [
            (r#"{"addr": 80, "basic_auth": ["a:b"]}"#, "basic_auth"),
            (r#"{"addr": 80, "proto": "tcp"}"#, "tcp"),
            (r#"{"addr": 80, "inspect": false}"#, "--inspect off"),
            (r#"{"addr": "ftp://localhost"}"#, "ftp"),
            (r#"{"addr": 80, "name": "No name"}"#, "A name is made of"),
        ] {
            let refused = ask("POST", "/api/tunnels", body.to_owned()).await;
            assert_eq!(refused.status, 400, "{body}");
            assert!(refused.text().contains(word), "{}", refused.text());
        }

        let unix = r#"{"addr": "unix:/run/app.sock"}"#;
        let refused = ask("POST", "/api/tunnels", unix.to_owned()).await;
        assert_eq!(refused.problem(), "403 unix_not_allowed");

        let secure = r#"{"addr": 80, "name": "secure", "schemes": ["https"]}"#;
        let refused = ask("POST", "/api/tunnels", secure.to_owned()).await;
        assert_eq!(refused.problem(), "409 tunnel_refused");
        let path = opened["uri"].as_str().expect("a path");
        assert_eq!(ask("DELETE", path, String::new()).await.status, 204);
        // What was there for a moment may have been told, too.
        let mut closed = event(&mut client).await;
        while closed["name"] == "secure" {
            closed = event(&mut client).await;
        }
        assert_eq!(
            (&closed["event"], &closed["name"]),
            (&"closed".into(), &"shop".into())
        );
        assert_eq!(visit(url, "/").await.problem(), "404 tunnel_not_found");
        assert_eq!(
            ask("DELETE", path, String::new()).await.problem(),
            "404 no_tunnel"
        );
    });
}

#[test]
fn a_program_opens_tunnels_to_unix_sockets_where_that_is_allowed() {
    run(async {
        let (scratch, app) = (Scratch::new(), Origin::on_unix_socket("the app"));
        let args = [
            "start",
            "--none",
            "--local-only",
            "--web-allow-unix",
            "--output",
            "json",
        ];
        let mut client =
            ngrnotok(&scratch, &[&args[..], &["--web", "127.0.0.1:0"]].concat()).start();
        let empty = event(&mut client).await;
        let web = empty["web"].as_str().expect("a URL").trim_end_matches('/');
        let visitor = visitor_of(web).await;
        let request = visitor.request("POST", "/api/tunnels");
        let request = request.header("x-ngrnotok-key", key_of(&scratch, web));
        let request = request.header("content-type", "application/json");
        let wanted = serde_json::json!({ "addr": app.target().to_string() });
        let opened = visitor
            .send(
                request
                    .body(full(wanted.to_string()))
                    .expect("a good request"),
            )
            .await;
        assert_eq!(opened.status, 201, "{}", opened.text());
        let ready = event(&mut client).await;
        let url = ready["url"].as_str().expect("a URL");
        assert_eq!(visit(url, "/").await.text(), "the app");
    });
}

#[test]
fn nobody_can_open_tunnels_of_a_client_that_has_none_and_no_web_interface() {
    run(async {
        let scratch = Scratch::new();
        let said = ngrnotok(&scratch, &["start", "--none", "--web", "off"])
            .output()
            .await;
        assert_eq!(said.code, Some(2));
        assert_snapshot!(said.stderr, @"ngrnotok: with --none and --web off nobody could ever open a tunnel; keep one of them");
    });
}
