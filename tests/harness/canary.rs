//! Secrets that are looked for where they must not be, in every form that they could take there.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};

/// So much of a secret is as bad as all of it.
const PIECE: usize = 16;

/// One secret.
#[derive(Debug)]
pub struct Canary {
    /// What it is, for whoever finds it.
    pub what: String,
    text: String,
    forms: Vec<Form>,
}

#[derive(Debug)]
struct Form {
    name: &'static str,
    needle: String,
    any_case: bool,
}

impl Canary {
    /// A new secret.
    pub fn new(what: &str) -> Self {
        Self::of(what, uuid::Uuid::new_v4().simple().to_string())
    }

    /// A secret that there is. The end of what stands between two marks counts as much as its beginning.
    pub fn of(what: &str, text: impl Into<String>) -> Self {
        let text = text.into();
        assert!(
            text.len() >= PIECE && text.is_ascii(),
            "{what} is no secret"
        );
        let pieces = [&text[..PIECE], &text[text.len() - PIECE..]];
        let forms = pieces.into_iter().flat_map(forms).collect();
        Self {
            what: what.to_owned(),
            text,
            forms,
        }
    }

    /// The secret itself.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// How sixteen characters may be written.
fn forms(piece: &str) -> Vec<Form> {
    let bytes = piece.as_bytes();
    let form = |name, needle, any_case| Form {
        name,
        needle,
        any_case,
    };
    let mut percent = String::new();
    for byte in bytes {
        write!(percent, "%{byte:02x}").expect("a String takes all");
    }
    let numbers: Vec<_> = bytes.iter().map(ToString::to_string).collect();
    let mut forms = vec![
        form("as it is", piece.to_lowercase(), true),
        form("in hex", HEXLOWER.encode(bytes), true),
        form("percent-encoded", percent, true),
        form("as numbers", numbers.join(", "), false),
    ];
    // In base64 the same bytes have three faces, by what stands before them.
    for before in 0..3 {
        let shifted = [&[0; 2][..before], bytes].concat();
        // The first and the last digits are their neighbours', too.
        let own = (before * 8).div_ceil(6)..shifted.len() * 8 / 6;
        for (name, digits) in [
            ("in base64", BASE64.encode(&shifted)),
            ("in base64url", BASE64URL_NOPAD.encode(&shifted)),
        ] {
            forms.push(form(name, digits[own.clone()].to_owned(), false));
        }
    }
    forms
}

/// Something that may be read by others: a name for it, and what stands there.
pub type Place = (String, Vec<u8>);

/// All files below a folder.
pub fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder that is there") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => folders.push(path),
                false => found.push((path.clone(), std::fs::read(&path).expect("it is ours"))),
            }
        }
    }
    found
}

/// Where which of the secrets are.
pub fn found(places: &[Place], canaries: &[Canary]) -> Vec<String> {
    let mut found = Vec::new();
    for (place, bytes) in places {
        let text = String::from_utf8_lossy(bytes);
        let lower = text.to_lowercase();
        for canary in canaries {
            for form in &canary.forms {
                let text = if form.any_case { &*lower } else { &*text };
                if let Some(at) = text.find(&form.needle) {
                    let line = text[..at].rfind('\n').map_or(0, |end| end + 1);
                    let before: String = text[line..at].chars().take(300).collect();
                    found.push(format!(
                        "{} {} in {place}: {before}",
                        canary.what, form.name
                    ));
                    break;
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_in_every_form() {
        let canary = Canary::new("it");
        let (text, bytes) = (canary.text(), canary.text().as_bytes());
        let percent: String = bytes.iter().map(|byte| format!("%{byte:02X}")).collect();
        for (form, written) in [
            ("plain", format!("a{text}b")),
            ("capitals", text.to_uppercase()),
            ("a half", text[..20].to_owned()),
            ("the other half", text[12..].to_owned()),
            ("hex", format!("0x{}", HEXLOWER.encode(bytes))),
            ("percent", percent),
            ("debug", format!("{bytes:?}")),
            ("base64", BASE64.encode(bytes)),
            ("basic", BASE64.encode(format!("a:{text}").as_bytes())),
            ("basic", BASE64.encode(format!("user:{text}~").as_bytes())),
            ("basic", BASE64.encode(format!("users:{text}~~").as_bytes())),
            (
                "url",
                BASE64URL_NOPAD.encode(format!("???{text}").as_bytes()),
            ),
        ] {
            let place = (form.to_owned(), format!("<< {written} >>").into_bytes());
            assert_eq!(
                found(&[place], std::slice::from_ref(&canary)).len(),
                1,
                "{form}: {written}"
            );
        }
    }
}
