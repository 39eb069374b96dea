//! A link met by a server that a test plays, on a clock of the test's.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use http::Request;
use ngrnotok_certs::dev::DevAuthority;
use ngrnotok_certs::tls::{Trust, link_client_config, link_server_config};
use ngrnotok_common::id::{SessionId, TunnelId};
use ngrnotok_common::link::calling::{Calling, Requests};
use ngrnotok_common::link::open::server_end;
use ngrnotok_common::link::windows::UnreadTotal;
use ngrnotok_common::protocol::CONTROL_PATH;
use ngrnotok_common::protocol::control::{ServerMessage, Writer};
use ngrnotok_common::secret::Secret;
use tokio::io::DuplexStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use super::*;
use crate::client::Client;
use crate::status::State;

const SECOND: Duration = Duration::from_secs(1);

/// TLS between two ends in memory, so that time is nobody's but the test's.
async fn tls() -> (
    client::TlsStream<DuplexStream>,
    server::TlsStream<DuplexStream>,
) {
    let authority = DevAuthority::generate().unwrap();
    let identity = authority.issue(&["tunnel.test".to_owned()]).unwrap();
    let trust = Trust::Roots(vec![authority.certificate()]);
    let connector = TlsConnector::from(link_client_config(trust, &[]).unwrap());
    let acceptor = TlsAcceptor::from(link_server_config(identity, &[]).unwrap());
    let (near, far) = tokio::io::duplex(64 * 1024);
    let name = "tunnel.test".try_into().unwrap();
    let both = tokio::join!(connector.connect(name, near), acceptor.accept(far));
    (both.0.unwrap(), both.1.unwrap())
}

/// A link of a client, and the other end of the connection.
struct Link {
    client: Client,
    role: Role,
    leave: CancellationToken,
}

impl Link {
    fn new() -> Self {
        let role = Role {
            joins: false,
            binds: true,
            is_first_try: true,
            replaces: None,
            wants_another: CancellationToken::new(),
            retire: CancellationToken::new(),
            since: Arc::default(),
        };
        Self {
            client: Client::of_a_test(),
            role,
            leave: CancellationToken::new(),
        }
    }

    async fn serve(&self, stream: client::TlsStream<DuplexStream>) -> Result<(), SessionError> {
        let binding = ChannelBinding::of(stream.get_ref().1).unwrap();
        serve(
            stream,
            binding,
            &self.client.shared,
            &self.role,
            &self.leave,
        )
        .await
    }

    fn state(&self) -> State {
        self.client.status().borrow().state.clone()
    }
}

/// The server's end of a link.
struct Server {
    calling: Calling<server::TlsStream<DuplexStream>>,
    _requests: Requests,
    says: Writer<ServerMessage>,
}

impl Server {
    /// One that has opened the control stream and says nothing on it.
    async fn silent(stream: server::TlsStream<DuplexStream>) -> Self {
        let (requests, mut calling) = server_end(stream, UnreadTotal::default()).await.unwrap();
        let post = Request::post(format!("https://ngrnotok{CONTROL_PATH}"));
        let (answer, says) = requests
            .raw()
            .send_request(post.body(()).unwrap(), false)
            .unwrap();
        tokio::select! {
            answer = answer => assert_eq!(answer.unwrap().status(), 200),
            ended = &mut calling => panic!("{ended:?}"),
        }
        Self {
            calling,
            _requests: requests,
            says: Writer::new(says),
        }
    }

    /// One with a session that is online.
    async fn online(stream: server::TlsStream<DuplexStream>) -> Self {
        Self::with(stream, SessionId::random(), None).await
    }

    /// The same with a session that is known; who joins it gets no secret.
    async fn with(
        stream: server::TlsStream<DuplexStream>,
        session: SessionId,
        resume: Option<Secret>,
    ) -> Self {
        let mut server = Self::silent(stream).await;
        let welcome = ServerMessage::Welcome {
            session,
            version: "1".into(),
            account: "ann".into(),
            region: None,
            resume,
        };
        let bound = ServerMessage::Bound {
            id: TunnelId(0),
            url: "https://app.tunnel.test".into(),
        };
        server.say(&welcome).await;
        server.say(&bound).await;
        server
    }

    /// Says something and gives it a second to arrive.
    async fn say(&mut self, message: &ServerMessage) {
        let said = async {
            self.says.send(message).await.unwrap();
            tokio::time::sleep(SECOND).await;
        };
        tokio::select! {
            () = said => {}
            ended = &mut self.calling => panic!("{ended:?}"),
        }
    }
}

/// What a link does while the server's end of it is a test.
macro_rules! meets {
    ($serving:ident, $server:expr) => {
        tokio::select! {
            server = $server => server,
            ended = &mut $serving => panic!("{ended:?}"),
        }
    };
}

#[tokio::test(start_paused = true)]
async fn a_link_that_died_in_the_sleep_of_this_computer_is_given_up_soon_after() {
    let (link, (near, far)) = (Link::new(), tls().await);
    let mut serving = pin!(link.serve(near));
    let _server = meets!(serving, Server::online(far));
    assert_eq!(link.state(), State::Online);
    // From here on nobody drives the server's end: it is gone and has left no word.
    link.client.shared.sleeps.tell(Duration::from_hours(8));
    let awake = Instant::now();
    let ended = serving.await;
    assert!(
        matches!(ended, Err(SessionError::Link(LinkError::Silent))),
        "{ended:?}"
    );
    // Its own next PING would have been due in 2 s, and the answer in 4 more.
    assert_eq!(awake.elapsed().as_secs(), 2);
}

/// What ends a client's session with a server that says these things in the place of a welcome.
async fn ended_by(lines: &[ServerMessage]) -> String {
    let (link, (near, far)) = (Link::new(), tls().await);
    let mut serving = pin!(link.serve(near));
    let mut server = meets!(serving, Server::silent(far));
    let saying = async {
        for line in lines {
            server.says.send(line).await.unwrap();
        }
        (&mut server.calling).await
    };
    tokio::select! {
        ended = &mut serving => ended.unwrap_err().to_string(),
        ended = saying => panic!("{ended:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn words_of_a_server_that_do_something_are_refused_at_the_door() {
    let welcome = |account: &str, region: Option<&str>| ServerMessage::Welcome {
        session: SessionId::random(),
        version: "1".into(),
        account: account.into(),
        region: region.map(Into::into),
        resume: None,
    };
    let bound = |url: &str| ServerMessage::Bound {
        id: TunnelId(0),
        url: url.into(),
    };
    for lines in [
        [
            welcome("ann\x1b]0;owned\x07", None),
            bound("https://app.test"),
        ],
        [
            welcome("ann", Some("\u{202e}1arf")),
            bound("https://app.test"),
        ],
        [welcome("ann", None), bound("file:///etc/passwd")],
        [welcome("ann", None), bound("vscode://app.test")],
    ] {
        let ended = ended_by(&lines).await;
        assert!(ended.contains("is not a message: a "), "{ended}");
        assert!(!ended.contains(['\x1b', '\u{202e}']), "{ended}");
    }
    let twice = [
        welcome("ann", None),
        bound("https://app.test"),
        bound("https://app.test"),
    ];
    assert!(ended_by(&twice).await.contains("twice"));
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_online_stays_so() {
    let (link, (near, far)) = (Link::new(), tls().await);
    let mut serving = pin!(link.serve(near));
    let mut server = meets!(serving, Server::online(far));
    for _ in 0..10 {
        tokio::select! {
            () = tokio::time::sleep(SECOND * 60) => {}
            ended = &mut serving => panic!("{ended:?}"),
            ended = &mut server.calling => panic!("{ended:?}"),
        }
        // A sleep that the link has survived.
        link.client.shared.sleeps.tell(SECOND * 6);
    }
    assert_eq!(link.state(), State::Online);
    assert!(!link.role.wants_another.is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn a_conversation_that_the_server_ends_is_no_session_although_the_link_lives() {
    for resets in [false, true] {
        let (link, (near, far)) = (Link::new(), tls().await);
        let mut serving = pin!(link.serve(near));
        let Server {
            calling,
            says,
            _requests,
        } = meets!(serving, Server::online(far));
        match resets {
            true => drop(says),
            false => says.finish().unwrap(),
        }
        let end = async { tokio::join!(serving, calling).0 };
        timeout(SECOND, end).await.unwrap().unwrap();
        assert_eq!(link.state(), State::Draining);
        assert!(link.role.wants_another.is_cancelled());
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_link_that_has_been_replaced_is_no_news() {
    let (link, (near, far)) = (Link::new(), tls().await);
    let mut serving = pin!(link.serve(near));
    let mut server = meets!(serving, Server::online(far));
    let drain = ServerMessage::Drain { seconds: 30 };
    meets!(serving, server.say(&drain));
    assert_eq!(link.state(), State::Draining);
    let reporter = &link.client.shared.reporter;
    reporter.online(Vec::new(), Vec::new());
    let Server { calling, says, .. } = server;
    drop(says);
    let end = async { tokio::join!(serving, calling).0 };
    timeout(SECOND, end).await.unwrap().unwrap();
    assert_eq!(link.state(), State::Online, "of the other link");
}

#[tokio::test(start_paused = true)]
async fn an_old_link_goes_when_the_next_one_has_joined_it_and_not_when_another_server_is_there() {
    let (session, old) = (SessionId::random(), CancellationToken::new());
    let mut link = Link::new();
    // The next server knows the session by the id that the client has given it.
    for (joins, secret) in [
        (false, Some("the first")),
        (false, Some("another")),
        (true, None),
    ] {
        link.role = Role {
            joins,
            replaces: Some(old.clone()),
            ..Link::new().role
        };
        let (near, far) = tls().await;
        let mut serving = pin!(link.serve(near));
        let secret = secret.map(|secret| Secret::new(secret.to_owned()));
        let _server = meets!(serving, Server::with(far, session, secret));
        assert_eq!(old.is_cancelled(), joins);
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_answers_is_not_waited_for() {
    let (link, (near, far)) = (Link::new(), tls().await);
    let mut serving = pin!(link.serve(near));
    let mut server = meets!(serving, Server::silent(far));
    // It answers every PING, so the link is good.
    let ended = tokio::select! {
        ended = timeout(SECOND * 11, serving) => ended.expect("the end of the patience"),
        ended = &mut server.calling => panic!("{ended:?}"),
    };
    assert!(matches!(ended, Err(SessionError::Protocol(_))), "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_ends_without_a_word_is_no_goodbye() {
    for says_goodbye in [true, false] {
        let (link, (near, far)) = (Link::new(), tls().await);
        let mut serving = pin!(link.serve(near));
        let mut server = meets!(serving, Server::online(far));
        if says_goodbye {
            drop(server.says);
            // The whole goodbye and the end of the connection arrive in one piece.
            let said = poll_fn(|cx| Poll::Ready(Pin::new(&mut server.calling).poll(cx)));
            assert!(said.await.is_pending());
        }
        drop(server.calling);
        match (says_goodbye, serving.await) {
            (true, ended) => ended.unwrap(),
            // A server that is killed takes TLS along without a goodbye, too.
            (false, ended) => assert!(ended.is_err(), "{ended:?}"),
        }
    }
}
