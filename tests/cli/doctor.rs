//! `ngrnotok doctor` finds the one thing that is wrong, and what to do about it.

use ngrnotok_tests::program::{Program, Scratch};
use ngrnotok_tests::run;
use serde_json::Value;
use tokio::net::{TcpListener, TcpSocket};

use crate::{RunningServer, config_file, ngrnotok, token};

/// `component state` of each check, and the exit code.
async fn examined(program: Program) -> (Option<i32>, Vec<String>, Value) {
    let ended = program.args(["--json"]).output().await;
    let report: Value = serde_json::from_str(&ended.stdout).expect(&ended.stderr);
    assert_eq!(report["ok"], ended.code == Some(0));
    let checks = report["checks"].as_array().expect("a list").iter();
    let states = checks.map(|check| {
        let text = |key: &str| check[key].as_str().expect("text").to_owned();
        assert!(!text("detail").is_empty());
        format!("{} {}", text("component"), text("state"))
    });
    (ended.code, states.collect(), report)
}

fn doctor(scratch: &Scratch, server: &RunningServer) -> Program {
    let way = ["--server", &server.https, "--server-pin", &server.pin];
    ngrnotok(scratch, &["doctor"]).args(way)
}

#[test]
fn without_a_server_there_is_nothing_to_fail() {
    run(async {
        let scratch = Scratch::new();
        let ended = ngrnotok(&scratch, &["doctor"]).output().await;
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        insta::assert_snapshot!(ended.shown());
    });
}

#[test]
fn a_good_way_to_a_good_server_is_good_all_along() {
    run(async {
        let scratch = Scratch::new();
        let token = token(&scratch).await;
        let server = RunningServer::start(&scratch, &[]).await;
        let app = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = app.local_addr().unwrap().port();
        let silent = TcpSocket::new_v4().unwrap();
        silent.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let closed = silent.local_addr().unwrap().port();
        let tunnels = format!(
            "[tunnels.web]\nport = {port}\n[tunnels.off]\ntarget = \"127.0.0.1:{closed}\"\n"
        );
        config_file(&scratch, &tunnels);
        let program = doctor(&scratch, &server).env("NGRNOTOK_TOKEN", &token);
        let (code, states, report) = examined(program).await;
        assert_eq!(
            states,
            [
                "configuration ok",
                "dns ok",
                "reachability ok",
                "tls ok",
                "visitors skip",
                "clock ok",
                "token ok",
                "versions ok",
                "tunnel web ok",
                "tunnel off warn",
            ]
        );
        assert_eq!(code, Some(0), "a warning is no failure");
        assert_eq!(report["checks"][6]["detail"], "accepted, account ann");
    });
}

#[test]
fn one_trouble_is_one_failure_and_the_rest_is_skipped() {
    run(async {
        let scratch = Scratch::new();
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let nobody = socket.local_addr().unwrap().to_string();
        let program = ngrnotok(&scratch, &["doctor", "--server", &nobody]);
        let (code, states, report) = examined(program).await;
        assert_eq!(code, Some(1));
        assert_eq!(
            states,
            [
                "configuration ok",
                "dns ok",
                "reachability fail",
                "tls skip",
                "visitors skip",
                "clock skip",
                "token skip",
                "versions skip",
            ]
        );
        let next = report["checks"][2]["next"].as_str().unwrap();
        assert!(next.contains("firewall"), "{next}");
    });
}

#[test]
fn a_server_with_another_key_is_found_out_before_it_sees_the_token() {
    run(async {
        let scratch = Scratch::new();
        let server = RunningServer::start(&scratch, &[]).await;
        let pin = format!("sha256:{}", "0".repeat(64));
        let args = ["doctor", "--server", &server.https, "--server-pin", &pin];
        let (code, states, _) = examined(ngrnotok(&scratch, &args)).await;
        assert_eq!(code, Some(1));
        assert_eq!(states[3..5], ["tls fail", "visitors skip"]);
    });
}

#[test]
fn a_token_that_is_refused_is_told_and_not_shown() {
    run(async {
        let scratch = Scratch::new();
        let wrong = token(&scratch).await.replace("ngrt_", "ngrt_0");
        let server = RunningServer::start(&scratch, &[]).await;
        for given in [Some(&wrong), None] {
            let mut program = doctor(&scratch, &server);
            if let Some(wrong) = given {
                program = program.env("NGRNOTOK_TOKEN", wrong);
            }
            let ended = program.output().await;
            assert_eq!(ended.code, Some(1));
            assert!(
                ended.stdout.contains("token          FAIL"),
                "{}",
                ended.stdout
            );
            assert!(ended.stdout.contains("ngrnotok login"), "{}", ended.stdout);
            assert!(!ended.stdout.contains(&wrong) && !ended.stderr.contains(&wrong));
        }
    });
}

#[test]
fn a_bad_config_file_is_told_by_its_place() {
    run(async {
        let scratch = Scratch::new();
        config_file(&scratch, "prot = 3000\n");
        let (code, states, report) = examined(ngrnotok(&scratch, &["doctor"])).await;
        assert_eq!(code, Some(1));
        assert_eq!(states[..2], ["configuration fail", "dns skip"]);
        let detail = report["checks"][0]["detail"].as_str().unwrap();
        assert!(detail.contains("config.toml:1:1"), "{detail}");
    });
}
