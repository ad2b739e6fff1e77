//! Where the command takes the cluster's programs from, on a machine without Go.
#![allow(missing_docs)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// What a cluster with a real node consists of.
const PROGRAMS: [&str; 12] = [
    "containerd",
    "containerd-shim-runc-v2",
    "ctr",
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
    "kubelet",
    "kwok",
    "pause",
];

/// `cluster binaries` with these programs in `KUBEBUILDER_ASSETS`, an empty cache, and nothing on the search path.
fn binaries(assets: &Path, programs: &[&str]) -> Output {
    for program in programs {
        fs::write(assets.join(program), "").unwrap();
    }
    Command::new(env!("CARGO_BIN_EXE_cluster"))
        .arg("binaries")
        .env("KUBEBUILDER_ASSETS", assets)
        .env("XDG_CACHE_HOME", assets.join("cache"))
        .env("PATH", "")
        .output()
        .unwrap()
}

#[test]
fn programs_that_are_given_are_used_and_none_is_built() {
    let assets = tempfile::tempdir().unwrap();
    let output = binaries(assets.path(), &PROGRAMS);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), assets.path().to_str().unwrap());
    assert!(!assets.path().join("cache").exists());
}

#[test]
fn without_go_what_is_missing_to_build_the_others_is_named() {
    let assets = tempfile::tempdir().unwrap();
    let output = binaries(assets.path(), &["etcd", "kube-apiserver", "kubectl"]);
    assert!(!output.status.success());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("there is no `go` on the search path"), "{errors}");
}
