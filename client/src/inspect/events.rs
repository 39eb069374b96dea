//! Server-sent events, as the HTML standard §9.2.6 reads them.

use super::exchange::MessageKind;
use super::reader::{Found, Part};

/// The event stream of one answer.
#[derive(Debug, Default)]
pub(super) struct Events {
    begun: bool,
    line: Part,
    /// The last byte was CR, and a LF would belong to it.
    after_cr: bool,
    event: Vec<u8>,
    id: Vec<u8>,
    data: Part,
    has_data: bool,
}

/// How much of an event's type and id is kept: 1 KiB.
const WORD: usize = 1024;

/// Room for the name of a field besides its value.
const NAME: usize = 16;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

impl Events {
    pub(super) fn read(&mut self, mut bytes: &[u8], limit: usize, found: Found<'_>) {
        if std::mem::take(&mut self.after_cr) && bytes.first() == Some(&b'\n') {
            bytes = &bytes[1..];
        }
        while let Some(at) = bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
            self.line.push(&bytes[..at], limit.saturating_add(NAME));
            self.end_line(limit, found);
            let cr = bytes[at] == b'\r';
            bytes = &bytes[at + 1..];
            if cr {
                match bytes.first() {
                    Some(b'\n') => bytes = &bytes[1..],
                    Some(_) => {}
                    None => self.after_cr = true,
                }
            }
        }
        self.line.push(bytes, limit.saturating_add(NAME));
    }

    fn end_line(&mut self, limit: usize, found: Found<'_>) {
        let line = self.line.take();
        let cut = line.total - line.bytes.len() as u64;
        let mut text = &line.bytes[..];
        if !std::mem::replace(&mut self.begun, true) {
            text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        }
        if text.is_empty() {
            self.end_event(found);
            return;
        }
        let (name, value) = match text.iter().position(|&byte| byte == b':') {
            Some(at) => (&text[..at], &text[at + 1..]),
            None => (text, &b""[..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push(b"\n", limit);
                }
                self.data.push(value, limit);
                self.data.total += cut;
            }
            b"event" => self.event = value[..value.len().min(WORD)].to_vec(),
            b"id" if !value.contains(&0) => self.id = value[..value.len().min(WORD)].to_vec(),
            _ => {}
        }
    }

    fn end_event(&mut self, found: Found<'_>) {
        let event = std::mem::take(&mut self.event);
        if !std::mem::take(&mut self.has_data) {
            return;
        }
        let event = match event.is_empty() {
            true => "message".to_owned(),
            false => String::from_utf8_lossy(&event).into_owned(),
        };
        let id = String::from_utf8_lossy(&self.id).into_owned();
        found(MessageKind::Event { event, id }, self.data.take());
    }

    pub(super) fn size(&self) -> usize {
        self.line.size() + self.data.size() + self.event.capacity() + self.id.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(text: &[u8], size: usize) -> Vec<(String, String, String)> {
        let (mut events, mut all) = (Events::default(), Vec::new());
        for piece in text.chunks(size) {
            events.read(piece, 1000, &mut |kind, payload| {
                let MessageKind::Event { event, id } = kind else {
                    panic!("{kind:?}");
                };
                let data = String::from_utf8(payload.bytes.to_vec()).unwrap();
                all.push((event, id, data));
            });
        }
        all
    }

    #[test]
    fn events_are_found_however_the_bytes_are_cut_and_lines_end() {
        let text = "\u{feff}: a comment\n\nid: 7\nevent: add\ndata: one\ndata:two\n\n\
            data\n\nevent: dropped\n\ndata:  x:y\nunknown: z\n\ndata: never ended";
        let wanted = [
            ("add", "7", "one\ntwo"),
            ("message", "7", ""),
            ("message", "7", " x:y"),
        ];
        let wanted = wanted.map(|(event, id, data)| (event.into(), id.into(), data.into()));
        for ending in ["\n", "\r", "\r\n"] {
            let text = text.replace('\n', ending);
            for size in 1..=text.len() {
                assert_eq!(
                    events(text.as_bytes(), size),
                    wanted,
                    "{ending:?} by {size}"
                );
            }
        }
    }

    #[test]
    fn a_long_event_is_counted_and_cut() {
        let (mut events, mut all) = (Events::default(), Vec::new());
        let text = format!("data: {}\ndata: b\n\n", "a".repeat(500));
        for piece in text.as_bytes().chunks(7) {
            events.read(piece, 10, &mut |_, payload| all.push(payload));
            assert!(events.size() < 200, "{}", events.size());
        }
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].total, 502);
        assert_eq!(all[0].bytes, "a".repeat(10));
    }
}
