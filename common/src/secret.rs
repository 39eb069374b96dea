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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_prints() {
        let secret = Secret::new("ngrt_hidden\n");
        assert_eq!(secret.expose(), "ngrt_hidden");
        assert_eq!(format!("{secret} {secret:?}"), "*** ***");
    }
}
