//! What to do with a stream: the one place that decides.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderValue, Request, Response};
use http_body::Body;
use ngrnotok_common::link::body::{LinkBody, PumpError, pump};
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
            let ended = body.is_end_stream();
            let Ok(stream) = respond.send_response(Response::from_parts(head, ()), ended) else {
                return;
            };
            if !ended {
                // A local app that breaks off must look like one: the visitor gets an abort, never a
                // shorter body.
                match pump(&mut body, stream, Reason::INTERNAL_ERROR).await {
                    Ok(()) => {}
                    Err(PumpError::Body(error)) => debug!(%error, "the local app broke off"),
                    Err(PumpError::Stream(_)) => return,
                }
            }
            tunnel.local.done(body);
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
