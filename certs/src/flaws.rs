//! Checks of a certificate chain for flaws that make visitors or clients refuse it.

use std::fmt;
use std::time::{Duration, SystemTime};

use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use x509_parser::prelude::{FromDer as _, GeneralName, ParsedExtension, X509Certificate};
use x509_parser::time::ASN1Time;

use crate::failure::told;
use crate::validity::span;

/// A certificate that expires within this time should be renewed: two weeks.
const SOON: Duration = Duration::from_hours(14 * 24);

/// A reason for which visitors refuse a certificate, or soon will. Its text continues `the certificate`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flaw {
    /// The certificate expired this long ago.
    Expired(Duration),
    /// The certificate expires in this time, which is less than two weeks.
    ExpiresSoon(Duration),
    /// The certificate becomes valid in this time.
    NotYetValid(Duration),
    /// The certificate does not cover this host, which may be a wildcard such as `*.tunnel.test`.
    NotFor(String),
    /// The certificate is signed with its own key.
    SelfSigned,
    /// The chain lacks the intermediate certificate that signed this one.
    Incomplete,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired(ago) => write!(f, "has expired {} ago", span(*ago)),
            Self::ExpiresSoon(left) => write!(f, "expires in {}", span(*left)),
            Self::NotYetValid(wait) => write!(f, "is not valid yet, only in {}", span(*wait)),
            Self::NotFor(host) => write!(f, "is not good for {host}"),
            Self::SelfSigned => write!(f, "is signed by itself"),
            Self::Incomplete => write!(f, "comes without the one of its authority"),
        }
    }
}

impl Flaw {
    /// The next step for the operator of the server.
    pub fn cure(&self) -> &'static str {
        match self {
            Self::Expired(_) | Self::ExpiresSoon(_) => "renew it and restart the server",
            Self::NotYetValid(_) => "look at the clock of this machine",
            Self::NotFor(_) => "get one that is, or clients and browsers refuse it",
            Self::SelfSigned => "browsers refuse it, and clients must know it by --server-pin",
            Self::Incomplete => "give the whole chain, often called fullchain.pem",
        }
    }
}

/// The flaws of a chain, as far as they are seen without knowing whom visitors trust. With a `host`, which may
/// begin with `*.`, also whether it is good for that.
pub fn flaws(chain: &[CertificateDer<'_>], host: Option<&str>, now: SystemTime) -> Vec<Flaw> {
    let Some((leaf, authorities)) = chain.split_first() else {
        return Vec::new();
    };
    // What cannot be read is refused where it is to be used.
    let Ok((_, parsed)) = X509Certificate::from_der(leaf) else {
        return Vec::new();
    };
    let validity = parsed.validity();
    let (begin, end) = (time(validity.not_before), time(validity.not_after));
    let mut flaws = Vec::new();
    if let Ok(wait) = begin.duration_since(now) {
        flaws.push(Flaw::NotYetValid(wait));
    }
    match end.duration_since(now) {
        Ok(left) if left < SOON => flaws.push(Flaw::ExpiresSoon(left)),
        Ok(_) => {}
        Err(over) => flaws.push(Flaw::Expired(over.duration())),
    }
    if let Some(host) = host
        && !is_for(leaf, host)
    {
        flaws.push(Flaw::NotFor(host.to_owned()));
    }
    if parsed.issuer() == parsed.subject() {
        flaws.push(Flaw::SelfSigned);
    } else if lacks_issuer(&parsed, authorities) {
        flaws.push(Flaw::Incomplete);
    }
    flaws
}

/// Returns the flaws of several chains as sentences with their next steps, without repetitions.
pub(crate) fn sentences<'a>(
    shown: impl Iterator<Item = (&'a [CertificateDer<'static>], Option<&'a str>)>,
    now: SystemTime,
) -> Vec<String> {
    let mut sentences = Vec::new();
    for (chain, host) in shown {
        let names = chain.first().map(names).unwrap_or_default();
        for flaw in flaws(chain, host, now) {
            let sentence = format!(
                "the certificate for {} {flaw}; {}",
                told(names.iter().map(String::as_str)),
                flaw.cure()
            );
            if !sentences.contains(&sentence) {
                sentences.push(sentence);
            }
        }
    }
    sentences
}

/// The DNS names that a certificate says it is good for, lower case.
pub(crate) fn names(leaf: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, leaf)) = X509Certificate::from_der(leaf) else {
        return Vec::new();
    };
    let Ok(Some(names)) = leaf.subject_alternative_name() else {
        return Vec::new();
    };
    let names = names.value.general_names.iter();
    names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        })
        .collect()
}

fn is_for(leaf: &CertificateDer<'_>, host: &str) -> bool {
    let host = host.replacen('*', "name", 1);
    let (Ok(leaf), Ok(host)) = (
        ParsedCertificate::try_from(leaf),
        ServerName::try_from(host),
    ) else {
        return false;
    };
    verify_server_name(&leaf, &host).is_ok()
}

/// Whether the next in the chain is somebody else, or nobody though there is one: public authorities say in a
/// certificate where that of its issuer is to be had, and browsers know the roots alone.
fn lacks_issuer(leaf: &X509Certificate<'_>, authorities: &[CertificateDer<'_>]) -> bool {
    let Some(next) = authorities.first() else {
        let mut extensions = leaf.extensions().iter();
        return extensions.any(|extension| {
            matches!(
                extension.parsed_extension(),
                ParsedExtension::AuthorityInfoAccess(_)
            )
        });
    };
    X509Certificate::from_der(next).is_ok_and(|(_, next)| next.subject() != leaf.issuer())
}

fn time(of: ASN1Time) -> SystemTime {
    let seconds = Duration::from_secs(of.timestamp().unsigned_abs());
    let of = match of.timestamp() {
        0.. => SystemTime::UNIX_EPOCH.checked_add(seconds),
        _ => SystemTime::UNIX_EPOCH.checked_sub(seconds),
    };
    of.unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, CustomExtension, Issuer, KeyPair};

    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    /// A certificate by an authority of its own, and that of the authority.
    fn chain(adjust: impl FnOnce(&mut CertificateParams)) -> Vec<CertificateDer<'static>> {
        let (key, authority_key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let mut authority = CertificateParams::default();
        authority
            .distinguished_name
            .push(rcgen::DnType::CommonName, "an authority");
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let root = authority.self_signed(&authority_key).unwrap();
        let names = ["tunnel.test", "*.tunnel.test"].map(str::to_owned);
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.not_after = (SystemTime::now() + DAY * 90).into();
        adjust(&mut params);
        let leaf = params.signed_by(&key, &Issuer::new(authority, authority_key));
        vec![leaf.unwrap().der().clone(), root.der().clone()]
    }

    fn found(chain: &[CertificateDer<'_>], host: &str) -> Vec<Flaw> {
        flaws(chain, Some(host), SystemTime::now())
    }

    fn days(flaws: &[Flaw]) -> u64 {
        let [Flaw::Expired(time) | Flaw::ExpiresSoon(time) | Flaw::NotYetValid(time)] = flaws
        else {
            panic!("{flaws:?}");
        };
        (time.as_secs() + 3600) / 86_400
    }

    #[test]
    fn a_good_certificate_has_no_flaw_and_is_for_one_label_more() {
        let good = chain(|_| ());
        for host in ["tunnel.test", "*.tunnel.test", "app.tunnel.test"] {
            assert_eq!(found(&good, host), []);
        }
        for host in ["*.app.tunnel.test", "other.test", "*.other.test"] {
            assert_eq!(found(&good, host), [Flaw::NotFor(host.to_owned())]);
        }
    }

    #[test]
    fn dates_are_told_from_two_weeks_before_the_end() {
        let now = SystemTime::now();
        let ends = |end: SystemTime| {
            found(
                &chain(|params| params.not_after = end.into()),
                "tunnel.test",
            )
        };
        assert_eq!(ends(now + DAY * 15), []);
        let soon = ends(now + DAY * 13);
        assert!(matches!(soon[..], [Flaw::ExpiresSoon(_)]));
        assert_eq!(days(&soon), 13);
        let expired = ends(now - DAY * 12);
        assert!(matches!(expired[..], [Flaw::Expired(_)]));
        assert_eq!(days(&expired), 12);
        let early = chain(|params| params.not_before = (now + DAY * 2).into());
        let early = found(&early, "tunnel.test");
        assert!(matches!(early[..], [Flaw::NotYetValid(_)]));
        assert_eq!(days(&early), 2);
    }

    #[test]
    fn a_chain_is_whole_unless_it_lacks_an_authority_that_is_said_to_be_there() {
        let mut whole = chain(|_| ());
        // A root of one's own may sign by itself, and whoever trusts it has it.
        assert_eq!(found(&whole[..1], "tunnel.test"), []);
        whole[1] = chain(|_| ())[0].clone();
        assert_eq!(found(&whole, "tunnel.test"), [Flaw::Incomplete]);
        let public = chain(|params| {
            // AuthorityInfoAccess: caIssuers at http://a/
            let place = b"\x30\x16\x30\x14\x06\x08\x2b\x06\x01\x05\x05\x07\x30\x02\x86\x08http://a";
            let extension =
                CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], place.to_vec());
            params.custom_extensions.push(extension);
        });
        assert_eq!(found(&public, "tunnel.test"), []);
        assert_eq!(found(&public[..1], "tunnel.test"), [Flaw::Incomplete]);
        assert_eq!(flaws(&whole[1..1], None, SystemTime::now()), []);
    }

    #[test]
    fn a_certificate_that_nobody_vouches_for_is_told() {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["tunnel.test".to_owned()]).unwrap();
        params.not_after = (SystemTime::now() + DAY * 90).into();
        let own = [params.self_signed(&key).unwrap().der().clone()];
        assert_eq!(found(&own, "tunnel.test"), [Flaw::SelfSigned]);
        let both = [
            (&own[..], Some("tunnel.test")),
            (&own[..], Some("*.tunnel.test")),
        ];
        let sentences = sentences(both.into_iter(), SystemTime::now());
        assert_eq!(
            sentences,
            [
                "the certificate for tunnel.test is signed by itself; browsers refuse it, and clients must know it by --server-pin",
                "the certificate for tunnel.test is not good for *.tunnel.test; get one that is, or clients and browsers refuse it",
            ]
        );
    }
}
