//! Sizes and times as people write them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::{Span, SpanRelativeTo};

/// A size in memory: a number of bytes, `512KiB`, `64MiB`, `1GiB`. The short `64M` means the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub usize);

const UNITS: [(&str, usize); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

impl FromStr for Size {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let lower = word.to_ascii_lowercase();
        let end = lower
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(lower.len());
        let (digits, unit) = lower.split_at(end);
        let unit = match unit.trim_start() {
            "" | "b" => Some(1),
            unit => UNITS.iter().find_map(|(name, size)| {
                let name = name.to_ascii_lowercase();
                (name == unit || name[..1] == *unit).then_some(*size)
            }),
        };
        let number: Option<usize> = digits.parse().ok();
        number
            .zip(unit)
            .and_then(|(number, unit)| number.checked_mul(unit))
            .map(Self)
            .ok_or_else(|| format!("{word:?} is not a size such as 512KiB or 64MiB"))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |(_, size): &&(&str, usize)| self.0 > 0 && self.0.is_multiple_of(*size);
        match UNITS.iter().find(whole) {
            Some((name, size)) => write!(f, "{} {name}", self.0 / size),
            None => write!(f, "{} bytes", self.0),
        }
    }
}

/// A time: `7d`, `36h`, `30m`. A day has 24 hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time(pub Duration);

impl FromStr for Time {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let span: Option<Span> = word.parse().ok();
        span.and_then(|span| {
            let time = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
            Duration::try_from(time).ok()
        })
        .filter(|time| !time.is_zero())
        .map(Self)
        .ok_or_else(|| format!("{word:?} is not a time such as 7d or 36h"))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        for (unit, length) in [("d", 86_400), ("h", 3600), ("m", 60)] {
            if seconds > 0 && seconds.is_multiple_of(length) {
                return write!(f, "{}{unit}", seconds / length);
            }
        }
        write!(f, "{seconds}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_shown() {
        for (word, shown) in [
            ("0", "0 bytes"),
            ("1000", "1000 bytes"),
            ("512KiB", "512 KiB"),
            ("64MiB", "64 MiB"),
            ("64 mib", "64 MiB"),
            ("64M", "64 MiB"),
            ("1024k", "1 MiB"),
            ("2G", "2 GiB"),
        ] {
            assert_eq!(word.parse::<Size>().unwrap().to_string(), shown);
        }
        for word in [
            "",
            "MiB",
            "1.5MiB",
            "-1",
            "1TB",
            "99999999999999999999",
            "9999999999999G",
        ] {
            assert!(word.parse::<Size>().is_err(), "{word}");
        }
    }

    #[test]
    fn times_are_read_and_shown() {
        for (word, shown) in [
            ("7d", "7d"),
            ("36h", "36h"),
            ("48h", "2d"),
            ("90s", "90s"),
            ("1d 12h", "36h"),
        ] {
            assert_eq!(word.parse::<Time>().unwrap().to_string(), shown);
        }
        for word in ["", "7", "0d", "-1d", "1 month", "never"] {
            assert!(word.parse::<Time>().is_err(), "{word}");
        }
    }
}
