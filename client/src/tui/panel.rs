//! What the panel knows, and what a key changes of it.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::entry::Entry;
use super::keys::Wish;
use super::theme::Theme;
use crate::connections::Numbers;
use crate::inspect::{Exchange, ExchangeId};
use crate::output::Opening;
use crate::requests::Happening;
use crate::sign_in::SignIn;
use crate::status::{OnlineTunnel, SessionStatus, State, Status};

/// How many requests can be gone through.
pub(super) const MOST_ENTRIES: usize = 500;

/// How many hints are shown.
const MOST_HINTS: usize = 3;

/// How long a notice stands: 5 s.
const NOTICE: Duration = Duration::from_secs(5);

/// The whole of it.
#[derive(Debug)]
pub(super) struct Panel {
    pub(super) theme: Theme,
    pub(super) opening: Opening,
    pub(super) status: Status,
    /// The session, or the last one.
    pub(super) session: Option<SessionStatus>,
    /// The tunnels that are online, or were when the link was lost, in the order to show them.
    pub(super) tunnels: Vec<OnlineTunnel>,
    pub(super) numbers: Numbers,
    pub(super) latency: Option<Duration>,
    /// What to open to look at requests in a browser.
    pub(super) web: Option<String>,
    pub(super) hints: VecDeque<String>,
    /// Newest first.
    pub(super) entries: VecDeque<Entry>,
    /// Requests that came too fast to be listed.
    pub(super) missed: u64,
    /// Which of the tunnels the keys speak of.
    pub(super) chosen: usize,
    /// The key of the entry that is marked.
    pub(super) marked: Option<u64>,
    pub(super) page: Page,
    pub(super) notice: Option<(String, Instant)>,
    /// When visitors could come for the first time.
    pub(super) since: Option<Instant>,
    /// Height of what a key scrolls through, as last drawn.
    pub(super) room: usize,
    unrecorded: u64,
}

/// What is on the screen.
#[derive(Debug)]
pub(super) enum Page {
    /// The session and its requests.
    Overview,
    /// One request.
    Exchange(Box<Look>),
    /// What the keys are.
    Help,
    /// A URL as a QR code.
    Qr,
}

/// A look at an exchange.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) exchange: Exchange,
    /// Lines that have been scrolled away.
    pub(super) scrolled: usize,
    /// Its lines beyond the screen, as last drawn.
    pub(super) beyond: usize,
    pub(super) secrets: bool,
}

/// What is to be done for a key outside the panel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Errand {
    Leave,
    Suspend,
    Redraw,
    /// A look at this exchange.
    Look(ExchangeId),
    Resend(ExchangeId),
    Open(String),
    Copy(String),
}

impl Panel {
    pub(super) fn new(opening: Opening, theme: Theme) -> Self {
        Self {
            theme,
            opening,
            status: Status::default(),
            session: None,
            tunnels: Vec::new(),
            numbers: Numbers::default(),
            latency: None,
            web: None,
            hints: VecDeque::new(),
            entries: VecDeque::new(),
            missed: 0,
            chosen: 0,
            marked: None,
            page: Page::Overview,
            notice: None,
            since: None,
            room: 1,
            unrecorded: 0,
        }
    }

    pub(super) fn set_status(&mut self, status: Status) {
        if let Some(session) = &status.session {
            self.session = Some(session.clone());
        }
        let serves = match status.state {
            State::Online => true,
            // A link may be on its way out before there is anything on it.
            State::Draining => !status.online.is_empty(),
            _ => false,
        };
        if serves {
            self.since.get_or_insert_with(Instant::now);
            let chosen = self.tunnel().map(|tunnel| tunnel.name.clone());
            self.tunnels.clone_from(&status.online);
            let opening = &self.opening;
            self.tunnels.sort_by_key(|tunnel| opening.place(tunnel));
            let is_chosen = |tunnel: &OnlineTunnel| Some(&tunnel.name) == chosen.as_ref();
            self.chosen = self.tunnels.iter().position(is_chosen).unwrap_or(0);
        }
        self.status = status;
        self.age();
    }

    /// Visitors can come.
    pub(super) fn is_online(&self) -> bool {
        matches!(self.status.state, State::Online | State::Draining)
    }

    /// Takes note of what changes by itself.
    pub(super) fn age(&mut self) {
        let session = self.session.as_ref().filter(|_| self.is_online());
        self.latency = session.and_then(|session| session.latency.last());
        self.web = self.opening.page();
        let over = |notice: &(String, Instant)| notice.1 <= Instant::now();
        self.notice.take_if(|notice| over(notice));
    }

    /// Whether anything on the screen ages.
    pub(super) fn ages(&self) -> bool {
        !matches!(self.status.state, State::Ended { .. })
    }

    pub(super) fn happening(&mut self, happening: &Happening, recorded: bool) {
        match happening {
            Happening::Request(_) if recorded => {}
            Happening::Request(seen) => {
                self.unrecorded += 1;
                self.entries.push_front(Entry::seen(seen, self.unrecorded));
                self.entries.truncate(MOST_ENTRIES);
            }
            Happening::Hint(hint) => {
                let text = hint.explanation.to_string();
                self.hints.retain(|known| *known != text);
                self.hints.push_back(text);
                if self.hints.len() > MOST_HINTS {
                    self.hints.pop_front();
                }
            }
        }
    }

    pub(super) fn tell(&mut self, notice: impl Into<String>) {
        self.notice = Some((notice.into(), Instant::now() + NOTICE));
    }

    /// Opens the look at an exchange, where its beginning is to be read.
    pub(super) fn look(&mut self, exchange: Option<Exchange>) {
        let Some(exchange) = exchange else {
            self.tell("that request is no longer kept");
            return;
        };
        let mut look = Look {
            exchange,
            scrolled: 0,
            beyond: 0,
            secrets: false,
        };
        if let Page::Exchange(before) = &self.page {
            look.secrets = before.secrets;
        }
        self.marked = Some(look.exchange.id.0);
        self.page = Page::Exchange(Box::new(look));
    }

    /// The tunnel that the keys speak of.
    pub(super) fn tunnel(&self) -> Option<&OnlineTunnel> {
        self.tunnels.get(self.chosen)
    }

    /// The place of the entry that is marked.
    pub(super) fn place(&self) -> Option<usize> {
        let marked = self.marked?;
        self.entries.iter().position(|entry| entry.key == marked)
    }

    fn mark(&mut self, place: usize) {
        let last = self.entries.len().saturating_sub(1);
        self.marked = self.entries.get(place.min(last)).map(|entry| entry.key);
    }

    /// Does what a key is for, or says what is to be done for it.
    pub(super) fn wish(&mut self, wish: Wish) -> Option<Errand> {
        match wish {
            Wish::Leave => return Some(Errand::Leave),
            Wish::Suspend => return Some(Errand::Suspend),
            Wish::Redraw => return Some(Errand::Redraw),
            Wish::Open => return self.url().map(Errand::Open),
            Wish::Inspect => return self.link().map(Errand::Open),
            Wish::Copy => return self.url().map(Errand::Copy),
            Wish::Help => {
                self.page = match self.page {
                    Page::Help => Page::Overview,
                    _ => Page::Help,
                }
            }
            Wish::Qr => self.qr(),
            Wish::NextTunnel => self.choose(1),
            Wish::Resend => return self.resend(),
            Wish::Back => match self.page {
                Page::Overview => self.marked = None,
                _ => self.page = Page::Overview,
            },
            _ => return self.go(wish),
        }
        None
    }

    /// Moves about on the page.
    fn go(&mut self, wish: Wish) -> Option<Errand> {
        let page = i32::try_from(self.room).unwrap_or(1).max(1);
        let lines = match wish {
            Wish::Move(lines) => lines,
            Wish::Page(pages) => pages * page,
            Wish::First => i32::MIN,
            Wish::Last => i32::MAX,
            _ => 0,
        };
        match &mut self.page {
            Page::Overview if wish == Wish::Enter => return self.enter(),
            Page::Overview => match self.place() {
                _ if lines == 0 => {}
                None if lines < 0 && wish != Wish::First => {}
                None if wish == Wish::Move(1) => self.mark(0),
                None => self.mark(moved(0, lines)),
                Some(0) if wish == Wish::Move(-1) => self.marked = None,
                Some(place) => self.mark(moved(place, lines)),
            },
            Page::Exchange(look) => match wish {
                Wish::Beside(step) => {
                    let place = self.place()?;
                    self.mark(moved(place, step));
                    return self.enter();
                }
                Wish::Secrets => look.secrets = !look.secrets,
                Wish::Enter => self.page = Page::Overview,
                _ => look.scrolled = moved(look.scrolled, lines).min(look.beyond),
            },
            Page::Help => self.page = Page::Overview,
            Page::Qr => match wish {
                Wish::Beside(step) => self.choose(step),
                _ => self.page = Page::Overview,
            },
        }
        None
    }

    fn enter(&mut self) -> Option<Errand> {
        let place = self.place().unwrap_or(0);
        let entry = self.entries.get(place)?;
        let recorded = entry.recorded;
        if recorded.is_none() {
            self.tell("requests are not recorded, so there is no more to see of it");
        }
        recorded.map(Errand::Look)
    }

    fn resend(&mut self) -> Option<Errand> {
        if let Page::Exchange(look) = &self.page {
            return Some(Errand::Resend(look.exchange.id));
        }
        let Some(place) = self.place() else {
            self.tell("choose a request first, with ↑ and ↓");
            return None;
        };
        match self.entries[place].recorded {
            Some(id) => Some(Errand::Resend(id)),
            None => {
                self.tell("requests are not recorded, so it cannot be sent again");
                None
            }
        }
    }

    fn choose(&mut self, step: i32) {
        if let Ok(tunnels @ 1..) = i32::try_from(self.tunnels.len()) {
            let chosen = i32::try_from(self.chosen).unwrap_or(0);
            self.chosen = usize::try_from((chosen + step).rem_euclid(tunnels)).unwrap_or(0);
        }
    }

    fn url(&mut self) -> Option<String> {
        let Some(tunnel) = self.tunnel() else {
            self.tell("there is no URL yet");
            return None;
        };
        let url = tunnel.web_url();
        if url.is_none() {
            self.tell("the server's URL is none of a web page under this name");
        }
        url
    }

    /// A link that lets a browser in to the web interface.
    fn link(&mut self) -> Option<String> {
        let link = self.opening.sign_in.as_ref().map(SignIn::new_link);
        if link.is_none() {
            self.tell("there is no web interface");
        }
        link
    }

    fn qr(&mut self) {
        if matches!(self.page, Page::Qr) {
            self.page = Page::Overview;
        } else if self.opening.embedded_port.is_some() {
            self.tell("only this machine can reach the URL: a phone could not");
        } else if self.url().is_some() {
            self.page = Page::Qr;
        }
    }
}

/// A place so many lines away.
fn moved(place: usize, lines: i32) -> usize {
    let by = usize::try_from(lines.unsigned_abs()).unwrap_or(usize::MAX);
    match lines < 0 {
        true => place.saturating_sub(by),
        false => place.saturating_add(by),
    }
}
