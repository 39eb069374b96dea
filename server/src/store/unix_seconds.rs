//! The store's times.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use serde::{Serialize, Serializer};

/// A time on the wall clock, in whole seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixSeconds(pub i64);

impl UnixSeconds {
    /// The time now; a clock that stands before 1970 reads as 1970.
    pub fn now() -> Self {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
    }
}

impl Add<Duration> for UnixSeconds {
    type Output = Self;

    fn add(self, later: Duration) -> Self {
        Self(self.0.saturating_add_unsigned(later.as_secs()))
    }
}

impl Sub<Duration> for UnixSeconds {
    type Output = Self;

    fn sub(self, earlier: Duration) -> Self {
        Self(self.0.saturating_sub_unsigned(earlier.as_secs()))
    }
}

/// `2026-11-23 02:05 UTC`
impl fmt::Display for UnixSeconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Timestamp::from_second(self.0) {
            Ok(time) => time.strftime("%Y-%m-%d %H:%M UTC").fmt(f),
            // Further away than any calendar goes.
            Err(_) => write!(f, "{} s after 1970", self.0),
        }
    }
}

/// For programs: RFC 3339, `2026-11-23T02:05:36Z`.
impl Serialize for UnixSeconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match Timestamp::from_second(self.0) {
            Ok(time) => serializer.collect_str(&time),
            Err(_) => serializer.serialize_i64(self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn now_is_after_this_was_written() {
        assert!(UnixSeconds::now() > UnixSeconds(1_700_000_000));
    }

    #[test]
    fn times_are_shown_for_people_and_for_programs() {
        for (time, people, programs) in [
            (0, "1970-01-01 00:00 UTC", "\"1970-01-01T00:00:00Z\""),
            (
                1_795_399_536,
                "2026-11-23 02:05 UTC",
                "\"2026-11-23T02:05:36Z\"",
            ),
            (
                i64::MAX,
                "9223372036854775807 s after 1970",
                "9223372036854775807",
            ),
        ] {
            let time = UnixSeconds(time);
            assert_eq!(time.to_string(), people);
            assert_eq!(serde_json::to_string(&time).unwrap(), programs);
        }
    }
}
