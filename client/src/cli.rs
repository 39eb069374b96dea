//! The command line of `ngrnotok`, as typed.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, Args, Parser, Subcommand};
use ngrnotok_common::manual::{Completions, Man};

use crate::ask::words;
use crate::local::Target;
use crate::settings::{Settings, TunnelSettings};

/// A public URL for a local port, through a server of your own.
#[derive(Debug, Parser)]
#[command(
    name = "ngrnotok",
    version,
    after_help = "\
Try it:      ngrnotok http --hello\n\
Use it:      ngrnotok http -p 3000\n\
Go public:   ngrnotok login --server tunnel.example.com\n\n\
Exit codes: 0 done, 1 failure, 2 wrong usage or configuration, 3 refused credentials,\n\
4 name taken, 5 server unreachable, 6 no client runs, 7 no such request in time."
)]
pub struct Cli {
    /// TOML file with your server, token and tunnels [default: what ngrnotok config path prints]
    #[arg(long, value_name = "FILE", env = "NGRNOTOK_CONFIG", global = true)]
    pub config: Option<PathBuf>,

    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a local web server public
    #[command(after_help = "\
Examples:\n  \
ngrnotok http -p 3000                       the app on port 3000 of this machine\n  \
ngrnotok http 127.0.0.1:3000                the same, by address\n  \
ngrnotok http https://localhost:8443        an app that speaks TLS\n  \
ngrnotok http unix:/run/app.sock            an app on a Unix socket\n  \
ngrnotok http -p 3000 --server tunnel.example.com\n\n\
Without a server everything stays on this machine: http://NAME.localhost:4080.\n\
The token is never given as an argument, where every user of the machine could read it:\n\
use ngrnotok login, --token-file or NGRNOTOK_TOKEN.")]
    Http(Http),
    /// Make tunnels of the config file public, all on one link
    #[command(after_help = "\
Examples:\n  \
ngrnotok start web api     the tunnels [tunnels.web] and [tunnels.api]\n  \
ngrnotok start --all\n  \
ngrnotok start --none      none yet, until a program opens one")]
    Start(Start),
    /// Start a command, make the port that it opens public, and end with it
    #[command(
        mut_arg("target", |arg| arg.hide(true).index(1).value_parser(misplaced)),
        mut_arg("hello", |arg| arg.hide(true)),
        mut_arg("port", |arg| {
            arg.help("The port that the command will open [default: the first that answers HTTP]")
        }),
        mut_arg("name", |arg| {
            arg.help("The name you want, or a whole host of your own such as app.example.com \
                [default: derived from this installation, the folder and the command, so it stays]")
        }),
        override_usage = "ngrnotok run [OPTIONS] -- COMMAND [ARGS]...",
        after_help = "\
Examples:\n  \
ngrnotok run -- npm run dev\n  \
ngrnotok run --dev --name my-app -- npx vite\n  \
ngrnotok run -p 8000 -- docker compose up\n\n\
The command finds the public URL in NGRNOTOK_URL. Signals go to it, and the exit code is its own."
    )]
    Run(Run),
    /// Show how a running client stands
    Status(words::Status),
    /// Show what went through a running client
    #[command(after_help = "\
Examples:\n  \
ngrnotok logs --follow               what goes by, a line each\n  \
ngrnotok logs 12                     request 12 with its answer\n  \
ngrnotok logs 12 --body request      its body alone")]
    Logs(words::Logs),
    /// Have a running client send a recorded request to the app once more
    #[command(after_help = "Exit code: 0 if the app answered, whatever the status.")]
    Resend(words::Resend),
    /// Wait until a running client has got a request that fits, and print it
    #[command(after_help = "\
Requests count that come after this has begun; with --after NUMBER, those after that one, also if\n\
they have come already:\n\n  \
last=$(ngrnotok status --json | jq .recorder.newest)\n  \
trigger-the-webhook\n  \
ngrnotok wait-for-request --after $last --path /webhooks/payment --timeout 30s --json\n\n\
Exit codes: 0 it came, 6 no client runs, 7 it did not come in time.")]
    WaitForRequest(words::Wait),
    /// Try a token and keep it in the config file, with the server it is for
    #[command(
        mut_arg("server", |arg| {
            arg.help("The server that the token is for [default: that of the config file]")
        }),
        mut_arg("local_only", |arg| arg.hide(true)),
        mut_args(hidden_if_of_serving),
        after_help = "\
The token comes from the file or variable that names it, else from the terminal, without an\n\
echo, or from standard input:\n  \
ngrnotok login --server tunnel.example.com < token"
    )]
    Login(Settings),
    /// Remove the token from the config file
    Logout,
    /// Look at the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Find out what is wrong between this machine, the server and your apps
    #[command(
        mut_args(hidden_if_of_serving),
        after_help = "\
Nothing is changed, and no token is shown: the report can be given to whoever helps you.\n\
Exit codes: 0 nothing has failed, 1 something has."
    )]
    Doctor(Doctor),
    /// Print a script that completes the words of ngrnotok in your shell
    #[command(after_help = "\
Examples:\n  \
ngrnotok completions bash > ~/.local/share/bash-completion/completions/ngrnotok\n  \
ngrnotok completions fish > ~/.config/fish/completions/ngrnotok.fish")]
    Completions(Completions),
    /// Print the manual page, or write those of all commands into a folder
    #[command(after_help = "\
Examples:\n  \
ngrnotok man | man -l -\n  \
ngrnotok man --dir ~/.local/share/man/man1")]
    Man(Man),
}

/// Look at the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Show what flags, environment and file give together, or what is wrong with them (exit code 2)
    Check(Box<Settings>),
    /// Print where the config file is
    Path,
}

/// Find out what is wrong.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Print one JSON object instead of a table
    #[arg(long)]
    pub json: bool,

    /// The server, and how to know it.
    #[command(flatten)]
    pub settings: Settings,
}

/// Make a local web server public.
#[derive(Debug, Args)]
pub struct Http {
    /// What to make public, and how.
    #[command(flatten)]
    pub tunnel: TunnelSettings,

    /// Through whom, and how to say so.
    #[command(flatten)]
    pub settings: Settings,
}

/// Start a command and make the port that it opens public.
#[derive(Debug, Args)]
pub struct Run {
    /// How to deal with what it opens.
    #[command(flatten)]
    pub tunnel: TunnelSettings,

    /// Choose a free port and hand it to the command in the variable PORT [default: only where the system
    /// does not tell which ports a process opens]
    #[arg(long, conflicts_with = "port")]
    pub port_env: bool,

    /// Through whom, and how to say so.
    #[command(flatten)]
    pub settings: Settings,

    /// The command and its arguments
    #[arg(index = 2, last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// Commands that serve nothing do not show the settings of those that do.
fn hidden_if_of_serving(arg: Arg) -> Arg {
    let id = arg.get_id().as_str();
    match matches!(id, "links" | "output") || id.starts_with("web") || id.starts_with("inspect") {
        true => arg.hide(true),
        false => arg,
    }
}

/// A word where there is no place for one.
fn misplaced(word: &str) -> Result<Target, String> {
    Err(format!(
        "the command comes after two hyphens, as in: ngrnotok run -- {word}"
    ))
}

/// Make tunnels of the config file public.
#[derive(Debug, Args)]
pub struct Start {
    /// Tunnels of the config file, by the NAME in [tunnels.NAME]
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,

    /// Every tunnel of the config file
    #[arg(long, conflicts_with = "names")]
    pub all: bool,

    /// No tunnel yet: programs open them through the web interface, with POST /api/tunnels
    #[arg(long, conflicts_with_all = ["names", "all"])]
    pub none: bool,

    /// Through whom, and how to say so.
    #[command(flatten)]
    pub settings: Settings,
}
