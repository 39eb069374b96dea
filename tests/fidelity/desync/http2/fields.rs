//! Names and values.

use super::{Field, begun, last, row, whole};
use crate::desync::Attack;
use crate::desync::Must::{BeOneOrNone, BeRefused, Pass};

pub(super) fn attacks() -> Vec<Attack> {
    let mut all = names_and_values();
    all.extend(hops());
    all
}

/// RFC 9113 §8.2.1.
fn names_and_values() -> Vec<Attack> {
    let refused: [Field; 26] = [
        (b"x-a", b"1\r\nX-B: 2"),
        (b"x-a", b"1\r\n\r\nSMUGGLED"),
        (b"x-a", b"1\nX-B: 2"),
        (b"x-a", b"1\rX-B: 2"),
        (b"x-a", b"1\r\nTransfer-Encoding: chunked"),
        (b"x-a", b"1\r\nContent-Length: LEN"),
        (b"x-a", b"a\x00b"),
        (b"x-a", b"a\x01b"),
        (b"x-a", b"a\x7fb"),
        (b"x-a: 1\r\nx-b", b"2"),
        (b"x-a\r\n\r\nSMUGGLED", b"2"),
        (b"x-a\r\nx-b", b"2"),
        (b"x-a\nx-b", b"2"),
        (b"x-a ", b"2"),
        (b" x-a", b"2"),
        (b"x a", b"2"),
        (b"x-a:", b"2"),
        (b"x:a", b"2"),
        (b"x\x00a", b"2"),
        (b"x\x80a", b"2"),
        (b"x(a)", b"2"),
        (b"", b"2"),
        (b"X-A", b"2"),
        (b"Content-Length", b"LEN"),
        (b"Transfer-Encoding", b"chunked"),
        (b":", b"2"),
    ];
    let fine: [Field; 5] = [
        (b"x-a", b"\x80\xff"),
        (b"x-a", b""),
        (b"x-a", b"a\tb"),
        (b"x_a.b", b"2"),
        (b"ngrnotok-tunnel", b"7"),
    ];
    let name = |(name, value): &Field| format!("{}: {}", name.escape_ascii(), value.escape_ascii());
    let mut all: Vec<_> = refused
        .iter()
        .map(|field| row(name(field), BeRefused, &[whole(&[*field])]))
        .collect();
    all.extend(
        fine.iter()
            .map(|field| row(name(field), Pass, &[whole(&[*field])])),
    );
    all.push(row(
        "a value with spaces around it",
        BeOneOrNone,
        &[whole(&[(b"x-a", b" a ")])],
    ));
    all.push(row(
        "100 KB of a field",
        BeRefused,
        &[whole(&[(b"x-a", &[b'a'; 100_000])])],
    ));
    all.push(row(
        "2000 fields",
        BeRefused,
        &[whole(&vec![(&b"x-a"[..], &b"1"[..]); 2000])],
    ));
    all.push(row(
        "300 crumbs of a cookie",
        BeOneOrNone,
        &[whole(&vec![(&b"cookie"[..], &b"a=1"[..]); 300])],
    ));
    all.push(row(
        "a crumb with a line end",
        BeRefused,
        &[whole(&[(b"cookie", b"a=1"), (b"cookie", b"b\r\nX-B: 2")])],
    ));
    all
}

/// RFC 9113 §8.2.2.
fn hops() -> Vec<Attack> {
    let refused: [Field; 8] = [
        (b"transfer-encoding", b"chunked"),
        (b"transfer-encoding", b"identity"),
        (b"connection", b"close"),
        (b"connection", b"content-length"),
        (b"keep-alive", b"timeout=5"),
        (b"proxy-connection", b"keep-alive"),
        (b"upgrade", b"websocket"),
        (b"te", b"gzip"),
    ];
    let mut all: Vec<_> = refused
        .iter()
        .map(|(name, value)| {
            let named = format!(
                "{}: {} in a head",
                name.escape_ascii(),
                value.escape_ascii()
            );
            row(
                named,
                BeRefused,
                &[begun(&[(*name, *value)]), last(b"0\r\n\r\nSMUGGLED")],
            )
        })
        .collect();
    all.extend([
        row("te: trailers", Pass, &[whole(&[(b"te", b"trailers")])]),
        row(
            "te: trailers, chunked",
            BeRefused,
            &[whole(&[(b"te", b"trailers, chunked")])],
        ),
        row(
            "expect: 100-continue",
            Pass,
            &[
                begun(&[(b"expect", b"100-continue"), (b"content-length", b"LEN")]),
                last(b"SMUGGLED"),
            ],
        ),
        row(
            "expect: x",
            Pass,
            &[begun(&[(b"expect", b"x")]), last(b"SMUGGLED")],
        ),
        row(
            "http2-settings",
            Pass,
            &[whole(&[(b"http2-settings", b"AAMAAABkAAQAAP__")])],
        ),
    ]);
    all
}
