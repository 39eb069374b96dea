//! The app behind every tunnel: as fast as hyper is, on one thread.
//!
//! | path | answer |
//! |---|---|
//! | `/bytes/N` | N bytes |
//! | `/hashed/N` | N bytes that carry their hash |
//! | `/upload` | how many bytes came |
//! | `/hashed` | the body that came, which must be what its hash says |
//! | `/echo` with `Upgrade` | after the 101 every byte comes back |

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{CONNECTION, CONTENT_LENGTH, UPGRADE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use crate::{hashed, listen};

pub(crate) async fn run() -> anyhow::Result<()> {
    serve_all(listen().await?).await
}

/// Serves whoever comes, as long as it is polled.
pub(crate) async fn serve_all(listener: TcpListener) -> anyhow::Result<()> {
    let tasks = TaskTracker::new();
    loop {
        let (stream, _) = listener.accept().await?;
        let upgraded = tasks.clone();
        tasks.spawn(async move {
            // Visitors leave as they like.
            let _ = serve(stream, upgraded).await;
        });
    }
}

async fn serve(stream: TcpStream, tasks: TaskTracker) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let service = service_fn(|request| answer(request, tasks.clone()));
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    Ok(connection.with_upgrades().await?)
}

type Answer = Response<BoxBody<Bytes, Infallible>>;

async fn answer(request: Request<Incoming>, tasks: TaskTracker) -> hyper::Result<Answer> {
    let path = request.uri().path().to_owned();
    let size = path.rsplit('/').next().and_then(|size| size.parse().ok());
    Ok(match (path.split('/').nth(1), size) {
        (Some("bytes"), Some(size)) => zeros(size),
        (Some("hashed"), Some(size)) => whole(hashed::body(size as usize).into()),
        (Some("hashed"), None) => returned(request.collect().await?.to_bytes()),
        (Some("upload"), None) => whole(swallow(request).await?.to_string().into()),
        (Some("echo"), None) => echo(request, &tasks),
        _ => with_status(StatusCode::NOT_FOUND, Bytes::new()),
    })
}

fn with_status(status: StatusCode, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body).boxed());
    *answer.status_mut() = status;
    answer
}

fn whole(body: Bytes) -> Answer {
    with_status(StatusCode::OK, body)
}

fn returned(body: Bytes) -> Answer {
    match hashed::is_whole(&body) {
        true => whole(body),
        false => with_status(StatusCode::UNPROCESSABLE_ENTITY, Bytes::new()),
    }
}

async fn swallow(mut request: Request<Incoming>) -> hyper::Result<usize> {
    let mut size = 0;
    while let Some(frame) = request.frame().await {
        size += frame?.data_ref().map_or(0, Bytes::len);
    }
    Ok(size)
}

fn echo(request: Request<Incoming>, tasks: &TaskTracker) -> Answer {
    let protocol = request.headers().get(UPGRADE).cloned();
    tasks.spawn(async move {
        let stream = hyper::upgrade::on(request)
            .await
            .map_err(io::Error::other)?;
        let (mut receive, mut send) = tokio::io::split(TokioIo::new(stream));
        tokio::io::copy(&mut receive, &mut send).await
    });
    let mut answer = with_status(StatusCode::SWITCHING_PROTOCOLS, Bytes::new());
    let fields = answer.headers_mut();
    fields.insert(CONNECTION, "upgrade".parse().expect("a good value"));
    fields.extend(protocol.map(|protocol| (UPGRADE, protocol)));
    answer
}

fn zeros(size: u64) -> Answer {
    if size <= ZEROS.len() as u64 {
        return whole(Bytes::from_static(&ZEROS[..size as usize]));
    }
    let mut answer = Response::new(Zeros(size).boxed());
    answer.headers_mut().insert(CONTENT_LENGTH, size.into());
    answer
}

static ZEROS: [u8; 256 * 1024] = [b'0'; 256 * 1024];

/// So many bytes that are still to come.
struct Zeros(u64);

impl Body for Zeros {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let n = self.0.min(ZEROS.len() as u64);
        self.0 -= n;
        let piece = Bytes::from_static(&ZEROS[..n as usize]);
        Poll::Ready((n > 0).then_some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0 == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0)
    }
}
