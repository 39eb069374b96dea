//! Bytes held to a rate: they wait for their turn and are never lost. Only what passes waits, and what
//! arrives is taken in meanwhile, because frames that nobody takes count against the whole connection.

use std::io;
use std::mem::take;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use ngrnotok_common::splice::{End, StreamEnd};
use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep_until};

use super::limits::{Limits, Within};

/// Passes in one turn: 16 KiB, one frame. Smaller turns would cost more, larger ones would come in
/// jerks.
const CHUNK: usize = 16 * 1024;

/// The place of one stream of bytes among those that share the limits.
#[derive(Debug)]
struct Turn {
    limits: Arc<Limits>,
    /// Charged, not yet passed.
    charged: usize,
    wait: Option<Pin<Box<Sleep>>>,
}

impl Turn {
    fn new(limits: Arc<Limits>) -> Self {
        Self {
            limits,
            charged: 0,
            wait: None,
        }
    }

    /// Waits until some of `wanted` bytes, at least one, may pass; says how many.
    fn poll(&mut self, wanted: usize, cx: &mut Context<'_>) -> Poll<usize> {
        if self.charged == 0 {
            self.charged = wanted.min(CHUNK);
            let turn = self.limits.charge(self.charged);
            self.wait = turn.map(|at| Box::pin(sleep_until(at)));
        }
        if let Some(wait) = &mut self.wait {
            ready!(wait.as_mut().poll(cx));
            self.wait = None;
        }
        Poll::Ready(self.charged.min(wanted))
    }

    fn passed(&mut self, n: usize) {
        self.charged -= n;
    }
}

pin_project! {
    /// A body held to the rate of its token, if there is one.
    #[derive(Debug)]
    pub(super) struct Paced<B> {
        #[pin]
        body: B,
        pace: Option<Box<Pace>>,
    }
}

#[derive(Debug)]
struct Pace {
    turn: Turn,
    /// Has arrived, waits for its turn: one frame at most.
    held: Bytes,
}

impl<B> Paced<B> {
    pub(super) fn new(body: B, limits: Option<Arc<Limits>>) -> Self {
        let pace = limits.map(|limits| {
            Box::new(Pace {
                turn: Turn::new(limits),
                held: Bytes::new(),
            })
        });
        Self { body, pace }
    }

    /// The same body, held to what its token allows.
    pub(super) fn at_the_rate_of(self, within: Option<&Within>) -> Self {
        Self::new(self.body, within.and_then(Within::on_bytes))
    }

    pub(super) fn inner(&self) -> &B {
        &self.body
    }

    fn held(&self) -> u64 {
        self.pace.as_ref().map_or(0, |pace| pace.held.len() as u64)
    }
}

impl<B: Body<Data = Bytes>> Body for Paced<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        let Some(pace) = this.pace else {
            return this.body.poll_frame(cx);
        };
        if pace.held.is_empty() {
            match ready!(this.body.poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => pace.held = data,
                    Ok(empty) => return Poll::Ready(Some(Ok(Frame::data(empty)))),
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                end => return Poll::Ready(end),
            }
        }
        let n = ready!(pace.turn.poll(pace.held.len(), cx));
        pace.turn.passed(n);
        Poll::Ready(Some(Ok(Frame::data(pace.held.split_to(n)))))
    }

    fn is_end_stream(&self) -> bool {
        self.held() == 0 && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (mut hint, held) = (self.body.size_hint(), self.held());
        if held > 0 {
            if let Some(upper) = hint.upper() {
                hint.set_upper(upper + held);
            }
            hint.set_lower(hint.lower() + held);
        }
        hint
    }
}

/// The tunnel client's end of an upgraded connection, held to the rate of its token, if there is one.
#[derive(Debug)]
pub struct PacedEnd<K> {
    end: StreamEnd<K>,
    pace: Option<Box<EndPace>>,
    within: Option<Within>,
}

#[derive(Debug)]
struct EndPace {
    outward: Turn,
    inward: Turn,
    /// Has arrived, waits for its turn. The stream's window bounds it.
    arrived: BytesMut,
    /// How it ends behind that.
    end: Option<io::Result<()>>,
}

impl<K> PacedEnd<K> {
    pub(super) fn new(end: StreamEnd<K>, within: Option<Within>) -> Self {
        let pace = within.as_ref().and_then(Within::on_bytes).map(|limits| {
            Box::new(EndPace {
                outward: Turn::new(Arc::clone(&limits)),
                inward: Turn::new(limits),
                arrived: BytesMut::new(),
                end: None,
            })
        });
        Self { end, pace, within }
    }

    /// The same end, held to the limits of its token until it is dropped.
    pub(super) fn within(self, within: Option<Within>) -> Self {
        Self::new(self.end, within)
    }

    /// Keeps `more`, too, until the end is dropped.
    pub fn keeping<L>(self, more: L) -> PacedEnd<(K, L)> {
        PacedEnd {
            end: self.end.keeping(more),
            pace: self.pace,
            within: self.within,
        }
    }
}

impl<K> End for PacedEnd<K> {
    const READ_AHEAD: usize = StreamEnd::<K>::READ_AHEAD;

    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut BytesMut) -> Poll<io::Result<usize>> {
        let Some(pace) = &mut self.pace else {
            return self.end.poll_read(cx, into);
        };
        while pace.end.is_none() {
            match self.end.poll_read(cx, &mut pace.arrived) {
                Poll::Ready(Ok(0)) => pace.end = Some(Ok(())),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(broken)) => pace.end = Some(Err(broken)),
                Poll::Pending => break,
            }
        }
        if pace.arrived.is_empty() {
            return match &mut pace.end {
                Some(end) => Poll::Ready(std::mem::replace(end, Ok(())).map(|()| 0)),
                None => Poll::Pending,
            };
        }
        let n = ready!(pace.inward.poll(pace.arrived.len(), cx));
        into.extend_from_slice(&pace.arrived.split_to(n));
        pace.inward.passed(n);
        Poll::Ready(Ok(n))
    }

    fn passed_on(&mut self, n: usize) {
        self.end.passed_on(n);
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, from: &mut BytesMut) -> Poll<io::Result<()>> {
        let Some(pace) = &mut self.pace else {
            return self.end.poll_write(cx, from);
        };
        while !from.is_empty() {
            let n = ready!(pace.outward.poll(from.len(), cx));
            let mut part = from.split_to(n);
            let written = self.end.poll_write(cx, &mut part);
            pace.outward.passed(n - part.len());
            // What was not taken goes back to where it was, in front.
            part.unsplit(take(from));
            *from = part;
            ready!(written)?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end.poll_flush(cx)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end.poll_finish(cx)
    }

    fn abort(&mut self) {
        self.end.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use http::header::{ETAG, HeaderMap, HeaderValue};
    use http_body_util::{BodyExt, Full};
    use tokio::time::Instant;

    use super::super::limits::Caps;
    use super::*;

    fn at(bytes_per_second: u32) -> Option<Arc<Limits>> {
        Some(Limits::new(Caps {
            bytes_per_second: NonZeroU32::new(bytes_per_second),
            ..Caps::default()
        }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_takes_its_time_and_stays_whole() {
        let text: Bytes = (0..1_000_000_u32)
            .flat_map(u32::to_le_bytes)
            .take(1_000_000)
            .collect();
        let began = Instant::now();

        let body = Paced::new(Full::new(text.clone()), at(100_000));
        assert_eq!(body.size_hint().exact(), Some(1_000_000));
        let arrived = body.collect().await.unwrap().to_bytes();

        assert_eq!(arrived, text);
        let took = began.elapsed();
        // The quarter of a second that is free, and the last frame, which waits for those before it.
        assert!(took > Duration::from_millis(9500), "{took:?}");
        assert!(took < Duration::from_millis(10_000), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn many_small_bodies_share_one_rate() {
        let limits = at(10_000);
        let began = Instant::now();
        for _ in 0..100 {
            let body = Paced::new(Full::new(Bytes::from_static(&[0; 1000])), limits.clone());
            body.collect().await.unwrap();
        }
        let took = began.elapsed();
        assert!(took > Duration::from_millis(9500), "{took:?}");
        assert!(took < Duration::from_millis(10_000), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn trailers_come_last_and_an_end_is_not_told_too_early() {
        let trailers = HeaderMap::from_iter([(ETAG, HeaderValue::from_static("x"))]);
        let body = Full::new(Bytes::from_static(&[1; 40_000]));
        let body = body.with_trailers(std::future::ready(Some(Ok(trailers))));
        let mut body = Box::pin(Paced::new(body, at(100_000)));
        let mut data = 0;
        loop {
            assert!(!body.is_end_stream());
            match body.frame().await.unwrap().unwrap().into_data() {
                Ok(chunk) => data += chunk.len(),
                Err(frame) => {
                    assert!(frame.is_trailers());
                    break;
                }
            }
        }
        assert_eq!(data, 40_000);
        assert!(body.frame().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_held_is_not_the_end() {
        let mut body = Paced::new(Full::new(Bytes::from_static(&[1; 40_000])), at(1000));
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(first.len(), CHUNK);
        assert!(!body.is_end_stream());
        assert_eq!(body.size_hint().exact(), Some(40_000 - CHUNK as u64));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_rate_nothing_waits() {
        let body = Paced::new(Full::new(Bytes::from_static(&[1; 40_000])), None);
        let began = Instant::now();
        assert_eq!(body.collect().await.unwrap().to_bytes().len(), 40_000);
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
