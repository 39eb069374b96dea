//! Where visitors come in, one request at a time, and what they make of the answer.

use std::error::Error as _;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use h2::Reason;
use http::Method;
use ngrnotok_certs::tls::client_config;
use ngrnotok_tests::body::{empty, full};
use ngrnotok_tests::sockets::try_dial;
use ngrnotok_tests::soon;
use ngrnotok_tests::visitor::{Answer, Via, Visitor};
use ngrnotok_tests::world::DOMAIN;
use rustls::ClientConfig;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::app::{App, answer, upload};
use crate::place::Place;

/// No visitor waits longer for anything; long after the server has given up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(25);

/// Where visitors come in.
#[derive(Clone)]
pub(crate) struct Door {
    address: SocketAddr,
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
    /// Visitors who find nobody knock again for a while.
    knocks_again: bool,
    /// A connection that has been idle for so long is not used again.
    pub(crate) idle: Duration,
}

impl Door {
    pub(crate) fn of(place: &Place) -> Self {
        let config = |via: Via| client_config(place.trust(), &[via.alpn()]).expect("an authority");
        Self {
            address: place.address,
            http1: config(Via::Http1),
            http2: config(Via::Http2),
            knocks_again: false,
            idle: Duration::from_secs(1),
        }
    }

    /// For a place where for moments nobody listens: visitors try again to connect, and nothing else. They
    /// leave their idle connections sooner than a server that nobody takes over from.
    pub(crate) fn knocking_again(self) -> Self {
        Self {
            knocks_again: true,
            idle: Duration::from_millis(250),
            ..self
        }
    }

    /// The host of a name as visitors write it.
    fn authority(&self, name: &str) -> String {
        format!("{name}.{DOMAIN}:{}", self.address.port())
    }

    /// A new visitor of a name.
    pub(crate) async fn visit(&self, via: Via, name: &str) -> io::Result<Visitor> {
        let config = match via.is_http2() {
            true => Arc::clone(&self.http2),
            false => Arc::clone(&self.http1),
        };
        let host = format!("{name}.{DOMAIN}");
        let stream = loop {
            match try_dial(self.address, Some(Arc::clone(&config)), &host).await {
                Err(_) if self.knocks_again => sleep(Duration::from_millis(10)).await,
                dialed => break dialed?,
            }
        };
        let opened = Visitor::try_on(stream, via, self.authority(name)).await;
        opened.map_err(io::Error::other)
    }

    /// Waits until all these tunnels answer; tells how long that has taken.
    pub(crate) async fn all_answer(&self, apps: &[App]) -> Duration {
        let began = Instant::now();
        let mut returns = JoinSet::new();
        for app in apps {
            let (door, name) = (self.clone(), app.name.clone());
            returns.spawn(async move { door.answers(&name).await });
        }
        soon("all tunnels to answer", returns.join_all()).await;
        began.elapsed()
    }

    /// Waits until a tunnel answers, however long that takes.
    pub(crate) async fn answers(&self, name: &str) {
        loop {
            if let Ok(visitor) = self.visit(Via::Http2, name).await
                && let Outcome::Right = self.ask(&visitor, name, &Method::GET, "/").await
            {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Sends one request and judges the answer.
    pub(crate) async fn ask(
        &self,
        visitor: &Visitor,
        name: &str,
        method: &Method,
        path: &str,
    ) -> Outcome {
        let sent = match *method {
            Method::POST => upload(path),
            _ => String::new(),
        };
        let request = visitor.request(method.as_str(), path);
        let request = request.body(match sent.is_empty() {
            true => empty(),
            false => full(sent.clone()),
        });
        let asked = visitor.try_send(request.expect("a good request"));
        let got = match timeout(PATIENCE, asked).await {
            Ok(Ok(got)) => got,
            // Any program opens another connection then.
            Ok(Err(error)) if was_never_asked(&error) => return Outcome::NeverAsked,
            Ok(Err(error)) => return Outcome::Failed(format!("broke off: {error:?}")),
            Err(_) => return Outcome::Failed("no answer".into()),
        };
        judge(&got, &self.right(name, method, path, sent.as_bytes()))
    }

    /// The right answer to a request.
    pub(crate) fn right(&self, name: &str, method: &Method, path: &str, body: &[u8]) -> String {
        answer(name, method, &self.authority(name), path, body)
    }
}

/// What came of one request.
pub(crate) enum Outcome {
    Right,
    /// The connection was over before.
    NeverAsked,
    Failed(String),
    Wrong(String),
}

/// Whether a request has not left, or came after the goodbye of the server (RFC 9113 §6.8).
fn was_never_asked(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref());
    let goodbye = |error: &h2::Error| {
        error.is_go_away() && error.is_remote() && error.reason() == Some(Reason::NO_ERROR)
    };
    error.is_canceled() || error.is_closed() || cause.is_some_and(goodbye)
}

fn judge(got: &Answer, right: &str) -> Outcome {
    if got.status.is_success() {
        return match got.body == right {
            true => Outcome::Right,
            false => Outcome::Wrong(format!("{got:?} and not {right:?}")),
        };
    }
    match got.headers.get("ngrnotok-cause") {
        Some(cause) => {
            let cause = cause.to_str().unwrap_or_default();
            Outcome::Failed(format!("{} {cause}", got.status.as_u16()))
        }
        None => Outcome::Wrong(format!("{got:?}, which nobody of ours has said")),
    }
}
