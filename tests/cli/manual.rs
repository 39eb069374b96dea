//! What the programs say of themselves to shells and to `man`.

use std::io::ErrorKind;
use std::path::Path;
use std::process::Stdio;

use ngrnotok_tests::program::{Program, Scratch};
use ngrnotok_tests::{run, soon};
use tokio::process::Command;

use crate::{ngrnotok, ngrnotok_server};

type Start = fn(&Scratch, &[&str]) -> Program;

const PROGRAMS: [(&str, Start); 2] = [("ngrnotok", ngrnotok), ("ngrnotok-server", ngrnotok_server)];

#[test]
fn every_shell_understands_its_completions() {
    run(async {
        for (name, start) in PROGRAMS {
            for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
                let scratch = Scratch::new();
                let ended = start(&scratch, &["completions", shell]).output().await;
                assert_eq!(ended.code, Some(0), "{}", ended.stderr);
                for word in [name, "completions", "config"] {
                    assert!(ended.stdout.contains(word), "{word} in {shell}");
                }
                let script = scratch.file("script", &ended.stdout);
                if ["bash", "zsh", "fish"].contains(&shell) {
                    understands(shell, &script).await;
                }
            }
        }
    });
}

/// Lets a shell read a script without running it. Of the three only bash is everywhere.
async fn understands(shell: &str, script: &Path) {
    let check = match shell {
        "fish" => "--no-execute",
        _ => "-n",
    };
    let read = Command::new(shell)
        .arg(check)
        .arg(script)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    match soon(shell, read).await {
        Ok(read) => {
            let complaint = String::from_utf8_lossy(&read.stderr);
            assert!(
                read.status.success() && complaint.is_empty(),
                "{shell}: {complaint}"
            );
        }
        Err(error) => assert!(error.kind() == ErrorKind::NotFound && shell != "bash"),
    }
}

#[test]
fn there_is_a_page_of_the_manual_for_every_command() {
    run(async {
        for (name, start, commands) in [
            ("ngrnotok", PROGRAMS[0].1, ["http", "run", "config-check"]),
            (
                "ngrnotok-server",
                PROGRAMS[1].1,
                ["token", "token-create", "domain-add"],
            ),
        ] {
            let scratch = Scratch::new();
            let page = start(&scratch, &["man"]).output().await;
            assert_eq!(page.code, Some(0), "{}", page.stderr);
            assert!(page.stdout.contains(&format!(".TH {name} 1")), "{name}");

            let folder = scratch.path().join("man").join("man1");
            let dir = folder.to_str().unwrap();
            let ended = start(&scratch, &["man", "--dir", dir]).output().await;
            assert_eq!(ended.code, Some(0), "{}", ended.stderr);
            let of = |command: &str| folder.join(format!("{name}-{command}.1"));
            assert!(folder.join(format!("{name}.1")).exists());
            for command in commands {
                let page = std::fs::read_to_string(of(command)).expect(command);
                assert!(page.contains(".SH SYNOPSIS"), "{page}");
            }
        }
    });
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    run(async {
        let scratch = Scratch::new();
        let file = scratch.file("a-file", "");
        for (_, start) in PROGRAMS {
            let args = ["man", "--dir", file.to_str().unwrap()];
            let ended = start(&scratch, &args).output().await;
            assert_eq!(ended.code, Some(1));
            assert!(ended.stderr.contains("a-file"), "{}", ended.stderr);
        }
    });
}
