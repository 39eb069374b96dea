//! How long a test waits, and what it says when it has waited for nothing.

use std::cell::RefCell;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// No test takes longer that does not say so.
const TEST: Duration = Duration::from_secs(30);

/// No event takes longer to come. Far more than any needs, for machines with other things to do.
const EVENT: Duration = Duration::from_secs(10);

/// A count stands still when it has not moved for so long.
const QUIET: Duration = Duration::from_millis(400);

thread_local! {
    static LAST_WAIT: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs a test on a runtime of its own, within 30 s. Everything that the test started ends with it.
pub fn run(test: impl Future<Output = ()>) {
    run_within(TEST, test);
}

/// The same for a test that has to watch for longer.
pub fn run_within(limit: Duration, test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be had");
    if runtime
        .block_on(async { timeout(limit, test).await })
        .is_err()
    {
        let wait = LAST_WAIT.take();
        panic!("the test hangs; the last thing it waited for was: {wait}");
    }
}

/// Waits for an event that is about to come.
pub async fn soon<T>(what: &str, event: impl Future<Output = T>) -> T {
    within(EVENT, what, event).await
}

/// Waits for an event that has its time.
pub async fn within<T>(limit: Duration, what: &str, event: impl Future<Output = T>) -> T {
    LAST_WAIT.set(what.to_owned());
    match timeout(limit, event).await {
        Ok(outcome) => outcome,
        Err(_) => panic!("waited {limit:?} in vain for: {what}"),
    }
}

/// Waits until something is so that announces itself by no event. The last resort.
pub async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    soon(what, async {
        while !is_so().await {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

/// Waits until a count moves no more, and returns it.
pub async fn still(count: &mut watch::Receiver<usize>) -> usize {
    while timeout(QUIET, count.changed())
        .await
        .is_ok_and(|moved| moved.is_ok())
    {}
    *count.borrow()
}
