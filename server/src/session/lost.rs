//! Requests that their link has lost or given back, and what may be done about them.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Request, Response};
use http_body_util::Empty;
use ngrnotok_common::prefix::Prefix;
use ngrnotok_common::protocol::cause::Cause;

use super::limits::Within;
use super::link::Failure;
use super::{Link, Session, SessionBody};

/// How long a request whose link was lost waits for the next one: 2 s, so that with the 8 s after which a
/// silent link is given up nobody waits longer than 10 s.
const RETURN_LIMIT: Duration = Duration::from_secs(2);

/// Why a request has no answer.
#[derive(Debug)]
pub enum Unanswered {
    /// It will get none.
    For(Cause),
    /// It may be sent once more.
    Lost(Box<Lost>),
}

/// A request without a body that may be sent once more: it may be repeated (RFC 9110 §9.2.2), or its client
/// has not looked at it (RFC 9113 §8.7).
#[derive(Debug)]
pub struct Lost {
    from: Prefix,
    head: Request<()>,
    link: Arc<Link>,
    failure: Failure,
    /// It still counts as open.
    within: Option<Within>,
}

impl From<Cause> for Unanswered {
    fn from(cause: Cause) -> Self {
        Self::For(cause)
    }
}

impl Lost {
    /// What became of a request; `copy` is its head if it had no body.
    pub(super) fn or_not(
        failure: Failure,
        from: Prefix,
        copy: Option<Request<()>>,
        link: Arc<Link>,
        within: Option<Within>,
    ) -> Unanswered {
        match copy {
            Some(head) if failure.allows(head.method()) => Unanswered::Lost(Box::new(Self {
                from,
                head,
                link,
                failure,
                within,
            })),
            _ => Unanswered::For(failure.into()),
        }
    }

    /// The fields of its head.
    pub fn headers_mut(&mut self) -> &mut HeaderMap {
        self.head.headers_mut()
    }
}

impl Session {
    /// Sends a request of this session once more: on another link, or when the client is back.
    ///
    /// Errors are those of [`Session::send`].
    pub async fn send_again(
        &self,
        lost: Lost,
        interim: &mut (dyn FnMut(Response<()>) + Send),
    ) -> Result<Response<SessionBody>, Cause> {
        let link = match lost.failure {
            Failure::NotProcessed => {
                let other = self.best_link_but(&lost.link);
                other.ok_or(Cause::LinkLost)?
            }
            _ => {
                let patience = self.0.patience.min(RETURN_LIMIT);
                self.next_link(lost.from, patience).await?
            }
        };
        self.send_on(&link, lost, interim).await
    }

    /// Sends a request once more that another session has lost, if this one has a link for it.
    ///
    /// Errors are those of [`Session::send`].
    pub async fn send_instead(
        &self,
        lost: Lost,
        interim: &mut (dyn FnMut(Response<()>) + Send),
    ) -> Result<Response<SessionBody>, Cause> {
        let link = self.best_link().ok_or(Cause::ClientOffline)?;
        self.send_on(&link, lost, interim).await
    }

    async fn send_on(
        &self,
        link: &Link,
        mut lost: Lost,
        interim: &mut (dyn FnMut(Response<()>) + Send),
    ) -> Result<Response<SessionBody>, Cause> {
        let body = Empty::new();
        let answer = link
            .send(
                lost.from,
                &mut lost.head,
                false,
                body,
                interim,
                &self.0.uploads,
            )
            .await?;
        Ok(answer.map(|body| body.within(lost.within)))
    }
}
