//! Why a TLS handshake failed, in words for whoever can mend it.

use std::fmt;
use std::io;
use std::time::Duration;

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error, OtherError};
use thiserror::Error;

use crate::pin::WrongKey;
use crate::validity::span;

/// Why the handshake of a client failed, told apart by what can be done about it. The text is one line
/// about the peer ("its certificate …"), without the names of Rust's types.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Failure {
    /// Nobody whom we trust vouches for the peer.
    #[error("its certificate is not signed by an authority that this machine trusts")]
    UnknownAuthority,
    /// The peer shows a certificate that is an authority itself, as most tools make a self-signed one.
    /// Naming it as an authority does not help, only its pin does.
    #[error("its certificate is self-signed")]
    SelfSigned,
    /// The certificate is somebody else's.
    #[error("its certificate is for {presented}, not for {wanted}")]
    OtherName {
        /// The name that was dialed.
        wanted: String,
        /// The names in the certificate.
        presented: String,
    },
    /// The certificate is too old, or the clock is wrong.
    #[error("its certificate has expired{}", by_clock(.0, " ", " ago"))]
    Expired(Option<Duration>),
    /// The certificate is from the future, or the clock is wrong.
    #[error("its certificate is not valid yet{}", by_clock(.0, ", only in ", ""))]
    NotYetValid(Option<Duration>),
    /// The key is not the pinned one.
    #[error("{0}")]
    WrongKey(WrongKey),
    /// Something else is wrong with the certificate.
    #[error("its certificate cannot be trusted: {0}")]
    Certificate(String),
    /// It has another protocol for us than the wanted one.
    #[error("it speaks TLS, but not the wanted protocol")]
    OtherProtocol,
    /// Only older versions of TLS.
    #[error("it speaks only older versions of TLS")]
    OldVersion,
    /// Not TLS at all.
    #[error("it does not speak TLS")]
    NotTls,
    /// It hung up.
    #[error("it closed the connection in the middle of the handshake")]
    HungUp,
    /// Something else.
    #[error("{0}")]
    Other(String),
}

impl Failure {
    /// Reads the error of a client's handshake.
    pub fn of(error: &io::Error) -> Self {
        let inner = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<Error>());
        let Some(inner) = inner else {
            return match error.kind() {
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => Self::HungUp,
                _ => Self::Other(error.to_string()),
            };
        };
        if let Some(wrong) = WrongKey::within(inner) {
            return Self::WrongKey(*wrong);
        }
        match inner {
            Error::InvalidCertificate(error) => certificate(error),
            Error::AlertReceived(AlertDescription::NoApplicationProtocol) => Self::OtherProtocol,
            Error::AlertReceived(AlertDescription::ProtocolVersion)
            | Error::PeerIncompatible(_) => Self::OldVersion,
            Error::InvalidMessage(_) => Self::NotTls,
            other => Self::Other(other.to_string()),
        }
    }
}

fn certificate(error: &CertificateError) -> Failure {
    match error {
        CertificateError::UnknownIssuer => Failure::UnknownAuthority,
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => Failure::OtherName {
            wanted: expected.to_str().into_owned(),
            presented: names(presented),
        },
        CertificateError::ExpiredContext { time, not_after } => {
            Failure::Expired(between(*not_after, *time))
        }
        CertificateError::Expired => Failure::Expired(None),
        CertificateError::NotValidYetContext { time, not_before } => {
            Failure::NotYetValid(between(*time, *not_before))
        }
        CertificateError::NotValidYet => Failure::NotYetValid(None),
        // webpki has no public type for it here; its text is the name of the error.
        CertificateError::Other(OtherError(other)) if other.to_string() == "CaUsedAsEndEntity" => {
            Failure::SelfSigned
        }
        CertificateError::Other(other) => Failure::Certificate(other.0.to_string()),
        other => Failure::Certificate(other.to_string()),
    }
}

/// How many names of a certificate are told; some have a hundred.
const NAMES_TOLD: usize = 4;

/// What rustls writes as `DnsName("tunnel.test")` and `IpAddress(192.0.2.7)`, as names.
fn names(presented: &[String]) -> String {
    told(presented.iter().map(|name| {
        let inside = name.split_once('(').map_or(name.as_str(), |(_, rest)| rest);
        inside.trim_end_matches(')').trim_matches('"')
    }))
}

/// The names of a certificate as a list.
pub(crate) fn told<'a>(mut names: impl ExactSizeIterator<Item = &'a str>) -> String {
    if names.len() == 0 {
        return "no name at all".to_owned();
    }
    let is_cut = names.len() > NAMES_TOLD;
    let mut list = names
        .by_ref()
        .take(NAMES_TOLD)
        .collect::<Vec<_>>()
        .join(", ");
    if is_cut {
        list.push_str(" and others");
    }
    list
}

fn between(earlier: UnixTime, later: UnixTime) -> Option<Duration> {
    let seconds = later.as_secs().checked_sub(earlier.as_secs())?;
    Some(Duration::from_secs(seconds))
}

fn by_clock(
    time: &Option<Duration>,
    before: &'static str,
    after: &'static str,
) -> impl fmt::Display {
    let time = *time;
    fmt::from_fn(move |f| {
        let Some(time) = time else { return Ok(()) };
        write!(
            f,
            "{before}{}{after} by the clock of this machine",
            span(time)
        )
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::SystemTime;

    use rustls::ClientConfig;

    use super::*;
    use crate::Identity;
    use crate::dev::DevAuthority;
    use crate::pin::Pin;
    use crate::testing::{handshake, issue};
    use crate::tls::{Trust, client_config, server_config};

    const DAY: Duration = Duration::from_hours(24);

    fn trusting(authority: &DevAuthority) -> Arc<ClientConfig> {
        client_config(Trust::Roots(vec![authority.certificate()]), &[]).unwrap()
    }

    fn failure(client: &Arc<ClientConfig>, identity: Identity, name: &str) -> Failure {
        let server = server_config(identity, &[]).unwrap();
        let error = handshake(client, &server, name).unwrap_err();
        Failure::of(&io::Error::new(io::ErrorKind::InvalidData, error))
    }

    #[test]
    fn an_authority_that_nobody_named_is_told_from_a_self_signed_certificate() {
        let (ours, theirs) = (
            DevAuthority::generate().unwrap(),
            DevAuthority::generate().unwrap(),
        );
        let client = trusting(&ours);
        assert_eq!(
            failure(&client, issue(&theirs, "tunnel.test"), "tunnel.test"),
            Failure::UnknownAuthority
        );
        // What `openssl req -x509` makes: an authority that is also the server's certificate. To name
        // it as the authority is of no use.
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["tunnel.test".to_owned()]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let identity = Identity {
            chain: vec![certificate.der().clone()],
            key: key.into(),
        };
        let named = Trust::Roots(vec![certificate.der().clone()]);
        let named = client_config(named, &[]).unwrap();
        for client in [&client, &named] {
            let found = failure(client, identity.clone(), "tunnel.test");
            assert_eq!(found, Failure::SelfSigned);
        }
        let pin = Trust::Pin(Pin::of(certificate.der()).unwrap());
        let pinned = client_config(pin, &[]).unwrap();
        let server = server_config(identity, &[]).unwrap();
        handshake(&pinned, &server, "tunnel.test").unwrap();
    }

    #[test]
    fn another_name_is_told_with_the_names_there_are() {
        let authority = DevAuthority::generate().unwrap();
        let names = ["tunnel.test", "*.tunnel.test", "192.0.2.7"].map(str::to_owned);
        let identity = authority.issue(&names).unwrap();
        let found = failure(&trusting(&authority), identity, "elsewhere.test");
        assert_eq!(
            found.to_string(),
            "its certificate is for tunnel.test, *.tunnel.test, 192.0.2.7, not for elsewhere.test"
        );
    }

    #[test]
    fn times_are_told_by_the_clock_of_this_machine() {
        let now = SystemTime::now();
        let certified = |from: SystemTime, to: SystemTime| {
            let key = rcgen::KeyPair::generate().unwrap();
            let mut params = rcgen::CertificateParams::new(vec!["tunnel.test".to_owned()]).unwrap();
            (params.not_before, params.not_after) = (from.into(), to.into());
            let certificate = params.self_signed(&key).unwrap();
            let roots = Trust::Roots(vec![certificate.der().clone()]);
            let identity = Identity {
                chain: vec![certificate.der().clone()],
                key: key.into(),
            };
            let client = client_config(roots, &[]).unwrap();
            failure(&client, identity, "tunnel.test").to_string()
        };
        assert_eq!(
            certified(now - DAY * 30, now - DAY * 12 - DAY / 24),
            "its certificate has expired 12 days ago by the clock of this machine"
        );
        assert_eq!(
            certified(now + DAY / 2 + DAY / 48, now + DAY),
            "its certificate is not valid yet, only in 12 hours by the clock of this machine"
        );
    }

    #[test]
    fn who_does_not_speak_tls_is_told_so() {
        let failed = |error: Error| Failure::of(&io::Error::new(io::ErrorKind::InvalidData, error));
        let alert = failed(Error::AlertReceived(
            AlertDescription::NoApplicationProtocol,
        ));
        assert_eq!(alert, Failure::OtherProtocol);
        let garbage = failed(Error::InvalidMessage(
            rustls::InvalidMessage::InvalidContentType,
        ));
        assert_eq!(garbage, Failure::NotTls);
        let closed = Failure::of(&io::ErrorKind::UnexpectedEof.into());
        assert_eq!(closed, Failure::HungUp);
    }
}
