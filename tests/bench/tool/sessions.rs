//! Many tunnel clients in one process: each with a link, a session and a tunnel of its own.

use clap::Args;
use ngrnotok::client::{Client, Config, Tunnel};
use ngrnotok::connect::Connector;
use ngrnotok::local::{Options, Target};
use ngrnotok::status::State;
use ngrnotok_certs::pin::Pin;
use ngrnotok_certs::tls::Trust;
use ngrnotok_common::shutdown;
use serde_json::json;
use tokio::task::JoinSet;

/// How many, and where to.
#[derive(Debug, Args)]
pub(crate) struct Sessions {
    /// The port on which the server takes clients.
    port: u16,
    /// The server's key.
    pin: Pin,
    /// The app's port.
    app: u16,
    #[arg(long, default_value_t = 100)]
    count: usize,
    /// Names are this and a number.
    #[arg(long, default_value = "t")]
    prefix: String,
}

/// Clients that come at once; more would only wait for each other's handshakes.
const AT_ONCE: usize = 32;

impl Sessions {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let connector = Connector::new("localhost", self.port, Trust::Pin(self.pin))?;
        let mut clients = JoinSet::new();
        let mut coming = JoinSet::new();
        for number in 0..self.count {
            let tunnel = Tunnel {
                name: format!("{}{number}", self.prefix).parse()?,
                target: Target::port(self.app)?,
                options: Options::default(),
                pool: None,
            };
            let client = Client::new(Config::new(connector.clone(), None, vec![tunnel]))?;
            let mut status = client.status();
            clients.spawn(client.run(std::future::pending()));
            coming.spawn(async move {
                let online = status.wait_for(|status| status.state == State::Online);
                online.await.is_ok()
            });
            while coming.len() >= AT_ONCE {
                came(coming.join_next().await)?;
            }
        }
        while !coming.is_empty() {
            came(coming.join_next().await)?;
        }
        println!("held {}", json!({ "tunnels": clients.len() }));
        tokio::select! {
            () = shutdown::signal() => Ok(()),
            Some(ended) = clients.join_next() => Ok(ended??),
        }
    }
}

fn came(online: Option<Result<bool, tokio::task::JoinError>>) -> anyhow::Result<()> {
    let online = online.transpose()?;
    anyhow::ensure!(online == Some(true), "a client did not come online");
    Ok(())
}
