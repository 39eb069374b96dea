//! The parts of the bench that are not ngrnotok: `bench origin`, `bench relay …`, the visitors and the
//! holders of idle tunnels. `tests/bench/run` starts them; `bench help` lists them.
//!
//! Whatever serves says `listening on PORT` first. Whatever measures ends by itself and prints one line of
//! JSON. Whatever holds something prints what it holds and stays until it is ended.

mod bulk;
mod connection;
mod hashed;
mod idle;
mod mixed;
mod origin;
mod paced;
mod pieces;
mod relay;
mod requests;
mod sessions;
mod tally;

use clap::Parser;
use tokio::net::TcpListener;

/// The parts of the bench that are not ngrnotok.
#[derive(Debug, Parser)]
#[command(name = "bench")]
enum Part {
    /// The app behind every tunnel.
    Origin,
    /// One hop of a relay that parses nothing.
    #[command(subcommand)]
    Relay(relay::Hop),
    /// As many requests as there is time for, on so many connections.
    Requests(requests::Requests),
    /// Requests at a fixed rate.
    Paced(paced::Paced),
    /// One long body for each stream, down.
    Download(bulk::Download),
    /// One long body up.
    Upload(bulk::Upload),
    /// Visitors who do nothing more.
    Idle(idle::Idle),
    /// Everything at once, every body with its hash.
    Mixed(mixed::Mixed),
    /// Idle tunnels.
    Sessions(sessions::Sessions),
    /// One hot piece of ngrnotok so many times, for counting its instructions.
    Piece(pieces::Piece),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    match Part::parse() {
        Part::Origin => origin::run().await,
        Part::Relay(hop) => hop.run().await,
        Part::Requests(requests) => requests.run().await,
        Part::Paced(paced) => paced.run().await,
        Part::Download(download) => download.run().await,
        Part::Upload(upload) => upload.run().await,
        Part::Idle(idle) => idle.run().await,
        Part::Mixed(mixed) => mixed.run().await,
        Part::Sessions(sessions) => sessions.run().await,
        Part::Piece(piece) => piece.run().await,
    }
}

/// A listener of loopback, and the line that says where.
async fn listen() -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on {}", listener.local_addr()?.port());
    Ok(listener)
}
