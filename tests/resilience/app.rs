//! A local app whose answers tell which request they are for.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::sync::{Arc, Mutex};

use http::header::{CONTENT_TYPE, HOST};
use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use ngrnotok_tests::body::{Body, Pieces, full, pieces};
use ngrnotok_tests::origin::Origin;
use tokio::sync::mpsc;

/// The app of one tunnel, in the test's own process.
pub(crate) struct App {
    pub(crate) name: String,
    pub(crate) origin: Origin,
    /// Answers to `GET /stream`, which the test ends.
    pub(crate) streams: mpsc::Receiver<Pieces>,
    /// Tells of each `POST /slow` when it has begun.
    pub(crate) uploads: mpsc::Receiver<()>,
    log: Log,
}

/// What was wrong with the requests that came.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    uploads: HashSet<String>,
    wrong: Vec<String>,
}

impl App {
    pub(crate) async fn start(name: &str) -> Self {
        let (stream, streams) = mpsc::channel(16);
        let (upload, uploads) = mpsc::channel(16);
        let log = Log::default();
        let teller = Teller {
            name: name.to_owned(),
            log: log.clone(),
            stream,
            upload,
        };
        let origin = Origin::http(move |request| serve(teller.clone(), request));
        Self {
            name: name.to_owned(),
            origin: origin.await,
            streams,
            uploads,
            log,
        }
    }

    /// Every request came as it was sent, and what must not be repeated came once.
    pub(crate) fn has_seen_nothing_wrong(&self) {
        let seen = self.log.0.lock().expect("nothing panics under this lock");
        assert_eq!(seen.wrong, Vec::<String>::new(), "{}", self.name);
    }
}

impl Log {
    fn upload(&self, path: &str, body: &[u8]) {
        let mut seen = self.0.lock().expect("nothing panics under this lock");
        if body != upload(path).as_bytes() {
            seen.wrong.push(format!("a wrong body for {path}"));
        }
        if !seen.uploads.insert(path.to_owned()) {
            seen.wrong.push(format!("{path} came twice"));
        }
    }
}

/// What a visitor sends to a path below `/upload/`: up to 24 KiB, different for each.
pub(crate) fn upload(path: &str) -> String {
    path.repeat(hash(path) as usize % 1024)
}

/// The right answer: up to 17 KiB, different for every request and every app.
pub(crate) fn answer(name: &str, method: &Method, host: &str, path: &str, body: &[u8]) -> String {
    let hash = hash((name, method, host, path, body));
    format!("{hash:016x}\n").repeat(1 + hash as usize % 1024)
}

fn hash(of: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

/// What the app knows of the test.
#[derive(Clone)]
struct Teller {
    name: String,
    log: Log,
    stream: mpsc::Sender<Pieces>,
    upload: mpsc::Sender<()>,
}

async fn serve(teller: Teller, request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    if path == "/stream" {
        let (sender, body) = pieces();
        let _ = teller.stream.send(sender).await;
        let answer = Response::builder().header(CONTENT_TYPE, "text/event-stream");
        return answer.body(body).expect("a good answer");
    }
    if path == "/slow" {
        let _ = teller.upload.send(()).await;
    }
    // Who breaks off gets no answer, whatever we say.
    let Ok(body) = body.collect().await else {
        return Response::new(full("broken off"));
    };
    let body = body.to_bytes();
    if path.starts_with("/upload/") {
        teller.log.upload(path, &body);
    }
    let host = head.headers.get(HOST).and_then(|host| host.to_str().ok());
    let host = host.unwrap_or_default();
    Response::new(full(answer(&teller.name, &head.method, host, path, &body)))
}
