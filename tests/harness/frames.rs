//! HTTP/2 from literal frames (RFC 9113 §4), made of nothing that would refuse to write nonsense.

use bytes::Bytes;

use crate::strict::Reader;

/// What a client says first (RFC 9113 §3.4), with SETTINGS that forbid a dynamic table.
pub fn opening() -> Vec<u8> {
    let no_table = [0, 1, 0, 0, 0, 0];
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    [preface, frame(SETTINGS, 0, 0, &no_table)].concat()
}

/// Types of frames.
pub const DATA: u8 = 0;
/// See [`DATA`].
pub const HEADERS: u8 = 1;
/// See [`DATA`].
pub const RST_STREAM: u8 = 3;
/// See [`DATA`].
pub const SETTINGS: u8 = 4;
/// See [`DATA`].
pub const PUSH_PROMISE: u8 = 5;
/// See [`DATA`].
pub const GOAWAY: u8 = 7;
/// See [`DATA`].
pub const CONTINUATION: u8 = 9;

/// Flags of frames.
pub const END_STREAM: u8 = 1;
/// See [`END_STREAM`].
pub const END_HEADERS: u8 = 4;
/// See [`END_STREAM`].
pub const PADDED: u8 = 8;

/// One frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len())
        .expect("a short frame")
        .to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

/// A field block: literals without indexing, without Huffman (RFC 7541 §6.2.2).
pub fn block<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: &[(N, V)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        string(&mut block, name.as_ref());
        string(&mut block, value.as_ref());
    }
    block
}

/// RFC 7541 §5.2, its length with a prefix of seven bits (§5.1).
fn string(block: &mut Vec<u8>, bytes: &[u8]) {
    let mut left = bytes.len();
    if left < 127 {
        block.push(u8::try_from(left).expect("below 127"));
    } else {
        block.push(127);
        left -= 127;
        while left >= 128 {
            block.push(0x80 | u8::try_from(left % 128).expect("below 128"));
            left /= 128;
        }
        block.push(u8::try_from(left).expect("below 128"));
    }
    block.extend_from_slice(bytes);
}

/// A frame as it arrived.
#[derive(Debug)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream.
    pub stream: u32,
    /// What it carries.
    pub payload: Bytes,
}

/// The next frame; `None` at the end of the connection.
pub async fn next(reader: &mut Reader) -> Option<Frame> {
    let head = reader.exactly(9).await;
    let (length, rest) = head.split_at_checked(3)?;
    let &[kind, flags, a, b, c, d] = rest else {
        return None;
    };
    let size = length
        .iter()
        .fold(0, |size, byte| size << 8 | usize::from(*byte));
    Some(Frame {
        kind,
        flags,
        stream: u32::from_be_bytes([a, b, c, d]),
        payload: reader.exactly(size).await,
    })
}

/// The status at the front of a field block: indexed (RFC 7541 appendix A), or digits in plain or in
/// Huffman code (appendix B).
pub fn status(block: &[u8]) -> Option<u16> {
    // The size of the dynamic table comes first, where it was changed (§4.2).
    let block = block
        .iter()
        .position(|byte| byte & 0xe0 != 0x20)
        .map(|at| &block[at..])?;
    let known = [200, 204, 206, 304, 400, 404, 500];
    let (first, rest) = block.split_first()?;
    if let Some(at) = first.checked_sub(0x88).map(usize::from) {
        return known.get(at).copied();
    }
    let (length, rest) = rest.split_first()?;
    let digits = rest.get(..usize::from(length & 0x7f))?;
    let text = match length & 0x80 {
        0 => String::from_utf8(digits.to_vec()).ok()?,
        _ => huffman_digits(digits),
    };
    text.parse().ok()
}

/// 0, 1 and 2 have five bits, the other digits six.
fn huffman_digits(bytes: &[u8]) -> String {
    let bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
    let (mut digits, mut bits) = (String::new(), bits.as_str());
    while let Some(short) = bits
        .get(..5)
        .and_then(|five| u8::from_str_radix(five, 2).ok())
    {
        let long = bits
            .get(..6)
            .and_then(|six| u8::from_str_radix(six, 2).ok());
        let (digit, size) = match long {
            _ if short <= 2 => (short, 5),
            Some(long @ 0x19..=0x1f) => (long - 0x19 + 3, 6),
            _ => break,
        };
        digits.push(char::from(b'0' + digit));
        bits = &bits[size..];
    }
    digits
}

#[test]
fn a_status_is_read_in_every_form() {
    assert_eq!(status(&[0x8c]), Some(400));
    assert_eq!(status(&[0x20, 0x88, 0x00]), Some(200));
    assert_eq!(status(&[0x48, 3, b'4', b'2', b'1']), Some(421));
    // 502: 011011 00000 00010
    assert_eq!(status(&[0x48, 0x82, 0b0110_1100, 0b0000_0010]), Some(502));
    // 431: 011010 011001 00001 and padding
    assert_eq!(
        status(&[0x08, 0x83, 0b0110_1001, 0b1001_0000, 0b1111_1111]),
        Some(431)
    );
}
