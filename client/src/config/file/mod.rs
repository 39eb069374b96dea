//! The config file: where it is and what it says. `check` looks at it as a whole, `wrong` says where in
//! it something is not as it should be.

mod check;
mod wrong;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use ngrnotok_common::folders;
use thiserror::Error;

use crate::local::Target;
use crate::proxy::Wish;
use crate::settings::Settings;
pub(super) use wrong::entry;

/// Largest config file: 1 MiB.
const LIMIT: u64 = 1024 * 1024;

/// A config file that has been read and understood.
#[derive(Debug)]
pub struct ConfigFile {
    /// Where it is.
    pub path: PathBuf,
    /// What it says; paths in it are absolute or from the working folder.
    pub settings: Settings,
    text: String,
}

/// What is wrong with a config file.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FileError {
    /// It cannot be read.
    #[error("failed to read the config file {}: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Somebody named it, and it is not there.
    #[error(
        "there is no config file {}; look at --config and NGRNOTOK_CONFIG, or make it with: ngrnotok login",
        file.display()
    )]
    Missing {
        /// As named.
        file: PathBuf,
    },
    /// It is too large to be one.
    #[error("{} has more than {} KiB: that is no config file", file.display(), LIMIT / 1024)]
    TooLarge {
        /// The file.
        file: PathBuf,
    },
    /// Others can read the token or the password in it.
    #[error(
        "{file} holds a token or a password, and other users can read it (mode {mode:o}). Run: chmod 600 {file}",
        file = file.display()
    )]
    Exposed {
        /// The file.
        file: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Something in it is not as it should be.
    #[error("{}:{line}:{column}: {message}", file.display())]
    Wrong {
        /// The file.
        file: PathBuf,
        /// Counted from 1.
        line: usize,
        /// In characters, counted from 1.
        column: usize,
        /// What, and what to do about it.
        message: String,
    },
}

/// Where the config file is when nobody names one; `None`: this user has no home.
pub fn usual_path() -> Option<PathBuf> {
    folders::config("ngrnotok").map(|folder| folder.join("config.toml"))
}

impl ConfigFile {
    /// Reads a config file; `None` if it is not there.
    pub fn read(path: &Path) -> Result<Option<Self>, FileError> {
        let failed = |source| FileError::Read {
            file: path.to_owned(),
            source,
        };
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(failed)?,
        };
        let mut text = String::new();
        (&file)
            .take(LIMIT + 1)
            .read_to_string(&mut text)
            .map_err(failed)?;
        if text.len() as u64 > LIMIT {
            let file = path.to_owned();
            return Err(FileError::TooLarge { file });
        }
        let config = Self::parse(path, text)?;
        let proxy = config.settings.proxy.as_ref();
        if config.settings.token.is_some()
            || config.settings.web_password.is_some()
            || proxy.is_some_and(Wish::may_hold_credentials)
        {
            private(path, &file)?;
        }
        Ok(Some(config))
    }

    /// Understands the text of a config file.
    fn parse(path: &Path, text: String) -> Result<Self, FileError> {
        let mut config = Self {
            path: path.to_owned(),
            settings: Settings::default(),
            text,
        };
        config.settings = toml_edit::de::from_str(&config.text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            config.wrong(at, config.in_words(&error))
        })?;
        config.check()?;
        config.settle_paths();
        Ok(config)
    }

    /// As it stands on the disk.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Paths in the file are relative to it, wherever the program is started.
    fn settle_paths(&mut self) {
        let folder = self.path.parent().unwrap_or_else(|| Path::new(""));
        let settings = &mut self.settings;
        let paths = [
            &mut settings.server_ca,
            &mut settings.token_file,
            &mut settings.inspect_store,
            &mut settings.web_password_file,
        ];
        for path in paths.into_iter().flatten() {
            *path = folder.join(&*path);
        }
        for words in settings.tunnels.values_mut() {
            if let Some(Target::Unix(path)) = &mut words.target {
                *path = folder.join(&*path);
            }
        }
    }
}

/// As ssh has it with private keys: one that others can read is not used.
#[cfg(unix)]
fn private(path: &Path, file: &File) -> Result<(), FileError> {
    use std::os::unix::fs::PermissionsExt as _;
    let metadata = file.metadata().map_err(|source| FileError::Read {
        file: path.to_owned(),
        source,
    })?;
    let mode = metadata.permissions().mode() & 0o777;
    match mode & 0o077 {
        0 => Ok(()),
        _ => Err(FileError::Exposed {
            file: path.to_owned(),
            mode,
        }),
    }
}

/// Elsewhere a file is as private as its folder makes it.
#[cfg(not(unix))]
fn private(_: &Path, _: &File) -> Result<(), FileError> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::target;
    use crate::local::HostHeader;
    use crate::settings::{ProtocolWord, SharingWord};

    /// What is said of a file with this text.
    fn refused(text: &str) -> String {
        let path = Path::new("/etc/config.toml");
        match ConfigFile::parse(path, text.to_owned()) {
            Ok(file) => panic!("{text:?} is {:?}", file.settings),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place_and_a_way_out() {
        for (text, said) in [
            ("server", "1:7: key with no value, expected `=`"),
            ("server = 'a", "1:12: invalid literal string, expected `'`"),
            (
                "server = tunnel.test",
                "1:10: this is no value; text must be in quotes",
            ),
            (
                "server = 'a'\nserver = 'b'",
                "2:1: this key is here twice; keep one of them",
            ),
            (
                "[tunnels.web]\ntarget = 127.0.0.1:1",
                "2:15: this is no value; text must be in quotes",
            ),
            (
                "[tunnels.a]\nport = 1\n[tunnels.a]",
                "3:10: this key is here twice; keep one of them",
            ),
            // Keys.
            (
                "\n  severs = 1",
                "2:3: unknown key \"severs\"; did you mean \"server\"?",
            ),
            (
                "zebra = 1",
                "1:1: unknown key \"zebra\"; there are: server, token-file, token, server-ca, server-pin, proxy, links, log, output, web, web-password-file, web-password, web-allow-unix, inspect, inspect-memory, inspect-body, inspect-store, inspect-keep, tunnels",
            ),
            (
                "[tunnel.web]",
                "1:2: unknown key \"tunnel\"; did you mean \"tunnels\"?",
            ),
            (
                "[tunnels.web]\nprot = 1",
                "2:1: unknown key \"prot\"; did you mean \"port\"?",
            ),
            // Types.
            (
                "log = 1",
                "1:7: invalid type: integer `1`, expected text in quotes",
            ),
            (
                "token-file = true",
                "1:14: invalid type: boolean `true`, expected a path in quotes",
            ),
            (
                "tunnels = 'ä'",
                "1:11: invalid type: string \"ä\", expected a table such as [tunnels.web]",
            ),
            (
                "tunnels.web = 3000",
                "1:15: invalid type: integer `3000`, expected a table such as [tunnels.web]",
            ),
            (
                "[tunnels.web]\nport = '3000'",
                "2:8: invalid type: string \"3000\", expected a port, 1 to 65535, without quotes",
            ),
            (
                "[tunnels.web]\nhello = 'yes'",
                "2:9: invalid type: string \"yes\", expected true or false",
            ),
            (
                "links = '2'",
                "1:9: invalid type: string \"2\", expected a number without quotes",
            ),
            // Values.
            ("links = 17", "1:9: 17 is not a number from 1 to 16"),
            (
                "server = 'https://a.test/'",
                "1:10: \"https://a.test/\" is not a host name with an optional port, such as tunnel.example.com or tunnel.example.com:8443",
            ),
            (
                "server-pin = '1234'",
                "1:14: `1234` is not a pin: write `sha256:` and 64 hex digits, or `sha256//` and base64",
            ),
            (
                "output = 'jsn'",
                "1:10: unknown word \"jsn\"; did you mean \"json\"?",
            ),
            (
                "[tunnels.web]\nport = 0",
                "2:1: \"0\" is not a local target: port 0 is no port. Use 3000, 127.0.0.1:3000, http://host:8080, https://localhost:8443 or unix:/run/app.sock",
            ),
            (
                "[tunnels.web]\nport = 70000",
                "2:8: invalid value: integer `70000`, expected a port, 1 to 65535, without quotes",
            ),
            (
                "[tunnels.web]\nport = 1\nname = 'Bad_Name'",
                "3:8: a name is made of a-z, 0-9 and '-', not '_'",
            ),
            (
                "[tunnels.web]\nport = 1\nlocal_protocol = 'http2'",
                "3:18: unknown word \"http2\"; did you mean \"http1\"?",
            ),
            (
                "[tunnels.web]\nport = 1\nhost-header = 'a b'",
                "3:15: \"a b\" is neither \"rewrite\" nor a host name with an optional port",
            ),
            (
                "links = 1\nproxy = 'socks4://p'",
                "2:1: proxy in the config file names a proxy of an unknown kind; there are http://, https://, socks5:// and socks5h:// (the proxy resolves names). To do without one use --proxy none",
            ),
            // What does not go together.
            (
                "# ä\n\n[tunnels.web]\nname = 'x'",
                "3:10: the tunnel \"web\": it has no target; add port = 3000, target = \"HOST:PORT\" or hello = true",
            ),
            (
                "[tunnels.web]\nport = 1\nhello = true",
                "1:10: the tunnel \"web\": it has several targets; keep one of target, port and hello",
            ),
            (
                "tunnels.web = { port = 1, host-header = 'rewrite', dev = true }",
                "1:9: the tunnel \"web\": dev sets the host that the app sees; keep one of dev and host-header",
            ),
            (
                "[tunnels.a]\nport = 1\nname = 'x'\n[tunnels.b]\nport = 2\nname = 'X'",
                "6:1: the tunnels \"a\" and \"b\" want the same name x; give one of them another",
            ),
            (
                "[tunnels.a]\nport = 1\n[tunnels.b]\ntarget = 'localhost:1'",
                "3:10: the tunnels \"a\" and \"b\" have the same target and no name, so both would have the same public name; give one of them name = \"…\"",
            ),
            (
                "token = 'a'\ntoken_file = 'b'",
                "2:1: token and token-file are two ways to give the token; keep one",
            ),
            (
                &format!("server-pin = 'sha256:{}'\nserver-ca = 'x'", "0".repeat(64)),
                "1:1: server-ca and server-pin are two ways to know the server; keep one",
            ),
        ] {
            assert_eq!(refused(text), format!("/etc/config.toml:{said}"));
        }
    }

    #[test]
    fn the_token_is_never_shown() {
        for text in [
            "token = 'ngrt_x",
            "token = ngrt_x",
            "token = 5ngrt_x",
            "token = 'ngrt_x' 'ngrt_y'",
            "token = 'ngrt_x'\ntoken = 'ngrt_y'",
            "token = 'ngrt_x ngrt_y'",
            "token = ['ngrt_x']",
            "token = { ngrt_x = 1 }",
            "token.ngrt_x = 1",
            "token = 'ngrt_x'\ntoken_file = 'a'",
            "server = 'a'\ntoken = \"\"\"\nngrt_x\nngrt_y\"\"\"",
            "proxy = http://ngrt_x@p",
            "proxy = 'http://ngrt_x@p:x'",
            "proxy = 'quic://ngrt_x@p'",
            "proxy = ['http://ngrt_x@p']",
            "proxy = { 'http://ngrt_x@p' = 1 }",
        ] {
            let said = refused(text);
            assert!(!said.contains("ngrt"), "{text:?}: {said}");
        }
    }

    #[test]
    fn every_option_of_a_tunnel_can_be_said() {
        let text = "
            server = 'a.test:8443'
            server_ca = 'ca.pem'
            token-file = '/run/token'
            [tunnels.web]
            port = 3000
            name = 'My-App'
            dev = true
            pool = true
            health = '/healthz'
            [tunnels.'my api']
            target = 'https://localhost:8443'
            insecure_local = true
            local-protocol = 'h2c'
            local_connections = 'per-visitor'
            host_header = 'rewrite'
            [tunnels.a]
            target = 'unix:run/app.sock'
            [tunnels.hi]
            hello = true
        ";
        let path = Path::new("/etc/ngrnotok/config.toml");
        let settings = ConfigFile::parse(path, text.to_owned()).unwrap().settings;
        let tunnels: Vec<_> = settings.tunnels.iter().collect();
        // In the order of the file.
        let names: Vec<&str> = tunnels.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["web", "my api", "a", "hi"]);
        let targets: Vec<String> = tunnels
            .iter()
            .map(|(_, words)| target(words).unwrap().to_string())
            .collect();
        // A path is relative to the file.
        assert_eq!(
            targets,
            [
                "http://localhost:3000",
                "https://localhost:8443",
                "unix:/etc/ngrnotok/run/app.sock",
                "hello page"
            ]
        );
        assert_eq!(
            settings.server_ca.unwrap(),
            Path::new("/etc/ngrnotok/ca.pem")
        );
        assert_eq!(settings.token_file.unwrap(), Path::new("/run/token"));
        let web = &settings.tunnels["web"];
        assert!(
            web.dev
                && web
                    .name
                    .as_ref()
                    .is_some_and(|name| name.as_str() == "my-app")
        );
        let api = &settings.tunnels["my api"];
        assert!(api.insecure_local && api.host_header == Some(HostHeader::Rewrite));
        assert_eq!(api.local_protocol, ProtocolWord::H2c);
        assert_eq!(api.local_connections, SharingWord::PerVisitor);
    }
}
