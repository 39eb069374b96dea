//! What the README tells people to type works as it stands there.

use std::os::unix::fs::symlink;
use std::process::Stdio;

use clap::Parser as _;
use ngrnotok_tests::patience::run;
use ngrnotok_tests::program::Scratch;
use tokio::process::Command;

use crate::{config_file, ngrnotok, ngrnotok_server, token};

const README: &str = include_str!("../../README.md");

#[test]
fn the_script_of_the_readme_runs_from_top_to_bottom() {
    run(async {
        let scratch = Scratch::new();
        let programs = [
            ("ngrnotok", env!("CARGO_BIN_EXE_cli-ngrnotok")),
            ("ngrnotok-server", env!("CARGO_BIN_EXE_cli-ngrnotok-server")),
        ];
        for (name, file) in programs {
            symlink(file, scratch.path().join(name)).unwrap();
        }
        let path = std::env::var("PATH").unwrap();
        let script = blocks("sh").join("\n");
        assert!(script.contains("token create") && script.contains("--hello"));
        let ended = Command::new("bash")
            .args(["-euo", "pipefail", "-c", &script])
            .env("PATH", format!("{}:{path}", scratch.path().display()))
            .env("XDG_STATE_HOME", scratch.path())
            .env("XDG_CONFIG_HOME", scratch.path().join("config"))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .unwrap();
        let shown = String::from_utf8_lossy(&ended.stdout);
        let noise = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success(), "{script}\n--\n{shown}\n--\n{noise}");
        // The first and the last curl have met the hello page.
        assert_eq!(shown.matches("Hello!").count(), 2, "{shown}");
    });
}

#[test]
fn what_the_readme_runs_with_cargo_comes_online() {
    run(async {
        let mut met = 0;
        for words in commands("cargo") {
            let Some(args) = words.strip_prefix("cargo run --release -- ") else {
                continue;
            };
            let args: Vec<&str> = args.split_whitespace().collect();
            let scratch = Scratch::new();
            let mut client = ngrnotok(&scratch, &args).start();
            assert!(client.line_of("Forwarding").await.contains(".localhost:"));
            client.signal("INT").await;
            assert_eq!(client.ended().await.0, Some(0), "{words}");
            met += 1;
        }
        assert!(met >= 2, "the README begins with two commands");
    });
}

#[test]
fn every_command_of_the_readme_is_one_that_the_programs_understand() {
    let mut met = 0;
    for words in commands("ngrnotok") {
        let parsed = ngrnotok::cli::Cli::try_parse_from(arguments(&words));
        assert!(parsed.is_ok(), "{words}: {}", parsed.unwrap_err());
        met += 1;
    }
    for words in commands("ngrnotok-server") {
        let parsed = ngrnotok_server::cli::Cli::try_parse_from(arguments(&words));
        assert!(parsed.is_ok(), "{words}: {}", parsed.unwrap_err());
        met += 1;
    }
    assert!(met >= 3, "the README shows how to use both programs");
}

#[test]
fn the_config_files_of_the_readme_are_good_ones() {
    run(async {
        let scratch = Scratch::new();
        let [client, server] = blocks("toml")[..] else {
            panic!("the README shows a file of the client and one of the server");
        };
        config_file(&scratch, &client.replace("ngrt_…", "ngrt_x"));
        let checked = ngrnotok(&scratch, &["config", "check"]).output().await;
        assert_eq!(checked.code, Some(0), "{}", checked.stderr);
        for tunnel in ["web ", "backend "] {
            assert!(checked.stdout.contains(tunnel), "{}", checked.stdout);
        }
        let file = scratch.file("server.toml", server);
        token(&scratch).await;
        let args = ["--config", file.to_str().unwrap(), "--dev-cert"];
        let check = ngrnotok_server(&scratch, &args).args(["config", "check"]);
        let checked = check.output().await;
        assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    });
}

/// What the shell makes of a command whose quotes stand around whole words.
fn arguments(command: &str) -> impl Iterator<Item = &str> {
    let words = command.split_whitespace();
    words.map(|word| word.trim_matches('\''))
}

/// The fenced blocks of a kind.
fn blocks(kind: &str) -> Vec<&'static str> {
    let fence = format!("```{kind}\n");
    README
        .split(&fence)
        .skip(1)
        .map(|rest| {
            rest.split("\n```")
                .next()
                .expect("split gives one piece at least")
        })
        .collect()
}

/// The lines of the illustrations that begin with this program, continued lines joined, up to what the
/// shell would take for itself.
fn commands(program: &str) -> Vec<String> {
    blocks("console")
        .iter()
        .flat_map(|block| {
            let block = block.replace("\\\n", " ");
            let lines: Vec<String> = block.lines().map(ToOwned::to_owned).collect();
            lines
        })
        .filter_map(|line| {
            let line = line
                .strip_prefix("$ ")
                .or_else(|| line.strip_prefix("# "))?;
            let line = line.strip_prefix("sudo ").unwrap_or(line);
            let words = line.split(" > ").next()?.split(" & ").next()?;
            (words.split_whitespace().next()? == program).then(|| words.to_owned())
        })
        .collect()
}
