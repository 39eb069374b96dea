//! Where a body ends: lengths and codings.

use super::{whole, with_fields};
use crate::desync::Attack;
use crate::desync::Must::{BeOneOrNone, BeRefused, BeTwoOrNone, Pass};

pub(super) fn attacks() -> Vec<Attack> {
    let mut all = lengths();
    all.extend(codings());
    all
}

/// RFC 9112 §6.2, §6.3; RFC 9110 §8.6.
fn lengths() -> Vec<Attack> {
    with_fields(
        "SMUGGLED",
        &[
            (BeRefused, b"Content-Length: 0\r\nContent-Length: LEN"),
            (BeRefused, b"Content-Length: LEN\r\nContent-Length: 0"),
            (BeOneOrNone, b"Content-Length: LEN\r\nContent-Length: LEN"),
            (BeOneOrNone, b"Content-Length: LEN, LEN"),
            (BeRefused, b"Content-Length: LEN, 0"),
            (BeRefused, b"Content-Length: 0, LEN"),
            (BeRefused, b"Content-Length: +LEN"),
            (BeRefused, b"Content-Length: -LEN"),
            (BeRefused, b"Content-Length: 0xLEN"),
            (BeRefused, b"Content-Length: LEN 0"),
            (BeRefused, b"Content-Length: 0 LEN"),
            (BeRefused, b"Content-Length: LEN;"),
            (BeRefused, b"Content-Length: \"LEN\""),
            (BeRefused, b"Content-Length: LEN.0"),
            (BeRefused, b"Content-Length: 1e1"),
            (BeRefused, b"Content-Length: 1_0"),
            (BeRefused, b"Content-Length:"),
            (BeRefused, b"Content-Length: ,"),
            (BeRefused, b"Content-Length: 18446744073709551616"),
            (BeRefused, b"Content-Length: 18446744073709551657"),
            (
                BeRefused,
                b"Content-Length: 99999999999999999999999999999999",
            ),
            (BeRefused, b"Content-Length: \x0bLEN"),
            (BeRefused, b"Content-Length: LEN\x00"),
            (BeRefused, "Content-Length: ٤٢".as_bytes()),
            (BeRefused, b"Content-Length : LEN"),
            (BeRefused, b"Content-Length\t: LEN"),
            (Pass, b"Content-Length: \t LEN \t "),
            (BeOneOrNone, b"Content-Length: 000000000000000000000000LEN"),
        ],
    )
}

/// RFC 9112 §6.1: a coding that is not understood, or not chunked at last, is an error, and so is more
/// than one idea of where the body ends.
fn codings() -> Vec<Attack> {
    // One reading ends after the last chunk, the other after LEN bytes.
    let mut all = with_fields(
        "0\r\n\r\nSMUGGLED",
        &[
            (
                BeOneOrNone,
                b"Content-Length: LEN\r\nTransfer-Encoding: chunked",
            ),
            (
                BeOneOrNone,
                b"Transfer-Encoding: chunked\r\nContent-Length: LEN",
            ),
            (
                BeOneOrNone,
                b"Transfer-Encoding: chunked\r\nContent-Length: 5",
            ),
            (
                BeOneOrNone,
                b"Content-Length: LEN\r\nTransfer-Encoding:chunked",
            ),
            (
                BeOneOrNone,
                b"Content-Length: LEN\r\ntransfer-encoding: CHUNKED",
            ),
            (
                BeOneOrNone,
                b"Content-Length: LEN\r\nTransfer-Encoding: \t chunked \t",
            ),
            (
                BeRefused,
                b"Content-Length: LEN\r\nTransfer-Encoding: xchunked",
            ),
            (
                BeRefused,
                b"Content-Length: LEN\r\nTransfer-Encoding: chunkedx",
            ),
            (BeRefused, b"Content-Length: LEN\r\nTransfer-Encoding: cow"),
            (
                BeRefused,
                b"Content-Length: LEN\r\nTransfer-Encoding: identity",
            ),
            (BeRefused, b"Content-Length: LEN\r\nTransfer-Encoding: gzip"),
            (BeRefused, b"Content-Length: LEN\r\nTransfer-Encoding:"),
            (
                BeRefused,
                b"Content-Length: LEN\r\nTransfer-Encoding: \"chunked\"",
            ),
            (
                BeRefused,
                b"Content-Length: LEN\r\nTransfer-Encoding: chunked;q=1",
            ),
            (
                BeRefused,
                b"Content-Length: LEN\r\nTransfer-Encoding: \x0bchunked",
            ),
            (
                BeRefused,
                b"Content-Length: LEN\r\nTransfer-Encoding: chunked\x0b",
            ),
            (
                BeRefused,
                b"Content-Length: LEN\r\nTransfer-Encoding: \x0cchunked",
            ),
            (
                BeRefused,
                b"Content-Length: LEN\r\nTransfer-Encoding: chunked\x00",
            ),
            (
                BeRefused,
                b"Content-Length: LEN\r\nTransfer-Encoding: \xa0chunked",
            ),
            (
                BeRefused,
                b"Content-Length: LEN\r\nTransfer-Encoding: \xffchunked",
            ),
            (
                BeRefused,
                b"Content-Length: LEN\r\nTransfer-Encoding : chunked",
            ),
            (
                BeRefused,
                b"Content-Length: LEN\r\nTransfer-Encoding\t: chunked",
            ),
            (
                BeRefused,
                b"Content-Length: LEN\r\nTransfer-Encoding\x00: chunked",
            ),
            (
                BeRefused,
                b"Content-Length: LEN\r\nTransfer-Encoding:\r\n chunked",
            ),
            (
                BeRefused,
                b"Content-Length: LEN\r\nX-A: 1\r\n Transfer-Encoding: chunked",
            ),
            (
                BeRefused,
                b"Content-Length: LEN\r\n\tTransfer-Encoding: chunked",
            ),
            (
                BeRefused,
                b"Content-Length: LEN\r\nX-A: 1\rTransfer-Encoding: chunked",
            ),
            (BeRefused, b"Transfer-Encoding: chunked, identity"),
            (
                BeRefused,
                b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
            ),
            (
                BeRefused,
                b"Transfer-Encoding: chunked\r\nTransfer-Encoding: cow",
            ),
            (BeRefused, b"Transfer-Encoding: chunked,"),
            (BeRefused, b"Transfer-Encoding: chunked chunked"),
            // The app would be told nothing of the other coding, and could not read the body.
            (BeRefused, b"Transfer-Encoding: gzip, chunked"),
            (
                BeRefused,
                b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
            ),
            (BeRefused, b"Transfer-Encoding: x, chunked"),
            (BeRefused, b"Transfer-Encoding: chunked, chunked"),
            (
                BeRefused,
                b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            ),
            (BeTwoOrNone, b"Transfer-Encoding: identity, chunked"),
            (BeTwoOrNone, b"Transfer-Encoding: ,chunked"),
            (
                BeOneOrNone,
                b"Transfer_Encoding: chunked\r\nContent-Length: LEN",
            ),
            (
                BeOneOrNone,
                b"Transfer-Encoding: chunked\r\nContent-Length: bogus",
            ),
            (
                BeOneOrNone,
                b"Transfer-Encoding: chunked\r\nConnection: keep-alive\r\nContent-Length: LEN",
            ),
        ],
    );
    let late = "HEX\r\nSMUGGLED\r\n0\r\n\r\n";
    all.extend(with_fields(
        late,
        &[
            (
                BeOneOrNone,
                b"Content-Length: 4\r\nTransfer-Encoding: chunked",
            ),
            (
                BeOneOrNone,
                b"Content-Length: 0\r\nTransfer-Encoding: chunked",
            ),
            (Pass, b"Transfer-Encoding: chunked"),
        ],
    ));
    all.push(whole("Transfer-Encoding in 1.0", BeOneOrNone, b"POST /a HTTP/1.0\r\nHost: HOST\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\nContent-Length: LEN\r\n\r\n0\r\n\r\nSMUGGLED"));
    all.push(whole("GET with both", BeOneOrNone, b"GET /a HTTP/1.1\r\nHost: HOST\r\nContent-Length: LEN\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nSMUGGLED"));
    all.push(whole("HEAD with both", BeOneOrNone, b"HEAD /a HTTP/1.1\r\nHost: HOST\r\nContent-Length: LEN\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nSMUGGLED"));
    all
}
