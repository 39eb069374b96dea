//! A visitor, as the edge would send him.

use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request};
use http_body_util::Empty;
use ngrnotok_common::id::SessionId;
use ngrnotok_common::prefix::Prefix;
use ngrnotok_common::protocol::stream::{CAUSE, TUNNEL};
use ngrnotok_server::registry::Route;
use ngrnotok_server::session::Unanswered;
use ngrnotok_tests::world::DOMAIN;
use tokio::time::timeout;

/// What became of a visitor.
#[derive(Debug)]
pub(crate) struct Visit {
    pub(crate) name: String,
    pub(crate) path: String,
    /// Whether he must have an answer: he came when all was well.
    pub(crate) is_sure: bool,
    /// To which session he was sent.
    pub(crate) session: SessionId,
    /// Whether somebody has answered, or why nobody has.
    pub(crate) answer: Result<(), String>,
}

/// Nobody waits longer than 10 s to hear that there is no answer.
const PATIENCE: Duration = Duration::from_secs(12);

/// Asks for a path.
pub(crate) async fn visit(route: Route, name: String, path: String, is_sure: bool) -> Visit {
    let mut head = Request::new(());
    let uri = format!("https://{name}.{DOMAIN}{path}");
    *head.uri_mut() = uri.parse().expect("a good address");
    head.headers_mut()
        .insert(TUNNEL, HeaderValue::from(route.tunnel.0));
    let mut interim = |_| {};
    let sent = async {
        let body = Empty::<Bytes>::new();
        let from = Prefix::of(Ipv4Addr::LOCALHOST.into());
        let sent = route.session.send(from, &mut head, body, &mut interim);
        match sent.await {
            Err(Unanswered::Lost(lost)) => route.session.send_again(*lost, &mut interim).await,
            Err(Unanswered::For(cause)) => Err(cause),
            Ok(answer) => Ok(answer),
        }
    };
    let answer = match timeout(PATIENCE, sent).await {
        Ok(Ok(answer)) => match answer.headers().get(CAUSE) {
            None => Ok(()),
            Some(cause) => Err(format!("{cause:?}")),
        },
        Ok(Err(cause)) => Err(format!("{cause:?}")),
        Err(_) => Err("nothing".to_owned()),
    };
    Visit {
        name,
        path,
        is_sure,
        session: route.session.id(),
        answer,
    }
}
