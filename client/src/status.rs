//! What state the client is in: one value that lines, panel and API all watch.

use http::Uri;
use ngrnotok_common::hostname::{HostPort, Name};
use ngrnotok_common::id::{SessionId, TunnelId};
use ngrnotok_common::link::ping::Latency;
use tokio::sync::watch;
use tokio::time::Instant;

/// The client's state as a whole.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// Where the session stands.
    pub state: State,
    /// What is known of the session while there is one.
    pub session: Option<SessionStatus>,
    /// The tunnels that visitors can reach now.
    pub online: Vec<OnlineTunnel>,
    /// Those that the server refuses while it serves others; they are asked for again and again.
    pub refused: Vec<RefusedTunnel>,
}

/// Where the session stands. A closed list: whatever shows it can show all of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum State {
    /// On the way to the server for the first time.
    #[default]
    Connecting,
    /// Visitors can come.
    Online,
    /// The server asked for another link: it is about to stop, or this one is worn out. Open requests go
    /// on.
    Draining,
    /// No link is left.
    Reconnecting {
        /// Why, one line.
        reason: String,
        /// When the next try comes; once that has gone by, the try is on its way.
        retry_at: Instant,
    },
    /// Told to stop; open requests finish, then the client is gone.
    Leaving,
    /// The client has given up.
    Ended {
        /// Why, and what to do about it.
        reason: String,
    },
}

/// What the server said of the session.
#[derive(Debug, Clone)]
pub struct SessionStatus {
    /// The id, for the server's log.
    pub id: SessionId,
    /// On whose behalf.
    pub account: String,
    /// Where the server is, if it says so.
    pub region: Option<String>,
    /// The server's version.
    pub server_version: String,
    /// The round trip of the link.
    pub latency: Latency,
}

/// A tunnel that visitors can reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnlineTunnel {
    /// No other tunnel of this client has it, not even a later one of the same name.
    pub id: TunnelId,
    /// Its name.
    pub name: Name,
    /// Where visitors go.
    pub url: String,
    /// Where their requests end, `http://localhost:3000`.
    pub target: String,
}

impl OnlineTunnel {
    /// The URL as something to open or to copy: scheme and host, where it is one of a web server under this
    /// name. What a hostile server calls a URL could start any program.
    pub fn web_url(&self) -> Option<String> {
        let url: Uri = self.url.parse().ok()?;
        let scheme = url.scheme_str()?;
        let authority = url.authority()?.as_str();
        let host = HostPort::parse(authority).ok()?.host;
        let rest = host.strip_prefix(self.name.as_str())?;
        let is_ours = rest.is_empty() || rest.starts_with('.');
        let fits = matches!(scheme, "http" | "https") && is_ours;
        fits.then(|| format!("{scheme}://{authority}"))
    }
}

/// A tunnel whose name somebody else has for the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedTunnel {
    /// Its name.
    pub name: Name,
    /// Why, one line.
    pub reason: String,
    /// When it is asked for again.
    pub retry_at: Instant,
}

/// The writing side; the receivers see the newest state and may miss what lay between.
#[derive(Debug, Clone)]
pub(crate) struct Reporter(watch::Sender<Status>);

impl Reporter {
    pub(crate) fn new() -> (Self, watch::Receiver<Status>) {
        let (sender, receiver) = watch::channel(Status::default());
        (Self(sender), receiver)
    }

    /// The server wants another link. Whoever leaves does not care any more.
    pub(crate) fn draining(&self) {
        self.unless_leaving(|status| status.state = State::Draining);
    }

    pub(crate) fn welcome(&self, session: SessionStatus) {
        self.0.send_modify(|status| status.session = Some(session));
    }

    pub(crate) fn online(&self, online: Vec<OnlineTunnel>, refused: Vec<RefusedTunnel>) {
        self.unless_leaving(|status| {
            status.state = State::Online;
            status.online = online;
            status.refused = refused;
        });
    }

    /// The last link is gone, and with it everything that was said on it.
    pub(crate) fn lost(&self, reason: String, retry_at: Instant) {
        self.unless_leaving(|status| {
            *status = Status {
                state: State::Reconnecting { reason, retry_at },
                ..Status::default()
            };
        });
    }

    /// The goodbye is on its way, and no visitor can come any more.
    pub(crate) fn leaving(&self) {
        self.0.send_modify(|status| {
            status.state = State::Leaving;
            status.online.clear();
            status.refused.clear();
        });
    }

    pub(crate) fn ended(&self, reason: String) {
        self.0.send_modify(|status| {
            *status = Status {
                state: State::Ended { reason },
                ..Status::default()
            };
        });
    }

    fn unless_leaving(&self, change: impl FnOnce(&mut Status)) {
        self.0.send_if_modified(|status| {
            let stays = status.state != State::Leaving;
            if stays {
                change(status);
            }
            stays
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tunnel() -> OnlineTunnel {
        OnlineTunnel {
            id: TunnelId(0),
            name: "app".parse().unwrap(),
            url: "https://app.tunnel.test".into(),
            target: "http://localhost:3000".into(),
        }
    }

    #[test]
    fn who_cannot_be_reached_has_no_tunnels_online() {
        let ends: [fn(&Reporter); 3] = [
            |reporter| reporter.lost("the link broke".into(), Instant::now()),
            Reporter::leaving,
            |reporter| reporter.ended("the token is not accepted".into()),
        ];
        for end in ends {
            let (reporter, status) = Reporter::new();
            reporter.online(vec![tunnel()], Vec::new());
            assert_eq!(status.borrow().state, State::Online);
            assert_eq!(status.borrow().online.len(), 1);
            end(&reporter);
            assert_ne!(status.borrow().state, State::Online);
            assert_eq!(status.borrow().online, []);
        }
    }

    #[test]
    fn only_the_url_of_a_web_server_under_the_name_is_opened() {
        let web_url = |url: &str| {
            let url = url.to_owned();
            OnlineTunnel { url, ..tunnel() }.web_url()
        };
        for (url, opened) in [
            ("https://app.tunnel.test", "https://app.tunnel.test"),
            ("http://app.localhost:8080/", "http://app.localhost:8080"),
            ("https://app/path?query", "https://app"),
        ] {
            assert_eq!(web_url(url).as_deref(), Some(opened));
        }
        for url in [
            "",
            "app.tunnel.test",
            "/app",
            "file:///etc/passwd",
            "file://app.tunnel.test/x",
            "vscode://app.tunnel.test",
            "javascript:alert(1)",
            "https://evil.test",
            "https://apple.test",
            "https://app.test@evil.test",
            "https://app.tunnel.test\u{1b}[2J",
            "https://app.tunnel.test\nrm",
            "-h",
        ] {
            assert_eq!(web_url(url), None, "{url}");
        }
    }

    #[test]
    fn who_leaves_does_not_come_back() {
        let (reporter, status) = Reporter::new();
        reporter.draining();
        reporter.online(vec![tunnel()], Vec::new());
        assert_eq!(status.borrow().state, State::Online, "another link is up");
        reporter.leaving();
        // What was on its way.
        reporter.online(vec![tunnel()], Vec::new());
        reporter.draining();
        reporter.lost("the link broke".into(), Instant::now());
        assert_eq!(status.borrow().state, State::Leaving);
        assert_eq!(status.borrow().online, []);
    }
}
