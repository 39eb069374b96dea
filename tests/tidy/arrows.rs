//! Inside the packages, arrows between modules run down only.

use crate::source::Source;

/// A rule on what the files of some modules know of.
struct Rule {
    /// Where they are: a folder or a file.
    of: &'static str,
    /// First segments of paths.
    names: &'static [&'static str],
}

/// What they may not know of.
const NEVER: [Rule; 10] = [
    Rule {
        of: "server/src/edge/",
        names: &[
            "gate", "admin", "auth", "store", "server", "shard", "config", "cli",
        ],
    },
    Rule {
        of: "server/src/gate/",
        names: &["edge", "admin", "server", "shard", "config", "cli"],
    },
    Rule {
        of: "server/src/admin/",
        names: &[
            "edge", "gate", "auth", "store", "server", "shard", "config", "cli",
        ],
    },
    Rule {
        of: "client/src/local/",
        names: &[
            "session",
            "dispatch",
            "supervise",
            "output",
            "tui",
            "status",
            "embedded",
            "cli",
        ],
    },
    Rule {
        of: "client/src/session/",
        names: &["output", "tui", "embedded", "cli", "config"],
    },
    Rule {
        of: "client/src/config/",
        names: &[
            "session",
            "supervise",
            "output",
            "tui",
            "status",
            "embedded",
            "login",
        ],
    },
    Rule {
        of: "client/src/beside/",
        names: &[
            "session",
            "supervise",
            "output",
            "embedded",
            "cli",
            "config",
        ],
    },
    Rule {
        of: "client/src/doctor/",
        names: &["session", "supervise", "output", "embedded", "cli"],
    },
    Rule {
        of: "client/src/dispatch.rs",
        names: &[
            "session",
            "supervise",
            "output",
            "tui",
            "embedded",
            "cli",
            "config",
        ],
    },
    Rule {
        of: "client/src/resend.rs",
        names: &[
            "session",
            "supervise",
            "output",
            "embedded",
            "cli",
            "config",
        ],
    },
];

/// What they may know of, and nothing else of their package.
const ONLY: [Rule; 15] = [
    Rule {
        of: "server/src/registry/",
        names: &["registry", "session"],
    },
    Rule {
        of: "server/src/session/",
        names: &["session"],
    },
    Rule {
        of: "server/src/auth/",
        names: &["auth", "store", "session"],
    },
    Rule {
        of: "server/src/names/",
        names: &["names", "auth", "registry", "store"],
    },
    Rule {
        of: "server/src/store/",
        names: &["store", "auth"],
    },
    Rule {
        of: "client/src/inspect/",
        names: &["inspect"],
    },
    Rule {
        of: "client/src/ports.rs",
        names: &["ports"],
    },
    Rule {
        of: "client/src/proxy.rs",
        names: &["proxy"],
    },
    Rule {
        of: "client/src/settings.rs",
        names: &["local", "proxy", "web"],
    },
    Rule {
        of: "client/src/ask/",
        names: &["ask", "web"],
    },
    Rule {
        of: "client/src/web/",
        // A tunnel that a program asks for is checked as one that the user asks for.
        names: &[
            "web",
            "connections",
            "inspect",
            "resend",
            "status",
            "opener",
            "config",
            "local",
            "settings",
            "sign_in",
            "ports",
        ],
    },
    Rule {
        of: "client/src/output.rs",
        names: &["output", "requests", "status", "embedded", "sign_in"],
    },
    Rule {
        of: "client/src/connections",
        names: &["connections"],
    },
    Rule {
        of: "client/src/tui/",
        names: &[
            "tui",
            "browser",
            "output",
            "requests",
            "status",
            "connections",
            "inspect",
            "local",
            "embedded",
            "sign_in",
        ],
    },
    Rule {
        of: "client/src/sign_in.rs",
        names: &["sign_in"],
    },
];

#[test]
fn no_module_knows_what_is_above_it() {
    let sources = [Source::all("server/src"), Source::all("client/src")].concat();
    for Rule { of, names } in NEVER {
        let mut files = 0;
        for source in sources.iter().filter(|source| source.path.starts_with(of)) {
            files += 1;
            let modules = source.modules();
            let up: Vec<_> = modules
                .iter()
                .filter(|name| names.contains(&name.as_str()))
                .collect();
            assert!(up.is_empty(), "{} knows of {up:?}", source.path);
        }
        assert!(files > 0, "{of} is gone: what became of the rule for it?");
    }
}

#[test]
fn the_modules_in_the_middle_know_only_what_is_below() {
    let sources = [Source::all("server/src"), Source::all("client/src")].concat();
    for Rule { of, names } in ONLY {
        let mut files = 0;
        for source in sources.iter().filter(|source| source.path.starts_with(of)) {
            files += 1;
            let modules = source.modules();
            let other: Vec<_> = modules
                .iter()
                .filter(|name| !names.contains(&name.as_str()))
                .collect();
            assert!(other.is_empty(), "{} knows of {other:?}", source.path);
        }
        assert!(files > 0, "{of} is gone: what became of the rule for it?");
    }
}

#[test]
fn only_the_embedded_server_brings_the_server_into_the_client() {
    for source in Source::all("client/src") {
        let knows = source.says("ngrnotok_server");
        assert_eq!(
            knows,
            source.path == "client/src/embedded.rs",
            "{}",
            source.path
        );
    }
}

#[test]
fn nobody_leaves_notes_to_self_in_the_code() {
    for folder in ["common", "certs", "server", "client", "tests", "examples"] {
        for source in Source::all(folder) {
            for word in ["todo!", "dbg!", "unimplemented!"] {
                let (name, _) = word.split_once('!').expect("a macro");
                let calls = format!("{name}!(");
                assert!(!source.code.contains(&calls), "{} says {word}", source.path);
            }
        }
    }
}
