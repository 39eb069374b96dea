//! What to do with a stream: the one place that decides.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use h2::RecvStream;
use h2::ext::Protocol;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body::Body as _;
use ngrnotok_common::id::{TunnelId, VisitorId};
use ngrnotok_common::link::body::{Ahead, LinkBody, PumpError};
use ngrnotok_common::link::serving::Reply;
use ngrnotok_common::protocol::cause::Cause;
use ngrnotok_common::protocol::stream;
use ngrnotok_common::splice::{Remainder, SocketEnd, StreamEnd, splice};
use tokio::time::Instant;
use tracing::debug;

use crate::client::Shared;
use crate::inspect::{Arrival, Direction, Heard, Origin, Recorder, Recording, Tap};
use crate::local::explain::refusal::{self, Looked, Refusal};
use crate::local::{
    Caller, Explanation, Lead, Local, LocalBody, RequestBody, Switch, Switched, Trouble, upgrade,
};
use crate::requests::{Hint, Seen, Witness};
use crate::tunnels::Served;

/// Takes one request to the local app of its tunnel and carries the answer back.
///
/// A server that resets the stream, because its visitor has left, drops the exchange with the local app
/// wherever it stands.
///
/// Not an `async fn`: that would hold what it is given twice, and every request has one of these.
pub(crate) fn dispatch(
    client: &Arc<Shared>,
    mut request: Request<RecvStream>,
    reply: Reply,
    round_trip: Option<Duration>,
) -> impl Future<Output = ()> + use<> {
    let client = Arc::clone(client);
    let tunnel = tunnel_of(&mut request).and_then(|id| client.tunnels.get(id));
    if *request.method() == Method::CONNECT {
        restore_length(request.headers_mut());
    }
    let visitor = visitor_of(&mut request);
    let sight = Sight::of(&request);
    let open = client.connections.begin(sight.began);
    let recording = match &tunnel {
        Some(tunnel) => record(&client.recorder, tunnel, &mut request, &sight, round_trip),
        None => Recording::off(),
    };
    let (mut asked, ahead) = Asked::new(request, &reply, recording.tap(Direction::FromVisitor));
    async move {
        let _open = open;
        let witness = &client.witness;
        let Some(tunnel) = tunnel else {
            refuse(&reply, Cause::TunnelNotFound);
            return;
        };
        let caller = Caller {
            visitor,
            interim: None,
            tell: &|explanation| tell(witness, &tunnel, explanation),
        };
        let answer = tokio::select! {
            biased;
            // First, for a visitor who breaks off an upload breaks the exchange with the app as well, and
            // the app is not to blame.
            () = reply.peer_left() => return,
            answer = ask(&tunnel.local, &mut asked, caller, &reply) => answer,
            never = ahead.clone().drive() => match never {},
        };
        let refused = |refusal: Refusal| {
            if tunnel.local.may_be_told(refusal.kind())
                && let Some(explanation) = refusal.explain(tunnel.local.target())
            {
                tell(witness, &tunnel, explanation);
            }
        };
        match answer {
            Ok(Answer::Ordinary(answer)) => {
                let suspected = refusal::suspected(answer.status(), sight.uri.path());
                let may_be_told = |one: &Refusal| tunnel.local.may_be_told(one.kind());
                let suspected = match suspected.iter().any(may_be_told) {
                    true => suspected,
                    false => &[],
                };
                recording.answered(&answer, answer.body().is_end_stream());
                if let Some(explanation) = tunnel.local.explain_redirect(answer.headers()) {
                    tell(witness, &tunnel, explanation);
                }
                witness.note(|| sight.with(&tunnel, answer.status(), None));
                let (head, mut body) = answer.into_parts();
                let tap = recording.tap(Direction::FromApp);
                let mut looked = Looked::new(&mut body, suspected, &refused, tap);
                let answer = Response::from_parts(head, &mut looked);
                let sent = tokio::select! {
                    sent = reply.send(answer) => sent,
                    // The rest of an upload.
                    never = ahead.drive() => match never {},
                };
                match sent {
                    Ok(()) => {
                        recording.done();
                        tunnel.local.done(body);
                    }
                    Err(PumpError::Body(error)) => {
                        debug!(%error, "the local app broke off");
                        recording.broken(&error);
                    }
                    // The visitor has left.
                    Err(PumpError::Stream(_)) => {}
                }
            }
            Ok(Answer::Switched(head, local, remainder)) => {
                recording.switched(&head);
                witness.note(|| sight.with(&tunnel, StatusCode::SWITCHING_PROTOCOLS, None));
                let Ok(send) = reply.begin(head, false) else {
                    return;
                };
                let app = Heard::new(SocketEnd(local), recording.tap(Direction::FromApp));
                let visitor = StreamEnd::new(send, remainder);
                let visitor = Heard::new(visitor, recording.tap(Direction::FromVisitor));
                let joined = tokio::select! {
                    joined = splice(app, visitor) => joined,
                    never = ahead.drive() => match never {},
                };
                match joined {
                    Ok(()) => recording.done(),
                    Err(error) => {
                        debug!(%error, "an upgraded stream broke");
                        recording.broken(&error);
                    }
                }
            }
            Err(trouble) => {
                refuse(&reply, trouble.cause);
                recording.trouble(trouble.cause, &trouble.detail);
                let refusal = refusal::behind(trouble.cause, sight.uri.path());
                let lead = trouble.lead;
                witness.note(|| sight.with(&tunnel, trouble.cause.status(), Some(trouble)));
                match (refusal, lead) {
                    (Some(refusal), _) => refused(refusal),
                    (None, Some(lead)) => look_into(lead, &client, &tunnel),
                    (None, None) => {}
                }
            }
        }
    }
}

/// What a stream is. Decided once.
#[expect(
    clippy::large_enum_variant,
    reason = "the large one is the usual one, and a box would cost every request an allocation"
)]
enum Asked {
    Request(Request<RequestBody>),
    /// Taken when it is asked.
    Upgrade(Option<Box<Upgrade>>),
}

/// Extended CONNECT (RFC 8441).
struct Upgrade {
    request: Request<LinkBody>,
    protocol: Protocol,
    /// Records the body, if there is one.
    tap: Option<Tap>,
}

impl Asked {
    fn new(request: Request<RecvStream>, reply: &Reply, tap: Option<Tap>) -> (Self, Ahead) {
        let (head, receive) = request.into_parts();
        let body = reply.body(receive);
        let ahead = body.ahead();
        if let Some(protocol) = head.extensions.get::<Protocol>().cloned() {
            let upgrade = Box::new(Upgrade {
                request: Request::from_parts(head, body),
                protocol,
                tap,
            });
            return (Self::Upgrade(Some(upgrade)), ahead);
        }
        let body = RequestBody::new(body, tap);
        (Self::Request(Request::from_parts(head, body)), ahead)
    }
}

/// What a local app answered.
enum Answer {
    Ordinary(Response<LocalBody>),
    Switched(Response<()>, Switched, Remainder),
}

async fn ask(
    local: &Local,
    asked: &mut Asked,
    mut caller: Caller<'_>,
    reply: &Reply,
) -> Result<Answer, Trouble> {
    match asked {
        Asked::Request(request) => {
            let wanted = request.headers_mut().remove(stream::INTERIM);
            caller.interim = wanted.map(|_| reply.clone());
            let answer = local.exchange(request, &caller).await;
            answer.map(Answer::Ordinary)
        }
        Asked::Upgrade(upgrade) => {
            let upgrade = upgrade.take().expect("it is asked once");
            Box::pin(switch(local, *upgrade, &caller)).await
        }
    }
}

async fn switch(local: &Local, upgrade: Upgrade, caller: &Caller<'_>) -> Result<Answer, Trouble> {
    let Upgrade {
        request,
        protocol,
        tap,
    } = upgrade;
    let switched = local
        .switch(request, protocol.as_str(), tap, caller)
        .await?;
    Ok(match switched {
        Switch::Agreed(head, socket, remainder) => Answer::Switched(head, socket, remainder),
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
            method: match request.method() {
                &Method::CONNECT => upgrade::method(request.headers()),
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

/// Begins to write down what came for a tunnel, if somebody wants to look.
fn record(
    recorder: &Recorder,
    tunnel: &Served,
    request: &mut Request<RecvStream>,
    sight: &Sight,
    round_trip: Option<Duration>,
) -> Recording {
    if !recorder.is_on() {
        return Recording::off();
    }
    let held = request.headers_mut().remove(stream::HELD);
    let held = held.and_then(|micros| micros.to_str().ok()?.parse().ok());
    let (fields, protocol) = (request.headers(), request.extensions().get::<Protocol>());
    recorder.begin(&Arrival {
        tunnel: &tunnel.name,
        at: sight.at,
        began: sight.began,
        origin: Origin::Visitor,
        method: &sight.method,
        uri: &sight.uri,
        version: request.version(),
        fields,
        body: request.body().is_end_stream().then(Bytes::new),
        protocol: protocol.map(Protocol::as_str),
        round_trip,
        held: held.map(Duration::from_micros),
    })
}

/// Puts the length of an upgrade's body back to where the visitor said it.
fn restore_length(fields: &mut HeaderMap) {
    if let Some(length) = fields.remove(stream::BODY_LENGTH) {
        fields.insert(CONTENT_LENGTH, length);
    }
}

/// The tunnel that is meant. The field is taken out: what is private to the link goes no further, and a head in
/// which nothing has to be looked for is cheaper.
fn tunnel_of(request: &mut Request<RecvStream>) -> Option<TunnelId> {
    let id = request.headers_mut().remove(stream::TUNNEL)?;
    id.to_str().ok()?.parse().ok().map(TunnelId)
}

/// The visitor's connection, if the server has named it. The field is taken out, too.
fn visitor_of(request: &mut Request<RecvStream>) -> Option<VisitorId> {
    let id = request.headers_mut().remove(stream::VISITOR)?;
    id.to_str().ok()?.parse().ok()
}

/// Looks for what is behind a trouble, beside the requests: this one has its answer already.
fn look_into(lead: Lead, client: &Arc<Shared>, tunnel: &Arc<Served>) {
    let (of, tunnel) = (Arc::clone(client), Arc::clone(tunnel));
    client.tasks.spawn(async move {
        if let Some(explanation) = tunnel.local.explain(lead).await {
            tell(&of.witness, &tunnel, explanation);
        }
    });
}

/// Tells the developer once, as soon as there is room for it.
fn tell(witness: &Witness, tunnel: &Served, explanation: Explanation) {
    let kind = explanation.kind;
    let name = tunnel.name.clone();
    if witness.hint(Hint { name, explanation }) {
        tunnel.local.was_told(kind);
    }
}

/// Answers in the name of the client itself; the server makes a page of it.
fn refuse(reply: &Reply, cause: Cause) {
    let mut head = Response::new(());
    *head.status_mut() = cause.status();
    head.headers_mut()
        .insert(stream::CAUSE, HeaderValue::from_static(cause.code()));
    // An error here means that the visitor or the link is gone, and with it the need for an answer.
    let _ = reply.begin(head, true);
}
