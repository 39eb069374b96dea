//! Chunks and trailers.

use super::{whole, with_chunks};
use crate::desync::Attack;
use crate::desync::Must::{BeOneOrNone, BeRefused, BeTwoOrNone, Pass, Wait};

/// RFC 9112 §7.1.
pub(super) fn attacks() -> Vec<Attack> {
    let long = [b"5;", &[b'x'; 64 * 1024][..], b"\r\nabcde\r\n0\r\n\r\n"].concat();
    let many = [b"1;a=b\r\nx\r\n".repeat(5000), b"0\r\n\r\n".to_vec()].concat();
    let trailers = |fields: &str| format!("5\r\nabcde\r\n0\r\n{fields}\r\n\r\n").into_bytes();
    let mut all = with_chunks(&[
        ("0x5", BeRefused, b"0x5\r\nabcde\r\n0\r\n\r\n"),
        ("+5", BeRefused, b"+5\r\nabcde\r\n0\r\n\r\n"),
        ("-1", BeRefused, b"-1\r\nabcde\r\n0\r\n\r\n"),
        (
            "a space before the size",
            BeOneOrNone,
            b" 5\r\nabcde\r\n0\r\n\r\n",
        ),
        (
            "a space after the size",
            BeOneOrNone,
            b"5 \r\nabcde\r\n0\r\n\r\n",
        ),
        (
            "a tab and more behind the size",
            BeRefused,
            b"5\tHEX\r\nabcde\r\n0\r\n\r\n",
        ),
        ("two sizes", BeRefused, b"5 0\r\nabcde\r\n0\r\n\r\n"),
        ("no size", BeRefused, b"\r\nabcde\r\n0\r\n\r\n"),
        ("g", BeRefused, b"g\r\nabcde\r\n0\r\n\r\n"),
        ("5_0", BeRefused, b"5_0\r\nabcde\r\n0\r\n\r\n"),
        (
            "a size that overflows",
            BeRefused,
            b"fffffffffffffffff\r\nabcde\r\n0\r\n\r\n",
        ),
        (
            "a size that wraps",
            BeRefused,
            b"10000000000000005\r\nabcde\r\n0\r\n\r\n",
        ),
        (
            "an enormous size",
            Wait,
            b"ffffffffffffffff\r\nabcde\r\n0\r\n\r\n",
        ),
        ("no CRLF behind the data", BeRefused, b"5\r\nabcde0\r\n\r\n"),
        (
            "more data than said",
            BeRefused,
            b"5\r\nabcdeSMUGGLED\r\n0\r\n\r\n",
        ),
        ("LF behind the data", BeRefused, b"5\r\nabcde\n0\r\n\r\n"),
        ("LF behind the size", BeOneOrNone, b"5\nabcde\r\n0\r\n\r\n"),
        ("CR behind the size", BeRefused, b"5\rabcde\r\n0\r\n\r\n"),
        (
            "CR CR LF behind the size",
            BeRefused,
            b"5\r\r\nabcde\r\n0\r\n\r\n",
        ),
        ("LF everywhere", BeOneOrNone, b"5\nabcde\n0\n\n"),
        ("LF in an extension", BeRefused, b"5;\nabcde\r\n0\r\n\r\n"),
        (
            "LF in an extension, with what it hides",
            BeRefused,
            b"2;\nxx\r\n4c\r\n0\r\n\r\nSMUGGLED",
        ),
        (
            "CR in an extension",
            BeRefused,
            b"5;a\rb\r\nabcde\r\n0\r\n\r\n",
        ),
        (
            "NUL in an extension",
            BeOneOrNone,
            b"5;a\x00b\r\nabcde\r\n0\r\n\r\n",
        ),
        (
            "an extension",
            Pass,
            b"5;a=b;c=\"d\"\r\nabcde\r\n0;e\r\n\r\n",
        ),
        ("an extension of 64 KiB", BeRefused, &long),
        ("many extensions", BeOneOrNone, &many),
        (
            "zeros before the size",
            BeOneOrNone,
            b"0000000000000000000005\r\nabcde\r\n00000000\r\n\r\n",
        ),
        (
            "a last chunk of 00000",
            Pass,
            b"5\r\nabcde\r\n00000\r\n\r\n",
        ),
        ("a request for a trailer", BeRefused, b"0\r\nSMUGGLED"),
        (
            "no blank line before the next request",
            BeRefused,
            b"5\r\nabcde\r\n0\r\nSMUGGLED",
        ),
        (
            "LF behind the last chunk",
            BeOneOrNone,
            b"5\r\nabcde\r\n0\r\n\nSMUGGLED",
        ),
        (
            "another request behind it",
            BeTwoOrNone,
            b"5\r\nabcde\r\n0\r\n\r\nSMUGGLED",
        ),
        (
            "two last chunks",
            BeOneOrNone,
            b"5\r\nabcde\r\n0\r\n\r\n0\r\n\r\n",
        ),
    ]);
    for fields in [
        "Content-Length: 44",
        "Transfer-Encoding: chunked",
        "Host: other.example",
        "Connection: close\r\nUpgrade: h2c",
        "Authorization: Basic YTpi\r\nCookie: a=1",
        "X-A: 1\r\n folded: 2",
        "X-A : 1",
        "X-A: 1\rX-B: 2",
        "X-A: \x00",
        "ngrnotok-cause: x\r\nNgrnotok-Tunnel: 0",
    ] {
        let (body, announced) = (
            trailers(fields),
            fields.split(':').next().unwrap_or_default(),
        );
        let head = format!(
            "POST /a HTTP/1.1\r\nHost: HOST\r\nTrailer: {announced}, Upgrade, Cookie\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
        all.push(whole(
            &format!("trailers: {}", fields.escape_debug()),
            BeOneOrNone,
            &[head.into_bytes(), body].concat(),
        ));
    }
    all
}
