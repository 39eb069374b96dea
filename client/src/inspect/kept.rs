//! How an exchange lies in memory while it goes on: in pieces of its own. Fields as they arrive are parts of
//! the buffers of a connection; a few of them kept would keep all of those.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use http::{Method, StatusCode, Version};
use ngrnotok_common::hostname::Name;
use tokio::time::Instant;

use super::exchange::{
    Direction, Exchange, ExchangeId, Kind, Message, MessageKind, Origin, State, Timing,
};
use super::look::{Half, Look, Run};
use super::pieces::{Capture, Fields};
use super::reader::Reader;
use super::recorder::Records;

/// The place of an exchange that goes on. Whoever writes it down finds it empty when it is over, or when there
/// was no room for it any more.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) id: ExchangeId,
    /// They have this slot as long as it is written down.
    pub(super) records: Arc<Records>,
    kept: Mutex<Option<Kept>>,
}

impl Slot {
    pub(super) fn new(id: ExchangeId, records: &Arc<Records>, kept: Kept) -> Self {
        Self {
            id,
            records: Arc::clone(records),
            kept: Mutex::new(Some(kept)),
        }
    }

    /// Held for a moment: never together with that of another slot, and behind that of the ring if with it.
    pub(super) fn lock(&self) -> MutexGuard<'_, Option<Kept>> {
        self.kept.lock().expect("nothing panics under this lock")
    }
}

/// What is known of an exchange besides its bytes.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) tunnel: Name,
    pub(super) at: SystemTime,
    pub(super) visitor: Option<IpAddr>,
    pub(super) origin: Origin,
    pub(super) method: Method,
    pub(super) version: Version,
    pub(super) state: State,
    pub(super) timing: Timing,
    pub(super) kind: Kind,
    pub(super) messages_gone: u64,
}

impl Facts {
    /// Of a request that has just come.
    pub(super) fn new(tunnel: Name, at: SystemTime) -> Self {
        Self {
            tunnel,
            at,
            visitor: None,
            origin: Origin::Visitor,
            method: Method::GET,
            version: Version::HTTP_2,
            state: State::Open,
            timing: Timing::default(),
            kind: Kind::Plain,
            messages_gone: 0,
        }
    }

    /// What they take in memory elsewhere.
    pub(super) fn apart(&self) -> usize {
        let state = match &self.state {
            State::Broken(why) | State::Trouble(_, why) => why.len(),
            _ => 0,
        };
        let kind = match &self.kind {
            Kind::Upgraded(protocol) => protocol.len(),
            _ => 0,
        };
        self.tunnel.as_str().len() + self.method.as_str().len() + state + kind
    }
}

/// What is known of an exchange that goes on.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) facts: Facts,
    pub(super) began: Instant,
    /// The number of its last change.
    pub(super) changed: u64,
    /// What it counts for in memory.
    pub(super) size: usize,
    pub(super) uri: Box<str>,
    pub(super) request: KeptHalf,
    pub(super) answer: Option<KeptAnswer>,
    pub(super) messages: VecDeque<Message>,
    pub(super) messages_size: usize,
    /// What finds messages, in what the visitor says and in what the app says.
    pub(super) readers: [Option<Box<Reader>>; 2],
}

/// A request, or an answer.
#[derive(Debug, Default)]
pub(super) struct KeptHalf {
    pub(super) fields: Fields,
    pub(super) body: Capture,
    pub(super) trailers: Option<Fields>,
}

#[derive(Debug)]
pub(super) struct KeptAnswer {
    pub(super) status: StatusCode,
    pub(super) version: Version,
    pub(super) half: KeptHalf,
}

/// What a recorded exchange needs besides what is in it: itself and its place among the others.
const BASE: usize = size_of::<Slot>() + 64;

impl Kept {
    pub(super) fn new(facts: Facts, began: Instant, uri: Box<str>, request: KeptHalf) -> Self {
        Self {
            facts,
            began,
            changed: 0,
            size: 0,
            uri,
            request,
            answer: None,
            messages: VecDeque::new(),
            messages_size: 0,
            readers: [None, None],
        }
    }

    /// An exchange that is known already, its bodies up to `limit`.
    pub(super) fn of(exchange: Exchange, limit: usize) -> Self {
        let facts = Facts {
            tunnel: exchange.tunnel,
            at: exchange.at,
            visitor: exchange.visitor,
            origin: exchange.origin,
            method: exchange.request.method,
            version: exchange.request.version,
            // Nobody writes it down any more.
            state: match exchange.state {
                State::Open => State::VisitorLeft,
                state => state,
            },
            timing: exchange.timing,
            kind: exchange.kind,
            messages_gone: exchange.messages_gone,
        };
        let uri = exchange.request.uri.to_string().into();
        let request = KeptHalf {
            fields: Fields::of(&exchange.request.fields),
            body: Capture::of(&exchange.request.body, limit),
            trailers: exchange.request.trailers.as_ref().map(Fields::of),
        };
        let mut kept = Self::new(facts, Instant::now(), uri, request);
        kept.answer = exchange.answer.map(|answer| KeptAnswer {
            status: answer.status,
            version: answer.version,
            half: KeptHalf {
                fields: Fields::of(&answer.fields),
                body: Capture::of(&answer.body, limit),
                trailers: answer.trailers.as_ref().map(Fields::of),
            },
        });
        for message in exchange.messages {
            kept.message(message, limit);
        }
        kept
    }

    /// Adds a message; the oldest of this exchange make room for it.
    pub(super) fn message(&mut self, message: Message, limit: usize) {
        self.messages_size += size_of_message(&message);
        self.messages.push_back(message);
        while self.messages_size > limit.max(MESSAGES_AT_LEAST)
            && let Some(oldest) = self.messages.pop_front()
        {
            self.messages_size -= size_of_message(&oldest);
            self.facts.messages_gone += 1;
        }
    }

    /// Looks for messages in what has come. True if there are any.
    pub(super) fn read(&mut self, direction: Direction, chunk: &[u8], limit: usize) -> bool {
        let Some(mut reader) = self.readers[direction as usize].take() else {
            return false;
        };
        let at = self.began.elapsed();
        let mut any = false;
        let read = reader.read(chunk, limit, &mut |kind, payload| {
            any = true;
            let message = Message {
                at,
                direction,
                kind,
                payload,
            };
            self.message(message, limit);
        });
        // What it does not understand it will not understand later.
        if read.is_ok() {
            self.readers[direction as usize] = Some(reader);
        }
        any
    }

    /// Brings `all` up to date with what this counts for now.
    pub(super) fn count(&mut self, all: &AtomicUsize) {
        let size = self.measured();
        match size.checked_sub(self.size) {
            Some(more) => all.fetch_add(more, Ordering::Relaxed),
            None => all.fetch_sub(self.size - size, Ordering::Relaxed),
        };
        self.size = size;
    }

    fn measured(&self) -> usize {
        let answer = self.answer.as_ref().map_or(0, |answer| answer.half.size());
        let readers = self.readers.iter().flatten().map(|reader| reader.size());
        BASE + self.facts.apart()
            + self.uri.len()
            + self.request.size()
            + answer
            + self.messages_memory()
            + readers.sum::<usize>()
    }

    /// What the messages take in memory.
    pub(super) fn messages_memory(&self) -> usize {
        self.messages.capacity() * size_of::<Message>() + self.messages_size
    }

    /// Whether the bytes are those of another protocol by now.
    pub(super) fn has_switched(&self) -> bool {
        let answer = self.answer.as_ref();
        answer.is_some_and(|answer| answer.status == StatusCode::SWITCHING_PROTOCOLS)
    }

    /// What the visitor, or the app, has said so far; `None` before the app has said anything.
    pub(super) fn half(&mut self, direction: Direction) -> Option<&mut KeptHalf> {
        match direction {
            Direction::FromVisitor => Some(&mut self.request),
            Direction::FromApp => self.answer.as_mut().map(|answer| &mut answer.half),
        }
    }

    pub(super) fn look(&self, id: ExchangeId) -> Look<'_> {
        Look {
            id,
            facts: &self.facts,
            uri: &self.uri,
            request: self.request.look(),
            answer: self.answer.as_ref().map(|answer| {
                let half = answer.half.look();
                (answer.status, answer.version, half)
            }),
            messages: self.messages.as_slices(),
        }
    }
}

impl KeptHalf {
    fn size(&self) -> usize {
        let trailers = self.trailers.as_ref().map_or(0, Fields::size);
        self.fields.size() + self.body.size() + trailers
    }

    fn look(&self) -> Half<'_> {
        Half {
            fields: self.fields.bytes(),
            body: Run::Here(&self.body.bytes),
            total: self.body.total,
            ended: self.body.ended,
            trailers: self.trailers.as_ref().map(Fields::bytes),
        }
    }
}

/// Messages are kept up to this much even where bodies are hardly kept at all: 16 KiB.
const MESSAGES_AT_LEAST: usize = 16 * 1024;

/// What a message counts for besides its place: what it says, and what that takes in memory anyway.
fn size_of_message(message: &Message) -> usize {
    let words = match &message.kind {
        MessageKind::Event { event, id } => event.len() + id.len(),
        _ => 0,
    };
    message.payload.bytes.len() + words + 32
}
