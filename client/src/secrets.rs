//! The environment variables that hold secrets.

use crate::proxy;

/// The token.
pub(crate) const TOKEN: &str = "NGRNOTOK_TOKEN";

/// The password of the web interface.
pub(crate) const WEB_PASSWORD: &str = "NGRNOTOK_WEB_PASSWORD";

/// All of them; a proxy may have credentials. They are for this program alone: what it starts does not inherit
/// them.
pub(crate) const ALL: [&str; 3] = [TOKEN, WEB_PASSWORD, proxy::VARIABLE];
