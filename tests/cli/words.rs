//! The words of the programs: help, and what is said to who types something wrong.

use insta::assert_snapshot;
use ngrnotok_tests::program::{Ended, Program, Scratch};
use ngrnotok_tests::run;

use crate::{ngrnotok, ngrnotok_server, without_folder};

/// Runs a program that ends by itself, and shows what it said.
fn shown(start: fn(&Scratch, &[&str]) -> Program, args: &[&str]) -> String {
    let (mut shown, args) = (String::new(), args.to_vec());
    run(async {
        let scratch = Scratch::new();
        let ended: Ended = start(&scratch, &args).output().await;
        shown = without_folder(&ended.shown(), &scratch);
    });
    shown
}

#[test]
fn ngrnotok_alone_shows_its_help() {
    assert_snapshot!(shown(ngrnotok, &[]));
}

#[test]
fn help_of_the_client() {
    assert_snapshot!(shown(ngrnotok, &["http", "--help"]));
}

#[test]
fn help_of_the_clients_other_commands() {
    assert_snapshot!(shown(ngrnotok, &["start", "-h"]));
    assert_snapshot!(shown(ngrnotok, &["login", "-h"]));
    assert_snapshot!(shown(ngrnotok, &["logout", "-h"]));
    assert_snapshot!(shown(ngrnotok, &["config", "-h"]));
    assert_snapshot!(shown(ngrnotok, &["config", "check", "-h"]));
}

#[test]
fn help_of_the_clients_tools() {
    assert_snapshot!(shown(ngrnotok, &["run", "-h"]));
    assert_snapshot!(shown(ngrnotok, &["run", "npm", "run", "dev"]));
    assert_snapshot!(shown(ngrnotok, &["doctor", "-h"]));
    assert_snapshot!(shown(ngrnotok, &["completions", "-h"]));
    assert_snapshot!(shown(ngrnotok, &["man", "-h"]));
}

#[test]
fn help_of_the_commands_that_ask() {
    assert_snapshot!(shown(ngrnotok, &["status", "-h"]));
    assert_snapshot!(shown(ngrnotok, &["logs", "--help"]));
    assert_snapshot!(shown(ngrnotok, &["resend", "--help"]));
    assert_snapshot!(shown(ngrnotok, &["wait-for-request", "--help"]));
}

#[test]
fn help_of_the_server() {
    assert_snapshot!(shown(ngrnotok_server, &["--help"]));
}

#[test]
fn help_of_the_servers_commands() {
    assert_snapshot!(shown(ngrnotok_server, &["token", "create", "--help"]));
    assert_snapshot!(shown(ngrnotok_server, &["token", "--help"]));
    assert_snapshot!(shown(ngrnotok_server, &["config", "check", "--help"]));
    assert_snapshot!(shown(ngrnotok_server, &["name", "--help"]));
    assert_snapshot!(shown(ngrnotok_server, &["name", "reserve", "--help"]));
    assert_snapshot!(shown(ngrnotok_server, &["domain", "--help"]));
    assert_snapshot!(shown(ngrnotok_server, &["domain", "add", "--help"]));
}

#[test]
fn a_tunnel_to_nothing_is_asked_about() {
    assert_snapshot!(shown(ngrnotok, &["http"]));
}

#[test]
fn nonsense_is_no_target() {
    assert_snapshot!(shown(ngrnotok, &["http", "nonsense"]));
}

#[test]
fn a_port_is_a_port() {
    assert_snapshot!(shown(ngrnotok, &["http", "-p", "0"]));
    assert_snapshot!(shown(ngrnotok, &["http", "-p", "70000"]));
}

#[test]
fn a_bad_name_is_refused_before_anybody_is_asked() {
    assert_snapshot!(shown(
        ngrnotok,
        &["http", "-p", "3000", "--name", "Bad_Name"]
    ));
}

#[test]
fn one_target_is_enough() {
    assert_snapshot!(shown(ngrnotok, &["http", "3000", "-p", "3001"]));
}

#[test]
fn a_token_cannot_be_an_argument() {
    assert_snapshot!(shown(
        ngrnotok,
        &["http", "-p", "3000", "--token", "ngrt_x"]
    ));
}

#[test]
fn a_server_is_a_host() {
    let args = [
        "http",
        "-p",
        "3000",
        "--server",
        "https://tunnel.example.com/",
    ];
    assert_snapshot!(shown(ngrnotok, &args));
}

#[test]
fn a_pin_is_a_hash() {
    let args = [
        "http",
        "-p",
        "3000",
        "--server",
        "t.example",
        "--server-pin",
        "1234",
    ];
    assert_snapshot!(shown(ngrnotok, &args));
}

#[test]
fn a_token_file_that_is_not_there_is_named() {
    let args = [
        "http",
        "-p",
        "3000",
        "--server",
        "t.example",
        "--token-file",
        "/nonexistent/token",
    ];
    assert_snapshot!(shown(ngrnotok, &args));
}

#[test]
fn a_log_level_is_a_word() {
    assert_snapshot!(shown(ngrnotok, &["http", "-p", "3000", "--log", "a=b=c"]));
}

#[test]
fn the_version_is_one_line() {
    for start in [ngrnotok, ngrnotok_server] {
        let shown = shown(start, &["--version"]);
        let version = env!("CARGO_PKG_VERSION");
        assert!(
            shown.starts_with("exit code: 0\n-- stdout --\nngrnotok"),
            "{shown}"
        );
        assert!(shown.ends_with(&format!(" {version}\n")), "{shown}");
    }
}
