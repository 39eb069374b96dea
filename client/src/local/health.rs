//! Whether the local app is well, for names that others can serve meanwhile.

use std::time::Duration;

use http::header::HOST;
use http::uri::PathAndQuery;
use http::{Request, Uri};
use tokio::time::timeout;

use super::dial::Offer;
use super::{Caller, Local, RequestBody, Target};

/// An app that needs longer for an answer is not well: 5 s.
const LIMIT: Duration = Duration::from_secs(5);

impl Local {
    /// Whether the app answers a GET for `path` with 2xx or 3xx; without a path, whether it accepts
    /// connections. Cancel safety: safe.
    pub(crate) async fn is_well(&self, path: Option<&PathAndQuery>) -> bool {
        let asked = async {
            match path {
                Some(path) => self.answers(path).await,
                None if *self.target() == Target::Hello => true,
                None => self.accepts().await,
            }
        };
        timeout(LIMIT, asked).await.unwrap_or(false)
    }

    async fn answers(&self, path: &PathAndQuery) -> bool {
        let mut request = Request::new(RequestBody::none());
        *request.uri_mut() = Uri::from(path.clone());
        let host = self.rewrite.own_host().clone();
        request.headers_mut().insert(HOST, host);
        match self.exchange(&mut request, &Caller::default()).await {
            Ok(answer) => answer.status().is_success() || answer.status().is_redirection(),
            Err(_) => false,
        }
    }

    async fn accepts(&self) -> bool {
        self.dialer.dial(Offer::Either).await.is_ok()
    }
}
