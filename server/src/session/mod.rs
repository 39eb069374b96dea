//! A live session seen from the doors: a handle that carries requests to the tunnel client.
//!
//! The handle sits below both doors. The gate makes one when a client has logged in, the edge finds
//! it through the registry, and it works from every shard.

mod body;
mod slots;

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use h2::client::SendRequest;
use http::header::EXPECT;
use http::{Request, Response, StatusCode};
use http_body::Body;
use ngrnotok_common::id::SessionId;
use ngrnotok_common::link::body::{LinkBody, pump};
use ngrnotok_common::protocol::cause::Cause;
use ngrnotok_common::protocol::stream::SWITCHED;
use ngrnotok_common::splice::StreamEnd;
use tokio::time::sleep;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tracing::debug;

pub use body::SessionBody;
pub use slots::Slot;
use slots::Slots;

/// How long a body is held back for an app that says neither 100 nor anything else: 2 s. Such apps
/// exist, and visitors send anyway after a while (RFC 9110 §10.1.1).
const CONTINUE_LIMIT: Duration = Duration::from_secs(2);

/// Which shard of the server a link lives on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardId(pub usize);

/// A handle to one logged-in tunnel client; clones are cheap and equal.
#[derive(Clone)]
pub struct Session(Arc<Inner>);

struct Inner {
    id: SessionId,
    shard: ShardId,
    requests: SendRequest<Bytes>,
    slots: Slots,
    uploads: TaskTracker,
}

/// What became of a request for an upgrade.
#[derive(Debug)]
pub enum Switch {
    /// The local app has switched; the rest is bytes.
    Agreed(Response<()>, StreamEnd<SwitchedGuard>),
    /// The local app gave an ordinary answer.
    Refused(Response<SessionBody>),
}

/// What an upgraded stream holds until it ends: its place among the session's streams.
pub type SwitchedGuard = ((), Slot);

impl Session {
    /// Makes the handle of a session whose link lives on `shard`.
    ///
    /// `requests` must know the peer's SETTINGS already, for its limit of streams is taken here. Rests
    /// of uploads run on `uploads`.
    pub fn new(
        id: SessionId,
        shard: ShardId,
        requests: SendRequest<Bytes>,
        uploads: TaskTracker,
    ) -> Self {
        // One stream is the control stream's.
        let limit = requests.current_max_send_streams().saturating_sub(1);
        Self(Arc::new(Inner {
            id,
            shard,
            slots: Slots::new(limit),
            requests,
            uploads,
        }))
    }

    /// The session's id.
    pub fn id(&self) -> SessionId {
        self.0.id
    }

    /// The shard on which requests to this session are cheapest.
    pub fn shard(&self) -> ShardId {
        self.0.shard
    }

    /// Carries one request to the tunnel client and returns its answer as soon as the head is there.
    /// Interim answers that come before go to `interim`.
    ///
    /// The body of a request that expects `100-continue` is not asked for before the local app has
    /// said so; that is its decision, not ours.
    ///
    /// Errors: [`Cause::OverLimit`] when all streams of the session are taken, [`Cause::LinkLost`]
    /// when the link ends first. Cancel safety: dropping the future, or later the body of the answer,
    /// resets the stream with CANCEL, and the client drops its exchange with the local app.
    pub async fn send<B>(
        &self,
        head: Request<()>,
        body: B,
        interim: &mut (dyn FnMut(Response<()>) + Send),
    ) -> Result<Response<SessionBody>, Cause>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Send,
    {
        let slot = self.0.slots.take().ok_or(Cause::OverLimit)?;
        let bodiless = body.is_end_stream();
        let mut held = expects_continue(&head).then(|| Box::pin(sleep(CONTINUE_LIMIT)));
        let (mut answer, stream) = self
            .0
            .requests
            .clone()
            .send_request(head, bodiless)
            .map_err(|error| self.lost(&error))?;
        let mut upload = (!bodiless).then(|| Box::pin(pump(body, stream, Reason::CANCEL)));

        // Most uploads end before the answer begins, so they run right here; what is left of one then
        // gets a task of its own, which dies with the answer's body.
        let answer = poll_fn(|cx| {
            while let Poll::Ready(Some(Ok(head))) = answer.poll_informational(cx) {
                if head.status() == StatusCode::CONTINUE {
                    held = None;
                }
                interim(head);
            }
            if held
                .as_mut()
                .is_some_and(|limit| limit.as_mut().poll(cx).is_ready())
            {
                held = None;
            }
            if held.is_none()
                && let Some(rest) = &mut upload
                && rest.as_mut().poll(cx).is_ready()
            {
                upload = None;
            }
            Pin::new(&mut answer).poll(cx)
        });
        let answer = answer.await.map_err(|error| self.lost(&error))?;
        // An app that has answered without asking for the body does not want it.
        let upload = upload.filter(|_| held.is_none()).map(|rest| {
            // Whatever ends it early has already ended one side of the exchange.
            let rest = async { drop(rest.await) };
            AbortOnDropHandle::new(self.0.uploads.spawn(rest))
        });
        Ok(answer.map(|stream| SessionBody::new(LinkBody::new(stream), upload, slot)))
    }

    /// Whether the tunnel client can carry upgrades.
    pub fn carries_upgrades(&self) -> bool {
        self.0.requests.is_extended_connect_protocol_enabled()
    }

    /// Carries a request for an upgrade, an extended CONNECT, to the tunnel client.
    ///
    /// Errors and cancel safety are those of [`Session::send`].
    pub async fn switch(&self, head: Request<()>) -> Result<Switch, Cause> {
        let slot = self.0.slots.take().ok_or(Cause::OverLimit)?;
        let (answer, stream) = self
            .0
            .requests
            .clone()
            .send_request(head, false)
            .map_err(|error| self.lost(&error))?;
        let answer = answer.await.map_err(|error| self.lost(&error))?;
        if !answer.headers().contains_key(SWITCHED) {
            let body = |received| SessionBody::new(LinkBody::new(received), None, slot);
            return Ok(Switch::Refused(answer.map(body)));
        }
        let (head, received) = answer.into_parts();
        Ok(Switch::Agreed(
            Response::from_parts(head, ()),
            StreamEnd::new(stream, received).keeping(slot),
        ))
    }

    /// Streams that are open for visitors now.
    pub fn open_streams(&self) -> usize {
        self.0.slots.taken()
    }

    fn lost(&self, error: &h2::Error) -> Cause {
        debug!(session = %self.0.id, %error, "request was lost");
        Cause::LinkLost
    }
}

fn expects_continue(head: &Request<()>) -> bool {
    head.headers()
        .get(EXPECT)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

impl PartialEq for Session {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Session").field(&self.0.id).finish()
    }
}
