//! Notes about the exchange that a connection to the local app carries, taken where its bytes go by.
//!
//! They answer questions for which hyper has no answer: whether a request may go once more, on another
//! connection, whether the app waits for an acknowledgement before it sends the rest of its answer, which limit
//! a head is over, and which field of it is odd.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Uri, Version};

use super::{RequestBody, odd_field};

/// A head that is longer is not kept, and its request not repeated: 64 KiB, more than visitors may send.
const LONGEST_HEAD: usize = 64 * 1024;

/// What is kept of an answer's head, to name an odd field in it: 4 KiB.
const ANSWER_HEAD: usize = 4 * 1024;

/// What a connection keeps of its buffer between two requests: 4 KiB.
const KEPT_BUFFER: usize = 4 * 1024;

/// The notes of one connection. hyper's task and the request's own write and read them; nothing but a
/// repetition and an acknowledgement depends on them, so relaxed atomics are enough.
#[derive(Debug, Default)]
pub(super) struct Wire {
    /// What the last bytes of the answer look like, a [`Tail`].
    tail: AtomicU8,
    /// Bytes of the answer that have come.
    heard: AtomicUsize,
    /// What the request waits for, a [`Wait`].
    wait: AtomicU8,
    /// Whom to wake when an empty line turns out to have a body behind it.
    reader: Mutex<Option<Waker>>,
    keeps_head: AtomicBool,
    /// The head as it was written. A copy of its bytes costs a tenth of one of its fields.
    head: Mutex<Vec<u8>>,
    /// How the answer begins.
    answer: Mutex<Vec<u8>>,
}

/// The last bytes that came.
#[repr(u8)]
enum Tail {
    /// None of the answer.
    Nothing = 0,
    /// A line within a head.
    HeadLine = 1,
    /// An empty line: the end of a head that was written apart from its body, or has none.
    EmptyLine = 2,
    /// A last chunk: the end of an answer.
    LastChunk = 3,
    /// Anything else: a body up to its end, or not.
    Other = 4,
    /// They have been acknowledged.
    Acknowledged = 5,
}

/// What the request waits for.
#[repr(u8)]
enum Wait {
    /// Nothing; or it is not known that it does.
    Nothing = 0,
    Head = 1,
    Body = 2,
}

impl Wire {
    /// A request is about to be sent. If it is `repeatable`, its head is kept.
    pub(super) fn begin(&self, repeatable: bool) {
        self.tail.store(Tail::Nothing as u8, Relaxed);
        self.heard.store(0, Relaxed);
        self.wait.store(Wait::Head as u8, Relaxed);
        self.keeps_head.store(repeatable, Relaxed);
        self.answer().clear();
        if repeatable {
            let mut head = self.head();
            head.clear();
            head.shrink_to(KEPT_BUFFER);
        }
    }

    /// The answer's head is there. An app that has written it apart from the body may hold the body back
    /// until the head is acknowledged (Nagle's algorithm, RFC 9293 §3.7.4).
    pub(super) fn head_came(&self, has_body: bool) {
        if !has_body || self.tail.load(Relaxed) != Tail::EmptyLine as u8 {
            self.wait.store(Wait::Nothing as u8, Relaxed);
            return;
        }
        let mut reader = self.reader();
        self.wait.store(Wait::Body as u8, Relaxed);
        if let Some(reader) = reader.take() {
            reader.wake();
        }
    }

    /// A piece of the body is there; `more` of it is to come, as far as is known.
    pub(super) fn piece_came(&self, more: bool) {
        let wait = match more {
            true => Wait::Body,
            false => Wait::Nothing,
        };
        self.wait.store(wait as u8, Relaxed);
    }

    /// Bytes have been written.
    pub(super) fn wrote(&self, bytes: &[u8]) {
        if !self.keeps_head.load(Relaxed) {
            return;
        }
        let mut head = self.head();
        if head.len() + bytes.len() > LONGEST_HEAD {
            self.keeps_head.store(false, Relaxed);
            return;
        }
        head.extend_from_slice(bytes);
    }

    /// How many bytes of the answer have come.
    pub(super) fn size_heard(&self) -> usize {
        self.heard.load(Relaxed)
    }

    /// Bytes have come. Says whether they are the first of an answer.
    pub(super) fn heard(&self, bytes: &[u8]) -> bool {
        self.heard.fetch_add(bytes.len(), Relaxed);
        if self.waits_for(Wait::Head) {
            let mut answer = self.answer();
            let room = ANSWER_HEAD - answer.len();
            answer.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
        let tail = match bytes {
            [] => return false,
            [.., b'\n', b'0', b'\r', b'\n', b'\r', b'\n'] => Tail::LastChunk,
            [.., b'\r', b'\n', b'\r', b'\n'] => Tail::EmptyLine,
            [.., b'\r', b'\n'] if self.waits_for(Wait::Head) && !has_empty_line(bytes) => {
                Tail::HeadLine
            }
            _ => Tail::Other,
        };
        self.tail.swap(tail as u8, Relaxed) == Tail::Nothing as u8
    }

    /// Ready if the app may wait for us to acknowledge what has come, now that there is no more to read.
    /// An answer that came whole is acknowledged by the next request, which costs nothing.
    pub(super) fn poll_app_waits(&self, cx: &mut Context<'_>) -> Poll<()> {
        const EMPTY_LINE: u8 = Tail::EmptyLine as u8;
        const HEAD_LINE: u8 = Tail::HeadLine as u8;
        const OTHER: u8 = Tail::Other as u8;
        let waits = match self.tail.load(Relaxed) {
            HEAD_LINE => true,
            // hyper does not read on between the beginning of a body and our taking it.
            OTHER => self.waited_for_body(),
            EMPTY_LINE => {
                let mut reader = self.reader();
                let waited = self.waited_for_body();
                if !waited && self.waits_for(Wait::Head) {
                    *reader = Some(cx.waker().clone());
                }
                waited
            }
            _ => false,
        };
        if !waits {
            return Poll::Pending;
        }
        self.tail.store(Tail::Acknowledged as u8, Relaxed);
        Poll::Ready(())
    }

    /// Whether a piece of a body was waited for, which is told once: the next one may be the last.
    fn waited_for_body(&self) -> bool {
        let waited = self.waits_for(Wait::Body);
        if waited {
            self.wait.store(Wait::Nothing as u8, Relaxed);
        }
        waited
    }

    fn waits_for(&self, what: Wait) -> bool {
        self.wait.load(Relaxed) == what as u8
    }

    /// The request once more, if it was `repeatable` and not a byte of an answer has come.
    pub(super) fn again(&self) -> Option<Request<RequestBody>> {
        let silent = self.tail.load(Relaxed) == Tail::Nothing as u8;
        if !silent || !self.keeps_head.load(Relaxed) {
            return None;
        }
        read(&self.head())
    }

    /// What is wrong with the answer's head, if that is a field of it.
    pub(super) fn odd_field(&self) -> Option<String> {
        odd_field::describe(&self.answer())
    }

    fn answer(&self) -> MutexGuard<'_, Vec<u8>> {
        self.answer.lock().expect("nothing panics under this lock")
    }

    fn reader(&self) -> MutexGuard<'_, Option<Waker>> {
        self.reader.lock().expect("nothing panics under this lock")
    }

    fn head(&self) -> MutexGuard<'_, Vec<u8>> {
        self.head.lock().expect("nothing panics under this lock")
    }
}

fn has_empty_line(bytes: &[u8]) -> bool {
    bytes.windows(4).any(|four| four == b"\r\n\r\n")
}

/// Reads a head that hyper has written.
fn read(head: &[u8]) -> Option<Request<RequestBody>> {
    let lines = head.iter().filter(|byte| **byte == b'\n').count();
    let mut fields = vec![httparse::EMPTY_HEADER; lines];
    let mut parsed = httparse::Request::new(&mut fields);
    if !parsed.parse(head).ok()?.is_complete() {
        return None;
    }
    let mut request = Request::new(RequestBody::none());
    *request.method_mut() = parsed.method?.parse().ok()?;
    *request.uri_mut() =
        Uri::from_maybe_shared(Bytes::copy_from_slice(parsed.path?.as_bytes())).ok()?;
    *request.version_mut() = Version::HTTP_11;
    for field in parsed.headers.iter() {
        let name = http::HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        let value = http::HeaderValue::from_bytes(field.value).ok()?;
        request.headers_mut().append(name, value);
    }
    Some(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_told_again_as_it_was_unless_an_answer_has_begun() {
        let wire = Wire::default();
        wire.begin(true);
        assert!(wire.again().is_none(), "nothing was sent");
        wire.wrote(b"DELETE /a?b=%20c HTTP/1.1\r\nHost: a.test\r\n");
        assert!(wire.again().is_none(), "half of it was sent");
        wire.wrote(b"Cookie: a=1\r\nX-B: \xff\r\nx-b: 2\r\n\r\n");
        let again = wire.again().unwrap();
        assert_eq!(
            (again.method().as_str(), again.uri().to_string()),
            ("DELETE", "/a?b=%20c".into())
        );
        let values: Vec<_> = again.headers().get_all("x-b").iter().collect();
        assert_eq!(values, [&b"\xff"[..], b"2"]);
        assert_eq!(again.headers().len(), 4);
        wire.heard(b"H");
        assert!(wire.again().is_none());
        wire.begin(false);
        wire.wrote(b"POST / HTTP/1.1\r\n\r\n");
        assert!(wire.again().is_none());
    }
}
