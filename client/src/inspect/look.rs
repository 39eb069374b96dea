//! An exchange as it lies in memory, whether it goes on or is over.

use bytes::Bytes;
use http::{StatusCode, Uri, Version};

use super::exchange::{Answer, Captured, Exchange, ExchangeId, Message, Request};
use super::kept::Facts;
use super::pieces::map;
use super::summary::Summary;

/// An exchange where it lies.
#[derive(Debug)]
pub(super) struct Look<'a> {
    pub(super) id: ExchangeId,
    pub(super) facts: &'a Facts,
    pub(super) uri: &'a str,
    pub(super) request: Half<'a>,
    pub(super) answer: Option<(StatusCode, Version, Half<'a>)>,
    /// In two runs.
    pub(super) messages: (&'a [Message], &'a [Message]),
}

/// A request, or an answer.
#[derive(Debug)]
pub(super) struct Half<'a> {
    pub(super) fields: &'a [u8],
    pub(super) body: Run<'a>,
    /// How long the body was, or is by now.
    pub(super) total: u64,
    /// It came to its end.
    pub(super) ended: bool,
    pub(super) trailers: Option<&'a [u8]>,
}

/// Bytes that are copied to be taken away, or shared.
#[derive(Debug)]
pub(super) enum Run<'a> {
    Here(&'a [u8]),
    Apart(&'a Bytes),
}

impl Look<'_> {
    /// Takes all of it away.
    pub(super) fn exchange(&self) -> Exchange {
        let facts = self.facts;
        let (earlier, later) = self.messages;
        Exchange {
            id: self.id,
            tunnel: facts.tunnel.clone(),
            at: facts.at,
            visitor: facts.visitor,
            origin: facts.origin,
            request: Request {
                method: facts.method.clone(),
                uri: Uri::from_maybe_shared(Bytes::copy_from_slice(self.uri.as_bytes()))
                    .unwrap_or_default(),
                version: facts.version,
                fields: map(self.request.fields),
                body: self.request.body(),
                trailers: self.request.trailers.map(map),
            },
            answer: self.answer.as_ref().map(|(status, version, half)| Answer {
                status: *status,
                version: *version,
                fields: map(half.fields),
                body: half.body(),
                trailers: half.trailers.map(map),
            }),
            state: facts.state.clone(),
            timing: facts.timing,
            kind: facts.kind.clone(),
            messages: [earlier, later].concat(),
            messages_gone: facts.messages_gone,
        }
    }

    /// Takes the short form away.
    pub(super) fn summary(&self) -> Summary {
        let facts = self.facts;
        let (earlier, later) = self.messages;
        let answer = self.answer.as_ref();
        Summary {
            id: self.id,
            tunnel: facts.tunnel.clone(),
            at: facts.at,
            visitor: facts.visitor,
            origin: facts.origin,
            method: facts.method.clone(),
            uri: self.uri.into(),
            status: answer.map(|(status, ..)| *status),
            state: facts.state.clone(),
            timing: facts.timing,
            kind: facts.kind.clone(),
            request_bytes: self.request.total,
            answer_bytes: answer.map_or(0, |(_, _, half)| half.total),
            messages: (earlier.len() + later.len()) as u64 + facts.messages_gone,
        }
    }
}

impl Half<'_> {
    fn body(&self) -> Captured {
        Captured {
            bytes: match self.body {
                Run::Here(bytes) => Bytes::copy_from_slice(bytes),
                Run::Apart(bytes) => bytes.clone(),
            },
            total: self.total,
            ended: self.ended,
        }
    }
}
