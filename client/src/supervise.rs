//! Keeping a session: connect, serve, and when a link is lost or wants to be replaced, again.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ngrnotok_common::protocol::resume::ChannelBinding;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, info, warn};

use crate::backoff::random;
use crate::client::{ClientError, Shared};
use crate::course::{Course, Lost, Pause};
use crate::session::{self, Role, SessionError};

/// How long a further link waits for the first one to open a session: 5 s, and then it looks again.
const SESSION_WAIT: Duration = Duration::from_secs(5);

/// Serves until `shutdown` resolves. Ends with an error when trying again cannot help, or when the
/// very first try fails: somebody is watching then and can mend it.
///
/// `wall` is the wall clock, which shows when this computer has slept.
pub(crate) async fn run(
    client: &Arc<Shared>,
    shutdown: impl Future<Output = ()>,
    wall: impl Fn() -> SystemTime,
) -> Result<(), ClientError> {
    let leave = CancellationToken::new();
    let mut places = JoinSet::new();
    for place in 0..client.links.get() {
        let keeper = Keeper {
            client: Arc::clone(client),
            is_first: place == 0,
            leave: leave.clone(),
            finishing: JoinSet::new(),
        };
        places.spawn(keeper.keep());
    }
    let mut shutdown = pin!(shutdown);
    let mut noticing = pin!(client.sleeps.notice(wall));
    loop {
        tokio::select! {
            Some(ended) = places.join_next() => {
                // A place ends by itself only when nothing can be done.
                if let Ok(Err(error)) = ended {
                    client.reporter.ended(error.to_string());
                    return Err(error);
                }
                if places.is_empty() {
                    return Ok(());
                }
            }
            () = &mut shutdown, if !leave.is_cancelled() => {
                client.reporter.leaving();
                leave.cancel();
            }
            never = &mut noticing => match never {},
        }
    }
}

/// Keeps one link up. The first one opens the session, further ones join it.
struct Keeper {
    client: Arc<Shared>,
    is_first: bool,
    leave: CancellationToken,
    /// Links that have been replaced and finish what is open on them.
    finishing: JoinSet<()>,
}

impl Keeper {
    async fn keep(mut self) -> Result<(), ClientError> {
        let mut course = Course::new(self.is_first);
        let mut was_up = false;
        let mut replaced: Option<CancellationToken> = None;
        let mut nothing_to_join = false;
        let mut session = self.client.comeback.generation();
        loop {
            if !self.is_first && !self.is_there(&mut session, nothing_to_join).await {
                return self.finish().await;
            }
            // A first link that is lost while others live comes back to them.
            let comes_back = *self.client.links_up().borrow() > 0 && replaced.is_none();
            let role = Role {
                joins: !self.is_first || comes_back && !nothing_to_join,
                binds: self.is_first,
                is_first_try: !course.is_under_way(),
                replaces: replaced.clone(),
                wants_another: CancellationToken::new(),
                retire: CancellationToken::new(),
                since: Arc::default(),
            };
            let link =
                connect_and_serve(Arc::clone(&self.client), role.clone(), self.leave.clone());
            let mut link = AbortOnDropHandle::new(self.client.tasks.spawn(link));
            let ended = tokio::select! {
                ended = &mut link => {
                    ended.unwrap_or_else(|_| Err(SessionError::Protocol("made us panic").into()))
                }
                () = role.wants_another.cancelled() => {
                    // Make before break: this one goes on until the next one is up, and longer.
                    self.finishing.spawn(async move { drop(link.await) });
                    Ok(())
                }
            };
            if self.leave.is_cancelled() {
                return self.finish().await;
            }
            let served = role.since.get().map(Instant::elapsed);
            if served.is_some() {
                replaced = None;
            }
            if role.wants_another.is_cancelled() {
                replaced = Some(role.retire);
            }
            nothing_to_join = matches!(ended, Err(Lost::Session(SessionError::NoSession)));
            was_up |= served.is_some();
            if let Err(Lost::Session(SessionError::TooManyLinks(message))) = &ended {
                match &replaced {
                    // There is no room for both: the old one goes first.
                    Some(old) => old.cancel(),
                    None if self.is_first || was_up => {}
                    None => {
                        // The links that there are do; to ask again would change nothing.
                        warn!(message, "one link fewer");
                        return self.finish().await;
                    }
                }
            }
            let reason = match &ended {
                Ok(()) => "the server closed the link".to_owned(),
                Err(lost) => {
                    info!(error = %lost, "no link");
                    lost.to_string()
                }
            };
            let pause = course.after(ended, served, random())?;
            tokio::select! {
                slept = wait(&self.client, pause, reason) => if slept {
                    course.woke();
                },
                () = self.leave.cancelled() => return self.finish().await,
            }
        }
    }

    /// Waits for a session to join, and for a newer one if the last was gone; false when the client
    /// leaves instead.
    async fn is_there(&self, session: &mut watch::Receiver<u64>, last_was_gone: bool) -> bool {
        let known = if last_was_gone { *session.borrow() } else { 0 };
        let newer = session.wait_for(|generation| *generation > known);
        tokio::select! {
            // If none comes it may be the old one that lives again.
            _ = timeout(SESSION_WAIT, newer) => true,
            () = self.leave.cancelled() => false,
        }
    }

    /// The end that the user wanted, once everything is done.
    async fn finish(mut self) -> Result<(), ClientError> {
        while self.finishing.join_next().await.is_some() {}
        Ok(())
    }
}

/// Waits until the next try, and says so when there is no link. When this computer has slept the try
/// comes at once, because the network may be another one now, unless the server asked for more time
/// than has gone by. Tells whether it has slept.
async fn wait(client: &Shared, pause: Pause, reason: String) -> bool {
    let mut retry_at = Instant::now() + pause.whole;
    let mut asked_until = Instant::now() + pause.asked;
    let mut links_up = client.links_up();
    let mut sleeps = client.sleeps.later();
    let mut has_slept = false;
    loop {
        if *links_up.borrow_and_update() == 0 {
            client.reporter.lost(reason.clone(), retry_at);
        }
        tokio::select! {
            () = sleep_until(retry_at) => return has_slept,
            // The last one may go meanwhile.
            Ok(()) = links_up.changed() => {}
            away = sleeps.next() => {
                has_slept = true;
                asked_until = asked_until.checked_sub(away).unwrap_or_else(Instant::now);
                retry_at = asked_until.max(Instant::now());
            }
        }
    }
}

async fn connect_and_serve(
    client: Arc<Shared>,
    role: Role,
    leave: CancellationToken,
) -> Result<(), Lost> {
    let mut sleeps = client.sleeps.later();
    let stream = loop {
        tokio::select! {
            stream = client.connector.connect(client.token.as_ref()) => break stream?,
            // What was begun before the sleep leads nowhere any more.
            away = sleeps.next() => info!(?away, "this computer has slept"),
            () = leave.cancelled() => return Ok(()),
        }
    };
    let tls = stream.get_ref().get_ref().1;
    let binding = ChannelBinding::of(tls).ok_or(SessionError::Protocol("did not finish TLS"))?;
    debug!("link open");
    Ok(session::serve(stream, binding, &client, &role, &leave).await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Client;
    use crate::status::State;

    const SECOND: Duration = Duration::from_secs(1);

    /// Waits out a pause, 3 s into which this computer sleeps for so long; tells how long it took by the
    /// clock of this process, which does not run meanwhile.
    async fn waited(whole: Duration, asked: Duration, sleeps: Duration) -> (bool, u64) {
        let (client, start) = (Client::of_a_test(), Instant::now());
        let pause = Pause { whole, asked };
        let waiting = wait(&client.shared, pause, "the link broke".into());
        let sleep = async {
            tokio::time::sleep(SECOND * 3).await;
            if !sleeps.is_zero() {
                client.shared.sleeps.tell(sleeps);
            }
        };
        let (slept, ()) = tokio::join!(waiting, sleep);
        let State::Reconnecting { retry_at, .. } = client.status().borrow().state else {
            panic!("it says something else than it does");
        };
        // Timers have a resolution of a millisecond.
        let lag = start.elapsed().abs_diff(retry_at.duration_since(start));
        assert!(lag <= Duration::from_millis(2), "{lag:?}");
        (slept, start.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn a_computer_that_wakes_up_does_not_sit_the_rest_of_the_wait_out() {
        let none = Duration::ZERO;
        assert_eq!(waited(SECOND * 15, none, none).await, (false, 15));
        assert_eq!(waited(SECOND * 15, none, SECOND * 3600).await, (true, 3));
        // The server asked for 100 s, and 60 of them were slept through.
        let asked = SECOND * 100;
        assert_eq!(waited(SECOND * 110, asked, SECOND * 60).await, (true, 40));
        assert_eq!(waited(SECOND * 110, asked, SECOND * 3600).await, (true, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_lost_before_the_last_link_is() {
        let client = Client::of_a_test();
        let one_of_two = client.shared.link_is_up();
        client.shared.reporter.online(Vec::new(), Vec::new());
        let pause = Pause {
            whole: SECOND * 10,
            asked: Duration::ZERO,
        };
        let waiting = wait(&client.shared, pause, "the link broke".into());
        let state = || client.status().borrow().state.clone();
        let losing = async {
            tokio::time::sleep(SECOND * 4).await;
            assert_eq!(state(), State::Online);
            drop(one_of_two);
            tokio::time::sleep(SECOND).await;
            let State::Reconnecting { retry_at, .. } = state() else {
                panic!("{:?}", state());
            };
            assert_eq!((retry_at - Instant::now()).as_secs_f64().round(), 5.0);
        };
        tokio::join!(waiting, losing);
    }
}
