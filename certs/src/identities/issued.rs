//! A development certificate that never expires while its server runs.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tracing::{error, info};

use super::table::Table;
use crate::dev::{CLOCK_SKEW, DevAuthority, DevError, LEAF_LIFETIME};

/// The age at which a certificate is replaced: 60 of its 90 days.
const OLDEST: Duration = LEAF_LIFETIME.saturating_sub(Duration::from_hours(30 * 24));

/// The latest certificate of a development authority, and what is needed to issue another.
///
/// Each handshake compares its age with the wall clock: a timer would not run while the machine sleeps, and
/// would not notice a clock that is set.
#[derive(Debug)]
pub(super) struct Issued {
    authority: DevAuthority,
    names: Vec<String>,
    last: ArcSwap<Leaf>,
}

#[derive(Debug)]
pub(super) struct Leaf {
    pub(super) table: Table,
    issued: SystemTime,
}

impl Issued {
    pub(super) fn new(
        authority: DevAuthority,
        names: Vec<String>,
        now: SystemTime,
    ) -> Result<Self, DevError> {
        let last = ArcSwap::from_pointee(issue(&authority, &names, now)?);
        Ok(Self {
            authority,
            names,
            last,
        })
    }

    /// The last one, or a new one if that is too old now, or from the future.
    pub(super) fn good_at(&self, now: SystemTime) -> Arc<Leaf> {
        let last = self.last.load_full();
        let is_good = match now.duration_since(last.issued) {
            Ok(age) => age < OLDEST,
            // It was valid for an hour already when it was issued.
            Err(ahead) => ahead.duration() < CLOCK_SKEW / 2,
        };
        if is_good {
            return last;
        }
        // Two handshakes may do so at once; either certificate is as good.
        match issue(&self.authority, &self.names, now) {
            Ok(next) => {
                let next = Arc::new(next);
                self.last.store(Arc::clone(&next));
                info!("the development certificate is renewed");
                next
            }
            Err(error) => {
                error!(%error, "the development certificate cannot be renewed");
                last
            }
        }
    }
}

fn issue(authority: &DevAuthority, names: &[String], now: SystemTime) -> Result<Leaf, DevError> {
    let identity = authority.issue_at(names, now)?;
    Ok(Leaf {
        table: Table::new(identity, []).expect("key and certificate were made for each other"),
        issued: now,
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Identities, Source};
    use super::*;
    use crate::testing::handshake;
    use crate::tls::{Trust, client_config, link_server_config, server_config};

    const DAY: Duration = Duration::from_hours(24);

    /// A server that was started then.
    fn started(at: SystemTime) -> (Identities, Trust) {
        let authority = DevAuthority::generate().unwrap();
        let trust = Trust::Roots(vec![authority.certificate()]);
        let names = vec!["localhost".to_owned()];
        let issued = Issued::new(authority, names, at).unwrap();
        (
            Identities(Arc::new(Source::Issued(Box::new(issued)))),
            trust,
        )
    }

    #[test]
    fn a_server_that_runs_for_longer_than_its_certificate_lets_everybody_in() {
        let now = SystemTime::now();
        // Also one whose clock went ahead when it was started.
        for start in [
            now,
            now - DAY * 91,
            now - DAY * 365,
            now + DAY,
            now + DAY * 365,
        ] {
            let (identities, trust) = started(start);
            let client = client_config(trust, &[]).unwrap();
            for server in [
                server_config(identities.clone(), &[]).unwrap(),
                link_server_config(identities.clone(), &[]).unwrap(),
            ] {
                handshake(&client, &server, "localhost").unwrap();
            }
            assert_eq!(identities.flaws(&["localhost".to_owned()], now), [""; 0]);
        }
    }

    #[test]
    fn a_certificate_is_renewed_once_and_thirty_days_before_its_end() {
        let (identities, _) = started(SystemTime::now());
        let Source::Issued(issued) = &*identities.0 else {
            panic!("it is issued");
        };
        let shown = |after: Duration| issued.good_at(SystemTime::now() + after);
        let first = shown(Duration::ZERO);
        assert!(Arc::ptr_eq(&first, &shown(DAY * 59)));
        let second = shown(DAY * 60);
        assert!(!Arc::ptr_eq(&first, &second));
        assert!(Arc::ptr_eq(&second, &shown(DAY * 119)));
    }
}
