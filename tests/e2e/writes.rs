//! How a link writes to its socket: seldom, and much at a time.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body_util::BodyExt as _;
use ngrnotok_certs::dev::DevAuthority;
use ngrnotok_certs::tls::{Trust, link_client_config, server_config};
use ngrnotok_common::link::calling::exchange;
use ngrnotok_common::link::open::{client_end, server_end};
use ngrnotok_common::link::settings::SEND_BUFFER;
use ngrnotok_common::link::windows::UnreadTotal;
use ngrnotok_tests::body::{empty, full};
use ngrnotok_tests::run;
use ngrnotok_tests::tasks::Tasks;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::task::TaskTracker;

/// Frames of 16 KiB with their heads, in TLS records of as much, and one record more for the heads.
const WHOLE: usize = SEND_BUFFER + SEND_BUFFER / RECORD * (9 + 22) + 22;
const RECORD: usize = 16 * 1024;

/// A socket that notes the size of each write.
struct Noted(DuplexStream, Arc<Mutex<Vec<usize>>>);

impl Noted {
    fn note(&self, wrote: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(n)) = &wrote {
            self.1.lock().expect("nobody panics with it").push(*n);
        }
        wrote
    }
}

impl AsyncRead for Noted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, out)
    }
}

impl AsyncWrite for Noted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.0).poll_write(cx, bytes);
        self.note(wrote)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.0).poll_write_vectored(cx, slices);
        self.note(wrote)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[test]
fn all_that_a_stream_may_have_waiting_leaves_in_one_write() {
    run(async {
        let authority = DevAuthority::generate().expect("an authority");
        let identity = authority.issue(&["a.test".to_owned()]).expect("good");
        let trust = Trust::Pin(authority.pin());
        let accepting = TlsAcceptor::from(server_config(identity, &[]).expect("a good identity"));
        let connecting = TlsConnector::from(link_client_config(trust, &[]).expect("a good pin"));
        let (near, far) = duplex(1 << 20);
        let writes = Arc::new(Mutex::new(Vec::new()));
        let near = Noted(near, Arc::clone(&writes));
        let name = "a.test".try_into().expect("a good name");
        let (near, far) = tokio::join!(connecting.connect(name, near), accepting.accept(far));
        let (near, far) = (near.expect("TLS"), far.expect("TLS"));
        let (tasks, uploads) = (Tasks::default(), TaskTracker::new());
        let (requests, calling) = server_end(far, UnreadTotal::default())
            .await
            .expect("a link");
        tasks.spawn(async { drop(calling.await) });
        let mut client = client_end(near, UnreadTotal::default())
            .await
            .expect("a link");
        let answers = tasks.spawner();
        tasks.spawn(async move {
            while let Ok(Some((_, reply))) = client.accept().await {
                answers.spawn(async move {
                    let mut body = full(vec![0; SEND_BUFFER]);
                    let _ = reply.send(Response::new(&mut body)).await;
                });
            }
        });
        for _ in 0..3 {
            let request = Request::get("https://app.test/").body(()).expect("good");
            let answer = exchange(&requests, request, empty(), &mut |_| {}, &uploads).await;
            let body = answer.expect("an answer").into_body().collect().await;
            assert_eq!(body.expect("a whole one").to_bytes().len(), SEND_BUFFER);
            let mut writes = writes.lock().expect("nobody panics with it");
            let seen = std::mem::take(&mut *writes);
            assert!(seen.iter().any(|size| *size >= WHOLE), "{seen:?}");
        }
    });
}
