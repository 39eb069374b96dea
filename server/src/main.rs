//! `ngrnotok-server`: parse, check, bind, say where, serve, drain.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::Context as _;
use clap::CommandFactory as _;
use ngrnotok_certs::pin::Pin;
use ngrnotok_common::shutdown::Hangups;
use ngrnotok_common::{cli, memory, orphans, output, shutdown, telemetry};
use ngrnotok_server::cli::{Cli, Command, ConfigCommand};
use ngrnotok_server::config::{self, Checked, Config, Effects};
use ngrnotok_server::server::{Addresses, Server, inherited};
use ngrnotok_server::{domain_command, name_command, token_command};

fn main() -> ExitCode {
    memory::keep_freed();
    output::keep_panics();
    let code = program();
    output::flush();
    code
}

fn program() -> ExitCode {
    let cli: Cli = cli::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(1, &anyhow::Error::new(error).context("failed to start")),
    };
    match runtime.block_on(run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Settings(error)) => fail(2, &error),
        Err(Failure::Other(error)) => fail(1, &error),
    }
}

/// Wrong settings are the operator's to mend and have an exit code of their own.
enum Failure {
    Settings(anyhow::Error),
    Other(anyhow::Error),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

async fn run(cli: Cli) -> Result<(), Failure> {
    let settings = |error: anyhow::Error| Failure::Settings(error);
    let file = config::read_file(cli.config.as_deref()).map_err(|error| settings(error.into()))?;
    let wishes = cli.settings.or(file);
    telemetry::start(wishes.log.as_deref().unwrap_or("info"))
        .map_err(|error| settings(error.into()))?;
    let state_dir = || config::state_dir(&wishes).map_err(|error| settings(error.into()));
    match cli.command {
        Some(Command::Token(command)) => token_command::run(command, &state_dir()?)
            .await
            .map_err(|error| Failure::Other(error.into())),
        Some(Command::Name(command)) => {
            let (state_dir, rules) = (state_dir()?, config::name_rules(&wishes));
            name_command::run(command, &state_dir, rules.hold)
                .await
                .map_err(|error| Failure::Other(error.into()))
        }
        Some(Command::Domain(command)) => {
            let (state_dir, rules) = (state_dir()?, config::name_rules(&wishes));
            domain_command::run(command, &state_dir, &rules.dns, wishes.domain.as_deref())
                .await
                .map_err(|error| Failure::Other(error.into()))
        }
        Some(Command::Config(ConfigCommand::Check)) => {
            let checked = config::check(wishes, Effects::None)
                .await
                .map_err(|error| settings(error.into()))?;
            for flaw in checked.config.certificate_flaws(SystemTime::now()) {
                output::complain(&format!("ngrnotok-server: warning: {flaw}"));
            }
            written(output::print(format!(
                "The configuration is good.\nTunnels are at {}\n",
                checked.urls
            )))
        }
        Some(Command::Completions(shell)) => written(shell.print(Cli::command())),
        Some(Command::Man(man)) => written(man.print(Cli::command())),
        None => {
            let checked = config::check(wishes, Effects::Allowed)
                .await
                .map_err(|error| settings(error.into()))?;
            Ok(serve(checked).await?)
        }
    }
}

fn written(result: std::io::Result<()>) -> Result<(), Failure> {
    Ok(result.context("failed to write")?)
}

async fn serve(checked: Checked) -> anyhow::Result<()> {
    let domain = checked.config.domain.clone();
    let (stop, hangups) = (shutdown::signal(), Hangups::new());
    let config = Config {
        inherited: inherited()
            .context("failed to take the sockets that were passed (LISTEN_FDS)")?,
        ..checked.config
    };
    let server = Server::bind(config).context("failed to start")?;
    output::announce(opening(&domain, server.addresses(), checked.dev.as_ref()));
    let all_done = tokio::select! {
        all_done = server.run(stop) => all_done,
        never = hangups.ignore() => match never {},
        never = orphans::reap(None) => match never {},
    };
    anyhow::ensure!(all_done, "some requests were cut off at the drain limit");
    Ok(())
}

/// Where the server listens, and how clients know it.
fn opening(domain: &str, addresses: &Addresses, dev: Option<&(PathBuf, Pin)>) -> String {
    let mut lines = vec![
        format!("ngrnotok-server {}", env!("CARGO_PKG_VERSION")),
        format!("tunnels    *.{domain}"),
    ];
    for (door, addresses) in [
        ("https", &addresses.https),
        ("http", &addresses.http),
        ("tunnel", &addresses.tunnel),
    ] {
        lines.extend(
            addresses
                .iter()
                .map(|address| format!("{door:<9}  {address}")),
        );
    }
    if let Some(address) = &addresses.admin {
        lines.push(format!("admin      http://{address}/healthz"));
    }
    if let Some((file, pin)) = dev {
        lines.push(format!("authority  {}", file.display()));
        lines.push(format!("pin        {pin}"));
    }
    lines.join("\n") + "\n"
}

fn fail(code: u8, error: &anyhow::Error) -> ExitCode {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        // Some errors tell their source themselves.
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    output::complain(&format!("ngrnotok-server{text}"));
    ExitCode::from(code)
}
