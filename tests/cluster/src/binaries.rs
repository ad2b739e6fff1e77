//! The cluster's programs: built from the pinned Go modules once, and kept outside the checkout.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use crate::layout::workspace_root;
use crate::progress;
use crate::state::lock_file;

/// The Kubernetes version the modules pin; the programs do not know it themselves.
const KUBERNETES: (&str, &str, &str) = ("v1.37.2", "1", "37");

/// A Go module of the checkout and the programs built from it.
#[derive(Clone, Copy)]
struct Module {
    /// The folder, from the checkout's root.
    folder: &'static str,
    /// The programs' names and packages.
    programs: &'static [(&'static str, &'static str)],
    /// Build tags, with commas between.
    tags: &'static str,
}

impl Module {
    const fn new(folder: &'static str, programs: &'static [(&'static str, &'static str)]) -> Self {
        Self { folder, programs, tags: "" }
    }
}

const MODULES: &[Module] = &[
    Module::new("tests/cluster/binaries/etcd", &[("etcd", ".")]),
    Module::new(
        "tests/cluster/binaries/kubernetes",
        &[
            ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
            ("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
            ("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
            ("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
            ("kubelet", "k8s.io/kubernetes/cmd/kubelet"),
            ("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"),
        ],
    ),
    Module::new(
        "tests/cluster/binaries/containerd",
        &[
            ("containerd", "github.com/containerd/containerd/v2/cmd/containerd"),
            ("containerd-shim-runc-v2", "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2"),
            ("ctr", "github.com/containerd/containerd/v2/cmd/ctr"),
        ],
    ),
    Module::new("tests/cluster/binaries/kwok", &[("kwok", "sigs.k8s.io/kwok/cmd/kwok")]),
    Module::new("tests/cluster/binaries/pause", &[("pause", ".")]),
];

/// What only a real node needs.
const NODE_PROGRAMS: [&str; 6] = ["kubelet", "kube-proxy", "containerd", "containerd-shim-runc-v2", "ctr", "pause"];

const CANDIDATE: Module = Module::new("tests/candidates/client-go", &[("candidate-client-go", ".")]);

/// What stands between the cluster and a test.
const TOXIPROXY: Module =
    Module::new("tests/cluster/binaries/toxiproxy", &[("toxiproxy", "github.com/Shopify/toxiproxy/v2/cmd/server")]);

/// It scrapes the operator and judges its alerts. Without the discovery of other clouds' machines, and
/// without its web pages.
const PROMETHEUS: Module = Module {
    tags: "remove_all_sd",
    ..Module::new(
        "tests/cluster/binaries/prometheus",
        &[
            ("prometheus", "github.com/prometheus/prometheus/cmd/prometheus"),
            ("promtool", "github.com/prometheus/prometheus/cmd/promtool"),
        ],
    )
};

/// For tests of how the operator is installed and released.
const HELM: Module = Module::new("tests/cluster/binaries/helm", &[("helm", "helm.sh/helm/v4/cmd/helm")]);
const ACTIONLINT: Module =
    Module::new("tests/cluster/binaries/actionlint", &[("actionlint", "github.com/rhysd/actionlint/cmd/actionlint")]);

/// None of the cluster's own programs, but what tests need beside it.
const TOOLS: [Module; 5] = [CANDIDATE, TOXIPROXY, PROMETHEUS, HELM, ACTIONLINT];

/// Where each program is.
#[derive(Debug, Clone)]
pub(crate) struct Binaries {
    folder: PathBuf,
    elsewhere: BTreeMap<String, PathBuf>,
}

impl Binaries {
    /// Finds the programs, and builds those that are missing; without a real node some are not needed.
    pub(crate) fn obtain(real_node: bool) -> Result<Self> {
        let programs = MODULES.iter().flat_map(|module| module.programs);
        let needed = programs
            .map(|(program, _)| *program)
            .filter(|program| real_node || !NODE_PROGRAMS.contains(program))
            .collect();
        Self::obtain_these(needed)
    }

    fn obtain_these(needed: Vec<&str>) -> Result<Self> {
        let assets = env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
        let elsewhere = assets.as_deref().map_or_else(BTreeMap::new, given);
        let missing: Vec<&str> = needed.into_iter().filter(|program| !elsewhere.contains_key(*program)).collect();
        if let (Some(folder), true) = (assets, missing.is_empty()) {
            return Ok(Self { folder, elsewhere });
        }
        let checkout = workspace_root()?;
        let go = Go::find(&checkout, MODULES)?;
        let folder = cache()?.join(go.key(&checkout, MODULES)?);
        go.build_all(&checkout, MODULES, &missing, &folder)?;
        Ok(Self { folder, elsewhere })
    }

    /// The folder of the programs built here.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn path(&self, program: &str) -> PathBuf {
        self.elsewhere.get(program).cloned().unwrap_or_else(|| self.folder.join(program))
    }
}

/// Builds one program unless it is in the cache, and returns its path: one of the cluster's, or a tool of the tests.
pub(crate) fn program(name: &str) -> Result<PathBuf> {
    let is_in = |module: &&Module| module.programs.iter().any(|(program, _)| *program == name);
    if let Some(tool) = TOOLS.iter().find(is_in) {
        return built(*tool, name);
    }
    let all = || MODULES.iter().chain(&TOOLS).flat_map(|module| module.programs).map(|(program, _)| *program);
    ensure!(
        MODULES.iter().any(|module| is_in(&module)),
        "there is no program {name}: it can be {}",
        all().collect::<Vec<_>>().join(", ")
    );
    Ok(Binaries::obtain_these(vec![name])?.path(name))
}

/// Builds a program of a module that is none of the cluster's own, and returns its path.
fn built(module: Module, program: &str) -> Result<PathBuf> {
    let checkout = workspace_root()?;
    let modules = &[module];
    let go = Go::find(&checkout, modules)?;
    let folder = cache()?.join(go.key(&checkout, modules)?);
    go.build_all(&checkout, modules, &[program], &folder)?;
    Ok(folder.join(program))
}

/// The programs that are in a folder of the user's.
fn given(assets: &Path) -> BTreeMap<String, PathBuf> {
    MODULES
        .iter()
        .flat_map(|module| module.programs)
        .map(|(program, _)| ((*program).to_owned(), assets.join(program)))
        .filter(|(_, path)| path.is_file())
        .collect()
}

/// `$XDG_CACHE_HOME/leadergroup/binaries`, in `~/.cache` by default.
fn cache() -> Result<PathBuf> {
    let home = || env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(home)
        .map(|cache| cache.join("leadergroup/binaries"))
        .context("set HOME or XDG_CACHE_HOME: the cluster's programs are kept in the cache folder there")
}

/// The Go toolchain on the search path.
struct Go {
    version: String,
    arch: String,
}

impl Go {
    /// Fails when there is none, or an older one than the modules ask for.
    fn find(checkout: &Path, modules: &[Module]) -> Result<Self> {
        let mut wanted = (0, 0, 0);
        for module in modules {
            wanted = wanted.max(go_directive(&read(&checkout.join(module.folder).join("go.mod"))?));
        }
        let (major, minor, patch) = wanted;
        let wanted_text = format!("Go {major}.{minor}.{patch} or newer builds the test cluster's programs");
        let output = match Command::new("go").args(["env", "GOVERSION", "GOARCH"]).output() {
            Ok(output) => output,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                bail!("{wanted_text}, and there is no `go` on the search path: install it from https://go.dev/dl")
            }
            Err(error) => return Err(error).context("cannot run go"),
        };
        let text = String::from_utf8_lossy(&output.stdout);
        let mut lines = text.lines();
        let (Some(version), Some(arch)) = (lines.next(), lines.next()) else {
            bail!("`go env GOVERSION GOARCH` does not answer: {}", String::from_utf8_lossy(&output.stderr).trim());
        };
        ensure!(
            go_version(version.trim_start_matches("go")) >= wanted,
            "{wanted_text}, and the one on the search path is {version}: install a newer one from https://go.dev/dl"
        );
        Ok(Self { version: version.to_owned(), arch: arch.to_owned() })
    }

    /// A name for what the modules build to with this toolchain.
    fn key(&self, checkout: &Path, modules: &[Module]) -> Result<String> {
        let mut parts = vec![self.version.clone(), self.arch.clone(), link_flags()];
        for module in modules {
            // Those without are built as before there were any.
            parts.extend((!module.tags.is_empty()).then(|| module.tags.to_owned()));
            for file in ["go.mod", "go.sum", "main.go"] {
                let path = checkout.join(module.folder).join(file);
                // A module of tools has no main.go, one without dependencies no go.sum.
                parts.push(if path.is_file() { read(&path)? } else { String::new() });
            }
        }
        Ok(key(&parts))
    }

    /// Builds those of the programs that are not there yet, one after the other: each build uses all processors.
    fn build_all(&self, checkout: &Path, modules: &[Module], programs: &[&str], folder: &Path) -> Result<()> {
        let missing = || {
            modules.iter().flat_map(|module| {
                let missing = |program: &str| programs.contains(&program) && !folder.join(program).is_file();
                let packages = module.programs.iter().filter(move |(program, _)| missing(program));
                packages.map(move |(program, package)| (module, *program, *package))
            })
        };
        if missing().next().is_none() {
            return Ok(());
        }
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let _lock = lock_file(&folder.join(".lock"), "another command builds the same programs")?;
        // Somebody else may have built some of them meanwhile.
        let missing: Vec<_> = missing().collect();
        let total = missing.len();
        for (number, (module, program, package)) in missing.into_iter().enumerate() {
            progress(&format!("building {program} ({} of {total}; the first time this takes minutes)", number + 1));
            let start = Instant::now();
            self.build(checkout, module, program, package, folder)?;
            progress(&format!("built {program} in {} s", start.elapsed().as_secs()));
        }
        Ok(())
    }

    fn build(&self, checkout: &Path, module: &Module, program: &str, package: &str, folder: &Path) -> Result<()> {
        let work = tempfile::Builder::new()
            .prefix(".building-")
            .tempdir_in(folder)
            .with_context(|| format!("cannot write to {}", folder.display()))?;
        let built = work.path().join(program);
        let status = Command::new("go")
            .current_dir(checkout.join(module.folder))
            .env("CGO_ENABLED", "0")
            .env("GOARCH", &self.arch)
            .args(["build", "-trimpath", "-buildvcs=false", "-tags", module.tags, "-ldflags", &link_flags(), "-o"])
            .arg(&built)
            .arg(package)
            .status()
            .context("cannot run go")?;
        ensure!(
            status.success(),
            "{program} could not be built (see the messages above): \
             the first build needs the Go module proxy or a filled module cache"
        );
        fs::rename(&built, folder.join(program)).with_context(|| format!("cannot move {program} into the cache"))
    }
}

fn link_flags() -> String {
    let (version, major, minor) = KUBERNETES;
    let package = "k8s.io/component-base/version";
    format!("-s -w -X {package}.gitVersion={version} -X {package}.gitMajor={major} -X {package}.gitMinor={minor}")
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// A digest of texts that also tells where each one ends.
fn key(parts: &[String]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    crate::image::hex(&hash.finalize())[..32].to_owned()
}

/// The version a `go.mod` asks for.
fn go_directive(text: &str) -> (u32, u32, u32) {
    text.lines().find_map(|line| line.strip_prefix("go ")).map_or((0, 0, 0), |version| go_version(version.trim()))
}

/// `1.26.6` or `1.27rc1` as numbers; what cannot be read is zero.
fn go_version(text: &str) -> (u32, u32, u32) {
    let mut parts = text.split('.').map(|part| {
        let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        part[..digits].parse().unwrap_or(0)
    });
    let mut next = || parts.next().unwrap_or(0);
    (next(), next(), next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert!(go_version("1.26.10") > go_version("1.26.6"));
        assert!(go_version("1.27rc1") > go_version("1.26.6"));
        assert_eq!(go_version("devel"), (0, 0, 0));
        assert_eq!(go_directive("module x\n\ngo 1.26.0\n"), (1, 26, 0));
    }

    #[test]
    fn every_part_of_the_key_counts() {
        let of = |parts: &[&str]| key(&parts.iter().copied().map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(of(&["go1.26", "amd64", "x"]), of(&["go1.26", "amd64", "x"]));
        assert_ne!(of(&["go1.26", "amd64", "x"]), of(&["go1.26", "arm64", "x"]));
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_eq!(of(&[]).len(), 32);
    }

    #[test]
    fn the_programs_are_told_the_version_they_are_built_from() {
        let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("binaries/kubernetes/go.mod");
        let (version, major, minor) = KUBERNETES;
        let text = read(&module).unwrap();
        assert!(text.contains(&format!("k8s.io/kubernetes {version} ")), "{text}");
        assert!(version.starts_with(&format!("v{major}.{minor}.")));
    }

    #[test]
    fn only_what_is_in_the_given_folder_is_taken_from_it() {
        let assets = tempfile::tempdir().unwrap();
        fs::write(assets.path().join("etcd"), "").unwrap();
        fs::write(assets.path().join("unrelated"), "").unwrap();
        let given = given(assets.path());
        assert_eq!(given.keys().collect::<Vec<_>>(), ["etcd"]);
    }

    /// A checkout of one small module, and a cache folder.
    struct Small {
        folder: tempfile::TempDir,
        modules: [Module; 1],
        go: Go,
    }

    impl Small {
        fn new(main: &str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("go.mod"), "module small.test\n\ngo 1.20\n").unwrap();
            fs::write(folder.path().join("main.go"), main).unwrap();
            let modules = [Module::new(".", &[("small", ".")])];
            let go = Go::find(folder.path(), &modules).unwrap();
            Self { folder, modules, go }
        }

        /// Where the program is, once it is built or found.
        fn obtain(&self) -> Result<PathBuf> {
            let checkout = self.folder.path();
            let cache = checkout.join("cache").join(self.go.key(checkout, &self.modules)?);
            self.go.build_all(checkout, &self.modules, &["small"], &cache)?;
            Ok(cache.join("small"))
        }
    }

    const SOUND: &str = "package main\n\nfunc main() {}\n";

    #[test]
    fn a_program_is_built_once_and_again_when_its_module_changes() {
        let small = Small::new(SOUND);
        let first = small.obtain().unwrap();
        assert!(Command::new(&first).status().unwrap().success());
        // What is in the cache is used as it is.
        fs::write(&first, "found").unwrap();
        assert_eq!(small.obtain().unwrap(), first);
        assert_eq!(fs::read(&first).unwrap(), b"found");
        fs::write(small.folder.path().join("go.mod"), "module small.test\n\ngo 1.21\n").unwrap();
        let second = small.obtain().unwrap();
        assert_ne!(second, first);
        assert!(Command::new(&second).status().unwrap().success());
    }

    #[test]
    fn a_build_that_failed_leaves_nothing_to_be_taken_for_a_program() {
        let small = Small::new("package main\n\nfunc main() { this does not compile }\n");
        let error = small.obtain().unwrap_err().to_string();
        assert!(error.contains("small could not be built"), "{error}");
        let checkout = small.folder.path();
        let cache = checkout.join("cache").join(small.go.key(checkout, &small.modules).unwrap());
        let left: Vec<_> = fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, [".lock"]);
    }

    #[test]
    fn two_commands_build_a_program_once() {
        let small = Small::new(SOUND);
        let identity = |path: PathBuf| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
        std::thread::scope(|scope| {
            let both = [(); 2].map(|()| scope.spawn(|| identity(small.obtain().unwrap())));
            let [one, other] = both.map(|thread| thread.join().unwrap());
            assert_eq!(one, other);
        });
    }
}
