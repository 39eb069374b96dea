#![no_main]
//! Bodies both ways over a link whose socket, windows, readers and writers stall as the input says.
//!
//! Whatever happens, a reader gets the bytes in their order, and takes a body for whole only when it
//! is. When nobody gives up, it gets all of it, and in the end.

mod script;

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body, Frame};
use libfuzzer_sys::fuzz_target;
use ngrnotok_common::link::body::{Ahead, LinkBody};
use ngrnotok_common::link::calling::{Calling, exchange};
use ngrnotok_common::link::ping::Pace;
use ngrnotok_common::link::serving::{Reply, Serving};
use ngrnotok_common::link::settings::{DATA_FRAME_BUDGET, server_end};
use ngrnotok_common::link::windows::Unread;
use script::Script;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::runtime::Builder;
use tokio::task::yield_now;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

/// The clock stands still while anything can go on, so this much time passes only when nothing can.
const STUCK: Duration = Duration::from_secs(3600);

fuzz_target!(|input: &[u8]| {
    let mut script = Script(input);
    let plan = Arc::new(Plan::new(&mut script));
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        if timeout(STUCK, link(&plan)).await.is_err() {
            panic!("nothing moves any more: {plan:?}");
        }
    });
});

/// What one body does, in order.
#[derive(Debug, Clone, Copy)]
enum Step {
    Data(usize),
    Empty,
    Wait,
    Trailers,
    Break,
}

/// What one reader does before each frame.
#[derive(Debug, Clone, Copy)]
enum Reading {
    Now,
    Wait(usize),
    GiveUp,
}

#[derive(Debug, Clone)]
struct Way {
    steps: Vec<Step>,
    readings: Vec<Reading>,
    /// Frames are taken off the connection while the reader waits.
    ahead: bool,
    window: u32,
}

#[derive(Debug)]
struct Plan {
    up: Way,
    down: Way,
    /// The answer begins before the request has been read.
    early: bool,
    socket: usize,
    choppy: [Vec<u8>; 2],
}

impl Plan {
    fn new(script: &mut Script<'_>) -> Self {
        let choices = script.byte();
        let socket = 64 + script.below(4096);
        let choppy = [script.bytes(16).to_vec(), script.bytes(16).to_vec()];
        let up = Way::new(script, choices & 1 != 0);
        let down = Way::new(script, choices & 2 != 0);
        Self {
            up,
            down,
            early: choices & 4 != 0,
            socket,
            choppy,
        }
    }
}

impl Way {
    fn new(script: &mut Script<'_>, ahead: bool) -> Self {
        let window = 1 + script.below(20_000);
        let readings = script.bytes(24).iter();
        let readings = readings.map(|byte| match byte {
            0..128 => Reading::Now,
            128..250 => Reading::Wait(usize::from(*byte) - 127),
            _ => Reading::GiveUp,
        });
        let readings = readings.collect();
        // A narrow window takes many rounds, and many more of them show nothing new.
        let largest = (window * 8).min(40_000);
        let mut steps = Vec::new();
        for _ in 0..script.byte() % 24 {
            steps.push(match script.byte() {
                0..128 => Step::Data(1 + usize::from(script.byte()).min(largest)),
                128..192 => Step::Data(1 + script.below(largest)),
                192..208 => Step::Empty,
                208..240 => Step::Wait,
                240..248 => Step::Trailers,
                _ => Step::Break,
            });
            if matches!(steps.last(), Some(Step::Trailers | Step::Break)) {
                break;
            }
        }
        Self {
            steps,
            readings,
            ahead,
            window: u32::try_from(window).expect("small"),
        }
    }

    /// All bytes that the body says before it ends or breaks.
    fn bytes(&self) -> Vec<u8> {
        let mut all = Vec::new();
        for step in &self.steps {
            if let Step::Data(n) = step {
                all.extend(pattern(all.len(), *n));
            }
        }
        all
    }

    fn breaks(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Break))
    }

    fn has_trailers(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Trailers))
    }

    fn gives_up(&self) -> bool {
        let give_up = |reading: &Reading| matches!(reading, Reading::GiveUp);
        self.readings.iter().any(give_up)
    }
}

/// Bytes that say where in the body they belong.
fn pattern(from: usize, n: usize) -> impl Iterator<Item = u8> {
    (from..from + n).map(|at| (at ^ (at >> 8)) as u8)
}

/// A body that does what its steps say.
#[derive(Debug)]
struct Scripted {
    steps: std::vec::IntoIter<Step>,
    sent: usize,
    ended: bool,
}

impl Scripted {
    fn new(way: &Way) -> Self {
        Self {
            steps: way.steps.clone().into_iter(),
            sent: 0,
            ended: false,
        }
    }
}

#[derive(Debug)]
struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the script breaks the body")
    }
}

impl std::error::Error for Broken {}

impl Body for Scripted {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        assert!(!self.ended, "a body is not asked again after its end");
        let next = match self.steps.next() {
            Some(Step::Data(n)) => {
                let chunk = pattern(self.sent, n).collect();
                self.sent += n;
                Some(Ok(Frame::data(chunk)))
            }
            Some(Step::Empty) => Some(Ok(Frame::data(Bytes::new()))),
            Some(Step::Wait) => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Some(Step::Trailers) => {
                let mut fields = HeaderMap::new();
                fields.insert("x-last", HeaderValue::from_static("word"));
                Some(Ok(Frame::trailers(fields)))
            }
            Some(Step::Break) => Some(Err(Broken)),
            None => None,
        };
        self.ended = !matches!(&next, Some(Ok(frame)) if frame.is_data());
        Poll::Ready(next)
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.steps.as_slice().is_empty()
    }
}

/// What a reader got.
#[derive(Debug, PartialEq)]
enum Got {
    Whole { trailers: bool },
    Broken,
    GaveUp,
}

async fn read<B>(mut body: B, ahead: Ahead, way: &Way) -> Got
where
    B: Body<Data = Bytes, Error = h2::Error> + Unpin,
{
    let expected = way.bytes();
    let mut came = 0;
    let mut trailers = false;
    let mut readings = way.readings.iter();
    let reading = async {
        loop {
            match readings.next().unwrap_or(&Reading::Now) {
                Reading::Now => {}
                Reading::Wait(rounds) => {
                    for _ in 0..*rounds {
                        yield_now().await;
                    }
                }
                Reading::GiveUp => return Got::GaveUp,
            }
            let frame = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
            let frame = match frame {
                Some(Ok(frame)) => frame,
                Some(Err(_)) => return Got::Broken,
                None => break,
            };
            assert!(!trailers, "a frame after the trailers");
            match frame.into_data() {
                Ok(chunk) => {
                    let end = came + chunk.len();
                    assert!(end <= expected.len(), "more bytes than were sent");
                    assert_eq!(chunk, expected[came..end], "other bytes, from {came} on");
                    came = end;
                }
                Err(_) => trailers = true,
            }
        }
        assert_eq!(came, expected.len(), "a shorter body that looks whole");
        assert!(!way.breaks(), "a broken body that looks whole");
        Got::Whole { trailers }
    };
    if !way.ahead {
        return reading.await;
    }
    tokio::select! {
        got = reading => got,
        never = ahead.drive() => match never {},
    }
}

async fn link(plan: &Arc<Plan>) {
    let (near, far) = tokio::io::duplex(plan.socket);
    let [first, second] = &plan.choppy;
    let (near, far) = (Choppy::new(near, first), Choppy::new(far, second));

    let mut settings = server_end();
    settings.initial_window_size(plan.down.window);
    let mut accepting = h2::server::Builder::new();
    accepting
        .initial_window_size(plan.up.window)
        .initial_connection_window_size((1 << 31) - 1)
        .data_frame_budget(DATA_FRAME_BUDGET);
    let pace = Pace {
        every: STUCK * 2,
        limit: STUCK * 2,
        at_once: 1,
    };
    let calling = Calling::open(near, &settings, None, Unread::default()).await;
    let (requests, calling) = calling.expect("a link");
    let tasks = TaskTracker::new();
    tasks.spawn(async { drop(calling.await) });
    let serving = Serving::open(far, &accepting, pace).await;
    let mut serving = serving.expect("a link");

    let (accepted, accepting) = tokio::sync::oneshot::channel();
    let (plan_of_answer, answers) = (Arc::clone(plan), tasks.clone());
    tasks.spawn(async move {
        // A visitor who gives up at once may take the link along before the request is seen.
        let Ok(Some((request, reply))) = serving.accept().await else {
            return;
        };
        let answering = answers.spawn(answer(request, reply, plan_of_answer));
        accepted.send(answering).expect("it is waited for");
        let _ = serving.accept().await;
    });
    let visiting = async {
        let head = Request::post("https://link.test/")
            .body(())
            .expect("a head");
        let body = Scripted::new(&plan.up);
        let answer = exchange(requests, head, body, &mut |_| {}, &tasks).await;
        let Ok(answer) = answer else {
            return Got::Broken;
        };
        let body = answer.into_body();
        let ahead = body.ahead();
        read(body, ahead, &plan.down).await
    };
    let answering = async {
        match accepting.await {
            Ok(answering) => Some(answering.await.expect("it does not panic")),
            Err(_) => None,
        }
    };
    let (down, up) = tokio::join!(visiting, answering);
    judge(plan, up, down);
}

/// Reads the request and answers it; how the request ended for its reader.
async fn answer(request: Request<RecvStream>, reply: Reply, plan: Arc<Plan>) -> Got {
    let body = reply.body(request.into_body());
    let ahead = body.ahead();
    let reading = read(body, ahead, &plan.up);
    let mut body = Scripted::new(&plan.down);
    let sending = async { drop(reply.send(Response::new(&mut body)).await) };
    if plan.early {
        tokio::join!(reading, sending).0
    } else {
        let got = reading.await;
        sending.await;
        got
    }
}

fn judge(plan: &Plan, up: Option<Got>, down: Got) {
    let undisturbed = |way: &Way| !way.breaks() && !way.gives_up();
    if undisturbed(&plan.up) && undisturbed(&plan.down) {
        let whole = |way: &Way| Got::Whole {
            trailers: way.has_trailers(),
        };
        assert_eq!(down, whole(&plan.down), "nobody gave up, and yet");
        // An answer may end before its request has been read; that is no reason to read on.
        if !plan.early {
            assert_eq!(up, Some(whole(&plan.up)), "nobody gave up, and yet");
        }
    }
}

/// A socket that takes and gives little at a time, and sometimes nothing.
struct Choppy {
    socket: DuplexStream,
    reads: Sizes,
    writes: Sizes,
}

impl Choppy {
    fn new(socket: DuplexStream, sizes: &[u8]) -> Self {
        Self {
            socket,
            reads: Sizes::new(sizes),
            writes: Sizes::new(sizes),
        }
    }
}

/// How much to move each time, over and over.
struct Sizes {
    sizes: Vec<u8>,
    at: usize,
    last_was_nothing: bool,
}

impl Sizes {
    fn new(sizes: &[u8]) -> Self {
        Self {
            sizes: sizes.to_vec(),
            at: 0,
            last_was_nothing: false,
        }
    }

    /// How much to move now; never nothing twice in a row.
    fn next(&mut self) -> usize {
        if self.sizes.is_empty() {
            return usize::MAX;
        }
        let size = usize::from(self.sizes[self.at % self.sizes.len()]);
        self.at += 1;
        self.last_was_nothing = size == 0 && !self.last_was_nothing;
        match size {
            0 if self.last_was_nothing => 0,
            0 => 9,
            size => size * size,
        }
    }
}

impl AsyncRead for Choppy {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let size = self.reads.next();
        if size == 0 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut little = vec![0; size.min(out.remaining())];
        let mut little = ReadBuf::new(&mut little);
        let read = Pin::new(&mut self.socket).poll_read(cx, &mut little);
        out.put_slice(little.filled());
        read
    }
}

impl AsyncWrite for Choppy {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let size = self.writes.next();
        if size == 0 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.socket).poll_write(cx, &bytes[..size.min(bytes.len())])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
