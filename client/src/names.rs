//! A name that is the same tomorrow, without asking anybody.
//!
//! It is derived from this installation's own id and the local target, so a restart keeps the URL and
//! two projects on one machine get two names.

use std::fs;
use std::io;
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use ngrnotok_common::files::{self, Readers};
use ngrnotok_common::hostname::Name;
use tracing::warn;
use uuid::Uuid;

/// Reads the id of this installation, or makes it (`client-id` in the state folder). One that is broken is
/// made anew: it was written by a full disk or a person, and names that change are better than none.
pub fn installation(state_dir: &Path) -> io::Result<Uuid> {
    let file = state_dir.join("client-id");
    let read = || match fs::read_to_string(&file) {
        Ok(text) => Ok(Some(text.trim().parse().ok())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(Some(None)),
        Err(error) => Err(error),
    };
    if let Some(Some(id)) = read()? {
        return Ok(id);
    }
    files::private_folder(state_dir)?;
    let id = Uuid::new_v4();
    let line = format!("{id}\n");
    // Of two first starts at once, one makes the file and the other reads it.
    if files::create(&file, line.as_bytes(), Readers::Owner)? {
        return Ok(id);
    }
    if let Some(Some(id)) = read()? {
        return Ok(id);
    }
    warn!(file = %file.display(), "it has no id in it and is made anew: names that are derived from it change");
    files::replace(&file, line.as_bytes(), Readers::Owner)?;
    Ok(id)
}

/// An id for what another account than the first does from this installation.
pub fn of_account(installation: Uuid, account: &str) -> Uuid {
    let hash = digest(
        &SHA256,
        &[installation.as_bytes(), account.as_bytes()].concat(),
    );
    let half = hash.as_ref().first_chunk();
    Uuid::from_bytes(*half.expect("SHA-256 has 32 bytes"))
}

/// The name for a target of this installation, `calm-otter-3f9c`.
///
/// 28 bits of a hash: on a server with a thousand tunnels, the chance that a new one meets a taken
/// name is 1 in 250,000.
pub fn derived(installation: Uuid, target: &str) -> Name {
    let hash = digest(
        &SHA256,
        &[installation.as_bytes(), target.as_bytes()].concat(),
    );
    let [a, b, c, d, ..] = *hash.as_ref() else {
        unreachable!("SHA-256 has 32 bytes")
    };
    let adjective = ADJECTIVES[usize::from(a) % ADJECTIVES.len()];
    let animal = ANIMALS[usize::from(b) % ANIMALS.len()];
    Name::parse(&format!("{adjective}-{animal}-{c:02x}{d:02x}")).expect("made of short plain words")
}

#[rustfmt::skip]
const ADJECTIVES: [&str; 64] = [
    "able", "amber", "bold", "brave", "breezy", "bright", "brisk", "calm", "candid", "clever", "cosy",
    "crisp", "curious", "daring", "deft", "eager", "early", "fair", "fleet", "fond", "fresh", "gentle",
    "glad", "golden", "grand", "happy", "hardy", "honest", "jolly", "keen", "kind", "lively", "lucky",
    "lunar", "mellow", "merry", "mild", "neat", "nimble", "noble", "patient", "placid", "plucky", "proud",
    "quick", "quiet", "rapid", "ready", "rosy", "serene", "sharp", "silver", "smart", "snug", "solar",
    "steady", "sunny", "swift", "tidy", "trusty", "upbeat", "vivid", "warm", "witty",
];

#[rustfmt::skip]
const ANIMALS: [&str; 64] = [
    "badger", "bear", "beaver", "bison", "bunting", "camel", "caribou", "condor", "coral", "crane", "curlew",
    "deer", "dolphin", "dove", "eagle", "egret", "falcon", "ferret", "finch", "fox", "gecko", "gibbon",
    "goose", "hare", "hawk", "heron", "ibex", "ibis", "jackdaw", "jay", "kestrel", "kite", "koala", "lark",
    "lemur", "linnet", "lynx", "magpie", "marmot", "marten", "mole", "moose", "newt", "oriole", "osprey",
    "otter", "owl", "panda", "pelican", "plover", "puffin", "quail", "rabbit", "raven", "robin", "salmon",
    "seal", "sparrow", "stork", "swan", "tapir", "tern", "toad", "wren",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_place_has_the_same_name_tomorrow() {
        let id = Uuid::from_u128(7);
        let name = derived(id, "http://localhost:3000");
        assert_eq!(name, derived(id, "http://localhost:3000"));
        assert_ne!(name, derived(id, "http://localhost:3001"));
        assert_ne!(name, derived(Uuid::from_u128(8), "http://localhost:3000"));
        let others = of_account(id, "bob");
        assert_ne!(name, derived(others, "http://localhost:3000"));
        assert_ne!(others, of_account(id, "cy"));
        // Changing how names are made would change everybody's URL.
        looks_like_a_name(name.as_str());
    }

    fn looks_like_a_name(name: &str) {
        assert_eq!(name.split('-').count(), 3, "{name}");
        assert_eq!(name.rsplit('-').next().map(str::len), Some(4), "{name}");
    }

    #[test]
    fn the_id_is_made_once() {
        let folder = std::env::temp_dir().join(format!("ngrnotok-names-{}", Uuid::new_v4()));
        let first = installation(&folder).unwrap();
        assert_eq!(installation(&folder).unwrap(), first);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn an_id_that_a_full_disk_has_left_empty_is_made_anew_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("client-id");
        for broken in [&b""[..], b"scribble", b"\xff"] {
            fs::write(&file, broken).unwrap();
            let made = installation(folder.path()).unwrap();
            assert_eq!(installation(folder.path()).unwrap(), made);
        }
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert!(installation(folder.path()).is_err());
    }
}
