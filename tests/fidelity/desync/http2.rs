//! Attacks in HTTP/2: what a frame can say and a line of HTTP/1.1 cannot (RFC 9113 §8.2.1, §10.3), and
//! streams that say two things. In values, `HOST` is the host and `SMUGGLED` the request that is to be
//! smuggled.

use ngrnotok_tests::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, block, frame, opening,
};

mod bodies;
mod fields;
mod heads;
mod streams;

use super::{Attack, Must, replaced, smuggled};

type Field = (&'static [u8], &'static [u8]);

const METHOD: Field = (b":method", b"POST");
const SCHEME: Field = (b":scheme", b"http");
const AUTHORITY: Field = (b":authority", b"HOST");
const PATH: Field = (b":path", b"/a");

/// What stands in a row in place of a frame.
#[derive(Clone)]
enum Part {
    Fields(u8, Vec<(Vec<u8>, Vec<u8>)>),
    Data(u8, &'static [u8]),
    Frame(Vec<u8>),
}

fn head(flags: u8, fields: &[Field]) -> Part {
    let owned = fields
        .iter()
        .map(|(name, value)| (name.to_vec(), value.to_vec()));
    Part::Fields(flags | END_HEADERS, owned.collect())
}

/// A head that ends its request, and one that does not.
fn whole(extra: &[Field]) -> Part {
    head(
        END_STREAM,
        &[&[METHOD, SCHEME, AUTHORITY, PATH], extra].concat(),
    )
}

fn begun(extra: &[Field]) -> Part {
    head(0, &[&[METHOD, SCHEME, AUTHORITY, PATH], extra].concat())
}

fn data(bytes: &'static [u8]) -> Part {
    Part::Data(0, bytes)
}

fn last(bytes: &'static [u8]) -> Part {
    Part::Data(END_STREAM, bytes)
}

/// A row on the first stream.
fn row(name: impl Into<String>, must: Must, parts: &[Part]) -> Attack {
    let parts = parts.to_vec();
    Attack {
        name: name.into(),
        must,
        bytes: Box::new(move |host| {
            let hidden = smuggled(host);
            let fill = |bytes: &[u8]| {
                let filled = replaced(
                    &replaced(bytes, "SMUGGLED", &hidden),
                    "HOST",
                    host.as_bytes(),
                );
                replaced(&filled, "LEN", hidden.len().to_string().as_bytes())
            };
            let mut bytes = opening();
            for part in &parts {
                bytes.extend(match part {
                    Part::Fields(flags, fields) => {
                        let filled = fields.iter().map(|(name, value)| (fill(name), fill(value)));
                        headers(*flags, &block(&filled.collect::<Vec<_>>()))
                    }
                    Part::Data(flags, data) => frame(DATA, *flags, 1, &fill(data)),
                    Part::Frame(frame) => frame.clone(),
                });
            }
            bytes
        }),
    }
}

/// HEADERS, with CONTINUATION where one frame is too short.
fn headers(flags: u8, block: &[u8]) -> Vec<u8> {
    let mut pieces = block.chunks(16_000);
    let first = pieces.next().unwrap_or_default();
    let rest: Vec<_> = pieces.collect();
    let ends = if rest.is_empty() {
        flags
    } else {
        flags & !END_HEADERS
    };
    let mut frames = frame(HEADERS, ends, 1, first);
    for (at, piece) in rest.iter().enumerate() {
        let ends = if at + 1 == rest.len() { END_HEADERS } else { 0 };
        frames.extend(frame(CONTINUATION, ends, 1, piece));
    }
    frames
}

pub(super) fn attacks() -> Vec<Attack> {
    let mut all = fields::attacks();
    all.extend(heads::attacks());
    all.extend(bodies::attacks());
    all.extend(streams::attacks());
    all
}
