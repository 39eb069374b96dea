//! Both sides of a case in HTTP/2, by h2: it tells apart every way in which a stream can end.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::ext::Protocol;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use ngrnotok_common::socket::Socket;
use ngrnotok_tests::tasks::Tasks;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::case::{Ask, Fields, Step};
use crate::message::{End, Left, Message, Named, Progress, Record, both, heard, named_map};
use crate::stage::Script;

/// What HTTP/2 has no room for (RFC 9113 §8.2.2), or says elsewhere.
const NOT_IN_HTTP2: [&str; 6] = [
    "connection",
    "host",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
];

/// A visitor's connection.
pub(crate) struct Connection {
    requests: SendRequest<Bytes>,
    scheme: &'static str,
    _tasks: Tasks,
}

impl Connection {
    pub(crate) async fn open(socket: impl Socket, scheme: &'static str) -> Self {
        let (requests, mut connection) = h2::client::handshake(socket).await.expect("HTTP/2");
        let mut pings = connection.ping_pong().expect("taken once");
        let tasks = Tasks::default();
        tasks.spawn(async { drop(connection.await) });
        // The answer to a PING comes after the peer's SETTINGS, which allow extended CONNECT.
        let _ = pings.ping(h2::Ping::opaque()).await;
        Self {
            requests,
            scheme,
            _tasks: tasks,
        }
    }

    pub(crate) async fn ask(&mut self, ask: &Ask, authority: &str, switches: bool) -> Message {
        let (mut record, mut progress) = Record::new();
        let bodiless = ask.steps.is_empty() && !ask.says("Transfer-Encoding", "chunked");
        let ended = bodiless && ask.protocol.is_none();
        let request = self.request(ask, authority);
        let (answer, stream) = match self.requests.send_request(request, ended) {
            Ok(sent) => sent,
            Err(error) => {
                record.end(End::Wrong(format!("not sent: {error}")), Named::new());
                return record.taken(false);
            }
        };
        let saying = async {
            let mut mouth = Mouth {
                respond: None,
                stream: (!ended).then_some(stream),
                leaves_with: Reason::CANCEL,
            };
            mouth.speak(&ask.steps, &mut progress).await
        };
        let hearing = hear_answer(answer, &mut record);
        let left = both(saying, hearing, switches).await;
        record.taken(left != Left::Stays)
    }

    fn request(&self, ask: &Ask, authority: &str) -> Request<()> {
        let path = PathAndQuery::try_from(&ask.target);
        let path = path.unwrap_or_else(|error| panic!("{}: {error}", ask.target));
        let uri = Uri::builder().scheme(self.scheme).authority(authority);
        let mut request = Request::new(());
        *request.uri_mut() = uri.path_and_query(path).build().expect("a good URI");
        *request.method_mut() = Method::from_bytes(ask.method.as_bytes()).expect("a method");
        *request.headers_mut() = headers(&ask.fields);
        if let Some(protocol) = ask.protocol {
            *request.method_mut() = Method::CONNECT;
            request
                .extensions_mut()
                .insert(Protocol::from_static(protocol));
        }
        request
    }
}

/// Answers requests of one connection, each on a task of its own.
pub(crate) async fn serve(socket: impl Socket, script: Arc<Script>) {
    let Ok(mut connection) = h2::server::handshake(socket).await else {
        return;
    };
    let mut tasks = JoinSet::new();
    while let Some(Ok((request, respond))) = connection.accept().await {
        tasks.spawn(answer(request, respond, Arc::clone(&script)));
    }
    // What breaks off with the connection is written down, too.
    while tasks.join_next().await.is_some() {}
}

async fn answer(request: Request<RecvStream>, respond: SendResponse<Bytes>, script: Arc<Script>) {
    let Some(answer) = script.next() else {
        return script.saw_wrong(format!("a request too many: {request:?}"));
    };
    let (head, body) = request.into_parts();
    let mut fields = named_map(&head.headers);
    if let Some(authority) = head.uri.authority() {
        let hosts = fields.entry("host".to_owned()).or_default();
        hosts.insert(0, authority.to_string());
    }
    let path = head.uri.path_and_query().map_or("", PathAndQuery::as_str);
    let (mut record, mut progress) = Record::new();
    record.head(format!("{} {path}", head.method), fields);
    let mut mouth = Mouth {
        respond: Some(respond),
        stream: None,
        leaves_with: Reason::INTERNAL_ERROR,
    };
    let steps = answer.steps();
    let saying = mouth.speak(&steps, &mut progress);
    let left = both(saying, hear_body(body, &mut record), true).await;
    script.saw(record.taken(left != Left::Stays));
}

/// The sending half of an exchange.
struct Mouth {
    /// Until an answer has its head.
    respond: Option<SendResponse<Bytes>>,
    /// Until its end has been sent.
    stream: Option<SendStream<Bytes>>,
    leaves_with: Reason,
}

impl Mouth {
    async fn speak(&mut self, steps: &[Step], progress: &mut watch::Receiver<Progress>) -> Left {
        for (at, step) in steps.iter().enumerate() {
            match step {
                Step::Interim(status, fields) => {
                    let head = response(*status, fields);
                    let respond = self.respond.as_mut().expect("an answer");
                    let _ = respond.send_informational(head);
                }
                Step::Head(status, fields) => {
                    let ended = steps[at + 1..].is_empty();
                    let head = response(*status, fields);
                    let mut respond = self.respond.take().expect("one head");
                    let stream = respond.send_response(head, ended);
                    self.stream = stream.ok().filter(|_| !ended);
                }
                Step::Data(data) => self.send(data.clone()).await,
                Step::Trailers(fields) => {
                    if let Some(mut stream) = self.stream.take() {
                        let _ = stream.send_trailers(headers(fields));
                    }
                }
                Step::Raw(_) => panic!("no raw bytes in HTTP/2"),
                Step::Hear(what) => heard(progress, *what).await,
                Step::Close | Step::Break => {
                    self.leave();
                    return Left::Breaks;
                }
            }
        }
        if let Some(stream) = &mut self.stream {
            let _ = stream.send_data(Bytes::new(), true);
        }
        Left::Stays
    }

    fn leave(&mut self) {
        if let Some(respond) = &mut self.respond {
            respond.send_reset(self.leaves_with);
        }
        if let Some(stream) = &mut self.stream {
            stream.send_reset(self.leaves_with);
        }
    }

    /// Sends as the window allows. A peer who wants no more is seen elsewhere.
    async fn send(&mut self, mut data: Bytes) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        if data.is_empty() {
            let _ = stream.send_data(data, false);
            return;
        }
        while !data.is_empty() {
            stream.reserve_capacity(data.len());
            while stream.capacity() == 0 {
                match poll_fn(|cx| stream.poll_capacity(cx)).await {
                    Some(Ok(_)) => {}
                    _ => return,
                }
            }
            let part = data.split_to(stream.capacity().min(data.len()));
            if stream.send_data(part, false).is_err() {
                return;
            }
        }
    }
}

async fn hear_answer(mut answer: ResponseFuture, record: &mut Record) {
    let answer = poll_fn(|cx| {
        while let Poll::Ready(Some(Ok(head))) = answer.poll_informational(cx) {
            record.interim(head.status().as_u16(), named_map(head.headers()));
        }
        Pin::new(&mut answer).poll(cx)
    });
    match answer.await {
        Ok(answer) => {
            let (head, body) = answer.into_parts();
            record.head(head.status.as_u16().to_string(), named_map(&head.headers));
            hear_body(body, record).await;
        }
        Err(_) => record.end(End::Broken, Named::new()),
    }
}

async fn hear_body(mut body: RecvStream, record: &mut Record) {
    loop {
        match body.data().await {
            Some(Ok(data)) => {
                record.data(&data);
                let _ = body.flow_control().release_capacity(data.len());
            }
            Some(Err(_)) => return record.end(End::Broken, Named::new()),
            None => break,
        }
    }
    match body.trailers().await {
        Ok(trailers) => record.end(End::Whole, named_map(&trailers.unwrap_or_default())),
        Err(_) => record.end(End::Broken, Named::new()),
    }
}

fn response(status: u16, fields: &Fields) -> Response<()> {
    let mut head = Response::new(());
    *head.status_mut() = StatusCode::from_u16(status).expect("a status");
    *head.headers_mut() = headers(fields);
    head
}

fn headers(fields: &Fields) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
        if !NOT_IN_HTTP2.contains(&name.as_str()) {
            headers.append(name, HeaderValue::from_bytes(value).expect("a value"));
        }
    }
    headers
}
