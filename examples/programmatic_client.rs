//! A tunnel client inside a program of your own: no command line, no child process.
//!
//! Give it a server in the environment and a target as its argument. From the root of the checkout:
//!
//! ```sh
//! export NGRNOTOK_SERVER=tunnel.example.com
//! export NGRNOTOK_TOKEN=ngrt_…
//! export NGRNOTOK_SERVER_CA=dev-ca.pem    # only for a server with --dev-cert
//! cargo run -p ngrnotok-examples --bin programmatic_client -- 3000
//! ```
//!
//! It prints the URL, then one line for each request, until Ctrl-C.

use std::env;
use std::error::Error;
use std::process::ExitCode;

use ngrnotok::client::{Client, Config, Tunnel};
use ngrnotok::connect::Connector;
use ngrnotok::local::{Options, Target};
use ngrnotok::requests::{Happening, Requests};
use ngrnotok::status::{State, Status};
use ngrnotok_certs::pem;
use ngrnotok_certs::tls::Trust;
use ngrnotok_common::hostname::HostPort;
use ngrnotok_common::secret::Secret;
use ngrnotok_common::shutdown;
use tokio::sync::watch;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let target: Target = env::args()
        .nth(1)
        .ok_or("which app? Give a target such as 3000 or http://host:8080")?
        .parse()?;
    let server = env::var("NGRNOTOK_SERVER").map_err(|_| "set NGRNOTOK_SERVER to HOST[:PORT]")?;
    let HostPort { host, port } = HostPort::parse(&server)?;
    let trust = match env::var_os("NGRNOTOK_SERVER_CA") {
        Some(file) => Trust::Roots(pem::load_chain(file.as_ref())?),
        None => Trust::Platform,
    };

    let connector = Connector::new(&host, port.unwrap_or(443), trust)?;
    let token = env::var("NGRNOTOK_TOKEN").ok().map(Secret::new);
    let tunnel = Tunnel {
        name: "programmatic".parse()?,
        target,
        options: Options::default(),
        pool: None,
    };
    let mut client = Client::new(Config::new(connector, token, vec![tunnel]))?;
    let status = client.status();
    let requests = client.take_requests().expect("taken once");

    // Ends with an error if the first try fails; later losses are mended by the client itself.
    tokio::select! {
        ended = client.run(shutdown::signal()) => ended?,
        () = show(status, requests) => {}
    }
    Ok(())
}

/// Prints what happens until the client is gone.
async fn show(mut status: watch::Receiver<Status>, mut requests: Requests) {
    loop {
        tokio::select! {
            changed = status.changed() => {
                if changed.is_err() {
                    return;
                }
                let status = status.borrow_and_update();
                match &status.state {
                    State::Online => {
                        for tunnel in &status.online {
                            println!("{} -> {}", tunnel.url, tunnel.target);
                        }
                    }
                    other => println!("{other:?}"),
                }
            }
            Some(happening) = requests.next() => match happening {
                Happening::Request(seen) => {
                    println!("{} {} {} in {:?}", seen.status, seen.method, seen.uri, seen.took);
                }
                Happening::Hint(hint) => println!("{}", hint.explanation),
            }
        }
    }
}
