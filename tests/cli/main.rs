//! The two programs as their users meet them: what they print, where, and with which exit code they
//! end.

mod client;
mod lines;
mod readme;
mod server;
mod together;
mod words;

use ngrnotok_tests::program::{Program, Running, Scratch};

/// `ngrnotok ARGS…`
fn ngrnotok(scratch: &Scratch, args: &[&str]) -> Program {
    let file = env!("CARGO_BIN_EXE_cli-ngrnotok");
    Program::new(file, "ngrnotok", scratch).args(args)
}

/// `ngrnotok-server ARGS…`
fn ngrnotok_server(scratch: &Scratch, args: &[&str]) -> Program {
    let file = env!("CARGO_BIN_EXE_cli-ngrnotok-server");
    Program::new(file, "ngrnotok-server", scratch).args(args)
}

/// A server that runs, with certificates of its own.
struct RunningServer {
    program: Running,
    https: String,
    pin: String,
}

impl RunningServer {
    /// Starts one for `*.tunnel.test` on ports that the system chooses.
    async fn start(scratch: &Scratch, args: &[&str]) -> Self {
        Self::start_on(scratch, "127.0.0.1:0", args).await
    }

    /// Starts one on this address.
    async fn start_on(scratch: &Scratch, https: &str, args: &[&str]) -> Self {
        let fixed = [
            "--domain",
            "tunnel.test",
            "--admin",
            "off",
            "--dev-cert",
            "--https",
        ];
        let program = ngrnotok_server(scratch, &fixed).args([https]).args(args);
        let mut program = program.start();
        Self {
            https: program.line_of("https").await,
            pin: program.line_of("pin").await,
            program,
        }
    }

    /// `ngrnotok http TARGET --server … --server-pin …`
    fn client(&self, scratch: &Scratch, args: &[&str]) -> Program {
        let way = ["http", "--server", &self.https, "--server-pin", &self.pin];
        ngrnotok(scratch, &way).args(args)
    }
}

/// Puts words in the place of what differs from run to run: folders, and every number.
fn steady(text: &str, scratch: &Scratch) -> String {
    let mut steady = without_folder(text, scratch).replace(|c: char| c.is_ascii_digit(), "N");
    while steady.contains("NN") {
        steady = steady.replace("NN", "N");
    }
    steady
}

/// Puts a word in the place of the folder of this run.
fn without_folder(text: &str, scratch: &Scratch) -> String {
    text.replace(&scratch.path().display().to_string(), "FOLDER")
}
