//! Where the local app is, in the words a developer would use.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use ngrnotok_common::hostname::HostPort;
use thiserror::Error;

/// Where the local app is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// HTTP on a TCP port.
    Http {
        /// Name or address, lower case; IPv6 without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// HTTP over TLS on a TCP port.
    Https {
        /// Name or address, lower case; IPv6 without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// HTTP on a Unix socket.
    Unix(PathBuf),
    /// The built-in page that shows the visitor's request.
    Hello,
}

/// The words name no local app.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "{word:?} is not a local target: {reason}. Use 3000, 127.0.0.1:3000, http://host:8080, https://localhost:8443 or unix:/run/app.sock"
)]
pub struct InvalidTarget {
    word: String,
    reason: &'static str,
}

impl FromStr for Target {
    type Err = InvalidTarget;

    fn from_str(word: &str) -> Result<Self, InvalidTarget> {
        let invalid = |reason| InvalidTarget {
            word: word.to_owned(),
            reason,
        };
        if let Some(path) = word.strip_prefix("unix:") {
            return match path.is_empty() {
                true => Err(invalid("the path of the socket is missing")),
                false => Ok(Self::Unix(PathBuf::from(path))),
            };
        }
        if word.bytes().all(|byte| byte.is_ascii_digit()) && !word.is_empty() {
            let port = word
                .parse()
                .map_err(|_| invalid("a port is at most 65535"))?;
            return Self::http("localhost", port).map_err(invalid);
        }
        let (https, rest) = match word.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            Some(_) => return Err(invalid("the scheme is neither http nor https")),
            None => (false, word),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#']) {
            return Err(invalid("a target has no path"));
        }
        let HostPort { host, port } =
            HostPort::parse(rest).map_err(|_| invalid("that is no host and port"))?;
        let host = host.into_owned();
        match (https, port) {
            (_, Some(0)) => Err(invalid("port 0 is no port")),
            (true, port) => Ok(Self::Https {
                host,
                port: port.unwrap_or(443),
            }),
            (false, Some(port)) => Ok(Self::Http { host, port }),
            (false, None) if word.contains("://") => Ok(Self::Http { host, port: 80 }),
            (false, None) => Err(invalid("the port is missing")),
        }
    }
}

impl Target {
    /// HTTP on a port of this machine.
    pub fn port(port: u16) -> Result<Self, InvalidTarget> {
        Self::http("localhost", port).map_err(|reason| InvalidTarget {
            word: port.to_string(),
            reason,
        })
    }

    fn http(host: &str, port: u16) -> Result<Self, &'static str> {
        if port == 0 {
            return Err("port 0 is no port");
        }
        Ok(Self::Http {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, host, port) = match self {
            Self::Http { host, port } => ("http", host, port),
            Self::Https { host, port } => ("https", host, port),
            Self::Unix(path) => return write!(f, "unix:{}", path.display()),
            Self::Hello => return f.write_str("hello page"),
        };
        match host.contains(':') {
            true => write!(f, "{scheme}://[{host}]:{port}"),
            false => write!(f, "{scheme}://{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_say_it() {
        for (word, shown) in [
            ("3000", "http://localhost:3000"),
            ("127.0.0.1:3000", "http://127.0.0.1:3000"),
            ("localhost:80", "http://localhost:80"),
            ("[::1]:3000", "http://[::1]:3000"),
            ("http://host:8080", "http://host:8080"),
            ("http://Host/", "http://host:80"),
            ("https://localhost:8443", "https://localhost:8443"),
            ("https://example.org", "https://example.org:443"),
            ("unix:/run/app.sock", "unix:/run/app.sock"),
        ] {
            let target: Target = word.parse().unwrap();
            assert_eq!(target.to_string(), shown);
        }
    }

    #[test]
    fn what_is_no_target_says_why() {
        for word in [
            "",
            "0",
            "70000",
            "localhost",
            "ftp://x:1",
            "http://x:1/base",
            "unix:",
            "a b:1",
            "x:0",
            "http://u:p@host:1",
        ] {
            let error = word.parse::<Target>().unwrap_err().to_string();
            assert!(error.contains("127.0.0.1:3000"), "{error}");
        }
    }
}
