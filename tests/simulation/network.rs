//! A network in memory, whose wires the test can cut, silence and stretch.
//!
//! What TCP does is done here, too: bytes arrive in order or not at all, a silence holds them back until it is
//! over, and whoever dials a silent host waits.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ngrnotok_tests::tasks::Tasks;
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, ReadHalf, WriteHalf,
    duplex, split,
};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

/// What is under way in one direction at most.
const WINDOW: usize = 64 * 1024;

/// TCP sends again after 0.2 s what has not arrived.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// The one address that everybody dials.
#[derive(Debug, Clone, Default)]
pub(crate) struct Network(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    door: Mutex<Door>,
    connections: Mutex<Vec<Connection>>,
    tasks: Tasks,
}

/// Who answers at the address.
#[derive(Debug, Clone, Default)]
enum Door {
    /// Nobody: the machine is there and refuses.
    #[default]
    Refuses,
    /// The machine is gone.
    Silent,
    Listens(ServerId, mpsc::Sender<End>),
}

/// One process of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ServerId(pub(crate) u64);

#[derive(Debug)]
struct Connection {
    cable: Cable,
    server: ServerId,
    fate: Fates,
}

/// What becomes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Carries,
    /// Both ends are told that it is over.
    Reset,
    /// Nobody is told anything, ever.
    Forgotten,
}

type Fates = Arc<watch::Sender<Fate>>;

impl Network {
    /// The way of one computer to the address.
    pub(crate) fn cable(&self) -> Cable {
        Cable(Arc::new(Wire {
            network: self.clone(),
            silent: watch::Sender::new(false),
            delay: Mutex::new(Duration::from_millis(20)),
        }))
    }

    /// From now on this process answers at the address.
    pub(crate) fn listen(&self, server: ServerId) -> mpsc::Receiver<End> {
        let (arrive, arrivals) = mpsc::channel(64);
        *lock(&self.0.door) = Door::Listens(server, arrive);
        arrivals
    }

    /// Nobody listens any more, if it was this process that did.
    pub(crate) fn close(&self, server: ServerId, silently: bool) {
        let mut door = lock(&self.0.door);
        if matches!(&*door, Door::Listens(now, _) if *now == server) {
            *door = match silently {
                true => Door::Silent,
                false => Door::Refuses,
            };
        }
    }

    /// Ends all connections of a process of the server.
    pub(crate) fn end_server(&self, server: ServerId, fate: Fate) {
        self.end(fate, |connection| connection.server == server);
    }

    fn end(&self, fate: Fate, which: impl Fn(&Connection) -> bool) {
        lock(&self.0.connections).retain(|connection| {
            let ends = which(connection);
            if ends {
                connection.fate.send_replace(fate);
            }
            !ends && connection.fate.receiver_count() > 0
        });
    }
}

/// The way of one computer to the network; clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct Cable(Arc<Wire>);

#[derive(Debug)]
struct Wire {
    network: Network,
    silent: watch::Sender<bool>,
    delay: Mutex<Duration>,
}

impl Cable {
    /// Opens a connection to whoever listens.
    pub(crate) async fn dial(self) -> io::Result<End> {
        self.travel().await;
        let inner = &self.0.network.0;
        let door = lock(&inner.door).clone();
        let (server, arrive) = match door {
            Door::Refuses => return Err(io::ErrorKind::ConnectionRefused.into()),
            Door::Silent => return std::future::pending().await,
            Door::Listens(server, arrive) => (server, arrive),
        };
        let fate = Fates::new(watch::Sender::new(Fate::Carries));
        let (near, one) = End::new(&fate);
        let (far, other) = End::new(&fate);
        inner
            .tasks
            .spawn(carry(one, other, self.clone(), Arc::clone(&fate)));
        lock(&inner.connections).push(Connection {
            cable: self.clone(),
            server,
            fate,
        });
        let arrived = arrive.send(far).await;
        arrived.map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
        self.travel().await;
        Ok(near)
    }

    /// From now on nothing gets through, or everything again that has waited.
    pub(crate) fn set_silent(&self, silent: bool) {
        self.0.silent.send_replace(silent);
    }

    /// How long everything is on its way.
    pub(crate) fn set_delay(&self, delay: Duration) {
        *lock(&self.0.delay) = delay;
    }

    /// Ends all connections that are open now.
    pub(crate) fn end(&self, fate: Fate) {
        let ours = |connection: &Connection| Arc::ptr_eq(&connection.cable.0, &self.0);
        self.0.network.end(fate, ours);
    }

    async fn travel(&self) {
        let delay = *lock(&self.0.delay);
        sleep(delay).await;
        let (mut silent, sent) = (self.0.silent.subscribe(), Instant::now());
        let heard = silent.wait_for(|silent| !*silent).await;
        drop(heard.expect("we hold the other side"));
        sleep(until_sent_again(sent.elapsed())).await;
    }
}

/// What was lost for so long is sent again after waits that double, as TCP does it: so what is new may
/// arrive before what is old, on another connection.
fn until_sent_again(lost: Duration) -> Duration {
    let tries = (0..7).map(|tries| FIRST_WAIT * ((1 << tries) - 1));
    let next = tries.into_iter().find(|next| *next >= lost);
    next.map_or(Duration::ZERO, |next| next - lost)
}

/// Carries what is said in both directions, for as long as the connection may.
async fn carry(one: DuplexStream, other: DuplexStream, cable: Cable, fates: Fates) {
    let mut fate = fates.subscribe();
    let ((mut from_one, mut to_one), (mut from_other, mut to_other)) = (split(one), split(other));
    let both = async {
        tokio::try_join!(
            carry_one_way(&mut from_one, &mut to_other, &cable),
            carry_one_way(&mut from_other, &mut to_one, &cable)
        )
    };
    let ended = tokio::select! {
        carried = both => match carried {
            Ok(_) => return,
            // One end is gone, and whoever still talks to it is told so.
            Err(_) => Fate::Reset,
        },
        Ok(ended) = fate.wait_for(|fate| *fate != Fate::Carries) => *ended,
    };
    fates.send_replace(ended);
    if ended == Fate::Forgotten {
        // The ends live on here, and nobody hears of them.
        std::future::pending::<()>().await;
    }
}

async fn carry_one_way(
    from: &mut ReadHalf<DuplexStream>,
    to: &mut WriteHalf<DuplexStream>,
    cable: &Cable,
) -> io::Result<()> {
    let mut piece = vec![0; 4 * 1024];
    loop {
        let length = from.read(&mut piece).await?;
        cable.travel().await;
        match length {
            0 => return to.shutdown().await,
            length => to.write_all(&piece[..length]).await?,
        }
    }
}

/// One end of a connection.
#[derive(Debug)]
pub(crate) struct End {
    stream: DuplexStream,
    fate: Fates,
}

impl End {
    /// An end, and what the network has of it.
    fn new(fate: &Fates) -> (Self, DuplexStream) {
        let (stream, wire) = duplex(WINDOW);
        let fate = Arc::clone(fate);
        (Self { stream, fate }, wire)
    }

    /// The end of a stream that was reset is an error.
    fn check(&self) -> io::Result<()> {
        match *self.fate.borrow() {
            Fate::Reset => Err(io::ErrorKind::ConnectionReset.into()),
            Fate::Carries | Fate::Forgotten => Ok(()),
        }
    }
}

impl AsyncRead for End {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if buf.filled().len() == before {
            self.check()?;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for End {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().expect("nothing panics under this lock")
}
