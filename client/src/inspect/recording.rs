//! Writing an exchange down while it goes on.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, SEC_WEBSOCKET_EXTENSIONS};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, Version};
use http_body::Frame;
use ngrnotok_common::hostname::Name;
use ngrnotok_common::protocol::cause::Cause;
use tokio::time::Instant;

use super::events::Events;
use super::exchange::{Direction, Kind, Origin, State, Timing};
use super::grpc::Grpc;
use super::kept::{Kept, KeptAnswer, Slot};
use super::pieces::Fields;
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
pub(crate) struct Recording(Option<Arc<Pen>>);

/// Writes into one place.
#[derive(Debug)]
struct Pen {
    records: Arc<Records>,
    slot: Arc<Slot>,
}

impl Recording {
    /// Of what is not recorded.
    pub(crate) fn off() -> Self {
        Self(None)
    }

    pub(super) fn new(records: &Arc<Records>, arrival: &Arrival<'_>) -> Self {
        let Arrival {
            tunnel, at, began, ..
        } = *arrival;
        let mut kept = Kept {
            visitor: visitor(arrival.fields),
            origin: arrival.origin,
            method: arrival.method.clone(),
            uri: arrival.uri.to_string().into(),
            version: arrival.version,
            fields: Fields::of(arrival.fields),
            timing: Timing {
                round_trip: arrival.round_trip,
                edge: arrival.held,
                ..Timing::default()
            },
            ..Kept::new(tunnel.clone(), at, began)
        };
        if let Some(body) = &arrival.body {
            kept.body.push(body, records.limits.body_bytes);
            kept.body.end(true);
            kept.timing.request_ended = Some(Duration::ZERO);
        }
        match arrival.protocol {
            Some(protocol) if protocol.eq_ignore_ascii_case("websocket") => {
                kept.kind = Kind::WebSocket;
            }
            Some(protocol) => kept.kind = Kind::Upgraded(protocol.to_owned()),
            None if is_grpc(arrival.fields) => {
                kept.kind = Kind::Grpc;
                let grpc = || Some(Box::new(Reader::Grpc(Grpc::default())));
                kept.readers = [grpc(), grpc()];
            }
            None => {}
        }
        Self(Some(Arc::new(Pen {
            records: Arc::clone(records),
            slot: records.add(kept),
        })))
    }

    /// The number of the exchange, if it is recorded.
    pub(crate) fn id(&self) -> Option<super::ExchangeId> {
        self.0.as_ref().map(|pen| pen.slot.id)
    }

    /// What copies one of its bodies.
    pub(crate) fn tap(&self, direction: Direction) -> Option<Tap> {
        self.0.as_ref().map(|pen| Tap {
            pen: Arc::clone(pen),
            direction,
        })
    }

    /// The app's answer has begun. `bodiless`: and that is all of it.
    pub(crate) fn answered<B>(&self, answer: &Response<B>, bodiless: bool) {
        let Some(pen) = &self.0 else {
            return;
        };
        let fields = Fields::of(answer.headers());
        pen.write(|kept| {
            kept.timing.answered = Some(kept.began.elapsed());
            let mut head = KeptAnswer {
                status: answer.status(),
                version: answer.version(),
                fields,
                body: Default::default(),
                trailers: None,
            };
            if bodiless {
                head.body.end(true);
            }
            kept.answer = Some(head);
            let fields = answer.headers();
            if kept.kind == Kind::Plain && is_event_stream(fields) {
                kept.kind = Kind::Events;
                let events = Reader::Events(Events::default());
                kept.readers[Direction::FromApp as usize] = Some(Box::new(events));
            }
        });
    }

    /// The app has switched to the protocol that was asked for.
    pub(crate) fn switched(&self, answer: &Response<()>) {
        let Some(pen) = &self.0 else {
            return;
        };
        self.answered(answer, false);
        pen.write(|kept| {
            if let Some(answer) = &mut kept.answer {
                answer.status = StatusCode::SWITCHING_PROTOCOLS;
            }
            if kept.kind == Kind::WebSocket {
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
        self.0.as_ref().is_some_and(|pen| !pen.slot.lock().gone)
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
        if let Some(pen) = self.0.take() {
            pen.end(state());
        }
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        if let Some(pen) = self.0.take() {
            pen.end(State::VisitorLeft);
        }
    }
}

impl Pen {
    fn write(&self, change: impl FnOnce(&mut Kept)) {
        self.write_if(|kept| {
            change(kept);
            true
        });
    }

    /// `change` says whether those who look are to be told.
    fn write_if(&self, change: impl FnOnce(&mut Kept) -> bool) {
        self.records.write(&self.slot, change);
    }

    fn end(&self, state: State) {
        self.write(|kept| {
            let complete = state == State::Done;
            kept.timing.ended = Some(kept.began.elapsed());
            kept.state = state;
            kept.readers[Direction::FromApp as usize] = None;
            if let Some(answer) = &mut kept.answer {
                answer.body.end(complete);
            }
        });
        self.records.over(&self.slot);
    }
}

/// Copies a body as it flows.
#[derive(Debug)]
pub(crate) struct Tap {
    pen: Arc<Pen>,
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
        let limit = self.pen.records.limits.body_bytes;
        self.pen.write_if(|kept| {
            // The bytes of another protocol are no body; they are counted.
            let of_body = match &kept.kind {
                Kind::WebSocket | Kind::Upgraded(_) if kept.has_switched() => 0,
                _ => limit,
            };
            match self.direction {
                Direction::FromVisitor => kept.body.push(chunk, of_body),
                Direction::FromApp => {
                    if let Some(answer) = &mut kept.answer {
                        answer.body.push(chunk, of_body);
                    }
                }
            }
            kept.read(self.direction, chunk, limit)
        });
    }

    /// The fields after the body.
    pub(crate) fn trailers(&self, fields: &HeaderMap) {
        let fields = Some(Fields::of(fields));
        self.pen.write(|kept| match self.direction {
            Direction::FromVisitor => kept.trailers = fields,
            Direction::FromApp => {
                if let Some(answer) = &mut kept.answer {
                    answer.trailers = fields;
                }
            }
        });
    }

    /// The body has come to its end.
    pub(crate) fn ended(&self) {
        self.pen.write(|kept| match self.direction {
            Direction::FromVisitor if !kept.body.has_ended() => {
                kept.readers[Direction::FromVisitor as usize] = None;
                kept.timing.request_ended = Some(kept.began.elapsed());
                kept.body.end(true);
            }
            Direction::FromVisitor => {}
            Direction::FromApp => {
                if let Some(answer) = &mut kept.answer {
                    answer.body.end(true);
                }
            }
        });
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
