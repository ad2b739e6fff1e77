//! The compact records that the index keeps and the judgement reads.

mod lease;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use leadergroup_identity::{HOSTNAME_MAX, PodNames};

pub use lease::{AskedTiming, Before, Came, Lease};

use crate::time::{Mono, Now};
use crate::wire::{ContainerStateWire, ContainerStatusWire, NodeWire, PodWire};

/// `kubectl debug`-style, sidecar or regular: every container that may run an elector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its name, unique in the pod.
    pub name: String,
    /// What it does now, by its kubelet.
    pub state: State,
    /// When the present run began, by the node's clock, whole seconds.
    pub started_at: Option<Timestamp>,
    /// The newest run that finished before the present one.
    pub last: Option<Run>,
}

impl Container {
    fn runs(&self) -> impl Iterator<Item = &Run> {
        let present = match &self.state {
            State::Terminated(run) => Some(run),
            _ => None,
        };
        present.into_iter().chain(&self.last)
    }

    /// The newest run known to have finished.
    pub fn newest_finished(&self) -> Option<&Run> {
        self.runs().next()
    }
}

/// What a container does now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// The kubelet has not reported on it.
    Missing,
    /// Not started, or between two runs; with the kubelet's reason.
    Waiting(Option<String>),
    /// Running.
    Running,
    /// The run ended.
    Terminated(Run),
}

/// A run of a container that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// By the node's clock, whole seconds.
    pub finished_at: Option<Timestamp>,
    /// The exit code.
    pub exit_code: i64,
    /// The kubelet's reason.
    pub reason: Option<String>,
    /// It was reported before it ended, by the operator's clock: the node's clock was ahead, and may have been set back
    /// since. Set by the index.
    pub ahead: bool,
}

impl Run {
    /// Whether the kubelet itself saw the run end. `ContainerStatusUnknown` is written when it could not find
    /// the container any more.
    pub fn is_witnessed(&self) -> bool {
        self.reason.as_deref() != Some("ContainerStatusUnknown")
    }
}

/// A pod's phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not all containers have started, or the phase is not known.
    Live,
    /// Succeeded or Failed.
    Terminal,
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "they are facts about a pod, not states of a machine")]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its UID; for a static pod the hash of its manifest, since its mirror's UID says nothing about it.
    pub uid: String,
    /// The UID of a static pod's mirror, by which the API server knows it.
    pub mirror_uid: Option<String>,
    /// Its primary address.
    pub ip: Option<IpAddr>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The node it is bound to.
    pub node: Option<String>,
    /// `spec.hostname`, where set.
    pub hostname: Option<String>,
    /// The name of its `ServiceAccount`, if it has one. Pods next to each other by name share it.
    pub account: Option<Arc<str>>,
    /// Whether it uses its node's network, and so its host name.
    pub host_network: bool,
    /// Whether its containers see each other's processes, or the node's.
    pub shared_pid: bool,
    /// Whether its Ready condition is true.
    pub ready: bool,
    /// It is being deleted, or is about to be ended by a disruption. That proves nothing, but who runs it knows of it.
    pub leaving: bool,
    /// Its phase.
    pub phase: Phase,
    /// The phase was written by pod garbage collection, not by the kubelet.
    pub by_pod_gc: bool,
    /// The phase became terminal while the pod's node was not ready, so not by its kubelet's word. Set by the index.
    pub phase_in_doubt: bool,
    /// Regular, restartable init and ephemeral containers.
    pub containers: Vec<Container>,
}

/// How far a holder's clock may be from the operator's when a renewal arrives, in milliseconds.
const SANE_CLOCK_MS: i64 = 2_000;
/// No kubelet writes a longer hash of a manifest; anybody may write one into an annotation.
const LONGEST_UID: usize = 64;
/// The longest name that a `ServiceAccount` can have, in bytes.
const LONGEST_ACCOUNT: usize = 253;

fn run(state: &ContainerStateWire) -> Option<Run> {
    state.terminated.as_ref().map(|t| Run {
        finished_at: t.finished_at.as_deref().and_then(|t| t.parse().ok()),
        exit_code: t.exit_code,
        reason: t.reason.clone(),
        ahead: false,
    })
}

impl Pod {
    /// The UID by which the API server knows it.
    pub fn object_uid(&self) -> &str {
        self.mirror_uid.as_deref().unwrap_or(&self.uid)
    }

    /// Whether the pod's programs see its name cut, so that other pods may share what they see.
    pub fn name_is_cut(&self) -> bool {
        self.name.len() > HOSTNAME_MAX
    }

    /// Marks the runs that end later than it is now; what was marked in the pod as known `before` stays so.
    pub fn mark_ends_ahead(&mut self, before: Option<&Self>, now: Now) {
        let known: Vec<_> = before.into_iter().flat_map(|pod| &pod.containers).collect();
        for container in &mut self.containers {
            let old = known.iter().find(|c| c.name == container.name);
            let marked: Vec<_> =
                old.into_iter().flat_map(|c| c.runs()).filter(|r| r.ahead).map(|r| r.finished_at).collect();
            let present = match &mut container.state {
                State::Terminated(run) => Some(run),
                _ => None,
            };
            for run in present.into_iter().chain(&mut container.last) {
                let apart = run.finished_at.map_or(0, |at| at.as_millisecond() - now.wall.as_millisecond());
                run.ahead = apart > SANE_CLOCK_MS || marked.contains(&run.finished_at);
            }
        }
    }
}

impl<'p> From<&'p Pod> for PodNames<'p> {
    fn from(pod: &'p Pod) -> Self {
        Self {
            name: &pod.name,
            uid: &pod.uid,
            node: pod.node.as_deref(),
            hostname: pod.hostname.as_deref(),
            host_network: pod.host_network,
        }
    }
}

/// The API server takes any number of statuses for a container, each with any number of states. One that says that it
/// runs is believed; several that don't prove nothing.
fn container(name: String, statuses: &[ContainerStatusWire]) -> Container {
    let reports: Vec<_> = statuses.iter().filter(|s| s.name == name).collect();
    let [status] = reports.as_slice() else {
        let runs = reports.iter().any(|s| s.state.running.is_some());
        let state = if runs { State::Running } else { State::Missing };
        return Container { name, state, started_at: None, last: None };
    };
    let state = if status.state.running.is_some() {
        State::Running
    } else if let Some(run) = run(&status.state) {
        State::Terminated(run)
    } else {
        State::Waiting(status.state.waiting.as_ref().and_then(|w| w.reason.clone()))
    };
    let started_at = status.state.running.as_ref().and_then(|r| r.started_at.as_deref()?.parse().ok());
    Container { name, state, started_at, last: run(&status.last_state) }
}

impl From<PodWire> for Pod {
    fn from(wire: PodWire) -> Self {
        let PodWire { metadata, spec, status } = wire;
        let annotations = metadata.annotations.unwrap_or_default();
        let hash = annotations
            .get("kubernetes.io/config.hash")
            .filter(|hash| !hash.is_empty() && hash.len() <= LONGEST_UID)
            .filter(|_| annotations.contains_key("kubernetes.io/config.mirror"))
            .cloned();
        let (uid, mirror_uid) = match hash {
            Some(hash) => (hash, metadata.uid),
            None => (metadata.uid.unwrap_or_default(), None),
        };
        let is_true =
            |name: &'static str| status.conditions.iter().filter(move |c| c.type_ == name && c.status == "True");
        let regular = spec.containers.into_iter().map(|c| container(c.name, &status.container_statuses));
        let sidecars = spec
            .init_containers
            .into_iter()
            .filter(|c| c.restart_policy.as_deref() == Some("Always"))
            .map(|c| container(c.name, &status.init_container_statuses));
        let ephemeral =
            spec.ephemeral_containers.into_iter().map(|c| container(c.name, &status.ephemeral_container_statuses));
        Self {
            name: metadata.name.unwrap_or_default(),
            uid,
            mirror_uid,
            ip: status.pod_ip.as_deref().and_then(|ip| ip.parse().ok()),
            labels: metadata.labels.unwrap_or_default(),
            node: spec.node_name.filter(|n| !n.is_empty()),
            hostname: spec.hostname.filter(|h| !h.is_empty()),
            account: spec
                .service_account_name
                .filter(|name| !name.is_empty() && name.len() <= LONGEST_ACCOUNT)
                .map(Arc::from),
            host_network: spec.host_network,
            shared_pid: spec.share_process_namespace || spec.host_pid,
            ready: is_true("Ready").next().is_some(),
            leaving: metadata.deletion_timestamp.is_some() || is_true("DisruptionTarget").next().is_some(),
            phase: match status.phase.as_deref() {
                Some("Succeeded" | "Failed") => Phase::Terminal,
                _ => Phase::Live,
            },
            by_pod_gc: is_true("DisruptionTarget").any(|c| c.reason.as_deref() == Some("DeletionByPodGC")),
            phase_in_doubt: false,
            containers: regular.chain(sidecars).chain(ephemeral).collect(),
        }
    }
}

/// A pod that was deleted, in its last known state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone {
    /// Its last known state.
    pub pod: Pod,
    /// When its deletion was noticed.
    pub at: Mono,
    /// Its deletion was seen, so that state was its last. Otherwise it may have been bound to a node, and run, after it.
    pub seen: bool,
}

impl Gone {
    /// Its processes may have outlived it: it ran, for all that is known, and its kubelet never said that it ended.
    pub fn may_live(&self) -> bool {
        let ended = self.pod.phase == Phase::Terminal && !self.pod.by_pod_gc && !self.pod.phase_in_doubt;
        !ended && (self.pod.node.is_some() || !self.seen)
    }
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its Ready condition is true.
    pub ready: bool,
    /// It carries the taint `node.kubernetes.io/out-of-service`.
    pub out_of_service: bool,
    /// Its zone.
    pub zone: Option<String>,
    /// Since when it has been both not ready and out of service, as far as this operator has seen. Set by the index.
    pub lost_since: Option<Mono>,
}

impl From<NodeWire> for Node {
    fn from(wire: NodeWire) -> Self {
        Self {
            ready: wire.status.conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True"),
            out_of_service: wire.spec.taints.iter().any(|t| t.key == "node.kubernetes.io/out-of-service"),
            zone: wire.metadata.labels.and_then(|mut l| l.remove("topology.kubernetes.io/zone")),
            lost_since: None,
        }
    }
}
