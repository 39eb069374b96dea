//! The two ends of a link: HTTP/2 in reversed roles on a stream that both sides have agreed on.

use std::io;
use std::task::{Context, Poll};

use thiserror::Error;

use super::calling::{Calling, Requests};
use super::io::{Flusher, Hold};
use super::ping::{Heartbeat, Pace, Stopped};
use super::serving::Serving;
use super::settings;

/// Why a link, or another HTTP/2 connection of ours, ended.
#[derive(Debug, Error)]
pub enum LinkError {
    /// The peer answered no PING within the limit.
    #[error("the other end does not answer any more")]
    Silent,
    /// HTTP/2 ended, by an error of either end or of the socket.
    #[error("the link broke: {}", in_words(.0))]
    Http2(#[from] h2::Error),
    /// The socket failed while sending.
    #[error("the link broke: {0}")]
    Socket(#[from] io::Error),
}

/// An error of HTTP/2 as it may be shown. What a peer adds to its GOAWAY is left out: it can be anything,
/// secrets too (RFC 9113 §6.8).
pub fn in_words(error: &h2::Error) -> String {
    match error.reason() {
        Some(reason) if error.is_go_away() && error.is_remote() => {
            format!("connection error received: {reason}")
        }
        _ => error.to_string(),
    }
}

/// Opens the server's end, which is the HTTP/2 client, on a stream that has been upgraded.
pub async fn server_end<S>(stream: S) -> Result<(Requests, Calling<S>), LinkError>
where
    S: Hold,
{
    Calling::open(stream, &settings::server_end(), Some(Pace::LINK)).await
}

/// Opens the client's end, which is the HTTP/2 server, on a stream whose upgrade the server has
/// accepted.
pub async fn client_end<S>(stream: S) -> Result<Serving<S>, LinkError>
where
    S: Hold,
{
    let serving = Serving::open(stream, &settings::client_end(), Pace::LINK).await?;
    Ok(serving.growing())
}

/// What follows each round of h2: the heartbeat, then one write of all that the round produced.
pub(super) fn finish_round<S: Hold>(
    heartbeat: Option<&mut Heartbeat>,
    flusher: &Flusher<S>,
    cx: &mut Context<'_>,
) -> Poll<LinkError> {
    let beat = heartbeat.map_or(Poll::Pending, |heartbeat| heartbeat.poll(cx));
    if let Poll::Ready(Err(error)) = flusher.poll(cx) {
        return Poll::Ready(LinkError::Socket(error));
    }
    beat.map(|stopped| match stopped {
        Stopped::Silent => LinkError::Silent,
        Stopped::Closed(error) => LinkError::Http2(error),
    })
}
