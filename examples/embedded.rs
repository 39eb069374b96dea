//! Both ends in one process: an app, a server for this machine alone, and a tunnel client between them.
//!
//! Run it from the root of the checkout:
//!
//! ```sh
//! cargo run -p ngrnotok-examples --bin embedded
//! ```
//!
//! It prints the URL of its app, visits it once, prints the answer and ends.

use std::convert::Infallible;
use std::error::Error;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use ngrnotok::client::{Client, Config, Tunnel};
use ngrnotok::embedded::{self, Embedded};
use ngrnotok::local::{Options, Target};
use ngrnotok::status::{State, Status};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let target = Target::port(listener.local_addr()?.port())?;

    // The server listens from here on; its certificate and token are made for this run.
    let Embedded {
        server,
        connector,
        token,
        port,
    } = embedded::start().await?;
    let tunnel = Tunnel {
        name: "hello".parse()?,
        target,
        options: Options::default(),
        pool: None,
    };
    let client = Client::new(Config::new(connector, Some(token), vec![tunnel]))?;
    let status = client.status();

    // They end in order: the visitor tells the client to leave, the client's end tells the server.
    let (leave, told_to_leave) = oneshot::channel::<()>();
    let (end, told_to_end) = oneshot::channel::<()>();
    let visitor = async {
        let answer = visit(status, port).await;
        drop(leave);
        answer
    };
    let client = async {
        let ended = client.run(async { drop(told_to_leave.await) }).await;
        drop(end);
        ended
    };
    let server = server.run(async { drop(told_to_end.await) });
    let (answer, ended) = tokio::select! {
        (answer, ended, _) = async { tokio::join!(visitor, client, server) } => (answer, ended),
        never = serve(listener) => match never {},
    };
    ended?;
    println!("{}", answer?);
    Ok(())
}

/// Waits for the tunnel, prints its URL and asks it for a page.
async fn visit(mut status: watch::Receiver<Status>, port: u16) -> Result<String, Box<dyn Error>> {
    let url = status
        .wait_for(|status| status.state == State::Online)
        .await?
        .online[0]
        .url
        .clone();
    println!("{url}");

    // Not every resolver knows `hello.localhost`, so the address is dialed and the name is sent.
    let host = url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// The app: it greets everybody.
async fn serve(listener: TcpListener) -> Infallible {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        connections.spawn(async move {
            let served = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service_fn(greet))
                .await;
            if let Err(error) = served {
                eprintln!("a connection to the app broke: {error}");
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn greet(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let text = format!("Hello! You asked for {}.\n", request.uri());
    Ok(Response::new(Full::from(text)))
}
