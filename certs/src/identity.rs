use std::fmt;
use std::path::Path;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::pem::{self, PemError};

/// What a TLS server shows to prove who it is: a certificate chain and the key to its first
/// certificate.
///
/// Nothing checks that the key belongs to the chain until [`tls`](crate::tls) makes a
/// configuration of it.
pub struct Identity {
    /// The server's own certificate first, then those which lead to a trusted root.
    pub chain: Vec<CertificateDer<'static>>,
    /// The private key of the first certificate.
    pub key: PrivateKeyDer<'static>,
}

impl Identity {
    /// Reads the chain and the key from two PEM files. One file holding both may be given twice.
    ///
    /// # Errors
    ///
    /// As for [`pem::load_chain`] and [`pem::load_key`].
    pub fn load(cert: &Path, key: &Path) -> Result<Self, PemError> {
        Ok(Self {
            chain: pem::load_chain(cert)?,
            key: pem::load_key(key)?,
        })
    }
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Self {
            chain: self.chain.clone(),
            key: self.key.clone_key(),
        }
    }
}

/// Prints how many certificates there are, and nothing of the key.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("certificates", &self.chain.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::dev::DevAuthority;
    use crate::testing::Scratch;

    #[test]
    fn debug_does_not_print_the_key() {
        let authority = DevAuthority::generate().unwrap();
        let identity = authority.issue(&["localhost".to_owned()]).unwrap();

        assert_eq!(format!("{identity:?}"), "Identity { certificates: 2, .. }");
    }

    #[test]
    fn loads_the_files_of_the_dev_authority() {
        let dir = Scratch::new();
        let authority = DevAuthority::load_or_create(dir.path(), &[]).unwrap();

        let identity = Identity::load(
            &dir.path().join("dev-ca.pem"),
            &dir.path().join("dev-ca.key"),
        )
        .unwrap();

        assert_eq!(identity.chain, [authority.certificate()]);
    }

    #[test]
    fn the_error_names_the_file_which_is_wrong() {
        let dir = Scratch::new();
        let cert = dir.path().join("cert.pem");
        let authority = DevAuthority::generate().unwrap();
        fs::write(&cert, authority.certificate_pem()).unwrap();

        let missing = dir.path().join("missing.key");
        let error = Identity::load(&cert, &missing).unwrap_err().to_string();

        assert!(error.contains("missing.key"), "{error}");
    }
}
