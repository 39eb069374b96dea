//! Streams that are no requests, and frames where they do not belong.

use ngrnotok_tests::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PADDED, PUSH_PROMISE, block, frame,
};

use super::{AUTHORITY, Field, METHOD, PATH, Part, SCHEME, data, head, last, row, whole};
use crate::desync::Attack;
use crate::desync::Must::{BeOneOrNone, BeRefused};

pub(super) fn attacks() -> Vec<Attack> {
    let mut all = connects();
    all.extend(streams());
    all
}

/// RFC 9113 §8.5, RFC 8441 §4: what follows is no body.
fn connects() -> Vec<Attack> {
    const CONNECT: Field = (b":method", b"CONNECT");
    const EAGER: Field = (b":path", b"/eager");
    let asked = |extra: &[Field]| head(0, &[&[CONNECT, SCHEME, AUTHORITY, EAGER], extra].concat());
    let protocol = |value| -> Part { asked(&[(b":protocol", value)]) };
    vec![
        row(
            "CONNECT",
            BeRefused,
            &[head(0, &[CONNECT, AUTHORITY]), data(b"SMUGGLED")],
        ),
        row(
            "CONNECT to others",
            BeRefused,
            &[
                head(0, &[CONNECT, (b":authority", b"other.example:443")]),
                data(b"SMUGGLED"),
            ],
        ),
        row(
            "CONNECT with a path",
            BeRefused,
            &[asked(&[]), data(b"SMUGGLED")],
        ),
        row("CONNECT without a host", BeRefused, &[head(0, &[CONNECT])]),
        row(
            "extended CONNECT",
            BeOneOrNone,
            &[protocol(b"websocket"), data(b"SMUGGLED")],
        ),
        row(
            "extended CONNECT without a path",
            BeRefused,
            &[head(
                0,
                &[CONNECT, SCHEME, AUTHORITY, (b":protocol", b"websocket")],
            )],
        ),
        row(
            "extended CONNECT that has ended",
            BeOneOrNone,
            &[head(
                END_STREAM,
                &[
                    CONNECT,
                    SCHEME,
                    AUTHORITY,
                    EAGER,
                    (b":protocol", b"websocket"),
                ],
            )],
        ),
        row(
            "extended CONNECT with a length",
            BeOneOrNone,
            &[
                asked(&[(b":protocol", b"websocket"), (b"content-length", b"LEN")]),
                data(b"SMUGGLED"),
            ],
        ),
        row(
            "extended CONNECT with a length and no body",
            BeOneOrNone,
            &[asked(&[
                (b":protocol", b"websocket"),
                (b"content-length", b"4096"),
            ])],
        ),
        row(
            "extended CONNECT with an expectation",
            BeOneOrNone,
            &[asked(&[
                (b":protocol", b"websocket"),
                (b"expect", b"100-continue"),
            ])],
        ),
        row(
            "extended CONNECT with trailers in mind",
            BeOneOrNone,
            &[asked(&[(b":protocol", b"websocket"), (b"trailer", b"x-a")])],
        ),
        row(
            ":protocol echo",
            BeRefused,
            &[protocol(b"echo"), data(b"SMUGGLED")],
        ),
        row(
            ":protocol h2c",
            BeRefused,
            &[protocol(b"h2c"), data(b"SMUGGLED")],
        ),
        row(
            ":protocol WebSocket",
            BeOneOrNone,
            &[protocol(b"WebSocket"), data(b"SMUGGLED")],
        ),
        row(
            ":protocol in two words",
            BeRefused,
            &[protocol(b"web socket")],
        ),
        row(
            ":protocol, a list",
            BeRefused,
            &[protocol(b"websocket, h2c")],
        ),
        row(
            ":protocol with a line end",
            BeRefused,
            &[protocol(b"websocket\r\nX-A: 1")],
        ),
        row(
            ":protocol with a request",
            BeRefused,
            &[protocol(b"websocket\r\n\r\nSMUGGLED")],
        ),
        row(":protocol of nothing", BeRefused, &[protocol(b"")]),
    ]
}

/// RFC 9113 §5.1, §6: frames where they do not belong.
fn streams() -> Vec<Attack> {
    let base = [METHOD, SCHEME, (b":authority", b"other.example"), PATH];
    let on = |stream, flags, fields: &[Field]| {
        Part::Frame(frame(HEADERS, flags | END_HEADERS, stream, &block(fields)))
    };
    vec![
        row(
            "DATA before HEADERS",
            BeRefused,
            &[last(b"SMUGGLED"), whole(&[])],
        ),
        row(
            "DATA on the connection",
            BeRefused,
            &[Part::Frame(frame(DATA, END_STREAM, 0, b"x"))],
        ),
        row(
            "HEADERS on the connection",
            BeRefused,
            &[on(0, END_STREAM, &base)],
        ),
        row(
            "HEADERS on an even stream",
            BeRefused,
            &[on(2, END_STREAM, &base)],
        ),
        row(
            "HEADERS behind the end",
            BeOneOrNone,
            &[whole(&[]), whole(&[])],
        ),
        row(
            "DATA behind the end",
            BeOneOrNone,
            &[whole(&[]), last(b"SMUGGLED")],
        ),
        row(
            "streams backwards",
            BeOneOrNone,
            &[on(5, END_STREAM, &base), whole(&[])],
        ),
        row(
            "CONTINUATION out of nowhere",
            BeRefused,
            &[Part::Frame(frame(
                CONTINUATION,
                END_HEADERS,
                1,
                &block(&base),
            ))],
        ),
        row(
            "HEADERS that are interrupted",
            BeRefused,
            &[
                Part::Frame(frame(HEADERS, END_STREAM, 1, &block(&base))),
                Part::Frame(frame(DATA, 0, 1, b"x")),
            ],
        ),
        row(
            "half a field block",
            BeRefused,
            &[Part::Frame(frame(
                HEADERS,
                END_STREAM | END_HEADERS,
                1,
                &block(&base)[..20],
            ))],
        ),
        row(
            "an index that is not there",
            BeRefused,
            &[Part::Frame(frame(
                HEADERS,
                END_STREAM | END_HEADERS,
                1,
                &[0xff, 0x80, 0x01],
            ))],
        ),
        row(
            "more padding than frame",
            BeRefused,
            &[Part::Frame(frame(
                HEADERS,
                END_STREAM | END_HEADERS | PADDED,
                1,
                &[255, 0x82],
            ))],
        ),
        row(
            "PUSH_PROMISE of a visitor",
            BeRefused,
            &[Part::Frame(frame(
                PUSH_PROMISE,
                END_HEADERS,
                1,
                &[0, 0, 0, 2, 0x82],
            ))],
        ),
        row(
            "a stream that depends on itself",
            BeOneOrNone,
            &[Part::Frame(frame(
                HEADERS,
                END_STREAM | END_HEADERS | 0x20,
                1,
                &[&[0, 0, 0, 1, 16][..], &block(&base)].concat(),
            ))],
        ),
        row(
            "HTTP/1.1 in the middle",
            BeRefused,
            &[Part::Frame(
                b"GET /smuggled HTTP/1.1\r\nHost: other.example\r\n\r\n".to_vec(),
            )],
        ),
    ]
}
