//! Which accounts this installation has had on which servers, so that each of them has names of its own.
//!
//! A server holds a name for the account that has used it. If a second account of the same installation derived
//! the same name, it would be refused for a day. So the first one has the names that are derived from
//! installation and target alone, and each further one has others. Whose a token is only the server knows; what
//! it says is kept in `accounts.json` in the state folder. A new token of an account changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use ngrnotok_common::files::{self, Readers};
use ngrnotok_common::secret::Secret;
use serde::{Deserialize, Serialize};
use tracing::warn;

/// What this installation knows of its accounts on one server, and by which token it comes now.
#[derive(Debug, Clone)]
pub struct Accounts {
    folder: PathBuf,
    file: PathBuf,
    server: String,
    /// A part of its hash; `None` for who has none.
    token: Option<String>,
}

/// The file: servers by host and port.
type Servers = BTreeMap<String, Server>;

#[derive(Debug, Default, Serialize, Deserialize)]
struct Server {
    first: String,
    tokens: BTreeMap<String, String>,
}

/// Servers that are remembered, and tokens of each.
const MOST: usize = 64;

/// The account of those who come without a token.
const ANONYMOUS: &str = "anonymous";

impl Accounts {
    /// What is kept in the state folder about `server`, which is told who we are by this token.
    pub fn kept_in(state: &Path, server: &str, token: Option<&Secret>) -> Self {
        let hash = |token: &Secret| {
            let hash = digest(&SHA256, token.expose().as_bytes());
            HEXLOWER.encode(&hash.as_ref()[..8])
        };
        Self {
            folder: state.to_owned(),
            file: state.join("accounts.json"),
            server: server.to_owned(),
            token: token.map(hash),
        }
    }

    /// The account that we come as, unless it is the first one on this server or not known yet. Blocks on the
    /// disk.
    pub fn other(&self) -> Option<String> {
        let server = self.read().remove(&self.server)?;
        let account = match &self.token {
            Some(token) => server.tokens.get(token)?,
            None => ANONYMOUS,
        };
        (*account != *server.first).then(|| account.to_owned())
    }

    /// Remembers whose our token is. Those without one have no names to lose, and are never the first. Blocks
    /// on the disk when there is something new.
    pub fn learn(&self, account: &str) {
        let Some(token) = &self.token else { return };
        let mut servers = self.read();
        let known = servers.get(&self.server);
        if known.is_some_and(|known| {
            known
                .tokens
                .get(token)
                .is_some_and(|known| known == account)
        }) {
            return;
        }
        let mut server = servers.remove(&self.server).unwrap_or_else(|| Server {
            first: account.to_owned(),
            tokens: BTreeMap::new(),
        });
        make_room(&mut server.tokens);
        server.tokens.insert(token.clone(), account.to_owned());
        make_room(&mut servers);
        servers.insert(self.server.clone(), server);
        if let Err(error) = self.write(&servers) {
            warn!(file = %self.file.display(), %error, "whose the token is cannot be remembered");
        }
    }

    fn read(&self) -> Servers {
        let text = match fs::read(&self.file) {
            Ok(text) => text,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    warn!(file = %self.file.display(), %error, "whose the token is cannot be looked up");
                }
                return Servers::new();
            }
        };
        serde_json::from_slice(&text).unwrap_or_else(|error| {
            warn!(file = %self.file.display(), %error, "it is broken and will be made anew");
            Servers::new()
        })
    }

    fn write(&self, servers: &Servers) -> io::Result<()> {
        files::private_folder(&self.folder)?;
        files::replace(&self.file, &serde_json::to_vec(servers)?, Readers::Owner)
    }
}

fn make_room<V>(map: &mut BTreeMap<String, V>) {
    while map.len() >= MOST {
        map.pop_first();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_but_the_first_account_on_a_server_have_names_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let on = |server: &str, token: Option<&str>| {
            let token = token.map(Secret::new);
            Accounts::kept_in(folder.path(), server, token.as_ref())
        };
        let a = "a.test:443";
        on(a, None).learn("anonymous");
        assert_eq!(on(a, None).other(), None, "nobody is the first");
        on(a, Some("ann's")).learn("ann");
        assert_eq!(on(a, Some("ann's")).other(), None);
        assert_eq!(on(a, Some("bob's")).other(), None, "it is not known yet");
        on(a, Some("bob's")).learn("bob");
        assert_eq!(on(a, Some("bob's")).other().as_deref(), Some("bob"));
        assert_eq!(on(a, None).other().as_deref(), Some("anonymous"));
        // A new token of either.
        on(a, Some("ann's next")).learn("ann");
        on(a, Some("bob's next")).learn("bob");
        assert_eq!(on(a, Some("ann's next")).other(), None);
        assert_eq!(on(a, Some("bob's next")).other().as_deref(), Some("bob"));
        // Another server.
        on("b.test:443", Some("bob's")).learn("bob");
        assert_eq!(on("b.test:443", Some("bob's")).other(), None);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_a_broken_file_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let token = |n: usize| Secret::new(n.to_string());
        for n in 0..2 * MOST {
            Accounts::kept_in(folder.path(), "a.test:443", Some(&token(n))).learn("ann");
            let server = format!("{n}.test:443");
            Accounts::kept_in(folder.path(), &server, Some(&token(n))).learn("ann");
        }
        let last = Accounts::kept_in(folder.path(), "a.test:443", Some(&token(7)));
        let servers = last.read();
        assert_eq!(servers.len(), MOST);
        assert_eq!(servers["a.test:443"].tokens.len(), MOST);

        fs::write(&last.file, "half a li").unwrap();
        last.learn("ann");
        assert_eq!(last.read().len(), 1);
    }
}
