//! The panel as it looks, in the states that there are and in widths from narrow to wide.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use indexmap::IndexMap;
use insta::assert_snapshot;
use ngrnotok_common::hostname::Name;
use ngrnotok_common::id::{SessionId, TunnelId};
use ngrnotok_common::link::ping::Latency;
use ngrnotok_common::protocol::cause::Cause;
use ngrnotok_common::secret::Secret;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;
use tokio::time::Instant;

use super::keys;
use super::panel::{Errand, Page, Panel};
use super::theme::Theme;
use super::{last_words, view};
use crate::connections::Numbers;
use crate::inspect::{
    Answer, Captured, Exchange, ExchangeId, Kind, Origin, Recorder, Request, State as Stands,
    Timing,
};
use crate::local::{Explanation, explain};
use crate::output::Opening;
use crate::requests::{Happening, Hint, Seen};
use crate::sign_in::SignIn;
use crate::status::{OnlineTunnel, RefusedTunnel, SessionStatus, State, Status};

/// A panel that has seen nothing, of tunnels that the config file calls so.
fn panel(words: &[(&str, &str)]) -> Panel {
    let name = |name: &str| name.parse::<Name>().unwrap();
    let words = words.iter();
    let opening = Opening {
        embedded_port: None,
        port_was_taken: false,
        public_command: "ngrnotok http -p 3000 --server YOUR.SERVER".into(),
        words: words
            .map(|(at, word)| (name(at), (*word).to_owned()))
            .collect::<IndexMap<_, _>>(),
        web: None,
        sign_in: None,
    };
    Panel::new(opening, Theme { colours: true })
}

fn tunnel(name: &str, port: u16) -> OnlineTunnel {
    OnlineTunnel {
        id: TunnelId(0),
        name: name.parse().unwrap(),
        url: format!("https://{name}.tunnel.example.com"),
        target: format!("http://localhost:{port}"),
    }
}

fn online(tunnels: &[OnlineTunnel]) -> Status {
    Status {
        state: State::Online,
        session: Some(SessionStatus {
            id: SessionId::random(),
            account: "alice".into(),
            region: Some("fra1".into()),
            server_version: env!("CARGO_PKG_VERSION").into(),
            latency: Latency::default(),
        }),
        online: tunnels.to_vec(),
        refused: Vec::new(),
    }
}

fn seen(name: &str, target: &str, status: u16, took: u64) -> Happening {
    let status = StatusCode::from_u16(status).unwrap();
    let (method, uri) = target.split_once(' ').unwrap();
    Happening::Request(Seen {
        at: SystemTime::UNIX_EPOCH + Duration::from_millis(43_495_120),
        name: name.parse().unwrap(),
        method: method.parse().unwrap(),
        uri: uri.parse().unwrap(),
        status,
        took: Duration::from_millis(took),
        trouble: (status == StatusCode::BAD_GATEWAY).then(|| {
            let detail = "http://localhost:3000: Connection refused (os error 111)".to_owned();
            (Cause::LocalRefused, detail)
        }),
    })
}

/// One tunnel with some visitors behind it.
fn busy() -> Panel {
    let mut panel = panel(&[]);
    panel.opening.web = Some("http://127.0.0.1:4040".into());
    panel.set_status(online(&[tunnel("calm-otter-3f9c", 3000)]));
    panel.latency = Some(Duration::from_millis(21));
    panel.numbers = Numbers {
        ttl: 128,
        opn: 3,
        rt1: 0.42,
        rt5: 0.171,
        p50: 0.0149,
        p90: 0.23,
    };
    for (what, status, took) in [
        ("GET /", 200, 3),
        ("POST /login?token=secret", 302, 41),
        ("GET /api/reports/2026/q3/by-region/summary.json", 500, 1204),
        ("DELETE /api/items/17", 404, 2),
        ("GET /api/items", 200, 12),
    ] {
        panel.happening(&seen("calm-otter-3f9c", what, status, took), false);
    }
    panel
}

/// Three tunnels, of which one is refused.
fn three() -> Panel {
    let mut panel = panel(&[("shop-1", "shop"), ("blog-1", "blog"), ("api-1", "api")]);
    let mut status = online(&[
        tunnel("api-1", 3001),
        tunnel("blog-1", 8000),
        tunnel("shop-1", 3000),
    ]);
    panel.set_status(status.clone());
    status.online.remove(1);
    status.refused.push(RefusedTunnel {
        name: "blog-1".parse().unwrap(),
        reason: "the name blog-1 is taken by another client that is online".into(),
        retry_at: Instant::now() + Duration::from_secs(12),
    });
    panel.set_status(status);
    panel.tunnels = vec![
        tunnel("shop-1", 3000),
        tunnel("blog-1", 8000),
        tunnel("api-1", 3001),
    ];
    panel.happening(&seen("shop-1", "GET /cart", 200, 8), false);
    panel.happening(&seen("api-1", "GET /v1/prices", 502, 1), false);
    let explanation = Explanation {
        kind: explain::Kind::HostRefused,
        what: "webpack-dev-server refuses visitors by the public host name".into(),
        fix: "start ngrnotok with --dev, or put dev = true into the config file".into(),
    };
    let hint = Hint {
        name: "blog-1".parse().unwrap(),
        explanation,
    };
    panel.happening(&Happening::Hint(hint), false);
    panel
}

fn reconnecting() -> Panel {
    let mut panel = busy();
    panel.set_status(Status {
        state: State::Reconnecting {
            reason:
                "the server 203.0.113.7:443 cannot be reached: Connection refused (os error 111)"
                    .into(),
            retry_at: Instant::now() + Duration::from_millis(4200),
        },
        ..Status::default()
    });
    panel
}

fn exchange() -> Exchange {
    let fields = |list: &[(&'static str, &'static str)]| {
        let list = list.iter();
        let list = list.map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        });
        list.collect::<HeaderMap>()
    };
    Exchange {
        id: ExchangeId(7),
        tunnel: "calm-otter-3f9c".parse().unwrap(),
        at: SystemTime::UNIX_EPOCH + Duration::from_millis(43_495_120),
        visitor: Some("203.0.113.9".parse().unwrap()),
        origin: Origin::Visitor,
        request: Request {
            method: Method::POST,
            uri: "https://calm-otter-3f9c.tunnel.example.com/api/items?draft=1"
                .parse()
                .unwrap(),
            version: Version::HTTP_2,
            fields: fields(&[
                ("content-type", "application/json"),
                ("authorization", "Bearer a-secret"),
                (
                    "user-agent",
                    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
                ),
            ]),
            body: Captured::whole(Bytes::from_static(b"{\n\t\"name\": \"lamp\"\n}")),
            trailers: None,
        },
        answer: Some(Answer {
            status: StatusCode::CREATED,
            version: Version::HTTP_11,
            fields: fields(&[("content-type", "image/png"), ("set-cookie", "id=secret")]),
            body: Captured {
                bytes: Bytes::from_static(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01"),
                total: 2048,
                ended: true,
            },
            trailers: None,
        }),
        state: Stands::Done,
        timing: Timing {
            request_ended: Some(Duration::from_millis(1)),
            answered: Some(Duration::from_millis(12)),
            ended: Some(Duration::from_millis(15)),
            round_trip: Some(Duration::from_millis(21)),
            edge: None,
        },
        kind: Kind::Plain,
        messages: Vec::new(),
        messages_gone: 0,
    }
}

/// The panel on a terminal of this size.
fn drawn(panel: &mut Panel, columns: u16, rows: u16) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
    terminal.draw(|frame| view::draw(frame, panel)).unwrap();
    terminal
}

/// Its text, without the spaces at the ends of lines.
fn text(panel: &mut Panel, columns: u16, rows: u16) -> String {
    let terminal = drawn(panel, columns, rows);
    let buffer = terminal.backend().buffer();
    let rows = (0..rows).map(|y| {
        let row: String = (0..columns).map(|x| buffer[(x, y)].symbol()).collect();
        // What the clock of this place says is not for a snapshot.
        let row = row.trim_end().to_owned();
        match row.find(":55") {
            Some(at) if at >= 5 => format!("{}12:04{}", &row[..at - 5], &row[at..]),
            _ => row,
        }
    });
    rows.collect::<Vec<_>>().join("\n")
}

fn press(panel: &mut Panel, code: KeyCode) -> Option<Errand> {
    let wish = keys::wish(KeyEvent::new(code, KeyModifiers::NONE));
    wish.and_then(|wish| panel.wish(wish))
}

#[tokio::test(start_paused = true)]
async fn every_state_in_every_width() {
    for (columns, rows) in [(80, 24), (120, 24), (40, 30)] {
        let mut connecting = panel(&[]);
        assert_snapshot!(
            format!("connecting_{columns}"),
            text(&mut connecting, columns, 8)
        );
        assert_snapshot!(
            format!("online_{columns}"),
            text(&mut busy(), columns, rows)
        );
        assert_snapshot!(
            format!("three_tunnels_{columns}"),
            text(&mut three(), columns, rows + 5)
        );
        assert_snapshot!(
            format!("reconnecting_{columns}"),
            text(&mut reconnecting(), columns, rows)
        );
        let mut leaving = busy();
        let status = Status {
            state: State::Leaving,
            ..Status::default()
        };
        leaving.set_status(status);
        assert_snapshot!(
            format!("leaving_{columns}"),
            text(&mut leaving, columns, rows)
        );
        let mut help = busy();
        press(&mut help, KeyCode::Char('?'));
        assert_snapshot!(
            format!("help_{columns}"),
            text(&mut help, columns, rows + 5)
        );
        let mut look = busy();
        look.look(Some(exchange()));
        assert_snapshot!(
            format!("exchange_{columns}"),
            text(&mut look, columns, rows + 6)
        );
        let mut code = busy();
        press(&mut code, KeyCode::Char('q'));
        assert_snapshot!(format!("qr_{columns}"), text(&mut code, columns, rows));
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_of_this_machine_says_how_to_go_public() {
    let mut panel = panel(&[]);
    panel.opening.embedded_port = Some(4081);
    panel.opening.port_was_taken = true;
    panel.set_status(online(&[OnlineTunnel {
        id: TunnelId(0),
        url: "http://app.localhost:4081".into(),
        ..tunnel("app", 3000)
    }]));
    assert_snapshot!("local_80", text(&mut panel, 80, 20));
    assert_eq!(press(&mut panel, KeyCode::Char('q')), None);
    assert!(
        text(&mut panel, 80, 20)
            .ends_with("only this machine can reach the URL: a phone could not")
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_without_tunnels_says_how_to_open_one() {
    let mut panel = panel(&[]);
    panel.opening.web = Some("http://127.0.0.1:4040/".into());
    panel.set_status(online(&[]));
    let nothing = "nothing yet; open a tunnel with POST http://127.0.0.1:4040/api/tunnels";
    assert!(text(&mut panel, 100, 20).contains(nothing));
    // There is no URL yet that could be opened.
    let with_a_url = "none yet; open the URL in a browser";
    assert!(!text(&mut panel, 100, 20).contains(with_a_url));
    panel.set_status(online(&[tunnel("one", 1), tunnel("two", 2)]));
    assert!(!text(&mut panel, 100, 20).contains(nothing));
    assert!(text(&mut panel, 100, 20).contains(with_a_url));
    assert_eq!(press(&mut panel, KeyCode::Tab), None);
    // The one that is chosen stays so while others come and go.
    panel.set_status(online(&[tunnel("two", 2)]));
    panel.set_status(online(&[tunnel("one", 1), tunnel("two", 2)]));
    assert_eq!(panel.tunnel(), Some(&tunnel("two", 2)));
    panel.set_status(online(&[]));
    assert!(text(&mut panel, 100, 20).contains(nothing));
    // On its way out before there is anything: that is no news of what there was.
    panel.set_status(online(&[tunnel("one", 1)]));
    panel.set_status(Status {
        state: State::Draining,
        ..online(&[])
    });
    assert_eq!(panel.tunnel(), Some(&tunnel("one", 1)));
}

#[tokio::test(start_paused = true)]
async fn a_url_is_never_cut() {
    let url = "https://a-name-of-the-longest-kind-that-a-label-of-dns-may-have-0123456.tunnel.example.com:8443";
    for columns in 40..130 {
        let mut panel = panel(&[]);
        let mut tunnel = tunnel("app", 3000);
        tunnel.url = url.into();
        panel.set_status(online(&[tunnel]));
        let text = text(&mut panel, columns, 30);
        assert!(text.replace('\n', "").contains(url), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_size_is_too_small() {
    for columns in (1..45).step_by(4) {
        for rows in [1, 2, 3, 5, 11] {
            for mut panel in [busy(), three(), reconnecting()] {
                text(&mut panel, columns, rows);
                for key in ['?', 'q'] {
                    press(&mut panel, KeyCode::Char(key));
                    text(&mut panel, columns, rows);
                }
                panel.look(Some(exchange()));
                text(&mut panel, columns, rows);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_colours_there_are_none() {
    for mut panel in [busy(), three(), reconnecting()] {
        panel.theme.colours = false;
        for page in [Page::Overview, Page::Help, Page::Qr] {
            panel.page = page;
            let terminal = drawn(&mut panel, 80, 30);
            let cells = terminal.backend().buffer().content.iter();
            let mut colours = cells.flat_map(|cell| [cell.fg, cell.bg]);
            assert!(colours.all(|colour| colour == Color::Reset));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_countdown_counts_down() {
    let mut panel = reconnecting();
    for left in ["in 5 s", "in 4 s", "in 3 s"] {
        assert!(text(&mut panel, 80, 10).contains(left), "{left}");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(text(&mut panel, 80, 10).contains("reconnecting now"));
}

#[tokio::test(start_paused = true)]
async fn keys_go_through_the_requests() {
    let mut panel = busy();
    let recorder = Recorder::new(Default::default());
    let ids: Vec<_> = (0..3)
        .map(|_| recorder.insert(exchange()).unwrap())
        .collect();
    let newest = recorder.newest(None, 10);
    panel.entries = newest.into_iter().map(super::Entry::recorded).collect();
    text(&mut panel, 80, 24);
    assert_eq!(
        press(&mut panel, KeyCode::Char('r')),
        None,
        "none is chosen"
    );
    press(&mut panel, KeyCode::Down);
    press(&mut panel, KeyCode::Down);
    assert_eq!(
        press(&mut panel, KeyCode::Char('r')),
        Some(Errand::Resend(ids[1]))
    );
    assert_eq!(
        press(&mut panel, KeyCode::Enter),
        Some(Errand::Look(ids[1]))
    );
    panel.look(recorder.get(ids[1]));
    assert!(text(&mut panel, 80, 24).contains("authorization: ********"));
    press(&mut panel, KeyCode::Char('s'));
    assert!(text(&mut panel, 80, 24).contains("authorization: Bearer a-secret"));
    assert_eq!(
        press(&mut panel, KeyCode::Right),
        Some(Errand::Look(ids[0]))
    );
    panel.look(recorder.get(ids[0]));
    text(&mut panel, 80, 12);
    press(&mut panel, KeyCode::End);
    let end = text(&mut panel, 80, 12);
    assert!(end.contains("… and so on"), "{end}");
    press(&mut panel, KeyCode::Esc);
    // Back on the list, the same one is marked, and a newer one does not take its place.
    assert_eq!(panel.place(), Some(2));
    let url = "https://calm-otter-3f9c.tunnel.example.com".to_owned();
    assert_eq!(
        press(&mut panel, KeyCode::Char('c')),
        Some(Errand::Copy(url))
    );
}

#[tokio::test(start_paused = true)]
async fn the_last_words_are_the_url_and_what_came() {
    let mut panel = busy();
    tokio::time::sleep(Duration::from_secs(3 * 60 + 12)).await;
    panel.numbers.opn = 0;
    assert_eq!(
        last_words(&panel),
        "Forwarding  https://calm-otter-3f9c.tunnel.example.com -> http://localhost:3000\n\
         Connections 128 in 3 min 12 s\n"
    );
    assert_eq!(last_words(&self::panel(&[])), "");
}

#[test]
fn only_what_a_browser_is_for_is_opened_and_copied() {
    let mut panel = busy();
    let press = |panel: &mut Panel, key| {
        let key = KeyEvent::new(KeyCode::Char(key), KeyModifiers::NONE);
        panel.wish(keys::wish(key).unwrap())
    };
    let url = panel.tunnels[0].url.clone();
    assert_eq!(press(&mut panel, 'o'), Some(Errand::Open(url.clone())));
    assert_eq!(press(&mut panel, 'c'), Some(Errand::Copy(url)));
    for url in [
        "file:///etc/passwd",
        "vscode://calm-otter-3f9c.evil.test",
        "https://evil.test",
    ] {
        panel.tunnels[0].url = url.to_owned();
        for key in ['o', 'c', 'q'] {
            assert_eq!(press(&mut panel, key), None, "{key} {url}");
        }
        assert!(matches!(panel.page, Page::Overview));
    }
}

#[test]
fn the_web_interface_is_opened_by_a_link_of_its_own() {
    let mut panel = busy();
    let key = KeyEvent::new(KeyCode::Char('i'), KeyModifiers::NONE);
    assert_eq!(panel.wish(keys::wish(key).unwrap()), None, "there is none");
    let page = "http://127.0.0.1:4040/";
    let sign_in = SignIn::by_link(page.to_owned(), Secret::new("the key"));
    panel.opening.sign_in = Some(sign_in.clone());
    panel.age();
    let shown = panel.web.clone().unwrap();
    assert_eq!(shown, sign_in.shown_link());
    let Some(Errand::Open(link)) = panel.wish(keys::wish(key).unwrap()) else {
        panic!("it is opened");
    };
    assert!(link.starts_with(page) && link != shown, "{link}");
    let (_, word) = shown.split_once("#once=").unwrap();
    assert!(sign_in.redeem(word).is_some());
    panel.age();
    assert_eq!(panel.web.as_deref(), Some(page), "it has been used");
}
