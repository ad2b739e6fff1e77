//! Where a cluster keeps its files.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::Component;

/// Files of the real node that need short, machine-wide paths: unix socket names may have 107 bytes only.
pub(crate) const RUN_DIR: &str = "/run/leadergroup-cluster";

/// The folder of one cluster and the files in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// A cluster kept in `root`, which need not exist yet.
    ///
    /// Fails when `root` cannot be made absolute.
    pub fn new(root: impl AsRef<Path>) -> Result<Self> {
        let root = root.as_ref();
        let root =
            std::path::absolute(root).with_context(|| format!("cannot make {} an absolute path", root.display()))?;
        Ok(Self { root: without_links(&root) })
    }

    /// The cluster of this checkout: `target/cluster` in the workspace root.
    pub fn of_checkout() -> Result<Self> {
        Self::new(workspace_root()?.join("target/cluster"))
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.root.join("kubeconfig")
    }

    /// The folder of the logs; it outlives the cluster, so that a failure can be looked into afterwards.
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// The log of one component.
    pub fn log(&self, component: Component) -> PathBuf {
        self.logs().join(format!("{component}.log"))
    }

    /// The API server's audit log, one JSON event a line.
    pub fn audit_log(&self) -> PathBuf {
        self.logs().join("audit.jsonl")
    }

    pub(crate) fn state_file(&self) -> PathBuf {
        self.root.join("state.json")
    }

    pub(crate) fn lock_file(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// Certificates and keys.
    pub(crate) fn pki(&self, file: &str) -> PathBuf {
        self.root.join("pki").join(file)
    }

    /// Configuration written for the components.
    pub(crate) fn config(&self, file: &str) -> PathBuf {
        self.root.join("config").join(file)
    }

    /// What the components store.
    pub(crate) fn data(&self, name: &str) -> PathBuf {
        self.root.join("data").join(name)
    }

    /// Makes the folders a new cluster writes to.
    pub(crate) fn create(&self) -> Result<()> {
        for folder in [self.pki(""), self.config(""), self.data(""), self.logs()] {
            std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        Ok(())
    }
}

/// The path with its links followed as far as it exists: the same cluster must have the same name from everywhere, and the
/// kernel lists mounts under that name.
fn without_links(path: &Path) -> PathBuf {
    let resolved = path.ancestors().find_map(|part| {
        let real = part.canonicalize().ok()?;
        Some(real.join(path.strip_prefix(part).ok()?))
    });
    // Made of its parts anew, it has no slash at its end.
    resolved.as_deref().unwrap_or(path).components().collect()
}

/// The root of the checkout: the nearest folder with `tests/cluster/binaries` above the running package, the current
/// folder or this program.
pub fn workspace_root() -> Result<PathBuf> {
    let starts =
        [env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from), env::current_dir().ok(), env::current_exe().ok()];
    for start in starts.into_iter().flatten() {
        if let Some(root) = checkout_above(&start) {
            return Ok(root);
        }
    }
    bail!("no LeaderGroup checkout found above the current folder: change into the checkout and try again")
}

fn checkout_above(start: &Path) -> Option<PathBuf> {
    start
        .ancestors()
        .find(|folder| folder.join("tests/cluster/binaries/kubernetes/go.mod").is_file())
        .map(Path::to_path_buf)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checkout_is_found_from_a_folder_inside_it() {
        let checkout = tempfile::tempdir().unwrap();
        let module = checkout.path().join("tests/cluster/binaries/kubernetes");
        std::fs::create_dir_all(&module).unwrap();
        assert_eq!(checkout_above(&module), None);
        std::fs::write(module.join("go.mod"), "").unwrap();
        let inside = checkout.path().join("crates/operator/src");
        assert_eq!(checkout_above(&inside), Some(checkout.path().into()));
    }

    #[test]
    fn a_cluster_has_one_name_whatever_links_lead_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().canonicalize().unwrap().join("real");
        std::fs::create_dir(&real).unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&real, &link).unwrap();
        assert_eq!(Layout::new(&link).unwrap().root().as_os_str(), real.as_os_str());
        assert_eq!(Layout::new(link.join("a/b")).unwrap().root(), real.join("a/b"));
    }

    #[test]
    fn a_relative_folder_becomes_absolute() {
        assert!(Layout::new("here").unwrap().root().is_absolute());
    }
}
