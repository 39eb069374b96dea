//! The messages of a WebSocket (RFC 6455), unpacked where its ends have agreed to pack them (RFC 7692).

use flate2::{Decompress, FlushDecompress, Status};

use super::exchange::MessageKind;
use super::reader::{Found, Lost, Part};

/// One direction of a WebSocket.
#[derive(Debug)]
pub(super) struct Frames {
    /// The head of a frame, until it is whole.
    head: Vec<u8>,
    frame: Option<Frame>,
    /// What kind of message is coming in pieces.
    message: Option<Pieces>,
    payload: Part,
    /// A ping, pong or goodbye may come between the pieces of a message.
    control: Part,
    packing: Packing,
}

#[derive(Debug)]
struct Frame {
    opcode: u8,
    last: bool,
    left: u64,
    mask: Option<[u8; 4]>,
    /// Where in the mask the next byte is.
    turn: usize,
}

#[derive(Debug)]
struct Pieces {
    kind: MessageKind,
    packed: bool,
}

/// How messages are packed.
#[derive(Debug)]
enum Packing {
    No,
    Yes {
        inflate: Box<Decompress>,
        /// Each message is packed by itself.
        afresh: bool,
    },
    /// It could not be followed any further.
    Lost,
}

/// The state of inflating besides what is seen of it, with its window of 32 KiB.
const INFLATING: usize = 48 * 1024;

/// What is unpacked of one message at most, in limits. Unpacking is work; beyond this it is too much of it.
const MOST_LIMITS: u64 = 16;

/// A message that was packed ends in these, which are not sent (RFC 7692 §7.2.2).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

const CONTINUES: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

impl Frames {
    /// `packing`: how this direction is packed, if it is; true where each message is by itself.
    pub(super) fn new(packing: Option<bool>) -> Self {
        Self {
            head: Vec::new(),
            frame: None,
            message: None,
            payload: Part::default(),
            control: Part::default(),
            packing: match packing {
                Some(afresh) => Packing::Yes {
                    inflate: Box::new(Decompress::new(false)),
                    afresh,
                },
                None => Packing::No,
            },
        }
    }

    pub(super) fn read(
        &mut self,
        mut bytes: &[u8],
        limit: usize,
        found: Found<'_>,
    ) -> Result<(), Lost> {
        loop {
            let Some(frame) = &mut self.frame else {
                let Some(&byte) = bytes.first() else {
                    return Ok(());
                };
                self.head.push(byte);
                bytes = &bytes[1..];
                if let Some(frame) = self.begin_frame()? {
                    self.head.clear();
                    self.frame = Some(frame);
                }
                continue;
            };
            let n = usize::try_from(frame.left).map_or(bytes.len(), |left| left.min(bytes.len()));
            let (part, rest) = bytes.split_at(n);
            bytes = rest;
            frame.left -= n as u64;
            let (opcode, mask, turn) = (frame.opcode, frame.mask, frame.turn);
            frame.turn = (turn + n) % 4;
            let over = frame.left == 0;
            self.take_in(opcode, part, mask, turn, limit);
            if !over {
                return Ok(());
            }
            let frame = self.frame.take().expect("there is one");
            self.end_frame(&frame, limit, found);
        }
    }

    /// The frame, once its head is whole.
    fn begin_frame(&mut self) -> Result<Option<Frame>, Lost> {
        let [first, second, rest @ ..] = &self.head[..] else {
            return Ok(None);
        };
        let masked = second & 0x80 != 0;
        let (length, rest) = match second & 0x7f {
            126 => match rest.split_first_chunk() {
                Some((length, rest)) => (u16::from_be_bytes(*length).into(), rest),
                None => return Ok(None),
            },
            127 => match rest.split_first_chunk() {
                Some((length, rest)) => (u64::from_be_bytes(*length), rest),
                None => return Ok(None),
            },
            length => (length.into(), rest),
        };
        let mask = match (masked, rest.first_chunk()) {
            (true, Some(mask)) => Some(*mask),
            (true, None) => return Ok(None),
            (false, _) => None,
        };
        let (opcode, packed) = (first & 0x0f, first & 0x40 != 0);
        match opcode {
            TEXT | BINARY if self.message.is_none() => {
                let kind = match opcode {
                    TEXT => MessageKind::Text,
                    _ => MessageKind::Binary,
                };
                self.message = Some(Pieces { kind, packed });
            }
            CONTINUES if self.message.is_some() && !packed => {}
            CLOSE | PING | PONG if length <= 125 && !packed => {}
            _ => return Err(Lost),
        }
        Ok(Some(Frame {
            opcode,
            last: first & 0x80 != 0,
            left: length,
            mask,
            turn: 0,
        }))
    }

    fn take_in(
        &mut self,
        opcode: u8,
        part: &[u8],
        mask: Option<[u8; 4]>,
        turn: usize,
        limit: usize,
    ) {
        let packed = self.message.as_ref().is_some_and(|message| message.packed);
        let unpacks = opcode < CLOSE && packed && matches!(self.packing, Packing::Yes { .. });
        // Of what is only counted nothing needs to be read.
        let room = limit.saturating_sub(self.payload.kept().len());
        let wanted = match unpacks || opcode >= CLOSE {
            true => part.len(),
            false => part.len().min(room),
        };
        let unmasked: Vec<u8>;
        let plain = match mask {
            Some(mask) => {
                let bytes = part[..wanted].iter().enumerate();
                unmasked = bytes.map(|(n, byte)| byte ^ mask[(turn + n) % 4]).collect();
                &unmasked[..]
            }
            None => &part[..wanted],
        };
        if opcode >= CLOSE {
            self.control.push(plain, limit.max(125));
        } else if unpacks {
            self.unpack(plain, limit);
        } else {
            self.payload.push(plain, limit);
            self.payload.total += (part.len() - wanted) as u64;
        }
    }

    fn unpack(&mut self, mut packed: &[u8], limit: usize) {
        let mut piece = [0; 4096];
        while let Packing::Yes { inflate, .. } = &mut self.packing {
            let (read, written) = (inflate.total_in(), inflate.total_out());
            let status = inflate.decompress(packed, &mut piece, FlushDecompress::Sync);
            let read = usize::try_from(inflate.total_in() - read).unwrap_or(usize::MAX);
            let written = usize::try_from(inflate.total_out() - written).unwrap_or(usize::MAX);
            packed = &packed[read..];
            self.payload.push(&piece[..written], limit);
            let too_much = self.payload.total > (limit as u64).max(4096) * MOST_LIMITS;
            match status {
                Ok(Status::Ok | Status::BufError) if !too_much => {
                    if packed.is_empty() && written < piece.len() {
                        return;
                    }
                    if read == 0 && written == 0 {
                        self.packing = Packing::Lost;
                    }
                }
                // A last block ends what is packed; the next one begins afresh.
                Ok(Status::StreamEnd) if !too_much => {
                    inflate.reset(false);
                    if packed.is_empty() {
                        return;
                    }
                }
                _ => self.packing = Packing::Lost,
            }
        }
    }

    fn end_frame(&mut self, frame: &Frame, limit: usize, found: Found<'_>) {
        match frame.opcode {
            CLOSE => {
                let mut payload = self.control.take();
                let code = payload.bytes.first_chunk().copied();
                let code = code.map(u16::from_be_bytes);
                if code.is_some() {
                    payload.bytes = payload.bytes.slice(2..);
                    payload.total -= 2;
                }
                found(MessageKind::Close { code }, payload);
            }
            PING => found(MessageKind::Ping, self.control.take()),
            PONG => found(MessageKind::Pong, self.control.take()),
            _ if frame.last => {
                let Some(message) = self.message.take() else {
                    return;
                };
                let mut kind = message.kind;
                if message.packed {
                    self.unpack(&TAIL, limit);
                    match &mut self.packing {
                        Packing::Yes {
                            inflate,
                            afresh: true,
                        } => inflate.reset(false),
                        Packing::Yes { .. } => {}
                        Packing::No | Packing::Lost => kind = MessageKind::Packed,
                    }
                }
                found(kind, self.payload.take());
            }
            _ => {}
        }
    }

    pub(super) fn size(&self) -> usize {
        let packing = match self.packing {
            Packing::Yes { .. } => INFLATING,
            Packing::No | Packing::Lost => 0,
        };
        self.head.capacity() + self.payload.size() + self.control.size() + packing
    }
}

/// How both directions are packed, by what the app has agreed to in `Sec-WebSocket-Extensions`: the
/// visitor's and the app's. See [`Frames::new`].
pub(super) fn packing(agreed: &str) -> (Option<bool>, Option<bool>) {
    let mut extensions = agreed.split(',').map(|extension| {
        let mut words = extension.split(';').map(str::trim);
        (words.next().unwrap_or_default(), words)
    });
    let Some((_, words)) = extensions.find(|(name, _)| *name == "permessage-deflate") else {
        return (None, None);
    };
    let words: Vec<&str> = words.collect();
    let afresh = |word| Some(words.contains(&word));
    (
        afresh("client_no_context_takeover"),
        afresh("server_no_context_takeover"),
    )
}

#[cfg(test)]
mod tests;
