//! A live session seen from the doors: a handle that carries requests to the tunnel client.
//!
//! The handle sits below both doors. The gate makes one when a client has logged in, the edge finds
//! it through the registry, and it works from every shard.

mod body;
mod slots;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Request, Response};
use http_body::Body;
use ngrnotok_common::id::SessionId;
use ngrnotok_common::link::body::LinkBody;
use ngrnotok_common::link::calling::{AnswerBody, ExchangeError, exchange};
use ngrnotok_common::protocol::cause::Cause;
use ngrnotok_common::protocol::stream::SWITCHED;
use ngrnotok_common::splice::StreamEnd;
use tokio_util::task::TaskTracker;
use tracing::debug;

pub use body::SessionBody;
pub use slots::Slot;
use slots::Slots;

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
    /// Errors: [`Cause::OverLimit`] when all streams of the session are taken, [`Cause::BadFraming`] when
    /// the body breaks, [`Cause::LinkLost`] when the link ends first. Cancel safety: dropping the future, or later the body of the answer,
    /// resets the stream with CANCEL, and the client drops its exchange with the local app.
    pub async fn send<B>(
        &self,
        head: Request<()>,
        body: B,
        interim: &mut (dyn FnMut(Response<()>) + Send),
    ) -> Result<Response<SessionBody>, Cause>
    where
        B: Body<Data = Bytes, Error: Send> + Send + 'static,
    {
        let slot = self.0.slots.take().ok_or(Cause::OverLimit)?;
        let requests = self.0.requests.clone();
        let answer = exchange(requests, head, body, interim, &self.0.uploads)
            .await
            .map_err(|error| match error {
                ExchangeError::Upload => Cause::BadFraming,
                ExchangeError::Peer(error) => self.lost(&error),
            })?;
        Ok(answer.map(|body| SessionBody::new(body, slot)))
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
            let body = |received| SessionBody::new(AnswerBody::new(LinkBody::new(received)), slot);
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
