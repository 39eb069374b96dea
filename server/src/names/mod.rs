//! Which of the names that a token allows an account may have.
//!
//! A whole host, `app.example.com`, is for the account that has proved to own it ([`domains`]). In the way
//! of a label under the server's domain stand three things: it would be taken for the operator's own, it is
//! reserved for another account, or another account has used it a short while ago. The last is there for
//! visitors, who still know the name from before, for their cookies, and for the webhooks that are still
//! sent to it.
//!
//! [`Names::take`] is asked at every bind, once the token has agreed and nobody is seen to have the name.
//! While the name is used, `Names::is_in_doubt` tells cheaply when the answer may be another one now, and
//! `Names::check` gives that answer. The [`Hold`] on a name lives as long as it is used. What is held is written ahead, so that
//! it is held after a `kill -9`, too, and so that thousands who come back at once need not write at all;
//! [`Names::keep`] does the rest.

mod denied;
pub mod dns;
pub mod domains;
mod hold;
mod keep;
mod known;
mod notices;
mod refused;

use std::sync::Arc;
use std::time::Duration;

use ngrnotok_common::hostname::Name;
use tokio::sync::watch;
use tracing::warn;

use self::denied::Denied;
use self::dns::Dns;
use self::domains::{NotVerified, is_fresh, is_verified};
pub use self::hold::Hold;
use self::hold::Released;
pub use self::known::Known;
use self::notices::Notices;
pub use self::refused::{NameRefused, TimeLeft};
use crate::auth::{ANONYMOUS, Grant};
use crate::store::{NameUse, Store, UnixSeconds};

/// Decides who may have which name. Clones share what they know.
#[derive(Clone, Debug)]
pub struct Names {
    store: Option<Store>,
    denied: Arc<Denied>,
    hold: Duration,
    dns: Dns,
    released: Arc<Released>,
    notices: Arc<Notices>,
    /// What the store says, as it was a moment ago.
    known: watch::Sender<Known>,
}

/// What the operator says about names.
#[derive(Clone, Debug)]
pub struct NameRules {
    /// Names that would be taken for his own, besides the built-in ones. Default: none.
    pub denied: Vec<Name>,
    /// For how long names are held back from other accounts after their last use; zero: not at all.
    /// Default: 24 h.
    pub hold: Duration,
    /// Who is asked for the proofs of hosts. Default: the system's resolvers.
    pub dns: Dns,
}

impl Default for NameRules {
    fn default() -> Self {
        Self {
            denied: Vec::new(),
            hold: Duration::from_secs(24 * 60 * 60),
            dns: Dns::default(),
        }
    }
}

/// For how long a use is written ahead at most, 2 h: so much longer than promised a name is held when the
/// server was killed.
const AHEAD: Duration = Duration::from_secs(2 * 60 * 60);

/// What [`Notices`] call a store that takes no more; hosts have dots.
const NOT_HELD: &str = "held";

impl Names {
    /// Keeps names as `store` says, and by these rules.
    pub fn new(store: Option<Store>, rules: NameRules) -> Self {
        let NameRules { denied, hold, dns } = rules;
        Self {
            store,
            denied: Arc::new(Denied::with(denied)),
            hold,
            dns,
            released: Arc::default(),
            notices: Arc::default(),
            known: watch::Sender::default(),
        }
    }

    /// Gives everybody every name, where there are no strangers.
    pub fn free() -> Self {
        Self {
            denied: Arc::new(Denied::none()),
            ..Self::new(None, NameRules::default())
        }
    }

    /// Asks for a name on behalf of an account whose token allows it. Held for the account from now on;
    /// `None` where nothing is held.
    ///
    /// Dropping the future may leave the name held.
    ///
    /// # Errors
    ///
    /// When the account may not have it, and when the store cannot be read. A store that cannot be
    /// written is logged: a full disk must not keep anybody from working.
    pub async fn take(&self, grant: &Grant, name: &Name) -> Result<Option<Hold>, NameRefused> {
        self.take_at(grant, name, UnixSeconds::now()).await
    }

    async fn take_at(
        &self,
        grant: &Grant,
        name: &Name,
        now: UnixSeconds,
    ) -> Result<Option<Hold>, NameRefused> {
        if name.is_host() {
            self.admit_host(grant, name, now).await?;
            return Ok(None);
        }
        let account = grant.account();
        let known = match &self.store {
            Some(store) => store.find_name(name).await?,
            None => Default::default(),
        };
        let is_reserved = self.admit_label(grant, name, known.reserved_for.as_deref())?;
        // What strangers have used is held for nobody: anybody could come as one of them and take it.
        let used_by_strangers = known
            .used
            .as_ref()
            .is_some_and(|used| &*used.account == ANONYMOUS);
        let is_free = is_reserved || used_by_strangers;
        let Some(store) = self.store.as_ref().filter(|_| !self.hold.is_zero()) else {
            return Ok(None);
        };
        match known.used {
            Some(used) if used.account == *account && used.until >= now + self.ahead() / 4 => {}
            Some(used) if used.account != *account && !is_free && used.until > now - self.hold => {
                return Err(self.held(name, &used, now));
            }
            _ => {
                let until = now + self.ahead();
                let lapsed = match is_free {
                    true => UnixSeconds(i64::MAX),
                    false => now - self.hold,
                };
                let held = store.hold_name(name, account, grant.token(), until, lapsed);
                match held.await {
                    Ok(true) => {}
                    // Somebody was quicker.
                    Ok(false) => {
                        let used = NameUse {
                            account: Arc::clone(account),
                            until: now,
                        };
                        return Err(self.held(name, &used, now));
                    }
                    Err(error) if self.notices.admit(NOT_HELD) => warn!(
                        %name,
                        error = &error as &dyn std::error::Error,
                        "a name is used and will not be held afterwards"
                    ),
                    Err(_) => {}
                }
            }
        }
        Ok(Some(self.released.hold(name, account)))
    }

    /// Whether an account may have a label, as far as nobody uses it: `true` if it is reserved for it.
    fn admit_label(
        &self,
        grant: &Grant,
        name: &Name,
        reserved_for: Option<&str>,
    ) -> Result<bool, NameRefused> {
        match reserved_for {
            Some(owner) if owner == &**grant.account() => return Ok(true),
            Some(_) => return Err(NameRefused::Reserved(name.clone())),
            None => {}
        }
        if !grant.lists(name)
            && let Some(word) = self.denied.find(name.as_str())
        {
            return Err(NameRefused::Denied {
                name: name.clone(),
                word: word.into(),
            });
        }
        Ok(false)
    }

    /// Changes whenever the operator has decided something about names.
    pub(crate) fn changes(&self) -> watch::Receiver<Known> {
        self.known.subscribe()
    }

    /// Whether somebody who uses a name should be [checked](Names::check), because what allowed it may
    /// hold no longer. Asks nobody.
    pub(crate) fn is_in_doubt(&self, grant: &Grant, name: &Name) -> bool {
        if self.store.is_none() {
            return false;
        }
        let known = self.known.borrow();
        if !name.is_host() {
            let reserved_for = known.reserved_for(name);
            return self.admit_label(grant, name, reserved_for).is_err();
        }
        known.host(name).is_none_or(|domain| {
            domain.account != *grant.account() || !is_fresh(domain, UnixSeconds::now())
        })
    }

    /// Whether somebody who uses a name may go on. As long as that cannot be found out, it may.
    ///
    /// Takes 5 s at most, if DNS has to be asked. Cancel safety: safe.
    ///
    /// # Errors
    ///
    /// When the account may not have it any more.
    pub(crate) async fn check(&self, grant: &Grant, name: &Name) -> Result<(), NameRefused> {
        let checked = match (&self.store, name.is_host()) {
            (_, true) => self.admit_host(grant, name, UnixSeconds::now()).await,
            (Some(store), false) => match store.find_name(name).await {
                Ok(known) => {
                    let reserved_for = known.reserved_for.as_deref();
                    self.admit_label(grant, name, reserved_for).map(drop)
                }
                Err(error) => Err(error.into()),
            },
            (None, false) => Ok(()),
        };
        match checked {
            Err(NameRefused::Unavailable(_) | NameRefused::DnsSilent(_)) => Ok(()),
            checked => checked,
        }
    }

    async fn admit_host(
        &self,
        grant: &Grant,
        host: &Name,
        now: UnixSeconds,
    ) -> Result<(), NameRefused> {
        let verified = match &self.store {
            Some(store) => {
                let notices = &self.notices;
                is_verified(store, &self.dns, notices, grant.account(), host, now).await
            }
            None => Ok(false),
        };
        match verified {
            Ok(true) => Ok(()),
            Ok(false) => Err(NameRefused::ForeignDomain(host.clone())),
            Err(NotVerified::Store(error)) => Err(error.into()),
            Err(NotVerified::Wrong(wrong)) => Err(NameRefused::Unverified {
                host: host.clone(),
                wrong,
            }),
            Err(NotVerified::Unanswered(error)) => {
                if self.notices.admit(host.as_str()) {
                    warn!(%host, %error, "a host cannot be verified");
                }
                Err(NameRefused::DnsSilent(host.clone()))
            }
        }
    }

    fn held(&self, name: &Name, used: &NameUse, now: UnixSeconds) -> NameRefused {
        // One who uses it still is reckoned to stop now.
        let free = used.until.min(now) + self.hold;
        let left = u64::try_from(free.0 - now.0).unwrap_or_default();
        NameRefused::Held {
            name: name.clone(),
            left: TimeLeft(Duration::from_secs(left)),
        }
    }

    /// How far ahead uses are written.
    fn ahead(&self) -> Duration {
        AHEAD.min(self.hold)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use ngrnotok_common::id::{SessionId, TunnelId};
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::auth::rules::{Allowed, Rules};
    use crate::auth::{Anonymous, Auth, NewToken, create_token};
    use crate::registry::{Registry, Route, Terms};
    use crate::session::{Caps, Limits, Session};
    use crate::store::Reserving;
    use crate::store::scratch::Scratch;

    const DAY: i64 = 24 * 60 * 60;

    fn name(name: &str) -> Name {
        Name::parse(name).unwrap()
    }

    /// Names that are held for a day.
    fn names(store: &Store) -> Names {
        Names::new(Some(store.clone()), NameRules::default())
    }

    /// A grant of an account whose token is for these names.
    async fn grant(store: &Store, account: &str, patterns: &[&str]) -> Grant {
        let rules = Rules {
            names: Allowed::only(patterns.iter().copied()),
            ..Rules::default()
        };
        let token = NewToken {
            rules,
            ..NewToken::from(account)
        };
        let token = create_token(store, token).await.unwrap();
        admit(store, Some(&token)).await
    }

    async fn admit(store: &Store, token: Option<&ngrnotok_common::secret::Secret>) -> Grant {
        let auth = Auth::new(Some(store.clone()), Anonymous::Always);
        let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
        auth.admit(token, here).await.unwrap()
    }

    /// What somebody is told who may not have a name.
    async fn refused(names: &Names, grant: &Grant, wanted: &str, now: i64) -> String {
        let taken = names.take_at(grant, &name(wanted), UnixSeconds(now)).await;
        taken.unwrap_err().to_string()
    }

    async fn used_until(store: &Store, wanted: &str) -> Option<i64> {
        let known = store.find_name(&name(wanted)).await.unwrap();
        known.used.map(|used| used.until.0)
    }

    #[tokio::test]
    async fn the_operators_names_are_for_tokens_that_list_them_and_for_accounts_they_are_reserved_for()
     {
        let store = Store::in_memory().unwrap();
        let names = Names::new(
            Some(store.clone()),
            NameRules {
                denied: vec![name("bank")],
                hold: Duration::ZERO,
                ..NameRules::default()
            },
        );
        let anybody = admit(&store, None).await;
        let ann = grant(&store, "ann", &[]).await;
        for wanted in ["admin", "adm1n", "bank"] {
            for grant in [&anybody, &ann, &grant(&store, "ann", &["*"]).await] {
                let said = refused(&names, grant, wanted, 0).await;
                assert!(said.contains("token create --name"), "{said}");
            }
            let listed = grant(&store, "bob", &["a*", wanted]).await;
            names.take(&listed, &name(wanted)).await.unwrap();
        }
        let said = refused(&names, &ann, "adm1n", 0).await;
        assert!(
            said.starts_with("the name adm1n looks like admin,"),
            "{said}"
        );

        store
            .reserve_name(&name("admin"), "ann", UnixSeconds(0))
            .await
            .unwrap();
        names.take(&ann, &name("admin")).await.unwrap();
        refused(&names, &ann, "adm1n", 0).await;
        Names::free().take(&anybody, &name("admin")).await.unwrap();
    }

    #[tokio::test]
    async fn a_reserved_name_is_for_its_account_alone_from_the_next_bind_on() {
        let scratch = Scratch::new();
        let store = Store::open(scratch.path()).unwrap();
        let names = names(&store);
        let (ann, bob) = (
            grant(&store, "ann", &[]).await,
            grant(&store, "bob", &["shop"]).await,
        );
        let anybody = admit(&store, None).await;
        let operator = Store::open(scratch.path()).unwrap();
        // Bob has it, and was not asked.
        let hold = names
            .take_at(&bob, &name("shop"), UnixSeconds(0))
            .await
            .unwrap();

        let reserving = operator
            .reserve_name(&name("shop"), "ann", UnixSeconds(0))
            .await
            .unwrap();

        assert_eq!(reserving, Reserving::Done(Some("bob".into())));
        for grant in [&bob, &anybody] {
            let said = refused(&names, grant, "shop", 0).await;
            assert_eq!(said, "the name shop is reserved for another account");
        }
        drop(hold);
        names
            .take_at(&ann, &name("shop"), UnixSeconds(0))
            .await
            .unwrap();

        operator.release_name(&name("shop")).await.unwrap().unwrap();
        let said = refused(&names, &bob, "shop", 0).await;
        assert!(said.contains("is held for it"), "{said}");
        names
            .take_at(&bob, &name("shop"), UnixSeconds(2 * DAY))
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn a_name_is_held_back_from_others_for_a_day_after_its_last_use() {
        let store = Store::in_memory().unwrap();
        let names = names(&store);
        let (ann, bob) = (
            grant(&store, "ann", &[]).await,
            grant(&store, "bob", &[]).await,
        );
        let anybody = admit(&store, None).await;
        drop(
            names
                .take_at(&ann, &name("app"), UnixSeconds(0))
                .await
                .unwrap()
                .unwrap(),
        );
        // As `keep` does.
        let released = names.released.next().await;
        store
            .note_name_uses(released, UnixSeconds(1000))
            .await
            .unwrap();

        for (now, left) in [
            (1000, "24 h 0 min"),
            (1001, "24 h 0 min"),
            (1061, "23 h 59 min"),
            (1000 + DAY - 3600, "1 h 0 min"),
            (1000 + DAY - 61, "2 min"),
            (1000 + DAY - 60, "1 min"),
            (1000 + DAY - 1, "1 s"),
        ] {
            for grant in [&bob, &anybody] {
                let said = refused(&names, grant, "app", now).await;
                assert_eq!(
                    said,
                    format!(
                        "the name app was used by another account and is held for it for another {left}"
                    )
                );
            }
        }
        names
            .take_at(&ann, &name("app"), UnixSeconds(1001))
            .await
            .unwrap();
        drop(names.released.next().await);
        store
            .note_name_uses(vec![("app".into(), "ann".into())], UnixSeconds(1000))
            .await
            .unwrap();
        let _bobs = names
            .take_at(&bob, &name("app"), UnixSeconds(1000 + DAY))
            .await
            .unwrap()
            .unwrap();
        let said = refused(&names, &ann, "app", 1000 + DAY).await;
        assert!(said.contains("24 h 0 min"), "{said}");
    }

    #[tokio::test]
    async fn what_strangers_have_used_is_there_for_whoever_logs_in() {
        let store = Store::in_memory().unwrap();
        let names = names(&store);
        let take = async |grant: &Grant| names.take_at(grant, &name("app"), UnixSeconds(0)).await;
        let anybody = admit(&store, None).await;
        drop(take(&anybody).await.unwrap());
        let ann = grant(&store, "ann", &[]).await;
        drop(take(&ann).await.unwrap());
        for other in [&anybody, &grant(&store, "bob", &[]).await] {
            let said = take(other).await.unwrap_err().to_string();
            assert!(said.contains("is held for it"), "{said}");
        }
    }

    #[tokio::test]
    async fn a_use_is_written_ahead_so_that_a_killed_server_holds_it_and_its_client_costs_no_write()
    {
        let store = Store::in_memory().unwrap();
        let names = names(&store);
        let ann = grant(&store, "ann", &[]).await;
        let take = async |now| {
            names
                .take_at(&ann, &name("app"), UnixSeconds(now))
                .await
                .unwrap()
        };
        let _first = take(0).await;
        assert_eq!(used_until(&store, "app").await, Some(7200));
        let version = store.version().await.unwrap();
        let _again = take(5400).await;
        assert_eq!(store.version().await.unwrap(), version);
        let _later = take(5401).await;
        assert_eq!(used_until(&store, "app").await, Some(5401 + 7200));
    }

    #[tokio::test]
    async fn of_two_processes_that_race_for_a_name_one_gets_it() {
        let scratch = Scratch::new();
        let stores = [(); 2].map(|()| Store::open(scratch.path()).unwrap());
        let mut grants = Vec::new();
        for account in ["ann", "bob"] {
            grants.push(grant(&stores[0], account, &[]).await);
        }
        for round in 0..50 {
            let wanted = name(&format!("app-{round}"));
            let take =
                async |at: usize| names(&stores[at]).take(&grants[at], &wanted).await.is_ok();
            let (ann, bob) = tokio::join!(take(0), take(1));
            assert!(ann != bob, "round {round}: {ann} {bob}");
        }
    }

    #[tokio::test]
    async fn nothing_is_held_where_the_operator_does_not_want_it() {
        let store = Store::in_memory().unwrap();
        let rules = NameRules {
            hold: Duration::ZERO,
            ..NameRules::default()
        };
        let names = Names::new(Some(store.clone()), rules);
        for account in ["ann", "bob"] {
            let grant = grant(&store, account, &[]).await;
            assert!(names.take(&grant, &name("app")).await.unwrap().is_none());
        }
        assert_eq!(store.list_names().await.unwrap(), []);
    }

    #[tokio::test]
    async fn names_in_use_are_noted_again_and_others_forgotten() {
        let store = Store::in_memory().unwrap();
        let names = names(&store);
        let now = UnixSeconds::now().0;
        for (held, until) in [
            ("live", 60),
            ("ann-1", 60),
            ("gone", -DAY - 60),
            ("future", 9 * DAY),
        ] {
            let until = UnixSeconds(now + until);
            let held = store
                .hold_name(&name(held), &"ann".into(), None, until, UnixSeconds(0))
                .await;
            assert!(held.unwrap());
        }
        let registry = Registry::new("tunnel.test", Duration::ZERO);
        let limits = Limits::new(Caps::default());
        let session = Session::new(
            SessionId::random(),
            Duration::ZERO,
            limits,
            TaskTracker::new(),
        );
        let claim = |wanted, account: &str| {
            let terms = Terms {
                account: account.into(),
                pool: false,
            };
            let route = Route {
                session: session.clone(),
                tunnel: TunnelId(0),
            };
            registry.claim(name(wanted), route, terms).unwrap()
        };
        // The last one is served by somebody whom it is not held for: too many others are.
        let _claims = (claim("live", "ann"), claim("ann-1", "bob"));
        let grant = grant(&store, "bob", &[]).await;
        drop(names.take(&grant, &name("left")).await.unwrap());

        let kept = async {
            while used_until(&store, "left").await > Some(UnixSeconds::now().0)
                || used_until(&store, "future").await > Some(now + 7300)
            {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = kept => {}
            never = names.keep(&registry) => match never {},
        }

        assert!(used_until(&store, "live").await.unwrap() >= now + 7200);
        assert_eq!(used_until(&store, "ann-1").await, Some(now + 60));
        assert_eq!(used_until(&store, "gone").await, None);
        let future = used_until(&store, "future").await.unwrap();
        assert!((now + 7200..now + 7300).contains(&future), "{future}");
    }

    #[tokio::test]
    async fn a_store_that_cannot_be_read_gives_no_name_and_one_that_cannot_be_written_does() {
        let scratch = Scratch::new();
        let store = Store::open(scratch.path()).unwrap();
        let (names, ann) = (names(&store), grant(&store, "ann", &[]).await);
        let other = rusqlite::Connection::open(scratch.path().join("server.db")).unwrap();
        other
            .execute_batch(
                "CREATE TRIGGER full BEFORE INSERT ON held_names
                 BEGIN SELECT RAISE(ABORT, 'no room'); END",
            )
            .unwrap();
        names.take(&ann, &name("app")).await.unwrap();
        other
            .execute_batch("ALTER TABLE held_names RENAME TO lost")
            .unwrap();
        let refused = names.take(&ann, &name("app")).await.unwrap_err();
        assert!(
            matches!(refused, NameRefused::Unavailable(_)),
            "{refused:?}"
        );
        assert!(!refused.to_string().contains("server.db"), "{refused}");
    }
}
