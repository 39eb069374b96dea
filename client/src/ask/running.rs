//! A running client, and questions to it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use ngrnotok_common::splitter::Splitter;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::AskError;
use crate::web::KEY;
use crate::web::note::{self, Noted};

/// How long a client may take to say that it is there: it is on this machine.
const PRESENCE: Duration = Duration::from_secs(3);

/// A client that runs.
#[derive(Debug)]
pub(super) struct Running {
    address: SocketAddr,
    /// Unknown where only an address is known: then nothing but the password of an open one would help.
    key: Option<String>,
    connections: TaskTracker,
}

impl Running {
    /// The client at this address, or else the only one that has left a note in this folder.
    pub(super) async fn find(
        folder: Option<&Path>,
        address: Option<SocketAddr>,
    ) -> Result<Self, AskError> {
        let noted = folder.map(note::all).unwrap_or_default();
        if let Some(address) = address {
            let mut noted = noted.into_iter();
            let note = noted.find(|noted| reachable(noted.address) == reachable(address));
            return Ok(Self {
                address: reachable(address),
                key: note.map(|noted| noted.key),
                connections: TaskTracker::new(),
            });
        }
        let mut running = Vec::new();
        for noted in noted {
            let client = Self {
                address: reachable(noted.address),
                key: Some(noted.key.clone()),
                connections: TaskTracker::new(),
            };
            // Those that were killed have left theirs behind.
            if client.is(&noted).await {
                running.push(client);
            }
        }
        match running.len() {
            0 => Err(AskError::NoClient),
            1 => Ok(running.remove(0)),
            _ => {
                let addresses = running.iter().map(|client| client.address);
                Err(AskError::Several(addresses.collect()))
            }
        }
    }

    /// Its page, for a browser.
    pub(super) fn page(&self) -> String {
        format!("http://{}/", self.address)
    }

    async fn is(&self, noted: &Noted) -> bool {
        let status = timeout(PRESENCE, self.get("/api/status")).await;
        matches!(status, Ok(Ok(status)) if status["pid"] == noted.pid)
    }

    /// What is at a path, as JSON.
    pub(super) async fn get(&self, path: &str) -> Result<Value, AskError> {
        let body = self.bytes(Method::GET, path, None).await?;
        serde_json::from_slice(&body).map_err(|_| AskError::Odd(self.address))
    }

    /// What comes of it.
    pub(super) async fn post(&self, path: &str, json: &Value) -> Result<Value, AskError> {
        let body = self.bytes(Method::POST, path, Some(json)).await?;
        serde_json::from_slice(&body).map_err(|_| AskError::Odd(self.address))
    }

    pub(super) async fn bytes(
        &self,
        method: Method,
        path: &str,
        json: Option<&Value>,
    ) -> Result<Bytes, AskError> {
        let answer = self.ask(method, path, json).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await;
        let body = body.map_err(|_| AskError::Gone(self.address))?.to_bytes();
        if status.is_success() {
            return Ok(body);
        }
        let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
        Err(
            match (problem["title"].as_str(), problem["detail"].as_str()) {
                (Some(title), Some(detail)) => AskError::Problem(format!("{title}. {detail}")),
                _ => AskError::Odd(self.address),
            },
        )
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        json: Option<&Value>,
    ) -> Result<Response<Incoming>, AskError> {
        let failed = |source| AskError::NotThere {
            address: self.address,
            source,
        };
        let stream = TcpStream::connect(self.address).await.map_err(failed)?;
        let odd = |_| AskError::Odd(self.address);
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(odd)?;
        self.connections.spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.address.to_string());
        if let Some(key) = &self.key {
            request = request.header(KEY, key);
        }
        let body = match json {
            Some(json) => {
                request = request.header(CONTENT_TYPE, "application/json");
                Full::from(json.to_string())
            }
            None => Full::default(),
        };
        let request: Request<Full<Bytes>> = request.body(body).map_err(|_| {
            AskError::Problem(format!(
                "{path:?} cannot be asked for; check what was typed"
            ))
        })?;
        sender.send_request(request).await.map_err(odd)
    }

    /// What happens: at first all exchanges that are kept, and then what is new.
    pub(super) async fn follow(&self) -> Result<Following, AskError> {
        let answer = self.ask(Method::GET, "/api/events", None).await?;
        if !answer.status().is_success() {
            return Err(AskError::Odd(self.address));
        }
        Ok(Following {
            address: self.address,
            body: answer.into_body(),
            events: Splitter::new(b"\n\n"),
        })
    }
}

/// Where something that listens everywhere can be reached.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    address
}

/// Events of a client.
#[derive(Debug)]
pub(super) struct Following {
    address: SocketAddr,
    body: Incoming,
    events: Splitter,
}

impl Following {
    /// The next exchanges that are new or have changed, oldest first.
    pub(super) async fn next(&mut self) -> Result<Vec<Value>, AskError> {
        loop {
            while let Some(event) = self.events.next_part() {
                if let Some(lines) = exchanges(&event) {
                    return Ok(lines);
                }
            }
            let frame = self.body.frame().await;
            let Some(Ok(frame)) = frame else {
                return Err(AskError::Gone(self.address));
            };
            if let Ok(data) = frame.into_data() {
                self.events.push(&data);
            }
        }
    }
}

/// The lines of an event `exchanges`.
fn exchanges(event: &[u8]) -> Option<Vec<Value>> {
    let text = std::str::from_utf8(event).ok()?;
    let of_kind = text.lines().any(|line| line == "event: exchanges");
    let data = text.lines().find_map(|line| line.strip_prefix("data: "))?;
    let mut data: Value = serde_json::from_str(data).ok()?;
    match data["changed"].take() {
        Value::Array(lines) if of_kind => Some(lines),
        _ => None,
    }
}
