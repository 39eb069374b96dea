//! Many clients who lose the same server do not come back in the same moment.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ngrnotok::client::Config;
use ngrnotok::connect::Connector;
use ngrnotok::status::State;
use ngrnotok_tests::origin::Origin;
use ngrnotok_tests::tasks::Tasks;
use ngrnotok_tests::world::{RunningClient, tunnel};
use ngrnotok_tests::{run_within, within};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep_until};

use crate::place::Place;

const CLIENTS: usize = 50;

/// How long the server is away.
const AWAY: Duration = Duration::from_secs(10);

/// The longest wait between two tries.
const BACK: Duration = Duration::from_secs(15);

/// A slot in which not too many may come.
const SLOT: Duration = Duration::from_millis(100);

/// Stands where the server was, and closes whatever comes.
struct Ruin {
    tries: Arc<Mutex<Vec<Instant>>>,
    _tasks: Tasks,
}

impl Ruin {
    async fn of(place: &Place) -> Self {
        let listener = TcpListener::bind(place.address).await;
        let listener = listener.expect("the server is gone");
        let (tasks, tries) = (Tasks::default(), Arc::<Mutex<Vec<Instant>>>::default());
        let seen = Arc::clone(&tries);
        tasks.spawn(async move {
            while listener.accept().await.is_ok() {
                let mut tries = seen.lock().expect("nothing panics under this lock");
                tries.push(Instant::now());
            }
        });
        Self {
            tries,
            _tasks: tasks,
        }
    }
}

/// The most that lies in any slot, in percent.
fn crowd(times: &[Instant]) -> usize {
    let in_slot = |from: usize| {
        let end = times[from] + SLOT;
        times[from..].partition_point(|time| *time < end)
    };
    let most = (0..times.len()).map(in_slot).max().unwrap_or(0);
    most * 100 / times.len()
}

#[test]
fn a_herd_that_has_lost_its_server_comes_back_soon_and_never_all_at_once() {
    run_within(Duration::from_secs(90), async {
        let place = Place::new();
        let server = place.open().await;
        let app = Origin::saying("hello").await;
        let mut clients = Vec::new();
        for number in 0..CLIENTS {
            let connector = Connector::new("localhost", place.address.port(), place.trust());
            let connector = connector.expect("a good host");
            let tunnel = tunnel(&format!("app-{number}"), app.target());
            let client = RunningClient::start(Config::new(connector, None, vec![tunnel]));
            clients.push(client.await.expect("the server is there"));
        }
        let urls: Vec<_> = clients.iter().map(RunningClient::url).collect();

        let lost = Instant::now();
        server.kill().await;
        let ruin = Ruin::of(&place).await;
        sleep_until(lost + AWAY).await;
        let tries = std::mem::take(&mut *ruin.tries.lock().unwrap());
        drop(ruin);
        place.is_free().await;
        let _server = place.open().await;
        let listens = Instant::now();
        let mut returns = Vec::new();
        let back = async {
            for client in &mut clients {
                let online = client
                    .status
                    .wait_for(|status| status.state == State::Online);
                drop(online.await.expect("the client lives"));
                returns.push(Instant::now());
            }
        };
        within(BACK, "everybody back", back).await;
        let (crowd, last) = (crowd(&tries), returns[CLIENTS - 1] - listens);
        println!(
            "herd: {} tries in {AWAY:?}, at most {crowd} % of them in {SLOT:?}; all back after {last:.2?}",
            tries.len()
        );
        assert!(tries.len() > CLIENTS, "{}", tries.len());
        assert!(crowd <= 40, "{crowd} %");
        assert_eq!(
            clients.iter().map(RunningClient::url).collect::<Vec<_>>(),
            urls
        );
    });
}
