//! Exchanges that are over, one behind the other in a few large pieces of memory.
//!
//! There are thousands of them, and mostly nobody looks. In pieces of its own each would cost as many
//! allocations in memory that has long left the processor's caches, and again as many when it makes room.
//! Here it is written once, behind the last one, and goes with its section.

use std::collections::VecDeque;
use std::mem::take;
use std::ops::Range;

use bytes::Bytes;
use http::{StatusCode, Version};

use super::exchange::{ExchangeId, Message};
use super::kept::{Facts, Kept, KeptHalf};
use super::look::{Half, Look, Run};
use super::pieces::Fields;

/// The exchanges that are over, in the order of their ends.
#[derive(Debug)]
pub(super) struct Log {
    sections: VecDeque<Section>,
    /// The number of the first section.
    first: u64,
    /// How much goes into a section, in bytes.
    section: usize,
    size: usize,
}

/// Where an exchange is, as long as its section is there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    section: u64,
    index: u32,
}

/// Exchanges that go together.
#[derive(Debug, Default)]
struct Section {
    done: Vec<Done>,
    bytes: Vec<u8>,
    /// What lies elsewhere, in bytes.
    apart: usize,
    /// The smallest number, and the largest.
    oldest: Option<ExchangeId>,
    newest: Option<ExchangeId>,
}

#[derive(Debug)]
struct Done {
    facts: Facts,
    uri: Range<u32>,
    request: DoneHalf,
    answer: Option<(StatusCode, Version, DoneHalf)>,
    messages: Box<[Message]>,
}

#[derive(Debug)]
struct DoneHalf {
    fields: Range<u32>,
    body: Stretch,
    total: u64,
    ended: bool,
    trailers: Option<Range<u32>>,
}

#[derive(Debug)]
enum Stretch {
    Here(Range<u32>),
    Apart(Bytes),
}

/// A larger body stays where it is: to copy it would cost more than its own piece of memory. 64 KiB.
const APART: usize = 64 * 1024;

impl Log {
    /// For so many bytes of exchanges. A section is a small part of them, because it goes as a whole.
    pub(super) fn new(total: usize) -> Self {
        Self {
            sections: VecDeque::new(),
            first: 0,
            section: (total / 64).min(1024 * 1024),
            size: 0,
        }
    }

    /// What it takes in memory, in bytes.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Adds an exchange.
    pub(super) fn push(&mut self, id: ExchangeId, kept: Kept) -> Place {
        if self
            .sections
            .back()
            .is_none_or(|last| last.used() >= self.section)
        {
            let next = self
                .sections
                .back()
                .map_or_else(Section::default, Section::next);
            self.size += next.size();
            self.sections.push_back(next);
        }
        let last = self.sections.back_mut().expect("there is one");
        self.size -= last.size();
        let index = last.done.len() as u32;
        last.push(id, kept);
        self.size += last.size();
        Place {
            section: self.first + self.sections.len() as u64 - 1,
            index,
        }
    }

    /// An exchange, if it is still there.
    pub(super) fn get(&self, id: ExchangeId, place: Place) -> Option<Look<'_>> {
        let section = place.section.checked_sub(self.first)?;
        self.sections.get(section as usize)?.look(id, place.index)
    }

    /// Whether an exchange is still there.
    pub(super) fn has(&self, place: Place) -> bool {
        place.section >= self.first
    }

    /// The smallest number among those that will be forgotten next.
    pub(super) fn oldest(&self) -> Option<ExchangeId> {
        self.sections.front()?.oldest
    }

    /// Forgets those that have been over for the longest time, and tells the largest number among them. `None`
    /// if there are none.
    pub(super) fn drop_oldest(&mut self) -> Option<ExchangeId> {
        let oldest = self.sections.pop_front()?;
        self.first += 1;
        self.size -= oldest.size();
        oldest.newest
    }
}

impl Section {
    /// An empty one that will need as much as this one.
    fn next(&self) -> Self {
        Self {
            done: Vec::with_capacity(self.done.len() + self.done.len() / 8),
            bytes: Vec::with_capacity(self.bytes.len() + self.bytes.len() / 8),
            ..Self::default()
        }
    }

    fn used(&self) -> usize {
        self.done.len() * size_of::<Done>() + self.bytes.len() + self.apart
    }

    fn size(&self) -> usize {
        size_of::<Self>()
            + self.done.capacity() * size_of::<Done>()
            + self.bytes.capacity()
            + self.apart
    }

    fn push(&mut self, id: ExchangeId, kept: Kept) {
        self.oldest = Some(self.oldest.map_or(id, |oldest| oldest.min(id)));
        self.newest = self.newest.max(Some(id));
        self.apart += kept.messages_memory() + kept.facts.apart();
        let uri = self.write(kept.uri.as_bytes());
        let request = self.half(kept.request);
        let answer = kept.answer;
        let answer = answer.map(|answer| (answer.status, answer.version, self.half(answer.half)));
        self.done.push(Done {
            facts: kept.facts,
            uri,
            request,
            answer,
            messages: Vec::from(kept.messages).into(),
        });
    }

    fn half(&mut self, half: KeptHalf) -> DoneHalf {
        let KeptHalf {
            fields,
            mut body,
            trailers,
        } = half;
        DoneHalf {
            fields: self.write(fields.bytes()),
            total: body.total,
            ended: body.ended,
            body: match body.bytes.len() > APART {
                true => {
                    let mut bytes = take(&mut body.bytes);
                    bytes.shrink_to_fit();
                    self.apart += bytes.len();
                    Stretch::Apart(bytes.into())
                }
                false => Stretch::Here(self.write(&body.bytes)),
            },
            trailers: trailers
                .as_ref()
                .map(Fields::bytes)
                .map(|fields| self.write(fields)),
        }
    }

    /// No section is as long as 4 GiB: an exchange with which one is full is not.
    fn write(&mut self, bytes: &[u8]) -> Range<u32> {
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len() as u32
    }

    fn look(&self, id: ExchangeId, index: u32) -> Option<Look<'_>> {
        let done = self.done.get(index as usize)?;
        Some(Look {
            id,
            facts: &done.facts,
            uri: std::str::from_utf8(self.at(&done.uri)).expect("it was text"),
            request: self.look_at(&done.request),
            answer: done
                .answer
                .as_ref()
                .map(|(status, version, half)| (*status, *version, self.look_at(half))),
            messages: (&done.messages, &[]),
        })
    }

    fn look_at<'a>(&'a self, half: &'a DoneHalf) -> Half<'a> {
        Half {
            fields: self.at(&half.fields),
            body: match &half.body {
                Stretch::Here(range) => Run::Here(self.at(range)),
                Stretch::Apart(bytes) => Run::Apart(bytes),
            },
            total: half.total,
            ended: half.ended,
            trailers: half.trailers.as_ref().map(|range| self.at(range)),
        }
    }

    fn at(&self, range: &Range<u32>) -> &[u8] {
        &self.bytes[range.start as usize..range.end as usize]
    }
}
