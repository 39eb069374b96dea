//! Both programs together, and tools that everybody has.

use std::process::Stdio;

use ngrnotok_tests::origin::Origin;
use ngrnotok_tests::program::Scratch;
use ngrnotok_tests::{run, soon};
use tokio::process::Command;

use crate::{RunningServer, ngrnotok};

#[test]
fn curl_visits_a_tunnel_over_every_version_of_http() {
    run(async {
        let scratch = Scratch::new();
        let server =
            RunningServer::start(&scratch, &["--http", "127.0.0.1:0", "--http-mode", "serve"]);
        let server = server.await;
        let app = Origin::saying("the app").await;
        let args = [&app.target().to_string(), "--name", "app"];
        let mut client = server.client(&scratch, &args).start();
        let forwarding = client.line_of("Forwarding").await;
        let url = forwarding.split(' ').next().unwrap();
        let port = url.rsplit(':').next().unwrap();
        let authority = scratch.path().join("ngrnotok-server").join("dev-ca.pem");
        for version in ["--http1.1", "--http2"] {
            let curl = Command::new("curl")
                .args([
                    "--silent",
                    "--show-error",
                    "--fail",
                    "--noproxy",
                    "*",
                    version,
                ])
                .args(["--write-out", " %{http_version}", "--resolve"])
                .arg(format!("app.tunnel.test:{port}:127.0.0.1"))
                .arg("--cacert")
                .arg(&authority)
                .arg(url)
                .stdin(Stdio::null())
                .kill_on_drop(true)
                .output();
            let curl = soon("curl", curl).await.expect("there is curl");
            let said = String::from_utf8(curl.stdout).unwrap();
            let complaint = String::from_utf8_lossy(&curl.stderr);
            let spoken = version.trim_start_matches("--http");
            assert_eq!(said, format!("the app {spoken}"), "{complaint}");
        }
    });
}

#[test]
fn the_file_of_the_authority_is_as_good_as_its_pin() {
    run(async {
        let scratch = Scratch::new();
        let server = RunningServer::start(&scratch, &[]).await;
        let authority = scratch.path().join("ngrnotok-server").join("dev-ca.pem");
        let args = ["http", "--hello", "--server", &server.https, "--server-ca"];
        let mut client = ngrnotok(&scratch, &args).args([authority]).start();
        client.line_of("Forwarding").await;
    });
}

#[test]
fn a_client_survives_the_restart_of_its_server() {
    run(async {
        let scratch = Scratch::new();
        let server = RunningServer::start(&scratch, &[]).await;
        let args = ["--hello", "--name", "app", "--output", "json"];
        let mut client = server.client(&scratch, &args).start();
        let ready = r#"{"event":"ready","url":"#;
        let first = client.line_of(ready).await;
        let https = server.https.clone();
        server.program.signal("TERM").await;
        assert_eq!(server.program.ended().await.0, Some(0));
        client.line_of(r#"{"event":"reconnecting""#).await;
        let _again = RunningServer::start_on(&scratch, &https, &[]).await;
        let second = client.line_of(ready).await;
        let url = |line: &str| line.split('"').nth(1).map(ToOwned::to_owned);
        assert_eq!(url(&first), url(&second));
    });
}
