//! What is taken from a Go module as its authors published it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::layout::workspace_root;

/// The folder of a module's source, at the version that the `go.mod` in this folder of the checkout asks for.
pub(crate) fn folder(pinned_in: &str, module: &str) -> Result<PathBuf> {
    let download = Command::new("go")
        .current_dir(workspace_root()?.join(pinned_in))
        .args(["mod", "download", "-json", module])
        .output()
        .context("cannot run go: install it from https://go.dev/dl")?;
    let said: serde_json::Value = serde_json::from_slice(&download.stdout).unwrap_or_default();
    ensure!(
        download.status.success(),
        "{module} could not be downloaded: it takes the Go module proxy or a filled module cache ({}{})",
        said["Error"].as_str().unwrap_or_default(),
        String::from_utf8_lossy(&download.stderr).trim()
    );
    said["Dir"].as_str().map(|folder| Path::new(folder).to_owned()).context("go does not say where it put the module")
}
