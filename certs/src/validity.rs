//! Until when a certificate is good.

use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// When a certificate expires; `None` if it cannot be read.
pub fn expiry(certificate: &CertificateDer<'_>) -> Option<SystemTime> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let seconds = certificate.validity().not_after.timestamp();
    let seconds = Duration::from_secs(u64::try_from(seconds).ok()?);
    SystemTime::UNIX_EPOCH.checked_add(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev::DevAuthority;

    #[test]
    fn a_fresh_certificate_expires_later_and_nonsense_never() {
        let authority = DevAuthority::generate().unwrap();
        let expires = expiry(&authority.certificate()).unwrap();
        assert!(expires > SystemTime::now());
        assert_eq!(expiry(&CertificateDer::from(vec![1, 2, 3])), None);
    }
}
