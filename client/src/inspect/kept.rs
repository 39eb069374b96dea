//! How an exchange lies in memory: in few pieces that are its own. Fields as they arrive are parts of the
//! buffers of a connection; a few of them kept would keep all of those.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version};
use ngrnotok_common::headers::PRIVATE_PREFIX;
use ngrnotok_common::hostname::Name;
use tokio::time::Instant;

use super::exchange::{
    Answer, Captured, Direction, Exchange, ExchangeId, Kind, Message, Origin, Request, State,
    Timing,
};
use super::reader::Reader;
use super::recorder::Summary;

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
        let fields = |fields: &Option<Fields>| fields.as_ref().map_or(0, |fields| fields.0.len());
        let answer = self.answer.as_ref().map_or(0, |answer| {
            answer.fields.0.len() + answer.body.size() + fields(&answer.trailers)
        });
        BASE + self.tunnel.as_str().len()
            + self.uri.len()
            + self.fields.0.len()
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

/// Fields in one piece of memory.
#[derive(Debug, Default)]
pub(super) struct Fields(Box<[u8]>);

impl Fields {
    /// The fields that are not between client and server alone.
    pub(super) fn of(fields: &HeaderMap) -> Self {
        let public = || {
            let all = fields.iter();
            all.filter(|(name, _)| !name.as_str().starts_with(PRIVATE_PREFIX))
        };
        let sizes = public().map(|(name, value)| name.as_str().len() + value.len() + 8);
        let mut piece = Vec::with_capacity(sizes.sum());
        for (name, value) in public() {
            for part in [name.as_str().as_bytes(), value.as_bytes()] {
                // No head is as long as 4 GiB.
                piece.extend_from_slice(&(part.len() as u32).to_le_bytes());
                piece.extend_from_slice(part);
            }
        }
        Self(piece.into_boxed_slice())
    }

    /// As a map again.
    pub(super) fn map(&self) -> HeaderMap {
        let mut rest = Bytes::copy_from_slice(&self.0);
        let mut next = move || {
            let (length, _) = rest.split_first_chunk::<4>()?;
            let length = u32::from_le_bytes(*length) as usize;
            let part = rest.slice(4..4 + length);
            rest = rest.slice(4 + length..);
            Some(part)
        };
        let mut fields = HeaderMap::new();
        while let (Some(name), Some(value)) = (next(), next()) {
            let name = HeaderName::from_bytes(&name);
            if let (Ok(name), Ok(value)) = (name, HeaderValue::from_maybe_shared(value)) {
                fields.append(name, value);
            }
        }
        fields
    }
}

/// A body as far as it is kept.
#[derive(Debug, Default)]
pub(super) struct Capture {
    /// While it grows.
    growing: Vec<u8>,
    /// Once it has ended.
    whole: Bytes,
    total: u64,
    ended: bool,
}

impl Capture {
    fn of(captured: &Captured, limit: usize) -> Self {
        let kept = captured.bytes.len().min(limit);
        Self {
            growing: Vec::new(),
            // A part of something larger would keep that.
            whole: Bytes::copy_from_slice(&captured.bytes[..kept]),
            total: captured.total,
            ended: captured.ended,
        }
    }

    /// More has come. What exceeds `limit` is only counted.
    pub(super) fn push(&mut self, chunk: &[u8], limit: usize) {
        self.total += chunk.len() as u64;
        let room = limit.saturating_sub(self.growing.len());
        if room == 0 || chunk.is_empty() {
            return;
        }
        let part = &chunk[..chunk.len().min(room)];
        // Most bodies come in one piece.
        if self.growing.is_empty() {
            self.growing.reserve_exact(part.len());
        }
        self.growing.extend_from_slice(part);
    }

    /// Nothing more comes. `complete`: because that was all.
    pub(super) fn end(&mut self, complete: bool) {
        self.ended |= complete;
        if !self.growing.is_empty() {
            let mut bytes = std::mem::take(&mut self.growing);
            bytes.shrink_to_fit();
            self.whole = bytes.into();
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    fn size(&self) -> usize {
        self.growing.capacity() + self.whole.len()
    }

    fn view(&self) -> Captured {
        let bytes = match self.growing.is_empty() {
            true => self.whole.clone(),
            false => Bytes::copy_from_slice(&self.growing),
        };
        Captured {
            bytes,
            total: self.total,
            ended: self.ended,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_the_same_again_without_the_private_ones() {
        let mut fields = HeaderMap::new();
        for (name, value) in [
            ("accept", &b"text/html"[..]),
            ("x-odd", b"\xff\x80 \t"),
            ("x-empty", b""),
            ("set-cookie", b"a=1"),
            ("set-cookie", b"b=2"),
        ] {
            let value = HeaderValue::from_bytes(value).unwrap();
            fields.append(HeaderName::from_static(name), value);
        }
        let wanted = fields.clone();
        fields.insert("ngrnotok-tunnel", HeaderValue::from_static("1"));
        assert_eq!(Fields::of(&fields).map(), wanted);
        assert_eq!(Fields::default().map(), HeaderMap::new());
    }

    #[test]
    fn a_body_is_kept_to_the_limit_and_counted_beyond() {
        let mut capture = Capture::default();
        for chunk in [&b"abc"[..], b"", b"defg", b"hi"] {
            capture.push(chunk, 5);
        }
        let open = capture.view();
        assert_eq!(
            (&open.bytes[..], open.total, open.ended),
            (&b"abcde"[..], 9, false)
        );
        assert!(open.is_cut());
        capture.end(true);
        let ended = capture.view();
        assert_eq!(
            (&ended.bytes[..], ended.total, ended.ended),
            (&b"abcde"[..], 9, true)
        );
        assert_eq!(capture.size(), 5);
    }
}
