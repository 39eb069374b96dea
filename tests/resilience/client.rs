//! Clients as processes.

use std::path::PathBuf;

use ngrnotok_tests::eventually;
use ngrnotok_tests::program::{Overheard, Scratch};
use serde_json::Value;

use crate::app::App;
use crate::ngrnotok;
use crate::place::Place;

/// Three apps, and their clients.
pub(crate) async fn three(place: &Place) -> (Vec<App>, Vec<Client>) {
    let (mut apps, mut clients) = (Vec::new(), Vec::new());
    for name in ["one", "two", "three"] {
        let app = App::start(name).await;
        clients.push(Client::start(place, &app).await);
        apps.push(app);
    }
    (apps, clients)
}

/// A client of one tunnel, with a state folder that the next one has, too.
pub(crate) struct Client {
    program: Overheard,
    settings: Settings,
    scratch: Scratch,
    started: u32,
}

struct Settings {
    authority: PathBuf,
    target: String,
    server: String,
    name: String,
    token: Option<PathBuf>,
}

impl Client {
    /// Starts the client of an app, and waits until visitors can come.
    pub(crate) async fn start(place: &Place, app: &App) -> Self {
        Self::start_by(place, app, place.address.port(), None).await
    }

    /// The same by way of another port of this machine, and perhaps with a token.
    pub(crate) async fn start_by(
        place: &Place,
        app: &App,
        port: u16,
        token: Option<PathBuf>,
    ) -> Self {
        let (scratch, settings) = (
            Scratch::new(),
            Settings {
                authority: place.authority(),
                target: app.origin.target().to_string(),
                server: format!("localhost:{port}"),
                name: app.name.clone(),
                token,
            },
        );
        let client = Self {
            program: settings.start(&scratch, 0),
            settings,
            scratch,
            started: 1,
        };
        client.event("ready").await;
        client
    }

    /// Starts another one in the place of one that has been killed.
    pub(crate) async fn again(self) -> Self {
        let Self {
            program,
            settings,
            scratch,
            started,
        } = self;
        program.kill().await;
        let again = Self {
            program: settings.start(&scratch, started),
            settings,
            scratch,
            started: started + 1,
        };
        again.event("ready").await;
        again
    }

    /// What it has said of this kind.
    pub(crate) fn events(&self, kind: &str) -> Vec<Value> {
        let lines = self.program.lines();
        let events = lines
            .iter()
            .map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON"));
        events.filter(|event| event["event"] == kind).collect()
    }

    /// Waits for the first event of this kind.
    pub(crate) async fn event(&self, kind: &str) -> Value {
        eventually(kind, async || !self.events(kind).is_empty()).await;
        self.events(kind).swap_remove(0)
    }

    /// The only URL that it has ever had.
    pub(crate) fn url(&self) -> String {
        let ready = self.events("ready");
        let urls = ready
            .iter()
            .map(|event| event["url"].as_str().expect("a URL"));
        let mut urls: Vec<&str> = urls.collect();
        urls.dedup();
        assert_eq!(urls.len(), 1, "{urls:?}");
        urls[0].to_owned()
    }

    /// Asks it to stop.
    pub(crate) async fn stop(&self) {
        self.program.signal("TERM").await;
    }

    /// Waits for its end; tells the exit code.
    pub(crate) async fn ended(self) -> Option<i32> {
        self.program.ended().await
    }
}

impl Settings {
    fn start(&self, scratch: &Scratch, number: u32) -> Overheard {
        let authority = self.authority.to_str().expect("a name of ours");
        let args = [
            "http",
            &self.target,
            "--name",
            &self.name,
            "--server",
            &self.server,
            "--server-ca",
            authority,
            "--output",
            "json",
        ];
        let mut program = ngrnotok(scratch, &args);
        if let Some(token) = &self.token {
            program = program.env("NGRNOTOK_TOKEN_FILE", token);
        }
        program.overheard(scratch.path(), &format!("client-{number}"))
    }
}
