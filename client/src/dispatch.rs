//! What to do with a stream: the one place that decides.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderValue, Request, Response};
use ngrnotok_common::link::body::{LinkBody, PumpError};
use ngrnotok_common::link::serving;
use ngrnotok_common::protocol::cause::Cause;
use ngrnotok_common::protocol::stream;
use tokio::time::Instant;
use tracing::debug;

use crate::client::Served;
use crate::local::Trouble;
use crate::requests::{Seen, Witness};

/// Takes one request to the local app of its tunnel and carries the answer back.
///
/// A server that resets the stream, because its visitor has left, drops the exchange with the local app
/// wherever it stands.
pub(crate) async fn dispatch(
    tunnels: Arc<[Served]>,
    witness: Witness,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) {
    let (at, began) = (SystemTime::now(), Instant::now());
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let Some(tunnel) = tunnel_of(&tunnels, &request) else {
        refuse(&mut respond, Cause::TunnelNotFound);
        return;
    };
    let answer = tokio::select! {
        answer = tunnel.local.exchange(request.map(LinkBody::new)) => answer,
        _ = poll_fn(|cx| respond.poll_reset(cx)) => return,
    };
    let note = |status, trouble| {
        witness.note(|| Seen {
            at,
            name: tunnel.name.clone(),
            method,
            uri,
            status,
            took: began.elapsed(),
            trouble,
        });
    };
    match answer {
        Ok(answer) => {
            note(answer.status(), None);
            let (head, mut body) = answer.into_parts();
            let answer = Response::from_parts(head, &mut body);
            match serving::answer(&mut respond, answer).await {
                Ok(()) => tunnel.local.done(body),
                Err(PumpError::Body(error)) => debug!(%error, "the local app broke off"),
                // The visitor has left.
                Err(PumpError::Stream(_)) => {}
            }
        }
        Err(Trouble { cause, detail }) => {
            refuse(&mut respond, cause);
            note(cause.status(), Some((cause, detail)));
        }
    }
}

fn tunnel_of<'a>(tunnels: &'a [Served], request: &Request<RecvStream>) -> Option<&'a Served> {
    let id = request.headers().get(stream::TUNNEL)?.to_str().ok()?;
    tunnels.get(id.parse::<usize>().ok()?)
}

/// Answers in the name of the client itself; the server makes a page of it.
fn refuse(respond: &mut SendResponse<Bytes>, cause: Cause) {
    let mut head = Response::new(());
    *head.status_mut() = cause.status();
    head.headers_mut()
        .insert(stream::CAUSE, HeaderValue::from_static(cause.code()));
    // An error here means that the visitor or the link is gone, and with it the need for an answer.
    let _ = respond.send_response(head, true);
}
