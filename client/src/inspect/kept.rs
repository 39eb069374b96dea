//! How an exchange lies in memory: in few pieces that are its own. Fields as they arrive are parts of the
//! buffers of a connection; a few of them kept would keep all of those.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::SystemTime;

use bytes::Bytes;
use http::{Method, StatusCode, Uri, Version};
use ngrnotok_common::hostname::Name;
use tokio::time::Instant;

use super::exchange::{
    Answer, Direction, Exchange, ExchangeId, Kind, Message, Origin, Request, State, Timing,
};
use super::pieces::{Capture, Fields};
use super::reader::Reader;
use super::summary::Summary;

/// The place of one exchange. Whoever writes it down has it, too, and finds it empty when there was no room
/// for it any more.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) id: ExchangeId,
    kept: Mutex<Kept>,
}

impl Slot {
    pub(super) fn new(id: ExchangeId, kept: Kept) -> Self {
        Self {
            id,
            kept: Mutex::new(kept),
        }
    }

    /// Held for a moment and never together with another one.
    pub(super) fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().expect("nothing panics under this lock")
    }

    /// Gives its memory back.
    pub(super) fn forget(&self, all: &AtomicUsize) {
        let mut kept = self.lock();
        all.fetch_sub(kept.size, Ordering::Relaxed);
        let head = Kept::new(kept.tunnel.clone(), kept.at, kept.began);
        *kept = Kept { gone: true, ..head };
    }

    /// The exchange as it stands.
    pub(super) fn view(&self) -> Exchange {
        self.lock().view(self.id)
    }
}

/// What is known of an exchange.
#[derive(Debug)]
pub(super) struct Kept {
    /// There was no room for it any more: nothing more is written down.
    pub(super) gone: bool,
    /// The number of its last change.
    pub(super) changed: u64,
    /// What it counts for in memory.
    pub(super) size: usize,
    pub(super) tunnel: Name,
    pub(super) at: SystemTime,
    pub(super) began: Instant,
    pub(super) visitor: Option<IpAddr>,
    pub(super) origin: Origin,
    pub(super) method: Method,
    pub(super) uri: Box<str>,
    pub(super) version: Version,
    pub(super) fields: Fields,
    pub(super) body: Capture,
    pub(super) trailers: Option<Fields>,
    pub(super) answer: Option<KeptAnswer>,
    pub(super) state: State,
    pub(super) timing: Timing,
    pub(super) kind: Kind,
    pub(super) messages: VecDeque<Message>,
    pub(super) messages_size: usize,
    pub(super) messages_gone: u64,
    /// What finds messages, in what the visitor says and in what the app says.
    pub(super) readers: [Option<Box<Reader>>; 2],
}

#[derive(Debug)]
pub(super) struct KeptAnswer {
    pub(super) status: StatusCode,
    pub(super) version: Version,
    pub(super) fields: Fields,
    pub(super) body: Capture,
    pub(super) trailers: Option<Fields>,
}

/// What a recorded exchange needs besides what is in it: itself and its place in the ring.
const BASE: usize = size_of::<Slot>() + 64;

impl Kept {
    pub(super) fn new(tunnel: Name, at: SystemTime, began: Instant) -> Self {
        Self {
            gone: false,
            changed: 0,
            size: 0,
            tunnel,
            at,
            began,
            visitor: None,
            origin: Origin::Visitor,
            method: Method::GET,
            uri: Box::default(),
            version: Version::HTTP_2,
            fields: Fields::default(),
            body: Capture::default(),
            trailers: None,
            answer: None,
            state: State::Open,
            timing: Timing::default(),
            kind: Kind::Plain,
            messages: VecDeque::new(),
            messages_size: 0,
            messages_gone: 0,
            readers: [None, None],
        }
    }

    /// An exchange that is known already, its bodies up to `limit`.
    pub(super) fn of(exchange: Exchange, limit: usize) -> Self {
        let mut kept = Self {
            visitor: exchange.visitor,
            origin: exchange.origin,
            uri: exchange.request.uri.to_string().into(),
            fields: Fields::of(&exchange.request.fields),
            body: Capture::of(&exchange.request.body, limit),
            trailers: exchange.request.trailers.as_ref().map(Fields::of),
            method: exchange.request.method,
            version: exchange.request.version,
            answer: exchange.answer.map(|answer| KeptAnswer {
                status: answer.status,
                version: answer.version,
                fields: Fields::of(&answer.fields),
                body: Capture::of(&answer.body, limit),
                trailers: answer.trailers.as_ref().map(Fields::of),
            }),
            // Nobody writes it down any more.
            state: match exchange.state {
                State::Open => State::VisitorLeft,
                state => state,
            },
            timing: exchange.timing,
            kind: exchange.kind,
            messages_gone: exchange.messages_gone,
            ..Self::new(exchange.tunnel, exchange.at, Instant::now())
        };
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
            self.messages_gone += 1;
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
        let fields = |fields: &Option<Fields>| fields.as_ref().map_or(0, Fields::size);
        let answer = self.answer.as_ref().map_or(0, |answer| {
            answer.fields.size() + answer.body.size() + fields(&answer.trailers)
        });
        BASE + self.tunnel.as_str().len()
            + self.uri.len()
            + self.fields.size()
            + self.body.size()
            + fields(&self.trailers)
            + answer
            + self.messages.capacity() * size_of::<Message>()
            + self.messages_size
            + self
                .readers
                .iter()
                .flatten()
                .map(|reader| reader.size())
                .sum::<usize>()
    }

    /// Whether the bytes are those of another protocol by now.
    pub(super) fn has_switched(&self) -> bool {
        let answer = self.answer.as_ref();
        answer.is_some_and(|answer| answer.status == StatusCode::SWITCHING_PROTOCOLS)
    }

    pub(super) fn view(&self, id: ExchangeId) -> Exchange {
        Exchange {
            id,
            tunnel: self.tunnel.clone(),
            at: self.at,
            visitor: self.visitor,
            origin: self.origin,
            request: Request {
                method: self.method.clone(),
                uri: Uri::from_maybe_shared(Bytes::copy_from_slice(self.uri.as_bytes()))
                    .unwrap_or_default(),
                version: self.version,
                fields: self.fields.map(),
                body: self.body.view(),
                trailers: self.trailers.as_ref().map(Fields::map),
            },
            answer: self.answer.as_ref().map(|answer| Answer {
                status: answer.status,
                version: answer.version,
                fields: answer.fields.map(),
                body: answer.body.view(),
                trailers: answer.trailers.as_ref().map(Fields::map),
            }),
            state: self.state.clone(),
            timing: self.timing,
            kind: self.kind.clone(),
            messages: self.messages.iter().cloned().collect(),
            messages_gone: self.messages_gone,
        }
    }

    pub(super) fn summary(&self, id: ExchangeId) -> Summary {
        Summary {
            id,
            tunnel: self.tunnel.clone(),
            at: self.at,
            visitor: self.visitor,
            origin: self.origin,
            method: self.method.clone(),
            uri: self.uri.clone(),
            status: self.answer.as_ref().map(|answer| answer.status),
            state: self.state.clone(),
            timing: self.timing,
            kind: self.kind.clone(),
            request_bytes: self.body.total,
            answer_bytes: self.answer.as_ref().map_or(0, |answer| answer.body.total),
            messages: self.messages.len() as u64 + self.messages_gone,
        }
    }
}

/// Messages are kept up to this much even where bodies are hardly kept at all: 16 KiB.
const MESSAGES_AT_LEAST: usize = 16 * 1024;

/// What a message counts for. Its place is counted twice, for a queue grows by doubling.
fn size_of_message(message: &Message) -> usize {
    message.payload.bytes.len() + 32
}
