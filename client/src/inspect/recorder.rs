//! The newest exchanges, as many as fit.

use std::collections::VecDeque;
use std::mem::take;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::watch;

use super::exchange::{Exchange, ExchangeId, State};
use super::kept::{Kept, Slot};
use super::log::{Log, Place};
use super::look::Look;
use super::recording::{Arrival, Recording};
use super::store::{Keep, KeepError, Store};
use super::summary::{Changes, Summary};

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Memory for all exchanges together, in bytes; the oldest make room. 64 MiB unless said otherwise.
    pub total_bytes: usize,
    /// How much of each body is kept, in bytes, and how much of an exchange's messages; 0: of bodies only
    /// the length. 1 MiB unless said otherwise. A request whose body was cut cannot be sent again.
    pub body_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            total_bytes: 64 * 1024 * 1024,
            body_bytes: 1024 * 1024,
        }
    }
}

/// Records what goes through a client's tunnels; clones are the same recorder.
///
/// Its locks are held for moments, so it may be asked from anywhere.
#[derive(Debug, Clone)]
pub struct Recorder(Option<Arc<Records>>);

/// What the clones of a recorder and those who write down share.
#[derive(Debug)]
pub(super) struct Records {
    pub(super) limits: Limits,
    /// What the exchanges that go on count for. A slot adds to it under its own lock.
    open: AtomicUsize,
    /// What those that are over count for.
    over: AtomicUsize,
    revision: AtomicU64,
    news: watch::Sender<u64>,
    /// Locked before that of a slot, never after it.
    ring: Mutex<Ring>,
    store: Option<Store>,
}

#[derive(Debug)]
struct Ring {
    next: u64,
    /// In the order of their numbers.
    entries: VecDeque<Entry>,
    log: Log,
}

/// Where an exchange is.
#[derive(Debug)]
struct Entry {
    id: ExchangeId,
    at: At,
}

#[derive(Debug)]
enum At {
    /// It goes on.
    Open(Arc<Slot>),
    /// It is over; its last change has this number.
    Over { place: Place, changed: u64 },
}

/// How many exchanges are looked at before others may have the lock: 64.
const AT_ONCE: usize = 64;

impl Recorder {
    /// Records within these limits.
    pub fn new(limits: Limits) -> Self {
        Self(Some(Arc::new(Records::new(limits, 1, None))))
    }

    /// Records within these limits, and keeps in a file what is over. What the file holds already is there
    /// from the start. Blocks on the disk.
    pub fn kept(limits: Limits, keep: &Keep) -> Result<Self, KeepError> {
        let (store, known) = Store::open(keep, limits.total_bytes)?;
        let records = Records::new(limits, known.last + 1, Some(store));
        let records = Arc::new(records);
        for exchange in known.exchanges {
            let id = exchange.id;
            records.file(id, Kept::of(exchange, limits.body_bytes));
        }
        Ok(Self(Some(records)))
    }

    /// Resolves when all that is over by now is in the file, if there is one. Cancel safety: safe.
    pub async fn saved(&self) {
        let store = self.0.as_ref().and_then(|records| records.store.as_ref());
        if let Some(told) = store.and_then(Store::saved) {
            let _ = told.await;
        }
    }

    /// How many exchanges are not in the file, because it could not be written to or not fast enough.
    pub fn missed(&self) -> u64 {
        let store = self.0.as_ref().and_then(|records| records.store.as_ref());
        store.map_or(0, Store::missed)
    }

    /// Records nothing, at no cost.
    pub fn off() -> Self {
        Self(None)
    }

    /// Whether anything is recorded.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Its limits; `None` if nothing is recorded.
    pub fn limits(&self) -> Option<Limits> {
        self.0.as_ref().map(|records| records.limits)
    }

    /// What the kept exchanges take in memory, in bytes.
    pub fn size(&self) -> usize {
        self.0.as_ref().map_or(0, |records| records.size())
    }

    /// Begins to write down an exchange.
    pub(crate) fn begin(&self, arrival: &Arrival<'_>) -> Recording {
        match &self.0 {
            Some(records) => Recording::new(records, arrival),
            None => Recording::off(),
        }
    }

    /// One exchange as it stands; `None` if it is gone.
    pub fn get(&self, id: ExchangeId) -> Option<Exchange> {
        self.0.as_ref()?.look(id, |look| look.exchange())
    }

    /// The exchanges after this one, oldest first; after `None` all.
    pub fn list(&self, after: Option<ExchangeId>, limit: usize) -> Vec<Exchange> {
        let all = self.summaries(after, limit).into_iter();
        all.filter_map(|one| self.get(one.id)).collect()
    }

    /// The same in short.
    pub fn summaries(&self, after: Option<ExchangeId>, limit: usize) -> Vec<Summary> {
        let mut next = after.map_or(ExchangeId(0), |id| ExchangeId(id.0.saturating_add(1)));
        let Some(records) = &self.0 else {
            return Vec::new();
        };
        let mut found = Vec::new();
        while found.len() < limit {
            let ring = records.ring();
            let start = ring.place(next);
            let room = AT_ONCE.min(limit - found.len());
            let entries = ring.entries.range(start..).take(room);
            let Some(last) = entries.clone().next_back() else {
                break;
            };
            next = ExchangeId(last.id.0 + 1);
            found.extend(entries.filter_map(|entry| ring.look(entry, |look| look.summary())));
        }
        found
    }

    /// The exchanges before this one in short, newest first; before `None` all.
    pub fn newest(&self, before: Option<ExchangeId>, limit: usize) -> Vec<Summary> {
        let Some(records) = &self.0 else {
            return Vec::new();
        };
        let mut before = before.unwrap_or(ExchangeId(u64::MAX));
        let mut found = Vec::new();
        while found.len() < limit {
            let ring = records.ring();
            let end = ring.place(before);
            let room = AT_ONCE.min(limit - found.len());
            let entries = ring.entries.range(..end).rev().take(room);
            let Some(first) = entries.clone().next_back() else {
                break;
            };
            before = first.id;
            found.extend(entries.filter_map(|entry| ring.look(entry, |look| look.summary())));
        }
        found
    }

    /// Forgets all exchanges. Those that go on are not written down any further.
    pub fn clear(&self) {
        let Some(records) = &self.0 else {
            return;
        };
        let last = {
            let mut ring = records.ring();
            while ring.log.drop_oldest().is_some() {}
            for entry in take(&mut ring.entries) {
                if let At::Open(slot) = entry.at {
                    records.forget(&slot);
                }
            }
            records.count(&ring);
            ExchangeId(ring.next - 1)
        };
        if let Some(store) = &records.store {
            store.clear(last);
        }
        records.changed();
    }

    /// Adds an exchange that was recorded elsewhere, as the newest, under a number of its own. `None` if
    /// nothing is recorded.
    pub fn insert(&self, exchange: Exchange) -> Option<ExchangeId> {
        let records = self.0.as_ref()?;
        let id = records.next_id();
        records.file(id, Kept::of(exchange, records.limits.body_bytes));
        records.over(id);
        Some(id)
    }

    /// The number of the last change, now and whenever it grows. Many changes may come as one.
    pub fn revision(&self) -> watch::Receiver<u64> {
        match &self.0 {
            Some(records) => {
                let receiver = records.news.subscribe();
                // While nobody listened, nobody was told.
                records.tell();
                receiver
            }
            // It never changes, and its receiver is told so.
            None => watch::channel(0).1,
        }
    }

    /// The exchange once it is over; `None` if it is gone. Cancel safety: safe.
    pub async fn ended(&self, id: ExchangeId) -> Option<Exchange> {
        let mut revision = self.revision();
        loop {
            let records = self.0.as_ref()?;
            if records.look(id, |look| look.facts.state != State::Open)? {
                return self.get(id);
            }
            revision.changed().await.ok()?;
        }
    }

    /// What is new since a revision; since 0 everything.
    pub fn changed_since(&self, revision: u64) -> Changes {
        let Some(records) = &self.0 else {
            return Changes {
                revision,
                changed: Vec::new(),
                oldest: ExchangeId(0),
                older: Vec::new(),
            };
        };
        // Before the look at the exchanges: what changes meanwhile is told once more the next time.
        let now = records.revision.load(Ordering::Acquire);
        let (changed, (oldest, older)) = {
            let ring = records.ring();
            let changed = ring.entries.iter().filter(|entry| match &entry.at {
                At::Over { changed, .. } => *changed > revision,
                At::Open(slot) => slot
                    .lock()
                    .as_ref()
                    .is_some_and(|kept| kept.changed > revision),
            });
            let changed: Vec<_> = changed.map(|entry| entry.id).collect();
            (changed, ring.oldest())
        };
        let looks = changed.into_iter();
        Changes {
            revision: now,
            changed: looks
                .filter_map(|id| records.look(id, |look| look.summary()))
                .collect(),
            oldest,
            older,
        }
    }
}

impl Ring {
    /// Where an exchange is, or the next one after it.
    fn place(&self, id: ExchangeId) -> usize {
        self.entries.partition_point(|entry| entry.id < id)
    }

    fn entry(&self, id: ExchangeId) -> Option<&Entry> {
        let entry = self.entries.get(self.place(id));
        entry.filter(|entry| entry.id == id)
    }

    /// The number before which all are gone, but for those that are named: they have not been over for as long
    /// as others of their age.
    fn oldest(&self) -> (ExchangeId, Vec<ExchangeId>) {
        let first = self.entries.front().map(|entry| entry.id);
        let first = self.log.oldest().or(first);
        let oldest = first.unwrap_or(ExchangeId(self.next));
        let ids = self.entries.iter().map(|entry| entry.id);
        (oldest, ids.take_while(|id| *id < oldest).collect())
    }

    /// Drops the entries of what has gone from the log: up to this number, so that the others, which are many,
    /// need not be looked at.
    fn drop_gone(&mut self, newest: ExchangeId) {
        let end = self.place(ExchangeId(newest.0 + 1));
        let is_here = |entry: &Entry| match &entry.at {
            At::Over { place, .. } => self.log.has(*place),
            At::Open(_) => true,
        };
        let here: Vec<_> = self.entries.drain(..end).filter(is_here).collect();
        for entry in here.into_iter().rev() {
            self.entries.push_front(entry);
        }
    }

    /// Looks at an exchange, if it is still there.
    fn look<T>(&self, entry: &Entry, look: impl FnOnce(Look<'_>) -> T) -> Option<T> {
        match &entry.at {
            At::Open(slot) => slot.lock().as_ref().map(|kept| look(kept.look(entry.id))),
            At::Over { place, .. } => Some(look(self.log.get(entry.id, *place)?)),
        }
    }
}

impl Records {
    fn new(limits: Limits, next: u64, store: Option<Store>) -> Self {
        Self {
            limits,
            open: AtomicUsize::new(0),
            over: AtomicUsize::new(0),
            revision: AtomicU64::new(0),
            news: watch::Sender::new(0),
            ring: Mutex::new(Ring {
                next,
                entries: VecDeque::new(),
                log: Log::new(limits.total_bytes),
            }),
            store,
        }
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().expect("nothing panics under this lock")
    }

    fn size(&self) -> usize {
        self.open.load(Ordering::Relaxed) + self.over.load(Ordering::Relaxed)
    }

    /// Looks at an exchange, if it is still there.
    pub(super) fn look<T>(&self, id: ExchangeId, mut look: impl FnMut(Look<'_>) -> T) -> Option<T> {
        // One that goes on can be looked at while others begin and end.
        let open = match &self.ring().entry(id)?.at {
            At::Open(slot) => Some(Arc::clone(slot)),
            At::Over { .. } => None,
        };
        if let Some(slot) = open
            && let Some(kept) = slot.lock().as_ref()
        {
            return Some(look(kept.look(id)));
        }
        // It may have ended just now.
        let ring = self.ring();
        ring.look(ring.entry(id)?, look)
    }

    fn next_id(&self) -> ExchangeId {
        let mut ring = self.ring();
        ring.next += 1;
        ExchangeId(ring.next - 1)
    }

    /// Adds an exchange that goes on, as the newest.
    pub(super) fn add(self: &Arc<Self>, mut kept: Kept) -> Arc<Slot> {
        kept.count(&self.open);
        let slot = {
            let mut ring = self.ring();
            // Whoever has heard of this revision must find the exchange.
            kept.changed = self.next_revision();
            let id = ExchangeId(ring.next);
            let slot = Arc::new(Slot::new(id, self, kept));
            ring.next += 1;
            ring.entries.push_back(Entry {
                id,
                at: At::Open(Arc::clone(&slot)),
            });
            slot
        };
        self.make_room();
        self.tell();
        slot
    }

    /// Writes something down, unless the exchange is over or there is no room for it any more. `change` says
    /// whether those who look are to be told.
    pub(super) fn write(&self, slot: &Slot, change: impl FnOnce(&mut Kept) -> bool) {
        let news = {
            let mut kept = slot.lock();
            let Some(kept) = kept.as_mut() else {
                return;
            };
            let news = change(kept);
            kept.count(&self.open);
            if news {
                kept.changed = self.next_revision();
            }
            news
        };
        self.make_room();
        if news {
            self.tell();
        }
    }

    /// Ends an exchange, after the last change.
    pub(super) fn end(self: &Arc<Self>, slot: &Slot, change: impl FnOnce(&mut Kept)) {
        {
            let mut ring = self.ring();
            // It leaves its slot and the ring together.
            let Some(mut kept) = self.forget(slot) else {
                return;
            };
            change(&mut kept);
            let place = ring.log.push(slot.id, kept);
            let changed = self.next_revision();
            let entry = ring.place(slot.id);
            ring.entries[entry].at = At::Over { place, changed };
            self.count(&ring);
        }
        self.make_room();
        self.tell();
        self.over(slot.id);
    }

    /// Adds an exchange that is over already.
    fn file(&self, id: ExchangeId, kept: Kept) {
        {
            let mut ring = self.ring();
            let place = ring.log.push(id, kept);
            let changed = self.next_revision();
            let at = At::Over { place, changed };
            let before = ring.place(id);
            ring.entries.insert(before, Entry { id, at });
            self.count(&ring);
        }
        self.make_room();
        self.tell();
    }

    /// Has an exchange that is over written to the file.
    fn over(self: &Arc<Self>, id: ExchangeId) {
        if let Some(store) = &self.store {
            store.write(self, id);
        }
    }

    /// Takes an exchange that goes on from those who write it down.
    fn forget(&self, slot: &Slot) -> Option<Kept> {
        let kept = slot.lock().take()?;
        self.open.fetch_sub(kept.size, Ordering::Relaxed);
        Some(kept)
    }

    /// Brings the size up to date with the log.
    fn count(&self, ring: &Ring) {
        self.over.store(ring.log.size(), Ordering::Relaxed);
    }

    /// Those that are over make room first.
    fn make_room(&self) {
        let too_much = || self.size() > self.limits.total_bytes;
        if !too_much() {
            return;
        }
        let mut ring = self.ring();
        let mut newest = None;
        while too_much()
            && let Some(dropped) = ring.log.drop_oldest()
        {
            self.count(&ring);
            newest = newest.max(Some(dropped));
        }
        if let Some(newest) = newest {
            ring.drop_gone(newest);
        }
        // Nothing that is over is left.
        while too_much()
            && let Some(oldest) = ring.entries.pop_front()
        {
            if let At::Open(slot) = oldest.at {
                self.forget(&slot);
            }
        }
    }

    fn changed(&self) {
        self.next_revision();
        self.tell();
    }

    fn next_revision(&self) -> u64 {
        self.revision.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Wakes those who look. Mostly there is nobody.
    fn tell(&self) {
        if self.news.receiver_count() > 0 {
            self.news.send_if_modified(|told| {
                let now = self.revision.load(Ordering::Acquire);
                std::mem::replace(told, now) < now
            });
        }
    }
}

#[cfg(test)]
mod tests;
