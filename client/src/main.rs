//! `ngrnotok`: parse, check, find or start a server, serve, leave.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::CommandFactory as _;
use ngrnotok::ask::{self, AskError};
use ngrnotok::cli::{Cli, Command, ConfigCommand, Http, Start};
use ngrnotok::client::{Client, ClientError, Config, Tunnel};
use ngrnotok::config::file;
use ngrnotok::config::store::{self, StoreError};
use ngrnotok::config::{self, ConfigError, Wishes, summary};
use ngrnotok::embedded::{self, EmbeddedError};
use ngrnotok::local::Target;
use ngrnotok::login::{self, LoginError};
use ngrnotok::output::{self, Form, Opening};
use ngrnotok::settings::{OutputWord, Settings};
use ngrnotok::web::{Shown, Web, WebError};
use ngrnotok_common::protocol::control::StopCode;
use ngrnotok_common::protocol::handshake::Problem;
use ngrnotok_common::secret::{Secret, shows_token};
use ngrnotok_common::{memory, shutdown};
use thiserror::Error;
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

fn main() -> ExitCode {
    memory::keep_freed();
    // Before anything complains of it and repeats it.
    if std::env::args_os().any(|arg| shows_token(&arg.to_string_lossy())) {
        eprintln!("ngrnotok: {TOKEN_TYPED}");
        return ExitCode::from(2);
    }
    let Cli { config, command } = ngrnotok_common::cli::parse();
    let done = match command {
        None => {
            let _ = Cli::command().print_help();
            Ok(())
        }
        Some(Command::Http(args)) => block_on(http(config, args)),
        Some(Command::Start(args)) => block_on(start(config, args)),
        Some(Command::Status(words)) => {
            block_on(async { print(&ask::status(&config::web_notes(), &words).await?).await })
        }
        Some(Command::Logs(words)) => block_on(async {
            let mut stdout = tokio::io::stdout();
            match ask::logs(&config::web_notes(), &words, &mut stdout).await {
                Err(AskError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
                done => Ok(done?),
            }
        }),
        Some(Command::Resend(words)) => {
            block_on(async { print(&ask::resend(&config::web_notes(), &words).await?).await })
        }
        Some(Command::WaitForRequest(words)) => block_on(async {
            print(&ask::wait_for_request(&config::web_notes(), &words).await?).await
        }),
        Some(Command::Login(given)) => block_on(log_in(config, given)),
        Some(Command::Logout) => log_out(config),
        Some(Command::Config(ConfigCommand::Check(given))) => check(config, *given),
        Some(Command::Config(ConfigCommand::Path)) => show_path(config),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("ngrnotok: {failure}");
            ExitCode::from(failure.code())
        }
    }
}

async fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = tokio::io::stdout();
    let written = async {
        stdout.write_all(text.as_bytes()).await?;
        stdout.flush().await
    };
    written.await.map_err(|error| AskError::Write(error).into())
}

const TOKEN_TYPED: &str = "a token must not be an argument, every user of this machine could read it. \
    Give it when ngrnotok login asks for it, or in NGRNOTOK_TOKEN, or put it into a file and name that with \
    --token-file. Others may have this one now: ask for a new one";

fn block_on(program: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Other(error.to_string()))?;
    let ended = runtime.block_on(program);
    // A write to a pipe that nobody reads would keep the program here for ever, and a name that is being
    // resolved for a while.
    runtime.shutdown_background();
    ended
}

/// Why the program ends, by exit code.
#[derive(Debug, Error)]
enum Failure {
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Client(#[from] ClientError),
    #[error("{0}")]
    Login(#[from] LoginError),
    #[error("{0}")]
    Web(#[from] WebError),
    #[error("{0}")]
    Ask(#[from] AskError),
    #[error("{0}")]
    Embedded(#[from] EmbeddedError),
    #[error("{0}")]
    Other(String),
}

impl Failure {
    /// The documented exit codes.
    fn code(&self) -> u8 {
        match self {
            Self::Usage(_)
            | Self::Login(LoginError::Token(_))
            | Self::Web(WebError::Open { .. }) => 2,
            Self::Client(error) | Self::Login(LoginError::Client(error)) => match error {
                error if is_about_the_token(error) => 3,
                ClientError::NameTaken(_) | ClientError::TakenOver => 4,
                ClientError::Unreachable(_) => 5,
                _ => 1,
            },
            Self::Ask(error) => error.code(),
            Self::Login(_) | Self::Web(_) | Self::Embedded(_) | Self::Other(_) => 1,
        }
    }
}

/// Whether another token would mend it.
fn is_about_the_token(error: &ClientError) -> bool {
    match error {
        ClientError::Refused(problem) => {
            matches!(problem.status, 401 | 403) || problem.code == Problem::TOO_MANY_FAILURES
        }
        ClientError::Stopped { code, .. } => matches!(
            code,
            StopCode::TokenRevoked | StopCode::TokenExpired | StopCode::TokenChanged
        ),
        ClientError::NameForbidden(_) => true,
        _ => false,
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Other(error.to_string())
    }
}

async fn http(named: Option<PathBuf>, args: Http) -> Result<(), Failure> {
    let wishes = Wishes::read(named, args.settings)?;
    wishes.start_log()?;
    let tunnel = config::tunnel(&args.tunnel)?;
    let mut command = match (&tunnel.target, args.tunnel.port) {
        (Target::Hello, _) => "ngrnotok http --hello".to_owned(),
        (_, Some(port)) => format!("ngrnotok http -p {port}"),
        (target, None) => format!("ngrnotok http {target}"),
    };
    if let Some(name) = &args.tunnel.name {
        command.push_str(&format!(" --name {name}"));
    }
    serve(&wishes, vec![(None, tunnel)], command).await
}

async fn start(named: Option<PathBuf>, mut args: Start) -> Result<(), Failure> {
    let wishes = Wishes::read(named, std::mem::take(&mut args.settings))?;
    wishes.start_log()?;
    let tunnels = config::tunnels(&args, &wishes)?;
    let words = match args.all {
        true => "--all".to_owned(),
        false => args.names.join(" "),
    };
    let tunnels = tunnels.into_iter();
    let tunnels = tunnels.map(|(word, tunnel)| (Some(word), tunnel)).collect();
    serve(&wishes, tunnels, format!("ngrnotok start {words}")).await
}

/// Serves tunnels, each with what the config file calls it, through the server that is wished for. The
/// `command` is what the user has typed of them.
async fn serve(
    wishes: &Wishes,
    tunnels: Vec<(Option<String>, Tunnel)>,
    command: String,
) -> Result<(), Failure> {
    let form = form(&wishes.settings);
    let words = tunnels.iter().filter_map(|(word, tunnel)| {
        let word = word.clone()?;
        Some((tunnel.name.clone(), word))
    });
    let mut opening = Opening {
        embedded_port: None,
        port_was_taken: false,
        public_command: format!("{command} --server YOUR.SERVER"),
        words: words.collect(),
        web: None,
    };
    let tunnels = tunnels.into_iter().map(|(_, tunnel)| tunnel).collect();
    let recorder = config::recorder(&wishes.settings)?;
    if let Some(connector) = config::connector(&wishes.settings)? {
        let config = Config {
            links: config::links(&wishes.settings),
            recorder,
            state: Some(config::sessions()),
            ..Config::new(connector, config::token(&wishes.settings)?, tunnels)
        };
        return run(config, opening, form, &wishes.settings).await;
    }
    let embedded = embedded::start().await?;
    opening.embedded_port = Some(embedded.port);
    opening.port_was_taken = embedded.port != embedded::PORT;
    // The server and its sessions end with this process: there is nothing to come back to.
    let config = Config {
        recorder,
        ..Config::new(embedded.connector, Some(embedded.token), tunnels)
    };
    // The server outlives the client by its goodbye.
    let stop = CancellationToken::new();
    let client = async {
        let ended = run(config, opening, form, &wishes.settings).await;
        stop.cancel();
        ended
    };
    let (ended, _) = tokio::join!(client, embedded.server.run(stop.cancelled()));
    ended
}

async fn run(
    config: Config,
    mut opening: Opening,
    form: Form,
    settings: &Settings,
) -> Result<(), Failure> {
    let place = settings.web.unwrap_or_default();
    let notes = config::web_notes();
    let web = Web::bind(place, config::web_password(settings)?, Some(&notes)).await?;
    opening.web = web.as_ref().map(Web::url);
    let mut client = Client::new(config)?;
    let requests = client.take_requests().expect("taken once");
    // It ends when this is dropped, with the client.
    let mut page = JoinSet::new();
    if let Some(web) = web {
        page.spawn(web.serve(Shown {
            status: client.status(),
            recorder: client.recorder(),
            resender: client.resender(),
        }));
    }
    let (status, recorder) = (client.status(), client.recorder());
    let mut stdout = tokio::io::stdout();
    let mut showing = std::pin::pin!(output::show(form, opening, status, requests, &mut stdout));
    let running = client.run(shutdown::signal());
    let ended = tokio::select! {
        ended = running => {
            // The client is gone, so this ends too, once all is shown.
            let _ = tokio::time::timeout(LAST_LINES, showing).await;
            let _ = tokio::time::timeout(LAST_LINES, recorder.saved()).await;
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

fn form(settings: &Settings) -> Form {
    match settings.output.unwrap_or(OutputWord::Auto) {
        OutputWord::Auto | OutputWord::Plain => Form::Plain,
        OutputWord::Json => Form::Json,
    }
}

async fn log_in(named: Option<PathBuf>, given: Settings) -> Result<(), Failure> {
    let again = match &named {
        Some(file) => format!(" --config {}", file.display()),
        None => String::new(),
    };
    let wishes = Wishes::read_new(named, given)?;
    wishes.start_log()?;
    let path = wishes.path.as_ref().ok_or(ConfigError::NoHome)?;
    let connector = config::connector(&wishes.settings)?;
    let (Some(connector), Some(server)) = (connector, &wishes.settings.server) else {
        return Err(ConfigError::NoServer.into());
    };
    // The token in the file is the one to be replaced.
    let token: Secret = match config::token(&wishes.given)? {
        Some(token) => token,
        None => login::ask(server)?,
    };
    let account = login::try_out(connector, token.clone()).await?;
    store::log_in(path, &wishes, &token)?;
    match account {
        Some(account) => println!("Logged in to {server} as {account}."),
        None => println!(
            "Logged in to {server}. All the links that this token may have are in use now."
        ),
    }
    println!("Stored  {} (only you can read it)", path.display());
    println!("Next    ngrnotok http -p 3000{again}");
    Ok(())
}

fn log_out(named: Option<PathBuf>) -> Result<(), Failure> {
    let wishes = Wishes::read(named, Settings::default())?;
    match wishes.file {
        Some(file) if file.settings.token.is_some() => {
            store::log_out(&file)?;
            println!("Removed the token from {}.", file.path.display());
            println!(
                "It is still good for whoever has a copy, until the server's operator ends it."
            );
        }
        _ => println!("There is no token to remove."),
    }
    Ok(())
}

fn check(named: Option<PathBuf>, given: Settings) -> Result<(), Failure> {
    let wishes = Wishes::read(named, given)?;
    wishes.start_log()?;
    print!("{}", summary::of(&wishes)?);
    println!("The configuration is good.");
    Ok(())
}

fn show_path(named: Option<PathBuf>) -> Result<(), Failure> {
    let path = named.or_else(file::usual_path).ok_or(ConfigError::NoHome)?;
    println!("{}", path.display());
    Ok(())
}
