//! The two programs as their users meet them: what they print, where, and with which exit code they
//! end.

mod asking;
mod beside;
mod certificates;
mod client;
mod config;
mod doctor;
mod domains;
mod hangups;
mod lines;
mod login;
mod manual;
mod names;
mod orphans;
mod outputs;
mod panel;
mod readme;
mod secrets;
mod server;
mod start;
mod together;
mod tokens;
mod way;
mod words;

use std::path::PathBuf;

use ngrnotok_tests::program::{Program, Running, Scratch};
use ngrnotok_tests::visitor::{Answer, Via, Visitor};
use serde_json::Value;
use tokio::net::TcpStream;

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
        Self::run(program).await
    }

    /// Runs a server that prints its pin.
    async fn run(program: Program) -> Self {
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

/// Makes a token for `ann`.
async fn token(scratch: &Scratch) -> String {
    token_with(scratch, &[]).await
}

/// The same with options.
async fn token_with(scratch: &Scratch, options: &[&str]) -> String {
    let create = ["token", "create", "--account", "ann"];
    let made = ngrnotok_server(scratch, &create).args(options).output();
    made.await.stdout.trim().to_owned()
}

/// Writes the client's config file.
fn config_file(scratch: &Scratch, text: &str) -> PathBuf {
    std::fs::create_dir_all(scratch.path().join("config/ngrnotok")).expect("a folder can be made");
    scratch.file("config/ngrnotok/config.toml", text)
}

/// The next line as JSON.
async fn event(client: &mut Running) -> Value {
    let line = client.line().await;
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in {line}"))
}

/// Visits a URL of an embedded server.
async fn visit(url: &str, path: &str) -> Answer {
    visitor_of(url).await.get(path).await
}

/// The key of the client whose web interface is at this URL.
fn key_of(scratch: &Scratch, web: &str) -> String {
    let port = web.trim_end_matches('/').rsplit(':').next();
    let file = format!("ngrnotok/web/{}.json", port.expect("a port"));
    let note = std::fs::read(scratch.path().join(file)).expect("a note of the client");
    let note: Value = serde_json::from_slice(&note).expect("JSON");
    note["key"].as_str().expect("a key").to_owned()
}

/// A visitor of a URL of this machine.
async fn visitor_of(url: &str) -> Visitor {
    let authority = url.strip_prefix("http://").expect("a plain URL");
    let port = authority.rsplit(':').next().expect("a port");
    let stream = TcpStream::connect(format!("127.0.0.1:{port}")).await;
    let stream = stream.expect("the embedded server listens");
    Visitor::on(stream, Via::PlainHttp1, authority.to_owned()).await
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
