//! The panel in a real terminal, that of tmux: what it shows, what keys do, and how it leaves.

use std::process::Command;

use ngrnotok_tests::program::{Program, Scratch};
use ngrnotok_tests::{eventually, run};

use crate::{RunningServer, visit};

/// A terminal with a shell in it; closed on drop.
struct Terminal {
    /// Of its own server, so that nobody else's tmux has a part in it.
    server: String,
    /// For the shell.
    environment: Vec<(String, String)>,
}

impl Terminal {
    /// One of 100 columns and 30 rows. `None`, said aloud, where there is no tmux.
    async fn open(scratch: &Scratch) -> Option<Self> {
        if Command::new("tmux").arg("-V").output().is_err() {
            eprintln!("skipped: there is no tmux");
            return None;
        }
        let folder = scratch.path().display().to_string();
        let terminal = Self {
            server: format!("{folder}/tmux"),
            environment: vec![
                ("XDG_STATE_HOME".to_owned(), folder.clone()),
                ("XDG_CONFIG_HOME".to_owned(), format!("{folder}/config")),
                ("ENV".to_owned(), String::new()),
                ("TZ".to_owned(), "UTC".to_owned()),
                ("RUST_BACKTRACE".to_owned(), "0".to_owned()),
            ],
        };
        let size = ["-x", "100", "-y", "30"];
        let new = [
            &["-f", "/dev/null", "new-session", "-d"][..],
            &size,
            &["sh"],
        ];
        terminal.tmux(&new.concat());
        // Not to be taken for what has been typed.
        terminal.types("PS1='ready''> '; clear");
        terminal.shows("ready>").await;
        Some(terminal)
    }

    fn tmux(&self, args: &[&str]) -> String {
        let mut tmux = Command::new("tmux");
        for (variable, _) in std::env::vars_os() {
            let name = variable.to_string_lossy();
            let ours = name.starts_with("NGRNOTOK") || name.to_lowercase().ends_with("_proxy");
            if ours || name == "TMUX" || name == "NO_COLOR" {
                tmux.env_remove(variable);
            }
        }
        tmux.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let output = tmux.arg("-S").arg(&self.server).args(args).output();
        let output = output.expect("there is a tmux");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {complaint}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Waits for this to stand somewhere.
    async fn shows(&self, words: &str) -> String {
        let mut screen = String::new();
        eventually(words, async || {
            screen = self.screen();
            screen.contains(words)
        })
        .await;
        screen
    }

    fn press(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Types a line and Enter.
    fn types(&self, line: &str) {
        self.press(&["-l", line]);
        self.press(&["Enter"]);
    }

    /// The terminal is as a shell wants it: an echo, lines, a cursor, and no other screen.
    async fn is_restored(&self) {
        let cursor = ["display-message", "-p", "#{cursor_flag} #{alternate_on}"];
        eventually("a cursor on the usual screen", async || {
            self.tmux(&cursor).trim() == "1 0"
        })
        .await;
        self.types("stty -a | tr ';' '\\n' | grep -w -e icanon; echo settled");
        let screen = self.shows("\nsettled").await;
        let words = screen.split_whitespace();
        let found: Vec<_> = words
            .filter(|word| ["icanon", "-icanon", "echo", "-echo", "-isig"].contains(word))
            .collect();
        assert!(found.contains(&"icanon"), "{screen}");
        assert!(!found.iter().any(|word| word.starts_with('-')), "{screen}");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the screen:\n{}", self.screen());
        }
        let mut tmux = Command::new("tmux");
        let _ = tmux.args(["-S", &self.server, "kill-server"]).output();
    }
}

/// The command line of the program in a shell.
fn program(args: &str) -> String {
    format!(
        "{} {args}; echo \"code $?\"",
        env!("CARGO_BIN_EXE_cli-ngrnotok")
    )
}

#[test]
fn the_panel_is_shown_and_leaves_the_terminal_as_it_was() {
    run(async {
        let scratch = Scratch::new();
        let server = RunningServer::start(&scratch, &["--region", "fra1"]).await;
        let Some(terminal) = Terminal::open(&scratch).await else {
            return;
        };
        let way = format!("--server {} --server-pin {}", server.https, server.pin);
        let pid = scratch.path().join("pid");
        for ending in ["C-c", "TERM"] {
            let before = format!("before {ending}");
            terminal.types(&format!("clear; echo bef''ore {ending}"));
            terminal.shows(&before).await;
            let args = format!("http --hello --name calm-otter {way}");
            // The shell that writes its number down becomes the program.
            let inner = program("").replace("; echo \"code $?\"", &args);
            let line = format!(
                "sh -c 'echo $$ >{}; exec {inner}'; echo \"code $?\"",
                pid.display()
            );
            terminal.types(&line);
            let screen = terminal.shows("-> hello page").await;
            let rows: Vec<&str> = screen.lines().collect();
            assert!(rows[0].starts_with("ngrnotok  "), "{screen}");
            assert!(rows[0].ends_with("(Ctrl-C to quit)"), "{screen}");
            for row in [
                "Session Status     online",
                "Account            anonymous",
                "Region             fra1",
            ] {
                assert!(rows.contains(&row), "{row} in {screen}");
            }
            terminal.press(&["?"]);
            terminal.shows("what is secret").await;
            terminal.press(&["Escape"]);
            terminal.shows("HTTP Requests").await;
            match ending {
                "C-c" => terminal.press(&["C-c"]),
                signal => {
                    let pid = std::fs::read_to_string(&pid).unwrap();
                    let kill = Command::new("kill")
                        .args(["-s", signal, pid.trim()])
                        .status();
                    assert!(kill.expect("there is a kill").success());
                }
            }
            let screen = terminal.shows("\ncode 0").await;
            // What was on the screen before is there again, with the last words below it.
            assert!(screen.contains(&before), "{screen}");
            assert!(
                screen.contains("\nForwarding  https://calm-otter."),
                "{screen}"
            );
            assert!(screen.contains("\nConnections 0 in "), "{screen}");
            terminal.is_restored().await;
        }
    });
}

#[test]
fn a_terminal_that_is_closed_gives_the_name_back() {
    run(async {
        let (scratch, other) = (Scratch::new(), Scratch::new());
        let server = RunningServer::start(&scratch, &[]).await;
        let Some(terminal) = Terminal::open(&scratch).await else {
            return;
        };
        let code = scratch.path().join("code");
        let way = format!("--server {} --server-pin {}", server.https, server.pin);
        // A shell that outlives its terminal, to tell how the program has ended.
        terminal.types(&format!(
            "sh -c 'trap : HUP; {} http --hello --name app {way}; echo $? >{}'",
            env!("CARGO_BIN_EXE_cli-ngrnotok"),
            code.display()
        ));
        terminal.shows("-> hello page").await;
        terminal.tmux(&["kill-server"]);
        eventually("its end", async || {
            std::fs::read_to_string(&code).is_ok_and(|code| code == "0\n")
        })
        .await;
        let mut next = server.client(&other, &["--hello", "--name", "app"]).start();
        next.line_of("Forwarding").await;
    });
}

#[test]
fn requests_are_listed_looked_into_and_sent_again() {
    run(async {
        let scratch = Scratch::new();
        let Some(terminal) = Terminal::open(&scratch).await else {
            return;
        };
        terminal.types(&program("http --hello --local-only --name seen"));
        let screen = terminal.shows("online, this machine only").await;
        let url = screen
            .split_whitespace()
            .find(|word| word.starts_with("http://seen."));
        let url = url.expect("a URL").to_owned();
        visit(&url, "/api/items").await;
        terminal.shows("GET /api/items").await;
        terminal.press(&["Down"]);
        terminal.shows("› GET").await;
        terminal.press(&["Enter"]);
        let screen = terminal.shows("Answer             200 OK").await;
        assert!(screen.contains("host: seen.localhost"), "{screen}");
        terminal.press(&["r"]);
        terminal.shows("200 OK, resent").await;
        // Narrower, everything finds its place.
        terminal.tmux(&["resize-window", "-x", "40", "-y", "20"]);
        terminal.shows("Forwarding\n").await;
        terminal.tmux(&["resize-window", "-x", "100", "-y", "30"]);
        terminal.shows("HTTP Requests").await;
        // Stopped, the shell has its terminal; back again, so has the panel.
        terminal.press(&["C-z"]);
        terminal.shows("Stopped").await;
        terminal.is_restored().await;
        terminal.types("fg");
        terminal.shows("200 OK, resent").await;
        terminal.press(&["C-c"]);
        terminal.shows("\nConnections 1 in ").await;
        terminal.is_restored().await;
    });
}

#[test]
fn a_panic_leaves_the_terminal_as_it_was_and_is_told_there() {
    run(async {
        let scratch = Scratch::new();
        let Some(terminal) = Terminal::open(&scratch).await else {
            return;
        };
        let line = format!("{}; echo \"code $?\"", env!("CARGO_BIN_EXE_cli-panics"));
        terminal.types(&line);
        let screen = terminal.shows("\ncode 101").await;
        for words in ["a thread is tired", "all is tired"] {
            assert!(screen.contains(words), "{screen}");
        }
        terminal.is_restored().await;
    });
}

#[test]
fn plain_stays_plain_on_a_terminal() {
    run(async {
        let scratch = Scratch::new();
        let Some(terminal) = Terminal::open(&scratch).await else {
            return;
        };
        terminal.types(&program("http --hello --local-only --output plain"));
        let screen = terminal.shows("Go public").await;
        assert!(
            screen.contains("\nSession     online, this machine only"),
            "{screen}"
        );
        terminal.press(&["C-c"]);
        terminal.shows("code 0").await;
        // In the background there is no terminal to take over, and lines do.
        terminal.types("clear");
        let args = "http --hello --local-only";
        terminal.types(&program(args).replace(';', " &"));
        terminal.shows("Go public").await;
        terminal.types("kill %1; wait %1; echo left $?");
        terminal.shows("left 0").await;
        terminal.is_restored().await;
    });
}

/// `script` and `expect` in CI and `docker run -t` have such terminals, and so has Python's.
#[test]
fn a_terminal_without_a_size_gets_lines() {
    run(async {
        let scratch = Scratch::new();
        let spawn = "import pty, sys; pty.spawn(sys.argv[1:])";
        let file = env!("CARGO_BIN_EXE_cli-ngrnotok");
        let mut client = Program::new("python3", "python3", &scratch)
            .args(["-c", spawn, file, "http", "--hello", "--name", "demo"])
            .env("TERM", "xterm")
            .start();
        let line = client.line_of("Forwarding").await;
        assert!(line.starts_with("http://demo.localhost:"), "{line}");
    });
}
