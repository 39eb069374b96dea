//! Proxies between a client and its server, as strangers run them.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use ngrnotok_certs::Identity;
use ngrnotok_certs::tls::server_config;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, split};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::origin::any_port;
use crate::tasks::Tasks;
use crate::wire::Stream;

/// What a proxy does with whoever comes.
#[derive(Debug, Clone, Copy)]
pub enum Manner {
    /// HTTP CONNECT, for everybody or for this value of `Proxy-Authorization`.
    Http(Option<&'static str>),
    /// SOCKS5, for everybody or for this user and password.
    Socks(Option<(&'static str, &'static str)>),
    /// Answers these bytes to the first words, whatever they were, and nothing more.
    Says(&'static [u8]),
    /// Takes connections and says nothing.
    Silent,
}

/// A proxy that takes everybody to one place, whatever they ask for. It ends on drop.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    life: Arc<Life>,
    _tasks: Tasks,
}

#[derive(Debug)]
struct Life {
    to: SocketAddr,
    manner: Mutex<Manner>,
    asked: Mutex<Vec<String>>,
    carried: Mutex<Vec<u8>>,
    cut: Mutex<CancellationToken>,
}

impl Proxy {
    /// Starts one on loopback that leads to `to`.
    pub async fn start(manner: Manner, to: SocketAddr) -> Self {
        Self::start_in(None, manner, to).await
    }

    /// The same, spoken to in TLS.
    pub async fn start_tls(identity: Identity, manner: Manner, to: SocketAddr) -> Self {
        let config = server_config(identity, &[b"http/1.1"]).expect("a good identity");
        Self::start_in(Some(TlsAcceptor::from(config)), manner, to).await
    }

    async fn start_in(tls: Option<TlsAcceptor>, manner: Manner, to: SocketAddr) -> Self {
        let listener = TcpListener::bind(any_port()).await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let life = Arc::new(Life {
            to,
            manner: Mutex::new(manner),
            asked: Mutex::default(),
            carried: Mutex::default(),
            cut: Mutex::default(),
        });
        let (tasks, serving) = (Tasks::default(), Arc::clone(&life));
        let spawner = tasks.spawner();
        tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (life, tls) = (Arc::clone(&serving), tls.clone());
                let cut = life.cut.lock().expect("no panic").clone();
                spawner.spawn(async move {
                    let talk = async {
                        match tls {
                            Some(tls) => life.talk(tls.accept(stream).await?).await,
                            None => life.talk(stream).await,
                        }
                    };
                    tokio::select! {
                        _ = talk => {}
                        () = cut.cancelled() => {}
                    }
                });
            }
        });
        Self {
            address,
            life,
            _tasks: tasks,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it was asked for: heads of HTTP, or `user:password host:port`.
    pub fn asked(&self) -> Vec<String> {
        self.life.asked.lock().expect("no panic").clone()
    }

    /// What it carried towards the server.
    pub fn carried(&self) -> Vec<u8> {
        self.life.carried.lock().expect("no panic").clone()
    }

    /// Breaks every connection and treats later ones in another way.
    pub fn cut(&self, then: Manner) {
        *self.life.manner.lock().expect("no panic") = then;
        std::mem::take(&mut *self.life.cut.lock().expect("no panic")).cancel();
    }
}

impl Life {
    async fn talk(&self, mut stream: impl Stream) -> io::Result<()> {
        let manner = *self.manner.lock().expect("no panic");
        match manner {
            Manner::Http(credentials) => {
                let head = self.head(&mut stream).await?;
                let given = |value| head.contains(&format!("proxy-authorization: {value}\r\n"));
                if !credentials.is_none_or(given) {
                    let no = b"HTTP/1.1 407 Who Are You\r\ncontent-length: 0\r\n\r\n";
                    return stream.write_all(no).await;
                }
                let server = TcpStream::connect(self.to).await?;
                stream.write_all(b"HTTP/1.1 200 Go On\r\n\r\n").await?;
                self.carry(stream, server).await
            }
            Manner::Socks(credentials) => {
                if !self.greet(&mut stream, credentials).await? {
                    return Ok(());
                }
                let server = TcpStream::connect(self.to).await?;
                stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
                self.carry(stream, server).await
            }
            Manner::Says(words) => {
                stream.read_u8().await?;
                stream.write_all(words).await?;
                stream.shutdown().await?;
                // To hang up on words that nobody has read would take ours back.
                copy(&mut stream, &mut tokio::io::sink()).await.map(drop)
            }
            Manner::Silent => std::future::pending().await,
        }
    }

    async fn head(&self, stream: &mut impl Stream) -> io::Result<String> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let head = String::from_utf8(head).expect("a head of text");
        self.asked.lock().expect("no panic").push(head.clone());
        Ok(head)
    }

    /// SOCKS5 up to the answer (RFC 1928 §3, §4, RFC 1929); false if the peer is sent away.
    async fn greet(
        &self,
        stream: &mut impl Stream,
        credentials: Option<(&str, &str)>,
    ) -> io::Result<bool> {
        assert_eq!(stream.read_u8().await?, 5, "the version");
        let methods = word(stream).await?;
        let method = if credentials.is_some() { 2 } else { 0 };
        if !methods.contains(&method) {
            stream.write_all(&[5, 0xff]).await?;
            return Ok(false);
        }
        stream.write_all(&[5, method]).await?;
        let mut who = String::new();
        if let Some((user, password)) = credentials {
            assert_eq!(stream.read_u8().await?, 1, "the version of RFC 1929");
            let given = (text(word(stream).await?), text(word(stream).await?));
            let right = given == (user.to_owned(), password.to_owned());
            stream.write_all(&[1, u8::from(!right)]).await?;
            if !right {
                return Ok(false);
            }
            who = format!("{user}:{password} ");
        }
        let mut request = [0; 4];
        stream.read_exact(&mut request).await?;
        assert_eq!(request[..3], [5, 1, 0], "CONNECT");
        let host = match request[3] {
            1 => std::net::Ipv4Addr::from(stream.read_u32().await?).to_string(),
            3 => text(word(stream).await?),
            _ => format!("[{}]", std::net::Ipv6Addr::from(stream.read_u128().await?)),
        };
        let port = stream.read_u16().await?;
        let asked = format!("{who}{host}:{port}");
        self.asked.lock().expect("no panic").push(asked);
        Ok(true)
    }

    async fn carry(&self, client: impl Stream, server: TcpStream) -> io::Result<()> {
        let (mut from, mut back) = split(client);
        let (mut answers, mut to) = split(server);
        let up = async {
            let mut bytes = vec![0; 16 * 1024];
            loop {
                let size = from.read(&mut bytes).await?;
                if size == 0 {
                    return to.shutdown().await;
                }
                let bytes = &bytes[..size];
                self.carried
                    .lock()
                    .expect("no panic")
                    .extend_from_slice(bytes);
                to.write_all(bytes).await?;
            }
        };
        tokio::try_join!(up, copy(&mut answers, &mut back)).map(drop)
    }
}

/// Bytes behind their number.
async fn word(stream: &mut impl Stream) -> io::Result<Vec<u8>> {
    let mut word = vec![0; stream.read_u8().await?.into()];
    stream.read_exact(&mut word).await?;
    Ok(word)
}

fn text(word: Vec<u8>) -> String {
    String::from_utf8(word).expect("text")
}
