//! A certificate authority for development: it makes certificates for any name on the spot, and is
//! trusted by whoever is told to trust it.

mod constraints;
mod files;

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, DnsName};
use thiserror::Error;

use crate::Identity;
use crate::pem::PemError;
use crate::pin::Pin;

const DAY: Duration = Duration::from_hours(24);
const AUTHORITY_LIFETIME: Duration = DAY.saturating_mul(3650);
pub(crate) const LEAF_LIFETIME: Duration = DAY.saturating_mul(90);

/// A client whose clock is behind must not see a certificate from the future.
pub(crate) const CLOCK_SKEW: Duration = Duration::from_hours(1);

/// A certificate authority for development, with an ECDSA P-256 key valid for ten years.
pub struct DevAuthority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    pin: Pin,
}

impl DevAuthority {
    /// A new authority, which lives in memory only.
    ///
    /// # Errors
    ///
    /// When the system gives no randomness.
    pub fn generate() -> Result<Self, DevError> {
        Self::generate_at(SystemTime::now(), None)
    }

    /// The authority kept in the files `dev-ca.pem` and `dev-ca.key` of a directory, which are
    /// made (and the directory too) unless both are there.
    ///
    /// A new one is good for `names`, with all that is under them, and for this machine itself; nobody
    /// believes what it signs for others.
    ///
    /// Several processes may do this at once: all get the same authority. On Unix only the owner
    /// can read the key, also when its file was more open before. Blocks on the file system.
    ///
    /// # Errors
    ///
    /// When a file cannot be read or written, or holds something else than a living authority for these
    /// names: the error says which file to delete. Addresses may be others than those that the authority was
    /// made for, as they change with the network.
    pub fn load_or_create(state_dir: &Path, names: &[String]) -> Result<Self, DevError> {
        files::load_or_create(state_dir, names)
    }

    /// A new key and a certificate for it, valid from an hour ago and for 90 days from now.
    ///
    /// A name is a DNS name, a wildcard such as `*.tunnel.test`, or an IP address. The chain holds
    /// the authority's certificate as well, so that a client can find the authority's pin in it.
    /// Addresses for which nobody would believe the authority are left out: with one of them the whole
    /// certificate is refused (RFC 5280 §6.1.3).
    ///
    /// # Errors
    ///
    /// When there is no name, or one which cannot be in a certificate.
    pub fn issue(&self, names: &[String]) -> Result<Identity, DevError> {
        self.issue_at(names, SystemTime::now())
    }

    pub(crate) fn issue_at(&self, names: &[String], now: SystemTime) -> Result<Identity, DevError> {
        if names.is_empty() {
            return Err(DevError::NoNames);
        }
        let mut params = params("ngrnotok development server", now, LEAF_LIFETIME)?;
        params.subject_alt_names = names
            .iter()
            .map(|name| alternative_name(name))
            .collect::<Result<_, _>>()?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;

        let key = KeyPair::generate().map_err(DevError::Sign)?;
        let leaf = params
            .signed_by(&key, &self.issuer)
            .map_err(DevError::Sign)?;
        Ok(Identity {
            chain: vec![leaf.into(), self.certificate()],
            key: key.into(),
        })
    }

    /// The authority's certificate as PEM text, for trust stores and CA files.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The pin of the authority's key.
    #[must_use]
    pub fn pin(&self) -> Pin {
        self.pin
    }

    /// The authority's certificate.
    #[must_use]
    pub fn certificate(&self) -> CertificateDer<'static> {
        self.certificate.clone()
    }

    fn generate_at(now: SystemTime, only_for: Option<&[String]>) -> Result<Self, DevError> {
        let key = KeyPair::generate().map_err(DevError::Sign)?;
        let pin = Pin::of_key_info(&key.subject_public_key_info());
        // Trust stores list authorities by name: those of two computers must differ.
        let name = format!("ngrnotok development CA {:.15}", pin.to_string());
        let mut params = params(&name, now, AUTHORITY_LIFETIME)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.name_constraints = only_for.map(constraints::only);

        let certificate = params.self_signed(&key).map_err(DevError::Sign)?;
        Ok(Self {
            issuer: Issuer::new(params, key),
            certificate_pem: certificate.pem(),
            certificate: certificate.into(),
            pin,
        })
    }
}

/// Prints which authority it is, and nothing of its key.
impl fmt::Debug for DevAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DevAuthority")
            .field("pin", &self.pin)
            .finish_non_exhaustive()
    }
}

/// Why the development authority cannot be had, or does not issue. The text is complete: it holds
/// the cause as well.
#[derive(Debug, Error)]
pub enum DevError {
    /// The state directory could not be made.
    #[error("failed to create directory {}: {error}", dir.display())]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// A file could not be locked, written or protected.
    #[error("failed to {what} {}: {error}", file.display())]
    File {
        /// What was tried, as a verb.
        what: &'static str,
        /// The file.
        file: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// A file could not be read.
    #[error(transparent)]
    Read(PemError),
    /// A file was read, but there is no use for what it holds.
    #[error("{what}: delete {} to get a new development CA", file.display())]
    Useless {
        /// The file to delete.
        file: PathBuf,
        /// What is wrong, in words.
        what: String,
    },
    /// No names were given.
    #[error("a certificate needs at least one name")]
    NoNames,
    /// A name which is neither a DNS name, nor a wildcard, nor an IP address.
    #[error("`{0}` cannot be in a certificate: it is neither a DNS name nor an IP address")]
    Name(String),
    /// A key could not be made or a certificate not signed.
    #[error("failed to make a certificate: {0}")]
    Sign(rcgen::Error),
    /// The system gives no randomness.
    #[error("failed to get random bytes from the system")]
    Random,
}

/// What authority and leaf have in common.
fn params(
    common_name: &str,
    now: SystemTime,
    lifetime: Duration,
) -> Result<CertificateParams, DevError> {
    let since_1970 = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let now = date_time_ymd(1970, 1, 1) + since_1970;

    let mut params = CertificateParams::default();
    params.not_before = now - CLOCK_SKEW;
    params.not_after = now + lifetime;
    params.serial_number = Some(random_serial()?);
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    Ok(params)
}

fn random_serial() -> Result<SerialNumber, DevError> {
    let mut serial = [0; 16];
    aws_lc_rs::rand::fill(&mut serial).map_err(|_| DevError::Random)?;
    // Positive, and never short of a byte: some parsers are picky about either.
    serial[0] = serial[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&serial))
}

fn alternative_name(name: &str) -> Result<SanType, DevError> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let wrong = || DevError::Name(name.to_owned());
    // rcgen takes any ASCII; a client would not.
    let host = name.strip_prefix("*.").unwrap_or(name);
    DnsName::try_from(host).map_err(|_| wrong())?;
    Ok(SanType::DnsName(name.try_into().map_err(|_| wrong())?))
}

#[cfg(test)]
mod tests {
    use x509_parser::parse_x509_certificate;

    use super::*;
    use crate::testing::handshake;
    use crate::tls::{Trust, client_config, server_config};

    #[test]
    fn a_leaf_is_good_for_names_wildcards_and_addresses() {
        let authority = DevAuthority::generate().unwrap();
        let names = ["tunnel.test", "*.tunnel.test", "127.0.0.1", "::1"].map(str::to_owned);
        let server = server_config(authority.issue(&names).unwrap(), &[]).unwrap();
        let client = client_config(Trust::Roots(vec![authority.certificate()]), &[]).unwrap();

        for name in ["tunnel.test", "app.tunnel.test", "127.0.0.1", "::1"] {
            handshake(&client, &server, name).unwrap();
        }
        for name in ["test", "a.b.tunnel.test", "127.0.0.2"] {
            handshake(&client, &server, name).unwrap_err();
        }
    }

    #[test]
    fn an_authority_for_some_names_is_believed_for_no_other() {
        let names = ["*.tunnel.test", "192.0.2.7", "2001:db8::7"].map(str::to_owned);
        let authority = DevAuthority::generate_at(SystemTime::now(), Some(&names)).unwrap();
        let client = client_config(Trust::Roots(vec![authority.certificate()]), &[]).unwrap();
        let shake_hands = |name: &str| {
            let identity = authority.issue(&[name.to_owned()])?;
            let server = server_config(identity, &[]).unwrap();
            Ok::<_, DevError>(handshake(&client, &server, name).is_ok())
        };
        let (_, certificate) = parse_x509_certificate(&authority.certificate).unwrap();
        for (name, good) in [
            ("tunnel.test", true),
            ("app.tunnel.test", true),
            ("localhost", true),
            ("127.0.0.1", true),
            ("127.1.2.3", true),
            ("::1", true),
            ("192.0.2.7", true),
            ("2001:db8::7", true),
            ("xtunnel.test", false),
            ("test", false),
            ("bank.example", false),
        ] {
            assert_eq!(shake_hands(name).unwrap_or(false), good, "{name}");
            assert_eq!(constraints::permit(&certificate, name), good, "{name}");
        }
        let wildcard = authority.issue(&["*.tunnel.test".to_owned()]).unwrap();
        let server = server_config(wildcard, &[]).unwrap();
        handshake(&client, &server, "app.tunnel.test").unwrap();
        // Those from before there were constraints.
        let old = DevAuthority::generate().unwrap();
        let (_, old) = parse_x509_certificate(&old.certificate).unwrap();
        assert!(constraints::permit(&old, "bank.example"));
    }

    #[test]
    fn nonsense_is_no_name() {
        let authority = DevAuthority::generate().unwrap();
        for name in [
            "",
            "*",
            "a b",
            "*.*.test",
            "a.*.test",
            "münchen.test",
            "https://a",
        ] {
            let error = authority.issue(&[name.to_owned()]).unwrap_err();
            assert!(matches!(error, DevError::Name(_)), "{name}: {error}");
        }
        assert!(matches!(authority.issue(&[]), Err(DevError::NoNames)));
    }

    #[test]
    fn validity_is_as_documented() {
        let authority = DevAuthority::generate().unwrap();
        let identity = authority.issue(&["localhost".to_owned()]).unwrap();
        let (leaf, ca) = (&identity.chain[0], &identity.chain[1]);
        let days = 24 * 3600;

        assert_eq!(lifetime(leaf), 90 * days + 3600);
        assert_eq!(lifetime(ca), 3650 * days + 3600);
    }

    #[test]
    fn serials_and_authorities_differ() {
        let authority = DevAuthority::generate().unwrap();
        let names = ["localhost".to_owned()];
        let [first, second] = [(), ()].map(|()| authority.issue(&names).unwrap());
        let serial = |identity: &Identity| {
            let (_, leaf) = parse_x509_certificate(&identity.chain[0]).unwrap();
            leaf.raw_serial().to_vec()
        };
        assert_eq!(serial(&first).len(), 16);
        assert_ne!(serial(&first), serial(&second));

        let name = |authority: &DevAuthority| {
            let (_, ca) = parse_x509_certificate(&authority.certificate).unwrap();
            ca.subject().to_string()
        };
        assert_ne!(name(&authority), name(&DevAuthority::generate().unwrap()));
    }

    #[test]
    fn the_pin_is_that_of_the_certificate() {
        let authority = DevAuthority::generate().unwrap();

        assert_eq!(Pin::of(&authority.certificate()).unwrap(), authority.pin());
        let debug = format!("{authority:?}");
        assert_eq!(
            debug,
            format!("DevAuthority {{ pin: {}, .. }}", authority.pin())
        );
    }

    fn lifetime(certificate: &CertificateDer<'_>) -> i64 {
        let (_, certificate) = parse_x509_certificate(certificate).unwrap();
        let validity = certificate.validity();
        validity.not_after.timestamp() - validity.not_before.timestamp()
    }
}
