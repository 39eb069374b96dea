use flate2::{Compress, Compression, FlushCompress};

use super::*;

const KIB: usize = 1024;

/// A frame; `first` is its first byte.
fn frame(first: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut frame = vec![first];
    let bit = if mask.is_some() { 0x80 } else { 0 };
    match payload.len() {
        n @ 0..=125 => frame.push(bit | u8::try_from(n).unwrap()),
        n @ 126..=0xffff => {
            frame.push(bit | 126);
            frame.extend(u16::try_from(n).unwrap().to_be_bytes());
        }
        n => {
            frame.push(bit | 127);
            frame.extend((n as u64).to_be_bytes());
        }
    }
    let mask = mask.inspect(|mask| frame.extend(mask)).unwrap_or_default();
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(a, b)| a ^ b));
    frame
}

type Seen = Vec<(MessageKind, Vec<u8>, u64)>;

fn seen(frames: &mut Frames, bytes: &[u8], size: usize, limit: usize) -> (Seen, Result<(), Lost>) {
    let mut all = Vec::new();
    for piece in bytes.chunks(size) {
        let read = frames.read(piece, limit, &mut |kind, payload| {
            all.push((kind, payload.bytes.to_vec(), payload.total));
        });
        if read.is_err() {
            return (all, read);
        }
    }
    (all, Ok(()))
}

fn whole(kind: MessageKind, text: &[u8]) -> (MessageKind, Vec<u8>, u64) {
    (kind, text.to_vec(), text.len() as u64)
}

#[test]
fn messages_are_found_however_the_bytes_are_cut() {
    let mask = Some([1, 2, 3, 4]);
    let long = vec![b'l'; 300];
    let bytes = [
        frame(0x81, b"hello", mask),
        frame(0x01, b"in ", mask),
        frame(0x89, b"there?", mask),
        frame(0x00, b"three ", mask),
        frame(0x80, b"pieces", mask),
        frame(0x82, &long, None),
        frame(0x8a, b"", None),
        frame(0x81, b"", mask),
        frame(0x88, b"\x03\xe8bye", mask),
        frame(0x88, b"", mask),
    ]
    .concat();
    let wanted = [
        whole(MessageKind::Text, b"hello"),
        whole(MessageKind::Ping, b"there?"),
        whole(MessageKind::Text, b"in three pieces"),
        whole(MessageKind::Binary, &long),
        whole(MessageKind::Pong, b""),
        whole(MessageKind::Text, b""),
        whole(MessageKind::Close { code: Some(1000) }, b"bye"),
        whole(MessageKind::Close { code: None }, b""),
    ];
    for size in (1..40).chain([bytes.len()]) {
        let (all, read) = seen(&mut Frames::new(None), &bytes, size, KIB);
        assert_eq!((all, read), (wanted.to_vec(), Ok(())), "by {size}");
    }
}

#[test]
fn long_messages_are_cut_and_counted() {
    for mask in [None, Some([9, 8, 7, 6])] {
        let big = vec![b'x'; 100_000];
        let bytes = [frame(0x82, &big, mask), frame(0x81, b"next", mask)].concat();
        let mut frames = Frames::new(None);
        let (all, read) = seen(&mut frames, &bytes, 777, 10);
        assert_eq!(read, Ok(()));
        assert_eq!(all[0], (MessageKind::Binary, vec![b'x'; 10], 100_000));
        assert_eq!(all[1].1, b"next");
        assert!(frames.size() < 200);
    }
}

/// Packs messages as an end of a WebSocket does.
struct Packer(Compress);

impl Packer {
    fn new() -> Self {
        Self(Compress::new(Compression::default(), false))
    }

    fn pack(&mut self, text: &[u8]) -> Vec<u8> {
        let mut packed = Vec::with_capacity(text.len() + KIB);
        self.0
            .compress_vec(text, &mut packed, FlushCompress::Sync)
            .unwrap();
        packed.truncate(packed.len() - TAIL.len());
        packed
    }
}

#[test]
fn packed_messages_are_unpacked_with_what_came_before_them() {
    let text = b"a message that is said again and again and again".repeat(3);
    let mut packer = Packer::new();
    let (first, second) = (packer.pack(&text), packer.pack(&text));
    assert!(second.len() < first.len());
    let (half, rest) = second.split_at(second.len() / 2);
    let mask = Some([5, 6, 7, 8]);
    let bytes = [
        frame(0xc1, &first, mask),
        frame(0x81, b"not packed", mask),
        frame(0x41, half, mask),
        frame(0x89, b"", mask),
        frame(0x80, rest, mask),
    ]
    .concat();
    let wanted = [
        whole(MessageKind::Text, &text),
        whole(MessageKind::Text, b"not packed"),
        whole(MessageKind::Ping, b""),
        whole(MessageKind::Text, &text),
    ];
    for size in (1..40).chain([bytes.len()]) {
        let (all, _) = seen(&mut Frames::new(Some(false)), &bytes, size, KIB);
        assert_eq!(all, wanted, "by {size}");
    }
}

#[test]
fn messages_that_are_packed_by_themselves_are_unpacked_by_themselves() {
    let text = b"a message that is said again and again";
    let one = frame(0xc2, &Packer::new().pack(text), None);
    let (all, _) = seen(&mut Frames::new(Some(true)), &one.repeat(3), 7, KIB);
    assert_eq!(all, vec![whole(MessageKind::Binary, text); 3]);
}

#[test]
fn what_would_unpack_to_too_much_is_left_packed() {
    let mut packer = Packer::new();
    let bomb = packer.pack(&vec![0; 4 * KIB * KIB]);
    let (bomb, next) = (
        frame(0xc2, &bomb, None),
        frame(0xc1, &packer.pack(b"x"), None),
    );
    let mut frames = Frames::new(Some(false));
    let (all, _) = seen(&mut frames, &[bomb, next].concat(), 500, KIB);
    assert_eq!(all[0].0, MessageKind::Packed);
    assert!(all[0].2 < 200 * KIB as u64, "{}", all[0].2);
    assert_eq!(
        all[1].0,
        MessageKind::Packed,
        "it refers to what is not known"
    );
    assert!(frames.size() < 2 * KIB);
}

#[test]
fn what_is_no_frame_ends_the_reading() {
    for bytes in [
        frame(0x83, b"reserved", None),
        frame(0x80, b"continues nothing", None),
        frame(0x89, &[0; 126], None),
        [frame(0x01, b"a", None), frame(0x81, b"b", None)].concat(),
        b"HTTP/1.1 400 Bad Request".to_vec(),
    ] {
        let (_, read) = seen(&mut Frames::new(None), &bytes, 5, KIB);
        assert_eq!(read, Err(Lost), "{bytes:?}");
    }
    let lost = frame(0xc1, b"\xff\xff\xff\xff", None);
    let (all, read) = seen(&mut Frames::new(Some(false)), &lost, 100, KIB);
    assert_eq!((all[0].0.clone(), read), (MessageKind::Packed, Ok(())));
}

#[test]
fn packing_is_what_the_app_agreed_to() {
    for (agreed, wanted) in [
        ("", (None, None)),
        ("x-other", (None, None)),
        ("permessage-deflate", (Some(false), Some(false))),
        (
            "permessage-deflate; server_no_context_takeover; client_max_window_bits=12",
            (Some(false), Some(true)),
        ),
        (
            "x-other, permessage-deflate;client_no_context_takeover",
            (Some(true), Some(false)),
        ),
    ] {
        assert_eq!(packing(agreed), wanted, "{agreed}");
    }
}
