//! Guards left out of the sources, one at a time, to see that random histories notice.
//!
//! `make bench BENCH=mutants` builds each and counts the histories until one ends badly. The tests here only see to it
//! that each mutant still applies.

#![allow(missing_docs)]

mod mutant;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mutant::{Mutant, read_all};

/// How many histories are played for each mutant, unless `HISTORIES` says otherwise.
const MAX_HISTORIES: usize = 5_000;
/// What [`histories_until_caught`] looks for in the output of the histories.
const CAUGHT: &str = "first violation: ";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("a checkout")
}

fn mutants() -> Vec<Mutant> {
    read_all(&root().join("crates/operator/tests/testdata/mutants")).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn every_mutant_applies() {
    let problems: Vec<_> = mutants()
        .iter()
        .filter_map(|mutant| Some(format!("mutant {}: {}", mutant.name, mutant.apply(&root()).err()?)))
        .collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn edit_must_match_once() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "    a\n    b\n    a\n").unwrap();
    let applied = |text| Mutant::parse("m", text).and_then(|mutant| mutant.apply(folder.path()));
    let changed = Ok(vec![("file".to_owned(), "    a\nc\n    a\n".to_owned())]);
    assert_eq!(applied("# Without b.\nfile\n- b\n+ c\n"), changed);
    assert!(applied("# Without a.\nfile\n- a\n+ c\n").unwrap_err().contains("2 times"));
    assert!(applied("# Without d.\nfile\n- d\n+ c\n").unwrap_err().contains("0 times"));
}

/// Prints for each guard how many histories are played until one ends badly without it.
///
/// `MUTANT` names those to try, with commas, instead of all and the sources as they are. `HISTORIES` is the maximum.
#[test]
#[ignore = "builds the operator once for each mutant"]
fn histories_until_caught() {
    let only = std::env::var("MUTANT").ok();
    let workshop = Workshop::new();
    let mut missed = Vec::new();
    println!("{:<32} {:>10}  lies told", "guard left out", "histories");
    if only.is_none() {
        let unmutated = workshop.first_violation(None);
        println!("{:<32} {:>10}", "(none)", unmutated.map_or_else(|| "none".to_owned(), |at| at.to_string()));
        assert!(unmutated.is_none(), "the histories end badly with every guard in place");
    }
    let is_chosen = |name: &str| only.as_ref().is_none_or(|only| only.split(',').any(|chosen| chosen == name));
    for mutant in mutants().into_iter().filter(|mutant| is_chosen(&mutant.name)) {
        let files = mutant.apply(&root()).unwrap_or_else(|error| panic!("mutant {}: {error}", mutant.name));
        let caught = workshop.with(&files, |workshop| workshop.first_violation(mutant.lies.as_deref()));
        println!(
            "{:<32} {:>10}  {:<28} {}",
            mutant.name,
            caught.map_or_else(|| "MISSED".to_owned(), |at| at.to_string()),
            mutant.lies.as_deref().unwrap_or("any"),
            mutant.meaning
        );
        if caught.is_none() {
            missed.push(mutant.name);
        }
    }
    assert!(missed.is_empty(), "no history notices the absence of {missed:?}");
}

/// A copy of the checkout, built in a folder of its own.
struct Workshop {
    checkout: PathBuf,
    target: PathBuf,
}

impl Workshop {
    fn new() -> Self {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
        let folder = target.join("mutants");
        let this = Self { checkout: folder.join("checkout"), target: folder.join("target") };
        let listed = run(Command::new("git").current_dir(root()).args(["ls-files", "-co", "--exclude-standard", "-z"]));
        for path in listed.split_terminator('\0') {
            // One that was deleted is listed all the same.
            if let Ok(text) = fs::read(root().join(path)) {
                this.write(path, &text);
            }
        }
        this
    }

    /// Writes a file, unless it is so already: what has not changed is not built again.
    fn write(&self, path: &str, text: &[u8]) {
        let path = self.checkout.join(path);
        if fs::read(&path).ok().as_deref() != Some(text) {
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder for the copy");
            fs::write(path, text).expect("a file of the copy");
        }
    }

    /// Does something with these files in the copy, and puts the old ones back.
    fn with<T>(&self, files: &[(String, String)], does: impl FnOnce(&Self) -> T) -> T {
        for (path, text) in files {
            self.write(path, text.as_bytes());
        }
        let result = does(self);
        for (path, _) in files {
            self.write(path, &fs::read(root().join(path)).expect("a file of the checkout"));
        }
        result
    }

    /// The number of the first history that ends badly, if one does, among those that tell these lies.
    fn first_violation(&self, lies: Option<&str>) -> Option<usize> {
        let max = std::env::var("HISTORIES").unwrap_or_else(|_| MAX_HISTORIES.to_string());
        let printed = run(Command::new(env!("CARGO"))
            .envs(lies.map(|lies| ("LIES", lies)))
            .current_dir(&self.checkout)
            .env("CARGO_TARGET_DIR", &self.target)
            .env("HISTORIES", max)
            .args(["test", "--quiet", "--package", "leadergroup-operator", "--test", "histories", "--"])
            .args(["--ignored", "--nocapture", "first_violation_of_all_lies"]));
        let told = printed.lines().find_map(|line| line.split_once(CAUGHT)).expect("a line that tells");
        told.1.trim().parse().ok()
    }
}

/// What a command prints.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{error}: {command:?}"));
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?} failed:\n{printed}{}", String::from_utf8_lossy(&output.stderr));
    printed
}
