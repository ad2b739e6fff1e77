//! A candidate's pod: what it does, and what keeps it from leading.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod, PodStatus};
use kube::ResourceExt as _;
use serde::Serialize;

use crate::group::condition;
use crate::model::LeaderGroup;

/// A pod that the selector matches.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Candidate {
    pub pod: String,
    pub uid: String,
    pub role: Role,
    pub ready: bool,
    /// As kubectl sums it up: `Running`, `CrashLoopBackOff`, `Terminating`.
    pub status: String,
    /// What keeps it from leading, or may do so.
    pub obstacles: Vec<String>,
    pub service_account: String,
    pub node: Option<String>,
    /// Only with `-v`.
    pub zone: Option<String>,
    pub restarts: i32,
    pub created: Option<Timestamp>,
    pub containers: Vec<Container>,
}

/// What a candidate is to its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The holder resolves to it.
    Leader,
    /// It may lead.
    Standby,
    /// It has ended, and never leads again.
    Ended,
}

impl Role {
    /// As it is printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Standby => "standby",
            Self::Ended => "ended",
        }
    }
}

/// A container of a candidate.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    pub name: String,
    /// Whether it must be down for the candidate to be dead.
    pub watched: bool,
    /// `running`, `waiting` or `terminated`; absent where the kubelet has not reported.
    pub state: Option<String>,
    pub reason: Option<String>,
    /// How the last run that ended did so.
    pub exit_code: Option<i32>,
    pub since: Option<Timestamp>,
    pub restarts: i32,
}

/// The candidates, the leader first, then by name.
pub fn all(group: &LeaderGroup, pods: &[Pod], zones: &BTreeMap<String, String>) -> Vec<Candidate> {
    let leader = group.status.as_ref().and_then(|status| status.leader.as_ref()?.pod_uid.clone());
    let leads = |pod: &Pod| leader.is_some() && pod.uid() == leader;
    let its_account = pods.iter().find(|pod| leads(pod)).map(account);
    let mut candidates: Vec<_> = pods
        .iter()
        .map(|pod| {
            let role = match phase(pod) {
                _ if leads(pod) => Role::Leader,
                "Succeeded" | "Failed" => Role::Ended,
                _ => Role::Standby,
            };
            let mut obstacles = Vec::new();
            if role != Role::Leader {
                obstacles.extend(obstacles_of(pod, role));
            }
            obstacles.extend(obstacles_of_rights(group, pod, its_account.as_deref()));
            obstacles.extend(missing_container(group, pod));
            let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
            Candidate {
                pod: pod.name_any(),
                uid: pod.uid().unwrap_or_default(),
                role,
                ready: is_ready(pod),
                status: summary(pod),
                obstacles,
                service_account: account(pod),
                zone: node.as_ref().and_then(|node| zones.get(node).cloned()),
                node,
                restarts: reports(pod).iter().map(|it| it.restart_count).sum(),
                created: pod.creation_timestamp().map(|time| time.0),
                containers: containers(group, pod),
            }
        })
        .collect();
    candidates.sort_by(|a, b| (a.role, &a.pod).cmp(&(b.role, &b.pod)));
    candidates
}

fn status(pod: &Pod) -> Option<&PodStatus> {
    pod.status.as_ref()
}

fn phase(pod: &Pod) -> &str {
    status(pod).and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
}

fn account(pod: &Pod) -> String {
    let named = pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone());
    named.unwrap_or_else(|| "default".to_owned())
}

/// What the kubelet says of the pod's containers, of those that begin before the others too.
fn reports(pod: &Pod) -> Vec<ContainerStatus> {
    let Some(status) = status(pod) else { return Vec::new() };
    let init = status.init_container_statuses.iter().flatten();
    init.chain(status.container_statuses.iter().flatten()).cloned().collect()
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = status(pod).and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|it| it.type_ == "Ready" && it.status == "True")
}

/// As kubectl sums it up: why a container waits or ended, where one does, or the pod's phase.
fn summary(pod: &Pod) -> String {
    if pod.metadata.deletion_timestamp.is_some() {
        return "Terminating".to_owned();
    }
    let why = |report: &ContainerStatus| {
        let state = report.state.as_ref()?;
        let waiting = state.waiting.as_ref().and_then(|it| it.reason.clone());
        waiting.or_else(|| state.terminated.as_ref().and_then(|it| it.reason.clone()))
    };
    let given = status(pod).and_then(|status| status.reason.clone());
    let reports = reports(pod);
    // Containers that ran to their end before the others did what they had to.
    let why = reports.iter().filter(|it| it.state.as_ref().is_none_or(|state| !succeeded(state))).find_map(why);
    match phase(pod) {
        phase @ ("Succeeded" | "Failed") => given.unwrap_or_else(|| phase.to_owned()),
        phase => why.unwrap_or_else(|| phase.to_owned()),
    }
}

fn succeeded(state: &ContainerState) -> bool {
    state.terminated.as_ref().is_some_and(|it| it.exit_code == 0)
}

/// What the pod itself says.
fn obstacles_of(pod: &Pod, role: Role) -> Option<String> {
    if role == Role::Ended {
        return Some("it has ended".to_owned());
    }
    if pod.metadata.deletion_timestamp.is_some() {
        return Some("it is being deleted".to_owned());
    }
    let conditions = status(pod).and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    if let Some(it) = conditions.iter().find(|it| it.type_ == "PodScheduled" && it.status == "False") {
        return Some(format!("it has no node: {}", it.message.as_deref().unwrap_or("not scheduled")));
    }
    let down = reports(pod).into_iter().find_map(|report| {
        let state = report.state.filter(|state| state.running.is_none() && !succeeded(state))?;
        let waiting = state.waiting.and_then(|it| it.reason);
        let ended = state.terminated.map(|it| format!("ended with exit code {}", it.exit_code));
        Some(format!("container {} does not run: {}", report.name, waiting.or(ended)?))
    });
    if down.is_some() {
        return down;
    }
    if phase(pod) != "Running" {
        return Some(format!("it does not run: {}", phase(pod)));
    }
    (!is_ready(pod)).then(|| "it is not Ready, which does not keep it from leading".to_owned())
}

/// What its account may do, as the operator's audit says.
fn obstacles_of_rights(group: &LeaderGroup, pod: &Pod, leaders: Option<&str>) -> Option<String> {
    let account = account(pod);
    let audit = condition(group, "CandidatesAuthorized").filter(|audit| audit.status == "False");
    let lacking = audit.and_then(|audit| {
        // Sentences of the audit are parted so.
        let begins = format!("ServiceAccount {account} may not ");
        audit.message.split("; ").find(|sentence| sentence.starts_with(&begins)).map(ToOwned::to_owned)
    });
    let other = leaders.filter(|leaders| *leaders != account);
    lacking.or_else(|| other.map(|leaders| format!("its ServiceAccount is {account}, the leader's {leaders}")))
}

/// A container whose end is to be seen, and that the pod has not.
fn missing_container(group: &LeaderGroup, pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let init = spec.init_containers.iter().flatten();
    let names: Vec<_> = spec.containers.iter().chain(init).map(|container| &container.name).collect();
    let missing = group.spec.candidates.containers.iter().find(|name| !names.contains(name))?;
    Some(format!("it has no container {missing}, so its death can't be proven"))
}

fn containers(group: &LeaderGroup, pod: &Pod) -> Vec<Container> {
    let watched = &group.spec.candidates.containers;
    let of = |report: ContainerStatus| {
        let state = report.state.unwrap_or_default();
        let ended = state.terminated.clone().or(report.last_state.and_then(|state| state.terminated));
        let (name, reason, since) = match (state.running, state.waiting, state.terminated) {
            (Some(running), _, _) => (Some("running"), None, running.started_at),
            (_, Some(waiting), _) => (Some("waiting"), waiting.reason, None),
            (_, _, Some(ended)) => (Some("terminated"), ended.reason, ended.finished_at),
            _ => (None, None, None),
        };
        Container {
            watched: watched.is_empty() || watched.contains(&report.name),
            name: report.name,
            state: name.map(ToOwned::to_owned),
            reason,
            exit_code: ended.map(|ended| ended.exit_code),
            since: since.map(|time| time.0),
            restarts: report.restart_count,
        }
    };
    reports(pod).into_iter().map(of).collect()
}
