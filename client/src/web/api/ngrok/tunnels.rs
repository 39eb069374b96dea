//! `/api/tunnels`: the tunnels that there are, one more, one fewer.

use std::time::{Duration, SystemTime};

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use ngrnotok_common::hostname::Name;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::config;
use crate::inspect::{Recorder, State as Stand, Summary};
use crate::local::{InvalidHostHeader, Target};
use crate::opener::OpenError;
use crate::settings::TunnelSettings;
use crate::status::OnlineTunnel;
use crate::web::Shown;
use crate::web::api::ask::{Given, Named};
use crate::web::api::{Desk, aside};
use crate::web::problem::Problem;

/// All tunnels.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::web::api) struct Tunnels {
    tunnels: Vec<Tunnel>,
    uri: &'static str,
}

/// A tunnel.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NgrokTunnel)]
pub(in crate::web::api) struct Tunnel {
    name: String,
    #[serde(rename = "ID")]
    id: String,
    uri: String,
    public_url: String,
    proto: String,
    config: TunnelConfig,
    metrics: Metrics,
}

#[derive(Debug, Serialize, ToSchema)]
struct TunnelConfig {
    addr: String,
    inspect: bool,
}

#[derive(Debug, Serialize, ToSchema)]
struct Metrics {
    conns: Numbers,
    http: Numbers,
}

/// Rates are per second; percentiles are of durations in nanoseconds.
#[derive(Debug, Clone, Copy, Default, Serialize, ToSchema)]
struct Numbers {
    count: u64,
    gauge: u64,
    rate1: f64,
    rate5: f64,
    rate15: f64,
    p50: f64,
    p90: f64,
    p95: f64,
    p99: f64,
}

/// The tunnels that visitors can reach, as ngrok says it
#[utoipa::path(get, path = "/api/tunnels", tag = "ngrok", responses((status = 200, body = Tunnels)))]
pub(in crate::web::api) async fn list(State(desk): State<Desk>) -> Json<Tunnels> {
    let online = desk.shown.status.borrow().online.clone();
    let recorder = desk.shown.recorder;
    let tunnels = aside(move || {
        let each = online.iter().map(|tunnel| Tunnel::of(tunnel, &recorder));
        each.collect()
    });
    Json(Tunnels {
        tunnels: tunnels.await,
        uri: "/api/tunnels",
    })
}

/// One tunnel, as ngrok says it
#[utoipa::path(get, path = "/api/tunnels/{name}", tag = "ngrok",
    params(("name" = String, Path, description = "The tunnel's name")),
    responses(
        (status = 200, body = Tunnel),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::web::api) async fn one(
    State(desk): State<Desk>,
    Named(name): Named<String>,
) -> Result<Json<Tunnel>, Problem> {
    let online = desk.shown.status.borrow().online.clone();
    let found = online
        .into_iter()
        .find(|tunnel| tunnel.name.as_str() == name);
    let tunnel = found.ok_or_else(no_tunnel)?;
    let recorder = desk.shown.recorder;
    Ok(Json(aside(move || Tunnel::of(&tunnel, &recorder)).await))
}

/// A tunnel that is wished for. What is not known here is refused: it might have been a lock.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = NgrokWanted)]
#[serde(deny_unknown_fields)]
pub(in crate::web::api) struct Wanted {
    /// The local app: a port, HOST:PORT, http://… or https://…; with --web-allow-unix also unix:/PATH.
    addr: Address,
    /// Only `http` can be had.
    proto: Option<String>,
    /// The public name that is wanted, unless `domain`, `hostname` or `subdomain` say another; without any the
    /// name is derived from the local app, so that it stays.
    name: Option<String>,
    /// A host of your own.
    domain: Option<String>,
    /// The same.
    hostname: Option<String>,
    /// A label below the server's domain.
    subdomain: Option<String>,
    /// Host that the local app sees: `rewrite` for its own, or any other.
    host_header: Option<String>,
    /// Other clients of the same account may serve the name, too.
    #[serde(default)]
    pooling_enabled: bool,
    /// Whether to record it, which can be chosen for the client as a whole only.
    inspect: Option<bool>,
    /// Schemes that visitors may come with: whichever the server has must be one of them.
    schemes: Option<Vec<String>>,
}

/// A number is a port.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
enum Address {
    Port(u16),
    Text(String),
}

impl Wanted {
    fn words(&self, recorded: bool) -> Result<TunnelSettings, Problem> {
        if let Some(proto) = self.proto.as_deref().filter(|proto| *proto != "http") {
            return Err(Problem::bad(format!(
                "There are no tunnels of the kind {proto:?} here, only \"http\"."
            )));
        }
        if self.inspect.is_some_and(|wanted| wanted != recorded) {
            let word = if recorded { "off" } else { "on" };
            return Err(Problem::bad(format!(
                "Requests are recorded for all tunnels or for none: start the client with --inspect {word}."
            )));
        }
        let odd = |error: &dyn std::fmt::Display| Problem::bad(Problem::sentence(error));
        let target = match &self.addr {
            Address::Port(port) => Target::port(*port),
            Address::Text(text) => text.parse(),
        };
        let hosts = [&self.domain, &self.hostname, &self.subdomain, &self.name];
        let name = hosts.into_iter().flatten().next();
        let name = name.map(|name| Name::parse(name)).transpose();
        let host = self.host_header.as_deref().map(str::parse).transpose();
        Ok(TunnelSettings {
            target: Some(target.map_err(|error| odd(&error))?),
            name: name.map_err(|error| odd(&error))?,
            host_header: host.map_err(|error: InvalidHostHeader| odd(&error))?,
            pool: self.pooling_enabled,
            ..TunnelSettings::default()
        })
    }
}

/// Open a tunnel, as ngrok says it
///
/// It lasts until it is closed or the client ends.
#[utoipa::path(post, path = "/api/tunnels", tag = "ngrok", operation_id = "ngrok_open", request_body = Wanted, responses(
    (status = 201, body = Tunnel),
    (status = 400, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 409, body = Problem, content_type = "application/problem+json"),
    (status = 413, body = Problem, content_type = "application/problem+json"),
    (status = 504, body = Problem, content_type = "application/problem+json"),
))]
pub(in crate::web::api) async fn open(
    State(desk): State<Desk>,
    Given(wanted): Given<Wanted>,
) -> Result<(StatusCode, Json<Tunnel>), Problem> {
    let Shown {
        recorder, opener, ..
    } = desk.shown;
    let words = wanted.words(recorder.is_on())?;
    if matches!(words.target, Some(Target::Unix(_))) && !desk.allows_unix {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "unix_not_allowed",
            "Tunnels to Unix sockets are not opened from here",
            "Start the client with --web-allow-unix, or name the socket when you start it.",
        ));
    }
    // The name may be derived from files.
    let accounts = opener.accounts();
    let tunnel = aside(move || config::tunnel(&words, accounts.as_ref())).await;
    let tunnel = tunnel.map_err(|error| Problem::bad(Problem::sentence(&error)))?;
    let online = opener.open(tunnel).await.map_err(not_so)?;
    let scheme = scheme(&online);
    if let Some(schemes) = wanted.schemes
        && !schemes.iter().any(|wanted| wanted == scheme)
    {
        let _ = opener.close(&online.name).await;
        return Err(refused(format!("visitors come with {scheme}")));
    }
    let tunnel = aside(move || Tunnel::of(&online, &recorder)).await;
    Ok((StatusCode::CREATED, Json(tunnel)))
}

/// Close a tunnel, as ngrok says it
///
/// No new requests come from then on; open ones go on.
#[utoipa::path(delete, path = "/api/tunnels/{name}", tag = "ngrok", operation_id = "ngrok_close",
    params(("name" = String, Path, description = "The tunnel's name")),
    responses(
        (status = 204),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 403, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::web::api) async fn close(
    State(desk): State<Desk>,
    Named(name): Named<String>,
) -> Result<StatusCode, Problem> {
    let name = Name::parse(&name).map_err(|_| no_tunnel())?;
    desk.shown.opener.close(&name).await.map_err(not_so)?;
    Ok(StatusCode::NO_CONTENT)
}

fn scheme(tunnel: &OnlineTunnel) -> &str {
    tunnel.url.split(':').next().unwrap_or_default()
}

fn no_tunnel() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "no_tunnel",
        "There is no such tunnel",
        "GET /api/tunnels lists those that visitors can reach.",
    )
}

fn refused(why: impl std::fmt::Display) -> Problem {
    Problem::new(
        StatusCode::CONFLICT,
        "tunnel_refused",
        "The server does not open this tunnel",
        Problem::sentence(&why),
    )
}

fn not_so(error: OpenError) -> Problem {
    match error {
        OpenError::NoTunnel(_) => no_tunnel(),
        OpenError::Refused(why) => refused(why),
        OpenError::Closed(_) => Problem::new(
            StatusCode::CONFLICT,
            "tunnel_closed",
            "The tunnel was closed again before it was open",
            "Somebody else has closed it; open it again if it is still wanted.",
        ),
        OpenError::Local(error) => Problem::bad(Problem::sentence(&error)),
        OpenError::Exists(name) => Problem::new(
            StatusCode::CONFLICT,
            "tunnel_exists",
            "There is a tunnel with this name",
            format!("Close it first, with DELETE /api/tunnels/{name}, or choose another name."),
        ),
        OpenError::Unanswered => Problem::new(
            StatusCode::GATEWAY_TIMEOUT,
            "no_answer",
            "The server has not answered",
            "The tunnel is not open. GET /api/status tells how the client stands; try again later.",
        ),
        OpenError::Ended => Problem::new(
            StatusCode::CONFLICT,
            "ended",
            "The client has ended",
            "Start it again: ngrnotok http -p 3000.",
        ),
    }
}

impl Tunnel {
    fn of(tunnel: &OnlineTunnel, recorder: &Recorder) -> Self {
        let numbers = Numbers::of(&tunnel.name, recorder);
        Self {
            name: tunnel.name.to_string(),
            id: tunnel.name.to_string(),
            uri: format!("/api/tunnels/{}", tunnel.name),
            public_url: tunnel.url.clone(),
            proto: scheme(tunnel).to_owned(),
            config: TunnelConfig {
                addr: tunnel.target.clone(),
                inspect: recorder.is_on(),
            },
            metrics: Metrics {
                conns: numbers,
                http: numbers,
            },
        }
    }
}

impl Numbers {
    /// Of what is recorded. Each request counts as a connection: the client sees no other ones of visitors.
    fn of(tunnel: &Name, recorder: &Recorder) -> Self {
        let all = recorder.summaries(None, usize::MAX);
        let ours: Vec<&Summary> = all.iter().filter(|one| one.tunnel == *tunnel).collect();
        let now = SystemTime::now();
        let rate = |minutes: u64| {
            let window = Duration::from_secs(minutes * 60);
            let recent = |one: &&&Summary| now.duration_since(one.at).unwrap_or_default() <= window;
            ours.iter().filter(recent).count() as f64 / window.as_secs_f64()
        };
        let ended = ours.iter().filter_map(|one| one.timing.ended);
        let mut took: Vec<u64> = ended.map(|took| took.as_nanos() as u64).collect();
        took.sort_unstable();
        let percentile = |percent: usize| match took.len() {
            0 => 0.0,
            count => took[(count * percent / 100).min(count - 1)] as f64,
        };
        Self {
            count: ours.len() as u64,
            gauge: ours.iter().filter(|one| one.state == Stand::Open).count() as u64,
            rate1: rate(1),
            rate5: rate(5),
            rate15: rate(15),
            p50: percentile(50),
            p90: percentile(90),
            p95: percentile(95),
            p99: percentile(99),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> TunnelSettings {
        let wanted: Wanted = serde_json::from_str(text).unwrap();
        wanted
            .words(true)
            .unwrap_or_else(|problem| panic!("{problem:?}"))
    }

    #[test]
    fn the_words_of_ngrok_are_those_of_the_command_line() {
        let words_of_all = words(
            r#"{"addr": 80, "name": "web", "host_header": "rewrite", "pooling_enabled": true,
                "inspect": true, "proto": "http", "schemes": ["https"]}"#,
        );
        assert_eq!(words_of_all.target, Target::port(80).ok());
        assert_eq!(words_of_all.name, Name::parse("web").ok());
        assert_eq!(words_of_all.host_header, "rewrite".parse().ok());
        assert!(words_of_all.pool);
        for host in ["domain", "hostname", "subdomain"] {
            let text = format!(r#"{{"addr": "8000", "name": "web", "{host}": "app.example.com"}}"#);
            let words = words(&text);
            assert_eq!(words.name, Name::parse("app.example.com").ok(), "{host}");
            assert!(!words.pool);
        }
        assert_eq!(words(r#"{"addr": "localhost:1"}"#).name, None);
    }
}
