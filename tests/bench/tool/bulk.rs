//! Long bodies, down and up.

use std::io;
use std::time::Duration;

use clap::Args;
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::connection::{Connection, Where, within};
use crate::tally::Tally;

/// One body for each stream, of the length that the path says.
#[derive(Debug, Args)]
pub(crate) struct Download {
    #[command(flatten)]
    at: Where,
    #[arg(long, default_value_t = 1)]
    streams: usize,
    #[arg(long, default_value_t = 60.0)]
    seconds: f64,
}

/// One body.
#[derive(Debug, Args)]
pub(crate) struct Upload {
    #[command(flatten)]
    at: Where,
    #[arg(long)]
    bytes: u64,
    #[arg(long, default_value_t = 60.0)]
    seconds: f64,
}

impl Download {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let start = Instant::now();
        let limit = Duration::from_secs_f64(self.seconds);
        let mut visitors = JoinSet::new();
        for visitor in 0..self.streams {
            let request = self.at.request(visitor, "GET", "");
            visitors.spawn(noted(limit, async move {
                Connection::open(self.at.port).await?.ask(&request).await
            }));
        }
        Tally::print(visitors, start).await;
        Ok(())
    }
}

impl Upload {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let start = Instant::now();
        let limit = Duration::from_secs_f64(self.seconds);
        let fields = format!("content-length: {}\r\n", self.bytes);
        let head = self.at.request(0, "POST", &fields);
        let mut visitors = JoinSet::new();
        visitors.spawn(noted(limit, send(self.at.port, head, self.bytes)));
        Tally::print(visitors, start).await;
        Ok(())
    }
}

async fn send(port: u16, head: Vec<u8>, bytes: u64) -> io::Result<u64> {
    let mut connection = Connection::open(port).await?;
    connection.stream.write_all(&head).await?;
    let piece = vec![b'u'; 256 * 1024];
    let mut left = bytes;
    while left > 0 {
        let n = left.min(piece.len() as u64);
        connection.stream.write_all(&piece[..n as usize]).await?;
        left -= n;
    }
    connection.ask(b"").await?;
    Ok(bytes)
}

async fn noted(limit: Duration, exchange: impl Future<Output = io::Result<u64>>) -> Tally {
    let start = Instant::now();
    let bytes = within(limit, exchange).await;
    let mut tally = Tally::default();
    tally.note(start.elapsed(), bytes);
    tally
}
