//! Local apps, from well-behaved to very odd, each on a port or path of its own.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Collected};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use ngrnotok::local::Target;
use ngrnotok_certs::dev::DevAuthority;
use ngrnotok_certs::tls::server_config;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use crate::body::{Body, full};
use crate::tasks::Tasks;
use crate::wire::{Stream, Wire};

/// A local app; gone when its last handle is dropped.
#[derive(Debug, Clone)]
pub struct Origin {
    target: Target,
    _life: Arc<Life>,
}

#[derive(Debug)]
enum Life {
    /// It listens.
    Listening { _tasks: Tasks },
    /// It does not; the port is held, so that nobody else listens there.
    Refusing { _socket: TcpSocket },
}

impl Origin {
    /// Where a tunnel finds it.
    pub fn target(&self) -> Target {
        self.target.clone()
    }

    /// Answers every request by `handle`.
    pub async fn http<H, A>(handle: H) -> Self
    where
        H: Fn(Request<Incoming>) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Response<Body>> + Send + 'static,
    {
        Self::on_tcp(
            Ipv4Addr::LOCALHOST.into(),
            "http://127.0.0.1",
            move |stream| serve(stream, handle.clone()),
        )
        .await
    }

    /// Says `text` to everybody.
    pub async fn saying(text: &'static str) -> Self {
        Self::http(move |_| async move { Response::new(full(text)) }).await
    }

    /// Answers with what arrived: method and target on the first line, then every field.
    pub async fn mirror() -> Self {
        Self::http(async |request| Response::new(full(mirrored(&request)))).await
    }

    /// Sends what arrives to the test, and says yes to it at its end.
    pub async fn witness() -> (Self, mpsc::Receiver<Request<Bytes>>) {
        let (seen, witness) = mpsc::channel(256);
        let origin = Self::http(move |request| {
            let seen = seen.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.map(Collected::to_bytes);
                let whole = Request::from_parts(head, body.unwrap_or_default());
                let _ = seen.send(whole).await;
                Response::new(full("seen"))
            }
        });
        (origin.await, witness)
    }

    /// Speaks HTTP/2 in clear with such settings, and hands every connection to `talk`.
    pub async fn http2<H, A>(settings: h2::server::Builder, talk: H) -> Self
    where
        H: Fn(h2::server::Connection<TcpStream, Bytes>) -> A + Send + Sync + 'static,
        A: Future<Output = ()> + Send + 'static,
    {
        let talk = Arc::new(talk);
        Self::on_tcp(
            Ipv4Addr::LOCALHOST.into(),
            "http://127.0.0.1",
            move |stream| {
                let (settings, talk) = (settings.clone(), Arc::clone(&talk));
                async move {
                    if let Ok(connection) = settings.handshake(stream).await {
                        talk(connection).await;
                    }
                }
            },
        )
        .await
    }

    /// Hands every connection to `talk`, which speaks bytes.
    pub async fn raw<H, A>(talk: H) -> Self
    where
        H: Fn(Wire) -> A + Send + Sync + 'static,
        A: Future<Output = ()> + Send + 'static,
    {
        Self::on_tcp(
            Ipv4Addr::LOCALHOST.into(),
            "http://127.0.0.1",
            move |stream| talk(Wire::new(stream)),
        )
        .await
    }

    /// Reads a head, writes `bytes` and closes.
    pub async fn writing(bytes: impl AsRef<[u8]> + Clone + Send + Sync + 'static) -> Self {
        Self::raw(move |mut wire| {
            let bytes = bytes.clone();
            async move {
                wire.head().await;
                wire.say(bytes).await;
            }
        })
        .await
    }

    /// Nobody listens on this port, and nobody else gets it.
    pub fn refusing() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(any_port()).expect("a free port");
        let address = socket.local_addr().expect("a bound address");
        Self {
            target: target(&format!("http://{address}")),
            _life: Arc::new(Life::Refusing { _socket: socket }),
        }
    }

    /// Speaks TLS, with a certificate for `localhost` by an authority that nobody trusts.
    pub async fn tls(text: &'static str) -> Self {
        let authority = DevAuthority::generate().expect("an authority");
        let identity = authority.issue(&["localhost".to_owned()]);
        let config = server_config(identity.expect("an identity"), &[b"http/1.1"]);
        let tls = TlsAcceptor::from(config.expect("a good identity"));
        Self::on_tcp(
            Ipv4Addr::LOCALHOST.into(),
            "https://localhost",
            move |stream| {
                let tls = tls.clone();
                async move {
                    if let Ok(stream) = tls.accept(stream).await {
                        serve(stream, move |_| async move { Response::new(full(text)) }).await;
                    }
                }
            },
        )
        .await
    }

    /// Listens on `[::1]` alone; its target says `localhost`.
    pub async fn on_ipv6(text: &'static str) -> Self {
        Self::on_tcp(
            Ipv6Addr::LOCALHOST.into(),
            "http://localhost",
            move |stream| serve(stream, move |_| async move { Response::new(full(text)) }),
        )
        .await
    }

    /// Listens on a Unix socket.
    pub fn on_unix_socket(text: &'static str) -> Self {
        let listener = UnixSocket::bind();
        let target = Target::Unix(listener.path.clone());
        Self::listening(target, listener, move |stream| {
            serve(stream, move |_| async move { Response::new(full(text)) })
        })
    }

    async fn on_tcp<H, A>(address: IpAddr, shown: &str, talk: H) -> Self
    where
        H: Fn(TcpStream) -> A + Send + Sync + 'static,
        A: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind((address, 0)).await;
        let listener = listener.expect("a free port");
        let port = listener.local_addr().expect("a bound address").port();
        Self::listening(target(&format!("{shown}:{port}")), listener, talk)
    }

    fn listening<L, H, A>(target: Target, listener: L, talk: H) -> Self
    where
        L: Listen,
        H: Fn(L::Stream) -> A + Send + Sync + 'static,
        A: Future<Output = ()> + Send + 'static,
    {
        let tasks = Tasks::default();
        let connections = tasks.spawner();
        tasks.spawn(async move {
            while let Ok(stream) = listener.next().await {
                connections.spawn(talk(stream));
            }
        });
        Self {
            target,
            _life: Arc::new(Life::Listening { _tasks: tasks }),
        }
    }
}

/// Where connections come from.
trait Listen: Send + Sync + 'static {
    type Stream: Send;

    fn next(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Listen for TcpListener {
    type Stream = TcpStream;

    async fn next(&self) -> io::Result<TcpStream> {
        let (stream, _) = self.accept().await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// A Unix socket whose path is removed on drop.
struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl UnixSocket {
    fn bind() -> Self {
        let name = format!("ngrnotok-{}.sock", uuid::Uuid::new_v4());
        let path = std::env::temp_dir().join(name);
        let listener = UnixListener::bind(&path).expect("a socket can be made");
        Self { listener, path }
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Listen for UnixSocket {
    type Stream = UnixStream;

    async fn next(&self) -> io::Result<UnixStream> {
        Ok(self.listener.accept().await?.0)
    }
}

async fn serve<H, A>(stream: impl Stream + 'static, handle: H)
where
    H: Fn(Request<Incoming>) -> A + Send + Sync + 'static,
    A: Future<Output = Response<Body>> + Send + 'static,
{
    let service = service_fn(move |request| {
        let answer = handle(request);
        async { Ok::<_, Infallible>(answer.await) }
    });
    let served = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
    drop(served);
}

fn mirrored(request: &Request<Incoming>) -> String {
    let mut text = format!("{} {}\n", request.method(), request.uri());
    for (name, value) in request.headers() {
        let value = String::from_utf8_lossy(value.as_bytes());
        text.push_str(&format!("{name}: {value}\n"));
    }
    text
}

/// All values of a field, as a list.
pub fn values<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    let values = headers.get_all(name).iter();
    values
        .map(|value| value.to_str().expect("a field of text"))
        .collect()
}

/// A port of loopback that the system chooses.
pub fn any_port() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

fn target(word: &str) -> Target {
    word.parse().expect("a good target")
}
