//! Those who want two parties to disagree on where a request ends (RFC 9112 §11.2).
//!
//! Every attack carries [`SMUGGLED`], a request that nobody must take for one of its own unless it is one
//! on every reading. What the attack was is judged at the app alone ([`judge`]): whatever arrives there
//! is HTTP to the letter, framed once, and at most one request; or nothing arrives.

mod answers;
mod http1;
mod http2;
mod judge;
mod log;

use ngrnotok_tests::run;
use ngrnotok_tests::visitor::Via;

/// What is to be taken for a request of its own.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: HOST\r\n\r\n";

/// What may become of an attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Must {
    /// One request at the app, or none.
    BeOneOrNone,
    /// The RFC leaves no choice, or what the app would see is not what was said.
    BeRefused,
    /// There is nothing wrong with it.
    Pass,
    /// Its end has not come.
    Wait,
    /// Two requests on every reading (RFC 9112 §9.3.2), or none.
    BeTwoOrNone,
}

/// One attack.
struct Attack {
    name: String,
    must: Must,
    /// Everything that the visitor sends, to a host.
    bytes: Bytes,
}

type Bytes = Box<dyn Fn(&str) -> Vec<u8>>;

/// What is to be smuggled, for a host.
fn smuggled(host: &str) -> Vec<u8> {
    replaced(SMUGGLED.as_bytes(), "HOST", host.as_bytes())
}

fn replaced(bytes: &[u8], word: &str, by: &[u8]) -> Vec<u8> {
    let (mut replaced, mut rest) = (Vec::with_capacity(bytes.len()), bytes);
    while let Some(at) = rest
        .windows(word.len())
        .position(|window| window == word.as_bytes())
    {
        replaced.extend_from_slice(&rest[..at]);
        replaced.extend_from_slice(by);
        rest = &rest[at + word.len()..];
    }
    replaced.extend_from_slice(rest);
    replaced
}

#[test]
fn attacks_in_http1() {
    run(judge::all(http1::attacks(), [Via::PlainHttp1, Via::Http1]));
}

#[test]
fn attacks_in_http2() {
    run(judge::all(http2::attacks(), [Via::PlainHttp2, Via::Http2]));
}
