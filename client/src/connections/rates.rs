//! How often something comes, as go-metrics averages it.

use std::time::Duration;

/// How often an average takes in what has come: 5 s.
pub(super) const TICK: Duration = Duration::from_secs(5);

/// Averages over 1 and 5 minutes.
#[derive(Debug, Default)]
pub(super) struct Rates {
    /// All that had come at the last tick.
    counted: u64,
    /// A second; `None` before the first tick.
    averages: Option<[f64; 2]>,
}

/// By how much of a new rate an average over 1 or 5 minutes moves at a tick.
fn alphas() -> [f64; 2] {
    [1.0, 5.0].map(|minutes: f64| 1.0 - (-TICK.as_secs_f64() / 60.0 / minutes).exp())
}

impl Rates {
    /// So many ticks have gone by. What has come since the last one came before the first of these, and
    /// nothing after it.
    #[expect(clippy::cast_precision_loss, reason = "far below 2⁵² of anything")]
    pub(super) fn tick(&mut self, all: u64, ticks: u64) {
        let rate = (all - self.counted) as f64 / TICK.as_secs_f64();
        self.counted = all;
        let silent = (ticks - 1) as f64;
        let before = self.averages;
        let mut next = alphas();
        for (place, alpha) in next.iter_mut().enumerate() {
            let rate = before.map_or(rate, |before| {
                before[place] + *alpha * (rate - before[place])
            });
            // Each tick without anything takes the same part away.
            *alpha = rate * (1.0 - *alpha).powf(silent);
        }
        self.averages = Some(next);
    }

    /// Over 1 and 5 minutes.
    pub(super) fn rates(&self) -> [f64; 2] {
        self.averages.unwrap_or_default()
    }
}
