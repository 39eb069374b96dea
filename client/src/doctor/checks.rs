//! The checks, in the order of the way: configuration, server, token, local apps.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use ngrnotok_certs::flaws::flaws;
use ngrnotok_certs::validity::span;

use super::{Report, State};
use crate::config::{self, ConfigError, Wishes, summary};
use crate::connect::{ConnectError, Connector};
use crate::local::Target;
use crate::local::explain::spoken;
use crate::login::{self, LoginError};
use crate::settings::Settings;

const CONFIGURATION: &str = "configuration";
const DNS: &str = "dns";
const REACHABILITY: &str = "reachability";
const TLS: &str = "tls";
const CLOCK: &str = "clock";
const TOKEN: &str = "token";
const VERSIONS: &str = "versions";
const VISITORS: &str = "visitors";

/// What has to do with a server.
const OF_THE_SERVER: [&str; 7] = [DNS, REACHABILITY, TLS, VISITORS, CLOCK, TOKEN, VERSIONS];

/// A clock that is wrong by more than this is in the way of certificates and tokens sooner or later.
const CLOCK_LIMIT: Duration = Duration::from_secs(60);

/// A certificate that expires within this time should be renewed: two weeks.
const EXPIRY_LIMIT: Duration = Duration::from_secs(14 * 24 * 3600);

/// Looks at everything that can be looked at. Nothing is changed by it.
pub async fn examine(named: Option<PathBuf>, given: Settings) -> Report {
    let mut report = Report::new();
    let wishes = match configuration(named, given) {
        Ok(wishes) => wishes,
        Err(error) => {
            report.fail(
                CONFIGURATION,
                error.to_string(),
                "Mend it; ngrnotok config check says the same and no more.",
            );
            report.skip(&OF_THE_SERVER, "the configuration is not good");
            return report;
        }
    };
    report.good(CONFIGURATION, place(&wishes));
    // It has been made before, to see whether it can be.
    match config::connector(&wishes.settings) {
        Ok(Some(connector)) => server(&mut report, connector, &wishes).await,
        _ => report.skip(
            &OF_THE_SERVER,
            "no server is configured, everything stays on this machine",
        ),
    }
    for (name, words) in &wishes.settings.tunnels {
        if let Ok(target) = config::target(words) {
            local(&mut report, name, &target).await;
        }
    }
    report
}

fn configuration(named: Option<PathBuf>, given: Settings) -> Result<Wishes, ConfigError> {
    let wishes = Wishes::read(named, given)?;
    wishes.start_log()?;
    // It reads every file that is named.
    summary::of(&wishes)?;
    Ok(wishes)
}

fn place(wishes: &Wishes) -> String {
    let file = match &wishes.file {
        Some(file) => file.path.display().to_string(),
        None => "no config file".to_owned(),
    };
    match wishes.settings.tunnels.len() {
        0 => file,
        1 => format!("{file}, 1 tunnel"),
        tunnels => format!("{file}, {tunnels} tunnels"),
    }
}

/// From its name to the token.
async fn server(report: &mut Report, connector: Connector, wishes: &Wishes) {
    let told = |report: &mut Report, component, error: &ConnectError| {
        report.fail(component, error.to_string(), format!("{}.", error.hint()));
    };
    match connector.addresses().await {
        Ok(Some(addresses)) => {
            let mut ips: Vec<String> = addresses.iter().map(|a| a.ip().to_string()).collect();
            ips.dedup();
            report.good(DNS, format!("the server is at {}", ips.join(", ")));
        }
        Ok(None) => report.skip(&[DNS], "a proxy is on the way"),
        Err(error) => {
            told(report, DNS, &error);
            return report.skip(&OF_THE_SERVER[1..], "the server cannot be found");
        }
    }
    let reached = match connector.reached().await {
        Ok(reached) => reached,
        Err(error) => {
            told(report, REACHABILITY, &error);
            return report.skip(&OF_THE_SERVER[2..], "the server cannot be reached");
        }
    };
    let through = connector.proxy().map(|proxy| format!(" through {proxy}"));
    let through = through.unwrap_or_default();
    report.good(
        REACHABILITY,
        format!("{} accepts connections{through}", connector.server()),
    );
    let secured = match connector.secured(reached).await {
        Ok(secured) => secured,
        Err(error) => {
            told(report, TLS, &error);
            return report.skip(&OF_THE_SERVER[3..], "there is no TLS with the server");
        }
    };
    tls(report, secured.expires, &wishes.settings);
    visitors(report, &connector, &wishes.settings).await;
    match connector.time(secured).await {
        Ok(time) => clock(report, time, SystemTime::now()),
        Err(error) => {
            told(report, CLOCK, &error);
            return report.skip(&OF_THE_SERVER[5..], "the server does not answer");
        }
    }
    token(report, connector, &wishes.settings).await;
}

fn tls(report: &mut Report, expires: Option<SystemTime>, settings: &Settings) {
    let known = match (&settings.server_ca, &settings.server_pin) {
        (Some(_), _) => "the server is known by its authority",
        (None, Some(_)) => "the server is known by its key",
        (None, None) => "the server's certificate is trusted by this machine",
    };
    // Of a key that is pinned the certificate does not matter.
    let left = match settings.server_pin {
        Some(_) => None,
        None => expires.map(|at| at.duration_since(SystemTime::now()).unwrap_or_default()),
    };
    match left {
        Some(left) if left < EXPIRY_LIMIT => report.warn(
            TLS,
            format!("{known}, and it expires in {}", span(left)),
            "Ask the server's operator to renew it.",
        ),
        Some(left) => report.good(TLS, format!("{known}, for {} more", span(left))),
        None => report.good(TLS, known),
    }
}

/// What visitors are shown for names under the server's domain, and for hosts of the user's own. The domain is
/// taken to be what the server is called, unless it says that it is not.
async fn visitors(report: &mut Report, connector: &Connector, settings: &Settings) {
    let mut hosts: Vec<String> = connector
        .domain()
        .map(|domain| format!("*.{domain}"))
        .into_iter()
        .collect();
    let names = settings
        .tunnels
        .values()
        .filter_map(|words| words.name.as_ref());
    hosts.extend(names.filter(|name| name.is_host()).map(ToString::to_string));
    let (mut good, mut flawed) = (Vec::new(), false);
    for host in hosts {
        let asked = host.replacen('*', "ngrnotok-doctor", 1);
        let Ok(Some(chain)) = connector.shown_to_visitors(&asked).await else {
            continue;
        };
        let flaws = flaws(&chain, Some(&host), SystemTime::now());
        if flaws.is_empty() {
            good.push(host);
            continue;
        }
        flawed = true;
        for flaw in flaws {
            report.warn(
                VISITORS,
                format!("the certificate that visitors of {host} are shown {flaw}"),
                format!("The server's operator can mend it: {}.", flaw.cure()),
            );
        }
    }
    match good.is_empty() {
        false => report.good(
            VISITORS,
            format!("they are shown a certificate for {}", good.join(", ")),
        ),
        true if flawed => {}
        true => report.skip(&[VISITORS], "it is not known where they come in"),
    }
}

fn clock(report: &mut Report, server: Option<SystemTime>, ours: SystemTime) {
    let Some(server) = server else {
        return report.skip(&[CLOCK], "the server does not tell the time");
    };
    let (by, way) = match ours.duration_since(server) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    if by <= CLOCK_LIMIT {
        return report.good(CLOCK, "as the server's, within a minute");
    }
    report.warn(
        CLOCK,
        format!("{} {way} the server's", span(by)),
        "Set the clock of this machine, or the server's; certificates and tokens expire by it.",
    );
}

async fn token(report: &mut Report, connector: Connector, settings: &Settings) {
    let token = match config::token(settings) {
        Ok(token) => token,
        Err(error) => {
            report.fail(TOKEN, error.to_string(), "Log in with: ngrnotok login.");
            return report.skip(&[VERSIONS], "there is no session with the server");
        }
    };
    let whose = match token {
        Some(_) => "accepted",
        None => "none, and the server wants none",
    };
    match login::try_out(connector, token).await {
        Ok(Some(session)) => {
            report.good(TOKEN, format!("{whose}, account {}", session.account));
            versions(report, &session.server_version);
        }
        Ok(None) => {
            report.good(TOKEN, "accepted; all the links that it may have are in use");
            report.skip(&[VERSIONS], "there is no session with the server");
        }
        Err(error) => {
            let text = match &error {
                LoginError::Client(error) => error.to_string(),
                error => error.to_string(),
            };
            report.add(TOKEN, State::Fail, text, None);
            report.skip(&[VERSIONS], "there is no session with the server");
        }
    }
}

fn versions(report: &mut Report, server: &str) {
    let ours = env!("CARGO_PKG_VERSION");
    let both = format!("client {ours}, server {server}");
    // Both ends of a version understand each other, whatever its last number.
    let line = |version: &str| version.rsplit_once('.').map(|(line, _)| line.to_owned());
    match line(ours) == line(server) {
        true => report.good(VERSIONS, both),
        false => report.warn(
            VERSIONS,
            both,
            "Update the older of the two when you can; what both know works.",
        ),
    }
}

async fn local(report: &mut Report, name: &str, target: &Target) {
    let component = format!("tunnel {name}");
    let listens = match target {
        Target::Hello => return report.good(&component, "the hello page needs no app"),
        #[cfg(unix)]
        Target::Unix(path) => tokio::net::UnixStream::connect(path).await.is_ok(),
        target => spoken::accepts(target).await,
    };
    match listens {
        true => report.good(&component, format!("{target} accepts connections")),
        false => report.warn(
            &component,
            format!("nothing listens on {target}"),
            "Start the app, or name the port that it listens on.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_clock(server_ahead: i64) -> (State, String) {
        let ours = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let server = Duration::from_secs((1_000_000 + server_ahead).unsigned_abs());
        let mut report = Report::new();
        clock(&mut report, Some(SystemTime::UNIX_EPOCH + server), ours);
        let check = report.checks.remove(0);
        (check.state, check.detail)
    }

    #[test]
    fn a_clock_may_be_wrong_by_a_minute() {
        assert_eq!(of_clock(59).0, State::Ok);
        assert_eq!(of_clock(-59).0, State::Ok);
        let behind = (State::Warn, "7 minutes behind the server's".to_owned());
        assert_eq!(of_clock(420), behind);
        let ahead = (State::Warn, "3 hours ahead of the server's".to_owned());
        assert_eq!(of_clock(-3 * 3600), ahead);
    }

    #[test]
    fn a_certificate_is_warned_of_before_it_expires() {
        let mut report = Report::new();
        for days in [13, 15] {
            let expires = SystemTime::now() + Duration::from_secs(days * 86_400 + 60);
            tls(&mut report, Some(expires), &Settings::default());
        }
        let states: Vec<State> = report.checks.iter().map(|check| check.state).collect();
        assert_eq!(states, [State::Warn, State::Ok]);
        assert!(report.checks[0].detail.ends_with("expires in 13 days"));
    }

    #[test]
    fn versions_differ_by_more_than_their_last_number() {
        let mut report = Report::new();
        let (ours, _) = env!("CARGO_PKG_VERSION").rsplit_once('.').unwrap();
        versions(&mut report, &format!("{ours}.99"));
        versions(&mut report, "99.0.0");
        let states: Vec<State> = report.checks.iter().map(|check| check.state).collect();
        assert_eq!(states, [State::Ok, State::Warn]);
    }
}
