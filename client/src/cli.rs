//! The command line of `ngrnotok`, as typed. `config` makes checked types of it.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// A public URL for a local port, through a server of your own.
#[derive(Debug, Parser)]
#[command(
    name = "ngrnotok",
    version,
    after_help = "\
Try it:  ngrnotok http --hello\n\
Use it:  ngrnotok http -p 3000\n\n\
Exit codes: 0 done, 1 failure, 2 wrong usage, 3 refused credentials, 4 name taken,\n\
5 server unreachable."
)]
pub struct Cli {
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
Without --server everything stays on this machine: http://NAME.localhost:4080.\n\
The token is never given as an argument, where every user of the machine could read it:\n\
use --token-file or NGRNOTOK_TOKEN.")]
    Http(Http),
}

/// Make a local web server public.
#[derive(Debug, Args)]
pub struct Http {
    /// The local app: PORT, HOST:PORT, http://…, https://… or unix:/PATH
    #[arg(value_name = "TARGET", conflicts_with_all = ["port", "hello"])]
    pub target: Option<String>,

    /// Port of the local app on this machine
    #[arg(short, long, value_name = "PORT", conflicts_with = "hello")]
    pub port: Option<u16>,

    /// No app needed: serve a page that shows each visitor's request
    #[arg(long)]
    pub hello: bool,

    /// The server, HOST or HOST:PORT [default: one on this machine, started for you]
    #[arg(long, value_name = "HOST[:PORT]", env = "NGRNOTOK_SERVER")]
    pub server: Option<String>,

    /// The name you want [default: derived from this installation and the target, so it stays]
    #[arg(long, value_name = "NAME", env = "NGRNOTOK_NAME")]
    pub name: Option<String>,

    /// Connections to the server: more stand losses and use more of its cores
    #[arg(long, value_name = "N", default_value = "1", env = "NGRNOTOK_LINKS", value_parser = links)]
    pub links: NonZeroUsize,

    /// File with your token (or NGRNOTOK_TOKEN holds the token itself)
    #[arg(long, value_name = "FILE", env = "NGRNOTOK_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,

    /// Trust a server whose certificate this authority signed (PEM)
    #[arg(
        long,
        value_name = "FILE",
        env = "NGRNOTOK_SERVER_CA",
        conflicts_with = "server_pin",
        requires = "server"
    )]
    pub server_ca: Option<PathBuf>,

    /// Trust a server by the hash of its key, as ngrnotok-server --dev-cert prints it
    #[arg(
        long,
        value_name = "sha256:HEX",
        env = "NGRNOTOK_SERVER_PIN",
        requires = "server"
    )]
    pub server_pin: Option<String>,

    /// Accept any certificate of an https:// target
    #[arg(long)]
    pub insecure_local: bool,

    /// What the local app speaks: http1, h2c (HTTP/2 in clear: gRPC), or auto: http1, and over TLS what
    /// ALPN finds
    #[arg(
        long,
        value_enum,
        value_name = "PROTOCOL",
        default_value = "auto",
        hide_possible_values = true
    )]
    pub local_protocol: ProtocolWord,

    /// Host that the local app sees: "rewrite" for its own (localhost:3000), or any VALUE
    /// [default: the visitor's]
    #[arg(long, value_name = "rewrite|VALUE", conflicts_with = "dev")]
    pub host_header: Option<String>,

    /// For dev servers (Vite, Next.js, webpack …): let the app believe that visitors are on this
    /// machine, and map its redirects, cookies and origins back
    #[arg(long)]
    pub dev: bool,

    /// off, error, warn, info, debug, trace, or a filter such as ngrnotok=debug
    #[arg(
        long,
        value_name = "LEVEL",
        env = "NGRNOTOK_LOG",
        default_value = "warn"
    )]
    pub log: String,

    /// Lines for people or one JSON object a line
    #[arg(long, value_enum, env = "NGRNOTOK_OUTPUT", default_value = "auto")]
    pub output: OutputWord,
}

/// What the local app speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProtocolWord {
    /// HTTP/1.1, and over TLS what ALPN finds
    Auto,
    /// HTTP/1.1
    Http1,
    /// HTTP/2 with prior knowledge
    H2c,
}

/// How to show what happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputWord {
    /// What suits the terminal
    Auto,
    /// Lines for people
    Plain,
    /// One JSON object a line, the first one with the URL
    Json,
}

/// More links than that gain nothing and cost the server memory.
const MOST_LINKS: usize = 16;

fn links(word: &str) -> Result<NonZeroUsize, String> {
    word.parse()
        .ok()
        .filter(|links: &NonZeroUsize| links.get() <= MOST_LINKS)
        .ok_or_else(|| format!("{word:?} is not a number from 1 to {MOST_LINKS}"))
}
