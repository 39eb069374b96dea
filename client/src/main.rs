//! `ngrnotok`: parse, check, find or start a server, serve, leave.

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::CommandFactory as _;
use ngrnotok::ask::{self, AskError};
use ngrnotok::beside::{self, BesideError, Plan};
use ngrnotok::cli::{Cli, Command, ConfigCommand, Doctor, Http, Run, Start};
use ngrnotok::client::{ClientError, Config, Tunnel};
use ngrnotok::config::file;
use ngrnotok::config::store::{self, StoreError};
use ngrnotok::config::{self, ConfigError, Identity, Wishes, summary};
use ngrnotok::doctor;
use ngrnotok::embedded::{self, EmbeddedError};
use ngrnotok::face::{self, Face, FaceError, Showing};
use ngrnotok::local::Target;
use ngrnotok::login::{self, LoginError};
use ngrnotok::output::{Form, Opening};
use ngrnotok::settings::{OutputWord, Settings};
use ngrnotok::web::{Web, WebError};
use ngrnotok_common::memory;
use ngrnotok_common::output::{self, complain};
use ngrnotok_common::printable;
use ngrnotok_common::protocol::control::StopCode;
use ngrnotok_common::protocol::handshake::Problem;
use ngrnotok_common::secret::{Secret, shows_token};
use thiserror::Error;
use tokio_util::sync::CancellationToken;

fn main() -> ExitCode {
    memory::keep_freed();
    output::keep_panics();
    let code = program();
    output::flush();
    code
}

fn program() -> ExitCode {
    // Before anything complains of it and repeats it.
    if std::env::args_os().any(|arg| shows_token(&arg.to_string_lossy())) {
        complain(&format!("ngrnotok: {TOKEN_TYPED}"));
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
        Some(Command::Run(args)) => match block_on(run_command(config, args)) {
            // What the command says of itself is what we say.
            Ok(code) => return ExitCode::from(code),
            Err(failure) => Err(failure),
        },
        Some(Command::Status(words)) => {
            block_on(async { print(ask::status(config::web_notes().as_deref(), &words).await?) })
        }
        Some(Command::Logs(words)) => block_on(async {
            let mut stdout = tokio::io::stdout();
            match ask::logs(
                config::web_notes().as_deref(),
                &words,
                io::stdout().is_terminal(),
                &mut stdout,
            )
            .await
            {
                Err(AskError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
                done => Ok(done?),
            }
        }),
        Some(Command::Resend(words)) => {
            block_on(async { print(ask::resend(config::web_notes().as_deref(), &words).await?) })
        }
        Some(Command::WaitForRequest(words)) => block_on(async {
            print(ask::wait_for_request(config::web_notes().as_deref(), &words).await?)
        }),
        Some(Command::Login(given)) => block_on(log_in(config, given)),
        Some(Command::Logout) => log_out(config),
        Some(Command::Config(ConfigCommand::Check(given))) => check(config, *given),
        Some(Command::Config(ConfigCommand::Path)) => show_path(config),
        Some(Command::Doctor(args)) => block_on(examine(config, args)),
        Some(Command::Completions(shell)) => written(shell.print(Cli::command())),
        Some(Command::Man(man)) => written(man.print(Cli::command())),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // The report has said what.
        Err(Failure::Examined) => ExitCode::FAILURE,
        Err(failure) => {
            complain(&format!("ngrnotok: {failure}"));
            ExitCode::from(failure.code())
        }
    }
}

fn print(text: impl AsRef<str>) -> Result<(), Failure> {
    // Servers, visitors and apps have a part in it.
    let text = printable::text(text.as_ref());
    written(output::print(text.as_bytes()))
}

const TOKEN_TYPED: &str = "a token must not be an argument, every user of this machine could read it. \
    Give it when ngrnotok login asks for it, or in NGRNOTOK_TOKEN, or put it into a file and name that with \
    --token-file. Others may have this one now: ask for a new one";

fn block_on<T>(program: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
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
    Beside(#[from] BesideError),
    #[error("something is wrong")]
    Examined,
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
            Self::Login(_)
            | Self::Web(_)
            | Self::Embedded(_)
            | Self::Beside(_)
            | Self::Examined
            | Self::Other(_) => 1,
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

impl From<FaceError> for Failure {
    fn from(error: FaceError) -> Self {
        match error {
            FaceError::Client(error) => Self::Client(error),
            FaceError::Write(error) => Self::Other(error.to_string()),
        }
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
    let identity = config::identity(&wishes.settings)?;
    let tunnel = config::tunnel(&args.tunnel, identity.accounts.as_ref())?;
    let mut command = match (&tunnel.target, args.tunnel.port) {
        (Target::Hello, _) => "ngrnotok http --hello".to_owned(),
        (_, Some(port)) => format!("ngrnotok http -p {port}"),
        (target, None) => format!("ngrnotok http {target}"),
    };
    if let Some(name) = &args.tunnel.name {
        command.push_str(&format!(" --name {name}"));
    }
    command.push_str(TO_A_SERVER);
    serve(&wishes, identity, vec![(None, tunnel)], command, run).await
}

async fn run(config: Config, face: Face) -> Result<(), Failure> {
    Ok(face::run(config, face).await?)
}

/// What makes public what a command has made for this machine.
const TO_A_SERVER: &str = " --server YOUR.SERVER";

async fn start(named: Option<PathBuf>, mut args: Start) -> Result<(), Failure> {
    let wishes = Wishes::read(named, std::mem::take(&mut args.settings))?;
    wishes.start_log()?;
    let identity = config::identity(&wishes.settings)?;
    let tunnels = config::tunnels(&args, &wishes, identity.accounts.as_ref())?;
    let words = match (args.all, args.none) {
        (true, _) => "--all".to_owned(),
        (_, true) => "--none".to_owned(),
        _ => args.names.join(" "),
    };
    let tunnels = tunnels.into_iter();
    let tunnels = tunnels.map(|(word, tunnel)| (Some(word), tunnel)).collect();
    let command = format!("ngrnotok start {words}{TO_A_SERVER}");
    serve(&wishes, identity, tunnels, command, run).await
}

async fn run_command(named: Option<PathBuf>, mut args: Run) -> Result<u8, Failure> {
    let wishes = Wishes::read(named, std::mem::take(&mut args.settings))?;
    wishes.start_log()?;
    let identity = config::identity(&wishes.settings)?;
    let tunnel = config::tunnel_of_command(&args, identity.accounts.as_ref())?;
    let command = beside::shown(&args.command);
    let name = args.tunnel.name.as_ref();
    let name = name.map_or_else(String::new, |name| format!(" --name {name}"));
    let public = format!("ngrnotok run{name}{TO_A_SERVER} -- {command}");
    let plan = Plan {
        command: args.command,
        port: args.tunnel.port,
        by_variable: args.port_env,
    };
    let note = |text: String| complain(&format!("ngrnotok: {text}"));
    // The command has the terminal; a panel would write over what it says.
    let beside = |config, face| {
        beside::run(
            config,
            plan,
            &note,
            move |config, targets, stop| async move {
                let stop = stop.cancelled_owned();
                Ok(face::run_beside(config, targets, face, stop).await?)
            },
        )
    };
    serve(&wishes, identity, vec![(None, tunnel)], public, beside).await
}

/// Serves tunnels, each with what the config file calls it, through the server that is wished for, in the
/// way that `run` does. The `public_command` would do the same with a server.
async fn serve<T, F>(
    wishes: &Wishes,
    identity: Identity,
    tunnels: Vec<(Option<String>, Tunnel)>,
    public_command: String,
    run: impl FnOnce(Config, Face) -> F,
) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    let settings = &wishes.settings;
    let place = settings.web.unwrap_or_default();
    let notes = config::web_notes();
    let web = Web::bind(place, config::web_password(settings)?, notes.as_deref()).await?;
    let web = web.map(|web| web.allow_unix(settings.web_allow_unix));
    let sign_in = web.as_ref().map(Web::sign_in);
    let words = tunnels.iter().filter_map(|(word, tunnel)| {
        let word = word.clone()?;
        Some((tunnel.name.clone(), word))
    });
    let mut opening = Opening {
        embedded_port: None,
        port_was_taken: false,
        public_command,
        words: words.collect(),
        web: sign_in.map(|sign_in| sign_in.page().to_owned()),
        // A file or a log may be for everybody to read.
        sign_in: sign_in.filter(|_| io::stdout().is_terminal()).cloned(),
    };
    let tunnels = tunnels.into_iter().map(|(_, tunnel)| tunnel).collect();
    let recorder = config::recorder(&wishes.settings)?;
    let face = |opening| Face {
        opening,
        showing: showing(settings),
        web,
    };
    if let Some(connector) = config::connector(&wishes.settings)? {
        let config = Config {
            links: config::links(&wishes.settings),
            recorder,
            state: config::sessions(),
            accounts: identity.accounts,
            ..Config::new(connector, identity.token, tunnels)
        };
        return run(config, face(opening)).await;
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
        let ended = run(config, face(opening)).await;
        stop.cancel();
        ended
    };
    let (ended, _) = tokio::join!(client, embedded.server.run(stop.cancelled()));
    ended
}

fn showing(settings: &Settings) -> Showing {
    match settings.output.unwrap_or(OutputWord::Auto) {
        OutputWord::Auto => Showing::Panel,
        OutputWord::Plain => Showing::Lines(Form::Plain),
        OutputWord::Json => Showing::Lines(Form::Json),
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
    let session = login::try_out(connector, Some(token.clone())).await?;
    store::log_in(path, &wishes, &token)?;
    let settings = Settings {
        token_file: None,
        token: Some(token),
        ..wishes.settings.clone()
    };
    if let (Some(session), Some(accounts)) = (&session, config::identity(&settings)?.accounts) {
        accounts.learn(&session.account);
    }
    let outcome = match session {
        Some(session) => format!(
            "Logged in to {server} as {}.",
            printable::line(&session.account)
        ),
        None => {
            format!("Logged in to {server}. All the links that this token may have are in use now.")
        }
    };
    print(format!(
        "{outcome}\nStored  {} (only you can read it)\nNext    ngrnotok http -p 3000{again}\n",
        path.display()
    ))
}

fn log_out(named: Option<PathBuf>) -> Result<(), Failure> {
    let wishes = Wishes::read(named, Settings::default())?;
    match wishes.file {
        Some(file) if file.settings.token.is_some() => {
            store::log_out(&file)?;
            print(format!(
                "Removed the token from {}.\n\
                 It is still good for whoever has a copy, until the server's operator ends it.\n",
                file.path.display()
            ))
        }
        _ => print("There is no token to remove.\n"),
    }
}

fn check(named: Option<PathBuf>, given: Settings) -> Result<(), Failure> {
    let wishes = Wishes::read(named, given)?;
    wishes.start_log()?;
    let summary = summary::of(&wishes)?;
    print(format!("{summary}The configuration is good.\n"))
}

fn show_path(named: Option<PathBuf>) -> Result<(), Failure> {
    let path = named.or_else(file::usual_path).ok_or(ConfigError::NoHome)?;
    print(format!("{}\n", path.display()))
}

async fn examine(named: Option<PathBuf>, args: Doctor) -> Result<(), Failure> {
    let report = doctor::examine(named, args.settings).await;
    print(match args.json {
        true => format!("{}\n", report.json()),
        false => report.to_string(),
    })?;
    match report.ok {
        true => Ok(()),
        false => Err(Failure::Examined),
    }
}

fn written(result: io::Result<()>) -> Result<(), Failure> {
    result.map_err(|error| Failure::Other(format!("failed to write: {error}")))
}
