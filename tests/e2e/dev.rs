//! `--dev`: pages of dev servers find their way back through the tunnel.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::BodyExt;
use ngrnotok::local::Target;
use ngrnotok_tests::body::{Pieces, empty, pieces};
use ngrnotok_tests::origin::Origin;
use ngrnotok_tests::run;
use ngrnotok_tests::visitor::{Answer, Via};
use ngrnotok_tests::world::{RunningClient, World};
use tokio_util::task::TaskTracker;

const MIDDLE: &str = "{var __resourceQuery = \\\"?protocol=ws%3A&hostname=0.0.0.0&port=";

/// The script of a webpack-dev-server on this port, and the one that its visitors want.
fn scripts(port: u16) -> (String, String) {
    let own = port.to_string();
    let page = format!("0{}", "&".repeat(own.len() - 1));
    let script = |port: &str| {
        let one = format!("{MIDDLE}{port}&pathname=%2Fws\\\";}} a ? \"b?\" : \"?");
        format!("{one}\n{one}")
    };
    (script(&own), script(&page))
}

async fn say_oddly(mut pieces: Pieces, text: String) {
    let mut left = Bytes::from(text);
    for size in (1..=13).cycle() {
        let piece = left.split_to(size.min(left.len()));
        if piece.is_empty() || pieces.send_data(piece).await.is_err() {
            break;
        }
    }
    let mut end = HeaderMap::new();
    end.insert("x-end", HeaderValue::from_static("reached"));
    let _ = pieces.send_trailers(end).await;
}

/// Says its script in odd pieces, with the length if the query asks for it, and which codings it was
/// offered. What it calls its script is the path: `/text/javascript/main.js`.
async fn dev_server() -> Origin {
    let tasks = TaskTracker::new();
    Origin::http(move |request| {
        let tasks = tasks.clone();
        async move {
            let field = |name| request.headers().get(name).cloned();
            let host = field("host").expect("a host");
            let said = field("x-port").unwrap_or(host);
            let said = said.to_str().expect("plain text");
            let port = said.rsplit(':').next().and_then(|port| port.parse().ok());
            let (script, _) = scripts(port.expect("a port"));
            let (sender, body) = pieces();
            let kind = request.uri().path().trim_matches('/');
            let kind = kind.rsplit_once('/').map_or(kind, |(kind, _)| kind);
            let mut answer = Response::builder().header("content-type", kind);
            if request.uri().query() == Some("length") {
                answer = answer.header("content-length", script.len());
            } else {
                answer = answer.header("trailer", "x-end");
            }
            if let Some(offered) = field("accept-encoding") {
                answer = answer.header("x-offered", offered);
            }
            tasks.spawn(say_oddly(sender, script));
            answer.body(body).expect("a good answer")
        }
    })
    .await
}

async fn under_dev(world: &World, app: &Origin) -> RunningClient {
    let mut config = world.client("app", app.target());
    config.tunnels[0].options.dev = true;
    RunningClient::start(config).await.expect("it comes online")
}

fn port_of(app: &Origin) -> u16 {
    match app.target() {
        Target::Http { port, .. } => port,
        other => panic!("{other} has no port"),
    }
}

#[test]
fn scripts_of_webpack_look_for_edits_where_the_page_came_from() {
    run(async {
        let (app, world) = (dev_server().await, World::plan().start().await);
        let _client = under_dev(&world, &app).await;
        let (own, page) = scripts(port_of(&app));
        assert_ne!(own, page);
        for via in Via::ALL {
            let visitor = world.visit(via).await;
            let whole = visitor.get("/text/javascript/main.js?length").await;
            assert_eq!(whole.text(), page, "{via:?}");
            assert_eq!(whole.field("content-length"), own.len().to_string());
            let request = visitor
                .request("GET", "/text/javascript/main.js")
                .header("te", "trailers")
                .header("accept-encoding", "gzip, br");
            let answer = visitor.open(sent(request)).await.unwrap();
            assert_eq!(answer.headers()["x-offered"], "identity");
            let body = answer.into_body().collect().await.unwrap();
            assert_eq!(body.trailers().unwrap()["x-end"], "reached", "{via:?}");
            assert_eq!(body.to_bytes(), page, "{via:?}");
        }
    });
}

#[test]
fn what_is_no_script_of_the_app_stays_under_dev() {
    run(async {
        let (app, world) = (dev_server().await, World::plan().start().await);
        let _client = under_dev(&world, &app).await;
        let (own, _) = scripts(port_of(&app));
        let visitor = world.visit(Via::Http2).await;
        for path in ["/text/html/main.js", "/application/json/x", "/text/plain/"] {
            assert_eq!(visitor.get(path).await.text(), own, "{path}");
        }
        let request = |path| visitor.request("GET", path).header("accept-encoding", "br");
        let page: Answer = visitor.send(sent(request("/text/html/"))).await;
        assert_eq!(page.field("x-offered"), "br");

        let other = port_of(&app) ^ 1;
        let request = request("/text/javascript/main.js").header("x-port", other);
        let answer = visitor.send(sent(request)).await;
        assert_eq!(answer.text(), scripts(other).0);
    });
}

#[test]
fn a_script_leaves_its_connection_to_the_next_request() {
    run(async {
        let connections = Arc::new(AtomicUsize::new(0));
        let app = Origin::raw(move |mut wire| {
            let number = connections.fetch_add(1, Ordering::Relaxed);
            async move {
                while wire.next_head().await.is_some() {
                    let script = format!("{number} \"?protocol=");
                    let length = script.len();
                    wire.say(format!(
                        "HTTP/1.1 200 OK\r\nContent-Type: text/javascript\r\n\
                         Content-Length: {length}\r\n\r\n{script}"
                    ))
                    .await;
                }
            }
        })
        .await;
        let world = World::plan().start().await;
        let _client = under_dev(&world, &app).await;
        let visitor = world.visit(Via::Http1).await;
        for _ in 0..3 {
            assert_eq!(visitor.get("/").await.text(), "0 \"?protocol=");
        }
    });
}

#[test]
fn without_dev_scripts_pass_as_they_are() {
    run(async {
        let app = dev_server().await;
        let world = World::of(&app).await;
        let visitor = world.visit(Via::Http2).await;
        let port = port_of(&app);
        let request = visitor.request("GET", "/text/javascript/main.js");
        let request = request
            .header("accept-encoding", "gzip")
            .header("x-port", port);
        let answer = visitor.send(sent(request)).await;
        assert_eq!(answer.text(), scripts(port).0);
        assert_eq!(answer.field("x-offered"), "gzip");
    });
}

fn sent(request: http::request::Builder) -> Request<ngrnotok_tests::body::Body> {
    request.body(empty()).expect("a good request")
}
