//! How many streams a session may have open for visitors, and how many of them one visitor. Places in which
//! visitors wait are shared out likewise.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use ngrnotok_common::prefix::Prefix;

/// Counts open streams against a limit, and those of one address against a share of it. Whoever comes when
/// all are taken is told so at once; HTTP/2 itself would let them wait without an end.
#[derive(Debug)]
pub(crate) struct Slots {
    taken: Arc<Taken>,
    limit: usize,
    share: usize,
}

#[derive(Debug, Default)]
struct Taken {
    all: AtomicUsize,
    /// Without those that have none. Held for a look and no longer.
    by_address: Mutex<HashMap<Prefix, usize>>,
}

/// What one address may have of all streams: a quarter, so that three visitors who hold all they can leave
/// room for the others.
const SHARE: usize = 4;

/// And at least 128, as much as one HTTP/2 connection of a visitor asks for at once.
const LEAST_SHARE: usize = 128;

/// Why there is no slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// All are taken.
    All,
    /// The address has its share.
    Share,
}

/// One open stream; gives its place back on drop.
#[derive(Debug)]
pub struct Slot {
    taken: Arc<Taken>,
    address: Prefix,
}

impl Slots {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            taken: Arc::default(),
            limit,
            share: (limit / SHARE).max(LEAST_SHARE),
        }
    }

    /// A slot for a visitor with this address.
    pub(crate) fn take(&self, address: Prefix) -> Result<Slot, Full> {
        let mut by_address = self.taken.by_address();
        if self.taken() >= self.limit {
            return Err(Full::All);
        }
        let of_address = by_address.entry(address).or_default();
        if *of_address >= self.share {
            return Err(Full::Share);
        }
        *of_address += 1;
        self.taken.all.fetch_add(1, Ordering::Relaxed);
        drop(by_address);
        let taken = Arc::clone(&self.taken);
        Ok(Slot { taken, address })
    }

    /// How much of `full` there is.
    pub(super) fn number(&self, full: Full) -> usize {
        match full {
            Full::All => self.limit,
            Full::Share => self.share,
        }
    }

    pub(super) fn taken(&self) -> usize {
        self.taken.all.load(Ordering::Relaxed)
    }
}

impl Taken {
    fn by_address(&self) -> MutexGuard<'_, HashMap<Prefix, usize>> {
        self.by_address
            .lock()
            .expect("nothing panics under this lock")
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut by_address = self.taken.by_address();
        self.taken.all.fetch_sub(1, Ordering::Relaxed);
        if let Entry::Occupied(mut of_address) = by_address.entry(self.address) {
            *of_address.get_mut() -= 1;
            if *of_address.get() == 0 {
                of_address.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::iter::repeat_with;

    use super::*;

    fn address(address: &str) -> Prefix {
        Prefix::of(address.parse().unwrap())
    }

    #[test]
    fn places_are_given_back() {
        let (slots, here) = (Slots::new(2), address("192.0.2.1"));
        let first = slots.take(here).unwrap();
        let _second = slots.take(address("192.0.2.2")).unwrap();
        assert_eq!(slots.take(here).unwrap_err(), Full::All);
        drop(first);
        slots.take(here).unwrap();
        assert_eq!(slots.taken(), 1);
        assert_eq!(slots.taken.by_address().len(), 1);
    }

    #[test]
    fn one_address_has_a_quarter_and_leaves_the_rest_to_others() {
        let slots = Slots::new(2047);
        let mut held: Vec<_> = repeat_with(|| slots.take(address("192.0.2.1")))
            .map_while(Result::ok)
            .collect();
        assert_eq!(held.len(), 511);
        assert_eq!(slots.take(address("192.0.2.1")).unwrap_err(), Full::Share);
        // All of an IPv6 network of 64 bits is one visitor, and others are others.
        for n in 0..511 {
            let address = address(&format!("2001:db8::{n:x}"));
            held.push(slots.take(address).unwrap());
        }
        assert_eq!(
            slots.take(address("2001:db8::ffff:0:1")).unwrap_err(),
            Full::Share
        );
        held.push(slots.take(address("2001:db8:0:1::1")).unwrap());
        held.push(slots.take(address("192.0.2.2")).unwrap());
        // What was given back can be had again.
        held.remove(0);
        held.push(slots.take(address("192.0.2.1")).unwrap());
        drop(held);
        assert!(slots.taken.by_address().is_empty());
    }

    #[test]
    fn few_streams_are_for_everybody() {
        let (slots, here) = (Slots::new(100), address("192.0.2.1"));
        let held: Vec<_> = repeat_with(|| slots.take(here))
            .map_while(Result::ok)
            .collect();
        assert_eq!(held.len(), 100);
        assert_eq!(slots.take(here).unwrap_err(), Full::All);
    }
}
