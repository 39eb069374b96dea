//! Reads certificates and keys from PEM files, with errors which name the file.

use std::path::{Path, PathBuf};
use std::{fs, io};

use rustls::pki_types::pem::{Error as SyntaxError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;

/// Reads all certificates of a file, in the order of the file: for a server's chain its own
/// certificate comes first. Other things in the file, such as a key, are passed over.
///
/// # Errors
///
/// When the file cannot be read, is not well-formed, or holds no certificate. The certificates
/// themselves are only understood when they are used.
pub fn load_chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    parse_chain(file, &read(file)?)
}

/// Reads the first private key of a file: PKCS#8, PKCS#1 (RSA) or SEC1 (elliptic curve).
///
/// # Errors
///
/// When the file cannot be read, is not well-formed, or holds no key which can be used without a
/// passphrase.
pub fn load_key(file: &Path) -> Result<PrivateKeyDer<'static>, PemError> {
    let pem = read(file)?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| match error {
        _ if is_encrypted(&pem) => PemError::EncryptedKey {
            file: file.to_owned(),
        },
        SyntaxError::NoItemsFound => PemError::NoKey {
            file: file.to_owned(),
        },
        error => broken(file, &error),
    })
}

/// Why a PEM file could not be used. The text is complete: it holds the cause as well.
#[derive(Debug, Error)]
pub enum PemError {
    /// The file could not be read.
    #[error("failed to read {}: {error}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// The file holds something else, or is not PEM at all.
    #[error("no PEM certificate in {}", file.display())]
    NoCertificate {
        /// The file.
        file: PathBuf,
    },
    /// The file holds something else, or is not PEM at all.
    #[error("no PEM private key in {}", file.display())]
    NoKey {
        /// The file.
        file: PathBuf,
    },
    /// The key needs a passphrase, and nobody is there to ask for it.
    #[error("the private key in {} is encrypted: decrypt it first", file.display())]
    EncryptedKey {
        /// The file.
        file: PathBuf,
    },
    /// The file is PEM, but cut off or damaged.
    #[error("broken PEM in {}: {what}", file.display())]
    Broken {
        /// The file.
        file: PathBuf,
        /// What is wrong, in words.
        what: String,
    },
}

/// The part of [`load_chain`] after reading, for callers who need the text as well.
pub(crate) fn parse_chain(
    file: &Path,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let chain = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| broken(file, &error))?;
    if chain.is_empty() {
        return Err(PemError::NoCertificate {
            file: file.to_owned(),
        });
    }
    Ok(chain)
}

pub(crate) fn read(file: &Path) -> Result<Vec<u8>, PemError> {
    fs::read(file).map_err(|error| PemError::Read {
        file: file.to_owned(),
        error,
    })
}

/// An encrypted key has a label of its own (PKCS#8) or a header in the section (the older form),
/// neither of which the parser knows.
fn is_encrypted(pem: &[u8]) -> bool {
    String::from_utf8_lossy(pem).contains("ENCRYPTED")
}

/// The parser prints lines of the file as lists of numbers, which nobody can read.
fn broken(file: &Path, error: &SyntaxError) -> PemError {
    let what = match error {
        SyntaxError::MissingSectionEnd { end_marker } => format!(
            "the end line of {} is missing",
            String::from_utf8_lossy(end_marker)
        ),
        SyntaxError::IllegalSectionStart { line } => {
            format!("`{}` begins nothing", String::from_utf8_lossy(line))
        }
        SyntaxError::Base64Decode(_) => "what is between the lines is not base64".to_owned(),
        other => other.to_string(),
    };
    PemError::Broken {
        file: file.to_owned(),
        what,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev::DevAuthority;
    use crate::testing::Scratch;

    #[test]
    fn a_chain_keeps_its_order() {
        let (dir, first, second) = (
            Scratch::new(),
            DevAuthority::generate().unwrap(),
            DevAuthority::generate().unwrap(),
        );
        let both = format!("{}\n{}", first.certificate_pem(), second.certificate_pem());
        let file = write(&dir, &both);

        assert_eq!(
            load_chain(&file).unwrap(),
            [first.certificate(), second.certificate()]
        );
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = load_chain(Path::new("/nowhere/chain.pem")).unwrap_err();

        let error = error.to_string();
        assert!(
            error.starts_with("failed to read /nowhere/chain.pem: "),
            "{error}"
        );
    }

    #[test]
    fn a_certificate_is_no_key_and_nonsense_is_no_certificate() {
        let dir = Scratch::new();
        let authority = DevAuthority::generate().unwrap();

        let file = write(&dir, authority.certificate_pem());
        assert!(matches!(load_key(&file), Err(PemError::NoKey { .. })));

        let file = write(&dir, "hello");
        assert!(matches!(
            load_chain(&file),
            Err(PemError::NoCertificate { .. })
        ));
    }

    #[test]
    fn an_encrypted_key_is_recognised_in_both_forms() {
        let dir = Scratch::new();
        for pem in [
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\
             DEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n",
        ] {
            let error = load_key(&write(&dir, pem)).unwrap_err();
            assert!(matches!(error, PemError::EncryptedKey { .. }), "{error}");
        }
    }

    #[test]
    fn a_cut_off_file_says_so_in_words() {
        let dir = Scratch::new();
        let file = write(&dir, "-----BEGIN CERTIFICATE-----\nAAAA\n");

        let error = load_chain(&file).unwrap_err().to_string();

        assert!(error.contains("test.pem"), "{error}");
        assert!(
            error.ends_with("the end line of CERTIFICATE is missing"),
            "{error}"
        );
    }

    fn write(dir: &Scratch, pem: &str) -> PathBuf {
        let file = dir.path().join("test.pem");
        fs::write(&file, pem).unwrap();
        file
    }
}
