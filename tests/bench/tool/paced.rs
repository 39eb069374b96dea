//! Requests at a fixed rate, whose time counts from the moment when they were due: whoever is late because
//! others are slow is slow, too.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use clap::Args;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::connection::{Where, within};
use crate::requests::ask;
use crate::tally::Tally;

/// How many a second, and for how long.
#[derive(Debug, Args)]
pub(crate) struct Paced {
    #[command(flatten)]
    at: Where,
    #[arg(long, default_value_t = 16)]
    connections: usize,
    #[arg(long, default_value_t = 1.5)]
    seconds: f64,
    /// Requests a second, all connections together.
    #[arg(long, default_value_t = 200)]
    rate: u32,
}

/// No request may take longer.
const LIMIT: Duration = Duration::from_secs(5);

impl Paced {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let start = Instant::now();
        let schedule = Schedule {
            next: Arc::default(),
            start,
            between: Duration::from_secs(1) / self.rate,
            end: start + Duration::from_secs_f64(self.seconds),
        };
        let mut visitors = JoinSet::new();
        for visitor in 0..self.connections {
            let request = self.at.request(visitor, "GET", "");
            visitors.spawn(visit(self.at.port, request, schedule.clone()));
        }
        Tally::print(visitors, start).await;
        Ok(())
    }
}

/// When requests are due; clones share it.
#[derive(Debug, Clone)]
struct Schedule {
    next: Arc<AtomicU32>,
    start: Instant,
    between: Duration,
    end: Instant,
}

impl Schedule {
    fn next(&self) -> Option<Instant> {
        let due = self.start + self.between * self.next.fetch_add(1, Ordering::Relaxed);
        (due < self.end).then_some(due)
    }
}

async fn visit(port: u16, request: Vec<u8>, schedule: Schedule) -> Tally {
    let mut tally = Tally::default();
    let mut connection = None;
    while let Some(due) = schedule.next() {
        sleep_until(due).await;
        let answer = within(LIMIT, ask(&mut connection, port, &request)).await;
        if answer.is_err() {
            connection = None;
        }
        tally.note(due.elapsed(), answer);
    }
    tally
}
