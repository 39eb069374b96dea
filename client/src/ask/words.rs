//! What the commands that ask a running client are told, as typed.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, ValueEnum};

/// Whom to ask, and how to say what is answered.
#[derive(Debug, Clone, Args)]
pub struct Whom {
    /// Of several running clients, the one with its web interface at this address
    #[arg(long, value_name = "ADDRESS", env = "NGRNOTOK_WEB_ADDRESS")]
    pub web_address: Option<SocketAddr>,

    /// Print JSON, one object a line
    #[arg(long)]
    pub json: bool,
}

/// Show how a running client stands.
#[derive(Debug, Args)]
pub struct Status {
    /// Whom to ask.
    #[command(flatten)]
    pub whom: Whom,
}

/// Which requests.
#[derive(Debug, Clone, Default, Args)]
pub struct Which {
    /// The method, such as POST
    #[arg(long)]
    pub method: Option<String>,

    /// The path without its query; with * at its end, all that begin like it
    #[arg(long)]
    pub path: Option<String>,

    /// The name of a tunnel
    #[arg(long, value_name = "NAME")]
    pub tunnel: Option<String>,

    /// Only requests after this one, by its number; 0: all since the client's start
    #[arg(long, value_name = "NUMBER")]
    pub after: Option<u64>,
}

/// Show what went through.
#[derive(Debug, Args)]
pub struct Logs {
    /// One request, with its answer, by its number
    #[arg(value_name = "NUMBER", conflicts_with_all = ["follow", "limit", "method", "path", "tunnel", "after"])]
    pub id: Option<u64>,

    /// Print nothing but the bytes of this body, unpacked; on a terminal without what could steer it
    #[arg(long, value_enum, value_name = "PART", requires = "id")]
    pub body: Option<Part>,

    /// Show the fields that hold secrets as they are
    #[arg(long, requires = "id")]
    pub secrets: bool,

    /// Which of them.
    #[command(flatten)]
    pub which: Which,

    /// So many at most, the newest
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 20)]
    pub limit: usize,

    /// Go on with what comes
    #[arg(long, short)]
    pub follow: bool,

    /// Whom to ask.
    #[command(flatten)]
    pub whom: Whom,
}

/// Whose body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// That of the request
    Request,
    /// That of the answer
    Answer,
}

impl Part {
    /// Its name in the API.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Answer => "answer",
        }
    }
}

/// Send a request once more.
#[derive(Debug, Args)]
pub struct Resend {
    /// Its number [default: the newest that came from a visitor]
    #[arg(value_name = "NUMBER")]
    pub id: Option<u64>,

    /// With another method
    #[arg(long)]
    pub method: Option<String>,

    /// With another path
    #[arg(long)]
    pub path: Option<String>,

    /// With the body in this file, not compressed; - for standard input
    #[arg(long, value_name = "FILE")]
    pub body_file: Option<std::path::PathBuf>,

    /// To this tunnel of the client
    #[arg(long, value_name = "NAME")]
    pub tunnel: Option<String>,

    /// So long at most for the app's answer: 500ms, 30s, 2m
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    pub timeout: Duration,

    /// Whom to ask.
    #[command(flatten)]
    pub whom: Whom,
}

/// Wait until a request has come and been answered.
#[derive(Debug, Args)]
pub struct Wait {
    /// Which one.
    #[command(flatten)]
    pub which: Which,

    /// Only one that was answered with this status, 200, or one of a kind, 2xx
    #[arg(long)]
    pub status: Option<String>,

    /// So long at most: 500ms, 30s, 2m
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    pub timeout: Duration,

    /// Whom to ask.
    #[command(flatten)]
    pub whom: Whom,
}

/// `500ms`, `30s`, `2m`, `1h`, or seconds without a unit.
fn time(word: &str) -> Result<Duration, String> {
    let odd = || format!("{word:?} is no time such as 500ms, 30s or 2m");
    let unit = word.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = word.split_at(unit.unwrap_or(word.len()));
    let number: f64 = number.parse().map_err(|_| odd())?;
    let seconds = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(odd()),
    };
    let time = Duration::try_from_secs_f64(number * seconds).map_err(|_| odd())?;
    // A clock must be able to show when that is over.
    match time <= Duration::from_secs(366 * 24 * 3600) {
        true => Ok(time),
        false => Err(odd()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit_or_is_in_seconds() {
        for (word, millis) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("1.5", 1500),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("0", 0),
        ] {
            assert_eq!(time(word), Ok(Duration::from_millis(millis)), "{word}");
        }
        for word in ["", "s", "3d", "-1s", "1 s", "1e3s", "1.2.3", "99999h"] {
            assert!(time(word).is_err(), "{word}");
        }
    }
}
