//! What the grammar of a config file allows and what still makes no sense.

use std::collections::HashMap;

use super::{ConfigFile, FileError};
use crate::config::{TunnelError, check_token, target};
use crate::local::Target;
use crate::settings::TunnelSettings;

impl ConfigFile {
    /// Finds what contradicts itself.
    pub(super) fn check(&self) -> Result<(), FileError> {
        let settings = &self.settings;
        if settings.server_ca.is_some() && settings.server_pin.is_some() {
            let message = "server-ca and server-pin are two ways to know the server; keep one";
            return Err(self.wrong_at(&["server-pin"], message));
        }
        if settings.token.is_some() && settings.token_file.is_some() {
            let message = "token and token-file are two ways to give the token; keep one";
            return Err(self.wrong_at(&["token-file"], message));
        }
        if let Some(token) = &settings.token {
            check_token(token.clone(), "here")
                .map_err(|error| self.wrong_at(&["token"], error.to_string()))?;
        }
        if let Some(wish) = &settings.proxy {
            wish.check()
                .map_err(|error| self.wrong_at(&["proxy"], error.to_string()))?;
        }
        let mut others = HashMap::new();
        for (name, words) in &settings.tunnels {
            let target = target(words).map_err(|error| self.wrong_tunnel(name, &error))?;
            if let Some(other) = others.insert(public_name(words, &target), name) {
                return Err(self.same_name(other, name, words));
            }
        }
        Ok(())
    }

    fn wrong_tunnel(&self, name: &str, error: &TunnelError) -> FileError {
        match error {
            TunnelError::Target(_) => self.wrong_at(&["tunnels", name, "port"], error.to_string()),
            _ => self.wrong_at(&["tunnels", name], format!("the tunnel {name:?}: {error}")),
        }
    }

    fn same_name(&self, one: &str, other: &str, words: &TunnelSettings) -> FileError {
        match &words.name {
            Some(name) => {
                let message = format!(
                    "the tunnels {one:?} and {other:?} want the same name {name}; give one of them another"
                );
                self.wrong_at(&["tunnels", other, "name"], message)
            }
            None => {
                let message = format!(
                    "the tunnels {one:?} and {other:?} have the same target and no name, so both would have the same public name; give one of them name = \"…\""
                );
                self.wrong_at(&["tunnels", other], message)
            }
        }
    }
}

/// What makes two tunnels ask for the same name: saying it, or deriving it from the same target.
fn public_name(words: &TunnelSettings, target: &Target) -> String {
    match &words.name {
        Some(name) => name.to_string(),
        None => format!("as derived from {target}"),
    }
}
