//! A local app that speaks HTTP/2: one connection for all requests, opened when the first one comes.

use http::{Request, Response};
use ngrnotok_common::link::calling::{AnswerBody, Calling, ExchangeError, Requests, exchange};
use ngrnotok_common::link::settings::server_end;
use ngrnotok_common::link::windows::Unread;
use ngrnotok_common::protocol::cause::Cause;
use ngrnotok_common::socket::Socket;
use tokio::sync::Mutex;
use tokio_util::task::TaskTracker;

use super::{RequestBody, Target, Trouble};

/// The one connection, while it lasts.
#[derive(Debug, Default)]
pub(super) struct Shared {
    requests: Mutex<Option<Requests>>,
}

impl Shared {
    /// The connection, opened by `dial` if there is none that lives. Of several requests at once, one
    /// dials and the others wait.
    pub(super) async fn connection<D>(
        &self,
        tasks: &TaskTracker,
        target: &Target,
        dial: impl FnOnce() -> D,
    ) -> Result<Requests, Trouble>
    where
        D: Future<Output = Result<Box<dyn Socket>, Trouble>>,
    {
        let mut current = self.requests.lock().await;
        if let Some(requests) = &*current
            && requests.raw().ready().await.is_ok()
        {
            return Ok(requests.clone());
        }
        let stream = dial().await?;
        let (requests, calling) = Calling::open(stream, &server_end(), None, Unread::default())
            .await
            .map_err(|error| Trouble::new(Cause::LocalClosed, target, &error))?;
        // Ends when the app closes, or with the last request and this handle.
        tasks.spawn(async { drop(calling.await) });
        *current = Some(requests.clone());
        Ok(requests)
    }
}

/// Sends a request on the connection.
pub(super) async fn send(
    requests: Requests,
    request: Request<RequestBody>,
    interim: &mut (dyn FnMut(Response<()>) + Send),
    tasks: &TaskTracker,
    target: &Target,
) -> Result<Response<AnswerBody>, Trouble> {
    let (head, body) = request.into_parts();
    let head = Request::from_parts(head, ());
    exchange(&requests, head, body, interim, tasks)
        .await
        .map_err(|error| {
            let cause = match &error {
                ExchangeError::Upload(_) => Cause::BadFraming,
                ExchangeError::Peer(error) if error.is_io() || error.is_go_away() => {
                    Cause::LocalClosed
                }
                ExchangeError::Peer(_) => Cause::LocalBadResponse,
            };
            Trouble::new(cause, target, &error)
        })
}
