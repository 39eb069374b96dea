//! Why a TLS handshake failed, in words for whoever can mend it.

use std::io;

use rustls::{AlertDescription, CertificateError, Error};

use crate::pin::WrongKey;

/// Tells a failed handshake of a client in one line, without the names of Rust's types.
pub fn in_words(error: &io::Error) -> String {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>());
    let Some(inner) = inner else {
        return error.to_string();
    };
    if let Some(wrong) = WrongKey::within(inner) {
        return wrong.to_string();
    }
    match inner {
        Error::InvalidCertificate(error) => certificate(error),
        Error::AlertReceived(AlertDescription::NoApplicationProtocol) => {
            "it speaks TLS, but not the wanted protocol".to_owned()
        }
        Error::InvalidMessage(_) => "it does not speak TLS".to_owned(),
        other => other.to_string(),
    }
}

fn certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => {
            "its certificate is not signed by an authority that this machine trusts".to_owned()
        }
        CertificateError::Other(other) => {
            format!("its certificate cannot be trusted: {}", other.0)
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            format!("its certificate has expired ({error})")
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("its certificate is for another name ({error})")
        }
        other => format!("its certificate cannot be trusted ({other})"),
    }
}
