use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};
use thiserror::Error;

use super::Pin;

/// Accepts a server by a pin, either of its own key or of an authority in the chain it presents.
///
/// A pin of the server's own key says all there is to say: neither its name nor its expiry is
/// looked at, so that a self-signed certificate will do. A pin of an authority says nothing about
/// the server, so that the chain, the dates and the name are verified as usual, with the authority
/// as the only root.
#[derive(Debug)]
pub(crate) struct PinVerifier {
    pub(crate) pin: Pin,
    pub(crate) provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let presented = Pin::of(end_entity)?;
        if presented == self.pin {
            return Ok(ServerCertVerified::assertion());
        }
        let Some(authority) = intermediates.iter().find(|&certificate| {
            // A certificate which cannot be understood is none of ours.
            Pin::of(certificate).is_ok_and(|pin| pin == self.pin)
        }) else {
            return Err(WrongKey {
                pinned: self.pin,
                presented,
            }
            .into());
        };
        self.trusting_only(authority)?.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        )
    }

    // The pinned key is public: only the signature shows that the server holds its private half.

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

impl PinVerifier {
    fn trusting_only(
        &self,
        authority: &CertificateDer<'_>,
    ) -> Result<Arc<WebPkiServerVerifier>, rustls::Error> {
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone())?;
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone())
                .build()
                .expect("there is one root and no revocation list");
        Ok(verifier)
    }
}

/// The server's key is not the pinned one, nor is any key further up its chain.
///
/// Travels inside a [`rustls::Error`]; [`WrongKey::within`] finds it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the server's key is not the pinned one: pinned is {pinned}, the server has {presented}")]
pub struct WrongKey {
    /// The pin which was asked for.
    pub pinned: Pin,
    /// The pin of the key in the server's own certificate.
    pub presented: Pin,
}

impl WrongKey {
    /// The wrong key, if that is why a handshake failed.
    #[must_use]
    pub fn within(error: &rustls::Error) -> Option<&Self> {
        match error {
            rustls::Error::Other(OtherError(error)) => error.downcast_ref(),
            _ => None,
        }
    }
}

impl From<WrongKey> for rustls::Error {
    fn from(wrong: WrongKey) -> Self {
        // Not CertificateError::Other: rustls prints that with Debug.
        Self::Other(OtherError(Arc::new(wrong)))
    }
}

#[cfg(test)]
mod tests {
    use rustls::{CertificateError, ClientConfig};

    use super::*;
    use crate::Identity;
    use crate::dev::DevAuthority;
    use crate::testing::{handshake, impostor, issue};
    use crate::tls::{Trust, client_config, server_config};

    #[test]
    fn the_pin_of_the_leaf_is_enough() {
        let identity = issue(&DevAuthority::generate().unwrap(), "tunnel.test");
        let pin = Pin::of(&identity.chain[0]).unwrap();

        let server = server_config(identity, &[]).unwrap();
        // The name is not looked at.
        handshake(&trusting(pin), &server, "elsewhere.test").unwrap();
    }

    #[test]
    fn the_pin_of_the_authority_verifies_chain_and_name() {
        let authority = DevAuthority::generate().unwrap();
        let server = server_config(issue(&authority, "tunnel.test"), &[]).unwrap();
        let client = trusting(authority.pin());

        handshake(&client, &server, "tunnel.test").unwrap();

        let error = handshake(&client, &server, "elsewhere.test").unwrap_err();
        assert!(
            matches!(
                error,
                rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext { .. })
            ),
            "{error}"
        );
    }

    #[test]
    fn another_key_is_refused_with_both_pins() {
        let identity = issue(&DevAuthority::generate().unwrap(), "tunnel.test");
        let presented = Pin::of(&identity.chain[0]).unwrap();
        let pinned = DevAuthority::generate().unwrap().pin();

        let server = server_config(identity, &[]).unwrap();
        let error = handshake(&trusting(pinned), &server, "tunnel.test").unwrap_err();

        assert_eq!(
            WrongKey::within(&error),
            Some(&WrongKey { pinned, presented })
        );
        let text = error.to_string();
        assert!(text.contains(&pinned.to_string()), "{text}");
        assert!(text.contains(&presented.to_string()), "{text}");
    }

    #[test]
    fn showing_the_pinned_authority_without_being_signed_by_it_is_refused() {
        let pinned = DevAuthority::generate().unwrap();
        let mut identity = issue(&DevAuthority::generate().unwrap(), "tunnel.test");
        identity.chain[1] = pinned.certificate();

        let server = server_config(identity, &[]).unwrap();
        let error = handshake(&trusting(pinned.pin()), &server, "tunnel.test").unwrap_err();

        assert_eq!(error, CertificateError::UnknownIssuer.into());
    }

    #[test]
    fn showing_the_pinned_certificate_without_its_key_is_refused() {
        let authority = DevAuthority::generate().unwrap();
        let pinned = issue(&authority, "tunnel.test");
        let pin = Pin::of(&pinned.chain[0]).unwrap();

        let server = impostor(Identity {
            chain: pinned.chain,
            key: issue(&authority, "tunnel.test").key,
        });
        let error = handshake(&trusting(pin), &server, "tunnel.test").unwrap_err();

        assert_eq!(error, CertificateError::BadSignature.into());
    }

    fn trusting(pin: Pin) -> Arc<ClientConfig> {
        client_config(Trust::Pin(pin), &[]).unwrap()
    }
}
