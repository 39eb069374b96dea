use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};

/// Accepts whatever certificate a server shows, as long as the server holds its key.
#[derive(Debug)]
pub(super) struct AnyoneVerifier {
    pub(super) provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyoneVerifier {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

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

#[cfg(test)]
mod tests {
    use rustls::CertificateError;

    use crate::Identity;
    use crate::dev::DevAuthority;
    use crate::testing::{handshake, impostor, issue};
    use crate::tls::{Trust, client_config, server_config};

    #[test]
    fn a_stranger_with_another_name_is_accepted() {
        let identity = issue(&DevAuthority::generate().unwrap(), "app.test");

        let server = server_config(identity, &[]).unwrap();
        let client = client_config(Trust::Anyone, &[]).unwrap();

        handshake(&client, &server, "elsewhere.test").unwrap();
    }

    #[test]
    fn a_certificate_without_its_key_is_refused() {
        let authority = DevAuthority::generate().unwrap();
        let server = impostor(Identity {
            chain: issue(&authority, "app.test").chain,
            key: issue(&authority, "app.test").key,
        });
        let client = client_config(Trust::Anyone, &[]).unwrap();

        let error = handshake(&client, &server, "app.test").unwrap_err();

        assert_eq!(error, CertificateError::BadSignature.into());
    }
}
