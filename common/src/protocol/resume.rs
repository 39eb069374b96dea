//! The right to come back to a session after its link was lost.
//!
//! Each `welcome` brings a new secret. Who comes back proves that it has it without saying it, and the
//! proof is bound to the one TLS connection it is made on: shown on another, it is worth nothing. The
//! server keeps only what it needs to check proofs.
//!
//! A `welcome` can be lost, and with it the only secret that leads to a session with names. So whoever opens
//! one gives the key to it along.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use tokio_rustls::rustls::ConnectionCommon;

use crate::id::SessionId;
use crate::secret::Secret;

/// What both ends of one TLS connection know and nobody else: `tls-exporter` of RFC 9266.
#[derive(Clone, Copy)]
pub struct ChannelBinding([u8; 32]);

impl ChannelBinding {
    /// That of a connection whose handshake is done; `None` before.
    pub fn of<D>(connection: &ConnectionCommon<D>) -> Option<Self> {
        connection
            .export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(b""))
            .ok()
            .map(Self)
    }
}

impl fmt::Debug for ChannelBinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChannelBinding(..)")
    }
}

/// Makes a secret: 256 random bits as 64 hex digits.
pub fn new_secret() -> Secret {
    let mut bytes = [0; 32];
    SystemRandom::new()
        .fill(&mut bytes)
        .expect("AWS-LC's generator ends the process rather than return without random bytes");
    Secret::new(HEXLOWER.encode(&bytes))
}

/// The key of the proofs that a secret makes, its SHA-256 as 64 hex digits.
pub fn key_of(secret: &Secret) -> Secret {
    let hash = digest(&SHA256, secret.expose().as_bytes());
    Secret::new(HEXLOWER.encode(hash.as_ref()))
}

/// What a secret is checked with: its SHA-256, the key of the proofs. Kept as it is, because one that is
/// ready to sign takes a kilobyte of every session for the rare return.
pub struct Verifier([u8; 32]);

impl Verifier {
    /// That of a secret as it stands in `welcome`.
    pub fn of(secret: &Secret) -> Self {
        let hash = digest(&SHA256, secret.expose().as_bytes());
        Self(hash.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }

    /// That of a key as it stands in `hello`; `None` if it is not 64 hex digits.
    pub fn of_key(key: &Secret) -> Option<Self> {
        let key = HEXLOWER.decode(key.expose().as_bytes()).ok()?;
        key.try_into().ok().map(Self)
    }

    fn key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.0)
    }

    /// The proof for one session and one connection.
    pub fn prove(&self, session: SessionId, binding: &ChannelBinding) -> Proof {
        Proof(HEXLOWER.encode(hmac::sign(&self.key(), &claim(session, binding)).as_ref()))
    }

    /// Whether a proof is right, in a time that does not tell how nearly.
    pub fn accepts(&self, proof: &Proof, session: SessionId, binding: &ChannelBinding) -> bool {
        HEXLOWER
            .decode(proof.0.as_bytes())
            .is_ok_and(|tag| hmac::verify(&self.key(), &claim(session, binding), &tag).is_ok())
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier(..)")
    }
}

/// What is signed: the session's id as it is written, then the binding.
fn claim(session: SessionId, binding: &ChannelBinding) -> Vec<u8> {
    let mut claim = session.to_string().into_bytes();
    claim.extend_from_slice(&binding.0);
    claim
}

/// HMAC-SHA256 as 64 hex digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Proof(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_for_one_secret_one_session_and_one_connection() {
        let (secret, session) = (new_secret(), SessionId::random());
        let here = ChannelBinding([1; 32]);
        let proof = Verifier::of(&secret).prove(session, &here);
        let verifier = Verifier::of(&Secret::new(secret.expose()));
        assert!(verifier.accepts(&proof, session, &here));
        assert!(!verifier.accepts(&proof, session, &ChannelBinding([2; 32])));
        assert!(!verifier.accepts(&proof, SessionId::random(), &here));
        assert!(!Verifier::of(&new_secret()).accepts(&proof, session, &here));
        for odd in ["", "00", "zz", &"0".repeat(64), &"0".repeat(1000)] {
            assert!(!verifier.accepts(&Proof(odd.into()), session, &here));
        }
    }

    #[test]
    fn a_key_checks_the_proofs_of_its_secret() {
        let (secret, session) = (new_secret(), SessionId::random());
        let here = ChannelBinding([1; 32]);
        let proof = Verifier::of(&secret).prove(session, &here);
        let accepts = |key: &Secret| {
            Verifier::of_key(key).is_some_and(|verifier| verifier.accepts(&proof, session, &here))
        };
        assert!(accepts(&key_of(&secret)));
        assert!(!accepts(&key_of(&new_secret())));
        for odd in ["", "zz", &"0".repeat(64), &"0".repeat(66)] {
            assert!(!accepts(&Secret::new(odd)));
        }
    }
}
