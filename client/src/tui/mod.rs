//! Showing what happens as a panel, when standard output is a terminal.
//!
//! [`Screen`] takes the terminal over and gives it back. `panel` is what is known, `keys` what a key means,
//! `view` draws, and [`show`] has them all meet. Nothing is drawn unless something has changed, then at most
//! ten times a second, and what is drawn waits for the terminal by itself: visitors never do.

mod entry;
mod keys;
mod panel;
mod screen;
mod signals;
mod text;
mod theme;
mod view;

#[cfg(test)]
mod tests;

use std::fmt;
use std::future::{pending, poll_fn};
use std::io;
use std::pin::Pin;
use std::time::Duration;

use crossterm::event::{Event, EventStream};
use data_encoding::BASE64;
use futures_core::Stream as _;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::layout::Rect;
use tokio::io::{AsyncWrite, AsyncWriteExt as _, Stdout};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use self::entry::Entry;
use self::panel::{Errand, MOST_ENTRIES, Page, Panel};
use self::screen::Drawn;
pub use self::screen::Screen;
use self::signals::{Signal, Signals};
use self::theme::Theme;
use crate::browser;
use crate::connections::Connections;
use crate::inspect::{ExchangeId, Recorder};
use crate::output::Opening;
use crate::requests::Requests;
use crate::status::{State, Status};

/// From one drawing to the next at least: 100 ms.
const PACE: Duration = Duration::from_millis(100);

/// How often it is seen whether a number has aged: every second.
const AGE: Duration = Duration::from_secs(1);

/// Sends a recorded request to its app once more; tells which exchange that is, or why not.
pub type Resend = Box<dyn Fn(ExchangeId) -> Result<ExchangeId, String> + Send>;

/// What the panel shows, and whom its keys reach.
pub struct Sources {
    /// What is known before the first connection.
    pub opening: Opening,
    /// The client's state.
    pub status: watch::Receiver<Status>,
    /// The requests that go by, and hints.
    pub requests: Requests,
    /// How much goes through.
    pub connections: Connections,
    /// What is known of each request.
    pub recorder: Recorder,
    /// For `r`; `None`: there is no such thing.
    pub resend: Option<Resend>,
    /// Counts the times that Ctrl-C was pressed, which makes no signal while the panel has the terminal.
    pub interrupts: watch::Sender<u32>,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").finish_non_exhaustive()
    }
}

/// Shows the panel until the client is gone.
///
/// A terminal that takes nothing holds up nothing but itself. Errors: it is gone. Cancel safety: dropping the
/// future gives the terminal back.
pub async fn show(screen: Screen, sources: Sources) -> io::Result<()> {
    let mut show = Show::new(screen, sources)?;
    let shown = show.run().await;
    show.take_stock();
    // What is on its way to the terminal comes before what gives it back.
    let _ = timeout(PACE, show.out.flush()).await;
    shown
}

/// The parts, while they work together.
struct Show {
    panel: Panel,
    sources: Sources,
    terminal: Terminal<CrosstermBackend<Drawn>>,
    drawn: Drawn,
    out: Stdout,
    /// What the terminal has not taken yet.
    unwritten: Vec<u8>,
    unflushed: bool,
    /// Browsers that are being opened.
    jobs: JoinSet<io::Result<()>>,
    /// Changes of what is recorded, and how many there were at the last look.
    recorded: watch::Receiver<u64>,
    revision: u64,
    /// Last of all: it gives the terminal back.
    screen: Screen,
}

impl Show {
    fn new(screen: Screen, sources: Sources) -> io::Result<Self> {
        let drawn = Drawn::default();
        let recorded = sources.recorder.revision();
        let panel = Panel::new(sources.opening.clone(), Theme::of_environment());
        Ok(Self {
            panel,
            sources,
            terminal: Terminal::new(CrosstermBackend::new(drawn.clone()))?,
            drawn,
            out: tokio::io::stdout(),
            unwritten: Vec::new(),
            unflushed: false,
            jobs: JoinSet::new(),
            recorded,
            revision: 0,
            screen,
        })
    }

    async fn run(&mut self) -> io::Result<()> {
        let mut events = Some(EventStream::new());
        let mut signals = Signals::new();
        let mut next = Instant::now();
        // Something is to be drawn; something has happened that the panel has not heard of.
        let (mut dirty, mut news) = (true, false);
        let mut aged = Instant::now() + AGE;
        loop {
            let writes = !self.unwritten.is_empty() || self.unflushed;
            tokio::select! {
                written = write(&mut self.out, &mut self.unwritten, &mut self.unflushed), if writes => written?,
                event = next_event(&mut events) => {
                    dirty = true;
                    match event {
                        Some(Ok(event)) => self.event(&event)?,
                        // Keys are no more; the rest goes on.
                        _ => events = None,
                    }
                }
                signal = signals.next() => match signal {
                    Signal::Resumed => {
                        self.screen.resume()?;
                        self.redraw()?;
                        dirty = true;
                    }
                    // As Ctrl-C pressed twice.
                    Signal::Quit => self.sources.interrupts.send_modify(|times| *times += 2),
                },
                changed = self.sources.status.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    let status = self.sources.status.borrow_and_update().clone();
                    self.panel.set_status(status);
                    (dirty, news) = (true, true);
                }
                // Once something has come, the rest comes along before it is drawn.
                Some(first) = self.sources.requests.next(), if !news => {
                    let is_recorded = self.sources.recorder.is_on();
                    self.panel.happening(&first, is_recorded);
                    (dirty, news) = (true, true);
                }
                Ok(()) = self.recorded.changed(), if !news => (dirty, news) = (true, true),
                Some(opened) = self.jobs.join_next(), if !self.jobs.is_empty() => {
                    if let Ok(Err(error)) = opened {
                        self.panel.tell(format!("no browser can be opened here: {error}"));
                        dirty = true;
                    }
                }
                () = sleep_until(next), if dirty && !writes => {
                    self.catch_up();
                    self.draw()?;
                    (dirty, news) = (false, false);
                    next = Instant::now() + PACE;
                    aged = Instant::now() + AGE;
                }
                () = sleep_until(aged), if !dirty && self.panel.ages() => {
                    aged = Instant::now() + AGE;
                    dirty = self.has_aged();
                }
            }
        }
    }

    fn event(&mut self, event: &Event) -> io::Result<()> {
        let Event::Key(key) = event else {
            // Of another size, everything is drawn anew anyway.
            return Ok(());
        };
        let Some(errand) = keys::wish(*key).and_then(|wish| self.panel.wish(wish)) else {
            return Ok(());
        };
        match errand {
            Errand::Leave => self.sources.interrupts.send_modify(|times| *times += 1),
            Errand::Suspend => {
                self.screen.suspend()?;
                self.redraw()?;
            }
            Errand::Redraw => self.redraw()?,
            Errand::Look(id) => self.panel.look(self.sources.recorder.get(id)),
            Errand::Resend(id) => self.resend(id),
            Errand::Open(url) => {
                // The word of a link is for the browser alone.
                let (shown, _) = url.split_once('#').unwrap_or((&url, ""));
                self.panel.tell(format!("opening {shown}"));
                self.jobs.spawn_blocking(move || browser::open(&url));
            }
            Errand::Copy(url) => {
                let bytes = BASE64.encode(url.as_bytes());
                self.unwritten
                    .extend(format!("\x1b]52;c;{bytes}\x07").bytes());
                self.panel
                    .tell(format!("copied, if this terminal allows it: {url}"));
            }
        }
        Ok(())
    }

    fn resend(&mut self, id: ExchangeId) {
        let Some(resend) = &self.sources.resend else {
            self.panel.tell("requests cannot be sent again here");
            return;
        };
        match resend(id) {
            Ok(new) => {
                self.panel.page = Page::Overview;
                self.panel.marked = Some(new.0);
                self.panel.tell("sent again; Enter looks into it");
            }
            Err(error) => self.panel.tell(error),
        }
    }

    /// Hears of all that has happened.
    fn catch_up(&mut self) {
        let is_recorded = self.sources.recorder.is_on();
        while let Some(next) = self.sources.requests.next_now() {
            self.panel.happening(&next, is_recorded);
        }
        let missed = self.sources.requests.take_missed();
        if !is_recorded {
            self.panel.missed += missed;
        } else {
            self.look_at_records();
        }
        self.panel.numbers = self.sources.connections.numbers();
        self.panel.age();
    }

    fn look_at_records(&mut self) {
        let revision = *self.recorded.borrow_and_update();
        if revision == self.revision {
            return;
        }
        self.revision = revision;
        let newest = self.sources.recorder.newest(None, MOST_ENTRIES);
        self.panel.entries = newest.into_iter().map(Entry::recorded).collect();
        if let Page::Exchange(look) = &mut self.panel.page
            && let Some(exchange) = self.sources.recorder.get(look.exchange.id)
        {
            look.exchange = exchange;
        }
    }

    /// Whether a number on the screen is another one now.
    fn has_aged(&mut self) -> bool {
        let before = (
            self.panel.numbers,
            self.panel.latency,
            self.panel.web.clone(),
            self.panel.notice.is_some(),
        );
        self.panel.numbers = self.sources.connections.numbers();
        self.panel.age();
        let now = (
            self.panel.numbers,
            self.panel.latency,
            self.panel.web.clone(),
            self.panel.notice.is_some(),
        );
        let waits = matches!(self.panel.status.state, State::Reconnecting { .. });
        before != now || waits || !self.panel.status.refused.is_empty()
    }

    fn draw(&mut self) -> io::Result<()> {
        let panel = &mut self.panel;
        self.terminal.draw(|frame| view::draw(frame, panel))?;
        self.unwritten.extend(self.drawn.take());
        self.screen.set_last_words(last_words(&self.panel));
        Ok(())
    }

    /// Whatever the terminal shows, the next drawing is a whole one.
    fn redraw(&mut self) -> io::Result<()> {
        let size = self.terminal.size()?;
        self.terminal.resize(Rect::from(size))
    }

    /// The last words have the last numbers.
    fn take_stock(&mut self) {
        self.catch_up();
        self.screen.set_last_words(last_words(&self.panel));
    }
}

/// What is left to read when the panel is gone: the URLs, and how much came.
fn last_words(panel: &Panel) -> String {
    let Some(since) = panel.since else {
        return String::new();
    };
    let mut words = String::new();
    for tunnel in &panel.tunnels {
        let (url, target) = (text::plain(&tunnel.url), text::plain(&tunnel.target));
        words.push_str(&format!("Forwarding  {url} -> {target}\n"));
    }
    if let State::Reconnecting { reason, .. } = &panel.status.state {
        words.push_str(&format!("Session     offline: {}\n", text::plain(reason)));
    }
    let numbers = panel.numbers;
    let seconds = since.elapsed().as_secs();
    let time = match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    };
    let open = match numbers.opn {
        0 => String::new(),
        open => format!(", {open} still open"),
    };
    words.push_str(&format!("Connections {} in {time}{open}\n", numbers.ttl));
    words
}

/// Writes what there is. Cancel safety: safe, what is written is taken out.
async fn write(
    out: &mut (impl AsyncWrite + Unpin),
    bytes: &mut Vec<u8>,
    unflushed: &mut bool,
) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = out.write(bytes).await?;
        bytes.drain(..written);
        *unflushed = true;
    }
    out.flush().await?;
    *unflushed = false;
    Ok(())
}

async fn next_event(events: &mut Option<EventStream>) -> Option<io::Result<Event>> {
    match events {
        Some(events) => poll_fn(|cx| Pin::new(&mut *events).poll_next(cx)).await,
        None => pending().await,
    }
}
