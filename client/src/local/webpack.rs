//! Lets the pages of webpack-dev-server look for edits where they came from.
//!
//! webpack-dev-server writes its own address into its scripts, and pages open their WebSocket there:
//! `__resourceQuery = "?protocol=ws%3A&hostname=0.0.0.0&port=8080&pathname=%2Fws"`. From elsewhere nobody
//! is reached at that port. Its client takes host, protocol and port from the page where they are
//! `0.0.0.0` and `0`, so that is what `--dev` lets visitors read, filled up with empty parameters:
//! lengths, ranges and validators stay true. Only the app's own address in this very form is touched, and
//! only where it begins a string: the names of modules, which other files repeat, stay.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use http::{HeaderValue, Request, Response};
use http_body::{Body, Frame, SizeHint};

use super::{BodyError, LocalBody, Target};

const PROTOCOLS: [(&str, &str); 3] = [
    ("ws%3A", "ws%3A"),
    // A page that came in https asks in wss whatever stands here; one that did not must not.
    ("wss%3A", "ws%3A"),
    ("auto%3A", "auto%3A"),
];

const HOSTS: [(&str, &str); 5] = [
    ("0.0.0.0", "0.0.0.0"),
    ("%3A%3A", "%3A%3A"),
    ("localhost", "0.0.0.0"),
    ("127.0.0.1", "0.0.0.0"),
    ("%3A%3A1", "0.0.0.0"),
];

const JAVASCRIPT: [&str; 3] = [
    "text/javascript",
    "application/javascript",
    "application/x-javascript",
];

/// How scripts of one local app are changed.
#[derive(Debug)]
pub(super) struct Webpack {
    addresses: Arc<[Address]>,
}

/// One way in which the app may write its address, and the page's in as many bytes.
#[derive(Debug)]
struct Address {
    own: Vec<u8>,
    page: Vec<u8>,
}

impl Webpack {
    /// Knows the address of `target`, if it has a port.
    pub(super) fn new(target: &Target) -> Option<Self> {
        let (Target::Http { port, .. } | Target::Https { port, .. }) = target else {
            return None;
        };
        let addresses = PROTOCOLS.iter().flat_map(|(own_protocol, protocol)| {
            HOSTS.iter().map(move |(own_host, host)| {
                let own = format!("?protocol={own_protocol}&hostname={own_host}&port={port}&");
                let mut page = format!("?protocol={protocol}&hostname={host}&port=0");
                page.extend(std::iter::repeat_n('&', own.len() - page.len()));
                Address {
                    own: own.into_bytes(),
                    page: page.into_bytes(),
                }
            })
        });
        Some(Self {
            addresses: addresses.collect(),
        })
    }

    /// Asks for a script in clear. Says whether this request looks for one.
    pub(super) fn request<B>(&self, request: &mut Request<B>) -> bool {
        let path = request.uri().path();
        let named = path.ends_with(".js") || path.ends_with(".mjs");
        let fields = request.headers_mut();
        let script = named || fields.get("sec-fetch-dest").is_some_and(|v| v == "script");
        if script && fields.contains_key(ACCEPT_ENCODING) {
            fields.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        script
    }

    /// Changes the answer, if it is a script in clear. `asked`: its request looked for one.
    pub(super) fn answer(&self, answer: Response<LocalBody>, asked: bool) -> Response<LocalBody> {
        if !is_script(answer.headers(), asked) {
            return answer;
        }
        answer.map(|body| {
            LocalBody::Script(Box::new(Script {
                body,
                text: Text::new(Arc::clone(&self.addresses)),
                after: None,
            }))
        })
    }
}

fn is_script(fields: &HeaderMap, asked: bool) -> bool {
    if fields
        .get(CONTENT_ENCODING)
        .is_some_and(|coding| coding != "identity")
    {
        return false;
    }
    let Some(kind) = fields.get(CONTENT_TYPE) else {
        return asked;
    };
    let kind = kind.to_str().unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    JAVASCRIPT
        .iter()
        .any(|known| kind.eq_ignore_ascii_case(known))
}

/// The body of a script, with the page's address in the place of the app's.
pub struct Script {
    body: LocalBody,
    text: Text,
    /// What the body said next, its end included, while the last of the text goes out.
    after: Option<Option<Result<Frame<Bytes>, BodyError>>>,
}

impl Script {
    /// The body as the app sent it, or what is left of it.
    pub(super) fn into_inner(self) -> LocalBody {
        self.body
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script").finish_non_exhaustive()
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(next) = self.after.take() {
            return Poll::Ready(next);
        }
        loop {
            let next = ready!(Pin::new(&mut self.body).poll_frame(cx));
            let next = match next.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => {
                    let text = self.text.pass(data);
                    if text.is_empty() {
                        continue;
                    }
                    return Poll::Ready(Some(Ok(Frame::data(text))));
                }
                Some(Ok(Err(trailers))) => Some(Ok(trailers)),
                Some(Err(error)) => Some(Err(error)),
                None => None,
            };
            let rest = self.text.rest();
            if rest.is_empty() {
                return Poll::Ready(next);
            }
            self.after = Some(next);
            return Poll::Ready(Some(Ok(Frame::data(rest))));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.after.is_none() && self.text.held.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let held = self.text.held.len() as u64;
        let body = self.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower().saturating_add(held));
        if let Some(upper) = body.upper() {
            hint.set_upper(upper.saturating_add(held));
        }
        hint
    }
}

/// The text of a script on its way.
struct Text {
    addresses: Arc<[Address]>,
    /// The last byte that went.
    before: u8,
    /// What may be the beginning of an address: less than the longest of them.
    held: Bytes,
}

/// What stands at a place of the text.
enum Place<'a> {
    Address(&'a Address),
    /// The text ends within what may become an address.
    Begun,
    Other,
}

impl Text {
    fn new(addresses: Arc<[Address]>) -> Self {
        Self {
            addresses,
            before: 0,
            held: Bytes::new(),
        }
    }

    /// What can go now that `chunk` has come. A chunk in which nothing changes is not copied.
    fn pass(&mut self, chunk: Bytes) -> Bytes {
        let mut text = match std::mem::take(&mut self.held) {
            held if held.is_empty() => chunk,
            held => [held, chunk].concat().into(),
        };
        let mut found = Vec::new();
        let mut from = 0;
        while let Some(at) = text[from..].iter().position(|&byte| byte == b'?') {
            let at = from + at;
            let before = at.checked_sub(1).map_or(self.before, |at| text[at]);
            from = at + 1;
            if !matches!(before, b'"' | b'\'' | b'`') {
                continue;
            }
            match place(&self.addresses, &text[at..]) {
                Place::Address(address) => {
                    found.push((at, address));
                    from = at + address.own.len();
                }
                Place::Begun => {
                    self.held = text.split_off(at);
                    break;
                }
                Place::Other => {}
            }
        }
        if !found.is_empty() {
            let mut changed = Vec::from(text);
            for (at, address) in found {
                changed[at..at + address.page.len()].copy_from_slice(&address.page);
            }
            text = changed.into();
        }
        self.before = text.last().copied().unwrap_or(self.before);
        text
    }

    /// What was held, when nothing more comes.
    fn rest(&mut self) -> Bytes {
        std::mem::take(&mut self.held)
    }
}

fn place<'a>(addresses: &'a [Address], text: &[u8]) -> Place<'a> {
    if let Some(address) = addresses.iter().find(|a| text.starts_with(&a.own)) {
        return Place::Address(address);
    }
    match addresses.iter().any(|a| a.own.starts_with(text)) {
        true => Place::Begun,
        false => Place::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "?protocol=ws%3A&hostname=0.0.0.0&port=44161&";
    const PAGE: &str = "?protocol=ws%3A&hostname=0.0.0.0&port=0&&&&&";

    fn webpack(target: &str) -> Webpack {
        Webpack::new(&target.parse().unwrap()).unwrap()
    }

    /// What becomes of a text that comes in these pieces.
    fn passed<'a>(target: &str, pieces: impl IntoIterator<Item = &'a [u8]>) -> String {
        let mut text = Text::new(webpack(target).addresses);
        let mut all = Vec::new();
        for piece in pieces {
            all.extend(text.pass(Bytes::copy_from_slice(piece)));
        }
        all.extend(text.rest());
        String::from_utf8(all).unwrap()
    }

    fn changed(target: &str, text: &str) -> String {
        passed(target, [text.as_bytes()])
    }

    #[test]
    fn the_address_is_found_however_the_text_is_cut() {
        for (text, wanted) in [
            (
                format!("\"{OWN}pathname=%2Fws\""),
                format!("\"{PAGE}pathname=%2Fws\""),
            ),
            // In what is handed to eval.
            (format!("\\\"{OWN}a\\\"?"), format!("\\\"{PAGE}a\\\"?")),
            (
                format!("'{OWN}'\"{OWN}`{OWN}"),
                format!("'{PAGE}'\"{PAGE}`{PAGE}"),
            ),
            (
                format!("\"?protocol=ws\"?\"{OWN}"),
                format!("\"?protocol=ws\"?\"{PAGE}"),
            ),
        ] {
            let bytes = text.as_bytes();
            for cut in 0..=bytes.len() {
                let (one, other) = bytes.split_at(cut);
                assert_eq!(passed("44161", [one, other]), wanted, "cut at {cut}");
            }
            for size in 1..=bytes.len() {
                assert_eq!(passed("44161", bytes.chunks(size)), wanted, "by {size}");
            }
        }
    }

    #[test]
    fn every_form_keeps_its_length() {
        for (own, page) in [
            (
                "\"?protocol=ws%3A&hostname=localhost&port=8080&p",
                "\"?protocol=ws%3A&hostname=0.0.0.0&port=0&&&&&&p",
            ),
            (
                "\"?protocol=wss%3A&hostname=127.0.0.1&port=8080&p",
                "\"?protocol=ws%3A&hostname=0.0.0.0&port=0&&&&&&&p",
            ),
            (
                "\"?protocol=auto%3A&hostname=%3A%3A1&port=8080&p",
                "\"?protocol=auto%3A&hostname=0.0.0.0&port=0&&&&p",
            ),
            (
                "\"?protocol=ws%3A&hostname=%3A%3A&port=8080&p",
                "\"?protocol=ws%3A&hostname=%3A%3A&port=0&&&&p",
            ),
        ] {
            assert_eq!(changed("8080", own), page);
            assert_eq!(own.len(), page.len());
        }
        for port in ["1", "80", "443", "65535"] {
            for address in webpack(port).addresses.iter() {
                assert_eq!(address.own.len(), address.page.len());
                assert!(address.page.ends_with(b"&"), "{address:?}");
            }
        }
    }

    #[test]
    fn what_is_not_the_apps_own_address_stays() {
        for text in [
            "\"?protocol=ws%3A&hostname=0.0.0.0&port=441610&p",
            "\"?protocol=ws%3A&hostname=0.0.0.0&port=4416&p",
            "\"?protocol=ws%3A&hostname=0.0.0.0&port=44162&p",
            "\"?protocol=ws%3A&hostname=0.0.0.0&port=44161",
            "\"?protocol=ws%3A&hostname=0.0.0.0&port=0&p",
            "\"?protocol=ws%3A&hostname=other.example&port=44161&p",
            "\"?protocol=ws%3A&username=a&hostname=0.0.0.0&port=44161&p",
            "./webpack-dev-server/client/index.js?protocol=ws%3A&hostname=0.0.0.0&port=44161&p",
            "?protocol=ws%3A&hostname=0.0.0.0&port=44161&p",
            "\"?",
            "",
        ] {
            assert_eq!(changed("44161", text), text);
            let single = text.as_bytes().chunks(1);
            assert_eq!(passed("44161", single), text);
        }
    }

    #[test]
    fn only_what_may_be_an_address_waits() {
        let mut text = Text::new(webpack("44161").addresses);
        assert_eq!(text.pass("a ? b : \"".into()), "a ? b : \"");
        assert_eq!(text.pass("?protocol=".into()), "");
        assert_eq!(text.pass("wx".into()), "?protocol=wx");
        assert_eq!(text.pass("c \"?pro".into()), "c \"");
        assert_eq!(text.rest(), "?pro");
    }

    #[test]
    fn an_unchanged_chunk_is_not_copied() {
        let mut text = Text::new(webpack("44161").addresses);
        let chunk = Bytes::from("a = b ? \"?c\" : \"?protocol=x\"");
        assert_eq!(text.pass(chunk.clone()).as_ptr(), chunk.as_ptr());
    }

    #[test]
    fn scripts_are_known_by_type_and_else_by_the_request() {
        let fields = |kind: Option<&'static str>, coding: Option<&'static str>| {
            let mut fields = HeaderMap::new();
            for (name, value) in [(CONTENT_TYPE, kind), (CONTENT_ENCODING, coding)] {
                if let Some(value) = value {
                    fields.insert(name, HeaderValue::from_static(value));
                }
            }
            fields
        };
        let typed = fields(Some("Text/JavaScript; charset=utf-8"), None);
        assert!(is_script(&typed, false));
        assert!(is_script(&fields(None, None), true));
        assert!(!is_script(&fields(None, None), false));
        assert!(!is_script(&fields(Some("text/html"), None), true));
        let zipped = fields(Some("text/javascript"), Some("gzip"));
        assert!(!is_script(&zipped, true));
    }

    #[test]
    fn a_target_without_a_port_has_no_address() {
        assert!(Webpack::new(&Target::Hello).is_none());
    }
}
