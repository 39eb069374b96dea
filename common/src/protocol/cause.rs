//! Why a request got no answer from the local app: one catalogue for the wire, the pages that
//! visitors see and the lines the developer reads.

use std::fmt;
use std::mem::discriminant;

use http::StatusCode;

/// A limit that somebody would have gone over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Which one.
    pub name: LimitName,
    /// How much it allows.
    pub number: u32,
}

/// The limits there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LimitName {
    /// Links of a token at once.
    MaxLinks,
    /// Tunnels of a token at once.
    MaxTunnels,
    /// Requests of a token that are open at once.
    MaxStreams,
    /// Requests of a token that come in a minute.
    MaxRequestsPerMinute,
    /// Requests that are open at once on one link: what its client can serve.
    StreamsPerLink,
    /// Requests of one visitor's address that are open at once on one link.
    StreamsPerAddress,
}

impl Limit {
    /// When it is worth trying again, in seconds.
    pub fn retry_after(self) -> u32 {
        match self.name {
            LimitName::MaxRequestsPerMinute => 60_u32.div_ceil(self.number.max(1)),
            // Nobody knows when one of them ends: soon, and not at once.
            _ => 5,
        }
    }
}

/// `max-streams is 20`
impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}", self.name, self.number)
    }
}

/// As it is called where it is set: `max-streams`.
impl fmt::Display for LimitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MaxLinks => "max-links",
            Self::MaxTunnels => "max-tunnels",
            Self::MaxStreams => "max-streams",
            Self::MaxRequestsPerMinute => "max-requests-per-minute",
            Self::StreamsPerLink => "streams-per-link",
            Self::StreamsPerAddress => "streams-per-address",
        })
    }
}

/// At whose door the trouble lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The request itself is at fault.
    Visitor,
    /// The server has no way to carry the request, or will not.
    Edge,
    /// The connection between server and tunnel client.
    Link,
    /// The app on the developer's port.
    Local,
}

/// Why a request got no answer from the local app.
///
/// As an error it knows whose fault it was ([`Cause::side`]); as an answer it has a status, a stable
/// code, an RFC 9209 error type and a sentence that says what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// The head is not HTTP, or has characters where HTTP has none.
    BadRequest,
    /// The head of the request is longer than a tunnel carries.
    HeadTooLarge,
    /// Not exactly one host, or not a host at all.
    BadHost,
    /// Where the request's body ends is not said, not said clearly, or said wrongly.
    BadFraming,
    /// The rest of the request's body did not come.
    RequestTimeout,
    /// The method opens a tunnel to anywhere, which this is not for.
    ConnectRefused,
    /// TLS was opened for one name, the request asks for another.
    Misdirected,
    /// The host is not one label under the server's domain.
    ForeignHost,
    /// Nobody serves this name.
    TunnelNotFound,
    /// The name is known, its client is away.
    ClientOffline,
    /// As many requests are open as the link, or the session's token, allows. Which limit it is and
    /// what it is at, unless a tunnel client says so.
    OverLimit(Option<Limit>),
    /// More requests come than the session's token allows in a minute.
    OverRate(Option<Limit>),
    /// The local app answered a visitor's extended CONNECT, which nothing but an upgrade can succeed,
    /// with an ordinary page.
    UpgradeRefused,
    /// The link ended before the answer came.
    LinkLost,
    /// Nothing listens on the local port.
    LocalRefused,
    /// The local host cannot be found or reached.
    LocalUnreachable,
    /// The local app took too long to accept the connection.
    LocalTimeout,
    /// TLS with the local app failed.
    LocalTls,
    /// The local app spoke something other than HTTP.
    LocalBadResponse,
    /// The head of the local app's answer is longer than a tunnel carries.
    LocalHeadTooLarge,
    /// The local app closed the connection without an answer.
    LocalClosed,
}

/// What there is to say about a cause.
struct Entry {
    cause: Cause,
    side: Side,
    code: &'static str,
    status: u16,
    /// RFC 9209 §2.3.
    proxy_error: &'static str,
    title: &'static str,
    fix: &'static str,
}

/// Every cause once, in the order of the enum.
const CATALOGUE: [Entry; 21] = [
    Entry {
        cause: Cause::BadRequest,
        side: Side::Visitor,
        code: "bad_request",
        status: 400,
        proxy_error: "http_request_error",
        title: "The head of the request cannot be read",
        fix: "Percent-encode what a target cannot have, such as quotes, angle brackets and bytes that are not UTF-8, and send fields as name: value.",
    },
    Entry {
        cause: Cause::HeadTooLarge,
        side: Side::Visitor,
        code: "head_too_large",
        status: 431,
        proxy_error: "http_request_error",
        title: "The head of the request is too long",
        fix: "Send fewer or shorter fields and cookies: 1000 of them are carried, and 64 KiB.",
    },
    Entry {
        cause: Cause::BadHost,
        side: Side::Visitor,
        code: "bad_host",
        status: 400,
        proxy_error: "http_request_error",
        title: "The request does not name one host",
        fix: "Send exactly one Host field with a host name and an optional port.",
    },
    Entry {
        cause: Cause::BadFraming,
        side: Side::Visitor,
        code: "bad_framing",
        status: 400,
        proxy_error: "http_request_error",
        title: "The request does not say clearly where its body ends",
        fix: "Send one Content-Length, or Transfer-Encoding: chunked and whole chunks, and never both.",
    },
    Entry {
        cause: Cause::RequestTimeout,
        side: Side::Visitor,
        code: "request_timeout",
        status: 408,
        proxy_error: "http_request_error",
        title: "The rest of the request did not come",
        fix: "Send the whole body; a pause in it may last 60 s.",
    },
    Entry {
        cause: Cause::ConnectRefused,
        side: Side::Visitor,
        code: "connect_refused",
        status: 405,
        proxy_error: "http_request_denied",
        title: "This is not an open proxy",
        fix: "Send the request to the tunnel's own address instead of using CONNECT.",
    },
    Entry {
        cause: Cause::Misdirected,
        side: Side::Visitor,
        code: "misdirected",
        status: 421,
        proxy_error: "http_request_error",
        title: "This connection was opened for another name",
        fix: "Open a new connection for this name; browsers do so by themselves.",
    },
    Entry {
        cause: Cause::ForeignHost,
        side: Side::Visitor,
        code: "foreign_host",
        status: 400,
        proxy_error: "http_request_error",
        title: "This server does not serve that host",
        fix: "Use the address that ngrnotok printed: one name under the server's own domain.",
    },
    Entry {
        cause: Cause::TunnelNotFound,
        side: Side::Edge,
        code: "tunnel_not_found",
        status: 404,
        proxy_error: "destination_not_found",
        title: "No tunnel has this name",
        fix: "Check the address, or start the tunnel: ngrnotok http -p PORT --name NAME.",
    },
    Entry {
        cause: Cause::ClientOffline,
        side: Side::Edge,
        code: "client_offline",
        status: 503,
        proxy_error: "destination_unavailable",
        title: "The developer's computer is not connected",
        fix: "Start ngrnotok again, or wait until it has reconnected.",
    },
    Entry {
        cause: Cause::OverLimit(None),
        side: Side::Edge,
        code: "over_limit",
        status: 503,
        proxy_error: "connection_limit_reached",
        title: "Too many requests are open at once",
        fix: "Try again in a moment; long-lived streams each hold one place of the tunnel.",
    },
    Entry {
        cause: Cause::OverRate(None),
        side: Side::Edge,
        code: "over_rate",
        status: 429,
        proxy_error: "http_request_denied",
        title: "Too many requests come in a minute",
        fix: "Try again after the seconds in Retry-After; the server's operator sets the limit.",
    },
    Entry {
        cause: Cause::UpgradeRefused,
        side: Side::Local,
        code: "upgrade_refused",
        status: 502,
        proxy_error: "http_upgrade_failed",
        title: "The local app does not speak the wanted protocol here",
        fix: "Check the path: the local app answered a WebSocket request with an ordinary page.",
    },
    Entry {
        cause: Cause::LinkLost,
        side: Side::Link,
        code: "link_lost",
        status: 502,
        proxy_error: "connection_terminated",
        title: "The connection to the developer's computer broke",
        fix: "Try again; ngrnotok reconnects by itself.",
    },
    Entry {
        cause: Cause::LocalRefused,
        side: Side::Local,
        code: "local_refused",
        status: 502,
        proxy_error: "connection_refused",
        title: "Nothing listens on the local port",
        fix: "Start the local app, or give ngrnotok the port that it listens on.",
    },
    Entry {
        cause: Cause::LocalUnreachable,
        side: Side::Local,
        code: "local_unreachable",
        status: 502,
        proxy_error: "destination_ip_unroutable",
        title: "The local app cannot be reached",
        fix: "Check the host name or socket path that was given to ngrnotok.",
    },
    Entry {
        cause: Cause::LocalTimeout,
        side: Side::Local,
        code: "local_timeout",
        status: 504,
        proxy_error: "connection_timeout",
        title: "The local app does not accept connections",
        fix: "Check that the local app is not stuck and that no firewall drops its packets.",
    },
    Entry {
        cause: Cause::LocalTls,
        side: Side::Local,
        code: "local_tls",
        status: 502,
        proxy_error: "tls_protocol_error",
        title: "TLS with the local app failed",
        fix: "Use an http:// target if the app speaks plain HTTP, or --insecure-local if its certificate is self-signed.",
    },
    Entry {
        cause: Cause::LocalBadResponse,
        side: Side::Local,
        code: "local_bad_response",
        status: 502,
        proxy_error: "http_protocol_error",
        title: "The local app did not answer in HTTP",
        fix: "Check that the port belongs to a web server; use an https:// target if it speaks TLS.",
    },
    Entry {
        cause: Cause::LocalHeadTooLarge,
        side: Side::Local,
        code: "local_head_too_large",
        status: 502,
        proxy_error: "http_response_header_section_size",
        title: "The head of the local app's answer is too long",
        fix: "Send fewer or shorter fields and cookies: 1000 of them are carried, and 128 KiB.",
    },
    Entry {
        cause: Cause::LocalClosed,
        side: Side::Local,
        code: "local_closed",
        status: 502,
        proxy_error: "http_response_incomplete",
        title: "The local app closed the connection without an answer",
        fix: "Look at the local app's own log: it probably crashed on this request, or it speaks TLS and wants an https:// target.",
    },
];

impl Cause {
    /// Finds a cause by its code; `None` for codes of a newer version.
    pub fn from_code(code: &[u8]) -> Option<Self> {
        CATALOGUE
            .iter()
            .find(|entry| entry.code.as_bytes() == code)
            .map(|entry| entry.cause)
    }

    /// At whose door the trouble lies.
    pub fn side(self) -> Side {
        self.entry().side
    }

    /// The stable name, lower case with underscores.
    pub fn code(self) -> &'static str {
        self.entry().code
    }

    /// The status that visitors see.
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.entry().status).expect("the catalogue holds valid statuses")
    }

    /// The error type for `Proxy-Status` (RFC 9209 §2.3).
    pub fn proxy_error(self) -> &'static str {
        self.entry().proxy_error
    }

    /// What happened, for a headline; no full stop.
    pub fn title(self) -> &'static str {
        self.entry().title
    }

    /// What to do about it, one sentence.
    pub fn fix(self) -> &'static str {
        self.entry().fix
    }

    /// Which limit it is about, if it is about one.
    pub fn limit(self) -> Option<Limit> {
        match self {
            Self::OverLimit(limit) | Self::OverRate(limit) => limit,
            _ => None,
        }
    }

    fn entry(self) -> &'static Entry {
        let is_it = |entry: &&Entry| discriminant(&entry.cause) == discriminant(&self);
        CATALOGUE
            .iter()
            .find(is_it)
            .expect("a test looks every cause up")
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl std::error::Error for Cause {}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cause that follows another one in the enum. The compiler sees to it that none is left out.
    fn next(cause: Cause) -> Option<Cause> {
        Some(match cause {
            Cause::BadRequest => Cause::HeadTooLarge,
            Cause::HeadTooLarge => Cause::BadHost,
            Cause::BadHost => Cause::BadFraming,
            Cause::BadFraming => Cause::RequestTimeout,
            Cause::RequestTimeout => Cause::ConnectRefused,
            Cause::ConnectRefused => Cause::Misdirected,
            Cause::Misdirected => Cause::ForeignHost,
            Cause::ForeignHost => Cause::TunnelNotFound,
            Cause::TunnelNotFound => Cause::ClientOffline,
            Cause::ClientOffline => Cause::OverLimit(None),
            Cause::OverLimit(_) => Cause::OverRate(None),
            Cause::OverRate(_) => Cause::UpgradeRefused,
            Cause::UpgradeRefused => Cause::LinkLost,
            Cause::LinkLost => Cause::LocalRefused,
            Cause::LocalRefused => Cause::LocalUnreachable,
            Cause::LocalUnreachable => Cause::LocalTimeout,
            Cause::LocalTimeout => Cause::LocalTls,
            Cause::LocalTls => Cause::LocalBadResponse,
            Cause::LocalBadResponse => Cause::LocalHeadTooLarge,
            Cause::LocalHeadTooLarge => Cause::LocalClosed,
            Cause::LocalClosed => return None,
        })
    }

    #[test]
    fn the_catalogue_is_in_the_order_of_the_enum() {
        let mut cause = Some(Cause::BadRequest);
        for entry in &CATALOGUE {
            assert_eq!(cause, Some(entry.cause), "{}", entry.code);
            assert_eq!(entry.cause.code(), entry.code);
            assert_eq!(Cause::from_code(entry.code.as_bytes()), Some(entry.cause));
            assert!(entry.cause.status().as_u16() >= 400);
            assert!(entry.fix.ends_with('.') && !entry.title.ends_with('.'));
            cause = cause.and_then(next);
        }
        assert_eq!(cause, None);
        assert_eq!(Cause::from_code(b"from_the_future"), None);
    }

    #[test]
    fn a_limit_is_told_with_its_number() {
        let limit = Limit {
            name: LimitName::MaxStreams,
            number: 20,
        };
        assert_eq!(Cause::OverLimit(Some(limit)).code(), "over_limit");
        assert_eq!(Cause::OverLimit(Some(limit)).limit(), Some(limit));
        assert_eq!(limit.to_string(), "max-streams is 20");
        assert_eq!(limit.retry_after(), 5);
        for (number, retry_after) in [(1, 60), (7, 9), (60, 1), (1000, 1)] {
            let name = LimitName::MaxRequestsPerMinute;
            assert_eq!(Limit { name, number }.retry_after(), retry_after);
        }
    }
}
