//! How fast a client may talk.

use std::time::Duration;

use ngrnotok_common::protocol::control::{ClientMessage, ControlError, Reader};
use tokio::time::{Instant, sleep_until};

/// Messages of one link that are read as they come: 512. A client with 64 tunnels says some 200 in its first
/// breath, with what it gives back and how its apps fare.
const AT_ONCE: u32 = 512;

/// One more is read after this time: 50 ms.
const ANOTHER: Duration = Duration::from_millis(50);

/// Reads what a client says, and lets one wait that says too much: each message may cost the store, DNS and the
/// log something. What waits is counted like all that lies unread.
pub(super) struct PacedReader {
    reader: Reader<ClientMessage>,
    /// Messages as time: each costs [`ANOTHER`], and they may run ahead by [`AT_ONCE`] of it.
    paid: Instant,
    /// Whether it had to wait already.
    pub(super) was_slowed: bool,
}

impl PacedReader {
    pub(super) fn new(reader: Reader<ClientMessage>) -> Self {
        Self {
            reader,
            paid: Instant::now(),
            was_slowed: false,
        }
    }

    /// The reader itself, when nothing that it reads costs anything any more.
    pub(super) fn unpaced(&mut self) -> &mut Reader<ClientMessage> {
        &mut self.reader
    }

    /// The next message, when it is its turn. Cancel safety: safe.
    pub(super) async fn next(&mut self) -> Result<Option<ClientMessage>, ControlError> {
        let ahead = ANOTHER * AT_ONCE;
        if let Some(turn) = self.paid.checked_sub(ahead)
            && turn > Instant::now()
        {
            self.was_slowed = true;
            sleep_until(turn).await;
        }
        let message = self.reader.next().await?;
        self.paid = self.paid.max(Instant::now()) + ANOTHER;
        Ok(message)
    }
}

#[cfg(test)]
mod tests {
    use http::{Request, Response};
    use ngrnotok_common::link::body::LinkBody;
    use ngrnotok_common::link::open::{client_end, server_end};
    use ngrnotok_common::link::windows::UnreadTotal;
    use ngrnotok_common::protocol::control::Writer;
    use tokio::io::duplex;
    use tokio::task::JoinSet;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_says_too_much_is_read_more_slowly_and_nothing_is_lost() {
        let (near, far) = duplex(1 << 16);
        let mut tasks = JoinSet::new();
        tasks.spawn(async {
            let mut link = client_end(far, UnreadTotal::default()).await.unwrap();
            let (_request, reply) = link.accept().await.unwrap().unwrap();
            let said = reply.begin(Response::new(()), false).unwrap();
            let talking = async {
                let mut says = Writer::new(said);
                for _ in 0..AT_ONCE + 40 {
                    says.send(&ClientMessage::Release).await.unwrap();
                }
                says.send(&ClientMessage::Bye).await.unwrap();
                says.finish().unwrap();
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = talking => {}
                _ = link.accept() => {}
            }
        });
        let opened = server_end(near, UnreadTotal::default()).await;
        let (requests, calling) = opened.unwrap();
        tasks.spawn(async { drop(calling.await) });
        let request = Request::post("https://link.test/").body(()).unwrap();
        let (answer, _stream) = requests.raw().send_request(request, false).unwrap();
        let body = LinkBody::new(answer.await.unwrap().into_body(), requests.unread());
        let mut reader = PacedReader::new(Reader::new(body));

        let began = Instant::now();
        for _ in 0..AT_ONCE {
            assert_eq!(reader.next().await.unwrap(), Some(ClientMessage::Release));
        }
        assert!(!reader.was_slowed && began.elapsed() < ANOTHER);
        for _ in 0..40 {
            assert_eq!(reader.next().await.unwrap(), Some(ClientMessage::Release));
        }
        assert!(reader.was_slowed);
        assert_eq!(reader.next().await.unwrap(), Some(ClientMessage::Bye));
        let took = began.elapsed();
        assert!((ANOTHER * 39..ANOTHER * 43).contains(&took), "{took:?}");
        assert_eq!(reader.next().await.unwrap(), None);
    }
}
