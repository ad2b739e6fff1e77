//! A cluster without a real node, from its start to its end: needs no rights, and Go only when the programs are not in the
//! cache.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use leadergroup_cluster::{Cluster, Component, Layout, NodeMode, Options, Signal, Status};

/// A folder whose cluster ends with the test, however that ends.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn cluster(&self) -> PathBuf {
        self.0.path().join("cluster")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let layout = Layout::new(self.cluster()).unwrap();
        if let Err(error) = Cluster::down_at(&layout) {
            eprintln!("the test's cluster is not ended: {error:#}");
        }
    }
}

/// Runs kubectl against a cluster and returns what it wrote.
fn kubectl(cluster: &Cluster, args: &[&str]) -> String {
    let output = Command::new(cluster.kubectl().unwrap())
        .arg("--kubeconfig")
        .arg(cluster.kubeconfig())
        .args(args)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "kubectl {args:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// The processes that carry the mark of the cluster in a folder.
fn processes_of(folder: &Path) -> Vec<i32> {
    procfs::process::all_processes()
        .unwrap()
        .flatten()
        .filter(|process| process.environ().is_ok_and(|environment| environment.values().any(|value| value == folder)))
        .map(|process| process.pid)
        .collect()
}

fn pid(status: &Status, component: Component) -> Option<i32> {
    status.components.iter().find(|(other, _)| *other == component).and_then(|(_, pid)| *pid)
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_mins(1), "waited in vain: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A pod on a simulated node is reported as ended before it is removed, as one on a real node is.
fn assert_pod_ends_before_it_is_removed(cluster: &Cluster) {
    kubectl(cluster, &["run", "pod", "--image=leadergroup.test/any:dev"]);
    kubectl(cluster, &["wait", "--for=condition=Ready", "pod/pod", "--timeout=60s"]);
    let events = "jsonpath={.type} {.object.status.phase} {.object.status.containerStatuses[0].state}{\"\\n\"}";
    let mut watch = Command::new(cluster.kubectl().unwrap())
        .arg("--kubeconfig")
        .arg(cluster.kubeconfig())
        .args(["get", "pod", "pod", "--watch", "--output-watch-events", "-o", events])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    assert!(first.starts_with("ADDED Running"), "{first}");
    kubectl(cluster, &["delete", "pod", "pod", "--wait=false"]);
    let mut seen = Vec::new();
    for line in lines {
        let line = line.unwrap();
        let removed = line.starts_with("DELETED");
        seen.push(line);
        if removed {
            break;
        }
    }
    watch.kill().unwrap();
    watch.wait().unwrap();
    let ended = seen.iter().position(|line| line.starts_with("MODIFIED Succeeded") && line.contains("terminated"));
    assert!(ended.is_some(), "{seen:#?}");
}

#[test]
fn a_cluster_starts_survives_and_ends() {
    let folder = Folder::new();
    let root = folder.cluster();
    let options = Options { node: NodeMode::None, kwok_nodes: Some(1), state_dir: Some(root.clone()) };
    let cluster = Cluster::up(&options).unwrap();
    assert!(!cluster.has_real_node());
    assert_pod_ends_before_it_is_removed(&cluster);

    // A second start finds the first.
    let before = cluster.status().unwrap();
    let again = Cluster::up(&options).unwrap().status().unwrap();
    assert_eq!(before.components, again.components);
    assert_eq!(before.server, again.server);

    // A cluster of another kind is not taken for the one that was asked for.
    let real = Options { node: NodeMode::Real, ..options.clone() };
    let error = Cluster::up(&real).unwrap_err().to_string();
    assert!(error.contains("cluster down"), "{error}");

    // A component that was killed comes back with what it stored.
    cluster.signal(Component::KubeApiserver, Signal::KILL).unwrap();
    wait_until("the API server's end", || pid(&cluster.status().unwrap(), Component::KubeApiserver).is_none());
    assert!(cluster.signal(Component::KubeApiserver, Signal::TERM).is_err());
    cluster.start(Component::KubeApiserver).unwrap();
    assert_eq!(kubectl(&cluster, &["get", "nodes", "-o", "name"]), "node/kwok-0\n");
    cluster.add_kwok_nodes(2).unwrap();
    assert_eq!(kubectl(&cluster, &["get", "nodes", "-o", "name"]).lines().count(), 2);

    // The requests are in the audit log, with their users.
    let audit = std::fs::read_to_string(cluster.layout().unwrap().audit_log()).unwrap();
    assert!(audit.contains("\"username\":\"kubernetes-admin\""));

    // After the end of everything, nothing is left and a new start works.
    let status = cluster.status().unwrap();
    for (component, _) in &status.components {
        cluster.signal(*component, Signal::KILL).unwrap();
    }
    let layout = Layout::new(&root).unwrap();
    wait_until("the end of all", || Cluster::at(layout.clone()).unwrap().is_none());
    let cluster = Cluster::up(&options).unwrap();
    assert_eq!(kubectl(&cluster, &["get", "nodes", "-o", "name"]), "node/kwok-0\n");
    assert!(!processes_of(&root).is_empty());
    cluster.down().unwrap();
    assert_eq!(processes_of(&root), [] as [i32; 0]);
    let mut left: Vec<_> = std::fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["lock", "logs"]);
    Cluster::down_at(&layout).unwrap();
}

#[test]
fn a_start_that_was_killed_half_way_is_cleaned_up() {
    let folder = Folder::new();
    let root = folder.cluster();
    let mut start = Command::new(env!("CARGO_BIN_EXE_cluster"))
        .arg("--state-dir")
        .arg(&root)
        .args(["up", "--node", "none"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let child = i32::try_from(start.id()).unwrap();
    wait_until("the first process", || processes_of(&root).iter().any(|pid| *pid != child));
    start.kill().unwrap();
    start.wait().unwrap();
    let layout = Layout::new(&root).unwrap();
    assert!(Cluster::at(layout.clone()).unwrap().is_none());
    Cluster::down_at(&layout).unwrap();
    assert_eq!(processes_of(&root), [] as [i32; 0]);
}
