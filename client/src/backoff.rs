//! How long to wait before the next try.

use std::time::Duration;

/// The first try after a loss comes almost at once: most losses are the server's restart.
const FIRST: Duration = Duration::from_millis(200);

/// No wait is longer.
const LAST: Duration = Duration::from_secs(15);

/// Full jitter: each wait is a random part of a limit that doubles from 0.2 s to 15 s, so that a
/// thousand clients who lost the same server do not come back in the same moment.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    tries: u32,
}

impl Backoff {
    /// The next wait. `random` is uniform in 0..=u32::MAX. A server that asks for time gets it:
    /// `no_sooner`, and a random part of it on top, because it has asked others for the same time.
    pub(crate) fn next(&mut self, random: u32, no_sooner: Duration) -> Duration {
        let limit = self.limit().max(no_sooner / 4);
        self.tries = self.tries.saturating_add(1);
        no_sooner + limit.mul_f64(f64::from(random) / f64::from(u32::MAX))
    }

    /// The longest that the next wait can be.
    fn limit(&self) -> Duration {
        FIRST.saturating_mul(1 << self.tries.min(16)).min(LAST)
    }

    /// After a connection that held.
    pub(crate) fn reset(&mut self) {
        self.tries = 0;
    }
}

/// A random number; the system's source, because a herd must not share a seed.
pub(crate) fn random() -> u32 {
    let mut bytes = [0; 4];
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => u32::from_ne_bytes(bytes),
        // Waiting the longest is the safe guess.
        Err(_) => u32::MAX,
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use tokio::task::JoinSet;
    use tokio::time::{Instant, sleep};

    use super::*;

    const NOW: Duration = Duration::ZERO;

    #[test]
    fn waits_double_up_to_a_limit_and_are_random() {
        let mut longest = Backoff::default();
        let limits: Vec<u64> = (0..9)
            .map(|_| u64::try_from(longest.next(u32::MAX, NOW).as_millis()).unwrap())
            .collect();
        assert_eq!(
            limits,
            [200, 400, 800, 1600, 3200, 6400, 12_800, 15_000, 15_000]
        );
        let mut backoff = Backoff::default();
        assert_eq!(backoff.next(0, NOW), Duration::ZERO);
        backoff.next(0, NOW);
        backoff.reset();
        assert_eq!(backoff.next(u32::MAX, NOW), FIRST);
    }

    #[test]
    fn tries_never_overflow() {
        let mut backoff = Backoff { tries: u32::MAX };
        assert_eq!(backoff.next(u32::MAX, NOW), LAST);
        assert_eq!(backoff.next(u32::MAX, NOW), LAST);
    }

    #[test]
    fn a_server_that_asks_for_time_gets_it_and_not_all_clients_at_its_end() {
        let asked = Duration::from_secs(60);
        let mut backoff = Backoff::default();
        assert_eq!(backoff.next(0, asked), asked);
        assert_eq!(
            backoff.next(u32::MAX, asked),
            asked + Duration::from_secs(15)
        );
        let mut backoff = Backoff { tries: 20 };
        let asked = Duration::from_secs(1);
        assert_eq!(backoff.next(u32::MAX, asked), asked + LAST);
    }

    /// The limit of the wait after so many tries.
    fn limit(tries: usize) -> Duration {
        (0..tries).fold(FIRST, |limit, _| LAST.min(limit * 2))
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_wait_is_never_shorter_than_asked_nor_longer_than_its_limit(
            waits in vec((any::<u32>(), 0..600_000_u64), 1..40)
        ) {
            let mut backoff = Backoff::default();
            for (tries, (random, asked)) in waits.into_iter().enumerate() {
                let asked = Duration::from_millis(asked);
                let wait = backoff.next(random, asked);
                prop_assert!(wait >= asked);
                prop_assert!(wait <= asked + limit(tries).max(asked / 4));
            }
        }

        #[test]
        fn limits_only_grow_until_a_link_has_held(tries in vec(any::<u32>(), 0..40)) {
            let mut backoff = Backoff::default();
            let mut before = Duration::ZERO;
            for (number, random) in tries.iter().enumerate() {
                let mut same = Backoff { tries: backoff.tries };
                let longest = same.next(u32::MAX, NOW);
                prop_assert!(longest >= before && longest == limit(number));
                prop_assert!(backoff.next(*random, NOW) <= longest);
                before = longest;
            }
            backoff.reset();
            prop_assert_eq!(backoff.next(u32::MAX, NOW), FIRST);
        }
    }

    /// What came of a herd: when each try was, and when each client was back.
    struct Herd {
        tries: Vec<Duration>,
        back: Vec<Duration>,
    }

    /// Fifty clients lose their server in the same moment; it comes back after `outage`.
    async fn herd(seed: u64, outage: Duration) -> Herd {
        let lost = Instant::now();
        let mut clients = JoinSet::new();
        for number in 0..50 {
            let mut state = seed ^ (number << 32);
            clients.spawn(async move {
                let (mut backoff, mut tries) = (Backoff::default(), Vec::new());
                loop {
                    sleep(backoff.next(chance(&mut state), NOW)).await;
                    tries.push(lost.elapsed());
                    if lost.elapsed() >= outage {
                        return tries;
                    }
                }
            });
        }
        let tries = clients.join_all().await;
        let back = tries.iter().filter_map(|tries| tries.last().copied());
        Herd {
            back: back.collect(),
            tries: tries.concat(),
        }
    }

    /// SplitMix64: chance that a seed repeats.
    fn chance(state: &mut u64) -> u32 {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = *state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u32::try_from(mixed >> 32).unwrap()
    }

    /// The most that lies in any 100 ms.
    fn crowd(times: &[Duration]) -> usize {
        let mut times = times.to_owned();
        times.sort();
        let in_slot = |from: usize| {
            let end = times[from] + Duration::from_millis(100);
            times[from..].partition_point(|time| *time < end)
        };
        (0..times.len()).map(in_slot).max().unwrap_or(0)
    }

    #[tokio::test(start_paused = true)]
    async fn a_herd_comes_back_soon_and_never_all_at_once() {
        let outage = Duration::from_secs(10);
        let fresh = (0..10).map(|_| u64::from(random()) << 32 | u64::from(random()));
        for seed in (1..=10).chain(fresh) {
            println!("seed {seed:#x}");
            let herd = herd(seed, outage).await;
            assert_eq!(herd.back.len(), 50);
            let last = *herd.back.iter().max().unwrap();
            assert!(last <= outage + LAST, "the last one is back after {last:?}");

            let share = |times: &[Duration]| crowd(times) * 100 / times.len();
            let (tries, back) = (share(&herd.tries), share(&herd.back));
            assert!(tries <= 40, "{tries} % of all tries in one slot");
            assert!(back <= 40, "{back} % come back in one slot");
            // Later on a server sees less than one try a second of each client.
            for second in 2..10 {
                let begin = Duration::from_secs(second);
                let seen = herd
                    .tries
                    .iter()
                    .filter(|time| (begin..begin + Duration::from_secs(1)).contains(*time));
                let seen = seen.count();
                assert!(seen <= 50, "{seen} tries in second {second}");
            }
        }
    }
}
