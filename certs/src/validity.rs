//! Until when a certificate is good, and how long that is.

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

/// `7 minutes`, in the largest unit of which there are two.
pub fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..120 => format!("{seconds} seconds"),
        120..7_200 => format!("{} minutes", seconds / 60),
        7_200..172_800 => format!("{} hours", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
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
