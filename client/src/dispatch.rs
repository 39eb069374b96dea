//! What to do with a stream: the one place that decides.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use h2::RecvStream;
use h2::ext::Protocol;
use h2::server::SendResponse;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use ngrnotok_common::link::body::{LinkBody, PumpError};
use ngrnotok_common::link::serving;
use ngrnotok_common::protocol::cause::Cause;
use ngrnotok_common::protocol::stream;
use ngrnotok_common::splice::{SocketEnd, StreamEnd, splice};
use tokio::time::Instant;
use tracing::debug;

use crate::client::Served;
use crate::local::{Local, LocalBody, Switch, Switched, Trouble};
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
    let Some(tunnel) = tunnel_of(&tunnels, &request) else {
        refuse(&mut respond, Cause::TunnelNotFound);
        return;
    };
    let sight = Sight::of(&request);
    let answer = tokio::select! {
        answer = ask(&tunnel.local, request) => answer,
        _ = poll_fn(|cx| respond.poll_reset(cx)) => return,
    };
    match answer {
        Ok(Answer::Ordinary(answer)) => {
            witness.note(|| sight.with(tunnel, answer.status(), None));
            let (head, mut body) = answer.into_parts();
            let answer = Response::from_parts(head, &mut body);
            match serving::answer(&mut respond, answer).await {
                Ok(()) => tunnel.local.done(body),
                Err(PumpError::Body(error)) => debug!(%error, "the local app broke off"),
                // The visitor has left.
                Err(PumpError::Stream(_)) => {}
            }
        }
        Ok(Answer::Switched(head, local, receive)) => {
            witness.note(|| sight.with(tunnel, StatusCode::SWITCHING_PROTOCOLS, None));
            let Ok(send) = respond.send_response(head, false) else {
                return;
            };
            if let Err(error) = splice(SocketEnd(local), StreamEnd::new(send, receive)).await {
                debug!(%error, "an upgraded stream broke");
            }
        }
        Err(trouble) => {
            refuse(&mut respond, trouble.cause);
            witness.note(|| sight.with(tunnel, trouble.cause.status(), Some(trouble)));
        }
    }
}

/// What a local app answered.
enum Answer {
    Ordinary(Response<LocalBody>),
    Switched(Response<()>, Switched, RecvStream),
}

/// Decides what a stream is: extended CONNECT (RFC 8441) asks for an upgrade, all else is a request.
async fn ask(local: &Local, request: Request<RecvStream>) -> Result<Answer, Trouble> {
    let Some(protocol) = request.extensions().get::<Protocol>().cloned() else {
        let answer = local.exchange(request.map(LinkBody::new)).await?;
        return Ok(Answer::Ordinary(answer));
    };
    let (head, receive) = request.into_parts();
    let request = Request::from_parts(head, ());
    Ok(match local.switch(request, protocol.as_str()).await? {
        Switch::Agreed(head, socket) => Answer::Switched(head, socket, receive),
        Switch::Refused(answer) => Answer::Ordinary(answer),
    })
}

/// What is remembered of a request to be shown.
struct Sight {
    at: SystemTime,
    began: Instant,
    method: Method,
    uri: Uri,
}

impl Sight {
    fn of<B>(request: &Request<B>) -> Self {
        Self {
            at: SystemTime::now(),
            began: Instant::now(),
            // An upgrade came as another method than it travels as.
            method: match request.method() {
                &Method::CONNECT => Method::GET,
                method => method.clone(),
            },
            uri: request.uri().clone(),
        }
    }

    fn with(self, tunnel: &Served, status: StatusCode, trouble: Option<Trouble>) -> Seen {
        Seen {
            at: self.at,
            name: tunnel.name.clone(),
            method: self.method,
            uri: self.uri,
            status,
            took: self.began.elapsed(),
            trouble: trouble.map(|trouble| (trouble.cause, trouble.detail)),
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
