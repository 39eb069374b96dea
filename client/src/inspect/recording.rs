//! Writing an exchange down while it goes on.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::HeaderName;
use http::{HeaderMap, Method, Response, Uri, Version};
use ngrnotok_common::hostname::Name;
use ngrnotok_common::protocol::cause::Cause;
use tokio::time::Instant;

use super::exchange::{Direction, Origin, State, Timing};
use super::kept::{Fields, Kept, KeptAnswer, Slot};
use super::recorder::Records;

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
    /// It has no body.
    pub(crate) bodiless: bool,
    /// Of the link that it came on.
    pub(crate) round_trip: Option<Duration>,
}

/// The hand that writes one exchange down. Dropped before the end it notes that the visitor has left.
#[derive(Debug)]
pub(crate) struct Recording(Option<Box<Pen>>);

/// Writes into one place.
#[derive(Debug, Clone)]
struct Pen {
    records: Arc<Records>,
    slot: Arc<Slot>,
}

impl Recording {
    pub(super) fn off() -> Self {
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
                ..Timing::default()
            },
            ..Kept::new(tunnel.clone(), at, began)
        };
        if arrival.bodiless {
            kept.body.end(true);
            kept.timing.request_ended = Some(Duration::ZERO);
        }
        Self(Some(Box::new(Pen {
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
            pen: Pen::clone(pen),
            direction,
        })
    }

    /// The app's answer has begun. `bodiless`: and that is all of it.
    pub(crate) fn answered<B>(&self, answer: &Response<B>, bodiless: bool) {
        let Some(pen) = &self.0 else {
            return;
        };
        let fields = Fields::of(answer.headers());
        pen.write(true, |kept| {
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
        });
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
    fn write(&self, news: bool, change: impl FnOnce(&mut Kept)) {
        self.records.write(&self.slot, news, change);
    }

    fn end(&self, state: State) {
        self.write(true, |kept| {
            let complete = state == State::Done;
            kept.timing.ended = Some(kept.began.elapsed());
            kept.state = state;
            if let Some(answer) = &mut kept.answer {
                answer.body.end(complete);
            }
        });
    }
}

/// Copies a body as it flows.
#[derive(Debug)]
pub(crate) struct Tap {
    pen: Pen,
    direction: Direction,
}

impl Tap {
    /// More of the body.
    pub(crate) fn data(&self, chunk: &[u8]) {
        let limit = self.pen.records.limits.body_bytes;
        self.pen.write(false, |kept| match self.direction {
            Direction::FromVisitor => kept.body.push(chunk, limit),
            Direction::FromApp => {
                if let Some(answer) = &mut kept.answer {
                    answer.body.push(chunk, limit);
                }
            }
        });
    }

    /// The fields after the body.
    pub(crate) fn trailers(&self, fields: &HeaderMap) {
        let fields = Some(Fields::of(fields));
        self.pen.write(false, |kept| match self.direction {
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
        self.pen.write(true, |kept| match self.direction {
            Direction::FromVisitor if !kept.body.has_ended() => {
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

/// The first of them is whom the server calls the visitor.
fn visitor(fields: &HeaderMap) -> Option<IpAddr> {
    const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
    let list = fields.get(FOR)?.to_str().ok()?;
    list.split(',').next()?.trim().parse().ok()
}
