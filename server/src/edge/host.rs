//! Whom a request is for. One parsed value routes, and the same value is sent on.

use http::header::HOST;
use http::uri::Scheme;
use http::{Request, Version};
use ngrnotok_common::hostname::HostPort;
use ngrnotok_common::protocol::cause::Cause;

/// Reads the one host of a request, as the visitor wrote it.
///
/// HTTP/1 has exactly one `Host`, and a target in absolute form must agree with it (RFC 9112 §3.2,
/// stricter: where the RFC lets the target win, we refuse, because the next hop might not). HTTP/2 has
/// `:authority`, a `Host` beside it must agree (RFC 9113 §8.3.1). They agree, too, where one of them names the
/// default port of the target's scheme and the other names none (RFC 3986 §6.2.3).
pub(super) fn written<B>(request: &Request<B>) -> Result<&str, Cause> {
    let mut fields = request.headers().get_all(HOST).iter();
    let field = match (fields.next(), fields.next()) {
        (None, _) => None,
        (Some(value), None) => Some(value.to_str().map_err(|_| Cause::BadHost)?),
        (Some(_), Some(_)) => return Err(Cause::BadHost),
    };
    let target = request
        .uri()
        .authority()
        .map(|authority| authority.as_str());
    match (field, target) {
        (Some(field), Some(target))
            if !field.eq_ignore_ascii_case(target)
                && !is_same(field, target, request.uri().scheme()) =>
        {
            Err(Cause::BadHost)
        }
        (Some(field), _) => Ok(field),
        (None, Some(target)) if request.version() == Version::HTTP_2 => Ok(target),
        (None, _) => Err(Cause::BadHost),
    }
}

fn is_same(field: &str, target: &str, scheme: Option<&Scheme>) -> bool {
    let default = match scheme.map(Scheme::as_str) {
        Some("https") => Some(443),
        Some("http") => Some(80),
        _ => None,
    };
    let (Ok(field), Ok(target)) = (HostPort::parse(field), HostPort::parse(target)) else {
        return false;
    };
    field.host == target.host && field.port.or(default) == target.port.or(default)
}

/// Checks the form of a host.
pub(super) fn parse(written: &str) -> Result<HostPort<'_>, Cause> {
    HostPort::parse(written).map_err(|_| Cause::BadHost)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(version: Version, uri: &str, hosts: &[&str]) -> Request<()> {
        let mut request = Request::builder().version(version).uri(uri);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn exactly_one_host_is_believed() {
        let h1 = |uri, hosts: &[&str]| {
            written(&request(Version::HTTP_11, uri, hosts)).map(ToOwned::to_owned)
        };
        assert_eq!(h1("/", &["a.test"]), Ok("a.test".into()));
        assert_eq!(h1("http://a.test/", &["A.test"]), Ok("A.test".into()));
        assert_eq!(h1("http://b.test/", &["a.test"]), Err(Cause::BadHost));
        assert_eq!(h1("http://b.test/", &[]), Err(Cause::BadHost));
        assert_eq!(h1("/", &[]), Err(Cause::BadHost));
        assert_eq!(h1("/", &["a.test", "a.test"]), Err(Cause::BadHost));

        let h2 = |uri, hosts: &[&str]| {
            written(&request(Version::HTTP_2, uri, hosts)).map(ToOwned::to_owned)
        };
        assert_eq!(h2("https://a.test/", &[]), Ok("a.test".into()));
        assert_eq!(h2("https://a.test/", &["a.test"]), Ok("a.test".into()));
        assert_eq!(h2("https://a.test/", &["b.test"]), Err(Cause::BadHost));

        assert_eq!(h2("https://a.test:443/", &["a.test"]), Ok("a.test".into()));
        assert_eq!(h2("http://a.test/", &["A.test:80"]), Ok("A.test:80".into()));
        assert_eq!(h1("http://a.test:80/", &["a.test"]), Ok("a.test".into()));
        for (uri, host) in [
            ("http://a.test:443/", "a.test"),
            ("https://a.test:80/", "a.test"),
            ("https://a.test:443/", "b.test"),
            ("https://a.test:8443/", "a.test"),
            ("ftp://a.test:443/", "a.test"),
        ] {
            assert_eq!(h2(uri, &[host]), Err(Cause::BadHost), "{uri} {host}");
        }
    }
}
