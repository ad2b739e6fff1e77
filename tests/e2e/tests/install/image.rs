//! The operator's image, made of its Dockerfile by buildah, which needs no daemon.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use leadergroup_e2e::cluster::{install_packages, workspace_root};
use leadergroup_e2e::{build_static, run, tell_not_proven};
use serde_json::Value;

const IMAGE: &str = "leadergroup.test/from-dockerfile:dev";

/// buildah with its storage in a folder of the test's.
fn buildah(storage: &Path, args: &[&str]) -> Command {
    let mut buildah = Command::new("buildah");
    buildah.arg("--root").arg(storage.join("root")).arg("--runroot").arg(storage.join("run"));
    buildah.args(["--storage-driver", "vfs"]).args(args);
    buildah
}

#[test]
fn the_image_of_the_dockerfile_runs_the_operator_as_nobody() -> Result<()> {
    if Command::new("buildah").arg("--version").output().is_err()
        && let Err(error) = install_packages(&["buildah"])
    {
        tell_not_proven(&format!("{error:#}"), "the image of crates/operator/Dockerfile runs the operator");
        return Ok(());
    }
    let root = workspace_root()?;
    let program = build_static(&root, &["--workspace", "--bin", "leadergroup-operator", "--release"], None)?;
    let storage = Path::new(env!("CARGO_TARGET_TMPDIR")).join("image");
    // What an earlier run left: layers, and no more.
    let _ = fs::remove_dir_all(&storage);
    let context = storage.join("context");
    fs::create_dir_all(&context)?;
    fs::copy(program, context.join("leadergroup-operator"))?;
    let file = root.join("crates/operator/Dockerfile");
    run(buildah(&storage, &["build", "--isolation=chroot", "--tag", IMAGE, "--file"]).arg(file).arg(&context))?;

    let image: Value = serde_json::from_str(&run(&mut buildah(&storage, &["inspect", "--type=image", IMAGE]))?)?;
    let config = &image["OCIv1"]["config"];
    assert_eq!(config["User"], "65532:65532", "a pod that must not run as root has to see that it does not");
    let entrypoint = config["Entrypoint"][0].as_str().context("an entrypoint")?;
    let container = run(&mut buildah(&storage, &["from", IMAGE]))?;
    let said = run(&mut buildah(&storage, &["run", "--isolation=chroot", container.trim(), entrypoint, "--version"]))?;
    assert_eq!(said.trim(), format!("leadergroup-operator {}", env!("CARGO_PKG_VERSION")));
    fs::remove_dir_all(&storage).context("the image stays")
}
