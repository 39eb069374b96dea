use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use tempfile::TempDir;

use super::written::micros;
use super::*;
use crate::inspect::{
    Answer, Captured, Direction, Kind, Limits, Message, MessageKind, Origin, Recorder, Request,
    State, Timing,
};

fn keep(folder: &TempDir) -> Keep {
    Keep {
        file: folder.path().join("exchanges.db"),
        time: Keep::TIME,
    }
}

fn open(keep: &Keep) -> Recorder {
    Recorder::kept(Limits::default(), keep).unwrap()
}

/// An exchange in which everything is said that can be.
fn full(at: SystemTime) -> Exchange {
    let mut fields = HeaderMap::new();
    fields.insert("x-odd", HeaderValue::from_bytes(b"\xff\x80").unwrap());
    fields.append("set-cookie", HeaderValue::from_static("a=1"));
    fields.append("set-cookie", HeaderValue::from_static("b=2"));
    let message = |kind, bytes: &'static [u8]| Message {
        at: Duration::from_micros(7),
        direction: Direction::FromApp,
        kind,
        payload: Captured::whole(bytes),
    };
    Exchange {
        id: ExchangeId(0),
        tunnel: "app".parse().unwrap(),
        at,
        visitor: Some([192, 0, 2, 7].into()),
        origin: Origin::Resent {
            of: ExchangeId(3),
            edited: true,
        },
        request: Request {
            method: Method::PATCH,
            uri: "https://app.tunnel.test/a%2Fb?c".parse().unwrap(),
            version: Version::HTTP_2,
            fields: fields.clone(),
            body: Captured::whole(&b"\x00\xff"[..]),
            trailers: Some(fields.clone()),
        },
        answer: Some(Answer {
            status: StatusCode::IM_A_TEAPOT,
            version: Version::HTTP_11,
            fields,
            body: Captured {
                bytes: "begin".into(),
                total: 99,
                ended: false,
            },
            trailers: None,
        }),
        state: State::Trouble(
            ngrnotok_common::protocol::cause::Cause::LocalClosed,
            "it left".into(),
        ),
        timing: Timing {
            answered: Some(Duration::from_millis(3)),
            ..Timing::default()
        },
        kind: Kind::WebSocket,
        messages: vec![
            message(MessageKind::Close { code: Some(1000) }, b"bye"),
            message(MessageKind::Binary, b"\xff"),
        ],
        messages_gone: 5,
    }
}

fn today() -> SystemTime {
    // What is kept is exact to the microsecond.
    SystemTime::UNIX_EPOCH + Duration::from_micros(micros(SystemTime::now()).try_into().unwrap())
}

#[tokio::test]
async fn what_was_recorded_is_there_again() {
    let folder = TempDir::new().unwrap();
    let keep = keep(&folder);
    let recorder = open(&keep);
    let first = recorder.insert(full(today())).unwrap();
    let mut plain = full(today());
    (plain.answer, plain.state) = (None, State::VisitorLeft);
    recorder.insert(plain).unwrap();
    recorder.saved().await;
    let before = recorder.list(None, 9);
    assert_eq!(before.len(), 2);
    drop(recorder);
    let recorder = reopened(&keep).await;
    assert_eq!(recorder.list(None, 9), before);
    // Numbers go on where they were.
    let next = recorder.insert(full(today())).unwrap();
    assert_eq!(next.0, first.0 + 2);
}

/// The thread of the one before lets go in a moment.
async fn reopened(keep: &Keep) -> Recorder {
    loop {
        match Recorder::kept(Limits::default(), keep) {
            Ok(recorder) => return recorder,
            Err(KeepError::InUse { .. }) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn what_is_forgotten_or_too_old_is_not_there_again() {
    let folder = TempDir::new().unwrap();
    let keep = keep(&folder);
    let recorder = open(&keep);
    recorder.insert(full(today())).unwrap();
    recorder.clear();
    recorder.insert(full(today() - Keep::TIME * 2)).unwrap();
    let new = recorder.insert(full(today())).unwrap();
    recorder.saved().await;
    drop(recorder);
    let left = reopened(&keep).await.list(None, 9);
    let left: Vec<_> = left.iter().map(|exchange| exchange.id).collect();
    assert_eq!(left, [new]);
}

#[tokio::test]
async fn one_client_at_a_time_has_the_file() {
    let folder = TempDir::new().unwrap();
    let keep = keep(&folder);
    let recorder = open(&keep);
    let second = Recorder::kept(Limits::default(), &keep);
    assert!(matches!(second, Err(KeepError::InUse { .. })), "{second:?}");
    drop(recorder);
    reopened(&keep).await;
}

#[cfg(unix)]
#[tokio::test]
async fn nobody_else_can_read_it() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = TempDir::new().unwrap();
    let keep = keep(&folder);
    std::fs::write(&keep.file, "").unwrap();
    std::fs::set_permissions(&keep.file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let recorder = open(&keep);
    recorder.insert(full(today())).unwrap();
    recorder.saved().await;
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", entry.path().display());
    }
}

#[test]
fn what_is_no_store_is_refused() {
    let folder = TempDir::new().unwrap();
    let keep = keep(&folder);
    std::fs::write(
        &keep.file,
        "a text and no database, and long enough to be read",
    )
    .unwrap();
    let opened = Recorder::kept(Limits::default(), &keep);
    assert!(
        matches!(opened, Err(KeepError::Database { .. })),
        "{opened:?}"
    );
    let nowhere = Keep {
        file: folder.path().join("none").join("exchanges.db"),
        time: Keep::TIME,
    };
    let opened = Recorder::kept(Limits::default(), &nowhere);
    assert!(matches!(opened, Err(KeepError::File { .. })), "{opened:?}");
}

#[test]
fn a_newer_store_is_left_alone() {
    let folder = TempDir::new().unwrap();
    let keep = keep(&folder);
    let connection = Connection::open(&keep.file).unwrap();
    connection
        .pragma_update(None, "user_version", VERSION + 1)
        .unwrap();
    drop(connection);
    let opened = Recorder::kept(Limits::default(), &keep);
    assert!(matches!(opened, Err(KeepError::Newer { .. })), "{opened:?}");
}
