//! A local app that writes down what arrives, byte by byte, and takes nothing that is not to the letter.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use ngrnotok_tests::soon;
use ngrnotok_tests::strict::{Framing, Head, Piece, Reader, halves};
use ngrnotok_tests::tasks::Tasks;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What arrived on a connection, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Arrived {
    /// A request with its body.
    Whole(String),
    /// It broke off in its body.
    Half(String),
    /// Not HTTP as it is written.
    Wrong(String),
}

#[derive(Debug)]
pub(super) struct Log {
    pub(super) address: SocketAddr,
    arrived: Arc<Mutex<Vec<Arrived>>>,
    /// Requests that have begun and not ended.
    open: watch::Receiver<usize>,
    _tasks: Tasks,
}

/// Fields that have no business behind a body (RFC 9110 §6.5.1).
const NO_TRAILERS: [&str; 7] = [
    "authorization",
    "connection",
    "content-length",
    "host",
    "te",
    "transfer-encoding",
    "upgrade",
];

impl Log {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let (tasks, arrived) = (Tasks::default(), Arc::default());
        let (count, open) = watch::channel(0);
        let (connections, log) = (tasks.spawner(), Arc::clone(&arrived));
        tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(read(stream, Arc::clone(&log), count.clone()));
            }
        });
        Self {
            address,
            arrived,
            open,
            _tasks: tasks,
        }
    }

    /// Waits until no request is half read: what a visitor leaves behind ends with it.
    pub(super) async fn at_rest(&self) {
        let rest = async { drop(self.open.clone().wait_for(|open| *open == 0).await) };
        soon("the app to have read everything", rest).await;
    }

    /// What has arrived since this was last asked.
    pub(super) fn take(&self) -> Vec<Arrived> {
        let mut arrived = self.arrived.lock().expect("nothing panics under this lock");
        std::mem::take(&mut arrived)
    }
}

async fn read(stream: TcpStream, log: Arc<Mutex<Vec<Arrived>>>, open: watch::Sender<usize>) {
    let note = |arrived| {
        let mut log = log.lock().expect("nothing panics under this lock");
        log.push(arrived);
    };
    let _ = stream.set_nodelay(true);
    let (mut reader, mut writer) = halves(stream);
    while let Some(head) = reader.head().await {
        let framed = head.and_then(|head| Ok((head.request_framing()?, head)));
        let (framing, head) = match framed {
            Ok(framed) => framed,
            Err(wrong) => {
                let raw = reader.take_heard().escape_ascii().to_string();
                return note(Arrived::Wrong(format!("{wrong} in {raw}")));
            }
        };
        let line = head.start.join(" ");
        let length = if head.start[0] == "HEAD" { "" } else { "ok" };
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{length}");
        // Many apps answer before they look at the body, if they ever do.
        let eager = line.contains("eager");
        if eager {
            let _ = writer.say(&answer).await;
        }
        open.send_modify(|open| *open += 1);
        let arrived = body(&mut reader, framing, &head, line).await;
        open.send_modify(|open| *open -= 1);
        let whole = matches!(arrived, Arrived::Whole(_));
        note(arrived);
        if !whole || (!eager && writer.say(&answer).await.is_err()) {
            return;
        }
        reader.take_heard();
    }
}

async fn body(reader: &mut Reader, mut framing: Framing, head: &Head, line: String) -> Arrived {
    if let Some((name, _)) = head
        .fields
        .iter()
        .find(|(name, _)| name.starts_with("ngrnotok-"))
    {
        return Arrived::Wrong(format!("{name} in {line}"));
    }
    loop {
        match reader.piece(&mut framing).await {
            Piece::Data(_) => {}
            Piece::Cut => return Arrived::Half(line),
            Piece::Wrong(wrong) => return Arrived::Wrong(format!("{wrong} in the body of {line}")),
            Piece::End(trailers) => {
                let mut names = trailers.iter().map(|(name, _)| name.to_ascii_lowercase());
                let odd = |name: &String| {
                    NO_TRAILERS.contains(&name.as_str()) || name.starts_with("ngrnotok-")
                };
                return match names.find(odd) {
                    Some(name) => Arrived::Wrong(format!("{name} in the trailers of {line}")),
                    None => Arrived::Whole(line),
                };
            }
        }
    }
}
