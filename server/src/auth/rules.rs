//! What the holder of a token may do.

use std::fmt;
use std::num::NonZeroU32;

use ngrnotok_common::hostname::Name;
use thiserror::Error;

pub use crate::session::Caps;

/// What the holder of a token may do, and how much of it. The default is everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Names that tunnels may have.
    pub names: Allowed,
    /// Kinds of tunnels, as the wire calls them: `http`.
    pub kinds: Allowed,
    /// Links that are open at once; `None` is no limit.
    pub max_links: Option<NonZeroU32>,
    /// Tunnels that all its sessions have together; `None` is no limit.
    pub max_tunnels: Option<NonZeroU32>,
    /// How much its sessions may carry together.
    pub caps: Caps,
}

/// The words that something may be: any at all, or one that fits a pattern.
///
/// A pattern is the word itself, or the beginning of words and a star: `ann-*` fits `ann-api` and
/// everything else that begins with `ann-` and has no dot. A star alone fits everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed(Option<Box<[Box<str>]>>);

impl Allowed {
    /// What fits one of the patterns; without any pattern, everything.
    pub fn only(patterns: impl IntoIterator<Item = impl Into<Box<str>>>) -> Self {
        let patterns: Box<[Box<str>]> = patterns.into_iter().map(Into::into).collect();
        Self((!patterns.is_empty()).then_some(patterns))
    }

    /// Patterns as the store keeps them. What is no pattern fits nothing, so a file that somebody has
    /// edited may allow too little and never too much.
    pub(crate) fn from_stored(patterns: Option<&str>) -> Self {
        Self(patterns.map(|patterns| patterns.split_whitespace().map(Into::into).collect()))
    }

    /// Patterns for the store to keep.
    pub(crate) fn to_stored(&self) -> Option<String> {
        self.0.as_ref().map(|patterns| patterns.join(" "))
    }

    /// Whether `word` is one of them.
    pub fn fits(&self, word: &str) -> bool {
        let Some(patterns) = &self.0 else {
            return true;
        };
        patterns
            .iter()
            .any(|pattern| match pattern.strip_suffix('*') {
                Some("") => true,
                Some(beginning) => word
                    .strip_prefix(beginning)
                    .is_some_and(|rest| !rest.contains('.')),
                None => word == &**pattern,
            })
    }

    /// Whether `word` itself is one of the patterns.
    pub fn lists(&self, word: &str) -> bool {
        let patterns = self.0.as_deref().unwrap_or_default();
        patterns.iter().any(|pattern| word == &**pattern)
    }

    /// The patterns; `None` if everything fits.
    pub fn patterns(&self) -> Option<&[Box<str>]> {
        self.0.as_deref()
    }
}

/// `ann-* or api`
impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => f.write_str("any"),
            Some(none) if none.is_empty() => f.write_str("none"),
            Some(patterns) => f.write_str(&patterns.join(" or ")),
        }
    }
}

/// A pattern for names of tunnels, as somebody typed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamePattern(Box<str>);

impl NamePattern {
    /// Parses `api`, `ann-*` or `app.example.com`; upper case letters are folded.
    ///
    /// # Errors
    ///
    /// When no name could ever fit it, or a star stands elsewhere than at the end.
    pub fn parse(word: &str) -> Result<Self, BadPattern> {
        let bad = || BadPattern {
            pattern: word.to_owned(),
        };
        let folded = word.to_ascii_lowercase();
        let pattern = match folded.strip_suffix('*') {
            // Any name fits a star alone; elsewhere one more letter must make a name of it.
            Some(beginning) => Name::label(&format!("{beginning}x")).map(|_| folded),
            None => Name::parse(&folded).map(String::from),
        };
        Ok(Self(pattern.map_err(|_| bad())?.into()))
    }
}

impl From<NamePattern> for Box<str> {
    fn from(pattern: NamePattern) -> Self {
        pattern.0
    }
}

impl std::str::FromStr for NamePattern {
    type Err = BadPattern;

    fn from_str(word: &str) -> Result<Self, BadPattern> {
        Self::parse(word)
    }
}

/// What is no pattern for names.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "{pattern:?} fits no name: give a name of a-z, 0-9 and '-' such as api, the beginning of names and a star such as ann-*, or a host name such as app.example.com"
)]
pub struct BadPattern {
    /// What was given.
    pub pattern: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_a_name_or_the_beginning_of_names() {
        let names = Allowed::only(["api", "ann-*"]);
        for (name, fits) in [
            ("api", true),
            ("ann-1", true),
            ("ann-api-2", true),
            ("api2", false),
            ("ap", false),
            ("my-api", false),
            ("ann", false),
            ("anna-1", false),
            ("joann-1", false),
        ] {
            assert_eq!(names.fits(name), fits, "{name}");
        }
        assert_eq!(names.to_string(), "api or ann-*");
        assert!(Allowed::only(["*"]).fits("whatever"));
    }

    #[test]
    fn a_star_stands_for_no_part_of_a_host_unless_it_stands_for_everything() {
        let names = Allowed::only(["ann-*", "app.example.com"]);
        assert!(names.fits("app.example.com"));
        for other in ["ann-1.example.com", "app.example.org", "x.app.example.com"] {
            assert!(!names.fits(other), "{other}");
            assert!(Allowed::only(["*"]).fits(other));
            assert!(Allowed::default().fits(other));
        }
    }

    #[test]
    fn a_name_is_listed_when_it_stands_there_whole() {
        let names = Allowed::only(["api", "ann-*", "*"]);
        assert!(names.lists("api"));
        for other in ["ann-1", "ann-", "apis", "ap"] {
            assert!(!names.lists(other), "{other}");
        }
        assert!(!Allowed::default().lists("api"));
    }

    #[test]
    fn without_patterns_everything_fits() {
        assert!(Allowed::default().fits("whatever"));
        assert_eq!(Allowed::only([""; 0]), Allowed::default());
    }

    #[test]
    fn what_is_stored_reads_back_and_what_is_spoilt_allows_nothing() {
        for names in [Allowed::default(), Allowed::only(["api", "ann-*"])] {
            assert_eq!(Allowed::from_stored(names.to_stored().as_deref()), names);
        }
        for spoilt in ["", "  ", "API", "*api", "a*i", "api,web", "\u{0}"] {
            let names = Allowed::from_stored(Some(spoilt));
            for name in ["api", "web", "a", "i"] {
                assert!(!names.fits(name), "{spoilt:?} fits {name}");
            }
        }
    }

    #[test]
    fn patterns_that_fit_no_name_are_refused() {
        for good in ["api", "a", "*", "ann-*", "a-b-*", "Api", "app.example.com"] {
            NamePattern::parse(good).unwrap();
        }
        assert_eq!(
            &*Box::<str>::from(NamePattern::parse("Api").unwrap()),
            "api"
        );
        let long = "x".repeat(64);
        for bad in [
            "", "**", "*a", "a*b", "a.*", "*.b", "a..b", "-*", "-a", "a-", "a b", "a,b", "xn--*",
            "ä", &long,
        ] {
            let refused = NamePattern::parse(bad).unwrap_err().to_string();
            assert!(refused.contains(&format!("{bad:?}")), "{refused}");
            assert!(refused.contains("ann-*"), "{refused}");
        }
    }
}
