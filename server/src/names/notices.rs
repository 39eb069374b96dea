//! Lines of the log that clients can bring about, each told once in a while.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// For how long a line is not told again: 1 h.
const AGAIN: Duration = Duration::from_secs(60 * 60);

/// Lines that are remembered: 256. As long as all of them are young no other one is told.
const MOST: usize = 256;

/// What the log was told, and when.
#[derive(Debug, Default)]
pub(super) struct Notices(Mutex<HashMap<Box<str>, Instant>>);

impl Notices {
    /// Whether the log may be told of this subject now.
    pub(super) fn admit(&self, subject: &str) -> bool {
        let now = Instant::now();
        let is_young = |told: &Instant| now.duration_since(*told) < AGAIN;
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.get(subject).is_some_and(is_young) {
            return false;
        }
        if told.len() >= MOST {
            told.retain(|_, told| is_young(told));
            if told.len() >= MOST {
                return false;
            }
        }
        told.insert(subject.into(), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_subject_is_told_once_an_hour_and_only_so_many_are() {
        let notices = Notices::default();
        for _ in 0..2 {
            assert!(notices.admit("app.example.com"));
            assert!(!notices.admit("app.example.com"));
            let told = (0..MOST * 2).filter(|n| notices.admit(&n.to_string()));
            assert_eq!(told.count(), MOST - 1);
            advance(AGAIN).await;
        }
    }
}
