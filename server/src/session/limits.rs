//! What the sessions of one token may do, all of them together, as the path of a request asks it.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use ngrnotok_common::protocol::cause::{Cause, Limit, LimitName};
use tokio::time::Instant;

use super::meter::Meter;

/// How much of what. `None` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Caps {
    /// Requests, and whatever they became, that are open at once.
    pub streams: Option<NonZeroU32>,
    /// Requests that come in a minute. So many may come at once after a minute without any.
    pub requests_per_minute: Option<NonZeroU32>,
    /// Bytes of bodies, and of what upgraded connections carry, both ways together.
    pub bytes_per_second: Option<NonZeroU32>,
}

/// Counts against [`Caps`]. Sessions that share it share what it allows.
#[derive(Debug)]
pub struct Limits {
    /// Whether there is any cap: the one question that a request without limits is asked.
    any: AtomicBool,
    /// 0: none.
    max_streams: AtomicU32,
    open: AtomicU32,
    requests: Meter,
    bytes: Meter,
}

/// A minute's requests may come at once, for a page comes with all that is on it.
const MINUTE: Duration = Duration::from_secs(60);

const SECOND: Duration = Duration::from_secs(1);

/// What may pass at once after a pause: so much of a second's bytes. Enough for small answers to
/// notice nothing, and too little to be seen in a second's sum.
const BYTES_AHEAD: Duration = Duration::from_millis(250);

impl Limits {
    /// Limits at these caps.
    pub fn new(caps: Caps) -> Arc<Self> {
        let limits = Self {
            any: AtomicBool::new(false),
            max_streams: AtomicU32::new(0),
            open: AtomicU32::new(0),
            requests: Meter::new(MINUTE, MINUTE),
            bytes: Meter::new(SECOND, BYTES_AHEAD),
        };
        limits.set(caps);
        Arc::new(limits)
    }

    /// Puts other caps in the place of those that hold. Bodies that are on their way keep theirs.
    pub fn set(&self, caps: Caps) {
        let Caps {
            streams,
            requests_per_minute,
            bytes_per_second,
        } = caps;
        let number = |cap: Option<NonZeroU32>| cap.map_or(0, NonZeroU32::get);
        self.max_streams.store(number(streams), Ordering::Relaxed);
        self.requests.set(number(requests_per_minute));
        self.bytes.set(number(bytes_per_second));
        self.any.store(caps != Caps::default(), Ordering::Relaxed);
    }

    /// Lets a request in, or says which limit it would go over. Without any cap there is nothing to
    /// remember.
    pub(super) fn admit(self: &Arc<Self>) -> Result<Option<Within>, Cause> {
        if !self.any.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let open = self.open.fetch_add(1, Ordering::Relaxed);
        let within = Within(Arc::clone(self));
        let max_streams = self.max_streams.load(Ordering::Relaxed);
        if max_streams != 0 && open >= max_streams {
            return Err(Cause::OverLimit(Some(Limit {
                name: LimitName::MaxStreams,
                number: max_streams,
            })));
        }
        // Last, because who is turned away for another reason costs nothing of the minute.
        if !self.requests.take() {
            return Err(Cause::OverRate(Some(Limit {
                name: LimitName::MaxRequestsPerMinute,
                number: self.requests.rate(),
            })));
        }
        Ok(Some(within))
    }

    /// Counts bytes and says when it is their turn; `None`: now.
    pub(super) fn charge(&self, bytes: usize) -> Option<Instant> {
        self.bytes.charge(bytes)
    }
}

/// A request that is within the limits; it counts as open until it is dropped.
#[derive(Debug)]
pub(super) struct Within(Arc<Limits>);

impl Within {
    /// The limits, if they are on bytes.
    pub(super) fn on_bytes(&self) -> Option<Arc<Limits>> {
        (self.0.bytes.rate() != 0).then(|| Arc::clone(&self.0))
    }
}

impl Drop for Within {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caps(streams: u32, requests_per_minute: u32) -> Caps {
        Caps {
            streams: NonZeroU32::new(streams),
            requests_per_minute: NonZeroU32::new(requests_per_minute),
            bytes_per_second: None,
        }
    }

    #[test]
    fn without_caps_nothing_is_counted() {
        let limits = Limits::new(Caps::default());
        assert!(limits.admit().unwrap().is_none());
        assert_eq!(limits.open.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn streams_are_given_back_and_the_limit_is_named() {
        let limits = Limits::new(caps(2, 0));
        let first = limits.admit().unwrap();
        let _second = limits.admit().unwrap();
        for _ in 0..3 {
            let refused = limits.admit().unwrap_err();
            assert_eq!(refused.code(), "over_limit");
            assert_eq!(refused.limit().unwrap().to_string(), "max-streams is 2");
        }
        drop(first);
        limits.admit().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn requests_are_counted_and_the_limit_is_named() {
        let limits = Limits::new(caps(0, 30));
        for _ in 0..30 {
            limits.admit().unwrap();
        }
        let refused = limits.admit().unwrap_err();
        assert_eq!(refused.code(), "over_rate");
        let limit = refused.limit().unwrap();
        assert_eq!(limit.to_string(), "max-requests-per-minute is 30");
        assert_eq!(limits.open.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_without_a_stream_costs_nothing_of_the_minute() {
        let limits = Limits::new(caps(1, 2));
        let open = limits.admit().unwrap();
        for _ in 0..10 {
            assert_eq!(limits.admit().unwrap_err().code(), "over_limit");
        }
        drop(open);
        limits.admit().unwrap();
        assert_eq!(limits.admit().unwrap_err().code(), "over_rate");
    }

    #[tokio::test(start_paused = true)]
    async fn caps_can_change_while_sessions_live() {
        let limits = Limits::new(Caps::default());
        let _unlimited = limits.admit().unwrap();
        limits.set(caps(1, 0));
        let _one = limits.admit().unwrap().unwrap();
        limits.admit().unwrap_err();
        limits.set(caps(2, 0));
        let _two = limits.admit().unwrap().unwrap();
        limits.set(Caps::default());
        assert!(limits.admit().unwrap().is_none());
    }
}
