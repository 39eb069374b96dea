//! Names that visitors would take for the operator's own.
//!
//! Under a domain, some labels speak for whoever runs it: browsers show `login.tunnel.example.com`, and
//! people believe it. Others are asked by programs, unseen: `wpad` for the proxy to use, `autodiscover`
//! for the way to the mail. And whoever answers mail or pages at `postmaster` or `admin` may be taken for
//! the owner by those who sign certificates. So nobody has them whom the operator has not chosen.

use ngrnotok_common::hostname::Name;

/// Names that are nobody's unless the operator says so, and what looks like them.
#[derive(Clone, Debug)]
pub(super) struct Denied {
    words: Box<[Box<str>]>,
}

/// Kept short: a word more is a name less for everybody.
#[rustfmt::skip]
const BUILT_IN: [&str; 48] = [
    // The site itself, and where one logs in.
    "www", "home", "account", "accounts", "auth", "login", "logout", "oauth", "password", "register",
    "secure", "security", "signin", "signup", "sso",
    // Its operator, and what only operators use.
    "admin", "administrator", "console", "dashboard", "operator", "panel", "portal", "root", "sysadmin",
    // What it says about itself, and asks its visitors for.
    "abuse", "api", "billing", "help", "official", "pay", "payment", "payments", "status", "support",
    // Mail: for people, for their programs, and for who signs certificates.
    "autoconfig", "autodiscover", "email", "hostmaster", "imap", "mail", "mta-sts", "postmaster", "smtp",
    "webmail", "webmaster",
    // What networks ask without being told to.
    "isatap", "localhost", "wpad",
];

impl Denied {
    /// The built-in names and some more.
    pub(super) fn with(more: impl IntoIterator<Item = Name>) -> Self {
        let more = more.into_iter().map(|name| name.as_str().into());
        let words = BUILT_IN.iter().map(|word| (*word).into()).chain(more);
        Self {
            words: words.collect(),
        }
    }

    /// None at all.
    pub(super) fn none() -> Self {
        Self {
            words: Box::default(),
        }
    }

    /// Which of them a name is, or looks like. Of the [`TRUSTED`] words, one that it has in it, too.
    pub(super) fn find(&self, name: &str) -> Option<&str> {
        if HONEST.contains(&name) {
            return None;
        }
        let drawn = drawn(name);
        let mut words = self.words.iter().map(|word| &**word);
        words.find(|word| {
            let is_trusted = TRUSTED.contains(word);
            name == *word || looks_like(&drawn, word) || is_trusted && speaks_of(name, word)
        })
    }
}

/// Words in whose name people give something away. Names are denied that have one of them between hyphens
/// (`secure-login`) or numbered (`www1`). It is not so with the others: `my-api` and `auth-service` are honest.
const TRUSTED: [&str; 13] = [
    "www",
    "account",
    "accounts",
    "admin",
    "administrator",
    "login",
    "logout",
    "official",
    "password",
    "secure",
    "signin",
    "signup",
    "webmail",
];

/// What looks like a denied word and is a word of its own.
const HONEST: [&str; 1] = ["mall"];

/// Whether a word, perhaps with a number behind it, is between hyphens of a name; its own parts may be, too.
fn speaks_of(name: &str, word: &str) -> bool {
    let parts: Vec<&str> = name.split('-').collect();
    (0..parts.len()).any(|from| {
        (from + 1..=parts.len()).any(|to| {
            let part = parts[from..to].concat();
            let unnumbered = part.trim_end_matches(|sign: char| sign.is_ascii_digit());
            [&part, unnumbered]
                .iter()
                .any(|part| looks_like(&drawn(part), word))
        })
    })
}

/// A name as the eye runs over it: hyphens are overlooked, and two letters may make a third.
fn drawn(name: &str) -> String {
    name.replace('-', "").replace("rn", "m").replace("vv", "w")
}

/// Whether something drawn reads like a word, with other signs in the places of letters.
fn looks_like(drawn: &str, word: &str) -> bool {
    let mut letters = word.bytes().filter(|letter| *letter != b'-');
    drawn
        .bytes()
        .all(|sign| letters.next().is_some_and(|letter| reads_as(sign, letter)))
        && letters.next().is_none()
}

fn reads_as(sign: u8, letter: u8) -> bool {
    sign == letter
        || match sign {
            b'0' => letter == b'o',
            b'1' | b'i' | b'l' => matches!(letter, b'i' | b'l'),
            b'3' => letter == b'e',
            b'4' => letter == b'a',
            b'5' => letter == b's',
            b'6' | b'9' | b'q' => letter == b'g',
            b'8' => letter == b'b',
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operators_names_are_found_and_what_looks_like_them() {
        let denied = Denied::with([]);
        for (name, word) in [
            ("www", "www"),
            ("admin", "admin"),
            ("login", "login"),
            ("mta-sts", "mta-sts"),
            ("adm1n", "admin"),
            ("adrnin", "admin"),
            ("l0gin", "login"),
            ("1og1n", "login"),
            ("log-in", "login"),
            ("vvvvw", "www"),
            ("mai1", "mail"),
            ("p455w0rd", "password"),
            ("5tatu5", "status"),
            ("mtasts", "mta-sts"),
            ("admln", "admin"),
            ("loqin", "login"),
            ("iogin", "login"),
            ("1o9in", "login"),
            ("maii", "mail"),
            ("www1", "www"),
            ("www-2", "www"),
            ("admin42", "admin"),
            ("admin-panel", "admin"),
            ("please-sign-in-2", "signin"),
            ("secure-login", "login"),
            ("acme-l0gin2-eu", "login"),
            ("sign-in", "signin"),
            ("my-password", "password"),
        ] {
            assert_eq!(denied.find(name), Some(word), "{name}");
        }
    }

    #[test]
    fn other_names_are_free() {
        let denied = Denied::with([]);
        for name in [
            "app",
            "demo",
            "my-app",
            "mall",
            "logic",
            "admins",
            "api2",
            "auth-service",
            "catalog-inside",
            "my-api",
            "my-api2",
            "apixel",
            "help-desk",
            "home-lab",
            "loginx",
            "blogin",
            "author-7",
            "modern",
            "ww",
            "wwww",
            "0",
            "1",
            "-",
            "11",
            "shop",
            "internal",
            "calm-otter-3f9c",
            "blog",
            "dev",
            "test",
        ] {
            assert_eq!(denied.find(name), None, "{name}");
        }
    }

    #[test]
    fn the_operator_can_add_names() {
        let denied = Denied::with(["bank", "acme-24"].map(|name| Name::parse(name).unwrap()));
        for (name, word) in [
            ("bank", "bank"),
            ("b4nk", "bank"),
            ("acme-24", "acme-24"),
            ("acme24", "acme-24"),
            ("www", "www"),
        ] {
            assert_eq!(denied.find(name), Some(word), "{name}");
        }
        assert_eq!(denied.find("acme-25"), None);
        assert_eq!(Denied::none().find("www"), None);
    }

    #[test]
    fn every_word_is_a_name_and_stands_there_once() {
        for word in BUILT_IN {
            assert_eq!(Name::parse(word).unwrap().as_str(), word);
            // Or it could never be found.
            assert_eq!(drawn(word), word.replace('-', ""), "{word}");
            assert_eq!(BUILT_IN.iter().filter(|other| **other == word).count(), 1);
        }
    }
}
