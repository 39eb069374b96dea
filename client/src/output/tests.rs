use std::pin::Pin;
use std::task::{Context, Poll};

use ngrnotok_common::id::TunnelId;

use super::*;

/// What is said of states that follow one another.
fn said(form: Form, states: &[Status]) -> String {
    let mut lines = Lines::new(form, opening());
    for status in states {
        lines.status(status.clone());
    }
    lines.text
}

/// Nothing is known before the first connection.
fn opening() -> Opening {
    Opening {
        embedded_port: None,
        port_was_taken: false,
        public_command: String::new(),
        words: IndexMap::new(),
        web: None,
        sign_in: None,
    }
}

/// The kinds of the events, in their order.
fn events(states: &[Status]) -> Vec<String> {
    let lines = said(Form::Json, states);
    let kinds = lines.lines().map(|line| line.split('"').nth(3).unwrap());
    kinds.map(ToOwned::to_owned).collect()
}

fn online(online: &[&str], refused: &[&str]) -> Status {
    Status {
        state: State::Online,
        session: None,
        online: online
            .iter()
            .map(|name| OnlineTunnel {
                id: TunnelId(0),
                name: name.parse().unwrap(),
                url: format!("https://{name}.tunnel.test"),
                target: "http://localhost:3000".into(),
            })
            .collect(),
        refused: refused
            .iter()
            .map(|name| RefusedTunnel {
                name: name.parse().unwrap(),
                reason: "it is taken".into(),
                retry_at: Instant::now(),
            })
            .collect(),
    }
}

#[test]
fn a_tunnel_that_is_refused_is_told_once_and_so_is_its_return() {
    let states = [
        online(&["web"], &["shop"]),
        online(&["web"], &["shop"]),
        online(&["web", "shop"], &[]),
    ];
    assert_eq!(
        said(Form::Plain, &states),
        "Session     online (account )\n\
         Forwarding  https://web.tunnel.test -> http://localhost:3000\n\
         Refused     shop: it is taken; asking again now\n\
         Forwarding  https://shop.tunnel.test -> http://localhost:3000\n"
    );
    assert_eq!(events(&states), ["ready", "refused", "ready"]);
}

#[test]
fn a_tunnel_that_is_closed_is_told_and_so_is_a_client_without_any() {
    let states = [
        online(&[], &[]),
        online(&["web", "shop"], &[]),
        online(&["web"], &["shop"]),
        online(&["web"], &[]),
        Status {
            state: State::Draining,
            ..Status::default()
        },
        online(&[], &[]),
    ];
    assert_eq!(
        said(Form::Plain, &states),
        "Session     online (account )\n\
         Forwarding  nothing\n\
         Forwarding  https://web.tunnel.test -> http://localhost:3000\n\
         Forwarding  https://shop.tunnel.test -> http://localhost:3000\n\
         Refused     shop: it is taken; asking again now\n\
         Session     the server asks for another connection\n\
         Closed      https://web.tunnel.test\n\
         Session     online (account )\n\
         Forwarding  nothing\n"
    );
    assert_eq!(
        events(&states),
        [
            "no_tunnels",
            "ready",
            "ready",
            "refused",
            "draining",
            "closed",
            "no_tunnels"
        ]
    );
}

#[test]
fn a_hint_has_a_code_for_programs_and_a_sentence_for_people() {
    use crate::local::explain::{Explanation, Kind};
    let happening = Happening::Hint(crate::requests::Hint {
        name: "web".parse().unwrap(),
        explanation: Explanation {
            kind: Kind::SpeaksTls,
            what: "it speaks TLS".into(),
            fix: "use https".into(),
        },
    });
    let said = |form| {
        let opening = Opening {
            embedded_port: None,
            port_was_taken: false,
            public_command: String::new(),
            words: [("web".parse().unwrap(), "shop".to_owned())].into(),
            web: None,
            sign_in: None,
        };
        let mut lines = Lines::new(form, opening);
        lines.happening(&happening);
        lines.text
    };
    assert_eq!(said(Form::Plain), "Hint        it speaks TLS; use https\n");
    let json: serde_json::Value = serde_json::from_str(&said(Form::Json)).unwrap();
    let event = serde_json::json!({
        "event": "hint", "code": "speaks_tls", "name": "web", "tunnel": "shop",
        "text": "it speaks TLS; use https", "fix": "use https",
    });
    assert_eq!(json, event);
}

#[test]
fn a_link_that_is_to_be_replaced_is_no_news_of_its_tunnels() {
    let draining = Status {
        state: State::Draining,
        ..online(&["web"], &["shop"])
    };
    let back = online(&["web"], &[]);
    assert_eq!(
        events(&[online(&["web"], &["shop"]), draining, back]),
        ["ready", "refused", "draining", "ready"]
    );
}

/// A file on a disk that is full at times.
struct Disk {
    taken: Vec<u8>,
    is_full: bool,
}

impl AsyncWrite for Disk {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        piece: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_full {
            return Poll::Ready(Err(io::ErrorKind::StorageFull.into()));
        }
        self.taken.extend_from_slice(piece);
        Poll::Ready(Ok(piece.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn lines_that_found_no_room_are_counted_where_there_is_some_again() {
    for (form, told) in [
        (
            Form::Plain,
            "one\n\n              … 3 lines are missing here\nfive\nsix\n",
        ),
        (
            Form::Json,
            "one\n\n{\"event\":\"lines_lost\",\"count\":3}\nfive\nsix\n",
        ),
    ] {
        let mut disk = Disk {
            taken: Vec::new(),
            is_full: false,
        };
        let mut lines = Lines::new(form, opening());
        for (line, is_full) in [
            ("one", false),
            ("two", true),
            ("three", true),
            ("four", true),
            ("five", false),
            ("six", false),
        ] {
            disk.is_full = is_full;
            lines.line(line);
            lines.flush(&mut disk).await.unwrap();
        }
        assert_eq!(String::from_utf8(disk.taken).unwrap(), told);
    }
}

#[test]
fn nothing_that_a_server_says_steers_the_terminal_or_makes_a_line() {
    let mut hostile = online(&["web"], &["shop"]);
    hostile.session = Some(SessionStatus {
        id: SessionId::random(),
        account: "\x1b]52;c;cm0=\x07".into(),
        region: None,
        server_version: String::new(),
        latency: Default::default(),
    });
    hostile.online[0].url = "https://web.test\x1b[2J\nForwarding  https://evil.test".into();
    hostile.refused[0].reason = "no\r\u{9b}31m\u{202e}".into();
    let lost = Status {
        state: State::Reconnecting {
            reason: "\x1b[8m\nSession     online".into(),
            retry_at: Instant::now(),
        },
        ..Status::default()
    };
    for form in [Form::Plain, Form::Json] {
        let lines = said(form, &[hostile.clone(), lost.clone()]);
        let steers = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
        assert!(!lines.contains(steers), "{lines:?}");
        let count = if form == Form::Plain { 4 } else { 3 };
        assert_eq!(lines.lines().count(), count, "{lines}");
    }
}
