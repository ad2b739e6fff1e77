//! What is generated from the code is what the repository has.
#![allow(missing_docs)]

use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn crds_are_what_the_code_says() {
    let output = Command::new(env!("CARGO_BIN_EXE_leadergroup-crds")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crds/leadergroups.yaml");
    let kept = fs::read_to_string(&file).unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let differs = kept.lines().zip(said.lines()).position(|(kept, said)| kept != said);
    let line = differs.unwrap_or(kept.lines().count().min(said.lines().count())) + 1;
    assert!(kept == said, "{} is out of date from line {line} on: run make generate", file.display());
}
