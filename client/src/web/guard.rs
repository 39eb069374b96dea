//! Who may ask, and what browsers may do with the answers.
//!
//! A page that the developer happens to visit must learn nothing and change nothing here, though its browser
//! runs on this machine, and neither must other users of this machine. Four fences, each enough against some
//! of it:
//!
//! 1. `Host` must be an address of ours: a name that was made to point here (DNS rebinding) is not.
//! 2. `Origin`, where it is said, must be ours, and `Sec-Fetch-Site` may not say that another site asks.
//! 3. The API needs the key of this start, which a file of the same user has, and our page in exchange for the
//!    word of a [link](crate::sign_in).
//! 4. The answers allow no reading across origins, no frames, and no script but ours.
//!
//! With a password the browser says that instead of the word, and the key is needed only by what changes
//! something. After ten wrong ones from an address none is looked at that comes from there, until a minute has
//! gone by since the first.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use data_encoding::{BASE64, HEXLOWER};
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, ORIGIN, REFERRER_POLICY,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use ngrnotok_common::failures::{Failures, Verdict};
use ngrnotok_common::hostname::HostPort;
use ngrnotok_common::secret::Secret;
use tracing::warn;

use super::problem::Problem;
use crate::ports;
use crate::sign_in::SignIn;

/// Carries the key.
pub(crate) const KEY: HeaderName = HeaderName::from_static("x-ngrnotok-key");

/// What decides whether a request is let in.
#[derive(Debug)]
pub(super) struct Guard {
    address: SocketAddr,
    key: Secret,
    password: Option<Secret>,
    /// Wrong passwords.
    failures: Mutex<Failures>,
    sign_in: SignIn,
}

impl Guard {
    /// One for a listener at `address`, with a key of its own.
    pub(super) fn new(address: SocketAddr, password: Option<Secret>) -> Self {
        let key = Secret::new(random());
        let page = page_at(address);
        let sign_in = match password {
            Some(_) => SignIn::by_password(page, key.clone()),
            None => SignIn::by_link(page, key.clone()),
        };
        Self {
            address,
            key,
            password,
            failures: Mutex::default(),
            sign_in,
        }
    }

    pub(super) fn key(&self) -> &Secret {
        &self.key
    }

    /// The key for the page to begin with: where a password is asked for, who has the page has given it.
    pub(super) fn key_in_page(&self) -> &str {
        self.password.as_ref().map_or("", |_| self.key.expose())
    }

    pub(super) fn sign_in(&self) -> &SignIn {
        &self.sign_in
    }

    fn check(&self, request: &Request) -> Result<(), Problem> {
        let fields = request.headers();
        let host = one(fields, &HOST).ok_or_else(|| self.foreign_host())?;
        let named = request.uri().authority().map_or(host, Authority::as_str);
        if named != host || !self.is_ours(host) {
            return Err(self.foreign_host());
        }
        let ours = |origin: &HeaderValue| {
            let origin = origin.to_str().ok().and_then(|o| o.strip_prefix("http://"));
            origin == Some(host)
        };
        if !fields.get_all(ORIGIN).iter().all(ours) || from_elsewhere(request) {
            return Err(foreign_page());
        }
        if !self.has_key(fields) {
            self.check_password(request)?;
        }
        Ok(())
    }

    /// Looks for the password, unless too many wrong ones have come from the same address.
    fn check_password(&self, request: &Request) -> Result<(), Problem> {
        let Some(password) = &self.password else {
            return Ok(());
        };
        let ConnectInfo(peer) = *request
            .extensions()
            .get::<ConnectInfo<SocketAddr>>()
            .expect("the server tells whose connection it is");
        let given = request.headers().contains_key(AUTHORIZATION);
        if given && let Some(left) = self.failures().shut_out(peer.ip()) {
            return Err(Problem::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_failures",
                "Too many wrong passwords have come from this address",
                "Wait as long as Retry-After says, and give the right one.",
            )
            .retry_after(left));
        }
        if knows(request.headers(), password) {
            return Ok(());
        }
        if given && self.failures().note(peer.ip()) == Verdict::LastFree {
            warn!(address = %peer.ip(), "many wrong passwords for the web interface within a minute; more of them are answered 429");
        }
        Err(Problem::new(
            StatusCode::UNAUTHORIZED,
            "password_missing",
            "This web interface has a password",
            "Give it with any user name. It is in the file that --web-password-file names, or in NGRNOTOK_WEB_PASSWORD.",
        ))
    }

    fn failures(&self) -> MutexGuard<'_, Failures> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_key(&self, fields: &HeaderMap) -> bool {
        let key = fields.get(KEY);
        key.is_some_and(|key| same(key.as_bytes(), &self.key))
    }

    /// Who asks the API.
    fn asker(&self, request: &Request) -> Asker {
        if self.has_key(request.headers()) {
            return Asker::Known;
        }
        let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
        match peer {
            _ if changes => Asker::Unknown,
            // It has been said.
            _ if self.password.is_some() => Asker::Known,
            Some(&ConnectInfo(peer)) if lists_tunnels(request.uri().path()) => Asker::At(peer),
            _ => Asker::Unknown,
        }
    }

    /// Whether a program of our own user, or root, has the other end of a connection; `None` where the system
    /// does not tell.
    pub(super) async fn is_from_our_user(&self, peer: SocketAddr) -> Option<bool> {
        let address = self.address;
        // The tables of a machine with many connections are long.
        let owner = tokio::task::spawn_blocking(move || ports::owner_of(peer, address));
        let owner = owner.await.ok()??;
        Some(owner == 0 || ports::own_user() == Some(owner))
    }

    /// Whether the other end of a connection may have the key for a word: a program of our own user, or root.
    /// Anybody's program where the system has no list of sockets.
    pub(super) async fn may_sign_in(&self, peer: SocketAddr) -> bool {
        let ours = self.is_from_our_user(peer).await;
        // A stranger who half closes the connection is in the list without an owner.
        ours.unwrap_or_else(|| !ports::are_listed())
    }

    /// Whether a `Host` names this listener. Names other than `localhost` can be made to point anywhere by
    /// whoever owns them; numbers cannot.
    fn is_ours(&self, host: &str) -> bool {
        let Ok(host) = HostPort::parse(host) else {
            return false;
        };
        let port = host.port.unwrap_or(80);
        let (local, ip) = (host.is_loopback(), host.host.parse::<IpAddr>().ok());
        if self.address.ip().is_unspecified() {
            // A container's port is another one outside.
            return local || ip.is_some();
        }
        port == self.address.port()
            && (ip == Some(self.address.ip()) || local && self.address.ip().is_loopback())
    }

    fn foreign_host(&self) -> Problem {
        Problem::new(
            StatusCode::FORBIDDEN,
            "foreign_host",
            "This web interface is not under that name",
            format!("Ask for http://{}/ instead.", self.address),
        )
    }
}

/// Who asks the API.
enum Asker {
    /// One who may.
    Known,
    /// One who may not.
    Unknown,
    /// One who may if it is a program of our own user.
    At(SocketAddr),
}

/// What to open in a browser of this machine.
fn page_at(mut address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        address.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    format!("http://{address}/")
}

/// What programs that were made for ngrok ask without a key, to find a URL. Nothing that was recorded is in
/// the answers.
fn lists_tunnels(path: &str) -> bool {
    let rest = path.strip_prefix("/api/tunnels");
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn foreign_page() -> Problem {
    Problem::new(
        StatusCode::FORBIDDEN,
        "foreign_page",
        "Pages of other sites may not ask here",
        "Open the address of this web interface itself, or ask from a program that sends no Origin.",
    )
}

/// Whether a browser says that another site makes it ask. It may follow a link to the page itself.
fn from_elsewhere(request: &Request) -> bool {
    let says = |name: &'static str| {
        let value = request.headers().get(name)?;
        Some(value.as_bytes())
    };
    match says("sec-fetch-site") {
        None | Some(b"none" | b"same-origin") => false,
        Some(_) => {
            let follows_a_link = request.method() == Method::GET
                && request.uri().path() == "/"
                && says("sec-fetch-mode") == Some(b"navigate")
                && says("sec-fetch-dest") == Some(b"document");
            !follows_a_link
        }
    }
}

/// The only value of a field.
fn one<'a>(fields: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut all = fields.get_all(name).iter();
    let value = all.next()?.to_str().ok()?;
    all.next().is_none().then_some(value)
}

fn knows(fields: &HeaderMap, password: &Secret) -> bool {
    let given = || {
        let value = one(fields, &AUTHORIZATION)?;
        let packed = value.strip_prefix("Basic ")?;
        let pair = BASE64.decode(packed.trim().as_bytes()).ok()?;
        let colon = pair.iter().position(|&byte| byte == b':')?;
        Some(pair[colon + 1..].to_vec())
    };
    given().is_some_and(|given| same(&given, password))
}

fn same(given: &[u8], wanted: &Secret) -> bool {
    verify_slices_are_equal(given, wanted.expose().as_bytes()).is_ok()
}

/// A word that nobody guesses.
pub(super) fn random() -> String {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system has random numbers");
    HEXLOWER.encode(&bytes)
}

/// Puts the guard around what is served.
pub(super) fn around(guard: Arc<Guard>, app: Router) -> Router {
    app.layer(from_fn_with_state(guard, stand))
}

/// Lets those into the API who have the key.
pub(super) async fn need_key(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Response {
    let may = match guard.asker(&request) {
        Asker::Known => true,
        Asker::Unknown => false,
        Asker::At(peer) => guard.is_from_our_user(peer).await == Some(true),
    };
    match may {
        true => next.run(request).await,
        false => key_missing().into_response(),
    }
}

fn key_missing() -> Problem {
    Problem::new(
        StatusCode::FORBIDDEN,
        "key_missing",
        "The key of this start is missing",
        "Send it in the field X-Ngrnotok-Key. It stands in the folder web of ngrnotok's state folder, in the file named after the port. A browser has it from a link that ngrnotok status prints.",
    )
}

async fn stand(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let mut answer = match guard.check(&request) {
        Ok(()) => next.run(request).await,
        Err(problem) => {
            let asks = problem.code() == "password_missing";
            let mut answer = problem.into_response();
            if asks {
                let basic = HeaderValue::from_static("Basic realm=\"ngrnotok\", charset=\"UTF-8\"");
                answer.headers_mut().insert(WWW_AUTHENTICATE, basic);
            }
            answer
        }
    };
    let fields = answer.headers_mut();
    for (name, value) in FENCES {
        fields
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    answer
}

const FENCES: [(HeaderName, &str); 7] = [
    // Captured HTML is shown in a frame without an origin, filled by our script.
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
         img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "no-referrer"),
    (CACHE_CONTROL, "no-store"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
];
