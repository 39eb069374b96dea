//! Strings that must never be seen.

use std::fmt;

/// A string that masks itself wherever it is printed: a token, a resume secret.
///
/// It has no `Serialize`; whoever must write the value down calls [`Secret::expose`], which is easy
/// to search for.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value; surrounding white space (the newline at the end of a token file) is dropped.
    pub fn new(value: impl Into<String>) -> Self {
        let value = value.into();
        if value.trim().len() == value.len() {
            return Self(value);
        }
        Self(value.trim().to_owned())
    }

    /// The value itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Whether a token of ours, or the beginning of one, is in a text that will be seen: `ngrt_`, 12 hex digits,
/// `_`.
pub fn shows_token(text: &str) -> bool {
    text.split("ngrt_").skip(1).any(|rest| {
        let (id, rest) = rest.split_at_checked(12).unwrap_or_default();
        rest.starts_with('_') && id.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_prints() {
        let secret = Secret::new("ngrt_hidden\n");
        assert_eq!(secret.expose(), "ngrt_hidden");
        assert_eq!(format!("{secret} {secret:?}"), "*** ***");
    }

    #[test]
    fn a_token_is_seen_wherever_it_stands() {
        let token = format!("ngrt_0123456789ab_{}", "0".repeat(64));
        for shown in [&token, &token[..18], &format!("--token=ngrt_{token}")] {
            assert!(shows_token(shown), "{shown}");
        }
        for other in [
            "",
            "ngrt_",
            "/run/ngrt_token",
            "ngrt_0123456789ab",
            "ngrt_é",
        ] {
            assert!(!shows_token(other), "{other}");
        }
    }
}
