//! Between packages, arrows run down only, and what we do not want is not in the tree.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::LazyLock;

use serde_json::Value;

use crate::source::{Source, root};

/// What cargo says; it finds everything at hand, and changes nothing.
fn cargo(args: &[&str]) -> String {
    let cargo = Command::new(env!("CARGO"))
        .args(args)
        .arg("--locked")
        .current_dir(root())
        .output()
        .expect("there is cargo");
    let complaint = String::from_utf8_lossy(&cargo.stderr);
    assert!(cargo.status.success(), "{complaint}");
    String::from_utf8(cargo.stdout).expect("cargo speaks UTF-8")
}

/// The packages of the workspace.
static METADATA: LazyLock<Value> = LazyLock::new(|| {
    let metadata = cargo(&[
        "metadata",
        "--format-version",
        "1",
        "--no-deps",
        "--offline",
    ]);
    serde_json::from_str(&metadata).expect("cargo speaks JSON")
});

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().expect("text")
}

/// The packages of the workspace with what they depend on of ours; dev-dependencies are left out
/// unless `dev`.
fn arrows(dev: bool) -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let packages = list(&METADATA, "packages");
    let names: BTreeSet<&str> = packages
        .iter()
        .map(|package| text(package, "name"))
        .collect();
    packages
        .iter()
        .map(|package| {
            let needs = list(package, "dependencies").iter();
            let needs = needs.filter(|need| dev || need["kind"] != "dev");
            let needs = needs.map(|need| text(need, "name"));
            (
                text(package, "name"),
                needs.filter(|name| names.contains(name)).collect(),
            )
        })
        .collect()
}

#[test]
fn packages_depend_downwards_only() {
    for dev in [false, true] {
        let arrows = arrows(dev);
        let below = |name: &str| -> Vec<&str> { arrows[name].iter().copied().collect() };
        assert_eq!(below("ngrnotok-common"), [""; 0]);
        assert_eq!(below("ngrnotok-certs"), ["ngrnotok-common"]);
        assert_eq!(
            below("ngrnotok-server"),
            ["ngrnotok-certs", "ngrnotok-common"]
        );
        let client = ["ngrnotok-certs", "ngrnotok-common", "ngrnotok-server"];
        assert_eq!(below("ngrnotok"), client);
        for (name, needs) in &arrows {
            let above = ["ngrnotok-tests", "ngrnotok-examples"];
            let up: Vec<_> = needs.iter().filter(|need| above.contains(need)).collect();
            assert!(up.is_empty(), "{name} depends on {up:?}");
        }
    }
}

#[test]
fn no_other_cryptography_is_in_the_tree() {
    // The lock file and the metadata list what features could bring; the tree is what there is.
    let tree = ["tree", "--workspace", "--target", "all", "--edges", "all"];
    let tree = cargo(&[&tree[..], &["--prefix", "none", "--format", "{p}"]].concat());
    let names: BTreeSet<&str> = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert!(
        names.len() > 100 && names.contains("aws-lc-rs"),
        "the tree is there"
    );
    for unwanted in ["ring", "openssl-sys", "openssl", "native-tls"] {
        assert!(!names.contains(unwanted), "{unwanted} is in the tree");
    }
}

#[test]
fn every_package_obeys_the_lints_of_the_workspace() {
    for package in list(&METADATA, "packages") {
        let manifest = std::fs::read_to_string(text(package, "manifest_path")).unwrap();
        let lints = manifest.split("[lints]").nth(1).unwrap_or_default();
        assert!(
            lints.trim_start().starts_with("workspace = true"),
            "{}",
            package["name"]
        );
    }
}

#[test]
fn no_file_allows_itself_unsafe_code() {
    for folder in ["common", "certs", "server", "client", "tests", "examples"] {
        for source in Source::all(folder) {
            let unsafe_code = source.says("unsafe");
            assert!(!unsafe_code, "{}", source.path);
        }
    }
}

#[test]
fn versions_stand_in_the_manifest_of_the_workspace_alone() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(manifest.contains("[workspace.dependencies]"));
    for package in ["common", "certs", "server", "client"] {
        let manifest = std::fs::read_to_string(root().join(package).join("Cargo.toml")).unwrap();
        for line in manifest
            .lines()
            .skip_while(|line| *line != "[dependencies]")
        {
            let own = line.contains("version = \"") || line.contains("= \"");
            assert!(!own, "{package}: {line}");
        }
    }
}

#[test]
fn lock_files_name_public_registries_alone() {
    let public = [
        "registry+https://github.com/rust-lang/crates.io-index\"",
        "https://registry.npmjs.org/",
    ];
    for file in [
        "Cargo.lock",
        "tests/fuzz/Cargo.lock",
        "tests/peers/vite/package-lock.json",
    ] {
        let text = std::fs::read_to_string(root().join(file)).unwrap();
        // npm leaves out what everybody has.
        for line in text.lines().map(str::trim_start) {
            let from = line.strip_prefix("source = \"");
            let from = from.or_else(|| line.strip_prefix("\"resolved\": \""));
            let known = from.is_none_or(|from| public.iter().any(|known| from.starts_with(known)));
            assert!(known, "{file}: {line}");
        }
    }
}
