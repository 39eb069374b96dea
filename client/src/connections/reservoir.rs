//! A sample of durations that stands for the last few minutes: the forward-decaying priority reservoir of
//! Cormode and others (2009), as go-metrics has it.
//!
//! Each duration gets a weight of exp(α · when it came) and a priority of that weight by a random number; the
//! highest priorities stay. Priorities are kept as their logarithms, so they never have to be scaled down.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::Duration;

/// How many durations are kept.
const SIZE: usize = 1028;

/// How fast older ones lose weight, a second.
const ALPHA: f64 = 0.015;

#[derive(Debug, Default)]
pub(super) struct Reservoir {
    /// The lowest priority first.
    kept: BinaryHeap<Kept>,
    random: u64,
}

#[derive(Debug)]
struct Kept {
    priority: f64,
    seconds: f32,
}

impl Ord for Kept {
    fn cmp(&self, other: &Self) -> Ordering {
        other.priority.total_cmp(&self.priority)
    }
}

impl PartialOrd for Kept {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Kept {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Kept {}

impl Reservoir {
    /// Takes in a duration that ended at this moment, counted from any fixed one.
    pub(super) fn take(&mut self, at: Duration, took: Duration) {
        let priority = ALPHA * at.as_secs_f64() - self.random().ln();
        let new = Kept {
            priority,
            seconds: took.as_secs_f32(),
        };
        if self.kept.len() < SIZE {
            self.kept.push(new);
        } else if let Some(mut lowest) = self.kept.peek_mut()
            && lowest.priority < priority
        {
            *lowest = new;
        }
    }

    /// The durations, in seconds.
    pub(super) fn sorted(&self) -> Vec<f64> {
        let mut seconds: Vec<f64> = self.kept.iter().map(|kept| kept.seconds.into()).collect();
        seconds.sort_by(f64::total_cmp);
        seconds
    }

    /// Above 0 and at most 1. Nobody gains by guessing it: SplitMix64.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are left")]
    fn random(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.random;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        ((bits >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }
}

/// What this part of the sorted values does not exceed, between two of them in proportion; 0 of none.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a place among a thousand"
)]
pub(super) fn percentile(sorted: &[f64], part: f64) -> f64 {
    let (Some(first), Some(last)) = (sorted.first(), sorted.last()) else {
        return 0.0;
    };
    let place = part * (sorted.len() + 1) as f64;
    if place < 1.0 {
        *first
    } else if place >= sorted.len() as f64 {
        *last
    } else {
        let below = sorted[place as usize - 1];
        let above = sorted[place as usize];
        below + place.fract() * (above - below)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn of_few_every_one_counts() {
        let mut reservoir = Reservoir::default();
        for took in (1..=9).rev() {
            reservoir.take(Duration::ZERO, seconds(f64::from(took)));
        }
        let sorted = reservoir.sorted();
        // Place 0.5 · 10 is the fifth; place 0.9 · 10 the last; place 0.25 · 10 between the second and third.
        assert_eq!(percentile(&sorted, 0.5), 5.0);
        assert_eq!(percentile(&sorted, 0.9), 9.0);
        assert_eq!(percentile(&sorted, 0.25), 2.5);
        assert_eq!(percentile(&[], 0.5), 0.0);
        assert_eq!(percentile(&[7.0], 0.5), 7.0);
    }

    #[test]
    fn of_many_at_one_time_the_sample_is_fair() {
        let mut reservoir = Reservoir::default();
        for took in 0..100_000 {
            reservoir.take(Duration::ZERO, seconds(f64::from(took) / 100_000.0));
        }
        let sorted = reservoir.sorted();
        assert_eq!(sorted.len(), SIZE);
        // Four times the standard error of such a sample: √(p(1−p)/1028).
        assert!((percentile(&sorted, 0.5) - 0.5).abs() < 0.063);
        assert!((percentile(&sorted, 0.9) - 0.9).abs() < 0.038);
    }

    #[test]
    fn the_last_minutes_count_most() {
        let mut reservoir = Reservoir::default();
        let (old, new) = (seconds(1.0), seconds(2.0));
        // Every 10 ms for an hour, and others for the next two minutes.
        let moment = |step: u32| seconds(f64::from(step) / 100.0);
        for step in 0..360_000 {
            reservoir.take(moment(step), old);
        }
        for step in 360_000..372_000 {
            reservoir.take(moment(step), new);
        }
        let sorted = reservoir.sorted();
        let share = sorted.iter().filter(|took| **took == 2.0).count() as f64 / SIZE as f64;
        // Of all the weight, ∫ exp(αt), the last 120 s hold 1 − exp(−120α) = 0.835. A sample of the highest
        // priorities holds a little more of the light ones than their share.
        assert!((0.75..0.88).contains(&share), "{share}");
    }
}
