//! What is the matter with a local app is told to its developer, once, with what mends it.

use std::net::{Ipv4Addr, Ipv6Addr};

use http::header::LOCATION;
use http::{Response, StatusCode};
use ngrnotok::local::explain::Kind;
use ngrnotok::requests::{Happening, Hint};
use ngrnotok_tests::body::full;
use ngrnotok_tests::origin::Origin;
use ngrnotok_tests::visitor::Via;
use ngrnotok_tests::world::{RunningClient, World};
use ngrnotok_tests::{run, soon};
use tokio::net::{TcpListener, TcpSocket};

/// The first hint that visits of a tunnel to `target` bring.
async fn hinted(target: &str) -> Hint {
    let world = World::plan().start().await;
    let config = world.client("app", target.parse().expect("a good target"));
    let client = RunningClient::start(config).await;
    let mut client = client.expect("it comes online");
    world.visit(Via::Http2).await.get("/").await;
    soon("a hint", hint(&mut client)).await
}

async fn hint(client: &mut RunningClient) -> Hint {
    loop {
        let next = client.requests.next().await;
        if let Happening::Hint(hint) = next.expect("the client lives") {
            return hint;
        }
    }
}

#[test]
fn an_app_on_the_other_loopback_family() {
    run(async {
        let Ok(app) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await else {
            return;
        };
        let port = app.local_addr().unwrap().port();
        // Nobody else gets the port meanwhile.
        let held = TcpSocket::new_v4().unwrap();
        if held.bind((Ipv4Addr::LOCALHOST, port).into()).is_err() {
            return;
        }
        let Hint { name, explanation } = hinted(&format!("127.0.0.1:{port}")).await;
        assert_eq!(explanation.kind, Kind::OtherFamily);
        assert_eq!(name.as_str(), "app");
        let fix = format!("the target http://localhost:{port}");
        assert!(explanation.fix.contains(&fix), "{explanation}");
    });
}

#[cfg(target_os = "linux")]
#[test]
fn an_app_on_another_address() {
    run(async {
        let app = TcpListener::bind("127.0.0.2:0").await.unwrap();
        let address = app.local_addr().unwrap();
        let explanation = hinted(&address.port().to_string()).await.explanation;
        assert_eq!(explanation.kind, Kind::OtherAddress);
        assert!(explanation.fix.contains(&format!("http://{address}")));
    });
}

#[test]
fn an_app_that_speaks_tls() {
    run(async {
        let app = Origin::tls("behind TLS").await;
        let plain = app.target().to_string().replace("https://", "http://");
        let explanation = hinted(&plain).await.explanation;
        assert_eq!(explanation.kind, Kind::SpeaksTls);
        let target = format!("the target {}", app.target());
        assert!(explanation.fix.contains(&target), "{explanation}");
        assert!(explanation.fix.contains("--insecure-local"));
    });
}

#[test]
fn an_app_that_speaks_plain_http() {
    run(async {
        let app = Origin::saying("in clear").await;
        let https = app.target().to_string().replace("http://", "https://");
        let explanation = hinted(&https).await.explanation;
        assert_eq!(explanation.kind, Kind::SpeaksPlainHttp);
        let target = format!("the target {}", app.target());
        assert!(explanation.fix.contains(&target), "{explanation}");
    });
}

#[test]
fn an_app_with_a_certificate_of_its_own() {
    run(async {
        let app = Origin::tls("behind TLS").await;
        let explanation = hinted(&app.target().to_string()).await.explanation;
        assert_eq!(explanation.kind, Kind::UntrustedCertificate);
        assert!(explanation.fix.contains("--insecure-local"));
    });
}

#[test]
fn an_app_that_sends_visitors_to_their_own_machine() {
    run(async {
        // It goes where the query says.
        let app = Origin::http(async |request| {
            let to = request.uri().query().unwrap_or("/").to_owned();
            let mut answer = Response::new(full("there"));
            *answer.status_mut() = StatusCode::FOUND;
            answer.headers_mut().insert(LOCATION, to.parse().unwrap());
            answer
        })
        .await;
        let mut world = World::of(&app).await;
        let visitor = world.visit(Via::Http2).await;
        let port = app
            .target()
            .to_string()
            .rsplit(':')
            .next()
            .unwrap()
            .to_owned();
        for path in ["/", "/?/login"] {
            visitor.get(path).await;
        }
        let own = format!("/?http://localhost:{port}/login");
        visitor.get(&own).await;
        visitor.get(&own).await;
        let client = &mut world.clients[0];
        let told = soon("a hint", hint(client)).await.explanation;
        assert_eq!(told.kind, Kind::RedirectToLocalhost);
        assert!(told.fix.contains("--dev"), "{told}");
        // The second redirect is no news.
        client.stop();
        client.end().await.unwrap();
        while let Some(next) = client.requests.next().await {
            assert!(!matches!(next, Happening::Hint(_)));
        }
    });
}
