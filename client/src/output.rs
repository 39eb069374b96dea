//! Showing what happens as lines: for people, or one JSON object a line for programs.

use std::io;
use std::time::{Duration, SystemTime};

use indexmap::IndexMap;
use jiff::Zoned;
use ngrnotok_common::hostname::Name;
use ngrnotok_common::id::SessionId;
use ngrnotok_common::printable;
use serde::Serialize;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::warn;

use crate::requests::{Happening, Requests, Seen};
use crate::sign_in::SignIn;
use crate::status::{OnlineTunnel, RefusedTunnel, SessionStatus, State, Status};

/// Lines are written in batches at most this often: a flood of requests must not become a flood of
/// writes.
const BATCH: Duration = Duration::from_millis(50);

/// In which form to show things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// For people.
    Plain,
    /// For programs.
    Json,
}

/// What is known before the first connection.
#[derive(Debug, Clone)]
pub struct Opening {
    /// The server is in this process, on this port; `None`: a remote one.
    pub embedded_port: Option<u16>,
    /// The port is not the usual one, because that was taken.
    pub port_was_taken: bool,
    /// The command that would make the same targets public.
    pub public_command: String,
    /// What the config file calls the tunnels, in the order to show them.
    pub words: IndexMap<Name, String>,
    /// Where to look at what goes through.
    pub web: Option<String>,
    /// What lets a browser in there; `None`: others than the user may read what is shown.
    pub sign_in: Option<SignIn>,
}

impl Opening {
    /// Where a tunnel is shown. Those that a program has opened have no word, and stand behind the others.
    pub(crate) fn place(&self, tunnel: &OnlineTunnel) -> usize {
        self.words.get_index_of(&tunnel.name).unwrap_or(usize::MAX)
    }

    /// What to open in a browser, to look at what goes through.
    pub(crate) fn page(&self) -> Option<String> {
        let link = self.sign_in.as_ref().map(SignIn::shown_link);
        link.or_else(|| self.web.clone())
    }

    /// What is forwarded where there is no tunnel.
    pub(crate) fn nothing_yet(&self) -> String {
        match &self.web {
            Some(web) => format!("nothing yet; open a tunnel with POST {web}api/tunnels"),
            None => "nothing".to_owned(),
        }
    }
}

/// Shows status changes and requests on `out` until the client is gone.
///
/// A reader who does not read holds up nothing but what is shown to it, and lines that cannot be written, as on
/// a disk that is full, are counted. Errors: whoever read `out` has left (a closed pipe).
pub async fn show(
    form: Form,
    opening: Opening,
    mut status: watch::Receiver<Status>,
    mut requests: Requests,
    out: &mut (dyn AsyncWrite + Send + Unpin),
) -> io::Result<()> {
    let mut lines = Lines::new(form, opening);
    lines.begin();
    lines.flush(out).await?;
    loop {
        tokio::select! {
            changed = status.changed() => {
                if changed.is_err() {
                    while let Some(next) = requests.next_now() {
                        lines.happening(&next);
                    }
                    lines.missed(requests.take_missed());
                    return lines.flush(out).await;
                }
                let status = status.borrow_and_update().clone();
                lines.status(status);
                lines.flush(out).await?;
            }
            // Only after the URL: it is the first thing a program wants to read.
            Some(first) = requests.next(), if lines.been_ready => {
                lines.happening(&first);
                while let Some(next) = requests.next_now() {
                    lines.happening(&next);
                }
                lines.missed(requests.take_missed());
                lines.flush(out).await?;
                tokio::time::sleep(BATCH).await;
            }
        }
    }
}

/// One line for programs. These names are a contract: scripts read them.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event<'a> {
    /// The first line, and again after each reconnect: visitors can come.
    Ready {
        url: &'a str,
        target: &'a str,
        name: &'a str,
        /// What the config file calls it.
        #[serde(skip_serializing_if = "Option::is_none")]
        tunnel: Option<&'a str>,
        /// Only this machine can reach the URL.
        local_only: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        account: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        session: Option<SessionId>,
        /// Where to look at what goes through.
        #[serde(skip_serializing_if = "Option::is_none")]
        web: Option<&'a str>,
        version: &'static str,
    },
    /// Somebody else has the name of a tunnel, while others of this client are online.
    Refused {
        name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        tunnel: Option<&'a str>,
        reason: &'a str,
        retry_in_ms: u64,
    },
    /// A tunnel was closed while others, or none, go on.
    Closed {
        url: &'a str,
        name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        tunnel: Option<&'a str>,
    },
    /// The session is there, and there is nothing that visitors can reach until a program opens a tunnel.
    NoTunnels {
        /// Where that can be done.
        #[serde(skip_serializing_if = "Option::is_none")]
        web: Option<&'a str>,
        version: &'static str,
    },
    /// A request whose answer has begun.
    Request {
        /// UTC, RFC 3339 with milliseconds.
        at: Option<String>,
        name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        tunnel: Option<&'a str>,
        method: &'a str,
        /// Without the query, where secrets travel.
        path: &'a str,
        status: u16,
        took_ms: f64,
        /// Why the local app gave no answer.
        #[serde(skip_serializing_if = "Option::is_none")]
        cause: Option<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        detail: Option<&'a str>,
    },
    /// Requests that came too fast to be shown.
    RequestsSkipped { count: u64 },
    /// Lines before this one that standard output did not take.
    LinesLost { count: usize },
    /// A local app refuses or misbehaves in a way that is known.
    Hint {
        /// Which way: a stable word.
        code: &'static str,
        name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        tunnel: Option<&'a str>,
        /// What happened and what mends it.
        text: &'a str,
        /// The latter alone.
        fix: &'a str,
    },
    /// The server asks for another link.
    Draining,
    /// The link is lost.
    Reconnecting { reason: &'a str, retry_in_ms: u64 },
    /// Told to stop; open requests finish.
    Leaving,
}

struct Lines {
    form: Form,
    opening: Opening,
    /// What has been said of the client so far.
    shown: Status,
    /// The tunnels that have been said to be there.
    open: Vec<OnlineTunnel>,
    been_ready: bool,
    text: String,
    /// Lines that could not be written since the last ones that could.
    lost: usize,
}

impl Lines {
    /// Nothing has been said.
    fn new(form: Form, opening: Opening) -> Self {
        Self {
            form,
            opening,
            shown: Status::default(),
            open: Vec::new(),
            been_ready: false,
            text: String::new(),
            lost: 0,
        }
    }

    fn begin(&mut self) {
        if self.form == Form::Plain {
            self.line(concat!("ngrnotok ", env!("CARGO_PKG_VERSION")));
        }
    }

    fn status(&mut self, mut status: Status) {
        let shown = std::mem::replace(&mut self.shown, status.clone());
        if status.state == State::Online {
            self.closed(&status);
        }
        if status.state == shown.state {
            // A name that is refused once more is no news.
            let known = |refused: &RefusedTunnel| {
                let mut before = shown.refused.iter();
                before.any(|before| before.name == refused.name && before.reason == refused.reason)
            };
            status
                .online
                .retain(|tunnel| !shown.online.contains(tunnel));
            status.refused.retain(|refused| !known(refused));
        } else {
            self.state(&status);
            if status.state == State::Online
                && status.online.is_empty()
                && status.refused.is_empty()
            {
                self.no_tunnels();
            }
            if status.state != State::Online {
                // A link that is to be replaced still serves, and that has been said.
                status.online.clear();
                status.refused.clear();
            }
        }
        status
            .online
            .sort_by_key(|tunnel| self.opening.place(tunnel));
        for tunnel in &status.online {
            self.ready(tunnel, status.session.as_ref());
        }
        for refused in &status.refused {
            self.refused(refused);
        }
        if !status.online.is_empty() && !self.been_ready {
            self.been_ready = true;
            if self.form == Form::Plain {
                self.first_hints(status.online.len());
            }
        }
    }

    fn state(&mut self, status: &Status) {
        match self.form {
            Form::Plain => self.plain_state(status),
            Form::Json => self.json_state(&status.state),
        }
    }

    fn plain_state(&mut self, status: &Status) {
        match &status.state {
            State::Connecting => {}
            State::Online => {
                let account = status
                    .session
                    .as_ref()
                    .map_or("", |session| session.account.as_str());
                match self.opening.embedded_port {
                    Some(_) => self.line("Session     online, this machine only"),
                    None => self.line(&format!("Session     online (account {account})")),
                }
            }
            State::Draining => self.line("Session     the server asks for another connection"),
            State::Reconnecting { reason, retry_at } => {
                let again = again(*retry_at);
                self.line(&format!(
                    "Session     offline: {reason}; trying again {again}"
                ));
            }
            State::Leaving => self.line("Session     closing; Ctrl-C again to leave at once"),
            // The program says why.
            State::Ended { .. } => {}
        }
    }

    fn ready(&mut self, tunnel: &OnlineTunnel, session: Option<&SessionStatus>) {
        let OnlineTunnel {
            name, url, target, ..
        } = tunnel;
        let word = self.opening.words.get(name).map(String::as_str);
        let line = match (self.form, word) {
            (Form::Plain, Some(word)) => format!("Forwarding  {url} -> {target} ({word})"),
            (Form::Plain, None) => format!("Forwarding  {url} -> {target}"),
            (Form::Json, _) => json(&Event::Ready {
                url,
                target,
                name: name.as_str(),
                tunnel: word,
                local_only: self.opening.embedded_port.is_some(),
                account: session.map(|session| session.account.as_str()),
                session: session.map(|session| session.id),
                web: self.opening.web.as_deref(),
                version: env!("CARGO_PKG_VERSION"),
            }),
        };
        self.line(&line);
    }

    fn refused(&mut self, refused: &RefusedTunnel) {
        let RefusedTunnel {
            name,
            reason,
            retry_at,
        } = refused;
        let line = match self.form {
            Form::Plain => {
                let again = again(*retry_at);
                format!("Refused     {name}: {reason}; asking again {again}")
            }
            Form::Json => json(&Event::Refused {
                name: name.as_str(),
                tunnel: self.opening.words.get(name).map(String::as_str),
                reason,
                retry_in_ms: millis(left(*retry_at)),
            }),
        };
        self.line(&line);
    }

    /// Tells which tunnels are gone.
    fn closed(&mut self, now: &Status) {
        let before = std::mem::replace(&mut self.open, now.online.clone());
        let is_there = |name: &Name| {
            let mut online = now.online.iter();
            let mut refused = now.refused.iter();
            online.any(|tunnel| tunnel.name == *name) || refused.any(|one| one.name == *name)
        };
        for OnlineTunnel { name, url, .. } in &before {
            if is_there(name) {
                continue;
            }
            let line = match self.form {
                Form::Plain => format!("Closed      {url}"),
                Form::Json => json(&Event::Closed {
                    url,
                    name: name.as_str(),
                    tunnel: self.opening.words.get(name).map(String::as_str),
                }),
            };
            self.line(&line);
        }
    }

    fn no_tunnels(&mut self) {
        self.been_ready = true;
        let line = match self.form {
            Form::Plain => format!("Forwarding  {}", self.opening.nothing_yet()),
            Form::Json => json(&Event::NoTunnels {
                web: self.opening.web.as_deref(),
                version: env!("CARGO_PKG_VERSION"),
            }),
        };
        self.line(&line);
    }

    fn first_hints(&mut self, tunnels: usize) {
        if let Some(page) = self.opening.page() {
            self.line(&format!("Inspect     {page}"));
        }
        let Some(port) = self.opening.embedded_port else {
            return;
        };
        if tunnels == 1 {
            self.line(&format!(
                "            http://127.0.0.1:{port} works too, for programs that cannot resolve *.localhost"
            ));
        }
        if self.opening.port_was_taken {
            self.line(&format!(
                "            port {} is taken by another program, so this is {port}",
                crate::embedded::PORT
            ));
        }
        let command = self.opening.public_command.clone();
        self.line(&format!("Go public   {command}"));
    }

    fn json_state(&mut self, state: &State) {
        let event = match state {
            // A line for each tunnel says that it is online.
            State::Connecting | State::Ended { .. } | State::Online => return,
            State::Draining => Event::Draining,
            State::Reconnecting { reason, retry_at } => Event::Reconnecting {
                reason,
                retry_in_ms: millis(left(*retry_at)),
            },
            State::Leaving => Event::Leaving,
        };
        // A program reads the URL first; before it there is nothing to reconnect to or to leave.
        if self.been_ready {
            self.line(&json(&event));
        }
    }

    fn happening(&mut self, happening: &Happening) {
        match (happening, self.form) {
            (Happening::Request(seen), _) => self.request(seen),
            (Happening::Hint(hint), Form::Plain) => {
                let tunnel = self.tunnel_column(&hint.name);
                self.line(&format!("Hint        {tunnel}{}", hint.explanation));
            }
            (Happening::Hint(hint), Form::Json) => self.line(&json(&Event::Hint {
                code: hint.explanation.kind.code(),
                name: hint.name.as_str(),
                tunnel: self.opening.words.get(&hint.name).map(String::as_str),
                text: &hint.explanation.to_string(),
                fix: &hint.explanation.fix,
            })),
        }
    }

    fn request(&mut self, seen: &Seen) {
        let path = seen.uri.path();
        match self.form {
            Form::Plain => {
                let reason = seen.status.canonical_reason().unwrap_or_default();
                self.line(&format!(
                    "{}  {}{:<7} {:<38} {} {reason:<20} {}",
                    clock(seen.at),
                    self.tunnel_column(&seen.name),
                    seen.method.as_str(),
                    shortened(path, seen.uri.query().is_some()),
                    seen.status.as_u16(),
                    duration(seen.took),
                ));
                if let Some((cause, detail)) = &seen.trouble {
                    self.line(&format!("              {cause}: {detail}. {}", cause.fix()));
                }
            }
            Form::Json => self.line(&json(&Event::Request {
                at: timestamp(seen.at),
                name: seen.name.as_str(),
                tunnel: self.opening.words.get(&seen.name).map(String::as_str),
                method: seen.method.as_str(),
                path,
                status: seen.status.as_u16(),
                took_ms: seen.took.as_secs_f64() * 1000.0,
                cause: seen.trouble.as_ref().map(|(cause, _)| cause.code()),
                detail: seen.trouble.as_ref().map(|(_, detail)| detail.as_str()),
            })),
        }
    }

    /// Which of several tunnels a request came through, in the words of the config file.
    fn tunnel_column(&self, name: &Name) -> String {
        let words = &self.opening.words;
        match (
            words.get(name),
            words.values().map(|word| word.chars().count()).max(),
        ) {
            (Some(word), Some(width)) if words.len() > 1 => format!("{word:<width$}  "),
            _ => String::new(),
        }
    }

    fn missed(&mut self, count: u64) {
        if count == 0 {
            return;
        }
        match self.form {
            Form::Plain => self.line(&format!("              … and {count} more requests")),
            Form::Json => self.line(&json(&Event::RequestsSkipped { count })),
        }
    }

    fn line(&mut self, line: &str) {
        // Much of it is what servers, visitors and apps say.
        self.text.push_str(&printable::line(line));
        self.text.push('\n');
    }

    async fn flush(&mut self, out: &mut (dyn AsyncWrite + Send + Unpin)) -> io::Result<()> {
        if self.text.is_empty() {
            return Ok(());
        }
        let lines = self.text.matches('\n').count();
        if self.lost > 0 {
            self.text.insert_str(0, &self.note_of_lost());
        }
        let written = async {
            out.write_all(self.text.as_bytes()).await?;
            out.flush().await
        };
        let written = written.await;
        self.text.clear();
        match written {
            Ok(()) => self.lost = 0,
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Err(error),
            Err(error) => {
                if self.lost == 0 {
                    warn!(%error, "standard output takes no lines; the tunnel goes on");
                }
                self.lost += lines;
            }
        }
        Ok(())
    }

    /// The last line that was written may have been cut off.
    fn note_of_lost(&self) -> String {
        match self.form {
            Form::Plain => format!("\n              … {} lines are missing here\n", self.lost),
            Form::Json => format!("\n{}\n", json(&Event::LinesLost { count: self.lost })),
        }
    }
}

fn json(event: &Event<'_>) -> String {
    serde_json::to_string(event).expect("strings and numbers serialise")
}

/// The time to a moment, none if it has gone by.
pub(crate) fn left(at: Instant) -> Duration {
    at.saturating_duration_since(Instant::now())
}

/// When something comes that is tried once more.
fn again(at: Instant) -> String {
    match left(at) {
        Duration::ZERO => "now".to_owned(),
        left => format!("in {:.1} s", left.as_secs_f64()),
    }
}

pub(crate) fn clock(at: SystemTime) -> String {
    Zoned::try_from(at).map_or_else(
        |_| "??:??:??.???".to_owned(),
        |at| at.strftime("%H:%M:%S.%3f").to_string(),
    )
}

fn timestamp(at: SystemTime) -> Option<String> {
    let at = jiff::Timestamp::try_from(at).ok()?;
    Some(at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn duration(took: Duration) -> String {
    match took.as_millis() {
        0 => format!("{:.1}ms", took.as_secs_f64() * 1000.0),
        ms @ 1..10_000 => format!("{ms}ms"),
        _ => format!("{:.1}s", took.as_secs_f64()),
    }
}

/// Long paths are cut for the eye. Of a query is said only that there was one: secrets travel in it.
fn shortened(path: &str, has_query: bool) -> String {
    const WIDTH: usize = 100;
    if path.chars().count() > WIDTH {
        let start: String = path.chars().take(WIDTH - 1).collect();
        return format!("{start}…");
    }
    match has_query {
        true => format!("{path}?…"),
        false => path.to_owned(),
    }
}

#[cfg(test)]
mod tests;
