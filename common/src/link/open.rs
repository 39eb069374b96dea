//! The two ends of a link: HTTP/2 in reversed roles on a stream that both sides have agreed on.

use std::io;
use std::task::{Context, Poll};

use thiserror::Error;

use super::calling::{Calling, Requests};
use super::io::{Flusher, Hold};
use super::ping::{Heartbeat, Pace, Stopped};
use super::serving::Serving;
use super::settings::{self, SETTINGS_LIMIT};
use super::windows::{Unread, UnreadTotal};

/// Why a link, or another HTTP/2 connection of ours, ended.
#[derive(Debug, Error)]
pub enum LinkError {
    /// The peer answered no PING within the limit.
    #[error("the other end does not answer any more")]
    Silent,
    /// The peer does not acknowledge our SETTINGS.
    #[error(
        "the other end did not acknowledge SETTINGS within {} s",
        SETTINGS_LIMIT.as_secs()
    )]
    Unacknowledged,
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

/// Opens the server's end, which is the HTTP/2 client, on a stream that has been upgraded. What lies unread on
/// it is part of `together`.
pub async fn server_end<S>(
    stream: S,
    together: UnreadTotal,
) -> Result<(Requests, Calling<S>), LinkError>
where
    S: Hold,
{
    let unread = Unread::within(together);
    Calling::open(stream, &settings::server_end(), Some(Pace::LINK), unread).await
}

/// Opens the client's end, which is the HTTP/2 server, on a stream whose upgrade the server has
/// accepted. What lies unread on it is part of `together`.
pub async fn client_end<S>(stream: S, together: UnreadTotal) -> Result<Serving<S>, LinkError>
where
    S: Hold,
{
    let serving = Serving::open(stream, &settings::client_end(), Pace::LINK).await?;
    Ok(serving.growing(together))
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::time::{Instant, timeout};

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const SETTINGS: u8 = 4;
    const PING: u8 = 6;
    const WINDOW_UPDATE: u8 = 8;

    /// A peer that keeps the link alive and acknowledges no SETTINGS.
    struct Deaf(DuplexStream);

    impl Deaf {
        async fn say(&mut self, kind: u8, flags: u8, payload: &[u8]) {
            let length = u8::try_from(payload.len()).unwrap();
            let head = [0, 0, length, kind, flags, 0, 0, 0, 0];
            // The other end may have left.
            let _ = self.0.write_all(&[&head, payload].concat()).await;
        }

        /// The next frame, its kind and payload, that is no PING.
        async fn next(&mut self) -> Option<(u8, Vec<u8>)> {
            loop {
                let mut head = [0; 9];
                self.0.read_exact(&mut head).await.ok()?;
                let mut payload = vec![0; usize::from(head[2])];
                self.0.read_exact(&mut payload).await.ok()?;
                match head[3] {
                    PING if head[4] == 0 => self.say(PING, 1, &payload).await,
                    kind => return Some((kind, payload)),
                }
            }
        }

        async fn live(mut self) {
            while self.next().await.is_some() {}
        }
    }

    fn is_unacknowledged(ended: &LinkError, since: Instant) -> bool {
        // It is looked at when something happens: at the latest with the next PING.
        matches!(ended, LinkError::Unacknowledged) && (10..=15).contains(&since.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_never_acknowledges_settings_is_let_go() {
        let (near, far) = duplex(1 << 16);
        let (_requests, calling) = server_end(near, UnreadTotal::default()).await.unwrap();
        let (began, mut peer) = (Instant::now(), Deaf(far));
        let living = async {
            peer.0.read_exact(&mut [0; PREFACE.len()]).await.unwrap();
            peer.say(SETTINGS, 0, &[]).await;
            peer.live().await;
        };
        let both = async { tokio::join!(calling, living) };
        let (ended, ()) = timeout(MINUTE, both).await.expect("it ends");
        let ended = ended.unwrap_err();
        assert!(is_unacknowledged(&ended, began), "{ended:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_never_acknowledges_settings_is_left() {
        let (near, far) = duplex(1 << 16);
        let (began, mut peer) = (Instant::now(), Deaf(far));
        let living = async {
            peer.0.write_all(PREFACE).await.unwrap();
            peer.say(SETTINGS, 0, &[]).await;
            peer.live().await;
        };
        let serving = async {
            let mut link = client_end(near, UnreadTotal::default()).await.unwrap();
            link.accept().await.unwrap_err()
        };
        let both = async { tokio::join!(serving, living) };
        let (ended, ()) = timeout(MINUTE, both).await.expect("it ends");
        assert!(is_unacknowledged(&ended, began), "{ended:?}");
    }

    #[tokio::test]
    async fn a_peer_may_send_no_more_than_the_window_of_the_connection() {
        let (near, far) = duplex(1 << 16);
        let (_requests, calling) = server_end(near, UnreadTotal::default()).await.unwrap();
        let announced = async {
            let mut peer = Deaf(far);
            peer.0.read_exact(&mut [0; PREFACE.len()]).await.unwrap();
            loop {
                match peer.next().await.unwrap() {
                    (WINDOW_UPDATE, increment) => break increment,
                    (kind, _) => assert_eq!(kind, SETTINGS),
                }
            }
        };
        let announced = tokio::select! {
            announced = announced => announced,
            ended = calling => panic!("{ended:?}"),
        };
        // The window of every connection at first is 65,535 (RFC 9113 §6.9.2).
        let most = u32::from_be_bytes(announced.try_into().unwrap()) + 65_535;
        assert_eq!(most, settings::CONNECTION_WINDOW);
        let obedient = settings::MOST_UNREAD
            + settings::MAX_STREAMS as usize * settings::CROWDED_WINDOW as usize;
        assert_eq!(most as usize, obedient);
    }
}
