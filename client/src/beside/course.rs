//! The course of a command and its tunnel, from the name to the end of both.

use std::collections::HashSet;
use std::ffi::OsString;
use std::pin::{Pin, pin};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::BesideError;
use super::child::{Child, Signal, Signals};
use super::follow::follow;
use super::port::{self, Search, Tell, Wish};
use crate::client::{Client, ClientError, Config};
use crate::local::{Protocol, Target};
use crate::status::{State, Status};

/// What is to run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The command and its arguments; at least one word.
    pub command: Vec<OsString>,
    /// The port that it will open, if the user knows.
    pub port: Option<u16>,
    /// Choose a port for it.
    pub by_variable: bool,
}

/// Runs a command beside the only tunnel of `config`, whose target is found out, and returns the command's
/// exit status. `serve` runs the client until it is told to stop, and leads the tunnel to further targets as
/// they come.
///
/// Errors: the tunnel has failed, and the command has been ended for that; or it could not start.
pub async fn run<E, F>(
    mut config: Config,
    plan: Plan,
    tell: Tell<'_>,
    serve: impl FnOnce(Config, watch::Receiver<Target>, CancellationToken) -> F,
) -> Result<u8, E>
where
    E: From<ClientError> + From<BesideError>,
    F: Future<Output = Result<(), E>>,
{
    let mut signals = Signals::new()?;
    let wish = Wish::new(plan.port, plan.by_variable)?;
    let any_protocol = config.tunnels[0].options.protocol == Protocol::H2c;
    // While the command starts, its name is ours already, and visitors read that it is not up yet.
    let early = Client::new(config.clone())?;
    let status = early.status();
    let release = CancellationToken::new();
    let mut holding = pin!(early.run(release.cancelled()));
    let url = tokio::select! {
        Err(error) = &mut holding => return Err(error.into()),
        Some(url) = url(status) => url,
        signal = signals.next() => {
            release.cancel();
            let _ = holding.await;
            return Ok(signal.status());
        }
    };
    if let Wish::Known(port) = wish
        && port::is_open(port).await
    {
        tell(format!(
            "somebody listens on port {port} already, before the command has started"
        ));
    }
    let mut child = Child::start(&plan.command, &url, wish.variable())?;
    let mut told = false;
    let search = Search {
        process: child.id(),
        wish,
        any_protocol,
        tell,
    };
    let mut finding = pin!(search.find(HashSet::new()));
    let found = loop {
        tokio::select! {
            found = &mut finding => break found,
            code = child.ended() => {
                release.cancel();
                let _ = holding.await;
                return Ok(code);
            }
            Err(error) = &mut holding => {
                child.end().await;
                return Err(error.into());
            }
            signal = signals.next() => {
                if std::mem::replace(&mut told, true) && signal != Signal::Hangup {
                    child.kill().await;
                }
                child.pass_on(signal);
            }
        }
    };
    let target = found.target.clone();
    if !found.others.is_empty() {
        let others = port::listed(&found.others);
        tell(format!(
            "the command has opened {others}, too, and {target} is what is made public; -p PORT chooses"
        ));
    }
    release.cancel();
    if let Err(error) = holding.await {
        child.end().await;
        return Err(error.into());
    }
    let targets = watch::Sender::new(target.clone());
    config.tunnels[0].target = target;
    let stop = CancellationToken::new();
    let serving = pin!(serve(config, targets.subscribe(), stop.clone()));
    // What is waited for has been told when it started; now visitors read that it is away.
    let search = Search {
        tell: &|_| {},
        ..search
    };
    let together = together(child, signals, told, serving, stop);
    tokio::select! {
        ended = together => ended,
        never = follow(search, found, &targets) => match never {},
    }
}

/// Where visitors will go, once the name is ours; `None` if the client is gone.
async fn url(mut status: watch::Receiver<Status>) -> Option<String> {
    let online = |status: &Status| status.state == State::Online && !status.online.is_empty();
    let status = status.wait_for(online).await.ok()?;
    Some(status.online.first()?.url.clone())
}

/// Both of them, until one ends. Whoever is told to stop tells the other at once, and the command may take
/// its time; a second signal gives it none.
async fn together<E>(
    mut child: Child,
    mut signals: Signals,
    mut told: bool,
    mut serving: Pin<&mut impl Future<Output = Result<(), E>>>,
    stop: CancellationToken,
) -> Result<u8, E> {
    let mut served = false;
    loop {
        tokio::select! {
            code = child.ended() => {
                stop.cancel();
                if !served {
                    // How the command has ended is all that counts now.
                    let _ = serving.await;
                }
                return Ok(code);
            }
            ended = &mut serving, if !served => {
                if !stop.is_cancelled() {
                    let code = child.end().await;
                    return ended.map(|()| code);
                }
                served = true;
            }
            signal = signals.next() => {
                stop.cancel();
                // A terminal that closes tells so more than once.
                if std::mem::replace(&mut told, true) && signal != Signal::Hangup {
                    child.kill().await;
                    return Ok(signal.status());
                }
                child.pass_on(signal);
            }
        }
    }
}
