//! A Kubernetes cluster for tests of `LeaderGroup`, without Docker and without downloads beyond Go modules.
//!
//! [`Cluster::up`] starts etcd, the API server, the controller manager and the scheduler of a pinned Kubernetes version
//! from binaries that are built once. Where the machine allows it (Linux, root), a real node runs the pods as processes;
//! elsewhere simulated nodes stand in, and [`Cluster::has_real_node`] says which. The cluster outlives the program that
//! started it: [`Cluster::down`] ends it. Tests that shall run against another cluster use [`Cluster::from_env`].

mod binaries;
mod certs;
mod cluster;
mod component;
mod control_plane;
mod host;
mod image;
mod kubeconfig;
mod kwok;
mod layout;
mod node;
mod orphans;
mod process;
mod source;
mod state;
mod teardown;
mod up;

use std::path::PathBuf;

use clap::ValueEnum;
pub use cluster::{Cluster, ContainerProcess, Status};
pub use component::Component;
pub use layout::{Layout, workspace_root};
pub use orphans::Orphans;
pub use rustix::process::Signal;

/// The image [`Cluster::load_candidate`] makes.
pub const CANDIDATE_IMAGE: &str = "leadergroup.test/candidate-client-go:dev";

/// What kind of cluster to start.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whether there is a real node.
    pub node: NodeMode,
    /// The number of simulated nodes; by default none beside a real node, and two otherwise.
    pub kwok_nodes: Option<u32>,
    /// The folder the cluster is kept in; by default `target/cluster` in the checkout.
    pub state_dir: Option<PathBuf>,
}

impl Options {
    fn layout(&self) -> anyhow::Result<Layout> {
        self.state_dir.as_ref().map_or_else(Layout::of_checkout, Layout::new)
    }
}

/// Whether a cluster has a real node, on which pods are processes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum NodeMode {
    /// A real node where the machine allows it, simulated nodes elsewhere.
    #[default]
    Auto,
    /// A real node, or an error that says what is missing.
    Real,
    /// Simulated nodes only; needs no rights, and goes with any other cluster on the machine.
    None,
}

/// Builds the programs of the cluster that are not in the cache yet, and returns the folder they are in.
pub fn binaries() -> anyhow::Result<PathBuf> {
    Ok(binaries::Binaries::obtain(true)?.folder().to_path_buf())
}

/// Builds one program unless it is in the cache, and returns its path: one of the cluster's; `candidate-client-go`;
/// `toxiproxy`, which stands between a program and a server and spoils the connection; `prometheus`, `promtool`; `helm`;
/// `actionlint`.
pub fn program(name: &str) -> anyhow::Result<PathBuf> {
    binaries::program(name)
}

/// The folder with the definitions of the Prometheus operator's kinds, a YAML file each.
pub fn prometheus_operator_definitions() -> anyhow::Result<PathBuf> {
    let module = "github.com/prometheus-operator/prometheus-operator";
    let source = source::folder("tests/cluster/binaries/prometheus-operator", module)?;
    Ok(source.join("example/prometheus-operator-crd"))
}

/// Installs Debian packages, or says which ones to install where that is not possible.
pub fn install_packages(packages: &[&str]) -> anyhow::Result<()> {
    host::install(packages)
}

/// Tells the person who waits what goes on.
fn progress(line: &str) {
    eprintln!("cluster: {line}");
}
