//! `ngrnotok`: parse, check, find or start a server, serve, leave.

use std::io;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory as _, Parser as _};
use ngrnotok::cli::{self, Cli, Command, OutputWord};
use ngrnotok::client::{Client, ClientError, Config, Tunnel};
use ngrnotok::config::{self, ConfigError, Remote};
use ngrnotok::embedded::{self, EmbeddedError};
use ngrnotok::local::Target;
use ngrnotok::output::{self, Form, Opening};
use ngrnotok_common::{shutdown, telemetry};
use thiserror::Error;
use tokio_util::sync::CancellationToken;

fn main() -> ExitCode {
    let Some(Command::Http(args)) = Cli::parse().command else {
        let _ = Cli::command().print_help();
        return ExitCode::SUCCESS;
    };
    if let Err(error) = telemetry::start(&args.log) {
        return fail(&Failure::Usage(error.to_string()));
    }
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(&Failure::Other(error.to_string())),
    };
    let ended = runtime.block_on(http(&args));
    // A write to a pipe that nobody reads would keep the program here for ever.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => fail(&failure),
    }
}

/// Why the program ends, by exit code.
#[derive(Debug, Error)]
enum Failure {
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Client(#[from] ClientError),
    #[error("{0}")]
    Embedded(#[from] EmbeddedError),
    #[error("{0}")]
    Other(String),
}

impl Failure {
    /// The documented exit codes.
    fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Client(ClientError::Refused(problem)) if matches!(problem.status, 401 | 403) => 3,
            Self::Client(ClientError::NameTaken(_) | ClientError::TakenOver) => 4,
            Self::Client(ClientError::Unreachable(_)) => 5,
            Self::Client(_) | Self::Embedded(_) | Self::Other(_) => 1,
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Usage(error.to_string())
    }
}

fn fail(failure: &Failure) -> ExitCode {
    eprintln!("ngrnotok: {failure}");
    ExitCode::from(failure.code())
}

async fn http(args: &cli::Http) -> Result<(), Failure> {
    let tunnel = config::tunnel(args)?;
    let public_command = public_command(args, &tunnel);
    match config::remote(args)? {
        Some(remote) => {
            let opening = Opening {
                embedded_port: None,
                port_was_taken: false,
                public_command,
            };
            run(remote, tunnel, opening, form(args)).await
        }
        None => {
            let embedded = embedded::start().await?;
            let opening = Opening {
                embedded_port: Some(embedded.port),
                port_was_taken: embedded.port != embedded::PORT,
                public_command,
            };
            let remote = Remote {
                connector: embedded.connector,
                token: Some(embedded.token),
                links: NonZeroUsize::MIN,
                // The server and its sessions end with this process.
                state: None,
            };
            // The server outlives the client by its goodbye.
            let stop = CancellationToken::new();
            let client = async {
                let ended = run(remote, tunnel, opening, form(args)).await;
                stop.cancel();
                ended
            };
            let (ended, _) = tokio::join!(client, embedded.server.run(stop.cancelled()));
            ended
        }
    }
}

async fn run(remote: Remote, tunnel: Tunnel, opening: Opening, form: Form) -> Result<(), Failure> {
    let mut client = Client::new(Config {
        links: remote.links,
        state: remote.state,
        ..Config::new(remote.connector, remote.token, vec![tunnel])
    })?;
    let requests = client.take_requests().expect("taken once");
    let status = client.status();
    let mut stdout = tokio::io::stdout();
    let mut showing = std::pin::pin!(output::show(form, opening, status, requests, &mut stdout));
    let running = client.run(shutdown::signal());
    let ended = tokio::select! {
        ended = running => {
            // The client is gone, so this ends too, once all is shown.
            let _ = tokio::time::timeout(LAST_LINES, showing).await;
            ended
        }
        // Whoever read our lines has left (a closed pipe): so do we.
        written = &mut showing => {
            return match written {
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                    Err(Failure::Other(error.to_string()))
                }
                _ => Ok(()),
            };
        }
        () = impatience() => return Ok(()),
    };
    Ok(ended?)
}

/// How long the last lines may take to be written.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The second Ctrl-C: whoever presses it does not want to wait for open requests.
async fn impatience() {
    shutdown::signal().await;
    shutdown::signal().await;
}

fn form(args: &cli::Http) -> Form {
    match args.output {
        OutputWord::Auto | OutputWord::Plain => Form::Plain,
        OutputWord::Json => Form::Json,
    }
}

/// The one command that would make the same thing public.
fn public_command(args: &cli::Http, tunnel: &Tunnel) -> String {
    let mut command = match (&tunnel.target, args.port) {
        (Target::Hello, _) => "ngrnotok http --hello".to_owned(),
        (_, Some(port)) => format!("ngrnotok http -p {port}"),
        (target, None) => format!("ngrnotok http {target}"),
    };
    if let Some(name) = &args.name {
        command.push_str(&format!(" --name {name}"));
    }
    command.push_str(" --server YOUR.SERVER");
    command
}
