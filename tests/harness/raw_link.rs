//! A tunnel client made of nothing of ours: the bytes of the protocol's text, rustls and h2.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use data_encoding::HEXLOWER;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{Request, Response};
use ngrnotok_common::secret::Secret;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::crypto::tls13::OkmBlock;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore, Tls13CipherSuite};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::soon;
use crate::tasks::Tasks;
use crate::visitor::Answer;
use crate::world::World;

/// How a client asks for a link.
pub const REQUEST: &str = "GET /.well-known/ngrnotok/link HTTP/1.1\r\n\
    Host: tunnel.test\r\n\
    Connection: upgrade\r\n\
    Upgrade: ptth\r\n\
    ALPN: h2\r\n\
    Ngrnotok-Version: 1\r\n\
    User-Agent: raw/1\r\n\
    \r\n";

/// How a client with a token asks for a link.
pub fn request_with(token: &str) -> String {
    let field = format!("Authorization: Bearer {token}\r\nUser-Agent");
    REQUEST.replace("User-Agent", &field)
}

/// What a client says of itself.
pub const HELLO: &str = r#"{"t":"hello","version":"1","os":"raw"}"#;

/// Opens TLS for links, offering one protocol.
pub async fn dial(world: &World, alpn: &[u8]) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    let ngrnotok_certs::tls::Trust::Roots(authorities) = world.trust() else {
        unreachable!("a world trusts its own authority");
    };
    for authority in authorities {
        roots.add(authority).expect("a good authority");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider knows TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_owned()];
    let stream = TcpStream::connect(world.gate()).await?;
    let name = ServerName::try_from("localhost").expect("a name");
    let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
    soon("TLS with the gate", connecting).await
}

/// Sends a request for a link and reads the answer; the stream is what is left of the connection.
pub async fn ask(world: &World, request: &str) -> (Answer, TlsStream<TcpStream>) {
    let stream = dial(world, b"ngrnotok/1").await;
    ask_on(stream.expect("the gate speaks ngrnotok/1"), request).await
}

/// The same on a connection that is there.
pub async fn ask_on(
    mut stream: TlsStream<TcpStream>,
    request: &str,
) -> (Answer, TlsStream<TcpStream>) {
    let asking = stream.write_all(request.as_bytes());
    soon("the gate to take a request", asking)
        .await
        .expect("an open connection");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte = soon("the gate's answer", stream.read_u8()).await;
        head.push(byte.expect("a whole head"));
    }
    let head = String::from_utf8(head).expect("a head of text");
    let mut answer = Answer::read_head(&head);
    let mut body = vec![0; answer.field("content-length").parse().unwrap_or(0)];
    let reading = stream.read_exact(&mut body);
    soon("the gate's words", reading)
        .await
        .expect("a whole body");
    answer.body = body.into();
    (answer, stream)
}

/// One stream that the server opened.
pub type Exchange = (Request<RecvStream>, SendResponse<Bytes>);

/// What comes next on a link.
#[derive(Debug)]
pub enum Next {
    /// A line of the server.
    Line(Value),
    /// A request of a visitor.
    Request(Box<Exchange>),
}

/// A link from the client's side, with the control stream open and nothing said on it.
#[derive(Debug)]
pub struct RawClient {
    said: SendStream<Bytes>,
    heard: RecvStream,
    unread: BytesMut,
    requests: mpsc::Receiver<Exchange>,
    frozen: CancellationToken,
    closed: CancellationToken,
    ended: CancellationToken,
    /// What only this connection has, `tls-exporter` of RFC 9266.
    binding: [u8; 32],
    _tasks: Tasks,
}

impl RawClient {
    /// Opens a link by its literal bytes, up to the control stream.
    pub async fn open(world: &World) -> Self {
        Self::open_by(world, REQUEST).await
    }

    /// The same with a token.
    pub async fn open_as(world: &World, token: &Secret) -> Self {
        Self::open_by(world, &request_with(token.expose())).await
    }

    async fn open_by(world: &World, request: &str) -> Self {
        let stream = dial(world, b"ngrnotok/1").await;
        Self::open_on(stream.expect("the gate speaks ngrnotok/1"), request).await
    }

    /// The same on a connection that is there, by such a request.
    pub async fn open_on(stream: TlsStream<TcpStream>, request: &str) -> Self {
        let (answer, stream) = ask_on(stream, request).await;
        assert_eq!(answer.status, 101);
        let tls = stream.get_ref().1;
        let binding = tls.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(b""));
        let binding = binding.expect("a handshake that is done");
        let link = h2::server::Builder::new()
            .enable_connect_protocol()
            .handshake(stream);
        let mut link = link.await.expect("HTTP/2");
        let (sender, mut requests) = mpsc::channel(64);
        let (frozen, closed, ended) =
            <(CancellationToken, CancellationToken, CancellationToken)>::default();
        let (tasks, ice, end) = (Tasks::default(), frozen.clone(), ended.clone());
        let close = closed.clone();
        tasks.spawn(async move {
            let _end = end.drop_guard();
            loop {
                let next = tokio::select! {
                    next = link.accept() => next,
                    () = ice.cancelled() => {
                        close.cancelled().await;
                        link.abrupt_shutdown(Reason::NO_ERROR);
                        link.accept().await
                    }
                };
                let Some(Ok(exchange)) = next else { return };
                // A test that looks at no requests wants the link to go on all the same.
                let _ = sender.try_send(exchange);
            }
        });
        let control = soon("the control stream", requests.recv()).await;
        let (request, mut respond) = control.expect("the server opens it");
        assert_eq!(request.method(), "POST");
        assert_eq!(request.uri().path(), "/.well-known/ngrnotok/control");
        let said = respond.send_response(Response::new(()), false);
        Self {
            said: said.expect("an open stream"),
            heard: request.into_body(),
            unread: BytesMut::new(),
            requests,
            frozen,
            closed,
            ended,
            binding,
            _tasks: tasks,
        }
    }

    /// Opens a link and binds `name` on it.
    pub async fn bound(world: &World, name: &str) -> Self {
        let mut client = Self::open(world).await;
        client.say(HELLO);
        client.bind(1, "http", name);
        assert_eq!(client.hear().await["t"], "welcome");
        assert_eq!(client.hear().await["t"], "bound");
        client
    }

    /// Comes back to the session of an earlier `welcome`, or joins it.
    pub fn come_back(&mut self, welcome: &Value, join: bool) {
        let (session, secret) = (&welcome["session"], &welcome["resume"]);
        let text = |value: &Value| value.as_str().expect("a string").to_owned();
        let proof = self.proof(&text(session), &text(secret));
        self.say(&format!(
            r#"{{"t":"hello","version":"1","os":"raw","resume":{{"session":{session},"proof":"{proof}","join":{join}}}}}"#
        ));
    }

    /// Opens a session under an id of its own, with its own secret, or comes back to it.
    /// `turn` counts how often.
    pub fn begin(&mut self, session: &str, secret: &str, turn: u64) {
        let proof = self.proof(session, secret);
        let key = HEXLOWER.encode(&key(secret));
        self.say(&format!(
            r#"{{"t":"hello","version":"1","os":"raw","resume":{{"session":"{session}","proof":"{proof}","key":"{key}","turn":{turn}}}}}"#
        ));
    }

    /// HMAC-SHA-256 with the hash of the secret as its key, by the parts that TLS is made of.
    fn proof(&self, session: &str, secret: &str) -> String {
        let text = [session.as_bytes(), &self.binding].concat();
        let key = OkmBlock::new(&key(secret));
        HEXLOWER.encode(suite().hkdf_provider.hmac_sign(&key, &text).as_ref())
    }

    /// Says a line on the control stream.
    pub fn say(&mut self, line: &str) {
        let line = Bytes::from(format!("{line}\n"));
        self.said.send_data(line, false).expect("an open stream");
    }

    /// Says bytes on the control stream in frames of this size.
    pub fn say_in_pieces(&mut self, text: &str, size: usize) {
        for piece in text.as_bytes().chunks(size) {
            let piece = Bytes::copy_from_slice(piece);
            self.said.send_data(piece, false).expect("an open stream");
        }
    }

    /// Asks for a name.
    pub fn bind(&mut self, id: u32, kind: &str, name: &str) {
        self.say(&format!(
            r#"{{"t":"bind","id":{id},"kind":"{kind}","name":"{name}"}}"#
        ));
    }

    /// The server's next line.
    pub async fn hear(&mut self) -> Value {
        line(&mut self.heard, &mut self.unread).await
    }

    /// The server's next line, or the next request of a visitor.
    pub async fn next(&mut self) -> Next {
        tokio::select! {
            heard = line(&mut self.heard, &mut self.unread) => Next::Line(heard),
            Some(request) = self.requests.recv() => Next::Request(Box::new(request)),
        }
    }

    /// The next request of a visitor.
    pub async fn request(&mut self) -> Exchange {
        let request = soon("a request on the link", self.requests.recv()).await;
        request.expect("a living link")
    }

    /// Whether no visitor's request has come that the test does not know of.
    pub fn is_left_alone(&mut self) -> bool {
        self.requests.try_recv().is_err()
    }

    /// Does nothing from now on, not even answer a PING; the socket stays open.
    pub fn freeze(&self) {
        self.frozen.cancel();
    }

    /// Says GOAWAY after a [`freeze`](Self::freeze), and has looked at nothing that came since then.
    pub fn close(&self) {
        self.closed.cancel();
    }

    /// Resolves when the server has ended the link.
    pub async fn link_ended(&self) {
        self.ended.cancelled().await;
    }

    /// Resolves when the server has ended the control stream, or the link.
    pub async fn control_ended(&mut self) {
        let _ = poll_fn(|cx| self.said.poll_reset(cx)).await;
    }
}

async fn line(heard: &mut RecvStream, unread: &mut BytesMut) -> Value {
    loop {
        if let Some(end) = unread.iter().position(|byte| *byte == b'\n') {
            let line = unread.split_to(end + 1);
            return serde_json::from_slice(&line).expect("a line of JSON");
        }
        let chunk = soon("a line of the server", heard.data()).await;
        let chunk = chunk.expect("the server goes on").expect("a living link");
        unread.extend_from_slice(&chunk);
        let flow = heard.flow_control();
        flow.release_capacity(chunk.len()).expect("what was read");
    }
}

/// Answers a request with `text`.
pub fn answer(mut respond: SendResponse<Bytes>, text: &'static str) {
    let mut body = respond
        .send_response(Response::new(()), false)
        .expect("an open stream");
    body.send_data(Bytes::from_static(text.as_bytes()), true)
        .expect("an open stream");
}

/// The hash of a secret.
fn key(secret: &str) -> Vec<u8> {
    let hash = suite().common.hash_provider.hash(secret.as_bytes());
    hash.as_ref().to_vec()
}

fn suite() -> &'static Tls13CipherSuite {
    let suite = TLS13_AES_128_GCM_SHA256.tls13();
    suite.expect("a suite of TLS 1.3")
}
