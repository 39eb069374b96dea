//! What visitors have seen, and its one line of JSON.

use std::io;
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// What one visitor, or all of them together, have seen.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    latencies: Vec<Duration>,
    bytes: u64,
    errors: u64,
    last_error: Option<io::Error>,
}

impl Tally {
    /// A request that took so long, with so many bytes of body; or none.
    pub(crate) fn note(&mut self, took: Duration, bytes: io::Result<u64>) {
        match bytes {
            Ok(bytes) => {
                self.latencies.push(took);
                self.bytes += bytes;
            }
            Err(error) => {
                self.errors += 1;
                self.last_error = Some(error);
            }
        }
    }

    pub(crate) fn errors(&self) -> u64 {
        self.errors
    }

    /// What all visitors have seen since `start`, in one line.
    pub(crate) async fn print(visitors: JoinSet<Self>, start: Instant) {
        let mut all = Self::default();
        for tally in visitors.join_all().await {
            all.latencies.extend(tally.latencies);
            all.bytes += tally.bytes;
            all.errors += tally.errors;
            all.last_error = tally.last_error.or(all.last_error);
        }
        all.latencies.sort_unstable();
        let line = json!({
            "requests": all.latencies.len(),
            "bytes": all.bytes,
            "seconds": start.elapsed().as_secs_f64(),
            "p50_ms": all.percentile(50),
            "p99_ms": all.percentile(99),
            "errors": all.errors,
            "last_error": all.last_error.map(|error| error.to_string()),
        });
        println!("{line}");
    }

    fn percentile(&self, percent: usize) -> Option<f64> {
        let at = self.latencies.len().checked_sub(1)? * percent / 100;
        Some(self.latencies[at].as_secs_f64() * 1e3)
    }
}
