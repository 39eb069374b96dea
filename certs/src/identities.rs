mod issued;
mod table;

use std::sync::Arc;
use std::time::SystemTime;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use self::issued::Issued;
use self::table::Table;
use crate::Identity;
use crate::dev::{DevAuthority, DevError};
use crate::flaws::sentences;
use crate::tls::TlsError;

/// What a server shows that goes by several names: whoever asks for one of them sees the identity that
/// is good for it, everybody else the first. Clones share the keys.
#[derive(Clone, Debug)]
pub struct Identities(Arc<Source>);

#[derive(Debug)]
enum Source {
    /// They stay as they are.
    Given(Table),
    /// They are made anew before they expire.
    Issued(Box<Issued>),
}

impl Identities {
    /// An identity for everybody, and others for those who ask for a name that they are good for. One for
    /// the very name goes before a wildcard, and of two alike the one that stands before.
    ///
    /// # Errors
    ///
    /// When a chain and its key cannot be used together, or one of the others has no name to be asked for
    /// by.
    pub fn new(
        first: Identity,
        others: impl IntoIterator<Item = Identity>,
    ) -> Result<Self, TlsError> {
        let table = Table::new(first, others)?;
        Ok(Self(Arc::new(Source::Given(table))))
    }

    /// An identity for these names by a development authority, which issues another one in time: each
    /// handshake is shown one that is good for 30 days more at least, however long the process lives and
    /// whatever becomes of the clock meanwhile.
    ///
    /// # Errors
    ///
    /// As for [`DevAuthority::issue`].
    pub fn issued(authority: DevAuthority, names: Vec<String>) -> Result<Self, DevError> {
        let issued = Issued::new(authority, names, SystemTime::now())?;
        Ok(Self(Arc::new(Source::Issued(Box::new(issued)))))
    }

    /// Whether there is a certificate for this host, lower case.
    pub fn covers(&self, host: &str) -> bool {
        self.look(|table| table.find(host).is_some())
    }

    /// Sentences about what visitors of these hosts refuse in what they are shown, or soon will, and about what
    /// is wrong with all other certificates, each with what to do about it. A host may begin with `*.`.
    pub fn flaws(&self, hosts: &[String], now: SystemTime) -> Vec<String> {
        self.look(|table| {
            let shown = hosts
                .iter()
                .map(|host| (table.of(host), Some(host.as_str())));
            let all = table.all().map(|key| (key, None));
            sentences(shown.chain(all).map(|(key, host)| (&*key.cert, host)), now)
        })
    }

    fn look<T>(&self, at: impl FnOnce(&Table) -> T) -> T {
        match &*self.0 {
            Source::Given(table) => at(table),
            Source::Issued(issued) => at(&issued.good_at(SystemTime::now()).table),
        }
    }
}

impl TryFrom<Identity> for Identities {
    type Error = TlsError;

    fn try_from(identity: Identity) -> Result<Self, TlsError> {
        Self::new(identity, [])
    }
}

impl ResolvesServerCert for Identities {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(str::to_ascii_lowercase);
        let name = name.unwrap_or_default();
        Some(self.look(|table| Arc::clone(table.of(&name))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev::DevAuthority;
    use crate::testing::{handshake, issue};
    use crate::tls::{Trust, client_config, link_server_config, server_config};

    #[test]
    fn each_visitor_sees_the_certificate_of_the_name_he_asks_for() {
        let authority = DevAuthority::generate().unwrap();
        let of = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            authority.issue(&names).unwrap()
        };
        let tunnels = of(&["*.tunnel.test", "tunnel.test"]);
        let others = [
            of(&["app.example.com", "shop.example.com"]),
            of(&["*.example.com"]),
            // Somebody who wants everything gets what is left.
            of(&["app.example.com", "x.tunnel.test", "example.org"]),
        ];
        let identities = Identities::new(tunnels, others).unwrap();
        let client = client_config(Trust::Roots(vec![authority.certificate()]), &[]).unwrap();
        for server in [
            server_config(identities.clone(), &[]).unwrap(),
            link_server_config(identities.clone(), &[]).unwrap(),
        ] {
            let seen = |name: &str| {
                let (client, _) = handshake(&client, &server, name).ok()?;
                let leaf = client.peer_certificates()?.first()?.clone();
                Some(leaf.into_owned())
            };
            for (name, like) in [
                ("a.tunnel.test", "tunnel.test"),
                ("x.tunnel.test", "x.tunnel.test"),
                ("APP.example.com", "shop.example.com"),
                ("other.example.com", "more.example.com"),
                ("example.org", "example.org"),
            ] {
                let leaf = seen(name);
                assert!(leaf.is_some(), "{name}");
                assert_eq!(leaf, seen(like), "{name}");
                assert!(identities.covers(&name.to_lowercase()), "{name}");
            }
            assert_ne!(seen("app.example.com"), seen("other.example.com"));
            assert_ne!(seen("app.example.com"), seen("example.org"));
            for name in ["example.com", "a.app.example.com", "elsewhere.test"] {
                assert_eq!(seen(name), None, "{name}");
                assert!(!identities.covers(name), "{name}");
            }
        }
    }

    #[test]
    fn whoever_asks_for_nothing_sees_the_first() {
        let authority = DevAuthority::generate().unwrap();
        let first = issue(&authority, "127.0.0.1");
        let others = [issue(&authority, "app.example.com")];
        let server = server_config(Identities::new(first, others).unwrap(), &[]).unwrap();
        let client = client_config(Trust::Roots(vec![authority.certificate()]), &[]).unwrap();
        handshake(&client, &server, "127.0.0.1").unwrap();
    }

    #[test]
    fn an_identity_that_cannot_be_used_is_refused() {
        let authority = DevAuthority::generate().unwrap();
        let first = issue(&authority, "localhost");
        let mixed = Identity {
            chain: first.chain.clone(),
            key: issue(&authority, "localhost").key,
        };
        let nameless = issue(&authority, "127.0.0.1");
        for (other, why) in [
            (mixed, TlsError::KeyMismatch),
            (nameless, TlsError::Nameless),
        ] {
            let refused = Identities::new(first.clone(), [other]).unwrap_err();
            assert_eq!(refused, why);
        }
    }
}
