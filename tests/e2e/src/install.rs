//! The operator, built and installed as a user installs it, and the elector's image; each done once per test program.
//!
//! `LEADERGROUP_PROGRAM` and `LEADERGROUP_ELECTOR_PROGRAM` name static programs that were built before, to be used instead.

use std::env;
use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use leadergroup_cluster::{Cluster, workspace_root};
use serde_json::{Value, json};

use crate::command::run;

/// Where the operator runs.
pub const OPERATOR_NAMESPACE: &str = "leadergroup-system";
/// How many of it run: one leads.
pub const OPERATOR_REPLICAS: i32 = 2;
/// The image that `config/default` names.
pub const OPERATOR_IMAGE: &str = "leadergroup.test/leadergroup-operator:dev";
/// The image of the elector command in the test cluster, with the test workload in it at `/workload`.
const ELECTOR_IMAGE: &str = "leadergroup.test/elector:dev";
/// Says which build a Deployment's pods run: a new one replaces them.
const BUILD: &str = "leadergroup.test/build";

/// A cluster that has what a session needs.
pub(crate) struct Installed {
    pub(crate) cluster: Cluster,
    pub(crate) kubectl: PathBuf,
    pub(crate) kubeconfig: PathBuf,
    pub(crate) candidate_image: String,
    /// The operator's program, where it has to run beside the cluster rather than in it.
    pub(crate) local_program: Option<PathBuf>,
}

impl Installed {
    /// Installs at the first call.
    pub(crate) fn get() -> Result<&'static Self> {
        static INSTALLED: OnceLock<Result<Installed, String>> = OnceLock::new();
        let installed = INSTALLED.get_or_init(|| Self::install().map_err(|error| format!("{error:#}")));
        installed.as_ref().map_err(|error| anyhow!("there is no cluster with the operator: {error}"))
    }

    /// A cluster with what others have installed in it, which may be nothing, and with the images where it has a node.
    pub(crate) fn bare() -> Result<&'static Self> {
        static BARE: OnceLock<Result<Installed, String>> = OnceLock::new();
        let bare = || {
            let installed = Self::in_cluster()?;
            if !installed.cluster.is_existing() && installed.cluster.has_real_node() {
                installed.load_images()?;
            }
            Ok(installed)
        };
        let bare = BARE.get_or_init(|| bare().map_err(|error: anyhow::Error| format!("{error:#}")));
        bare.as_ref().map_err(|error| anyhow!("there is no cluster: {error}"))
    }

    fn in_cluster() -> Result<Self> {
        let cluster = Cluster::from_env()?;
        Ok(Self {
            kubectl: cluster.kubectl()?,
            kubeconfig: cluster.kubeconfig(),
            candidate_image: leadergroup_cluster::CANDIDATE_IMAGE.to_owned(),
            local_program: None,
            cluster,
        })
    }

    fn install() -> Result<Self> {
        let mut installed = Self::in_cluster()?;
        if installed.cluster.is_existing() {
            let image = image_from("LEADERGROUP_IMAGE", "the operator's image")?;
            installed.candidate_image = image_from("CANDIDATE_IMAGE", "the image of tests/candidates/client-go")?;
            installed.deploy(&image, "as given")?;
        } else if installed.cluster.has_real_node() {
            let program = installed.load_images()?;
            installed.deploy(OPERATOR_IMAGE, &digest(&program)?)?;
        } else {
            installed.apply("crds")?;
            installed.apply("config/admission")?;
            installed.local_program = Some(given("LEADERGROUP_PROGRAM").map_or_else(|| build(OPERATOR, false), Ok)?);
        }
        Ok(installed)
    }

    /// The operator's program, built at the first call.
    pub(crate) fn operator_program() -> Result<PathBuf> {
        static_program("LEADERGROUP_PROGRAM", OPERATOR)
    }

    /// Builds the images of the operator and of the candidate, and puts them on the node; returns the operator's program.
    fn load_images(&self) -> Result<PathBuf> {
        let program = Self::operator_program()?;
        self.cluster.load_image(OPERATOR_IMAGE, &program)?;
        self.cluster.load_candidate()?;
        Ok(program)
    }

    /// The elector's image, built and loaded at the first call.
    pub(crate) fn elector_image(&self) -> Result<&'static str> {
        static IMAGE: OnceLock<Result<String, String>> = OnceLock::new();
        let image = IMAGE.get_or_init(|| self.load_elector().map_err(|error| format!("{error:#}")));
        image.as_deref().map_err(|error| anyhow!("there is no image of the elector: {error}"))
    }

    fn load_elector(&self) -> Result<String> {
        if self.cluster.is_existing() {
            return image_from(
                "ELECTOR_IMAGE",
                "an image with elector, its entrypoint, /workload (tests/workload) and /lead (an example of the elector)",
            );
        }
        if self.cluster.has_real_node() {
            let elector = static_program("LEADERGROUP_ELECTOR_PROGRAM", ELECTOR)?;
            self.cluster.load_image_of(ELECTOR_IMAGE, &[&elector, &build(WORKLOAD, true)?, &build(LEAD, true)?])?;
        }
        Ok(ELECTOR_IMAGE.to_owned())
    }

    /// The kubectl plugin, built at the first call: as its own tests have it built, with the features that all tests have.
    /// Another selection would compile its dependencies once more.
    pub(crate) fn plugin() -> Result<&'static Path> {
        static PROGRAM: OnceLock<Result<PathBuf, String>> = OnceLock::new();
        let build =
            || executable(cargo(&workspace_root()?, "test").args(["--workspace", "--no-run", "--test", "dashboard"]));
        let program = PROGRAM.get_or_init(|| build().map_err(|error| format!("{error:#}")));
        program.as_deref().map_err(|error| anyhow!("there is no plugin: {error}"))
    }

    /// kubectl for this cluster.
    pub(crate) fn kubectl(&self) -> Command {
        let mut command = Command::new(&self.kubectl);
        command.arg("--kubeconfig").arg(&self.kubeconfig);
        command
    }

    /// The administrator's client, for the runtime that calls this.
    pub(crate) async fn client(&self) -> Result<Client> {
        let kubeconfig = Kubeconfig::read_from(&self.kubeconfig)?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        Ok(Client::try_from(config)?)
    }

    fn apply(&self, folder: &str) -> Result<()> {
        let folder = workspace_root()?.join(folder);
        run(self.kubectl().args(["apply", "--kustomize"]).arg(folder)).map(drop)
    }

    fn deploy(&self, image: &str, build: &str) -> Result<()> {
        self.apply("config/default")?;
        let patch = json!({"spec": {"template": {
            "metadata": {"annotations": {BUILD: build}},
            "spec": {"containers": [{"name": "operator", "image": image}]},
        }}});
        let deployment = ["--namespace", OPERATOR_NAMESPACE, "deployment/leadergroup-operator"];
        run(self.kubectl().arg("patch").args(deployment).arg("--patch").arg(patch.to_string()))?;
        run(self.kubectl().args(["scale", &format!("--replicas={OPERATOR_REPLICAS}")]).args(deployment))?;
        run(self.kubectl().args(["rollout", "status", "--timeout=90s"]).args(deployment))
            .context("the operator does not become available")
            .map(drop)
    }
}

fn image_from(variable: &str, what: &str) -> Result<String> {
    env::var(variable).ok().filter(|image| !image.is_empty()).with_context(|| {
        format!(
            "CLUSTER=existing needs {variable}: push {what} where the cluster finds it, and set {variable} to its name"
        )
    })
}

// Programs of this workspace.
const OPERATOR: &str = "leadergroup-operator";
const ELECTOR: &str = "elector";
const LEAD: &str = "lead";
const WORKLOAD: &str = "workload";

/// A program for an image: the one that the variable names, or else one built here.
fn static_program(variable: &str, program: &str) -> Result<PathBuf> {
    given(variable).map_or_else(|| build(program, true), Ok)
}

/// The program that the variable names.
fn given(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// Builds a program: for an image static and optimized, otherwise in the quickest way.
fn build(name: &str, image: bool) -> Result<PathBuf> {
    // Of the whole workspace, for the dependencies of all programs to be built once, with the same features.
    let args = ["--workspace", "--bin", name];
    let root = workspace_root()?;
    if image {
        build_static(&root, &[&args[..], &["--release"]].concat(), None)
    } else {
        executable(cargo(&root, "build").args(args))
    }
}

/// Builds the program that these arguments of cargo choose in a folder, as a static one, and returns where it is.
/// `target` is another target folder than that of the package.
pub fn build_static(folder: &Path, args: &[&str], target: Option<&Path>) -> Result<PathBuf> {
    let triple = host_triple()?;
    let mut cargo = cargo(folder, "build");
    // Flags for all builds would hide those for this one.
    cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    let variable = format!("CARGO_TARGET_{}_RUSTFLAGS", triple.to_uppercase().replace('-', "_"));
    cargo.env(variable, "-C target-feature=+crt-static");
    if let Some(target) = target {
        cargo.env("CARGO_TARGET_DIR", target);
    }
    executable(cargo.args(["--target", &triple]).args(args))
}

fn cargo(folder: &Path, command: &str) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(folder).args([command, "--quiet", "--message-format=json-render-diagnostics"]);
    cargo
}

/// Runs a build and returns where the program is.
fn executable(cargo: &mut Command) -> Result<PathBuf> {
    let messages = run(cargo).context("a program cannot be built")?;
    let is_program = |message: &Value| message["target"]["kind"][0] == "bin";
    let executable = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(is_program)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from));
    executable.context("cargo does not say where it put the program")
}

fn host_triple() -> Result<String> {
    let version = run(Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(ToOwned::to_owned).context("rustc -vV does not name its host")
}

fn digest(program: &Path) -> Result<String> {
    let mut hasher = DefaultHasher::new();
    hasher.write(&fs::read(program).with_context(|| format!("cannot read {}", program.display()))?);
    Ok(format!("{:016x}", hasher.finish()))
}
