//! As many requests as there is time for.

use std::io;
use std::time::Duration;

use clap::Args;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::connection::{Connection, Where, within};
use crate::tally::Tally;

/// How many at once, and for how long.
#[derive(Debug, Args)]
pub(crate) struct Requests {
    #[command(flatten)]
    at: Where,
    #[arg(long, default_value_t = 64)]
    connections: usize,
    #[arg(long, default_value_t = 1.5)]
    seconds: f64,
    /// A new connection for each request.
    #[arg(long)]
    close: bool,
}

/// A visitor with so many errors gives up.
const PATIENCE: u64 = 20;

/// No request may take longer.
const LIMIT: Duration = Duration::from_secs(10);

/// One visitor asks no more often than this, so that there is an end to everything.
const MOST: usize = 1_000_000;

impl Requests {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let start = Instant::now();
        let end = start + Duration::from_secs_f64(self.seconds);
        let fields = if self.close {
            "connection: close\r\n"
        } else {
            ""
        };
        let mut visitors = JoinSet::new();
        for visitor in 0..self.connections {
            let request = self.at.request(visitor, "GET", fields);
            visitors.spawn(visit(self.at.port, request, self.close, end));
        }
        Tally::print(visitors, start).await;
        Ok(())
    }
}

async fn visit(port: u16, request: Vec<u8>, close: bool, end: Instant) -> Tally {
    let mut tally = Tally::default();
    let mut connection = None;
    for _ in 0..MOST {
        let asked = Instant::now();
        if asked >= end || tally.errors() > PATIENCE {
            break;
        }
        let answer = within(LIMIT, ask(&mut connection, port, &request)).await;
        if close || answer.is_err() {
            connection = None;
        }
        tally.note(asked.elapsed(), answer);
    }
    tally
}

/// Asks on the connection that there is, or on a new one.
pub(crate) async fn ask(
    connection: &mut Option<Connection>,
    port: u16,
    request: &[u8],
) -> io::Result<u64> {
    let connection = match connection {
        Some(connection) => connection,
        none => none.insert(Connection::open(port).await?),
    };
    connection.ask(request).await
}
