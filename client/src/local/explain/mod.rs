//! Why the local app refuses or misbehaves, in the ways that are known, and what mends it.
//!
//! `refusal` knows the words of dev servers, `refused` looks who listens where nobody did, `spoken` finds
//! out what an app speaks that was misunderstood. All of it comes after a failure; what takes time runs
//! beside the requests.

pub mod refusal;
mod refused;
pub(crate) mod spoken;

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use http::HeaderMap;
use http::header::{LOCATION, REFRESH};
use ngrnotok_common::hostname::is_localhost;
use tokio::time::Instant;

use super::http2::MOST;
use super::trouble::Lead;
use super::{Local, Target};

/// What happened, and what mends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// Of which kind it is.
    pub kind: Kind,
    /// What happened, for the middle of a sentence.
    pub what: String,
    /// What to do about it, the same.
    pub fix: String,
}

/// The ways in which apps are known to refuse or misbehave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// It does not know the public host name.
    HostRefused,
    /// It does not know the public origin.
    OriginRefused,
    /// It sends visitors to their own machine.
    RedirectToLocalhost,
    /// It listens on the loopback address of the other family.
    OtherFamily,
    /// It listens on another address of this machine.
    OtherAddress,
    /// Nothing has the port; others are open.
    OtherPort,
    /// It speaks TLS, and plain HTTP was spoken to it.
    SpeaksTls,
    /// It speaks plain HTTP, and TLS was spoken to it.
    SpeaksPlainHttp,
    /// Its certificate is not one that this machine trusts.
    UntrustedCertificate,
    /// It takes fewer requests at once than there are.
    StreamsTaken,
}

impl Kind {
    /// The stable name, lower case with underscores.
    pub fn code(self) -> &'static str {
        match self {
            Self::HostRefused => "host_refused",
            Self::OriginRefused => "origin_refused",
            Self::RedirectToLocalhost => "redirect_to_localhost",
            Self::OtherFamily => "other_loopback_family",
            Self::OtherAddress => "other_address",
            Self::OtherPort => "other_port",
            Self::SpeaksTls => "speaks_tls",
            Self::SpeaksPlainHttp => "speaks_plain_http",
            Self::UntrustedCertificate => "untrusted_certificate",
            Self::StreamsTaken => "streams_taken",
        }
    }
}

/// One sentence without its full stop.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what, self.fix)
    }
}

impl Explanation {
    /// One that an option of a tunnel mends: as it is written for `ngrnotok http`, and in the file.
    fn mended_by(kind: Kind, what: String, option: &str, key: &str) -> Self {
        let fix = format!("start ngrnotok with {option}, or put {key} into the config file");
        Self { kind, what, fix }
    }

    /// One that another target mends.
    fn other_target(kind: Kind, what: String, target: &Target) -> Self {
        let option = format!("the target {target}");
        Self::mended_by(kind, what, &option, &format!("target = \"{target}\""))
    }

    /// One that `--dev` mends.
    fn dev(kind: Kind, what: String) -> Self {
        Self::mended_by(kind, what, "--dev", "dev = true")
    }
}

/// What has been explained of one local app: each kind once.
#[derive(Debug, Default)]
pub(super) struct Told {
    kinds: AtomicU32,
    looked: Mutex<Option<(Instant, Duration)>>,
}

/// A cause that was not found is looked for again after this, and then after twice as long, up to the last.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
const LOOK_AT_LAST: Duration = Duration::from_secs(10);

impl Told {
    fn has(&self, kind: Kind) -> bool {
        self.kinds.load(Ordering::Relaxed) & (1 << kind as u32) != 0
    }

    fn note(&self, kind: Kind) {
        self.kinds.fetch_or(1 << kind as u32, Ordering::Relaxed);
    }

    /// Whether it is time for another look.
    fn may_look(&self) -> bool {
        let now = Instant::now();
        let mut looked = self.looked.lock().expect("nobody panics with it");
        match *looked {
            Some((last, wait)) if now.duration_since(last) < wait => return false,
            Some((_, wait)) => *looked = Some((now, (wait * 2).min(LOOK_AT_LAST))),
            None => *looked = Some((now, LOOK_AGAIN)),
        }
        true
    }
}

impl Local {
    /// Whether this can be the matter with the app, and nobody has been told of it yet.
    pub fn may_be_told(&self, kind: Kind) -> bool {
        let possible = match kind {
            Kind::HostRefused => self.rewrite.keeps_host(),
            Kind::OriginRefused | Kind::RedirectToLocalhost => !self.rewrite.is_dev(),
            Kind::SpeaksTls => matches!(self.target(), Target::Http { .. }),
            Kind::SpeaksPlainHttp | Kind::UntrustedCertificate => {
                matches!(self.target(), Target::Https { .. })
            }
            Kind::OtherFamily | Kind::OtherAddress | Kind::OtherPort | Kind::StreamsTaken => true,
        };
        possible && !self.told.has(kind)
    }

    /// Notes that the developer has been told.
    pub fn was_told(&self, kind: Kind) {
        self.told.note(kind);
    }

    /// What is wrong with an answer that leads visitors to `localhost`, where they will not find the app.
    pub fn explain_redirect(&self, headers: &HeaderMap) -> Option<Explanation> {
        if !self.may_be_told(Kind::RedirectToLocalhost) {
            return None;
        }
        // With a host of its own it may well be reached there.
        if !is_loopback(self.target()) {
            return None;
        }
        let (field, own) = self.rewrite.own_origin_in(headers)?;
        let what = match field {
            field if *field == LOCATION || *field == REFRESH => {
                format!("the app sends visitors to {own}")
            }
            field => format!("the app's field {field} leads visitors to {own}"),
        };
        Some(Explanation::dev(
            Kind::RedirectToLocalhost,
            format!("{what}, which is their own machine"),
        ))
    }

    /// Why requests wait for an app in HTTP/2 that takes so many streams at once.
    pub(super) fn explain_fullness(&self, streams: usize) -> Option<Explanation> {
        self.may_be_told(Kind::StreamsTaken).then(|| Explanation {
            kind: Kind::StreamsTaken,
            what: format!(
                "requests wait, for the app takes {streams} at once on {MOST} connections, and all are open"
            ),
            fix: "let it take more (SETTINGS_MAX_CONCURRENT_STREAMS), or end streams that are not needed".to_owned(),
        })
    }

    /// Looks for the reason behind a failed exchange; at most once a second, and not for what has been
    /// told. It dials nothing but this machine and the target.
    ///
    /// Cancel safety: safe.
    pub async fn explain(&self, lead: Lead) -> Option<Explanation> {
        let kinds: &[Kind] = match lead {
            Lead::Refused => &[Kind::OtherFamily, Kind::OtherAddress, Kind::OtherPort],
            Lead::NotTls => &[Kind::SpeaksPlainHttp],
            Lead::Certificate => &[Kind::UntrustedCertificate],
            Lead::NotHttp => &[Kind::SpeaksTls],
        };
        if !kinds.iter().all(|kind| self.may_be_told(*kind)) || !self.told.may_look() {
            return None;
        }
        let target = self.target();
        match lead {
            Lead::Refused => refused::explain(target).await,
            Lead::NotTls if spoken::plain_http(target, spoken::LIMIT).await => {
                spoken::but_plain(target)
            }
            Lead::NotHttp if spoken::tls(target).await => spoken::but_tls(target),
            Lead::NotTls | Lead::NotHttp => None,
            Lead::Certificate => Some(Explanation::mended_by(
                Kind::UntrustedCertificate,
                format!("the certificate of {target} is not one that this machine trusts"),
                "--insecure-local",
                "insecure-local = true",
            )),
        }
    }
}

/// Whether the app is on this machine and nowhere else.
fn is_loopback(target: &Target) -> bool {
    match target {
        Target::Http { host, .. } | Target::Https { host, .. } => {
            is_localhost(host)
                || host
                    .parse::<std::net::IpAddr>()
                    .is_ok_and(|address| address.is_loopback())
        }
        Target::Unix(_) => true,
        Target::Hello => false,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::{CONTENT_LOCATION, HeaderName, LINK};
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::local::Options;

    fn local(target: &str, options: Options) -> Local {
        Local::new(target.parse().unwrap(), options, TaskTracker::new()).unwrap()
    }

    fn redirected(local: &Local, to: &'static str) -> Option<String> {
        led(local, LOCATION, to)
    }

    fn led(local: &Local, field: HeaderName, to: &'static str) -> Option<String> {
        let fields = [(field, HeaderValue::from_static(to))];
        let explanation = local.explain_redirect(&fields.into_iter().collect())?;
        Some(explanation.to_string())
    }

    #[test]
    fn a_redirect_to_the_apps_own_port_is_explained() {
        let app = local("3000", Options::default());
        for own in [
            "http://localhost:3000/login",
            "http://127.0.0.1:3000",
            "https://localhost/",
            "//0.0.0.0:3000",
        ] {
            let told = redirected(&app, own).unwrap();
            assert!(told.contains("start ngrnotok with --dev"), "{told}");
        }
        for other in ["/login", "http://localhost:30001/", "https://example.org/"] {
            assert_eq!(redirected(&app, other), None);
        }
        for (field, to, what) in [
            (
                REFRESH,
                "0; url=http://localhost:3000/",
                "sends visitors to http://localhost:3000,",
            ),
            (
                LINK,
                "<http://localhost:3000/a>",
                "field link leads visitors to http://localhost:3000,",
            ),
            (
                CONTENT_LOCATION,
                "https://localhost:3000/a",
                "field content-location leads",
            ),
        ] {
            let told = led(&app, field, to).unwrap();
            assert!(told.contains(what), "{told}");
        }
        let elsewhere = local("http://app.test:3000", Options::default());
        assert_eq!(redirected(&elsewhere, "http://app.test:3000/"), None);
    }

    #[test]
    fn nothing_is_explained_twice_or_where_it_is_mended() {
        let app = local("3000", Options::default());
        app.was_told(Kind::RedirectToLocalhost);
        assert_eq!(redirected(&app, "http://localhost:3000/"), None);
        assert!(app.may_be_told(Kind::HostRefused));
        let dev = Options {
            dev: true,
            ..Options::default()
        };
        let mended = local("3000", dev);
        for kind in [
            Kind::RedirectToLocalhost,
            Kind::HostRefused,
            Kind::OriginRefused,
        ] {
            assert!(!mended.may_be_told(kind), "{kind:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_failures_is_looked_into_now_and_then() {
        let told = Told::default();
        for wait in [1, 2, 4, 8, 10, 10] {
            assert!(told.may_look() && !told.may_look());
            tokio::time::advance(Duration::from_secs(wait)).await;
        }
        assert!(told.may_look());
    }
}
