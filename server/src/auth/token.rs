//! The shape of a token: `ngrt_<12 hex digits of id>_<64 hex digits of secret>`.

use std::fmt;
use std::fmt::Write as _;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use ngrnotok_common::secret::Secret;

/// A token as a client presents it, its secret part already hashed.
#[derive(Debug)]
pub struct Token {
    /// Which stored token this claims to be.
    pub id: TokenId,
    /// What its secret part hashes to.
    pub hash: TokenHash,
}

impl Token {
    /// Makes a new token: its id, its whole text, and what to store in the text's place. The text
    /// is for showing to its owner once.
    pub fn generate() -> (TokenId, Secret, TokenHash) {
        let [a, b, c, d, e, f] = random();
        let id = TokenId(u64::from_be_bytes([0, 0, a, b, c, d, e, f]));
        let secret = hex(&random::<32>());
        let hash = TokenHash::of(&secret);
        (id, Secret::new(format!("{PREFIX}{id}_{secret}")), hash)
    }

    /// Reads a token's text. Nothing but the exact shape will do: no spaces, no capital digits.
    /// `None` says no more on purpose, for a malformed token is refused like an unknown one.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        if secret.len() != SECRET_DIGITS || !is_hex(secret) {
            return None;
        }
        Some(Self {
            id: TokenId::parse(id)?,
            hash: TokenHash::of(secret),
        })
    }
}

/// The name of a token: 48 bits, of which nothing is secret. Shown as 12 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenId(u64);

impl TokenId {
    /// Reads the 12 hex digits of an id.
    pub fn parse(digits: &str) -> Option<Self> {
        if digits.len() != ID_DIGITS || !is_hex(digits) {
            return None;
        }
        u64::from_str_radix(digits, 16).ok().map(Self)
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:0ID_DIGITS$x}", self.0)
    }
}

impl fmt::Debug for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenId({self})")
    }
}

/// The SHA-256 of a token's secret part, as the hex digits that are in the token.
///
/// A slow hash protects secrets that can be guessed. This one is 256 random bits: whoever reads
/// the database gains nothing from trying, and a slow hash would only let strangers load the
/// server.
///
/// There is no `==`, which would tell by its time how much of the hash was right.
#[derive(Clone, Copy)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// What a token of an unknown id is compared with, so that it takes the same path as one with
    /// a wrong secret. No secret is known that hashes to it.
    pub(super) const DUMMY: Self = Self([0; 32]);

    /// A hash as the store has kept it.
    pub(crate) fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The hash as the store keeps it.
    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether both are of the same secret, in a time that does not tell where they differ.
    pub fn matches(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }

    fn of(secret: &str) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, secret.as_bytes()).as_ref());
        Self(hash)
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(..)")
    }
}

const PREFIX: &str = "ngrt_";
const ID_DIGITS: usize = 12;
const SECRET_DIGITS: usize = 64;

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .expect("AWS-LC's generator ends the process rather than return without random bytes");
    bytes
}

fn hex(bytes: &[u8]) -> String {
    let mut digits = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        write!(digits, "{byte:02x}").expect("a String takes all that is written to it");
    }
    digits
}

fn is_hex(text: &str) -> bool {
    text.bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "ngrt_00000000002a_e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_generated_token_reads_back() {
        let (id, text, hash) = Token::generate();
        assert_eq!(text.expose().len(), 5 + 12 + 1 + 64);

        let token = Token::parse(text.expose()).unwrap();

        assert_eq!(token.id, id);
        assert!(token.hash.matches(&hash));
    }

    #[test]
    fn no_two_are_alike() {
        let (one, _, hash_of_one) = Token::generate();
        let (two, _, hash_of_two) = Token::generate();
        assert_ne!(one, two);
        assert!(!hash_of_one.matches(&hash_of_two));
    }

    #[test]
    fn an_id_keeps_its_leading_zeros_and_the_hash_is_sha_256() {
        let token = Token::parse(TEXT).unwrap();
        assert_eq!(token.id.to_string(), "00000000002a");
        // printf %s e3b0…b855 | sha256sum
        assert_eq!(
            hex(token.hash.as_bytes()),
            "cd372fb85148700fa88095e3492d3f9f5beb43e555e5ff26d95f5a6adc36f8e6"
        );
    }

    #[test]
    fn only_the_exact_shape_is_read() {
        let (head, secret) = TEXT.rsplit_once('_').unwrap();
        for malformed in [
            String::new(),
            "ngrt_".to_owned(),
            "ngrt__".to_owned(),
            format!(" {TEXT}"),
            format!("{TEXT}\n"),
            format!("{TEXT}0"),
            TEXT[..TEXT.len() - 1].to_owned(),
            TEXT.to_uppercase(),
            TEXT.replace("ngrt", "ngrx"),
            format!("{head}_{}", secret.to_uppercase()),
            format!("{head}{secret}"),
            TEXT.replace("00000000002a", "+0000000002a"),
            TEXT.replace("00000000002a", "00000000002g"),
            TEXT.replace("00000000002a", "2a"),
            TEXT.replace("00000000002a", "00000000002ä"),
            TEXT.replace("e3b0", "é3b"),
        ] {
            assert!(Token::parse(&malformed).is_none(), "{malformed:?}");
        }
    }

    #[test]
    fn debug_shows_no_hash() {
        let shown = format!("{:?}", Token::parse(TEXT).unwrap());
        assert_eq!(
            shown,
            "Token { id: TokenId(00000000002a), hash: TokenHash(..) }"
        );
    }
}
