//! Standard output and standard error, either of which may be closed, full, or read by nobody.
//!
//! `println!` and `eprintln!` panic when they fail and wait for as long as nobody reads, so neither program
//! uses them. [`print()`] returns what went wrong. What goes to standard error waits in a queue of bounded size
//! for a thread of its own, and what does not fit is counted: whoever logs a line is never held up.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;

use tracing::warn;

use crate::printable;

/// Prints on standard output. A reader that has seen enough, such as `head`, is no failure.
///
/// # Errors
///
/// When standard output takes nothing, as on a disk that is full.
pub fn print(text: impl AsRef<[u8]>) -> io::Result<()> {
    match hand_over(text) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed,
    }
}

/// Prints on standard output what must not be lost.
///
/// # Errors
///
/// When standard output takes nothing, or nobody reads it.
pub fn hand_over(text: impl AsRef<[u8]>) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_ref())?;
    stdout.flush()
}

/// Prints on standard output without waiting for it, which a pipe that is full would make forever. That nothing
/// takes it is logged.
pub fn announce(text: String) {
    std::thread::spawn(move || {
        if let Err(error) = print(text) {
            warn!(%error, "standard output takes nothing");
        }
    });
}

/// Says something on standard error, if it takes it. What others have a part in does not steer the terminal.
pub fn complain(text: &str) {
    ERRORS.push(format!("{}\n", printable::text(text)).as_bytes());
}

/// Waits until all that was said on standard error is there, or for a second: a program that ends must not
/// hang for a reader that does not read.
pub fn flush() {
    ERRORS.flush(FLUSH_LIMIT);
}

/// Holds back what goes to standard error until the answer is dropped, and writes it then: the screen belongs
/// to something else meanwhile. The newest 200 lines are kept.
#[must_use]
pub fn hold() -> Hold {
    ERRORS.lock().is_held = true;
    Hold(())
}

/// Standard error is held back.
#[derive(Debug)]
pub struct Hold(());

impl Drop for Hold {
    fn drop(&mut self) {
        ERRORS.lock().is_held = false;
        ERRORS.news.notify_one();
        flush();
    }
}

/// Sends the message of a panic the same way as everything else. A task that panics leaves the rest running.
pub fn keep_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|panic| {
            let name = std::thread::current().name().unwrap_or("?").to_owned();
            let trace = std::backtrace::Backtrace::capture();
            let trace = match trace.status() {
                std::backtrace::BacktraceStatus::Captured => format!("\n{trace}"),
                _ => String::new(),
            };
            complain(&format!("thread '{name}' {panic}{trace}"));
            flush();
        }));
    });
}

/// Where lines of the log go, each in one piece.
#[derive(Debug)]
pub(crate) struct Log;

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        ERRORS.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How long the end of a program may wait for standard error.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// Bytes that wait for standard error at most; the oldest lines go first.
const MOST_WAITING: usize = 256 * 1024;

/// Lines that are kept at most while they are held back.
const MOST_HELD: usize = 200;

static ERRORS: LazyLock<&'static Queue> = LazyLock::new(|| {
    let queue: &'static Queue = Box::leak(Box::default());
    let writer = std::thread::Builder::new().name("stderr".to_owned());
    let started = writer.spawn(move || {
        loop {
            queue.write_next(&mut io::stderr());
        }
    });
    // Without a thread every line is written where it is said.
    queue.lock().has_writer = started.is_ok();
    queue
});

/// Lines on their way to a writer that may be slow.
#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
    /// There is something to write.
    news: Condvar,
    /// Nothing waits any more.
    done: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<Box<[u8]>>,
    bytes: usize,
    /// Lines that came to nothing since the last one that was written.
    lost: u64,
    is_writing: bool,
    is_held: bool,
    has_writer: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: &[u8]) {
        let mut state = self.lock();
        state.bytes += line.len();
        state.lines.push_back(line.into());
        let most = if state.is_held { MOST_HELD } else { usize::MAX };
        while state.bytes > MOST_WAITING || state.lines.len() > most {
            state.lose_oldest();
        }
        let has_writer = state.has_writer;
        drop(state);
        match has_writer {
            true => self.news.notify_one(),
            false => self.write_next(&mut io::stderr()),
        }
    }

    /// Writes the oldest line, once there is one.
    fn write_next(&self, out: &mut impl Write) {
        let state = self.lock();
        let idle = |state: &mut State| state.lines.is_empty() || state.is_held;
        let state = self.news.wait_while(state, idle);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        let line = state.take_oldest().expect("there is one");
        let lost = std::mem::take(&mut state.lost);
        state.is_writing = true;
        drop(state);
        let written = match lost {
            0 => out.write_all(&line),
            lost => {
                let note =
                    format!("{lost} lines are missing here: standard error did not take them\n");
                out.write_all(&[note.as_bytes(), &line].concat())
            }
        };
        let mut state = self.lock();
        state.is_writing = false;
        if written.is_err() {
            state.lost += lost + 1;
        }
        if state.lines.is_empty() {
            self.done.notify_all();
        }
    }

    fn flush(&self, limit: Duration) {
        let state = self.lock();
        let busy =
            |state: &mut State| !state.is_held && (state.is_writing || !state.lines.is_empty());
        drop(self.done.wait_timeout_while(state, limit, busy));
    }
}

impl State {
    fn take_oldest(&mut self) -> Option<Box<[u8]>> {
        let line = self.lines.pop_front()?;
        self.bytes -= line.len();
        Some(line)
    }

    fn lose_oldest(&mut self) {
        if self.take_oldest().is_some() {
            self.lost += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A queue whose lines the test writes.
    fn queue() -> Queue {
        let queue = Queue::default();
        queue.lock().has_writer = true;
        queue
    }

    fn written(queue: &Queue) -> String {
        let mut out = Vec::new();
        while !queue.lock().lines.is_empty() {
            queue.write_next(&mut out);
        }
        String::from_utf8(out).unwrap()
    }

    /// Takes nothing, as a disk that is full.
    struct Full;

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_nobody_takes_are_counted_and_take_no_memory() {
        let queue = queue();
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        for _ in 0..1000 {
            queue.push(&line);
        }
        assert!(queue.lock().bytes <= MOST_WAITING);
        let text = written(&queue);
        let (first, rest) = text.split_once('\n').unwrap();
        assert_eq!(
            first,
            "744 lines are missing here: standard error did not take them"
        );
        assert_eq!(rest.len(), MOST_WAITING);
        queue.push(b"the next one\n");
        assert_eq!(written(&queue), "the next one\n");
    }

    #[test]
    fn what_could_not_be_written_is_told_once_it_can() {
        let queue = queue();
        for line in ["one\n", "two\n"] {
            queue.push(line.as_bytes());
            queue.write_next(&mut Full);
        }
        queue.push(b"three\n");
        let told = "2 lines are missing here: standard error did not take them\nthree\n";
        assert_eq!(written(&queue), told);
    }

    #[test]
    fn lines_that_are_held_back_wait_and_the_newest_are_kept() {
        let queue = queue();
        queue.lock().is_held = true;
        for n in 0..300 {
            queue.push(format!("line {n}\n").as_bytes());
        }
        // It does not wait for what is held back.
        queue.flush(Duration::MAX);
        queue.lock().is_held = false;
        let text = written(&queue);
        assert!(text.starts_with("100 lines are missing here"), "{text}");
        assert!(text.ends_with("\nline 298\nline 299\n"), "{text}");
        assert_eq!(text.lines().count(), 201);
    }
}
