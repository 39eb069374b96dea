//! Where a line ends, and what stands on it.

use super::{whole, with_fields, with_lines};
use crate::desync::Attack;
use crate::desync::Must::{self, BeOneOrNone, BeRefused, BeTwoOrNone, Pass};

pub(super) fn attacks() -> Vec<Attack> {
    let mut all = line_ends();
    all.extend(first_lines());
    all.extend(hosts());
    all
}

/// RFC 9112 §2.2, §5.
fn line_ends() -> Vec<Attack> {
    let mut all = with_fields(
        "SMUGGLED",
        &[
            (
                BeRefused,
                b"X-A: 1\rContent-Length: 0\r\nContent-Length: LEN",
            ),
            (BeRefused, b"X-A: 1\r\r\nContent-Length: LEN"),
            (BeOneOrNone, b"X-A: 1\nContent-Length: LEN"),
            (BeRefused, b"X-A: a\x00b\r\nContent-Length: LEN"),
            (BeRefused, b"X-A: a\x01b\r\nContent-Length: LEN"),
            (BeRefused, b"X-A: a\x7fb\r\nContent-Length: LEN"),
            (BeRefused, b"X\x00A: 1\r\nContent-Length: LEN"),
            (BeRefused, b"X\rA: 1\r\nContent-Length: LEN"),
            (BeRefused, b"X\nA: 1\r\nContent-Length: LEN"),
            (BeRefused, b"X A: 1\r\nContent-Length: LEN"),
            (BeRefused, b"X-A : 1\r\nContent-Length: LEN"),
            (BeRefused, b"X\x80: 1\r\nContent-Length: LEN"),
            (BeRefused, b"X(A): 1\r\nContent-Length: LEN"),
            (BeRefused, b": 1\r\nContent-Length: LEN"),
            (BeRefused, b"no colon\r\nContent-Length: LEN"),
            (BeRefused, b"X-A: 1\r\n folded\r\nContent-Length: LEN"),
            (BeRefused, b"X-A:\r\n\tfolded\r\nContent-Length: LEN"),
        ],
    );
    all.extend([
        whole(
            "LF alone",
            BeOneOrNone,
            b"GET /a HTTP/1.1\nHost: HOST\nX-A: 1\n\n",
        ),
        whole(
            "LF alone, and another request",
            BeTwoOrNone,
            b"GET /a HTTP/1.1\nHost: HOST\n\nSMUGGLED",
        ),
        whole(
            "LF alone hides a blank line",
            BeTwoOrNone,
            b"GET /a HTTP/1.1\r\nHost: HOST\r\nX-A: 1\n\nSMUGGLED",
        ),
        whole("CR alone", BeRefused, b"GET /a HTTP/1.1\rHost: HOST\r\r"),
        whole(
            "CR alone hides a blank line",
            BeRefused,
            b"GET /a HTTP/1.1\r\nHost: HOST\r\nX-A: 1\r\rSMUGGLED",
        ),
        whole(
            "a space on the blank line",
            BeRefused,
            b"GET /a HTTP/1.1\r\nHost: HOST\r\n \r\nSMUGGLED",
        ),
        whole(
            "a space before the first field",
            BeRefused,
            b"GET /a HTTP/1.1\r\n Host: HOST\r\nHost: HOST\r\n\r\n",
        ),
        whole(
            "blank lines first",
            BeOneOrNone,
            b"\r\n\r\nGET /a HTTP/1.1\r\nHost: HOST\r\n\r\n",
        ),
        whole(
            "LF LF first",
            BeOneOrNone,
            b"\n\nGET /a HTTP/1.1\r\nHost: HOST\r\n\r\n",
        ),
        whole(
            "150 KB of a field",
            BeRefused,
            &[
                b"GET /a HTTP/1.1\r\nHost: HOST\r\nX-A: ",
                &[b'a'; 150_000][..],
                b"\r\n\r\n",
            ]
            .concat(),
        ),
        whole(
            "1100 fields",
            BeRefused,
            &[
                b"GET /a HTTP/1.1\r\nHost: HOST\r\n".to_vec(),
                b"X-A: 1\r\n".repeat(1100),
                b"\r\n".to_vec(),
            ]
            .concat(),
        ),
    ]);
    all
}

/// RFC 9112 §3.
fn first_lines() -> Vec<Attack> {
    with_lines(&[
        (BeRefused, b"GET  /a HTTP/1.1"),
        (BeRefused, b"GET /a  HTTP/1.1"),
        (BeRefused, b"GET\t/a\tHTTP/1.1"),
        (BeRefused, b" GET /a HTTP/1.1"),
        (BeOneOrNone, b"GET /a HTTP/1.1 "),
        (BeRefused, b"GET /a b HTTP/1.1"),
        (BeRefused, b"GET /a HTTP/1.1 HTTP/1.1"),
        (BeRefused, b"GET /a"),
        (BeRefused, b"GET /a HTTP/0.9"),
        (BeRefused, b"GET /a HTTP/1.2"),
        (BeRefused, b"GET /a HTTP/1.10"),
        (BeRefused, b"GET /a HTTP/01.1"),
        (BeRefused, b"GET /a HTTP/2.0"),
        (BeRefused, b"GET /a HTTP/11"),
        (BeRefused, b"GET /a http/1.1"),
        (BeRefused, b"GET /a HTTP/1.1\x00"),
        (BeRefused, b"GET /a\x00b HTTP/1.1"),
        (BeRefused, b"GET /a\x01b HTTP/1.1"),
        (BeRefused, b"GET /a\x7fb HTTP/1.1"),
        (BeRefused, b"GET /a\rb HTTP/1.1"),
        (BeRefused, b"GET /a\x0bb HTTP/1.1"),
        (BeOneOrNone, b"GET /a\x80b HTTP/1.1"),
        (BeOneOrNone, b"GET /a#b HTTP/1.1"),
        (BeRefused, b"GET\x0b/a HTTP/1.1"),
        (BeRefused, b"G\x00T /a HTTP/1.1"),
        (BeRefused, b"G\x80T /a HTTP/1.1"),
        (BeRefused, b"GET: /a HTTP/1.1"),
        (BeRefused, b" /a HTTP/1.1"),
        (BeRefused, b"GET a HTTP/1.1"),
        (BeRefused, b"GET ?a HTTP/1.1"),
        (BeOneOrNone, b"GET * HTTP/1.1"),
        (BeOneOrNone, b"GET HOST HTTP/1.1"),
        (BeRefused, b"CONNECT HOST HTTP/1.1"),
        (BeRefused, b"CONNECT /a HTTP/1.1"),
        (BeRefused, b"CONNECT other.example:443 HTTP/1.1"),
        (BeRefused, b"PRI * HTTP/2.0"),
        (Pass, b"GET http://HOST/a HTTP/1.1"),
        (Pass, b"GET HTTP://HOST/a HTTP/1.1"),
        (BeRefused, b"GET http://other.example/a HTTP/1.1"),
        (BeRefused, b"GET http://other.example@HOST/a HTTP/1.1"),
        (BeRefused, b"GET http://HOST@other.example/a HTTP/1.1"),
        (BeRefused, b"GET http://HOST\\@other.example/a HTTP/1.1"),
        (BeRefused, b"GET http:///a HTTP/1.1"),
        (BeOneOrNone, b"GET ftp://HOST/a HTTP/1.1"),
        (BeOneOrNone, b"GET //other.example/a HTTP/1.1"),
        (BeOneOrNone, b"GET /http://other.example/a HTTP/1.1"),
    ])
}

/// RFC 9112 §3.2.
fn hosts() -> Vec<Attack> {
    let rows: [(Must, &[u8]); 25] = [
        (BeRefused, b"X-Host: HOST"),
        (BeRefused, b"Host: HOST\r\nHost: HOST"),
        (BeRefused, b"Host: HOST\r\nHost: other.example"),
        (BeRefused, b"Host: other.example\r\nHost: HOST"),
        (BeRefused, b"Host: HOST, other.example"),
        (BeRefused, b"Host: HOST other.example"),
        (BeRefused, b"Host: HOST/a"),
        (BeRefused, b"Host: HOST?a"),
        (BeRefused, b"Host: HOST#a"),
        (BeRefused, b"Host: a@HOST"),
        (BeRefused, b"Host: a:b@HOST"),
        (BeRefused, b"Host: http://HOST"),
        (BeRefused, b"Host: HOST:80"),
        (BeRefused, b"Host: HOST\\other.example"),
        (BeRefused, b"Host: HOST\x00other.example"),
        (BeRefused, b"Host: HOST\xff"),
        (BeRefused, b"Host:\r\n HOST"),
        (BeRefused, b"Host: HOST\r\n other.example"),
        (BeRefused, b"Host : HOST"),
        (BeRefused, b"Host:"),
        (BeRefused, b"Host: [::1"),
        (BeRefused, b"Host: lane.%74unnel.test"),
        (
            BeOneOrNone,
            b"Host: HOST\r\nX-Forwarded-Host: other.example\r\nX-Original-URL: /admin",
        ),
        (BeOneOrNone, b"Host: HOST\r\nHost_: other.example"),
        (Pass, b"hOsT:\tHOST\t"),
    ];
    let row = |(must, fields): &(Must, &[u8])| {
        let template = [b"GET /a HTTP/1.1\r\n", *fields, b"\r\n\r\n"].concat();
        whole(&fields.escape_ascii().to_string(), *must, &template)
    };
    rows.iter().map(row).collect()
}
