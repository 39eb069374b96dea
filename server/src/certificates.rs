//! Certificates that run out while the server runs, or that nobody accepts.

use std::convert::Infallible;
use std::time::{Duration, SystemTime};

use ngrnotok_certs::Identities;
use tokio::time::sleep;
use tracing::warn;

/// From one warning to the next: a day.
const PAUSE: Duration = Duration::from_hours(24);

/// How often the clock is looked at: every hour. It may be set, and it goes on while the machine sleeps.
const LOOK: Duration = Duration::from_hours(1);

/// Warns of what visitors of these hosts refuse, or soon will: at once and then every day.
pub(crate) async fn watch(identities: &Identities, hosts: &[String]) -> Infallible {
    loop {
        let now = SystemTime::now();
        for flaw in identities.flaws(hosts, now) {
            warn!("{flaw}");
        }
        while now.elapsed().is_ok_and(|since| since < PAUSE) {
            sleep(LOOK).await;
        }
    }
}
