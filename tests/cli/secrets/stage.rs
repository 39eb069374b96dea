//! Both programs at their most talkative, and everything that they write.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ngrnotok_certs::tls::{Trust, client_config};
use ngrnotok_tests::canary::{Canary, Place, files, found};
use ngrnotok_tests::program::{Overheard, Program, Scratch};
use ngrnotok_tests::soon;
use ngrnotok_tests::visitor::Answer;
use ngrnotok_tests::wire::Wire;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::{ngrnotok, ngrnotok_server};

/// Our own words alone, and those of every library with them.
pub(super) const LOGS: [&str; 2] = ["trace", "trace,h2=trace,rustls=trace"];

/// How long an answer may take where there need not be one.
const ANSWER: Duration = Duration::from_millis(200);

/// A server that asks for tokens, and room for clients.
pub(super) struct Stage {
    log: &'static str,
    /// What the programs keep, each in its own folder.
    server_home: Scratch,
    client_home: Scratch,
    /// What the test gives them, and what they say.
    given: Scratch,
    heard: Scratch,
    server: Overheard,
    pub(super) https: String,
    pub(super) http: String,
    pub(super) admin: String,
    pub(super) pin: String,
    pub(super) token: String,
    canaries: Vec<Canary>,
    places: Vec<Place>,
    /// What visitors were answered, by whomever.
    replies: Vec<Place>,
    runs: usize,
}

/// How secrets are called that an app says to its visitors.
pub(super) const APPS_OWN: &str = "the app's ";

impl Stage {
    pub(super) async fn open(log: &'static str) -> Self {
        let [server_home, client_home, given, heard] = std::array::from_fn(|_| Scratch::new());
        let create = ["token", "create", "--account", "ann", "--log", log];
        let made = ngrnotok_server(&server_home, &create).output().await;
        assert_eq!(made.code, Some(0), "{}", made.stderr);
        let token = made.stdout.trim().to_owned();
        let args = [
            "--domain",
            "tunnel.test",
            "--https",
            "127.0.0.1:0",
            "--http",
            "127.0.0.1:0",
            "--http-mode",
            "serve",
            "--admin",
            "127.0.0.1:0",
            "--dev-cert",
            "--offline-wait",
            "0",
            "--log",
            log,
        ];
        let server = ngrnotok_server(&server_home, &args).overheard(heard.path(), "server");
        let mut stage = Self {
            log,
            https: server.line_of("https").await,
            http: server.line_of("http ").await,
            admin: server.line_of("admin      http://").await,
            pin: server.line_of("pin").await,
            canaries: Vec::new(),
            replies: Vec::new(),
            places: vec![("token create".to_owned(), made.stderr.into_bytes())],
            runs: 0,
            token,
            server_home,
            client_home,
            given,
            heard,
            server,
        };
        stage.admin = stage.admin.trim_end_matches("/healthz").to_owned();
        let token = stage.token.clone();
        stage.knows("the token", &token);
        stage
    }

    /// A new secret.
    pub(super) fn canary(&mut self, what: &str) -> String {
        let canary = Canary::new(what);
        let text = canary.text().to_owned();
        self.canaries.push(canary);
        text
    }

    /// A secret that there is.
    pub(super) fn knows(&mut self, what: &str, text: &str) {
        // What comes before in a token is its name.
        let secret = text.rsplit('_').next().expect("there is a last part");
        self.canaries.push(Canary::of(what, secret));
    }

    /// What a program or a page says.
    pub(super) fn hears(&mut self, from: &str, bytes: impl Into<Vec<u8>>) {
        self.places.push((from.to_owned(), bytes.into()));
    }

    /// One of our own answers: its head and its page.
    pub(super) fn reads(&mut self, from: &str, answer: &Answer) {
        let page = format!("{:?}\n{}", answer.headers, answer.text());
        self.hears(from, page);
    }

    /// `ngrnotok ARGS…`
    pub(super) fn ngrnotok(&self, args: &[&str]) -> Program {
        ngrnotok(&self.client_home, args).env("NGRNOTOK_LOG", self.log)
    }

    /// `ngrnotok-server ARGS…`, beside the server that runs.
    pub(super) fn ngrnotok_server(&self, args: &[&str]) -> Program {
        ngrnotok_server(&self.server_home, args).env("NGRNOTOK_SERVER_LOG", self.log)
    }

    /// `ngrnotok COMMAND --server … --server-pin … ARGS…`
    pub(super) fn client(&self, command: &str, args: &[&str]) -> Program {
        let way = [command, "--server", &self.https, "--server-pin", &self.pin];
        self.ngrnotok(&way).args(args)
    }

    /// Starts a client and waits until visitors can come.
    pub(super) async fn online(&mut self, client: Program) -> Overheard {
        let client = self.start(client);
        client.line_of("Forwarding").await;
        client
    }

    /// Starts a program.
    pub(super) fn start(&mut self, program: Program) -> Overheard {
        self.runs += 1;
        program.overheard(self.heard.path(), &format!("run-{}", self.runs))
    }

    /// Runs a program to its end; tells the exit code.
    pub(super) async fn runs(&mut self, program: Program) -> Option<i32> {
        self.start(program).ended().await
    }

    /// A file for a program to read.
    pub(super) fn gives(&self, name: &str, text: &str) -> PathBuf {
        self.given.file(name, text)
    }

    /// Where the client keeps what.
    pub(super) fn client_file(&self, path: &str) -> PathBuf {
        self.client_home.path().join(path)
    }

    /// TLS with the server.
    pub(super) async fn tls(&self, name: &str, alpn: &[u8]) -> TlsStream<TcpStream> {
        let pin = self.pin.parse().expect("a pin");
        let config = client_config(Trust::Pin(pin), &[alpn]).expect("a good pin");
        let stream = TcpStream::connect(&self.https).await.expect("it listens");
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let connecting = TlsConnector::from(Arc::clone(&config)).connect(name, stream);
        soon("TLS with the server", connecting)
            .await
            .expect("the server speaks TLS")
    }

    /// Says bytes on a new connection, and hears what is answered to the end.
    pub(super) async fn says(&mut self, to: &str, address: &str, bytes: impl AsRef<[u8]>) {
        let stream = TcpStream::connect(address).await.expect("it listens");
        self.says_on(Wire::new(stream), to, bytes).await;
    }

    /// The same on a connection that is there.
    pub(super) async fn says_on(&mut self, mut wire: Wire, to: &str, bytes: impl AsRef<[u8]>) {
        wire.say(bytes).await;
        // Whoever hangs up before the answer begins is not always listened to.
        let _ = timeout(ANSWER, wire.more()).await;
        wire.finish().await;
        let heard = soon(to, wire.rest()).await;
        self.replies.push((to.to_owned(), heard.into()));
    }

    /// Ends the server and looks everywhere. `allowed` tells whether a secret may be in a file.
    pub(super) async fn search(self, allowed: impl Fn(&str, &str) -> bool) {
        self.server.stop().await;
        let log = std::fs::read_to_string(self.heard.path().join("server.stderr"));
        let log = log.expect("a log of text");
        assert!(log.contains(" INFO draining"), "the log says too little");
        let mut singing = found(&self.places, &self.canaries);
        // An app that answers before the rest of a request is seen to be bad says its own to its visitor.
        for canary in self
            .canaries
            .iter()
            .filter(|canary| !canary.what.starts_with(APPS_OWN))
        {
            singing.extend(found(&self.replies, std::slice::from_ref(canary)));
        }
        let homes = [&self.server_home, &self.client_home, &self.heard];
        for (path, bytes) in homes.into_iter().flat_map(|home| files(home.path())) {
            let path = path.display().to_string();
            for canary in &self.canaries {
                if !allowed(&canary.what, &path) {
                    let place = (path.clone(), bytes.clone());
                    singing.extend(found(&[place], std::slice::from_ref(canary)));
                }
            }
        }
        assert!(singing.is_empty(), "{}: {singing:#?}", self.log);
    }
}
