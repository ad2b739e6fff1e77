//! What the README claims and a program can check: the tests that its table of threats names, and the Rust that it asks for.

#![allow(missing_docs)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{error}: {path}"))
}

/// The names of all functions that are tests, in the sources below a folder.
fn tests_below(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            tests_below(&entry, found);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&entry).unwrap();
            let mut marked = false;
            for line in text.lines().map(str::trim) {
                let name =
                    line.trim_start_matches("async ").strip_prefix("fn ").and_then(|rest| rest.split('(').next());
                match name {
                    Some(name) if marked => drop(found.insert(name.to_owned())),
                    _ => {}
                }
                // Other attributes may stand between.
                marked = line.starts_with("#[test]")
                    || line.starts_with("#[tokio::test")
                    || marked && line.starts_with("#[");
            }
        }
    }
}

#[test]
fn every_threat_names_tests_and_every_test_that_it_names_exists() {
    let mut tests = BTreeSet::new();
    for folder in ["crates/operator/tests", "tests/e2e/tests"] {
        tests_below(&root().join(folder), &mut tests);
    }
    let readme = read("README.md");
    let section = readme.split("\n## ").find(|section| section.starts_with("Threats\n")).expect("a section Threats");
    let rows: Vec<_> = section.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() >= 10, "{} rows", rows.len());
    for row in rows {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").collect();
        assert_eq!(cells.len(), 3, "{row}");
        let named: Vec<_> = cells[2].split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "no test: {row}");
        for name in named {
            assert!(tests.contains(name), "there is no test {name}");
        }
    }
}

/// The value of `key = "…"`.
fn value(text: &str, key: &str) -> String {
    let line = text.lines().find_map(|line| line.trim().strip_prefix(&format!("{key} = \"")));
    line.and_then(|rest| rest.split('"').next()).unwrap_or_else(|| panic!("no {key}")).to_owned()
}

#[test]
fn the_oldest_rust_that_is_claimed_is_the_one_that_builds_it() {
    let claimed = value(&read("Cargo.toml"), "rust-version");
    let built_with = value(&read("rust-toolchain.toml"), "channel");
    assert!(built_with == claimed || built_with.starts_with(&format!("{claimed}.")), "{claimed}, but {built_with}");
    assert!(read("README.md").contains(&format!("Rust ({claimed} or newer)")), "the README asks for another Rust");
}
