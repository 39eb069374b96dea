//! Pseudo-fields: method, scheme, host and path.

use ngrnotok_tests::frames::END_STREAM;

use super::{AUTHORITY, Field, METHOD, PATH, Part, SCHEME, head, row, whole};
use crate::desync::Attack;
use crate::desync::Must::{self, BeOneOrNone, BeRefused, Pass};

pub(super) fn attacks() -> Vec<Attack> {
    let mut all = pseudo_fields();
    all.extend(targets());
    all
}

/// RFC 9113 §8.3.
fn pseudo_fields() -> Vec<Attack> {
    let all = |fields: &[Field]| head(END_STREAM, fields);
    let rows: [(&str, Must, Part); 26] = [
        (
            "behind a field",
            BeRefused,
            all(&[METHOD, SCHEME, AUTHORITY, (b"x-a", b"1"), PATH]),
        ),
        (
            ":path twice",
            BeRefused,
            all(&[METHOD, SCHEME, AUTHORITY, PATH, (b":path", b"/smuggled")]),
        ),
        (
            ":method twice",
            BeRefused,
            all(&[METHOD, METHOD, SCHEME, AUTHORITY, PATH]),
        ),
        (
            ":authority twice",
            BeRefused,
            all(&[METHOD, SCHEME, AUTHORITY, AUTHORITY, PATH]),
        ),
        (
            ":scheme twice",
            BeRefused,
            all(&[METHOD, SCHEME, SCHEME, AUTHORITY, PATH]),
        ),
        ("no :method", BeRefused, all(&[SCHEME, AUTHORITY, PATH])),
        ("no :scheme", BeRefused, all(&[METHOD, AUTHORITY, PATH])),
        ("no :path", BeRefused, all(&[METHOD, SCHEME, AUTHORITY])),
        ("no host", BeRefused, all(&[METHOD, SCHEME, PATH])),
        ("nothing", BeRefused, all(&[])),
        (":foo", BeRefused, whole(&[(b":foo", b"1")])),
        (":status", BeRefused, whole(&[(b":status", b"200")])),
        (
            ":Path",
            BeRefused,
            all(&[METHOD, SCHEME, AUTHORITY, (b":Path", b"/a")]),
        ),
        (
            ":protocol without CONNECT",
            BeRefused,
            whole(&[(b":protocol", b"websocket")]),
        ),
        (
            "a method with a line end",
            BeRefused,
            all(&[
                (b":method", b"GET / HTTP/1.1\r\nX-A: 1\r\n\r\nGET"),
                SCHEME,
                AUTHORITY,
                PATH,
            ]),
        ),
        (
            "a method with a space",
            BeRefused,
            all(&[(b":method", b"GET /smuggled"), SCHEME, AUTHORITY, PATH]),
        ),
        (
            "an empty method",
            BeRefused,
            all(&[(b":method", b""), SCHEME, AUTHORITY, PATH]),
        ),
        (
            "a method in obs-text",
            BeRefused,
            all(&[(b":method", b"G\x80T"), SCHEME, AUTHORITY, PATH]),
        ),
        (
            "an odd scheme",
            BeRefused,
            all(&[METHOD, (b":scheme", b"ftp"), AUTHORITY, PATH]),
        ),
        (
            "a scheme that does not fit",
            BeOneOrNone,
            all(&[METHOD, (b":scheme", b"https"), AUTHORITY, PATH]),
        ),
        (
            "a scheme with a line end",
            BeRefused,
            all(&[METHOD, (b":scheme", b"http\r\nX-A: 1"), AUTHORITY, PATH]),
        ),
        (
            "a scheme with a host",
            BeRefused,
            all(&[
                METHOD,
                (b":scheme", b"http://other.example/?"),
                AUTHORITY,
                PATH,
            ]),
        ),
        (
            "an empty scheme",
            BeOneOrNone,
            all(&[METHOD, (b":scheme", b""), AUTHORITY, PATH]),
        ),
        (
            "Host alone",
            BeOneOrNone,
            all(&[METHOD, SCHEME, PATH, (b"host", b"HOST")]),
        ),
        ("Host the same", Pass, whole(&[(b"host", b"HOST")])),
        (
            "Host another",
            BeRefused,
            whole(&[(b"host", b"other.example")]),
        ),
    ];
    let mut attacks: Vec<_> = rows
        .map(|(name, must, part)| row(name, must, &[part]))
        .into();
    attacks.push(row(
        "Host twice",
        BeRefused,
        &[whole(&[(b"host", b"HOST"), (b"host", b"other.example")])],
    ));
    attacks
}

/// RFC 9113 §8.3.1.
fn targets() -> Vec<Attack> {
    let paths: [(Must, &[u8]); 18] = [
        (BeRefused, b""),
        (BeRefused, b"a"),
        (BeRefused, b"?a"),
        (BeOneOrNone, b"#a"),
        (BeRefused, b"/a b"),
        (BeRefused, b"/a HTTP/1.1"),
        (BeRefused, b"/a HTTP/1.1\r\nX-A: 1\r\n\r\nSMUGGLED"),
        (BeRefused, b"/a\r\n"),
        (BeRefused, b"/a\n"),
        (BeRefused, b"/a\tb"),
        (BeRefused, b"/a\x00b"),
        (BeRefused, b"/a\x7fb"),
        (BeRefused, b"/?a\r\nb"),
        (BeRefused, b"http://other.example/a"),
        (BeOneOrNone, b"/a\x80b"),
        (BeOneOrNone, b"/a#b"),
        (BeRefused, b"*"),
        (Pass, b"//other.example/a"),
    ];
    let hosts: [(Must, &[u8]); 18] = [
        (BeRefused, b""),
        (BeRefused, b"a@HOST"),
        (BeRefused, b"a:b@HOST"),
        (BeRefused, b"HOST@other.example"),
        (BeRefused, b"HOST other.example"),
        (BeRefused, b"HOST,other.example"),
        (BeRefused, b"HOST/a"),
        (BeRefused, b"HOST?a"),
        (BeRefused, b"HOST#a"),
        (BeRefused, b"HOST:80"),
        (BeRefused, b"http://HOST"),
        (BeRefused, b"HOST\r\nX-A: 1"),
        (BeRefused, b"HOST\r\n\r\nSMUGGLED"),
        (BeRefused, b"HOST\nX-A: 1"),
        (BeRefused, b"HOST\x00"),
        (BeRefused, b"HOST\xff"),
        (BeRefused, b"other.example"),
        (BeRefused, b"[::1"),
    ];
    let path = |(must, path): &(Must, &'static [u8])| {
        let head = head(END_STREAM, &[METHOD, SCHEME, AUTHORITY, (b":path", *path)]);
        row(format!(":path {}", path.escape_ascii()), *must, &[head])
    };
    let host = |(must, host): &(Must, &'static [u8])| {
        let head = head(END_STREAM, &[METHOD, SCHEME, (b":authority", *host), PATH]);
        row(
            format!(":authority {}", host.escape_ascii()),
            *must,
            &[head],
        )
    };
    paths
        .iter()
        .map(path)
        .chain(hosts.iter().map(host))
        .collect()
}
