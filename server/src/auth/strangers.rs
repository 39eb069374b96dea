//! Counting what clients without a token have, by the host they come from.
//!
//! They are one account, and without this one of them could use up what all have together.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use ngrnotok_common::prefix::Prefix;

use crate::session::Count;

/// The hosts of strangers who have sessions.
#[derive(Debug, Default)]
pub(super) struct Strangers(Mutex<Hosts>);

#[derive(Debug, Default)]
struct Hosts {
    away: HashMap<Prefix, Weak<Count>>,
    /// With so many of them, those that nobody uses any more are forgotten.
    full: usize,
}

/// Hosts that are remembered before the first look for those that nobody uses.
const FIRST_LOOK: usize = 1024;

impl Strangers {
    /// The count of sessions without a link that were opened from the host with an address.
    pub(super) fn away(&self, address: IpAddr) -> Arc<Count> {
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Hosts { away, full } = &mut *hosts;
        if away.len() >= *full {
            away.retain(|_, count| count.strong_count() > 0);
            *full = FIRST_LOOK.max(2 * away.len());
        }
        let known = away.entry(Prefix::of(address)).or_default();
        known.upgrade().unwrap_or_else(|| {
            let count = Arc::default();
            *known = Arc::downgrade(&count);
            count
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_host_has_one_count_and_those_who_have_left_are_forgotten() {
        let strangers = Strangers::default();
        let of = |address: &str| strangers.away(address.parse().unwrap());
        let here = of("2001:db8:0:1::1");
        assert!(Arc::ptr_eq(&here, &of("2001:db8:0:1:ffff::")));
        assert!(!Arc::ptr_eq(&here, &of("2001:db8:0:2::1")));
        for n in 0..3 * FIRST_LOOK as u32 {
            strangers.away(Ipv4Addr::from(n).into());
            let remembered = strangers.0.lock().unwrap().away.len();
            assert!(remembered <= FIRST_LOOK, "{remembered}");
        }
        assert!(Arc::ptr_eq(&here, &of("2001:db8:0:1::2")));
    }
}
