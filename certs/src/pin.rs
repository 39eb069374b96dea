//! Pins: a server named by its public key, for servers which no authority vouches for.

mod verifier;

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use data_encoding::{BASE64_NOPAD, HEXLOWER, HEXLOWER_PERMISSIVE};
use rustls::pki_types::CertificateDer;
use rustls::server::ParsedCertificate;
use thiserror::Error;

pub(crate) use verifier::PinVerifier;
pub use verifier::WrongKey;

/// The SHA-256 hash of a public key, in its DER form SubjectPublicKeyInfo.
///
/// It is of the key and not of the certificate, so it stays the same when a certificate is renewed
/// with the same key. Written `sha256:` and 64 hex digits; curl's `sha256//` and base64 is read as
/// well.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pin([u8; SHA256_OUTPUT_LEN]);

impl Pin {
    /// The pin of the key in a certificate.
    ///
    /// # Errors
    ///
    /// When the certificate is not X.509 version 3.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, rustls::Error> {
        let certificate = ParsedCertificate::try_from(certificate)?;
        Ok(Self::of_key_info(&certificate.subject_public_key_info()))
    }

    /// The pin of a DER SubjectPublicKeyInfo.
    pub(crate) fn of_key_info(key_info: &[u8]) -> Self {
        let hash = digest(&SHA256, key_info);
        Self(
            hash.as_ref()
                .try_into()
                .expect("SHA-256 gives SHA256_OUTPUT_LEN bytes"),
        )
    }
}

impl FromStr for Pin {
    type Err = PinError;

    fn from_str(text: &str) -> Result<Self, PinError> {
        let bytes = if let Some(hex) = text.strip_prefix("sha256:") {
            HEXLOWER_PERMISSIVE.decode(hex.as_bytes())
        } else if let Some(base64) = text.strip_prefix("sha256//") {
            BASE64_NOPAD.decode(base64.trim_end_matches('=').as_bytes())
        } else {
            return Err(PinError::Form(text.to_owned()));
        };
        bytes
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or_else(|| PinError::Hash(text.to_owned()))
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", HEXLOWER.encode(&self.0))
    }
}

/// As [`Display`](fmt::Display): a list of 32 numbers helps nobody.
impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is not a pin.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PinError {
    /// It begins with neither `sha256:` nor `sha256//`.
    #[error("`{0}` is not a pin: write `sha256:` and 64 hex digits, or `sha256//` and base64")]
    Form(String),
    /// What follows is not 32 bytes in hex or base64.
    #[error(
        "`{0}` holds no SHA-256 hash: after `sha256:` come 64 hex digits, \
         after `sha256//` 44 characters of base64"
    )]
    Hash(String),
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE64;

    use super::*;
    use crate::dev::DevAuthority;

    #[test]
    fn hashes_what_openssl_hashes() {
        // openssl x509 -in cert.pem -noout -pubkey | openssl pkey -pubin -outform der | sha256sum
        let certificate = CertificateDer::from(BASE64.decode(CERTIFICATE.as_bytes()).unwrap());

        assert_eq!(Pin::of(&certificate).unwrap().to_string(), PIN);
    }

    #[test]
    fn what_is_printed_can_be_read() {
        let pin = DevAuthority::generate().unwrap().pin();

        assert_eq!(pin.to_string().parse(), Ok(pin));
        assert_eq!(format!("{pin:?}"), pin.to_string());
    }

    #[test]
    fn reads_capitals_and_the_form_of_curl() {
        let bytes: Vec<u8> = (0..32).map(|n| 255 - n).collect();
        let pin = Pin(bytes.clone().try_into().unwrap());

        let capitals = format!("sha256:{}", HEXLOWER.encode(&bytes).to_uppercase());
        assert_eq!(capitals.parse(), Ok(pin));
        let curl = format!("sha256//{}", BASE64.encode(&bytes));
        assert_eq!(curl.parse(), Ok(pin));
    }

    #[test]
    fn refuses_the_rest_with_advice() {
        for text in ["", "sha1:00", &"00".repeat(32)] {
            assert_eq!(
                text.parse::<Pin>(),
                Err(PinError::Form(text.to_owned())),
                "{text}"
            );
        }
        let long = format!("sha256:{}", "0".repeat(66));
        for text in ["sha256:", "sha256:xyz", "sha256//AAAA", "sha256//", &long] {
            let error = text.parse::<Pin>().unwrap_err();
            assert_eq!(error, PinError::Hash(text.to_owned()));
            assert!(error.to_string().contains("64 hex digits"));
        }
    }

    const CERTIFICATE: &str = "MIIBcjCCARegAwIBAgIUJ/RbgWY4ZaqbDPlofIIZQnVkepQwCgYIKoZIzj0EAwIwDjEMMAoGA1UEAwwDcGlu\
        MB4XDTI2MTEyMjIzMjAxN1oXDTM2MTExOTIzMjAxN1owDjEMMAoGA1UEAwwDcGluMFkwEwYHKoZIzj0CAQYI\
        KoZIzj0DAQcDQgAEp54I5BAdQ7V91M2Ksp9f0xvXzZKwcfGN7qtB2wHB/6Eg7PHVPAgdmxHTJEJmD+iqGBMA\
        76wKMG2QlYqlsUHKr6NTMFEwHQYDVR0OBBYEFOImwGXPNJBE7mLUENCC5OV8SrKBMB8GA1UdIwQYMBaAFOIm\
        wGXPNJBE7mLUENCC5OV8SrKBMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSQAwRgIhAIMM5vUoZ2PP\
        ZB6mEHgyXnXc95QLXtLq1ScbJ0cxf59RAiEAlkHl7yoHmC/K38gyd84ShC7t+w+5/6JFjPCbmVXGeXc=";
    const PIN: &str = "sha256:f364d0a944119d28e094f2a8dc88628fe659393da1d569ec538a3b9484c2243a";
}
