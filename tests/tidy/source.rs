//! Reading Rust as far as tidiness needs: words without comments and strings, and the paths in them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("tests is in a workspace").to_owned()
}

/// One file of Rust.
#[derive(Clone)]
pub(crate) struct Source {
    /// From the root of the workspace, `server/src/edge/serve.rs`.
    pub(crate) path: String,
    /// Its code, without comments and without what stands in strings.
    pub(crate) code: String,
}

impl Source {
    /// Every Rust file below a folder.
    pub(crate) fn all(folder: &str) -> Vec<Self> {
        let (root, mut found) = (root(), Vec::new());
        let mut folders = vec![root.join(folder)];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).expect("a folder that is there") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let text = std::fs::read_to_string(&path).expect("a file of text");
                    let path = path.strip_prefix(&root).expect("it is below the root");
                    found.push(Self {
                        path: path.display().to_string(),
                        code: code(&text),
                    });
                }
            }
        }
        assert!(!found.is_empty(), "{folder} has no Rust");
        found
    }

    /// The modules of its own package that it names, by their first segment: of `crate::edge::Edge`
    /// it is `edge`. Its tests may look around and are left out.
    pub(crate) fn modules(&self) -> BTreeSet<String> {
        let inside = self.path.split_once("/src/").expect("in a package").1;
        let inside = inside.trim_end_matches(".rs").trim_end_matches("/mod");
        let depth = inside.split('/').filter(|part| *part != "lib").count();
        let to_the_root = "super::".repeat(depth);
        let mut modules = self.after("crate::");
        if depth > 0 {
            modules.extend(self.after(&to_the_root));
        }
        modules
    }

    /// The first segments that follow a prefix, also those in braces.
    fn after(&self, prefix: &str) -> BTreeSet<String> {
        let mut segments = BTreeSet::new();
        let code = self.code.split("\nmod tests {").next().unwrap_or_default();
        for (at, _) in code.match_indices(prefix) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| is_word(c) || c == ':' || c == '$') {
                continue;
            }
            let rest = &code[at + prefix.len()..];
            match rest.strip_prefix('{') {
                Some(group) => segments.extend(group_heads(group)),
                None => segments.extend(first_word(rest)),
            }
        }
        segments
    }

    /// Whether a word occurs in the code.
    pub(crate) fn says(&self, word: &str) -> bool {
        self.code.match_indices(word).any(|(at, _)| {
            let before = self.code[..at].chars().next_back();
            let after = self.code[at + word.len()..].chars().next();
            !before.is_some_and(is_word) && !after.is_some_and(is_word)
        })
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn first_word(code: &str) -> Option<String> {
    let word: String = code.chars().take_while(|c| is_word(*c)).collect();
    (!word.is_empty()).then_some(word)
}

/// The first words of what a group in braces lists.
fn group_heads(group: &str) -> Vec<String> {
    let (mut heads, mut depth, mut fresh) = (Vec::new(), 0, true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => fresh = true,
            c if is_word(c) && fresh => {
                heads.extend(first_word(&group[at..]));
                fresh = false;
            }
            _ => {}
        }
    }
    heads
}

/// The code in a text: comments and the insides of strings become spaces.
fn code(text: &str) -> String {
    let (mut code, mut chars) = (String::new(), text.chars().peekable());
    while let Some(c) = chars.next() {
        match c {
            '/' if chars.peek() == Some(&'/') => while chars.next_if(|c| *c != '\n').is_some() {},
            '"' => {
                // A raw string ends with its hashes; none of ours has a quote before them.
                while let Some(c) = chars.next() {
                    match c {
                        '\\' => drop(chars.next()),
                        '"' => break,
                        _ => {}
                    }
                }
                code.push(' ');
            }
            '\'' => {
                // A character such as '"', not a lifetime.
                let mut ahead = chars.clone();
                let first = ahead.next();
                if first == Some('\\') || ahead.next() == Some('\'') {
                    if chars.next() == Some('\\') {
                        chars.next();
                    }
                    while chars.next_if(|c| *c != '\'').is_some() {}
                    chars.next();
                }
                code.push(' ');
            }
            c => code.push(c),
        }
    }
    code
}

#[test]
fn code_is_told_from_comments_and_strings() {
    let text = "a // crate::b\n'\"' 'x' \"crate::c \\\" d\" &'e f '\\n' '\\u{1f}' g";
    let words: Vec<String> = code(text).split_whitespace().map(str::to_owned).collect();
    assert_eq!(words, ["a", "&", "e", "f", "g"]);
}

#[test]
fn paths_are_found_alone_and_in_groups() {
    let source = Source {
        path: "server/src/edge/serve.rs".into(),
        code: code(
            "use crate::{auth, store::{Store, self}, a::b};\nlet x = crate::gate::y;\nuse super::super::admin; super::z; $crate::w",
        ),
    };
    let modules: Vec<String> = source.modules().into_iter().collect();
    assert_eq!(modules, ["a", "admin", "auth", "gate", "store"]);
    assert!(source.says("Store") && !source.says("Stor"));
}
