//! The only place which makes rustls configurations.
//!
//! All of them prefer X25519MLKEM768, which a recording cannot be opened from later by a quantum
//! computer, and AES-128-GCM, the fastest suite on any processor with AES instructions.

mod anyone;

use std::convert::Infallible;
use std::sync::{Arc, LazyLock};

use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, Ticketer};
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{
    CipherSuite, ClientConfig, InconsistentKeys, RootCertStore, ServerConfig,
    SupportedProtocolVersion,
};
use thiserror::Error;

use self::anyone::AnyoneVerifier;
use crate::pin::{Pin, PinVerifier};
use crate::{Identities, Identity};

/// Whom a TLS client believes.
#[derive(Clone, Debug)]
pub enum Trust {
    /// The authorities which this computer trusts, by its own verifier where there is one.
    Platform,
    /// These authorities, and none of this computer's.
    Roots(Vec<CertificateDer<'static>>),
    /// The server with this key, or any server vouched for by the authority with this key, when
    /// the server sends the authority's certificate along.
    Pin(Pin),
    /// Any certificate at all; the server only has to hold its key. For nothing but a developer's
    /// own app which listens with https on the same computer.
    Anyone,
}

/// A configuration for visitors: TLS 1.2 and 1.3, with session tickets.
///
/// `alpn` names the application protocols, the preferred one first; empty for none. A client which
/// names only others is refused.
///
/// # Errors
///
/// When chain and key cannot be used together.
pub fn server_config(
    identities: impl TryInto<Identities, Error: Into<TlsError>>,
    alpn: &[&[u8]],
) -> Result<Arc<ServerConfig>, TlsError> {
    server(&[&TLS13, &TLS12], identities, alpn)
}

/// As [`server_config`], for links between a tunnel client and its server: TLS 1.3 only, because
/// both ends are ours and nothing older has to be let in.
///
/// # Errors
///
/// When chain and key cannot be used together.
pub fn link_server_config(
    identities: impl TryInto<Identities, Error: Into<TlsError>>,
    alpn: &[&[u8]],
) -> Result<Arc<ServerConfig>, TlsError> {
    server(&[&TLS13], identities, alpn)
}

/// A configuration for connections to any server: TLS 1.2 and 1.3.
///
/// `alpn` names the application protocols, the preferred one first; empty for none. A server may
/// still choose none of them: ask the connection.
///
/// # Errors
///
/// When the trusted roots cannot be loaded or understood.
pub fn client_config(trust: Trust, alpn: &[&[u8]]) -> Result<Arc<ClientConfig>, TlsError> {
    client(&[&TLS13, &TLS12], trust, alpn)
}

/// As [`client_config`], for links between a tunnel client and its server: TLS 1.3 only, because
/// both ends are ours and nothing older has to be let in.
///
/// # Errors
///
/// When the trusted roots cannot be loaded or understood.
pub fn link_client_config(trust: Trust, alpn: &[&[u8]]) -> Result<Arc<ClientConfig>, TlsError> {
    client(&[&TLS13], trust, alpn)
}

/// Why no TLS configuration could be made. The text is complete: it holds the cause as well.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum TlsError {
    /// Certificate and key were mixed up, usually after one of the two was renewed.
    #[error("the private key does not belong to the certificate")]
    KeyMismatch,
    /// One of several certificates is good for no host name, so nobody would ever see it.
    #[error("the certificate is good for no host name")]
    Nameless,
    /// The chain is empty.
    #[error("there is no certificate to show")]
    NoCertificate,
    /// The certificate or the key is of a kind which cannot be used, or broken.
    #[error("the certificate or its private key cannot be used: {0}")]
    Identity(rustls::Error),
    /// Session tickets could not be set up.
    #[error("session tickets cannot be set up: {0}")]
    Tickets(rustls::Error),
    /// [`Trust::Roots`] is empty: no server could ever be trusted.
    #[error("there is no trusted root certificate")]
    NoRoots,
    /// One of [`Trust::Roots`] is not a certificate.
    #[error("a trusted root certificate cannot be used: {0}")]
    Root(rustls::Error),
    /// [`Trust::Platform`] found nothing, as in a container without certificates.
    #[error("the trusted root certificates of this computer cannot be loaded: {}", plain(.0))]
    Platform(rustls::Error),
}

/// rustls calls what others say unexpected.
fn plain(error: &rustls::Error) -> String {
    match error {
        rustls::Error::General(said) => said.clone(),
        other => other.to_string(),
    }
}

impl From<Infallible> for TlsError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

fn server(
    versions: &[&'static SupportedProtocolVersion],
    identities: impl TryInto<Identities, Error: Into<TlsError>>,
    alpn: &[&[u8]],
) -> Result<Arc<ServerConfig>, TlsError> {
    let identities = identities.try_into().map_err(Into::into)?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .expect("the provider has suites of TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(identities));
    // Tickets keep sessions with the visitors instead of in the memory of the server.
    config.ticketer = Ticketer::new().map_err(TlsError::Tickets)?;
    config.alpn_protocols = owned(alpn);
    Ok(Arc::new(config))
}

/// Chain and key, made sure that they belong together.
pub(crate) fn certified(identity: Identity) -> Result<CertifiedKey, TlsError> {
    CertifiedKey::from_der(identity.chain, identity.key, &provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => TlsError::KeyMismatch,
        rustls::Error::NoCertificatesPresented => TlsError::NoCertificate,
        error => TlsError::Identity(error),
    })
}

fn client(
    versions: &[&'static SupportedProtocolVersion],
    trust: Trust,
    alpn: &[&[u8]],
) -> Result<Arc<ClientConfig>, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .expect("the provider has suites of TLS 1.2 and 1.3");
    let builder = match trust {
        Trust::Platform => builder
            .dangerous()
            .with_custom_certificate_verifier(platform()?),
        Trust::Roots(certificates) => builder.with_root_certificates(roots(certificates)?),
        Trust::Pin(pin) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(PinVerifier {
                pin,
                provider: provider(),
            })),
        Trust::Anyone => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyoneVerifier {
                provider: provider(),
            })),
    };
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = owned(alpn);
    Ok(Arc::new(config))
}

/// rustls puts AES-256 first, which costs 14 rounds for every block instead of 10 and protects
/// against nothing that threatens AES-128. A server follows the order of its client.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        let mut provider = aws_lc_rs::default_provider();
        provider
            .cipher_suites
            .sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
        Arc::new(provider)
    });
    Arc::clone(&PROVIDER)
}

fn platform() -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    let verifier =
        rustls_platform_verifier::Verifier::new(provider()).map_err(TlsError::Platform)?;
    Ok(Arc::new(verifier))
}

fn roots(certificates: Vec<CertificateDer<'static>>) -> Result<RootCertStore, TlsError> {
    if certificates.is_empty() {
        return Err(TlsError::NoRoots);
    }
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate).map_err(TlsError::Root)?;
    }
    Ok(roots)
}

fn owned(alpn: &[&[u8]]) -> Vec<Vec<u8>> {
    alpn.iter().map(|&name| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use rustls::{CertificateError, HandshakeKind, NamedGroup, ProtocolVersion};

    use super::*;
    use crate::dev::DevAuthority;
    use crate::testing::{handshake, issue};

    #[test]
    fn the_leaf_of_a_trusted_root_is_accepted_for_its_name_only() {
        let (server, roots) = localhost(&[]);
        let client = client_config(roots, &[]).unwrap();

        handshake(&client, &server, "localhost").unwrap();

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
    fn key_exchange_is_hybrid_and_the_cipher_is_aes_128() {
        let (server, roots) = localhost(&[]);
        for client in [
            client_config(roots.clone(), &[]).unwrap(),
            link_client_config(roots, &[]).unwrap(),
        ] {
            let (client, server) = handshake(&client, &server, "localhost").unwrap();

            for group in [
                client.negotiated_key_exchange_group(),
                server.negotiated_key_exchange_group(),
            ] {
                assert_eq!(group.unwrap().name(), NamedGroup::X25519MLKEM768);
            }
            assert_eq!(
                client.negotiated_cipher_suite().unwrap().suite(),
                CipherSuite::TLS13_AES_128_GCM_SHA256
            );
            // One round trip: the client guessed the group right.
            assert_eq!(client.handshake_kind(), Some(HandshakeKind::Full));
        }
    }

    #[test]
    fn visitors_may_come_with_tls_1_2_and_links_may_not() {
        let authority = DevAuthority::generate().unwrap();
        let identity = issue(&authority, "localhost");
        let leaf = Pin::of(&identity.chain[0]).unwrap();
        let for_visitors = server_config(identity.clone(), &[]).unwrap();
        let for_links = link_server_config(identity, &[]).unwrap();

        for trust in [
            Trust::Roots(vec![authority.certificate()]),
            Trust::Pin(authority.pin()),
            Trust::Pin(leaf),
            Trust::Anyone,
        ] {
            let old = client(&[&TLS12], trust, &[]).unwrap();
            let (old_client, _) = handshake(&old, &for_visitors, "localhost").unwrap();
            assert_eq!(
                old_client.protocol_version(),
                Some(ProtocolVersion::TLSv1_2)
            );
            handshake(&old, &for_links, "localhost").unwrap_err();
        }
    }

    #[test]
    fn a_link_refuses_a_server_of_tls_1_2() {
        let authority = DevAuthority::generate().unwrap();
        let old = server(&[&TLS12], issue(&authority, "localhost"), &[]).unwrap();

        let visitor = client_config(Trust::Pin(authority.pin()), &[]).unwrap();
        handshake(&visitor, &old, "localhost").unwrap();

        let link = link_client_config(Trust::Pin(authority.pin()), &[]).unwrap();
        handshake(&link, &old, "localhost").unwrap_err();
    }

    #[test]
    fn the_second_session_is_resumed_by_ticket() {
        let authority = DevAuthority::generate().unwrap();
        let server = server_config(issue(&authority, "localhost"), &[]).unwrap();
        assert!(server.ticketer.enabled());

        for versions in [&[&TLS13], &[&TLS12]] {
            let client = client(versions, Trust::Pin(authority.pin()), &[]).unwrap();
            let (first, _) = handshake(&client, &server, "localhost").unwrap();
            let (second, _) = handshake(&client, &server, "localhost").unwrap();

            assert_eq!(first.handshake_kind(), Some(HandshakeKind::Full));
            assert_eq!(second.handshake_kind(), Some(HandshakeKind::Resumed));
        }
    }

    #[test]
    fn the_protocol_is_agreed_upon() {
        let (server, roots) = localhost(&[b"h2", b"http/1.1"]);

        let client = client_config(roots.clone(), &[b"http/1.1"]).unwrap();
        let (client, _) = handshake(&client, &server, "localhost").unwrap();
        assert_eq!(client.alpn_protocol(), Some(b"http/1.1".as_slice()));

        let client = client_config(roots, &[b"gopher"]).unwrap();
        handshake(&client, &server, "localhost").unwrap_err();
    }

    #[test]
    fn a_key_of_another_certificate_is_said_in_words() {
        let authority = DevAuthority::generate().unwrap();
        let mixed = Identity {
            chain: issue(&authority, "localhost").chain,
            key: issue(&authority, "localhost").key,
        };

        let error = server_config(mixed, &[]).unwrap_err();

        assert_eq!(error, TlsError::KeyMismatch);
        assert_eq!(
            error.to_string(),
            "the private key does not belong to the certificate"
        );
    }

    #[test]
    fn nothing_to_show_or_to_trust_is_an_error() {
        let authority = DevAuthority::generate().unwrap();
        let mut identity = issue(&authority, "localhost");
        identity.chain.clear();
        assert_eq!(
            server_config(identity, &[]).unwrap_err(),
            TlsError::NoCertificate
        );

        assert_eq!(
            client_config(Trust::Roots(Vec::new()), &[]).unwrap_err(),
            TlsError::NoRoots
        );
        let garbage = CertificateDer::from(b"garbage".to_vec());
        assert!(matches!(
            client_config(Trust::Roots(vec![garbage]), &[]),
            Err(TlsError::Root(_))
        ));
    }

    #[test]
    fn this_computer_does_not_trust_the_dev_authority() {
        let (server, _) = localhost(&[]);
        match client_config(Trust::Platform, &[]) {
            Ok(client) => {
                handshake(&client, &server, "localhost").unwrap_err();
            }
            // A container without any root certificates.
            Err(error) => assert!(matches!(error, TlsError::Platform(_)), "{error}"),
        }
    }

    /// A server for `localhost`, and the trust which accepts it.
    fn localhost(alpn: &[&[u8]]) -> (Arc<ServerConfig>, Trust) {
        let authority = DevAuthority::generate().unwrap();
        let server = server_config(issue(&authority, "localhost"), alpn).unwrap();
        (server, Trust::Roots(vec![authority.certificate()]))
    }
}
