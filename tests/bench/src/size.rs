//! What the operator takes in memory and processor time, as its node's kernel counts it.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::stream::{self, StreamExt, TryStreamExt};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use leadergroup_api::{GROUP_LABEL, LeaderGroup};
use leadergroup_e2e::{Group, GroupView, Namespace, Session, lease_of};
use serde_json::json;

use crate::figures::table;

const GROUPS: usize = 1_000;
const CANDIDATES: usize = 3;
const NODES: u32 = 10;
/// What the pods' account may do: were a right missing, the operator would ask again while it is measured.
const RIGHTS: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: candidate}
rules:
- {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get, watch, update]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: candidate}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: candidate}
subjects:
- {kind: ServiceAccount, name: default}
";
/// Requests this program has under way at once.
const AT_ONCE: usize = 32;
/// How long processor time is counted.
const WINDOW: Duration = Duration::from_secs(30);
/// Clock ticks per second in /proc, on every Linux that Rust's standard targets run on.
const TICKS: f64 = 100.0;

/// The operator's process on the node.
pub struct OperatorProcess {
    pid: u32,
}

/// What it took.
pub struct Taken {
    /// Resident memory, MiB.
    pub resident: f64,
    /// Processors busy, on average over the window.
    pub cores: f64,
}

impl OperatorProcess {
    /// Finds it.
    pub async fn find(session: &Session) -> Result<Self> {
        let pod = session.operator().leading_pod().await?;
        let uid = pod.metadata.uid.context("the operator's pod has no UID")?;
        let processes = session.cluster().container_pids(&uid)?;
        let process = processes.first().context("the operator's pod has no process")?;
        Ok(Self { pid: u32::try_from(process.pid)? })
    }

    /// Watches it for a while.
    pub async fn watch(&self, window: Duration) -> Result<Taken> {
        let (from, before) = (Instant::now(), self.busy_seconds()?);
        tokio::time::sleep(window).await;
        let cores = (self.busy_seconds()? - before) / from.elapsed().as_secs_f64();
        Ok(Taken { resident: resident(self.pid)?, cores })
    }

    fn busy_seconds(&self) -> Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).context("the operator's process ended")?;
        // The fields after the command's name, which may have spaces in it: utime and stime are the 12th and 13th.
        let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |n: usize| fields.get(n).and_then(|f| f.parse::<f64>().ok()).unwrap_or(f64::NAN);
        Ok((ticks(11) + ticks(12)) / TICKS)
    }
}

/// Resident memory of a process, MiB.
pub fn resident(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("the process ended")?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).context("no VmRSS in /proc")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024.0)
}

/// The operator without groups.
pub async fn at_rest(process: &OperatorProcess) -> Result<()> {
    eprintln!("at rest: {} s", WINDOW.as_secs());
    let taken = process.watch(WINDOW).await?;
    print("At rest, no groups", &taken);
    Ok(())
}

/// The operator with a thousand groups of three pods.
pub async fn with_a_thousand_groups(session: &Session, process: &OperatorProcess) -> Result<()> {
    let space = session.namespace("size").await?;
    eprintln!("{GROUPS} groups with {CANDIDATES} pods each");
    fill(session, &space, GROUPS, CANDIDATES).await?;
    let taken = process.watch(WINDOW).await?;
    print(&format!("{GROUPS} groups x {CANDIDATES} pods, nothing changing"), &taken);
    Ok(())
}

fn print(what: &str, taken: &Taken) {
    println!("\n## {what}\n");
    let mut figures = table(&["resident, MiB", "cores"]);
    figures.add_row([format!("{:.1}", taken.resident), format!("{:.4}", taken.cores)]);
    println!("{figures}");
}

/// Makes groups whose first pod leads, on simulated nodes, and waits until the operator says so of each, and has audited it.
pub async fn fill(session: &Session, space: &Namespace, groups: usize, candidates: usize) -> Result<()> {
    session.cluster().add_kwok_nodes(NODES)?;
    space.apply(RIGHTS).await?;
    let all = (0..groups * candidates).map(|n| pod(n / candidates, n % candidates));
    stream::iter(all)
        .map(|pod| async { space.create(&pod?).await })
        .buffer_unordered(AT_ONCE)
        .try_for_each(|_| std::future::ready(Ok(())))
        .await?;
    let leases = (0..groups).map(|n| lease_of(&group_name(n), &pod_name(n, 0), 3600));
    stream::iter(leases)
        .map(|lease: Lease| async move { space.create(&lease).await })
        .buffer_unordered(AT_ONCE)
        .try_for_each(|_| std::future::ready(Ok(())))
        .await?;
    stream::iter(0..groups)
        .map(|n| async move { space.create(&Group::named(&group_name(n)).build()).await })
        .buffer_unordered(AT_ONCE)
        .try_for_each(|_| std::future::ready(Ok(())))
        .await?;
    let led = |group: &LeaderGroup| {
        let status = group.status.as_ref();
        group.says("CandidatesAuthorized", "True", "Authorized")
            && status.is_some_and(|s| s.leader.is_some() && usize::try_from(s.candidates.ready) == Ok(candidates))
    };
    for n in 0..groups {
        space.until_within(Duration::from_mins(5), &group_name(n), "it has a leader", led).await?;
    }
    Ok(())
}

/// The name of the nth group, and of its Lease.
pub fn group_name(n: usize) -> String {
    format!("group-{n}")
}

/// The name of a pod of the nth group.
pub fn pod_name(n: usize, candidate: usize) -> String {
    format!("group-{n}-{candidate}")
}

fn pod(n: usize, candidate: usize) -> Result<Pod> {
    let node = format!("kwok-{}", n % usize::try_from(NODES)?);
    Ok(serde_json::from_value(json!({
        "metadata": {"name": pod_name(n, candidate), "labels": {GROUP_LABEL: group_name(n)}},
        "spec": {
            "nodeName": node,
            "automountServiceAccountToken": false,
            "containers": [{"name": "app", "image": "simulated"}],
        },
    }))?)
}
