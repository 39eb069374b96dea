//! Identifiers that cross the link.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;
use uuid::Uuid;

/// Names one session: one logged-in tunnel client. Chosen by the server, told in `welcome`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(Uuid);

impl SessionId {
    /// A new random id.
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Names one tunnel within its session. Chosen by the client in `bind`, carried by every data
/// stream so that the client knows which local app is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TunnelId(pub u32);

impl fmt::Display for TunnelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names one connection of a visitor. Chosen by the server at random, so that no two are taken for one another,
/// also after it was started anew. Written as 16 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VisitorId(u64);

impl VisitorId {
    /// A new random id.
    pub fn random() -> Self {
        let (high, low) = Uuid::new_v4().as_u64_pair();
        // A UUID has a few bits that are not random, in either half elsewhere.
        Self(high ^ low.rotate_left(32))
    }
}

/// What is not 16 hex digits names no visitor.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("a visitor's connection is named by 16 hex digits")]
pub struct InvalidVisitorId;

impl FromStr for VisitorId {
    type Err = InvalidVisitorId;

    fn from_str(word: &str) -> Result<Self, InvalidVisitorId> {
        let is_hex = word.len() == 16 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        let id = is_hex.then(|| u64::from_str_radix(word, 16).ok()).flatten();
        id.map(Self).ok_or(InvalidVisitorId)
    }
}

impl fmt::Display for VisitorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Serialize for VisitorId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for VisitorId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let word = String::deserialize(from)?;
        word.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn visitors_are_written_as_they_are_read() {
        for _ in 0..16 {
            let id = VisitorId::random();
            assert_eq!(id.to_string().parse(), Ok(id));
            assert_ne!(id, VisitorId::random());
        }
        let zero = VisitorId(0);
        assert_eq!(zero.to_string(), "0000000000000000");
        for word in [
            "",
            "0",
            "+000000000000000",
            "00000000000000000",
            "000000000000000g",
        ] {
            assert_eq!(word.parse::<VisitorId>(), Err(InvalidVisitorId), "{word}");
        }
    }
}
