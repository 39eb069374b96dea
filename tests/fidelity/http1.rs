//! Both sides of a case in HTTP/1.1, in literal bytes.

use ngrnotok_common::socket::Socket;
use ngrnotok_tests::strict::{Ending, Framing, Piece, Reader, Writer, break_off, halves};
use tokio::sync::watch;

use crate::case::{Ask, Fields, Step};
use crate::message::{End, Left, Message, Named, Progress, Record, both, heard, named_pairs};
use crate::stage::Script;

/// A connection between two messages.
pub(crate) struct Connection {
    reader: Reader,
    writer: Writer,
}

impl Connection {
    pub(crate) fn new(socket: impl Socket) -> Self {
        let (reader, writer) = halves(socket);
        Self { reader, writer }
    }

    /// Sends a request and reads its answer. The connection is given back if it can be used again.
    pub(crate) async fn ask(
        mut self,
        ask: &Ask,
        authority: &str,
        switches: bool,
    ) -> (Message, Option<Self>) {
        let (mut record, mut progress) = Record::new();
        let (reader, writer) = (&mut self.reader, &mut self.writer);
        let saying = async {
            let _ = writer.say(head_of(ask, authority)).await;
            let chunked = ask.says("Transfer-Encoding", "chunked");
            speak(
                writer,
                &ask.steps,
                chunked,
                ask.method,
                switches,
                &mut progress,
            )
            .await
        };
        let hearing = hear_answer(reader, ask.method, &mut record);
        let mut left = both(saying, hearing, switches).await;
        let message = record.taken(left != Left::Stays);
        let last = |fields: &Named| {
            fields
                .get("connection")
                .is_some_and(|values| values.join(",").contains("close"))
        };
        if last(&message.fields) && left == Left::Stays {
            left = Left::Closes;
        }
        (message, self.after(left, switches))
    }

    /// Sends all requests, then reads all answers.
    pub(crate) async fn ask_in_one_breath(mut self, asks: &[Ask], authority: &str) -> Vec<Message> {
        let (_, mut progress) = Record::new();
        let mut answers = Vec::new();
        let (reader, writer) = (&mut self.reader, &mut self.writer);
        let saying = async {
            let mut all = Vec::new();
            for ask in asks {
                all.extend(head_of(ask, authority));
                for step in &ask.steps {
                    if let Step::Data(data) = step {
                        all.extend_from_slice(data);
                    }
                }
            }
            let _ = writer.say(all).await;
            speak(writer, &[], false, "", false, &mut progress).await
        };
        let hearing = async {
            for ask in asks {
                let (mut record, _) = Record::new();
                hear_answer(reader, ask.method, &mut record).await;
                answers.push(record.taken(false));
            }
        };
        both(saying, hearing, true).await;
        answers
    }

    /// Answers requests as long as there are answers.
    pub(crate) async fn serve(mut self, script: &Script) {
        while let Some(head) = self.reader.head().await {
            let framed = head.and_then(|head| Ok((head.request_framing()?, head)));
            let (mut framing, head) = match framed {
                Ok(framed) => framed,
                Err(wrong) => return script.saw_wrong(wrong),
            };
            let Some(answer) = script.next() else {
                return script.saw_wrong(format!("a request too many: {:?}", head.start));
            };
            let switches = answer.switches();
            if switches {
                framing = Framing::UntilClose;
            }
            let [method, target, _] = &head.start;
            let (mut record, mut progress) = Record::new();
            record.head(format!("{method} {target}"), named_pairs(&head.fields));
            let (reader, writer) = (&mut self.reader, &mut self.writer);
            let steps = answer.steps();
            let saying = speak(writer, &steps, false, method, switches, &mut progress);
            let left = both(saying, hear_body(reader, framing, &mut record), true).await;
            script.saw(record.taken(left != Left::Stays));
            match self.after(left, switches) {
                Some(connection) => self = connection,
                None => return,
            }
        }
    }

    fn after(self, left: Left, switches: bool) -> Option<Self> {
        match left {
            Left::Stays => (!switches && self.reader.ending.is_none()).then_some(self),
            Left::Closes => None,
            Left::Breaks => {
                break_off(self.reader, self.writer);
                None
            }
        }
    }
}

/// Says what a side says.
async fn speak(
    writer: &mut Writer,
    steps: &[Step],
    mut chunked: bool,
    method: &str,
    switches: bool,
    progress: &mut watch::Receiver<Progress>,
) -> Left {
    let mut ends_by_closing = false;
    for step in steps {
        // Whoever does not want to hear it has left, and that is seen elsewhere.
        let _ = match step {
            Step::Interim(status, fields) => writer.say(answer_head(*status, fields)).await,
            Step::Head(status, fields) => {
                let bodiless = method == "HEAD" || matches!(status, 101 | 204 | 304);
                chunked = !bodiless && has(fields, "transfer-encoding");
                ends_by_closing = !bodiless && !chunked && !has(fields, "content-length");
                writer.say(answer_head(*status, fields)).await
            }
            // In chunks it would be the end.
            Step::Data(data) if data.is_empty() => Ok(()),
            Step::Data(data) if chunked => {
                let size = format!("{:x}\r\n", data.len());
                writer.say([size.as_bytes(), data, b"\r\n"].concat()).await
            }
            Step::Data(data) | Step::Raw(data) => writer.say(data).await,
            Step::Trailers(fields) => {
                chunked = false;
                writer
                    .say([b"0\r\n", &lines(fields)[..], b"\r\n"].concat())
                    .await
            }
            Step::Hear(what) => {
                heard(progress, *what).await;
                Ok(())
            }
            Step::Close => return Left::Closes,
            Step::Break => return Left::Breaks,
        };
    }
    if chunked {
        let _ = writer.say("0\r\n\r\n").await;
    }
    if switches {
        writer.finish().await;
    }
    match ends_by_closing {
        true => Left::Closes,
        false => Left::Stays,
    }
}

async fn hear_answer(reader: &mut Reader, method: &str, record: &mut Record) {
    loop {
        let read = match reader.head().await {
            Some(Ok(head)) => head.status().map(|status| (status, head)),
            Some(Err(wrong)) => Err(wrong),
            None if reader.ending == Some(Ending::Finished) => {
                return record.end(End::Nothing, Named::new());
            }
            None => return record.end(End::Broken, Named::new()),
        };
        let (status, head) = match read {
            Ok(read) => read,
            Err(wrong) => return record.end(End::Wrong(wrong), Named::new()),
        };
        let fields = named_pairs(&head.fields);
        if status != 101 && status < 200 {
            record.interim(status, fields);
            continue;
        }
        record.head(status.to_string(), fields);
        let framing = match status {
            101 => Ok(Framing::UntilClose),
            _ => head.answer_framing(method),
        };
        return match framing {
            Ok(framing) => hear_body(reader, framing, record).await,
            Err(wrong) => record.end(End::Wrong(wrong), Named::new()),
        };
    }
}

async fn hear_body(reader: &mut Reader, mut framing: Framing, record: &mut Record) {
    loop {
        match reader.piece(&mut framing).await {
            Piece::Data(data) => record.data(&data),
            Piece::End(trailers) => return record.end(End::Whole, named_pairs(&trailers)),
            Piece::Cut => return record.end(End::Broken, Named::new()),
            Piece::Wrong(wrong) => return record.end(End::Wrong(wrong), Named::new()),
        }
    }
}

fn head_of(ask: &Ask, authority: &str) -> Vec<u8> {
    let mut head = format!("{} {} {}\r\n", ask.method, ask.target, ask.version).into_bytes();
    if !has(&ask.fields, "host") {
        head.extend(format!("Host: {authority}\r\n").into_bytes());
    }
    if let Some(protocol) = ask.protocol {
        head.extend(format!("Connection: Upgrade\r\nUpgrade: {protocol}\r\n").into_bytes());
        if protocol == "websocket" {
            head.extend(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n");
        }
    }
    head.extend(lines(&ask.fields));
    head.extend(b"\r\n");
    head
}

fn answer_head(status: u16, fields: &Fields) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status} So it is\r\n").into_bytes();
    [head, lines(fields), b"\r\n".to_vec()].concat()
}

fn lines(fields: &Fields) -> Vec<u8> {
    let lines = fields.iter();
    let lines = lines.map(|(name, value)| [name.as_bytes(), b": ", value, b"\r\n"].concat());
    lines.collect::<Vec<_>>().concat()
}

fn has(fields: &Fields, name: &str) -> bool {
    let mut fields = fields.iter();
    fields.any(|(field, _)| field.eq_ignore_ascii_case(name))
}
