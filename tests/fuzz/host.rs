#![no_main]
//! What a visitor calls a host: never a panic, and what is accepted means one thing only.

use http::uri::Authority;
use libfuzzer_sys::fuzz_target;
use ngrnotok_common::hostname::{HostPort, Name};

fuzz_target!(|text: &str| {
    if let Ok(parsed) = HostPort::parse(text) {
        host(text, &parsed);
    }
    if let Ok(parsed) = Name::parse(text) {
        name(text, &parsed);
    }
});

fn host(text: &str, parsed: &HostPort<'_>) {
    let host = parsed.host.as_ref();
    assert!(!host.is_empty() && host.len() <= 253);
    let is_address = host.contains(':');
    let allowed = |c: u8| match c {
        b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' => true,
        b':' => is_address,
        _ => false,
    };
    assert!(host.bytes().all(allowed), "{text:?} became {host:?}");

    // Once more, it stays what it is.
    let written = match is_address {
        true => format!("[{host}]"),
        false => host.to_owned(),
    };
    let again = HostPort::parse(&written).expect("what was accepted is accepted again");
    assert_eq!((again.host.as_ref(), again.port), (host, None));
    if let Some(port) = parsed.port {
        let written = format!("{written}:{port}");
        let again = HostPort::parse(&written).expect("with its port, too");
        assert_eq!((again.host.as_ref(), again.port), (host, Some(port)));
    }
    assert_eq!(again.is_loopback(), parsed.is_loopback());

    // What routes is what is sent on: the other parser on the way sees the same host.
    if let Ok(authority) = Authority::try_from(text) {
        let theirs = authority.host().trim_matches(['[', ']']);
        let theirs = theirs.strip_suffix('.').unwrap_or(theirs);
        match theirs.parse::<std::net::Ipv6Addr>() {
            Ok(address) => assert_eq!(address.to_string(), host),
            Err(_) => assert!(theirs.eq_ignore_ascii_case(host), "{theirs:?} and {host:?}"),
        }
        assert_eq!(authority.port_u16(), parsed.port, "{text:?}");
    }
}

fn name(text: &str, parsed: &Name) {
    let label = parsed.as_str();
    assert_eq!(label, text.to_ascii_lowercase());
    assert!((1..=63).contains(&label.len()));
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    assert!(label.bytes().all(plain));
    assert_eq!(Name::parse(label).as_ref(), Ok(parsed));
    let written = format!("{label}.tunnel.test");
    let host = HostPort::parse(&written).expect("a name makes a host");
    assert_eq!(host.host, written);
}
