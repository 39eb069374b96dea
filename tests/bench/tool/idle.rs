//! Visitors who do nothing more: they have asked once, and hold their connection, or they have asked for
//! much and read none of it.

use std::io;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::time::sleep;

use crate::connection::{Connection, Where, within};

/// How many, and for how long at most.
#[derive(Debug, Args)]
pub(crate) struct Idle {
    #[command(flatten)]
    at: Where,
    #[arg(long, default_value_t = 64)]
    connections: usize,
    #[arg(long, default_value_t = 120.0)]
    seconds: f64,
    /// They do not read their answers.
    #[arg(long)]
    stalled: bool,
}

/// Nobody waits longer for an answer.
const LIMIT: Duration = Duration::from_secs(10);

impl Idle {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let mut held = Vec::with_capacity(self.connections);
        for visitor in 0..self.connections {
            held.push(within(LIMIT, self.visit(visitor)).await?);
        }
        println!("held {}", json!({ "visitors": held.len() }));
        sleep(Duration::from_secs_f64(self.seconds)).await;
        Ok(())
    }

    async fn visit(&self, visitor: usize) -> io::Result<Connection> {
        let request = self.at.request(visitor, "GET", "");
        let mut connection = Connection::open(self.at.port).await?;
        match self.stalled {
            true => connection.stream.write_all(&request).await?,
            false => drop(connection.ask(&request).await?),
        }
        Ok(connection)
    }
}
