//! Where the web interface is wished for.

use std::net::SocketAddr;
use std::str::FromStr;

use thiserror::Error;

/// Where the web interface is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Place {
    /// On this machine alone, at the usual port or the next free one.
    #[default]
    Usual,
    /// Nowhere.
    Off,
    /// There and nowhere else.
    At(SocketAddr),
}

/// The word names no place.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{0:?} is neither \"off\" nor an address with its port, such as 127.0.0.1:4040")]
pub struct InvalidPlace(String);

impl FromStr for Place {
    type Err = InvalidPlace;

    fn from_str(word: &str) -> Result<Self, InvalidPlace> {
        if word == "off" {
            return Ok(Self::Off);
        }
        // The one name that is an address everywhere.
        let numeric = word
            .strip_prefix("localhost:")
            .map(|port| format!("127.0.0.1:{port}"));
        let address = numeric.as_deref().unwrap_or(word).parse();
        address
            .map(Self::At)
            .map_err(|_| InvalidPlace(word.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_an_address_or_off() {
        assert_eq!("off".parse(), Ok(Place::Off));
        for (word, address) in [
            ("127.0.0.1:4040", "127.0.0.1:4040"),
            ("localhost:0", "127.0.0.1:0"),
            ("[::1]:5", "[::1]:5"),
            ("0.0.0.0:80", "0.0.0.0:80"),
        ] {
            assert_eq!(word.parse(), Ok(Place::At(address.parse().unwrap())));
        }
        for word in ["", "on", "4040", "example.com:80", "127.0.0.1"] {
            assert!(word.parse::<Place>().is_err(), "{word}");
        }
    }
}
