//! What happens, all of it chosen by a seed: who there is, by which rules, and what befalls them when.

use std::num::NonZeroUsize;
use std::time::Duration;

use ngrnotok_tests::dice::Dice;

/// Everything that a seed decides.
#[derive(Debug)]
pub(crate) struct Story {
    pub(crate) rules: Rules,
    pub(crate) cast: Vec<Part>,
    /// What happens, and how long after what happened before.
    pub(crate) events: Vec<(Duration, Event)>,
}

/// What the server's operator chose.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) grace: Duration,
    /// How long names are held back from other accounts after their last use; zero: not at all.
    pub(crate) hold: Duration,
    pub(crate) oldest_link: Duration,
    pub(crate) most_requests: u32,
}

/// One installation of the client.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) account: &'static str,
    pub(crate) names: &'static [&'static str],
    pub(crate) pool: bool,
    pub(crate) links: NonZeroUsize,
    /// Whether a restart finds what it needs to have its names again.
    pub(crate) keeps: bool,
    /// Whether it is there from the beginning, and at the end.
    pub(crate) stays: bool,
}

/// What befalls whom. What cannot happen, as the end of somebody who is not there, does not.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Event {
    /// Nothing gets through.
    Silence(usize),
    /// All that has waited gets through.
    Heal(usize),
    /// Connections that are open are forgotten on the way, as when a NAT restarts.
    Forget(usize),
    /// Connections that are open break.
    Reset(usize),
    /// From now on everything takes so long.
    Delay(usize, Duration),
    /// The server's process is killed, or its machine vanishes.
    KillServer {
        silently: bool,
    },
    /// The server is told to end, and its visitors take so long. Its successor is there already, or comes
    /// after it.
    DrainServer {
        visitors: Duration,
        handover: bool,
    },
    StartServer,
    Kill(usize),
    Start(usize),
    Leave(usize),
    /// Somebody takes a copy of the state folder and starts a second client from it.
    Copy(usize),
}

const SECOND: Duration = Duration::from_secs(1);

impl Story {
    /// The story of a seed.
    pub(crate) fn of(seed: u64) -> Self {
        let mut dice = Dice::of(seed);
        let rules = Rules {
            grace: dice.pick(&[5, 20, 60]) * SECOND,
            hold: dice.pick(&[0, 24 * 60 * 60]) * SECOND,
            oldest_link: dice.pick(&[15, 60, 24 * 60 * 60]) * SECOND,
            most_requests: dice.pick(&[5, 1 << 28]),
        };
        let cast = cast(&mut dice);
        let most = dice.pick(&[100, 1_000, 4_000, 15_000]);
        let events = (0..10 + dice.roll(15)).flat_map(|_| {
            let scene = match dice.roll(24) {
                0 => late_goodbye(&mut dice, &cast),
                1 => late_hello(&mut dice, &cast),
                _ => vec![(Duration::ZERO, event(&mut dice, &cast))],
            };
            let begins = dice.millis(most);
            let mut scene = scene.into_iter();
            let first = scene.next().map(|(_, first)| (begins, first));
            first.into_iter().chain(scene).collect::<Vec<_>>()
        });
        let events = events.collect();
        Self {
            rules,
            cast,
            events,
        }
    }
}

fn cast(dice: &mut Dice) -> Vec<Part> {
    let mut links = || NonZeroUsize::new(dice.pick(&[1, 1, 2, 3])).expect("not zero");
    let owner = Part {
        account: "ann",
        names: &["app"],
        pool: false,
        links: links(),
        keeps: true,
        stays: true,
    };
    let other = Part {
        names: &["blog", "docs"],
        links: links(),
        ..owner.clone()
    };
    let member = Part {
        names: &["shared"],
        pool: true,
        links: links(),
        ..owner.clone()
    };
    let stranger = Part {
        account: "bob",
        names: &["app"],
        links: links(),
        stays: false,
        ..owner.clone()
    };
    let mut cast = vec![owner.clone()];
    if dice.once_in(2) {
        cast.push(Part {
            keeps: !dice.once_in(4),
            ..other.clone()
        });
    }
    if dice.once_in(3) {
        cast.extend([member.clone(), member.clone()]);
    }
    if dice.once_in(2) {
        cast.push(stranger.clone());
    }
    if dice.once_in(4) {
        // A second owner of the same account, who does not share.
        cast.push(Part {
            account: "ann",
            stays: dice.once_in(2),
            ..stranger
        });
    }
    if dice.once_in(6) {
        cast.push(Part {
            account: "bob",
            stays: false,
            ..other
        });
    }
    cast
}

/// A client is told to leave while nothing of it gets through, its user has no patience and starts it again.
fn late_goodbye(dice: &mut Dice, cast: &[Part]) -> Vec<(Duration, Event)> {
    let who = somebody(dice, cast);
    vec![
        (Duration::ZERO, Event::Silence(who)),
        (dice.millis(500), Event::Leave(who)),
        (dice.millis(2_000), Event::Kill(who)),
        (dice.millis(1_000), Event::Start(who)),
        (dice.millis(1_000), Event::Heal(who)),
    ]
}

/// A client is killed whose `hello` is on a long way, and its successor has a short one.
fn late_hello(dice: &mut Dice, cast: &[Part]) -> Vec<(Duration, Event)> {
    let who = somebody(dice, cast);
    vec![
        (Duration::ZERO, Event::Delay(who, SECOND * 9 / 10)),
        (Duration::ZERO, Event::Reset(who)),
        // The hello is said after three and a half ways there and back.
        (SECOND * 6 + dice.millis(1_500), Event::Kill(who)),
        (Duration::ZERO, Event::Delay(who, SECOND / 1000)),
        (Duration::ZERO, Event::Start(who)),
    ]
}

fn somebody(dice: &mut Dice, cast: &[Part]) -> usize {
    usize::try_from(dice.roll(cast.len() as u64)).expect("a small number")
}

fn event(dice: &mut Dice, cast: &[Part]) -> Event {
    let who = somebody(dice, cast);
    match dice.roll(24) {
        0 | 1 => Event::Silence(who),
        2..=4 => Event::Heal(who),
        5 | 6 => Event::Forget(who),
        7 | 8 => Event::Reset(who),
        9 => Event::Delay(who, dice.pick(&[1, 20, 150, 900]) * SECOND / 1000),
        10 => Event::KillServer {
            silently: dice.once_in(3),
        },
        11 | 12 => Event::DrainServer {
            visitors: dice.millis(6_000),
            handover: dice.once_in(2),
        },
        13 | 14 => Event::StartServer,
        15..=17 => Event::Kill(who),
        18..=21 => Event::Start(who),
        22 => Event::Leave(who),
        _ if dice.once_in(3) => Event::Copy(who),
        _ => Event::Start(who),
    }
}
