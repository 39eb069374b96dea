//! Outputs that take nothing: nobody reads them, or there is no room.

use std::fs::File;
use std::io::{PipeReader, Write as _};
use std::process::Stdio;
use std::thread::JoinHandle;

/// A pipe whose reader has left.
pub fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("a pipe can be had");
    drop(reader);
    writer.into()
}

/// A file on a disk that is full.
pub fn no_room() -> Stdio {
    let full = File::options().write(true).open("/dev/full");
    full.expect("Linux has one").into()
}

/// A pipe that is full and stays so, because its reader does not read.
#[derive(Debug)]
pub struct Stuck {
    writer: std::io::PipeWriter,
    /// Before the thread: it ends when the reader is gone.
    reader: Option<PipeReader>,
    filling: Option<JoinHandle<()>>,
}

impl Stuck {
    /// A new one.
    pub fn new() -> Self {
        let (reader, writer) = std::io::pipe().expect("a pipe can be had");
        let mut more = writer.try_clone().expect("a descriptor can be had");
        // More than any pipe holds, so this waits in the middle.
        let filling = std::thread::spawn(move || drop(more.write_all(&vec![b'\n'; 4 << 20])));
        Self {
            writer,
            reader: Some(reader),
            filling: Some(filling),
        }
    }

    /// The end that takes nothing.
    pub fn writer(&self) -> Stdio {
        let writer = self.writer.try_clone();
        writer.expect("a descriptor can be had").into()
    }
}

impl Default for Stuck {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Stuck {
    fn drop(&mut self) {
        drop(self.reader.take());
        if let Some(filling) = self.filling.take() {
            let _ = filling.join();
        }
    }
}
