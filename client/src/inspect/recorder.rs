//! The newest exchanges, as many as fit.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::watch;

use super::exchange::{Exchange, ExchangeId, State};
use super::kept::{Kept, Slot};
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
    /// What all slots count for. A slot adds to it under its own lock.
    pub(super) size: AtomicUsize,
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
    slots: VecDeque<Arc<Slot>>,
}

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
        for exchange in known.exchanges {
            let id = exchange.id;
            let mut kept = Kept::of(exchange, limits.body_bytes);
            kept.count(&records.size);
            kept.changed = records.next_revision();
            let slot = Arc::new(Slot::new(id, kept));
            records.ring().slots.push_back(slot);
        }
        records.make_room();
        Ok(Self(Some(Arc::new(records))))
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
        self.0
            .as_ref()
            .map_or(0, |records| records.size.load(Ordering::Relaxed))
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
        let slot = self.0.as_ref()?.ring().find(id)?;
        Some(slot.view())
    }

    /// The exchanges after this one, oldest first; after `None` all.
    pub fn list(&self, after: Option<ExchangeId>, limit: usize) -> Vec<Exchange> {
        let slots = self.after(after, limit);
        slots.iter().map(|slot| slot.view()).collect()
    }

    /// The same in short.
    pub fn summaries(&self, after: Option<ExchangeId>, limit: usize) -> Vec<Summary> {
        summaries(&self.after(after, limit))
    }

    /// The exchanges before this one in short, newest first; before `None` all.
    pub fn newest(&self, before: Option<ExchangeId>, limit: usize) -> Vec<Summary> {
        let Some(records) = &self.0 else {
            return Vec::new();
        };
        let slots: Vec<_> = {
            let ring = records.ring();
            let end = before.map_or(ring.slots.len(), |id| ring.place(id));
            let slots = ring.slots.range(..end).rev();
            slots.take(limit).cloned().collect()
        };
        summaries(&slots)
    }

    /// Forgets all exchanges. Those that go on are not written down any further.
    pub fn clear(&self) {
        let Some(records) = &self.0 else {
            return;
        };
        let (slots, last) = {
            let mut ring = records.ring();
            (std::mem::take(&mut ring.slots), ExchangeId(ring.next - 1))
        };
        if let Some(store) = &records.store {
            store.clear(last);
        }
        for slot in slots {
            slot.forget(&records.size);
        }
        records.changed();
    }

    /// Adds an exchange that was recorded elsewhere, as the newest, under a number of its own. `None` if
    /// nothing is recorded.
    pub fn insert(&self, exchange: Exchange) -> Option<ExchangeId> {
        let records = self.0.as_ref()?;
        let kept = Kept::of(exchange, records.limits.body_bytes);
        let slot = records.add(kept);
        records.over(&slot);
        Some(slot.id)
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
            let slot = self.0.as_ref()?.ring().find(id)?;
            if slot.lock().state != State::Open {
                return Some(slot.view());
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
            };
        };
        // Before the look at the slots: what changes meanwhile is told once more the next time.
        let now = records.revision.load(Ordering::Acquire);
        let (slots, oldest) = {
            let ring = records.ring();
            let slots: Vec<_> = ring.slots.iter().cloned().collect();
            (slots, ring.oldest())
        };
        let changed = slots.iter().filter_map(|slot| {
            let kept = slot.lock();
            let news = kept.changed > revision && !kept.gone;
            news.then(|| kept.summary(slot.id))
        });
        Changes {
            revision: now,
            changed: changed.collect(),
            oldest,
        }
    }

    fn after(&self, after: Option<ExchangeId>, limit: usize) -> Vec<Arc<Slot>> {
        let Some(records) = &self.0 else {
            return Vec::new();
        };
        let ring = records.ring();
        let start = after.map_or(0, |id| ring.place(ExchangeId(id.0.saturating_add(1))));
        let slots = ring.slots.range(start..);
        slots.take(limit).cloned().collect()
    }
}

fn summaries(slots: &[Arc<Slot>]) -> Vec<Summary> {
    slots
        .iter()
        .map(|slot| slot.lock().summary(slot.id))
        .collect()
}

impl Ring {
    /// Where an exchange is, or the next one after it.
    fn place(&self, id: ExchangeId) -> usize {
        self.slots.partition_point(|slot| slot.id < id)
    }

    fn find(&self, id: ExchangeId) -> Option<Arc<Slot>> {
        let slot = self.slots.get(self.place(id))?;
        (slot.id == id).then(|| Arc::clone(slot))
    }

    fn oldest(&self) -> ExchangeId {
        let first = self.slots.front().map(|slot| slot.id);
        first.unwrap_or(ExchangeId(self.next))
    }
}

impl Records {
    fn new(limits: Limits, next: u64, store: Option<Store>) -> Self {
        Self {
            limits,
            size: AtomicUsize::new(0),
            revision: AtomicU64::new(0),
            news: watch::Sender::new(0),
            ring: Mutex::new(Ring {
                next,
                slots: VecDeque::new(),
            }),
            store,
        }
    }

    /// An exchange is over.
    pub(super) fn over(&self, slot: &Arc<Slot>) {
        if let Some(store) = &self.store {
            store.write(slot);
        }
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().expect("nothing panics under this lock")
    }

    /// Adds an exchange as the newest.
    pub(super) fn add(&self, mut kept: Kept) -> Arc<Slot> {
        let slot = {
            let mut ring = self.ring();
            kept.count(&self.size);
            kept.changed = self.next_revision();
            let slot = Arc::new(Slot::new(ExchangeId(ring.next), kept));
            ring.next += 1;
            ring.slots.push_back(Arc::clone(&slot));
            slot
        };
        self.make_room();
        self.tell();
        slot
    }

    /// Writes something down, unless there is no room for this exchange any more. `change` says whether
    /// those who look are to be told.
    pub(super) fn write(&self, slot: &Slot, change: impl FnOnce(&mut Kept) -> bool) {
        let news = {
            let mut kept = slot.lock();
            if kept.gone {
                return;
            }
            let news = change(&mut kept);
            kept.count(&self.size);
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

    fn make_room(&self) {
        let too_much = || self.size.load(Ordering::Relaxed) > self.limits.total_bytes;
        if !too_much() {
            return;
        }
        let mut ring = self.ring();
        while too_much()
            && let Some(oldest) = ring.slots.pop_front()
        {
            oldest.forget(&self.size);
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
