//! One link of a session: a handle that carries requests over it.

use std::fmt;
use std::future::poll_fn;
use std::mem::take;
use std::pin::{Pin, pin};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;

use bytes::Bytes;
use h2::SendStream;
use http::{Method, Request, Response};
use http_body::Body;
use http_body_util::BodyExt;
use ngrnotok_common::link::body::send_chunk;
use ngrnotok_common::link::calling::{ExchangeError, Requests, Unprocessed, exchange};
use ngrnotok_common::link::open::in_words;
use ngrnotok_common::link::settings::MAX_STREAMS;
use ngrnotok_common::prefix::Prefix;
use ngrnotok_common::protocol::cause::{Cause, Limit, LimitName};
use ngrnotok_common::protocol::stream::SWITCHED;
use ngrnotok_common::splice::{Receiving, StreamEnd};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tracing::debug;

use super::slots::{Full, Slot, Slots};
use super::{Counted, PacedEnd, SessionBody, ShardId, Switch, UploadError};

/// A link on which the client waits for requests.
pub struct Link {
    shard: ShardId,
    requests: Requests,
    slots: Slots,
    opened: AtomicU32,
    most_requests: u32,
    worn: CancellationToken,
    retired: CancellationToken,
    /// Its place among the links of its token, as long as it takes requests.
    counted: Mutex<Option<Counted>>,
}

/// Why a link gave no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// All its streams are taken, or as many as the visitor's address may have.
    Full(Limit),
    /// The request's body did not come whole.
    Upload(UploadError),
    /// The client has not looked at the request, and says so.
    NotProcessed,
    /// The client has not looked at it and will look at none that comes later: the link ends.
    Closing,
    /// The client gave this one request up.
    Reset,
    /// The link is gone.
    Lost,
}

impl Failure {
    /// Whether a request without a body may be sent once more.
    pub(super) fn allows(&self, method: &Method) -> bool {
        match self {
            Self::NotProcessed | Self::Closing => true,
            Self::Lost => method.is_idempotent(),
            Self::Full(_) | Self::Upload(_) | Self::Reset => false,
        }
    }

    /// Whether no other request will do better on this link.
    pub(super) fn ends_the_link(&self) -> bool {
        matches!(self, Self::Closing | Self::Lost)
    }
}

impl From<Failure> for Cause {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Full(limit) => Self::OverLimit(Some(limit)),
            Failure::Upload(error) => error.into(),
            Failure::NotProcessed | Failure::Closing | Failure::Reset | Failure::Lost => {
                Self::LinkLost
            }
        }
    }
}

impl Link {
    /// The handle of a link that lives on `shard`.
    ///
    /// `requests` must know the peer's SETTINGS already, for its limit of streams is taken here. After
    /// `most_requests` the link wants to be replaced. `retired` is cancelled when another one has taken its
    /// place.
    pub fn new(
        shard: ShardId,
        requests: Requests,
        most_requests: u32,
        retired: CancellationToken,
    ) -> Self {
        // A client may announce more than anybody has room for. One stream is the control stream's.
        let most = requests.most_streams().min(MAX_STREAMS as usize);
        let limit = most.saturating_sub(1);
        Self {
            shard,
            requests,
            slots: Slots::new(limit),
            opened: AtomicU32::new(0),
            most_requests,
            worn: CancellationToken::new(),
            retired,
            counted: Mutex::default(),
        }
    }

    pub(super) fn counted(mut self, counted: Counted) -> Self {
        self.counted = Mutex::new(Some(counted));
        self
    }

    /// It takes no requests any more: another link may have its place.
    pub(super) fn uncount(&self) {
        drop(
            self.counted
                .lock()
                .expect("held for this line alone")
                .take(),
        );
    }

    /// Resolves when another link has taken the place of this one.
    pub async fn retired(&self) {
        self.retired.cancelled().await;
    }

    /// Whether one has.
    pub fn is_retired(&self) -> bool {
        self.retired.is_cancelled()
    }

    /// Resolves when it has carried as many requests as a link should: stream ids are not used twice.
    pub async fn worn(&self) {
        self.worn.cancelled().await;
    }

    pub(super) fn retire(&self) {
        self.uncount();
        self.retired.cancel();
    }

    pub(super) fn shard(&self) -> ShardId {
        self.shard
    }

    pub(super) fn open_streams(&self) -> usize {
        self.slots.taken()
    }

    /// Whether the client at the other end can carry upgrades.
    pub(super) fn carries_upgrades(&self) -> bool {
        self.requests.carry_upgrades()
    }

    /// Carries one request; see [`Session::send`](super::Session::send). `copies` leaves the head where it
    /// is, too.
    pub(super) async fn send<B>(
        &self,
        from: Prefix,
        head: &mut Request<()>,
        copies: bool,
        body: B,
        interim: &mut (dyn FnMut(Response<()>) + Send),
        uploads: &TaskTracker,
    ) -> Result<Response<SessionBody>, Failure>
    where
        B: Body<Data = Bytes, Error: Into<UploadError> + Send> + Send + 'static,
    {
        let slot = self.take_slot(from)?;
        let head = match copies {
            true => head.clone(),
            false => take(head),
        };
        let answer = exchange(&self.requests, head, body, interim, uploads)
            .await
            .map_err(|error| match error {
                ExchangeError::Upload(error) => Failure::Upload(error.into()),
                ExchangeError::Peer(error) => failure(&error),
            })?;
        Ok(answer.map(|body| SessionBody::new(body, slot)))
    }

    /// Carries a request for an upgrade; see [`Session::switch`](super::Session::switch).
    ///
    /// An app may agree before it has read the body. The stream is the other protocol's when all of the body
    /// has been sent, and only then is the answer told (RFC 9110 §7.8).
    pub(super) async fn switch<B>(
        &self,
        from: Prefix,
        head: Request<()>,
        body: B,
        uploads: &TaskTracker,
    ) -> Result<Switch, Failure>
    where
        B: Body<Data = Bytes, Error: Into<UploadError> + Send> + Send + 'static,
    {
        let slot = self.take_slot(from)?;
        let (mut answer, stream) = self
            .requests
            .raw()
            .send_request(head, false)
            .map_err(|error| failure(&error))?;
        let mut upload = Box::pin(send_body(body, stream));
        let mut sent = None;
        let answer = poll_fn(|cx| {
            if sent.is_none()
                && let Poll::Ready(stream) = upload.as_mut().poll(cx)?
            {
                sent = Some(stream);
            }
            Pin::new(&mut answer)
                .poll(cx)
                .map_err(|error| failure(&error))
        })
        .await?;
        if !answer.headers().contains_key(SWITCHED) {
            // An app may answer before it has read everything, and read on.
            let rest = sent.is_none().then(|| {
                let rest = async { drop(upload.await) };
                AbortOnDropHandle::new(uploads.spawn(rest))
            });
            let body = |received| SessionBody::new(self.requests.body(received, rest), slot);
            return Ok(Switch::Refused(answer.map(body)));
        }
        let (head, received) = answer.into_parts();
        let mut received = Receiving::new(received, self.requests.unread().clone());
        let stream = match sent {
            Some(stream) => stream,
            // What the client says meanwhile counts as unread.
            None => tokio::select! {
                biased;
                stream = upload => stream?,
                error = received.take_ahead() => {
                    debug!(%error, "an upgrade broke before all of its body was sent");
                    return Err(Failure::Reset);
                }
            },
        };
        let end = StreamEnd::new(stream, received);
        Ok(Switch::Agreed(
            Response::from_parts(head, ()),
            PacedEnd::new(end.keeping(slot), None),
        ))
    }

    fn take_slot(&self, from: Prefix) -> Result<Slot, Failure> {
        let slot = self.slots.take(from).map_err(|full| {
            Failure::Full(Limit {
                name: match full {
                    Full::All => LimitName::StreamsPerLink,
                    Full::Share => LimitName::StreamsPerAddress,
                },
                number: u32::try_from(self.slots.number(full)).unwrap_or(u32::MAX),
            })
        })?;
        if self.opened.fetch_add(1, Ordering::Relaxed) == self.most_requests {
            self.worn.cancel();
        }
        Ok(slot)
    }
}

/// Sends the body with which an upgrade begins, and leaves the stream open for what follows it.
async fn send_body<B>(body: B, mut stream: SendStream<Bytes>) -> Result<SendStream<Bytes>, Failure>
where
    B: Body<Data = Bytes, Error: Into<UploadError>>,
{
    let mut body = pin!(body);
    while !body.is_end_stream()
        && let Some(frame) = body.frame().await
    {
        let frame = frame.map_err(|error| Failure::Upload(error.into()))?;
        if let Ok(chunk) = frame.into_data() {
            let sent = send_chunk(&mut stream, chunk, false).await;
            sent.map_err(|error| failure(&error))?;
        }
    }
    Ok(stream)
}

fn failure(error: &h2::Error) -> Failure {
    debug!(error = %in_words(error), "a request was lost on its link");
    match Unprocessed::of(error) {
        Some(Unprocessed::Stream) => Failure::NotProcessed,
        Some(Unprocessed::Connection) => Failure::Closing,
        None if error.is_io() || error.is_go_away() => Failure::Lost,
        None => Failure::Reset,
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("shard", &self.shard)
            .finish_non_exhaustive()
    }
}
