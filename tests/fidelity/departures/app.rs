//! An app that tells when its visitor may leave, and when it saw that.

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;

use bytes::Bytes;
use ngrnotok_tests::strict::halves;
use ngrnotok_tests::tasks::{Spawner, Tasks};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Event, begins, floods, uploads};

/// An app that does what the path says, until its connection or the stream ends.
pub(super) async fn app(http2: bool, events: mpsc::Sender<Event>) -> (SocketAddr, Tasks) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let listener = listener.expect("a free port");
    let address = listener.local_addr().expect("a bound address");
    let tasks = Tasks::default();
    let connections = tasks.spawner();
    tasks.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (events, streams) = (events.clone(), connections.clone());
            match http2 {
                true => connections.spawn(serve_http2(stream, events, streams)),
                false => connections.spawn(serve_http1(stream, events)),
            }
        }
    });
    (address, tasks)
}

async fn serve_http1(stream: TcpStream, events: mpsc::Sender<Event>) {
    let (mut reader, mut writer) = halves(stream);
    let Some(Ok(head)) = reader.head().await else {
        return;
    };
    let path = head.start[1].clone();
    if uploads(&path) {
        let _ = reader.next().await;
    }
    if begins(&path) || floods(&path) {
        let begun = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegun\r\n";
        let _ = writer.say(begun).await;
    }
    let _ = events.try_send(Event::Ready(path.clone()));
    let chunk = [b"10000\r\n", &[b'f'; 0x10000][..], b"\r\n"].concat();
    let flood = async {
        while floods(&path) && writer.say(&chunk).await.is_ok() {}
        if !floods(&path) {
            std::future::pending::<()>().await;
        }
    };
    let quiet = async { while reader.more().await {} };
    tokio::select! {
        () = flood => {}
        () = quiet => {}
    }
    let _ = events.try_send(Event::Ended(path, Instant::now()));
}

async fn serve_http2(stream: TcpStream, events: mpsc::Sender<Event>, streams: Spawner) {
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let events = events.clone();
        streams.spawn(async move {
            let path = request.uri().path().to_owned();
            let mut body = request.into_body();
            if uploads(&path) {
                let _ = body.data().await;
            }
            let mut answer = None;
            if begins(&path) || floods(&path) {
                let mut begun = respond.send_response(http::Response::new(()), false).ok();
                if let Some(begun) = &mut begun {
                    let _ = begun.send_data(Bytes::from_static(b"begun"), false);
                }
                answer = begun;
            }
            let _ = events.try_send(Event::Ready(path.clone()));
            let mut answer = pin!(answer);
            std::future::poll_fn(|cx| match answer.as_mut().get_mut() {
                Some(answer) => answer.poll_reset(cx).map(drop),
                None => respond.poll_reset(cx).map(drop),
            })
            .await;
            let _ = events.try_send(Event::Ended(path, Instant::now()));
        });
    }
}
