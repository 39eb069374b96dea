//! Writing an exchange down while it goes on.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, SEC_WEBSOCKET_EXTENSIONS};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, Version};
use http_body::Frame;
use ngrnotok_common::hostname::Name;
use ngrnotok_common::protocol::cause::Cause;
use tokio::time::Instant;

use super::events::Events;
use super::exchange::{Direction, Kind, Origin, State, Timing};
use super::grpc::Grpc;
use super::kept::{Facts, Kept, KeptAnswer, KeptHalf, Slot};
use super::pieces::{Capture, Fields};
use super::reader::Reader;
use super::recorder::Records;
use super::websocket::{self, Frames};

/// A request as it arrives.
#[derive(Debug)]
pub(crate) struct Arrival<'a> {
    pub(crate) tunnel: &'a Name,
    pub(crate) at: SystemTime,
    pub(crate) began: Instant,
    pub(crate) origin: Origin,
    pub(crate) method: &'a Method,
    pub(crate) uri: &'a Uri,
    pub(crate) version: Version,
    pub(crate) fields: &'a HeaderMap,
    /// Its body, if it is here already.
    pub(crate) body: Option<Bytes>,
    /// The protocol to which it wants to switch.
    pub(crate) protocol: Option<&'a str>,
    /// Of the link that it came on.
    pub(crate) round_trip: Option<Duration>,
    /// By the server, before it sent it on.
    pub(crate) held: Option<Duration>,
}

/// The hand that writes one exchange down. Dropped before the end it notes that the visitor has left.
#[derive(Debug)]
pub(crate) struct Recording(Option<Arc<Slot>>);

impl Recording {
    /// Of what is not recorded.
    pub(crate) fn off() -> Self {
        Self(None)
    }

    pub(super) fn new(records: &Arc<Records>, arrival: &Arrival<'_>) -> Self {
        let facts = Facts {
            visitor: visitor(arrival.fields),
            origin: arrival.origin,
            method: arrival.method.clone(),
            version: arrival.version,
            timing: Timing {
                round_trip: arrival.round_trip,
                edge: arrival.held,
                ..Timing::default()
            },
            ..Facts::new(arrival.tunnel.clone(), arrival.at)
        };
        let request = KeptHalf {
            fields: Fields::of(arrival.fields),
            body: Capture::announced(arrival.fields),
            trailers: None,
        };
        let mut kept = Kept::new(facts, arrival.began, written(arrival.uri), request);
        if let Some(body) = &arrival.body {
            kept.request.body.push(body, records.limits.body_bytes);
            kept.request.body.ended = true;
            kept.facts.timing.request_ended = Some(Duration::ZERO);
        }
        match arrival.protocol {
            Some(protocol) if protocol.eq_ignore_ascii_case("websocket") => {
                kept.facts.kind = Kind::WebSocket;
            }
            Some(protocol) => kept.facts.kind = Kind::Upgraded(protocol.to_owned()),
            None if is_grpc(arrival.fields) => {
                kept.facts.kind = Kind::Grpc;
                let grpc = || Some(Box::new(Reader::Grpc(Grpc::default())));
                kept.readers = [grpc(), grpc()];
            }
            None => {}
        }
        Self(Some(records.add(kept)))
    }

    /// The number of the exchange, if it is recorded.
    pub(crate) fn id(&self) -> Option<super::ExchangeId> {
        self.0.as_ref().map(|slot| slot.id)
    }

    /// What copies one of its bodies.
    pub(crate) fn tap(&self, direction: Direction) -> Option<Tap> {
        self.0.as_ref().map(|slot| Tap {
            slot: Arc::clone(slot),
            direction,
        })
    }

    /// The app's answer has begun. `bodiless`: and that is all of it.
    pub(crate) fn answered<B>(&self, answer: &Response<B>, bodiless: bool) {
        let Some(slot) = &self.0 else {
            return;
        };
        let half = KeptHalf {
            fields: Fields::of(answer.headers()),
            body: Capture::announced(answer.headers()),
            trailers: None,
        };
        slot.write(|kept| {
            kept.facts.timing.answered = Some(kept.began.elapsed());
            let answered = kept.answer.insert(KeptAnswer {
                status: answer.status(),
                version: answer.version(),
                half,
            });
            answered.half.body.ended = bodiless;
            if kept.facts.kind == Kind::Plain && is_event_stream(answer.headers()) {
                kept.facts.kind = Kind::Events;
                let events = Reader::Events(Events::default());
                kept.readers[Direction::FromApp as usize] = Some(Box::new(events));
            }
        });
    }

    /// The app has switched to the protocol that was asked for.
    pub(crate) fn switched(&self, answer: &Response<()>) {
        let Some(slot) = &self.0 else {
            return;
        };
        self.answered(answer, false);
        slot.write(|kept| {
            if let Some(answer) = &mut kept.answer {
                answer.status = StatusCode::SWITCHING_PROTOCOLS;
            }
            if kept.facts.kind == Kind::WebSocket {
                let agreed = answer.headers().get(SEC_WEBSOCKET_EXTENSIONS);
                let agreed = agreed.and_then(|agreed| agreed.to_str().ok());
                let (visitors, apps) = websocket::packing(agreed.unwrap_or_default());
                kept.readers = [visitors, apps]
                    .map(|packing| Some(Box::new(Reader::Frames(Frames::new(packing)))));
            }
        });
    }

    /// Whether there is somebody to write for: the exchange is recorded, and there is still room for it.
    pub(crate) fn is_wanted(&self) -> bool {
        self.0.as_ref().is_some_and(|slot| slot.lock().is_some())
    }

    /// The visitor has the whole answer.
    pub(crate) fn done(self) {
        self.end(|| State::Done);
    }

    /// The answer broke off.
    pub(crate) fn broken(self, reason: &dyn std::fmt::Display) {
        self.end(|| State::Broken(reason.to_string()));
    }

    /// The local app gave no answer.
    pub(crate) fn trouble(self, cause: Cause, detail: &str) {
        self.end(|| State::Trouble(cause, detail.to_owned()));
    }

    fn end(mut self, state: impl FnOnce() -> State) {
        if let Some(slot) = self.0.take() {
            slot.end(state());
        }
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        if let Some(slot) = self.0.take() {
            slot.end(State::VisitorLeft);
        }
    }
}

impl Slot {
    fn write(&self, change: impl FnOnce(&mut Kept)) {
        self.write_if(|kept| {
            change(kept);
            true
        });
    }

    /// `change` says whether those who look are to be told.
    fn write_if(&self, change: impl FnOnce(&mut Kept) -> bool) {
        self.records.write(self, change);
    }

    fn end(&self, state: State) {
        self.records.end(self, |kept| {
            if let Some(answer) = &mut kept.answer {
                answer.half.body.ended |= state == State::Done;
            }
            kept.facts.timing.ended = Some(kept.began.elapsed());
            kept.facts.state = state;
        });
    }
}

/// Copies a body as it flows.
#[derive(Debug)]
pub(crate) struct Tap {
    slot: Arc<Slot>,
    direction: Direction,
}

impl Tap {
    /// What a body has said next.
    pub(crate) fn frame<E>(&self, next: Option<&Result<Frame<Bytes>, E>>) {
        match next {
            Some(Ok(frame)) => {
                if let Some(chunk) = frame.data_ref() {
                    self.data(chunk);
                } else if let Some(fields) = frame.trailers_ref() {
                    self.trailers(fields);
                }
            }
            Some(Err(_)) => {}
            None => self.ended(),
        }
    }

    /// More of the body.
    pub(crate) fn data(&self, chunk: &[u8]) {
        let limit = self.slot.records.limits.body_bytes;
        self.slot.write_if(|kept| {
            // The bytes of another protocol are no body; they are counted.
            let of_body = match &kept.facts.kind {
                Kind::WebSocket | Kind::Upgraded(_) if kept.has_switched() => 0,
                _ => limit,
            };
            if let Some(half) = kept.half(self.direction) {
                half.body.push(chunk, of_body);
            }
            kept.read(self.direction, chunk, limit)
        });
    }

    /// The fields after the body.
    pub(crate) fn trailers(&self, fields: &HeaderMap) {
        let fields = Some(Fields::of(fields));
        self.slot.write(|kept| {
            if let Some(half) = kept.half(self.direction) {
                half.trailers = fields;
            }
        });
    }

    /// The body has come to its end.
    pub(crate) fn ended(&self) {
        self.slot.write(|kept| {
            let Some(half) = kept.half(self.direction) else {
                return;
            };
            let is_news = !std::mem::replace(&mut half.body.ended, true);
            if is_news && self.direction == Direction::FromVisitor {
                kept.readers[Direction::FromVisitor as usize] = None;
                kept.facts.timing.request_ended = Some(kept.began.elapsed());
            }
        });
    }
}

/// An address as it stood in the request. Its own words for this grow a text piece by piece.
fn written(uri: &Uri) -> Box<str> {
    let path = uri.path_and_query().map_or("", PathAndQuery::as_str);
    match (uri.scheme_str(), uri.authority()) {
        (Some(scheme), Some(authority)) => {
            [scheme, "://", authority.as_str(), path].concat().into()
        }
        _ => uri.to_string().into(),
    }
}

fn is_grpc(fields: &HeaderMap) -> bool {
    fields.get(CONTENT_TYPE).is_some_and(|kind| {
        let kind = kind.as_bytes();
        // The text form is in base64.
        kind.starts_with(b"application/grpc") && !kind.starts_with(b"application/grpc-web-text")
    })
}

/// One that is packed cannot be read as it goes by.
fn is_event_stream(fields: &HeaderMap) -> bool {
    const TYPE: &[u8] = b"text/event-stream";
    let kind = fields.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    kind.and_then(|kind| kind.get(..TYPE.len()))
        .is_some_and(|kind| kind.eq_ignore_ascii_case(TYPE))
        && !fields.contains_key(CONTENT_ENCODING)
}

/// The first of them is whom the server calls the visitor.
fn visitor(fields: &HeaderMap) -> Option<IpAddr> {
    const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
    let list = fields.get(FOR)?.to_str().ok()?;
    list.split(',').next()?.trim().parse().ok()
}
