//! Bodies, how long they are said to be, and what comes behind them.

use ngrnotok_tests::frames::END_STREAM;

use super::{AUTHORITY, Field, METHOD, PATH, Part, SCHEME, begun, data, head, last, row, whole};
use crate::desync::Attack;
use crate::desync::Must::{self, BeOneOrNone, BeRefused, Pass};

pub(super) fn attacks() -> Vec<Attack> {
    let mut all = lengths();
    all.extend(trailers());
    all
}

/// RFC 9113 §8.1.1: a length that is not the body's is malformed.
fn lengths() -> Vec<Attack> {
    let length = |value| -> Part { begun(&[(b"content-length", value)]) };
    let two =
        |one, other| -> Part { begun(&[(b"content-length", one), (b"content-length", other)]) };
    vec![
        row(
            "the length of the body",
            Pass,
            &[length(b"LEN"), last(b"SMUGGLED")],
        ),
        row(
            "a length of 0 with a body",
            BeRefused,
            &[length(b"0"), last(b"SMUGGLED")],
        ),
        row(
            "a length of 1 with a body",
            BeRefused,
            &[length(b"1"), last(b"SMUGGLED")],
        ),
        row(
            "a length of 4096 with a body",
            BeRefused,
            &[length(b"4096"), last(b"SMUGGLED")],
        ),
        row(
            "a length without a body",
            BeRefused,
            &[whole(&[(b"content-length", b"LEN")])],
        ),
        row(
            "a length with an empty body",
            BeRefused,
            &[length(b"LEN"), last(b"")],
        ),
        row(
            "two lengths that agree",
            BeOneOrNone,
            &[two(b"LEN", b"LEN"), last(b"SMUGGLED")],
        ),
        row(
            "two lengths that do not",
            BeRefused,
            &[two(b"LEN", b"0"), last(b"SMUGGLED")],
        ),
        row(
            "two lengths, the wrong one first",
            BeRefused,
            &[two(b"0", b"LEN"), last(b"SMUGGLED")],
        ),
        row(
            "two lengths and no body",
            BeRefused,
            &[whole(&[
                (b"content-length", b"0"),
                (b"content-length", b"LEN"),
            ])],
        ),
        row(
            "two lengths that agree and no body",
            BeOneOrNone,
            &[whole(&[
                (b"content-length", b"0"),
                (b"content-length", b"0"),
            ])],
        ),
        row(
            "two spellings of a length",
            BeOneOrNone,
            &[two(b"LEN", b"0LEN"), last(b"SMUGGLED")],
        ),
        row(
            "zeros before a length",
            BeOneOrNone,
            &[length(b"000LEN"), last(b"SMUGGLED")],
        ),
        row(
            "+ before a length",
            BeRefused,
            &[length(b"+LEN"), last(b"SMUGGLED")],
        ),
        row(
            "- before a length",
            BeRefused,
            &[length(b"-LEN"), last(b"SMUGGLED")],
        ),
        row(
            "a space before a length",
            BeOneOrNone,
            &[length(b" LEN"), last(b"SMUGGLED")],
        ),
        row(
            "a list of lengths",
            BeRefused,
            &[length(b"LEN, LEN"), last(b"SMUGGLED")],
        ),
        row(
            "no length at all",
            BeRefused,
            &[length(b""), last(b"SMUGGLED")],
        ),
        row(
            "a length that overflows",
            BeRefused,
            &[length(b"18446744073709551657"), last(b"SMUGGLED")],
        ),
        row(
            "a body without a length",
            Pass,
            &[begun(&[]), last(b"SMUGGLED")],
        ),
        row(
            "GET with a body",
            Pass,
            &[
                head(0, &[(b":method", b"GET"), SCHEME, AUTHORITY, PATH]),
                last(b"SMUGGLED"),
            ],
        ),
        row(
            "HEAD with a body",
            Pass,
            &[
                head(0, &[(b":method", b"HEAD"), SCHEME, AUTHORITY, PATH]),
                last(b"SMUGGLED"),
            ],
        ),
        row(
            "chunks in a body",
            Pass,
            &[begun(&[]), last(b"0\r\n\r\nSMUGGLED")],
        ),
        row(
            "an eager answer to half a body",
            BeOneOrNone,
            &[
                head(
                    0,
                    &[
                        METHOD,
                        SCHEME,
                        AUTHORITY,
                        (b":path", b"/eager"),
                        (b"content-length", b"4096"),
                    ],
                ),
                data(b"SMUGGLED"),
            ],
        ),
    ]
}

/// RFC 9113 §8.1, §8.3: trailers are no head.
fn trailers() -> Vec<Attack> {
    let odd: [(Must, Field); 13] = [
        (BeOneOrNone, (b":path", b"/smuggled")),
        (BeOneOrNone, (b":method", b"GET")),
        (BeOneOrNone, (b":status", b"200")),
        (BeRefused, (b"transfer-encoding", b"chunked")),
        (BeRefused, (b"connection", b"close")),
        (BeRefused, (b"X-A", b"1")),
        (BeRefused, (b"x-a", b"1\r\n\r\nSMUGGLED")),
        (BeRefused, (b"x-a\r\nx-b", b"1")),
        (BeRefused, (b"x-a", b"\x00")),
        (BeOneOrNone, (b"content-length", b"LEN")),
        (BeOneOrNone, (b"host", b"other.example")),
        (BeOneOrNone, (b"ngrnotok-tunnel", b"7")),
        (Pass, (b"x-a", b"1")),
    ];
    let mut all: Vec<_> = odd
        .iter()
        .map(|(must, field)| {
            let named = format!(
                "trailer {}: {}",
                field.0.escape_ascii(),
                field.1.escape_ascii()
            );
            let first = begun(&[(
                b"trailer",
                b"x-a, content-length, host, ngrnotok-tunnel, transfer-encoding",
            )]);
            row(
                named,
                *must,
                &[first, data(b"body"), head(END_STREAM, &[*field])],
            )
        })
        .collect();
    all.push(row(
        "trailers that do not end",
        BeRefused,
        &[
            begun(&[]),
            data(b"body"),
            head(0, &[(b"x-a", b"1")]),
            last(b"SMUGGLED"),
        ],
    ));
    all.push(row(
        "trailers short of the length",
        BeRefused,
        &[
            begun(&[(b"content-length", b"LEN")]),
            data(b"body"),
            head(END_STREAM, &[(b"x-a", b"1")]),
        ],
    ));
    all
}
