//! `ngrnotok-server token …`, as typed.

use std::num::NonZeroU32;
use std::str::FromStr;

use clap::{Args, Subcommand, ValueEnum};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use crate::auth::rules::{Allowed, Caps, NamePattern, Rules};
use crate::store::UnixSeconds;

/// Tokens with which tunnel clients log in.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token and print it, this once: only its hash is kept
    Create(Box<CreateToken>),
    /// List all tokens, also those that are revoked or expired; secrets are not known
    List {
        /// As one JSON array
        #[arg(long)]
        json: bool,
    },
    /// Take a token's power for good; sessions that use it end within a second
    Revoke {
        /// The 12 hex digits after "ngrt_", as `token list` shows them
        id: String,
    },
}

/// The words of `token create`.
#[derive(Debug, Args)]
#[command(after_help = "\
Without limits the token may do everything, for ever. Limits are on all sessions of the token together.\n\n\
Example: a colleague's token for 30 days\n  \
ngrnotok-server token create --account ann --name 'ann-*' --name demo --expires 30d")]
pub struct CreateToken {
    /// Whose token it is: 1 to 64 of a-z, 0-9, '.', '_' and '-'
    #[arg(long, value_name = "NAME")]
    pub account: String,

    /// Name that tunnels may have, "api", or the beginning of names, "ann-*"; can be given several
    /// times [default: any]
    #[arg(long = "name", value_name = "PATTERN", value_delimiter = ',')]
    pub names: Vec<NamePattern>,

    /// Until when it is good: "30d", "12h", a date (00:00 UTC), or 2027-01-31T18:00:00Z
    /// [default: for ever]
    #[arg(long, value_name = "WHEN")]
    pub expires: Option<Expiry>,

    /// Kind of tunnels that it is for, "http"; can be given several times [default: any]
    #[arg(
        long = "kind",
        value_name = "KIND",
        value_enum,
        hide_possible_values = true
    )]
    pub kinds: Vec<KindWord>,

    /// Links at once, one for each running client [default: no limit]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub max_links: Option<NonZeroU32>,

    /// Tunnels at once [default: no limit]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub max_tunnels: Option<NonZeroU32>,

    /// Requests that are open at once, WebSockets included [default: no limit]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub max_streams: Option<NonZeroU32>,

    /// Requests in a minute; more are answered 429 [default: no limit]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub max_requests_per_minute: Option<NonZeroU32>,

    /// Bytes in a second, both ways together, such as 500k or 2M; more wait [default: no limit]
    #[arg(long, value_name = "N[k|M|G]")]
    pub max_bytes_per_second: Option<Bytes>,

    /// Whatever helps to know it again in a list: one line
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub note: String,
}

impl CreateToken {
    /// What the holder of the token may do.
    pub fn rules(&self) -> Rules {
        Rules {
            names: Allowed::only(self.names.iter().cloned()),
            kinds: Allowed::only(self.kinds.iter().map(|kind| kind.as_str())),
            max_links: self.max_links,
            max_tunnels: self.max_tunnels,
            caps: Caps {
                streams: self.max_streams,
                requests_per_minute: self.max_requests_per_minute,
                bytes_per_second: self.max_bytes_per_second.map(|Bytes(bytes)| bytes),
            },
        }
    }
}

/// A kind of tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum KindWord {
    /// A name for visitors who speak HTTP
    Http,
}

impl KindWord {
    /// As the wire calls it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
        }
    }
}

/// A time in the future.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expiry(pub UnixSeconds);

impl FromStr for Expiry {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let now = Timestamp::now();
        let at = moment(word, now).ok_or(
            "give a time from now such as 30d or 12h, a date such as 2027-01-31, \
             or a time such as 2027-01-31T18:00:00Z",
        )?;
        if at <= now {
            return Err("that time is over already".to_owned());
        }
        Ok(Self(UnixSeconds(at.as_second())))
    }
}

fn moment(word: &str, now: Timestamp) -> Option<Timestamp> {
    // A date that goes on after its ten characters is a time, and must be a whole one.
    if word.len() == "2027-01-31".len()
        && let Ok(date) = word.parse::<Date>()
    {
        let midnight = date.to_zoned(TimeZone::UTC).ok()?;
        return Some(midnight.timestamp());
    }
    if let Ok(at) = word.parse() {
        return Some(at);
    }
    let from_now: Span = word.parse().ok()?;
    let at = now.to_zoned(TimeZone::UTC).checked_add(from_now).ok()?;
    Some(at.timestamp())
}

fn at_least_one(word: &str) -> Result<NonZeroU32, String> {
    let number = word.parse().ok();
    number.ok_or_else(|| format!("give a number from 1 to {}", u32::MAX))
}

/// Bytes in a second: at least a thousand, with which a page still loads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes(pub NonZeroU32);

impl FromStr for Bytes {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let (digits, unit) = match word.char_indices().next_back() {
            Some((at, 'k' | 'K')) => (&word[..at], 1000),
            Some((at, 'M')) => (&word[..at], 1_000_000),
            Some((at, 'G')) => (&word[..at], 1_000_000_000),
            _ => (word, 1),
        };
        let number = digits
            .parse::<u32>()
            .ok()
            .filter(|_| !digits.starts_with('+'));
        number
            .and_then(|number| number.checked_mul(unit))
            .filter(|bytes| *bytes >= 1000)
            .and_then(NonZeroU32::new)
            .map(Self)
            .ok_or_else(|| {
                "give a number from 1k to 4G: 1k is 1000 bytes, 1M is 1000k, 1G is 1000M".to_owned()
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_a_moment_in_the_future() {
        let now: Timestamp = "2026-11-23T02:05:36Z".parse().unwrap();
        let at = |word| moment(word, now).map(|at| at.to_string());
        for (word, expected) in [
            ("30d", "2026-12-23T02:05:36Z"),
            ("12h", "2026-11-23T14:05:36Z"),
            ("90m", "2026-11-23T03:35:36Z"),
            ("2w", "2026-12-07T02:05:36Z"),
            ("1y", "2027-11-23T02:05:36Z"),
            ("2027-01-31", "2027-01-31T00:00:00Z"),
            ("2027-01-31T18:00:00Z", "2027-01-31T18:00:00Z"),
            ("2027-01-31T18:00:00+02:00", "2027-01-31T16:00:00Z"),
        ] {
            assert_eq!(at(word).as_deref(), Some(expected), "{word}");
        }
        for word in [
            "",
            "30",
            "tomorrow",
            "2027-01-31T18:00:00",
            "2027-02-30",
            "31.1.2027",
        ] {
            assert_eq!(at(word), None, "{word}");
        }
        for past in ["2020-01-01", "-1d", "0d", "2020-01-01T00:00:00Z"] {
            assert_eq!(
                past.parse::<Expiry>().unwrap_err(),
                "that time is over already"
            );
        }
    }

    #[test]
    fn bytes_have_units() {
        for (word, bytes) in [
            ("1000", 1000),
            ("1k", 1000),
            ("500k", 500_000),
            ("2M", 2_000_000),
            ("4G", 4_000_000_000),
            ("4294967295", u32::MAX),
        ] {
            assert_eq!(
                word.parse(),
                Ok(Bytes(NonZeroU32::new(bytes).unwrap())),
                "{word}"
            );
        }
        for word in [
            "", "k", "0", "999", "0k", "5G", "-1k", "+1k", "1m", "1 k", "1kB", "1.5M", "１k",
        ] {
            assert!(word.parse::<Bytes>().is_err(), "{word}");
        }
    }
}
