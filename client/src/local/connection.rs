//! One connection to a local app that speaks HTTP/1.1.

use std::error::Error as StdError;
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use ngrnotok_common::id::VisitorId;
use ngrnotok_common::protocol::cause::Cause;
use ngrnotok_common::socket::Socket;
use tokio_util::task::TaskTracker;

use super::hangup::Listening;
use super::wire::Wire;
use super::{RequestBody, Target, Trouble};

/// A head of the local app and what is read ahead of its body: 128 KiB. A larger head would not fit
/// the link either.
const BUFFER: usize = 128 * 1024;

/// Fields in a head of the local app: 1000.
const FIELDS: usize = 1000;

/// A connection that carries one exchange at a time. The app sees it end when this is dropped.
#[derive(Debug)]
pub struct Connection {
    requests: SendRequest<RequestBody>,
    pub(super) wire: Arc<Wire>,
    pub(super) owner: Owner,
}

/// Whose requests a connection may carry next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// Anybody's: nothing is tied to it.
    Everybody,
    /// Those of one visitor's connection.
    Visitor(VisitorId),
    /// None: something is tied to it, and it is not known for whom.
    Nobody,
}

impl From<Option<VisitorId>> for Owner {
    /// The owner of a connection that is for one visitor alone.
    fn from(visitor: Option<VisitorId>) -> Self {
        visitor.map_or(Self::Nobody, Self::Visitor)
    }
}

/// Why a connection gave no answer.
#[derive(Debug)]
pub(super) struct Unanswered {
    error: hyper::Error,
    /// Bytes of an answer that came all the same.
    heard: usize,
    /// What is wrong with a field of the answer.
    odd_field: Option<String>,
    /// The request, if another connection may carry it.
    pub(super) again: Option<Box<Request<RequestBody>>>,
}

impl Unanswered {
    /// What the developer is told of it.
    pub(super) fn trouble(&self, target: &Target) -> Trouble {
        if let Some(odd) = &self.odd_field {
            return Trouble::new(Cause::LocalBadResponse, target, odd);
        }
        if !self.error.is_parse_too_large() {
            return Trouble::exchange(target, &self.error);
        }
        // hyper has one error for both.
        let limit = match self.heard >= BUFFER {
            true => format!("{} KiB", BUFFER / 1024),
            false => format!("{FIELDS} fields"),
        };
        let reason = format!("the head of its answer has more than {limit}");
        Trouble::new(Cause::LocalHeadTooLarge, target, &reason)
    }
}

impl Connection {
    /// Speaks HTTP/1.1 on a stream, by one of `tasks`.
    pub(super) async fn open(
        stream: Box<dyn Socket>,
        tasks: &TaskTracker,
    ) -> Result<Self, hyper::Error> {
        let wire = Arc::<Wire>::default();
        let stream = Listening::new(stream, Arc::clone(&wire));
        let (requests, connection) = http1::Builder::new()
            .max_buf_size(BUFFER)
            .max_headers(FIELDS)
            // Old apps and small devices look for `Content-Length` letter by letter, though names have no case.
            .title_case_headers(true)
            // What RFC 9112 §5.1 and §5.2 let a proxy mend in an answer, as browsers do.
            .allow_spaces_after_header_name_in_responses(true)
            .allow_obsolete_multiline_headers_in_responses(true)
            .handshake(TokioIo::new(stream))
            .await?;
        // Ends when its sender is dropped or the app closes; errors reach the exchange that meets them.
        let connection = connection.with_upgrades();
        tasks.spawn(async { drop(connection.await) });
        Ok(Self {
            requests,
            wire,
            owner: Owner::Everybody,
        })
    }

    /// Whether it would take a request, as far as is known.
    pub(super) fn is_ready(&self) -> bool {
        self.requests.is_ready()
    }

    /// Whether the app has ended it.
    pub(super) fn is_closed(&self) -> bool {
        self.requests.is_closed()
    }

    /// Sends a request. One that is not `repeatable` comes back only if nothing of it was sent.
    pub(super) async fn send(
        &mut self,
        request: Request<RequestBody>,
        repeatable: bool,
    ) -> Result<Response<Incoming>, Unanswered> {
        self.wire.begin(repeatable);
        let mut failed = match self.requests.try_send_request(request).await {
            Ok(answer) => {
                self.wire
                    .head_came(!http_body::Body::is_end_stream(answer.body()));
                return Ok(answer);
            }
            Err(failed) => failed,
        };
        let again = match failed.take_message() {
            Some(unsent) => Some(unsent),
            None if is_closing(failed.error()) => self.wire.again(),
            None => None,
        };
        let is_odd = failed.error().is_parse() && !failed.error().is_parse_too_large();
        Err(Unanswered {
            odd_field: is_odd.then(|| self.wire.odd_field()).flatten(),
            error: failed.into_error(),
            heard: self.wire.size_heard(),
            again: again.map(Box::new),
        })
    }
}

/// Whether the app ended the connection.
fn is_closing(error: &hyper::Error) -> bool {
    error.is_incomplete_message()
        || error.is_closed()
        || error
            .source()
            .is_some_and(|source| source.is::<std::io::Error>())
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::pin::Pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll};

    use http_body_util::BodyExt as _;
    use ngrnotok_common::link::io::Hold;
    use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
    use tokio::io::{DuplexStream, duplex};

    use super::*;

    /// Counts how often it was told to acknowledge.
    struct Counting(DuplexStream, Arc<AtomicUsize>);

    impl AsyncRead for Counting {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            out: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_read(cx, out)
        }
    }

    impl AsyncWrite for Counting {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.0).poll_write(cx, bytes)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(cx)
        }
    }

    impl Hold for Counting {}

    impl Socket for Counting {
        fn reset_on_drop(&self) {}

        fn acknowledge(&self) {
            self.1.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many acknowledgements an answer takes that comes in such pieces, each when the one before has been
    /// looked at.
    async fn acknowledgements(pieces: &[&str]) -> usize {
        let (near, mut far) = duplex(64 * 1024);
        let count = Arc::<AtomicUsize>::default();
        let tasks = TaskTracker::new();
        let near = Box::new(Counting(near, Arc::clone(&count)));
        let mut connection = Connection::open(near, &tasks).await.unwrap();
        for _ in 0..2 {
            count.store(0, Ordering::Relaxed);
            let exchange = async {
                let request = Request::new(RequestBody::none());
                let answer = connection.send(request, true).await.unwrap();
                crate::local::LocalBody::Http1 {
                    body: answer.into_body(),
                    connection,
                }
                .collect_keeping()
                .await
            };
            let app = async {
                let _ = far.read(&mut [0; 1024]).await.unwrap();
                for piece in pieces {
                    far.write_all(piece.as_bytes()).await.unwrap();
                    for _ in 0..16 {
                        tokio::task::yield_now().await;
                    }
                }
            };
            (connection, ()) = tokio::join!(exchange, app);
        }
        count.load(Ordering::Relaxed)
    }

    impl crate::local::LocalBody {
        /// Reads it to its end and gives the connection back.
        async fn collect_keeping(mut self) -> Connection {
            while let Some(frame) = self.frame().await {
                frame.unwrap();
            }
            match self {
                Self::Http1 { connection, .. } => connection,
                other => panic!("{other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn an_app_that_waits_for_an_acknowledgement_gets_one_and_others_none() {
        const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n";
        const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        const LINE: &str = "HTTP/1.1 200 OK\r\n";
        const EMPTY: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        let whole = format!("{HEAD}body");
        let whole_chunked = format!("{CHUNKED}4\r\nbody\r\n0\r\n\r\n");
        for (pieces, expected) in [
            (&[&whole[..]][..], 0),
            (&[&whole_chunked], 0),
            (&[EMPTY], 0),
            (&[&format!("{HEAD}b\r\n\n")], 0),
            (&[HEAD, "body"], 1),
            (&[&format!("{HEAD}bo"), "d", "y"], 2),
            (&[CHUNKED, "4\r\nbody\r\n", "0\r\n\r\n"], 2),
            (&[LINE, "A: b\r\n", "Content-Length: 4\r\n\r\n", "body"], 3),
        ] {
            assert_eq!(acknowledgements(pieces).await, expected, "{pieces:?}");
        }
    }
}
