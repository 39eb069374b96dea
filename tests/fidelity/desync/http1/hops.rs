//! What is meant for the next hop alone, and requests that hide in bodies.

use super::{whole, with_fields};
use crate::desync::Attack;
use crate::desync::Must::{BeOneOrNone, BeTwoOrNone, Pass};

pub(super) fn attacks() -> Vec<Attack> {
    let mut all = hops();
    all.extend(bodies());
    all
}

/// RFC 9110 §7.6.1, §7.8, §10.1.1: what is meant for a hop.
fn hops() -> Vec<Attack> {
    let mut all = with_fields(
        "SMUGGLED",
        &[
            (Pass, b"Connection: Content-Length\r\nContent-Length: LEN"),
            (Pass, b"Connection: Host, X-Forwarded-For\r\nContent-Length: LEN"),
            (Pass, b"Connection: close, Content-Length\r\nContent-Length: LEN"),
            (Pass, b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nContent-Length: LEN"),
            (Pass, b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: LEN"),
            (Pass, b"Connection: Upgrade, Content-Length\r\nUpgrade: websocket\r\nContent-Length: LEN"),
            (BeTwoOrNone, b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0"),
            (BeTwoOrNone, b"Connection: Upgrade\r\nUpgrade: a b\r\nContent-Length: 0"),
            (BeTwoOrNone, b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c, websocket\r\nHTTP2-Settings: AAMAAABkAAQAAP__"),
            (BeTwoOrNone, b"Connection: Upgrade\r\nUpgrade: websocket, h2c"),
            (BeTwoOrNone, b"Connection: Upgrade\r\nUpgrade: H2C"),
            (BeTwoOrNone, b"Connection: Upgrade\r\nUpgrade: TLS/1.0"),
            (Pass, b"Expect: 100-continue, x\r\nContent-Length: LEN"),
            (Pass, b"Expect: 200-ok\r\nContent-Length: LEN"),
            (Pass, b"Expect: x\r\nExpect: y\r\nContent-Length: LEN"),
            (Pass, b"Expect:\r\nContent-Length: LEN"),
            (Pass, b"Expect: 100-continue\r\nConnection: Expect\r\nContent-Length: LEN"),
            (Pass, b"ngrnotok-tunnel: 7\r\nNgrnotok-Interim: ?1\r\nNGRNOTOK-METHOD: PUT\r\nContent-Length: LEN"),
            (Pass, b"TE: chunked, trailers\r\nContent-Length: LEN"),
            (Pass, b"Trailer: Content-Length\r\nContent-Length: LEN"),
        ],
    );
    all.extend(with_fields(
        "0\r\n\r\nSMUGGLED",
        &[
            (BeTwoOrNone, b"Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked"),
            (BeTwoOrNone, b"Connection: Upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked"),
            (BeOneOrNone, b"Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\nContent-Length: LEN"),
            (BeOneOrNone, b"Connection: Content-Length, Transfer-Encoding\r\nContent-Length: LEN\r\nTransfer-Encoding: chunked"),
        ],
    ));
    all
}

/// Nothing is wrong with these: the hidden request is a body, or it is no secret.
fn bodies() -> Vec<Attack> {
    let hidden = |method: &str, must| {
        let template =
            format!("{method} /a HTTP/1.1\r\nHost: HOST\r\nContent-Length: LEN\r\n\r\nSMUGGLED");
        whole(
            &format!("hidden in the body of {method}"),
            must,
            template.as_bytes(),
        )
    };
    vec![
        hidden("POST", Pass),
        hidden("GET", Pass),
        hidden("HEAD", Pass),
        hidden("DELETE", Pass),
        hidden("OPTIONS", Pass),
        hidden("TRACE", Pass),
        hidden("foo", Pass),
        whole("an eager answer to a body", Pass, b"POST /eager HTTP/1.1\r\nHost: HOST\r\nContent-Length: LEN\r\n\r\nSMUGGLED"),
        whole("an eager answer to half a body", BeOneOrNone, b"POST /eager HTTP/1.1\r\nHost: HOST\r\nContent-Length: 4096\r\n\r\nSMUGGLED"),
        whole("an eager answer to half a chunk", BeOneOrNone, b"POST /eager HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n1000\r\nSMUGGLED"),
        whole("an eager answer to an upgrade", BeTwoOrNone, b"GET /eager HTTP/1.1\r\nHost: HOST\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nSMUGGLED"),
        whole("an expectation that is never met", BeOneOrNone, b"POST /eager HTTP/1.1\r\nHost: HOST\r\nExpect: 100-continue\r\nContent-Length: LEN\r\n\r\nSMUGGLED"),
        whole("pipelined", BeTwoOrNone, b"GET /a HTTP/1.1\r\nHost: HOST\r\n\r\nSMUGGLED"),
        whole("pipelined behind an empty body", BeTwoOrNone, b"POST /a HTTP/1.1\r\nHost: HOST\r\nContent-Length: 0\r\n\r\nSMUGGLED"),
        whole("pipelined behind a last word", BeOneOrNone, b"GET /a HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\nSMUGGLED"),
        whole("pipelined behind 1.0", BeOneOrNone, b"GET /a HTTP/1.0\r\nHost: HOST\r\n\r\nSMUGGLED"),
    ]
}
