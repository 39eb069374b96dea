//! Everything at once for a long time: small bodies, bulk both ways, WebSockets, visitors who leave in the
//! middle. Every body that comes back must be what its hash says.

use std::io;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::connection::{Connection, Where, within};
use crate::hashed;

#[derive(Debug, Args)]
pub(crate) struct Mixed {
    #[command(flatten)]
    at: Where,
    #[arg(long, default_value_t = 60.0)]
    seconds: f64,
    /// Visitors of each kind.
    #[arg(long, default_value_t = 8)]
    visitors: usize,
}

/// What one visitor does, over and over.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// Small bodies down, on one connection.
    Small,
    /// Small bodies there and back, a connection for each.
    There,
    /// 4 MiB down.
    Down,
    /// 4 MiB there and back.
    Up,
    /// An upgraded connection, on which bytes come back.
    Upgraded,
    /// Leaves in the middle of an answer.
    Leaves,
}

const KINDS: [Kind; 6] = [
    Kind::Small,
    Kind::There,
    Kind::Down,
    Kind::Up,
    Kind::Upgraded,
    Kind::Leaves,
];

/// Between two rounds of a visitor, so that there is room for all of them.
const PAUSE: Duration = Duration::from_millis(20);

/// No round may take longer.
const LIMIT: Duration = Duration::from_secs(30);

const BULK: usize = 4 * 1024 * 1024;

#[derive(Debug, Default)]
struct Sum {
    rounds: u64,
    wrong: u64,
    errors: u64,
    last_error: Option<String>,
}

impl Mixed {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let end = Instant::now() + Duration::from_secs_f64(self.seconds);
        let mut visitors = JoinSet::new();
        for kind in KINDS {
            for _ in 0..self.visitors {
                visitors.spawn(visit(kind, self.at.clone(), end));
            }
        }
        let mut all = Sum::default();
        for sum in visitors.join_all().await {
            all.rounds += sum.rounds;
            all.wrong += sum.wrong;
            all.errors += sum.errors;
            all.last_error = sum.last_error.or(all.last_error);
        }
        let line = json!({
            "rounds": all.rounds,
            "wrong": all.wrong,
            "errors": all.errors,
            "last_error": all.last_error,
        });
        println!("{line}");
        Ok(())
    }
}

async fn visit(kind: Kind, at: Where, end: Instant) -> Sum {
    let mut sum = Sum::default();
    let mut kept = None;
    while Instant::now() < end {
        match within(LIMIT, round(kind, &at, &mut kept)).await {
            Ok(true) => sum.rounds += 1,
            Ok(false) => sum.wrong += 1,
            Err(error) => {
                kept = None;
                sum.errors += 1;
                sum.last_error = Some(format!("{kind:?}: {error}"));
            }
        }
        sleep(PAUSE).await;
    }
    sum
}

/// Whether all that came was right.
async fn round(kind: Kind, at: &Where, kept: &mut Option<Connection>) -> io::Result<bool> {
    let mut connection = match kept.take() {
        Some(connection) => connection,
        None => Connection::open(at.port).await?,
    };
    match kind {
        Kind::Small => {
            let whole = download(&mut connection, at, 2000).await?;
            *kept = Some(connection);
            Ok(whole)
        }
        Kind::There => there_and_back(&mut connection, at, 500).await,
        Kind::Down => download(&mut connection, at, BULK).await,
        Kind::Up => there_and_back(&mut connection, at, BULK).await,
        Kind::Upgraded => upgraded(&mut connection, at).await,
        Kind::Leaves => {
            let request = at.path(&format!("/hashed/{BULK}")).request(0, "GET", "");
            connection.stream.write_all(&request).await?;
            connection.head(200).await?;
            Ok(true)
        }
    }
}

async fn download(connection: &mut Connection, at: &Where, size: usize) -> io::Result<bool> {
    let request = at.path(&format!("/hashed/{size}")).request(0, "GET", "");
    let body = connection.fetch(&request).await?;
    Ok(body.len() == size && hashed::is_whole(&body))
}

async fn there_and_back(connection: &mut Connection, at: &Where, size: usize) -> io::Result<bool> {
    let body = hashed::body(size);
    let fields = format!("content-length: {size}\r\n");
    let mut request = at.path("/hashed").request(0, "POST", &fields);
    request.extend_from_slice(&body);
    Ok(connection.fetch(&request).await? == body)
}

async fn upgraded(connection: &mut Connection, at: &Where) -> io::Result<bool> {
    let fields = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                  sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let request = at.path("/echo").request(0, "GET", fields);
    connection.stream.write_all(&request).await?;
    connection.head(101).await?;
    for size in [10, 1000, 100_000] {
        let sent = hashed::body(size);
        let mut came = vec![0; size];
        let (mut receive, mut send) = connection.stream.split();
        tokio::try_join!(send.write_all(&sent), receive.read_exact(&mut came))?;
        if came != sent {
            return Ok(false);
        }
    }
    Ok(true)
}
